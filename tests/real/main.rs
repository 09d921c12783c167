//! Tests against real Kubernetes programs, built by `tests/parts/install`. Run them with `tests/run real`.

mod chart;
mod control_plane;
mod examples;
mod fleet;
mod kubelet;
mod path;
mod private_git;
mod refused;
mod replicas;
mod servers;
mod sources;
mod state_management;
mod suites;
mod webhook;
