//! Tests of a whole mesh as a newcomer runs it. Run them with `tests/run cluster`.

mod away;
mod full_disk;
mod input;
mod kills;
mod rollouts;
mod secrets;
mod transcript;
