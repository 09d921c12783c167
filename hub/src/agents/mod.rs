//! The hub's end of the links: regions dial in, plans go down, reports come up.
//!
//! ```text
//!  DownlinkEvent ---> server ---+--> session of region eu --- offers --> region --> its edges
//!  PlanBook, Roster changes ----+--> session of region us
//!                               +--> Registrar (joins, renewals, cluster tokens)
//!                               +--> Observed  (links, reports)
//! ```
//! - `admission`: who may link at all
//! - `server`: routes events to sessions
//! - `ledger`: one region: what it and its edges hold, and what is still to be sent
//! - `session`: one region: sends it; `tables`: the table of its edges; `placing`: where they link, and where else;
//!   `listing`: where hub and region listen
//! - `standby`: what whoever comes is told while another replica leads
//!
//! # Why
//! A session only remembers which agents lack something, never a queue of offers: however slow a region is, it costs
//! one entry per edge, gets the newest plan when its turn comes, and keeps no other region waiting.

mod admission;
mod ledger;
mod listing;
mod placing;
mod server;
mod session;
mod standby;
mod tables;

pub use server::{Server, StartError};
pub use standby::{Door, Shown};
