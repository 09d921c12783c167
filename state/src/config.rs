//! What the engine is given: a cluster, an identity, a file, and the two things it must not take from the
//! environment itself, time and trust.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use protocol::UnixMillis;
use protocol::id::AgentId;
use protocol::plan::{PlanHeader, SignedPlan};

use crate::local::Local;

/// Field manager of everything the engine applies.
pub const FIELD_MANAGER: &str = "skein";

/// How long Events wait, unless it is said otherwise.
const EVENTS_DELAY: Duration = Duration::from_secs(1);

/// Verifies plans.
///
/// The identity crate's verifier is adapted to this by the agents, so that this crate knows nothing of keys.
pub trait Verify: Send + Sync + 'static {
    /// Checks the signature and decodes the header.
    ///
    /// # Errors
    /// Why the plan cannot be trusted, for a person.
    fn verify(&self, plan: &SignedPlan) -> Result<PlanHeader, String>;
}

/// Opens what the hub sealed to this agent; adapted from the identity crate as [`Verify`] is.
pub trait Open: Send + Sync + 'static {
    /// The content of a sealed blob.
    ///
    /// # Errors
    /// Why it does not open, for a person; never a part of the content.
    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, String>;
}

impl<F> Open for F
where
    F: Fn(&[u8]) -> Result<Vec<u8>, String> + Send + Sync + 'static,
{
    fn open(&self, sealed: &[u8]) -> Result<Vec<u8>, String> {
        self(sealed)
    }
}

/// Opens nothing: for an agent that has no key.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoKey;

impl Open for NoKey {
    fn open(&self, _: &[u8]) -> Result<Vec<u8>, String> {
        Err("this agent has no sealing key".to_owned())
    }
}

/// Tells the time of day; timers are tokio's.
pub trait Clock: Send + Sync + 'static {
    /// Now.
    fn now(&self) -> UnixMillis;
}

/// The machine's clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> UnixMillis {
        let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
        UnixMillis::try_from(since.as_millis()).unwrap_or(UnixMillis::MAX)
    }
}

/// What an engine works with.
pub struct Config {
    /// The cluster's API server.
    pub client: kube::Client,
    /// Who the engine works for; plans for anybody else are refused.
    pub agent: AgentId,
    /// The SQLite file that holds the plan, its blobs and the inventory.
    pub store: PathBuf,
    /// Verifies plans.
    pub verifier: Arc<dyn Verify>,
    /// Opens sealed content.
    pub opener: Arc<dyn Open>,
    /// Field manager of server-side apply.
    pub field_manager: String,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// What the owner of the cluster allows, or why that is not understood; [`crate::EngineHandle::allow`] changes it.
    pub local: Result<Local, String>,
    /// The `reportingInstance` of Events on the cluster: the agent's name where it has one.
    pub instance: String,
    /// How long Events wait, so that they do not take the API server's time while a service is applied.
    pub events_delay: Duration,
}

impl Config {
    /// A configuration with the usual field manager and the machine's clock, for an agent without a sealing key.
    pub fn new(client: kube::Client, agent: AgentId, store: PathBuf, verifier: Arc<dyn Verify>) -> Self {
        Self {
            instance: agent.to_string(),
            events_delay: EVENTS_DELAY,
            client,
            agent,
            store,
            verifier,
            opener: Arc::new(NoKey),
            field_manager: FIELD_MANAGER.to_owned(),
            clock: Arc::new(SystemClock),
            local: Ok(Local::default()),
        }
    }
}
