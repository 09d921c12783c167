//! Tests against real Kubernetes programs, built by `tests/parts/install`. Run them with `tests/run real`.

mod control_plane;
mod path;
mod servers;
mod sources;
