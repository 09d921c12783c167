//! What runs a control plane. Today `embedded`: a host on this machine keeps one kube-local per child cluster.
//!
//! # Why a host of its own
//! A regional agent can be stopped, killed and replaced; the clusters it made must not notice. So the control planes
//! live in another process, and the agent only says what it wants, by HTTP over a Unix socket.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How long the host may take to answer.
const DEADLINE: Duration = Duration::from_secs(20);

/// Why a driver did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum DriverError {
    /// There is no host.
    #[error("driver \"embedded\" needs a host: start the regional agent with --embedded-host SOCKET")]
    NoHost,
    /// The driver is not available here.
    #[error("driver \"{0}\" is not available in this region, accepted is \"embedded\"")]
    Unavailable(&'static str),
    /// The HTTP client could not be made.
    #[error("failed to prepare calls to the host at \"{socket}\"")]
    Prepare {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The host does not answer.
    #[error("the host of embedded clusters at \"{socket}\" does not answer")]
    Call {
        /// Its socket.
        socket: PathBuf,
        /// Why.
        #[source]
        source: reqwest::Error,
    },
    /// The host said no.
    #[error("the host of embedded clusters refused {call}: {message}")]
    Refused {
        /// The call.
        call: String,
        /// Its reason.
        message: String,
    },
}

/// A control plane that answers.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    /// YAML that lets anyone talk to it.
    pub kubeconfig: String,
    /// Its URL.
    pub endpoint: String,
    /// The version it runs.
    pub kubernetes_version: String,
}

/// An edge agent to run beside a control plane.
#[derive(Debug, Clone, Serialize)]
pub struct WantedAgent {
    /// The join token.
    pub token: String,
    /// The cluster it looks after.
    pub cluster: String,
    /// The region it links to.
    pub region: String,
}

/// The host of embedded clusters.
#[derive(Debug, Clone)]
pub struct EmbeddedHost {
    client: reqwest::Client,
    socket: PathBuf,
}

impl EmbeddedHost {
    /// The host behind this Unix socket.
    ///
    /// # Errors
    /// [`DriverError::Prepare`].
    pub fn new(socket: &Path) -> Result<Self, DriverError> {
        let client = reqwest::Client::builder()
            .unix_socket(socket)
            .timeout(DEADLINE)
            .build()
            .map_err(|source| DriverError::Prepare { socket: socket.to_owned(), source })?;
        Ok(Self { client, socket: socket.to_owned() })
    }

    /// Makes sure that the cluster's control plane runs.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn ensure_cluster(
        &self,
        name: &str,
        version: &str,
        owner: &str,
    ) -> Result<Running, DriverError> {
        let body = serde_json::json!({"kubernetesVersion": version, "owner": owner});
        let answer = self.call(reqwest::Method::PUT, &format!("/clusters/{name}"), Some(&body)).await?;
        answer.json().await.map_err(|source| DriverError::Call { socket: self.socket.clone(), source })
    }

    /// Ends the cluster's control plane and removes what it kept.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn remove_cluster(&self, name: &str) -> Result<(), DriverError> {
        self.call(reqwest::Method::DELETE, &format!("/clusters/{name}"), None).await.map(|_| ())
    }

    /// Starts the cluster's edge agent.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn ensure_agent(&self, name: &str, agent: &WantedAgent) -> Result<(), DriverError> {
        let body = serde_json::json!(agent);
        self.call(reqwest::Method::PUT, &format!("/agents/{name}"), Some(&body)).await.map(|_| ())
    }

    /// Ends the cluster's edge agent and removes what it kept.
    ///
    /// # Errors
    /// [`DriverError`].
    pub async fn remove_agent(&self, name: &str) -> Result<(), DriverError> {
        self.call(reqwest::Method::DELETE, &format!("/agents/{name}"), None).await.map(|_| ())
    }

    async fn call(
        &self,
        method: reqwest::Method,
        path: &str,
        body: Option<&serde_json::Value>,
    ) -> Result<reqwest::Response, DriverError> {
        let failed = |source| DriverError::Call { socket: self.socket.clone(), source };
        let call = format!("{method} {path}");
        let mut request = self.client.request(method, format!("http://host{path}"));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(failed)?;
        if answer.status().is_success() {
            return Ok(answer);
        }
        let status = answer.status();
        let body: serde_json::Value = answer.json().await.unwrap_or_default();
        let message = body["error"].as_str().map_or_else(|| status.to_string(), str::to_owned);
        Err(DriverError::Refused { call, message })
    }
}
