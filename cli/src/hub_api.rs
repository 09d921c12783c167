//! How the commands reach the mesh: its supervisor's socket, the hub's HTTP address, the management cluster.

use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use kube::config::{KubeConfigOptions, Kubeconfig};
use process::Bound;

use crate::state_dir::StateDir;
use crate::up::host;

/// An error with its causes for a person: where the API server spoke, in its own words.
pub(crate) fn explain(error: &anyhow::Error) -> String {
    let mut told: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) if status.message.is_empty() => {
                format!("the API server answered {} {}", status.code, status.reason)
            }
            Some(kube::Error::Api(status)) => status.message.clone(),
            _ => cause.to_string(),
        };
        // Many errors quote their cause.
        if !told.iter().any(|before| before.contains(&text)) {
            told.push(text);
        }
        if let Some(kube::Error::Api(_)) = cause.downcast_ref() {
            break;
        }
    }
    told.join(": ")
}

/// Asks the supervisor.
///
/// # Errors
/// When no `skein up` runs on the state directory, or it refuses; the text says which.
pub(crate) async fn supervisor(
    state: &StateDir,
    method: reqwest::Method,
    path: &str,
) -> Result<reqwest::Response> {
    let client = reqwest::Client::builder()
        .unix_socket(state.socket())
        .timeout(Duration::from_secs(30))
        .build()
        .context("failed to make an HTTP client")?;
    let answer =
        client.request(method, format!("http://supervisor{path}")).send().await.with_context(|| {
            format!(
                "no `skein up` runs on the state directory {}; start one, or give --state DIR",
                state.path().display()
            )
        })?;
    if answer.status().is_success() {
        return Ok(answer);
    }
    let status = answer.status();
    let body: serde_json::Value = answer.json().await.unwrap_or_default();
    bail!("{}", body["error"].as_str().map_or_else(|| status.to_string(), str::to_owned))
}

/// What each part is doing; fails when no `skein up` runs.
///
/// # Errors
/// As [`supervisor`].
pub(crate) async fn status(state: &StateDir) -> Result<host::Status> {
    Ok(supervisor(state, reqwest::Method::GET, "/status").await?.json().await?)
}

/// A client of the management cluster: the file named, else the mesh's own, else what kubectl would use.
///
/// # Errors
/// When none of them leads to a cluster.
pub(crate) async fn management(named: Option<&Path>, state: Option<&StateDir>) -> Result<kube::Client> {
    let own = state.map(|state| state.kubeconfig("hub")).filter(|path| path.exists());
    let config = match named.map(Path::to_owned).or(own) {
        Some(path) => {
            let file = Kubeconfig::read_from(&path).with_context(|| format!("failed to read {}", path.display()))?;
            kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?
        }
        None => kube::Config::infer().await.context(
            "no management cluster: give --kubeconfig FILE, set KUBECONFIG, or run `skein up` on the state directory",
        )?,
    };
    Ok(kube::Client::try_from(config)?)
}

/// The hub's address for queries: the one named, else that of the mesh on this machine.
///
/// # Errors
/// When neither is known.
pub(crate) fn hub_url(named: Option<&str>, state: Option<&StateDir>) -> Result<String> {
    if let Some(url) = named {
        return Ok(url.trim_end_matches('/').to_owned());
    }
    state
        .and_then(|state| Bound::read(&state.agent("hub").join("bound.json")).ok())
        .and_then(|bound| bound.addresses.get("http").map(|address| format!("http://{address}")))
        .context("the hub's address is unknown: give --hub URL, or start the hub of this state directory")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_is_told_in_the_words_of_the_api_server() {
        let status =
            kube::core::Status::failure("edges.skein.dev \"x\" not found", "NotFound").with_code(404);
        let error = anyhow::Error::from(kube::Error::Api(status.boxed())).context("no such edge");
        assert_eq!(explain(&error), "no such edge: edges.skein.dev \"x\" not found");
        let silent = kube::core::Status::failure("", "Gone").with_code(410);
        assert_eq!(explain(&kube::Error::Api(silent.boxed()).into()), "the API server answered 410 Gone");
        let other = anyhow::anyhow!("b").context("a: b").context("c");
        assert_eq!(explain(&other), "c: a: b", "a cause is not told twice");
    }
}
