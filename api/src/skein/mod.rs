//! `skein.dev/v1alpha1`: what k0rdent has no word for. Edges, join tokens, hosted control planes, prices, rollouts.

mod edge;
mod hosted_control_plane;
mod join_token;
mod link;
mod price_book;
mod rollout;

pub use edge::*;
pub use hosted_control_plane::*;
pub use join_token::*;
pub use link::*;
pub use price_book::*;
pub use rollout::*;
