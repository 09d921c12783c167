//! The regional agent between a hub and edges that follow scripts.

#![expect(clippy::wildcard_enum_match_arm, reason = "a test waits for one message among many")]

mod approvals;
mod control_planes;
mod journeys;
mod lists;
mod malice;
mod moves;
mod renewals;
mod returns;
mod versions;
mod world;
