//! `ClusterDeployment`: dereference -> validate -> build, then the unit joins its region's plan, then status.
//!
//! The types carry the stage: [`Found`] -> [`Valid`] -> [`ClusterPlan`]. The first three steps are synchronous and take
//! neither client nor clock; a status can only be made from a [`ClusterPlan`] that was planned.

mod build;
pub(super) mod delete;
mod dereference;
pub(super) mod status;
mod validate;

use std::collections::BTreeMap;
use std::sync::Arc;

use api::k0rdent::{ClusterDeployment, ClusterTemplate, Credential};
use kube::ResourceExt;
use protocol::id::RegionName;
use protocol::plan::UnitId;

use crate::services::built::Built;
use crate::services::resolve::Renderer;
use crate::services::template::{Chart, Lack, Sight};

/// What a ClusterDeployment names, or why it is not there.
pub(super) struct Found {
    deployment: Arc<ClusterDeployment>,
    template: Result<(Arc<ClusterTemplate>, Chart), Lack>,
    credential: Result<Arc<Credential>, String>,
    region: Option<FoundRegion>,
}

/// The region that the Credential says.
struct FoundRegion {
    name: String,
    exists: bool,
    paused: bool,
    /// Annotations of its object, with the keys that its agent told.
    annotations: BTreeMap<String, String>,
}

/// What can be built, or what prevents it.
pub(super) struct Valid {
    found: Found,
    region: Result<RegionName, String>,
}

/// The cluster's part in the plan of its region.
#[derive(Debug, Clone)]
pub(super) struct ClusterPlan {
    /// The region, if it is known.
    pub region: Result<RegionName, String>,
    /// The region's own object says to leave its clusters alone.
    pub paused: bool,
    /// The template, or why there is none.
    pub template: Result<Arc<ClusterTemplate>, Lack>,
    /// Whether the chart renders, or where it fails.
    pub chart: Result<(), String>,
    /// Why the chart is not fetched anew, if it is not.
    pub stale: Option<String>,
    /// The Credential, or why there is none.
    pub credential: Result<Arc<Credential>, String>,
    /// The unit as it should be now; absent when it cannot be built or is not to be.
    pub fresh: Option<Built>,
    /// The unit in the region's plan: the fresh one, or the last good one.
    pub planned: Option<Built>,
}

/// The name of a ClusterDeployment's unit in the plan of its region.
pub(super) fn unit_id(namespace: &str, name: &str) -> UnitId {
    UnitId {
        set_namespace: namespace.to_owned(),
        set_name: name.to_owned(),
        namespace: namespace.to_owned(),
        name: name.to_owned(),
    }
}

/// The cluster's part in its region's plan; `before` is what it was.
pub(super) fn plan(
    deployment: &Arc<ClusterDeployment>,
    sight: &Sight<'_>,
    renderer: &dyn Renderer,
    before: Option<&ClusterPlan>,
) -> ClusterPlan {
    let found = dereference::dereference(deployment, sight);
    let valid = validate::validate(found);
    let mut plan = build::build(valid, sight, renderer);
    // What was good stays in force while something else fails, and while the region is paused or this is a dry run.
    let kept = before.and_then(|before| before.planned.clone().map(|built| (built, before.region.clone())));
    if plan.fresh.is_none()
        && deployment.metadata.deletion_timestamp.is_none()
        && let Some((built, region)) = kept
    {
        plan.planned = Some(built);
        plan.region = plan.region.or(region);
    }
    // A region that was written down stays the cluster's, also when the Credential that named it is gone: else the
    // cluster would leave its region's plan, and so the world.
    plan.region = plan.region.or_else(|why| recorded(deployment).ok_or(why));
    plan
}

/// The region that the status says, if the cluster was ever released to one.
fn recorded(deployment: &ClusterDeployment) -> Option<RegionName> {
    if !was_released(deployment) {
        return None;
    }
    let region = deployment.status.as_ref().and_then(|status| status.region.as_deref());
    region.unwrap_or(api::names::LOCAL_REGION).parse().ok()
}

/// Whether the region is known to have had the cluster's objects: only then their absence from its plan means removal.
pub(super) fn was_released(deployment: &ClusterDeployment) -> bool {
    let conditions =
        deployment.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
    api::conditions::find(conditions, api::conditions::kind::HELM_RELEASE_READY).is_some()
        && !deployment.name_any().is_empty()
}
