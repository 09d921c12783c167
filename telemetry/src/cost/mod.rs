//! What running costs: prices, accrual at the edge, allocation at the hub.
//!
//! ```text
//! edge    PriceBook x Facts over time -> Ledger -> samples (counters) -> spool, with the ledger beside them
//! region  counters -> Increase in a window -> AllocationRow, grouped
//! hub     rows of all regions merged -> OpenCost's JSON
//! ```
//!
//! # Why counters
//! A pod's cost so far is a counter that begins with an explicit zero. What a window cost is the difference
//! of its values at the window's ends, so neither an outage nor a lost batch in between changes it, and it is
//! exact to the millisecond at which a pod began or ended, where sampling at a resolution is not.
//!
//! # Method
//! OpenCost's: cost = amount x hours x rate, the amount being the larger of request and usage; GPUs by
//! request. Storage, network and load balancers are not charged; their fields are zero.

pub mod allocation;
pub mod ledger;
pub mod price;
mod shape;
#[cfg(test)]
mod tests;
pub mod window;

pub use allocation::{AllocationRequest, AllocationRow, GroupBy, allocate, merge};
pub use ledger::{Ledger, NodeFacts, PodFacts};
pub use price::{PriceBook, Rates};
pub use shape::allocation_data;
