//! The door of a replica: it listens from the start, and sends away whoever comes while another replica leads.
//!
//! ```text
//!   Hello, join, return --- stands by ---> "replica "a" leads, at hub-a.example.com:8443": unavailable, come back in 1 s
//!                       \-- leads -------> `admission`, `server`
//! ```
//!
//! # Why it listens at all
//! A port where nobody listens is silent to QUIC, and costs whoever dials it a timeout. An answer costs two round trips, and
//! then the next endpoint is dialled. Whoever dials a balancer in front of all replicas comes again, from another port.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::tls::Accepts;
use identity::{Authority, Clock, Trust};
use link::{
    Admission, Admitted, Downlink, DownlinkConfig, DownlinkEvent, DownlinkEvents, DownlinkHandle,
    EndpointKeys, Network, Profile,
};
use process::Process;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::message::Hello;
use protocol::version::Speaks;
use tokio::sync::watch;

use super::admission::RegionsOnly;
use super::server::StartError;
use crate::replicas::Replicas;
use crate::roster::Roster;

/// Most regions that link at once.
const PEERS_MAX: usize = 4_096;
/// When whoever was sent away may try again, in milliseconds: there may be another leader.
const RETRY_MS: u64 = 1_000;

/// A listener that serves nobody yet.
pub struct Door {
    pub(super) downlink: DownlinkHandle,
    pub(super) events: DownlinkEvents,
    switch: Arc<Switch>,
}

/// Decides by who leads.
struct Switch {
    roster: OnceLock<Roster>,
    leader: watch::Sender<String>,
    replicas: OnceLock<Replicas>,
}

impl Admission for Switch {
    fn admit<'a>(&'a self, peer: &'a AgentId, hello: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        match self.roster.get() {
            Some(roster) => {
                let admission = RegionsOnly(roster.clone());
                async move { admission.admit(peer, hello).await }.boxed()
            }
            None => std::future::ready(Err(self.refusal())).boxed(),
        }
    }
}

impl Switch {
    fn refusal(&self) -> Refusal {
        let leader = self.leader.borrow().clone();
        let known = self.replicas.get().map(|replicas| replicas.borrow().clone()).unwrap_or_default();
        let found = known.into_iter().find(|replica| replica.name == leader);
        let at = found.map(|replica| {
            let addresses: Vec<_> = replica.endpoints.into_iter().map(|endpoint| endpoint.address).collect();
            format!(", at {}", addresses.join(" and "))
        });
        let message = if leader.is_empty() {
            "this replica of the hub stands by, and nobody leads yet".to_owned()
        } else {
            format!("this replica of the hub stands by; replica \"{leader}\" leads{}", at.unwrap_or_default())
        };
        Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: Some(RETRY_MS) }
    }
}

impl Door {
    /// Listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn open(
        listen: SocketAddr,
        authority: &Authority,
        network: Arc<dyn Network>,
        clock: Arc<dyn Clock>,
        process: &Process,
    ) -> Result<Self, StartError> {
        let mut entropy = identity::SystemEntropy;
        let identity = authority.hub_identity(clock.now(), &mut entropy).map_err(StartError::Identity)?;
        let config = DownlinkConfig {
            listen,
            identity,
            trust: Trust::new(authority.trust()).map_err(StartError::Trust)?,
            accepts: Accepts::Regions,
            software: format!("hub {}", env!("CARGO_PKG_VERSION")),
            speaks: Speaks::HERE,
            profile: Profile::region(),
            peers_max: PEERS_MAX,
            keys: Some(EndpointKeys::from_secret(authority.link_secret())),
            network,
            clock,
        };
        let switch = Arc::new(Switch {
            roster: OnceLock::new(),
            leader: watch::Sender::default(),
            replicas: OnceLock::new(),
        });
        let admission = Arc::clone(&switch) as Arc<dyn Admission>;
        let (downlink, events) = Downlink::bind(config, admission, &process.tasks, process.cancel.clone())
            .await
            .map_err(|source| StartError::Bind { address: listen, source })?;
        Ok(Self { downlink, events, switch })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.downlink.local_addr()
    }

    /// Where to say who leads, while it is another one.
    pub fn leader(&self) -> watch::Sender<String> {
        self.switch.leader.clone()
    }

    /// Says who the replicas are, so that whoever comes is told where the leader is.
    pub fn knows(&self, replicas: Replicas) {
        if self.switch.replicas.set(replicas).is_err() {
            tracing::error!("the replicas are told twice");
        }
    }

    /// Sends everybody away until that is done.
    pub async fn stand_by<T>(&mut self, until: impl Future<Output = T>) -> T {
        let mut until = std::pin::pin!(until);
        loop {
            tokio::select! {
                biased;
                done = &mut until => return done,
                Some(event) = self.events.recv() => match event {
                    DownlinkEvent::Join { responder, .. }
                    | DownlinkEvent::Recover { responder, .. }
                    | DownlinkEvent::Request { responder, .. } => {
                        responder.respond(protocol::message::Response::Refused(self.switch.refusal()));
                    }
                    // Nobody is linked; whoever is of another major is told so by the link itself.
                    DownlinkEvent::Up { .. }
                    | DownlinkEvent::Down { .. }
                    | DownlinkEvent::Control { .. }
                    | DownlinkEvent::Telemetry { .. }
                    | DownlinkEvent::Incompatible { .. } => {}
                },
            }
        }
    }

    /// What it shows to whoever comes.
    pub fn shown(&self) -> Shown {
        Shown(self.downlink.clone())
    }

    /// From now on regions of that roster are let in.
    pub(super) fn unlock(&self, roster: Roster) {
        if self.switch.roster.set(roster).is_err() {
            tracing::error!("the hub's door is unlocked twice");
        }
    }
}

/// The certificate of a door, and whom it trusts.
#[derive(Debug, Clone)]
pub struct Shown(DownlinkHandle);

impl Shown {
    /// Goes by what the authority is now: another replica may have replaced its keys.
    ///
    /// # Errors
    /// [`StartError`]; what was shown before stays.
    pub fn renew(&self, authority: &Authority, clock: &dyn Clock) -> Result<(), StartError> {
        let mut entropy = identity::SystemEntropy;
        let identity = authority.hub_identity(clock.now(), &mut entropy).map_err(StartError::Identity)?;
        self.0.set_identity(&identity).map_err(StartError::Tls)?;
        self.0.set_trust(authority.trust()).map(|_| ()).map_err(StartError::Trust)
    }
}
