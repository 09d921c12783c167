//! Joining the mesh with a token.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use identity::join::{GrantError, accept_grant};
use identity::key::KeyError;
use identity::store::StoreError;
use identity::tls::tunnel_join_config;
use identity::{
    AgentIdentity, Clock, Entropy, FileStore, JoinToken, KeyStore as _, TlsKey, make_join_request,
};
use protocol::enrolment::{JoinGrant, JoinRequest, Refusal, RefusalReason};
use protocol::lane::Framed as _;
use protocol::message::{Request, Response};
use protocol::session::{Close, CloseCode};

use crate::driver::Carrier;
use crate::lanes::ask;
use crate::network::{Network, Place};
use crate::profile::Profile;
use crate::race::{Lost, Race};
use crate::transport::{describe, join_client};
use crate::types::CallError;
use crate::uplink::error_chain;

/// Why a device did not become an agent.
#[derive(Debug, thiserror::Error)]
pub enum JoinError {
    /// The hub said no.
    #[error("join refused: {}", .0.message)]
    Refused(Refusal),
    /// No endpoint of the token answered.
    #[error("failed to reach any endpoint of the join token: {0}")]
    Unreachable(String),
    /// The time is over.
    #[error("no answer to the join within {0:?}")]
    Deadline(Duration),
    /// The answer contradicts the token.
    #[error("the answer to the join is not believed")]
    Grant(#[source] GrantError),
    /// No key could be made.
    #[error("failed to make the keys for the join")]
    Key(#[source] KeyError),
    /// The identity could not be kept.
    #[error("failed to keep the identity")]
    Store(#[source] StoreError),
}

/// What a join needs.
pub struct JoinParams<'a> {
    /// The token.
    pub token: &'a JoinToken,
    /// What to send, made by [`make_join_request`].
    pub request: JoinRequest,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub entropy: &'a mut dyn Entropy,
    /// How long it may take over all endpoints.
    pub deadline: Duration,
}

/// What enrolling needs.
pub struct EnrolParams<'a> {
    /// The token.
    pub token: &'a JoinToken,
    /// The directory that keeps keys and identity.
    pub directory: PathBuf,
    /// The name the device would like, a DNS label.
    pub name: String,
    /// Labels the device would like.
    pub labels: BTreeMap<String, String>,
    /// What the device is: `os`, `arch`, `version`, `kubernetes`.
    pub facts: BTreeMap<String, String>,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// For keys and jitter.
    pub entropy: &'a mut dyn Entropy,
    /// How long it may take.
    pub deadline: Duration,
}

/// Joins and keeps the identity. The device key is stored before the first packet leaves, so an answer that got
/// lost is simply asked for again, also by another process.
///
/// # Errors
/// [`JoinError`].
pub async fn enrol(params: EnrolParams<'_>) -> Result<AgentIdentity, JoinError> {
    let EnrolParams { token, directory, name, labels, facts, network, clock, entropy, deadline } = params;
    let store = FileStore::new(directory);
    let device = store.device_key(entropy).map_err(JoinError::Store)?;
    let tls = TlsKey::generate().map_err(JoinError::Key)?;
    let request = make_join_request(token, &device, &tls, &name, labels, facts).map_err(JoinError::Key)?;
    let joining = JoinParams { token, request, network, clock: Arc::clone(&clock), entropy, deadline };
    let grant = join(joining).await?;
    let identity = accept_grant(token, device, tls, grant).map_err(JoinError::Grant)?.granted_now(&*clock);
    store.store(&identity).map_err(JoinError::Store)?;
    Ok(identity)
}

/// Sends a join request to the token's endpoints, in turn, until one answers.
///
/// # Errors
/// [`JoinError::Refused`] as soon as one endpoint says no for good.
pub async fn join(params: JoinParams<'_>) -> Result<JoinGrant, JoinError> {
    let deadline = params.deadline;
    tokio::time::timeout(deadline, try_endpoints(params)).await.map_err(|_| JoinError::Deadline(deadline))?
}

async fn try_endpoints(params: JoinParams<'_>) -> Result<JoinGrant, JoinError> {
    let JoinParams { token, request, network, clock, entropy, .. } = params;
    let unreachable = |reason: String| JoinError::Unreachable(reason);
    let dialer = network
        .dialer(quinn::EndpointConfig::default())
        .map_err(|error| unreachable(format!("failed to open a UDP socket: {error}")))?;
    let message = Request::Join(request).to_message().map_err(|error| unreachable(error.to_string()))?;
    let mut last = unreachable("it names none".to_owned());
    for name in &token.endpoints {
        let addresses = match network.resolve(name).await {
            Ok(addresses) => addresses,
            Err(error) => {
                last = unreachable(format!("failed to resolve \"{name}\": {error}"));
                continue;
            }
        };
        for address in addresses {
            let profile = Profile::edge();
            let client = join_client(token, &profile, Arc::clone(&clock), entropy)
                .map_err(|error| unreachable(error_chain(&error)))?;
            let tls = tunnel_join_config(token, Arc::clone(&clock))
                .map_err(|error| unreachable(error_chain(&error)))?;
            let race = Race {
                dialer: &dialer,
                client,
                tls: Arc::new(tls),
                place: &Place::new(name, address),
                way: network.way(address),
                timeout: profile.connect_timeout,
            };
            match try_address(race, &message).await {
                Ok(Response::Joined(grant)) => return Ok(grant),
                Ok(Response::Refused(refusal)) if refusal.reason == RefusalReason::Unavailable => {
                    last = JoinError::Refused(refusal);
                }
                Ok(Response::Refused(refusal)) => return Err(JoinError::Refused(refusal)),
                Ok(
                    Response::Renewed(_)
                    | Response::Answer(_)
                    | Response::TokenRegistered { .. }
                    | Response::Challenge(_)
                    | Response::Recovered(_),
                ) => {
                    last = unreachable(format!("{name} answers something else than was asked"));
                }
                Err(reason) => last = unreachable(format!("{name}: {reason}")),
            }
        }
    }
    Err(last)
}

async fn try_address(race: Race<'_>, message: &protocol::frame::Message) -> Result<Response, String> {
    let endpoint = race.dialer.endpoint.clone();
    let connection = match race.run().await {
        Ok((connection, _)) => connection,
        Err(Lost::Answer(error)) => return Err(describe(&error)),
        Err(Lost::Silence(reason)) => return Err(reason),
    };
    let carrier = Carrier::new(connection);
    let answer = match carrier.connection.open_bi().await {
        Ok((send, recv)) => ask(send, recv, message).await,
        Err(error) => return Err(describe(&error)),
    };
    let answer = answer.map_err(|error| match (error, carrier.connection.close_reason()) {
        (CallError::Down, Some(reason)) => describe(&reason),
        (error, _) => error.to_string(),
    });
    carrier.fail(Close::new(CloseCode::Done, "the join is over"));
    // Lets the close leave, so that the other side need not wait for its timeout.
    let _ = tokio::time::timeout(Duration::from_millis(500), endpoint.wait_idle()).await;
    answer
}
