//! Services and rendered bundles as plans. Pure: the same input gives the same bytes, in whatever order it comes.

pub mod bundle;
pub mod canonical;
pub mod helm;
pub mod prices;
pub mod rendering;
pub mod sealing;
pub mod unit;

use std::collections::BTreeMap;
use std::sync::Arc;

use protocol::plan::{PlanBody, Unit};

/// Name of the setting that holds an edge's prices.
pub const PRICES: &str = "prices";
/// Name of the setting that holds a pause.
pub const HOLD: &str = "hold";

/// The plan of units and settings: units by (priority, id), as an agent begins them.
pub fn body(units: impl IntoIterator<Item = Arc<Unit>>, settings: BTreeMap<String, String>) -> PlanBody {
    let mut units: Vec<_> = units.into_iter().map(|unit| Unit::clone(&unit)).collect();
    units.sort_by(|one, other| (one.priority, &one.id).cmp(&(other.priority, &other.id)));
    PlanBody { units, settings, ext: Vec::new() }
}
