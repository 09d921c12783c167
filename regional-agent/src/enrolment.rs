//! Becoming the agent of a region with a token, once; afterwards the identity is in the state folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use identity::store::StoreError;
use identity::{AgentIdentity, Clock, Entropy, JoinToken, MeshClock, SystemClock, SystemEntropy, TokenRole};
use link::{EnrolParams, JoinError, Network, Proxies, Tcp, UdpNetwork};
use process::Proxying;
use protocol::enrolment::RefusalReason;
use protocol::id::AgentId;

use crate::arguments::Enroll;

/// How long one attempt to join may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// Pause before joining again when nobody answered.
const JOIN_PAUSE: Duration = Duration::from_millis(500);

/// Where the identity is kept.
pub fn directory(state: &Path) -> PathBuf {
    state.join("identity")
}

/// `regional-agent enroll`.
///
/// # Errors
/// When the agent is enrolled already, the token is not accepted or nobody answers.
pub async fn enroll(arguments: &Enroll) -> Result<()> {
    let (state, token) = (&arguments.state, &arguments.token);
    if let Some(identity) = present(state)? {
        bail!(
            "this agent is enrolled already, as {}; its identity is in {}",
            identity.agent,
            directory(state).display()
        );
    }
    let clock: Arc<dyn Clock> = Arc::new(MeshClock::new(Arc::new(SystemClock)));
    let identity =
        join(state, token, network(arguments.link_tcp, &arguments.proxying)?, clock, &mut SystemEntropy)
            .await?;
    tracing::info!(agent = %identity.agent, "enrolled");
    Ok(())
}

/// The machine's network, with what the arguments say of TCP and proxies.
///
/// # Errors
/// When the proxy or its credentials cannot be used.
pub fn network(link_tcp: Tcp, proxying: &Proxying) -> Result<Arc<dyn Network>> {
    let credentials = proxying.credentials()?;
    let (given, machine) = (proxying.proxy.as_deref(), Proxying::of_machine());
    let proxies = Proxies::settled(given, machine.as_deref(), credentials.as_deref(), &proxying.no_proxy)?;
    Ok(UdpNetwork::with(link_tcp, proxies))
}

/// The identity in the state folder; a new one by the token when there is none. Waits as long as nobody answers, and
/// fails at once when the answer is no.
///
/// # Errors
/// When there is neither identity nor token, or the token is refused.
pub async fn ensure(
    state: &Path,
    token: Option<&str>,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    entropy: &mut dyn Entropy,
) -> Result<AgentIdentity> {
    if let Some(identity) = present(state)? {
        return Ok(identity);
    }
    let Some(token) = token else {
        bail!("this agent is not enrolled: run `regional-agent enroll TOKEN`, or give --token TOKEN");
    };
    loop {
        match join(state, token, Arc::clone(&network), Arc::clone(&clock), entropy).await {
            Ok(identity) => return Ok(identity),
            Err(error) if error.downcast_ref::<JoinError>().is_some_and(passes) => {
                tracing::warn!("{error:#}; trying again");
                tokio::time::sleep(JOIN_PAUSE).await;
            }
            Err(error) => return Err(error),
        }
    }
}

fn present(state: &Path) -> Result<Option<AgentIdentity>> {
    match AgentIdentity::load(&directory(state)) {
        Ok(identity) => match identity.agent {
            AgentId::Region(_) => Ok(Some(identity)),
            AgentId::Edge(_) => {
                bail!("the identity in {} is an edge's; give another --state", state.display())
            }
        },
        Err(StoreError::Missing { .. }) => Ok(None),
        Err(error) => Err(error).context("the identity in the state folder cannot be used"),
    }
}

/// Whether a failure may pass by itself.
fn passes(error: &JoinError) -> bool {
    match error {
        JoinError::Unreachable(_) | JoinError::Deadline(_) => true,
        JoinError::Refused(refusal) => {
            matches!(refusal.reason, RefusalReason::Unavailable | RefusalReason::ApprovalPending)
        }
        JoinError::Grant(_) | JoinError::Key(_) | JoinError::Store(_) => false,
    }
}

async fn join(
    state: &Path,
    token: &str,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    entropy: &mut dyn Entropy,
) -> Result<AgentIdentity> {
    let token = JoinToken::parse(token)?;
    if token.role != TokenRole::Region {
        bail!("this join token is for an {}, not for the agent of a region", token.role.as_str());
    }
    let identity = link::enrol(EnrolParams {
        token: &token,
        directory: directory(state),
        name: token.region.to_string(),
        labels: BTreeMap::new(),
        facts: facts(),
        network,
        clock,
        entropy,
        deadline: JOIN_DEADLINE,
    })
    .await?;
    Ok(identity)
}

/// What this agent is.
pub fn facts() -> BTreeMap<String, String> {
    [("os", std::env::consts::OS), ("arch", std::env::consts::ARCH), ("version", env!("CARGO_PKG_VERSION"))]
        .into_iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}
