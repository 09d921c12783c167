//! `PriceBook`: whether its prices are numbers, and how many edges compute with them.

use api::conditions::kind;
use api::skein::{PriceBook, PriceBookStatus};
use jiff::Timestamp;

use super::sheet::Sheet;
use crate::planner::prices;

pub(super) fn status(object: &PriceBook, used: bool, edges: usize, now: Timestamp) -> PriceBookStatus {
    let before = object.status.clone().unwrap_or_default();
    let mut sheet = Sheet::new(&before.conditions, object.metadata.generation, now);
    let problem = prices::problem(&object.spec);
    let edges = if used && problem.is_none() { edges } else { 0 };
    match (problem, used) {
        (Some(problem), _) => sheet.failed(kind::READY, problem),
        (None, true) => sheet.succeeded(kind::READY, ""),
        (None, false) => sheet.failed(kind::READY, "another price book comes first by name and is used"),
    }
    PriceBookStatus {
        conditions: sheet.finish(),
        edges: i32::try_from(edges).ok(),
        observed_generation: object.metadata.generation,
    }
}
