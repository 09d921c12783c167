//! Services and rendered bundles as plans. Pure: the same input gives the same bytes, in whatever order it comes.

pub mod bundle;
pub mod canonical;
mod charts;
pub mod helm;
pub mod latitude;
mod manifests;
pub mod parcel;
pub mod patches;
pub mod prices;
mod remembered;
pub mod rendering;
pub mod sealing;
pub mod unit;

use std::collections::BTreeMap;

use protocol::frame::PLAN_BODY_BYTES_MAX;
use protocol::plan::{ObjectKey, PlanBody, Unit, UnitId};

/// Name of the setting that holds an edge's prices.
pub const PRICES: &str = "prices";

/// What a release is called among those of its set.
fn release_key(namespace: &str, name: &str) -> String {
    format!("{namespace}.{name}")
}

/// Bytes that a unit takes in the body of a plan, about.
pub fn weight(unit: &Unit) -> usize {
    // Digest, lengths, and what hooks have besides.
    const ENTRY_BYTES: usize = 64;
    const UNIT_BYTES: usize = 256;
    let entry = |ObjectKey { group, version, kind, namespace, name }: &ObjectKey| {
        ENTRY_BYTES + group.len() + version.len() + kind.len() + namespace.len() + name.len()
    };
    let name = |UnitId { set_namespace, set_name, namespace, name }: &UnitId| {
        set_namespace.len() + set_name.len() + namespace.len() + name.len()
    };
    let keys = unit.objects.iter().map(|object| &object.key);
    let keys = keys.chain(unit.hooks.iter().map(|hook| &hook.object.key));
    let before = unit.depends_on.iter().map(|id| name(id) + 4);
    let text = unit.template.len() + unit.version.len();
    UNIT_BYTES + name(&unit.id) + text + keys.map(entry).sum::<usize>() + before.sum::<usize>()
}

/// Why a plan of units of these weights cannot be published: agents take no longer one.
pub fn too_large(weights: impl IntoIterator<Item = usize>) -> Option<String> {
    let bytes: usize = weights.into_iter().sum();
    (bytes > PLAN_BODY_BYTES_MAX).then(|| {
        format!(
            "the plan is held back: the names of its objects take about {bytes} bytes, at most {PLAN_BODY_BYTES_MAX} \
             are accepted: spread the services over fewer objects or more clusters"
        )
    })
}

/// The plan of units and settings: units by (priority, id), as an agent begins them.
pub fn body(units: impl IntoIterator<Item = Unit>, settings: BTreeMap<String, String>) -> PlanBody {
    let mut units: Vec<_> = units.into_iter().collect();
    units.sort_by(|one, other| (one.priority, &one.id).cmp(&(other.priority, &other.id)));
    PlanBody { units, settings, ext: Vec::new() }
}
