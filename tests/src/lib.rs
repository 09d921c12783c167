//! What the tests of the whole share.

pub mod control_plane;
pub mod crowd;
pub mod fleet;
pub mod identities;
pub mod measure;
pub mod mesh;
pub mod nodes;
pub mod parts;
pub mod plans;
pub mod process;
pub mod spans;
pub mod wait;
