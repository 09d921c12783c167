//! Simulated workloads: what controllers, a scheduler and a kubelet would do, without containers.

use std::sync::Arc;

use serde_json::Value;

use crate::controllers::{Settings, Timers};
use crate::engine::Engine;
use crate::error::ApiError;
use crate::object::{items, text};
use crate::storage::Address;

/// The workloads of one cluster.
#[derive(Debug)]
pub(crate) struct Workloads {
    engine: Arc<Engine>,
    settings: Settings,
}

impl Workloads {
    pub(crate) fn new(engine: Arc<Engine>, settings: &Settings) -> Self {
        Self { engine, settings: settings.clone() }
    }

    /// Makes the node.
    pub(crate) fn start(&mut self) {}

    /// Looks at an object that changed.
    pub(crate) fn look(&mut self, _address: &Address, _timers: &mut Timers) {}
}

/// The simulated log of a container.
///
/// # Errors
/// 400 when the pod has no such container.
pub(crate) fn log(pod: &Value, container: Option<&str>) -> Result<String, ApiError> {
    let name = text(pod, &["metadata", "name"]).unwrap_or_default();
    let containers: Vec<&str> =
        items(pod, &["spec", "containers"]).iter().filter_map(|one| text(one, &["name"])).collect();
    let wanted = container.or(containers.first().copied()).unwrap_or_default();
    if !containers.contains(&wanted) {
        return Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")));
    }
    Ok(format!("{name}/{wanted}: simulated container, nothing runs\n"))
}
