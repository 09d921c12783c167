//! Tests of a whole mesh as a newcomer runs it. Run them with `tests/run cluster`.

mod approvals;
mod away;
mod charts;
mod full_disk;
mod input;
mod kills;
mod pods;
mod returns;
mod rollouts;
mod secrets;
mod services;
mod transcript;
mod versions;
