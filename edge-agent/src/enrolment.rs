//! Becoming an edge with a token, once; afterwards the identity is in the state folder.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use identity::{AgentIdentity, Clock, JoinToken, MeshClock, SystemClock, SystemEntropy, TokenRole};
use link::{EnrolParams, JoinError, Network, Next, Patience, Proxies, UdpNetwork};
use process::Proxying;
use protocol::enrolment::RefusalReason;
use protocol::id::AgentId;

use crate::arguments::{Device, EnrollWithToken};

/// How long one attempt to join may take.
const JOIN_DEADLINE: Duration = Duration::from_secs(30);
/// Pause before joining again when nobody answered.
const JOIN_PAUSE: Duration = Duration::from_secs(2);

/// Where the identity is kept.
pub fn directory(state: &Path) -> PathBuf {
    state.join("identity")
}

/// `edge-agent enroll`.
///
/// Waits as long as it takes for somebody to approve the device.
///
/// # Errors
/// When the token is not accepted or nobody answers.
pub async fn enroll(arguments: &EnrollWithToken) -> Result<()> {
    let directory = directory(&arguments.device.state);
    if let Ok(identity) = AgentIdentity::load(&directory) {
        bail!("this device is enrolled already, as \"{}\" ({})", identity.name, identity.agent);
    }
    let clock: Arc<dyn Clock> = Arc::new(MeshClock::new(Arc::new(SystemClock)));
    let (token, network) = (&arguments.join_token, network(&arguments.device)?);
    let pending = |error: &JoinError| matches!(error, JoinError::Refused(refusal) if refusal.reason == RefusalReason::ApprovalPending);
    let identity = insist(token, &arguments.device, network, clock, pending).await?;
    tracing::info!(name = identity.name, agent = %identity.agent, region = %identity.region, "enrolled");
    Ok(())
}

/// The machine's network, with what the arguments say of TCP and proxies.
///
/// # Errors
/// When the proxy or its credentials cannot be used.
pub fn network(device: &Device) -> Result<Arc<dyn Network>> {
    let Device { link_tcp, proxying, .. } = device;
    let credentials = proxying.credentials()?;
    let (given, machine) = (proxying.proxy.as_deref(), Proxying::of_machine());
    let proxies = Proxies::settled(given, machine.as_deref(), credentials.as_deref(), &proxying.no_proxy)?;
    Ok(UdpNetwork::with(*link_tcp, proxies))
}

/// The identity in the state folder; a new one by the token when there is none. Waits as long as nobody answers or nobody
/// has decided, and fails at once when the answer is no for good.
///
/// # Errors
/// When there is neither identity nor token, or the token is refused.
pub async fn ensure(
    device: &Device,
    token: Option<&str>,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
) -> Result<AgentIdentity> {
    let directory = directory(&device.state);
    match AgentIdentity::load(&directory) {
        Ok(identity) => return Ok(identity),
        Err(identity::store::StoreError::Missing { .. }) => {}
        Err(error) => return Err(error).context("the identity in the state folder cannot be used"),
    }
    let Some(token) = token else {
        bail!("this device is not enrolled: run `edge-agent enroll TOKEN`, or give --token TOKEN");
    };
    insist(token, device, network, clock, |_| true).await
}

/// Asks until the device is in, or it makes no sense to ask again; `bears` says which failures are to be borne at all.
async fn insist(
    token: &str,
    device: &Device,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
    bears: impl Fn(&JoinError) -> bool,
) -> Result<AgentIdentity> {
    let mut patience = Patience::new(JOIN_PAUSE);
    loop {
        let began = tokio::time::Instant::now();
        let error = match join(token, device, Arc::clone(&network), Arc::clone(&clock)).await {
            Ok(identity) => return Ok(identity),
            Err(error) => error,
        };
        patience.kept(began.elapsed());
        let known = error.downcast_ref::<JoinError>().filter(|known| bears(known));
        let next = known.map_or(Next::End, |known| patience.after(known, &mut SystemEntropy));
        let Next::Again { after, tell } = next else { return Err(error) };
        if tell {
            tracing::warn!(again_in = ?after, "not let in yet: {error:#}");
        }
        tokio::time::sleep(after).await;
    }
}

async fn join(
    token: &str,
    device: &Device,
    network: Arc<dyn Network>,
    clock: Arc<dyn Clock>,
) -> Result<AgentIdentity> {
    let token = JoinToken::parse(token)?;
    if token.role != TokenRole::Edge {
        bail!("this join token is for a {}, not for an edge", token.role.as_str());
    }
    let facts = BTreeMap::from([
        ("os".to_owned(), std::env::consts::OS.to_owned()),
        ("arch".to_owned(), std::env::consts::ARCH.to_owned()),
        ("version".to_owned(), env!("CARGO_PKG_VERSION").to_owned()),
    ]);
    let identity = link::enrol(EnrolParams {
        token: &token,
        directory: directory(&device.state),
        name: device.name.clone().unwrap_or_else(host_name),
        labels: device.labels.iter().cloned().collect(),
        facts,
        network,
        clock,
        entropy: &mut SystemEntropy,
        deadline: JOIN_DEADLINE,
    })
    .await?;
    if !matches!(identity.agent, AgentId::Edge(_)) {
        bail!("the hub made this device \"{}\", not an edge", identity.agent);
    }
    Ok(identity)
}

/// The host's name as a DNS label.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let first = name.trim().split('.').next().unwrap_or_default().to_lowercase();
    let label: String =
        first.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '-' }).take(63).collect();
    let label = label.trim_matches('-');
    if label.is_empty() { "edge".to_owned() } else { label.to_owned() }
}
