//! Becoming the agent of a region with a token, once; afterwards the identity is in the state folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use identity::store::StoreError;
use identity::{AgentIdentity, Clock, Entropy, JoinToken, MeshClock, SystemClock, SystemEntropy, TokenRole};
use link::{EnrolParams, JoinError, Network, Next, Patience, Proxies, Tcp, UdpNetwork};
use process::Proxying;
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
    let mut patience = Patience::new(JOIN_PAUSE);
    loop {
        let began = tokio::time::Instant::now();
        let error = match join(state, token, Arc::clone(&network), Arc::clone(&clock), entropy).await {
            Ok(identity) => return Ok(identity),
            Err(error) => error,
        };
        patience.kept(began.elapsed());
        let known = error.downcast_ref::<JoinError>();
        let next = known.map_or(Next::End, |known| patience.after(known, entropy));
        let Next::Again { after, tell } = next else { return Err(error) };
        if tell {
            tracing::warn!(again_in = ?after, "not let in yet: {error:#}");
        }
        tokio::time::sleep(after).await;
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
