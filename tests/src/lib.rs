//! What the tests of the whole share.

pub mod control_plane;
pub mod fleet;
pub mod measure;
pub mod mesh;
pub mod nodes;
pub mod parts;
pub mod process;
pub mod spans;
pub mod wait;
