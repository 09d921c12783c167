//! Links over real QUIC in memory, in virtual time.

mod carriers;
mod endpoints;
mod joins;
mod paths;
mod peers;
mod renewals;
mod returns;
mod security;
mod storm;
mod strangers;
mod versions;
mod world;
