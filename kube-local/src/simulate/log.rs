//! The simulated log of a container.

use serde_json::Value;

use crate::error::ApiError;
use crate::object::{items, text};

/// What a container would have said.
///
/// # Errors
/// 400 when the pod has no such container, or it has not started.
pub(crate) fn log(pod: &Value, container: Option<&str>) -> Result<String, ApiError> {
    let name = text(pod, &["metadata", "name"]).unwrap_or_default();
    let containers: Vec<&str> =
        items(pod, &["spec", "containers"]).iter().filter_map(|one| text(one, &["name"])).collect();
    let wanted = container.or(containers.first().copied()).unwrap_or_default();
    if !containers.contains(&wanted) {
        return Err(ApiError::bad_request(format!("container {wanted} is not valid for pod {name}")));
    }
    let status = items(pod, &["status", "containerStatuses"]).iter().find(|one| one["name"] == wanted);
    let waiting = status.and_then(|status| text(status, &["state", "waiting", "reason"]));
    let started = status.is_some() && waiting.is_none();
    if !started {
        let why = match waiting {
            Some("ImagePullBackOff" | "ErrImagePull") => "trying and failing to pull image".to_owned(),
            other => other.unwrap_or("ContainerCreating").to_owned(),
        };
        return Err(ApiError::bad_request(format!(
            "container \"{wanted}\" in pod \"{name}\" is waiting to start: {why}"
        )));
    }
    let image = status.and_then(|status| text(status, &["image"])).unwrap_or_default();
    let mut lines =
        format!("{name}/{wanted}: simulated by kube-local, no process runs\nimage {image} started\n");
    if text(pod, &["status", "phase"]) == Some("Succeeded") {
        lines.push_str("completed with exit code 0\n");
    }
    Ok(lines)
}
