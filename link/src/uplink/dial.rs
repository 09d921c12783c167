//! One attempt to get a link: every address of every endpoint, and a return where only the time was in the way.

use std::sync::{Arc, PoisonError};
use std::time::Duration;

use identity::AgentIdentity;
use identity::lineage::kept_extension;
use identity::tls::tunnel_config;
use protocol::endpoints::{self, Endpoint};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::{AgentId, RegionName};
use protocol::lane::Framed as _;
use protocol::message::{Hello, Welcome};
use protocol::placement::{Site, told};
use protocol::session::{Close, CloseCode, Event, Session};
use protocol::trust::TrustKept;
use quinn::Connection;
use quinn::rustls::ClientConfig as TlsClientConfig;

use super::choice::{self, Rank};
use super::trust::Told;
use super::{HelloFacts, Reach, Runner, UplinkConfig, error_chain, is_final};
use crate::driver::{Carrier, Driver};
use crate::heard::Client;
use crate::network::{Carrier as Means, Dialer, Place};
use crate::race::{Lost, Race};
use crate::recovery::{Recovery, is_of_elsewhere, is_untimely};
use crate::transport::{describe, link_client, recover_client};
use crate::types::Reason;

/// How long whoever decides may think about a return.
const RETURN_DEADLINE: Duration = Duration::from_secs(45);

/// A link that was welcomed.
pub(super) struct Connected {
    pub(super) driver: Driver,
    pub(super) carrier: Arc<Carrier>,
    pub(super) welcome: Welcome,
    pub(super) place: Place,
    /// The endpoint that was dialled.
    pub(super) endpoint: String,
    /// Whether it was dialled because it is better than that of a link that is up.
    pub(super) climbed: bool,
    /// What is around tunnels to there.
    pub(super) tls: Arc<TlsClientConfig>,
    pub(super) means: Means,
    pub(super) region: RegionName,
    /// What the Hello told of trust.
    pub(super) told: Told,
}

/// An identity as it is shown to whoever is dialled.
#[derive(Clone)]
pub(super) struct Shown {
    identity: Arc<AgentIdentity>,
    client: Client,
    /// What is around tunnels.
    tls: Arc<TlsClientConfig>,
    /// What its Hello tells of trust.
    kept: TrustKept,
}

/// Of two refusals the one after which it is sooner worth while to come again.
fn sooner(one: Option<Refusal>, other: Option<Refusal>) -> Option<Refusal> {
    let patience = |refusal: &Refusal| (is_final(refusal.reason), refusal.retry_after_ms.unwrap_or(0));
    one.into_iter().chain(other).min_by_key(patience)
}

/// Why there is no link, and when to try again if the peer said so.
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) refusal: Option<Refusal>,
    /// Where a link failed for the time alone: there the agent may return.
    pub(crate) untimely: Vec<Place>,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), refusal: None, untimely: Vec::new() }
    }

    /// Whether somebody answered who cannot serve now.
    pub(super) fn is_for_now(&self) -> bool {
        self.refusal.as_ref().is_some_and(|refusal| refusal.reason == RefusalReason::Unavailable)
    }
}

impl Runner {
    /// Tries every address of every endpoint once, and once more after a return: of the agent's own region first, and
    /// when that does not answer for long, of those that stand in.
    pub(super) async fn dial(&mut self) -> Result<Connected, Failure> {
        let mut attempt = self.dial_site(None).await;
        if attempt.is_err() && tokio::time::Instant::now() >= self.standby_from {
            let elsewhere = self.config.identity.borrow().placed.elsewhere.clone();
            for site in &elsewhere {
                match (self.dial_site(Some(site)).await, &mut attempt) {
                    (Ok(connected), _) => return Ok(connected),
                    (Err(other), Err(own)) => {
                        let reason = format!("{}; region {}: {}", own.reason, site.region, other.reason);
                        own.reason = reason;
                    }
                    (Err(_), Ok(_)) => {}
                }
            }
        }
        if let Err(failure) = &attempt {
            self.shared.state.send_modify(|state| {
                state.attempts = state.attempts.saturating_add(1);
                state.reason.clone_from(&failure.reason);
            });
        }
        attempt
    }

    /// The same at one region: the agent's own, or another one.
    pub(super) async fn dial_site(&mut self, site: Option<&Site>) -> Result<Connected, Failure> {
        let identity = self.facing(site);
        let mut attempt = self.dial_all(&identity).await;
        let Some(recovery) = self.config.recovery.clone() else { return attempt };
        let untimely = attempt.as_mut().err().map(|failure| std::mem::take(&mut failure.untimely));
        // Not each of them may be one that serves now.
        for place in untimely.unwrap_or_default() {
            match self.recover(&recovery, &identity, &place).await {
                Ok(()) => {
                    let identity = self.facing(site);
                    return self.dial_all(&identity).await;
                }
                Err(failure) => attempt = Err(failure),
            }
        }
        attempt
    }

    /// Who the agent is to the listener of its own region, or of another one.
    fn facing(&mut self, site: Option<&Site>) -> Arc<AgentIdentity> {
        let identity = Arc::clone(&self.config.identity.borrow_and_update());
        site.map_or(Arc::clone(&identity), |site| Arc::new(identity.towards(site)))
    }

    /// The same of endpoints that are better than the one of a link that is up.
    pub(super) async fn dial_better(&mut self, than: Rank) -> Result<Connected, Failure> {
        let identity = self.facing(None);
        let endpoints = choice::better(&identity, than, &mut *self.config.entropy);
        let connected = self.dial_these(&identity, &endpoints).await?;
        Ok(Connected { climbed: true, ..connected })
    }

    async fn dial_all(&mut self, identity: &Arc<AgentIdentity>) -> Result<Connected, Failure> {
        let endpoints = choice::round(identity, &self.choice, self.failures, &mut *self.config.entropy);
        self.dial_these(identity, &endpoints).await
    }

    async fn dial_these(
        &mut self,
        identity: &Arc<AgentIdentity>,
        endpoints: &[String],
    ) -> Result<Connected, Failure> {
        let mut last = Failure::new("the identity names no endpoint to dial");
        for endpoint in endpoints {
            let addresses = match self.config.network.resolve(endpoint).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    let reason = format!("failed to resolve \"{endpoint}\": {error}");
                    last = Failure { reason, ..last };
                    continue;
                }
            };
            let mut silent = true;
            for address in addresses {
                match self.dial_place(identity, Place::new(endpoint, address)).await {
                    Ok(connected) => return Ok(Connected { endpoint: endpoint.clone(), ..connected }),
                    Err(failure) => {
                        let reason = format!("{endpoint}: {}", failure.reason);
                        silent &= failure.refusal.is_none();
                        let mut untimely = last.untimely;
                        untimely.extend(failure.untimely);
                        let refusal = sooner(failure.refusal, last.refusal);
                        last = Failure { reason, refusal, untimely };
                        if self.config.network.way(address) != self.reach.way {
                            // Those tried before may be within reach now.
                            return Err(last);
                        }
                    }
                }
            }
            if silent {
                self.choice.silent(endpoint);
            }
        }
        Err(last)
    }

    /// Gets a new certificate from whoever listens there.
    async fn recover(
        &mut self,
        recovery: &Recovery,
        identity: &AgentIdentity,
        place: &Place,
    ) -> Result<(), Failure> {
        let UplinkConfig { profile, clock, entropy, .. } = &mut self.config;
        let client = recover_client(identity, profile, Arc::clone(clock), &mut **entropy)
            .map_err(|error| Failure::new(error_chain(&error)))?;
        let tls = self.tunnel_tls(identity)?;
        let (connection, _) = self.connect(client, tls, place).await?;
        let returned = recovery.recover(connection, &*self.config.clock);
        match tokio::time::timeout(RETURN_DEADLINE, returned).await {
            Ok(returned) => returned,
            Err(_) => Err(Failure::new(format!("no answer to the return within {RETURN_DEADLINE:?}"))),
        }
    }

    /// What an identity shows, made once: whoever is without a link dials for as long as that lasts.
    fn shown(&mut self, identity: &Arc<AgentIdentity>) -> Result<Shown, Failure> {
        if let Some(shown) = self.shown.as_ref().filter(|shown| Arc::ptr_eq(&shown.identity, identity)) {
            return Ok(shown.clone());
        }
        let UplinkConfig { profile, clock, entropy, .. } = &mut self.config;
        let client = link_client(identity, profile, Arc::clone(clock), &mut **entropy)
            .map_err(|error| Failure::new(error_chain(&error)))?;
        let (tls, kept) = (self.tunnel_tls(identity)?, identity.trust_kept());
        let shown = Shown { identity: Arc::clone(identity), client, tls, kept };
        Ok(self.shown.insert(shown).clone())
    }

    /// What is around a tunnel to whom that identity dials.
    fn tunnel_tls(&self, identity: &AgentIdentity) -> Result<Arc<TlsClientConfig>, Failure> {
        let config = tunnel_config(identity, Arc::clone(&self.config.clock));
        config.map(Arc::new).map_err(|error| Failure::new(error_chain(&error)))
    }

    async fn connect(
        &self,
        client: Client,
        tls: Arc<TlsClientConfig>,
        place: &Place,
    ) -> Result<(Connection, Means), Failure> {
        let dialer = self.dialer()?;
        let way = self.config.network.way(place.address);
        let timeout = self.config.profile.connect_timeout;
        let race = Race { dialer: &dialer, client, tls, place, way, timeout };
        let rerouted = self.rerouted();
        let connected = tokio::select! {
            biased;
            connected = race.run() => connected,
            // The pause behind this failure ends at once.
            () = rerouted => return Err(Failure::new("the machine's network changed")),
        };
        match connected {
            Ok(connected) => Ok(connected),
            Err(Lost::Answer(error)) => {
                let untimely = is_untimely(&error).then(|| place.clone()).into_iter().collect();
                Err(Failure { untimely, ..Failure::new(describe(&error)) })
            }
            Err(Lost::Silence(reason)) => Err(Failure::new(reason)),
        }
    }

    async fn dial_place(
        &mut self,
        identity: &Arc<AgentIdentity>,
        place: Place,
    ) -> Result<Connected, Failure> {
        let address = place.address;
        self.reach = Reach { address, way: self.config.network.way(address) };
        let Shown { client, tls, kept, .. } = self.shown(identity)?;
        let (connection, means) = self.connect(client, Arc::clone(&tls), &place).await?;
        let carrier = Carrier::new(connection);
        // Until the Welcome nothing is certain: the peer may still be reading the certificate.
        match self.greet(identity, &kept, &carrier).await {
            Ok((driver, welcome)) => {
                self.shown = None;
                let region = identity.region.clone();
                let told = Told::by(identity, &kept);
                let (endpoint, climbed) = (String::new(), false);
                Ok(Connected { driver, carrier, welcome, place, endpoint, climbed, tls, means, region, told })
            }
            Err(failure) => {
                // The peer reads the certificate after this side thinks that all is well.
                let untimely =
                    carrier.end().is_some_and(|end| is_untimely(end) || is_of_elsewhere(identity, end));
                carrier.fail(Close::new(CloseCode::Done, "not welcome"));
                Err(Failure { untimely: untimely.then_some(place).into_iter().collect(), ..failure })
            }
        }
    }

    async fn greet(
        &self,
        identity: &AgentIdentity,
        kept: &TrustKept,
        carrier: &Arc<Carrier>,
    ) -> Result<(Driver, Welcome), Failure> {
        let lost = |error: quinn::ConnectionError| Failure::new(describe(&error));
        let (send, recv) = carrier.connection.open_bi().await.map_err(lost)?;
        let hello = self.hello(identity, kept);
        // Checked here, so that the session below cannot fail.
        hello.to_message().map_err(|error| Failure::new(error.to_string()))?;
        let session = |now| Session::lower(&hello, now).expect("the hello was measured");
        let mut driver = Driver::new(session, Arc::clone(carrier), send, recv);
        match driver.event().await {
            Event::Up(welcome) => Ok((driver, *welcome)),
            Event::Closed(Reason::Peer(refusal)) => {
                let reason = format!("refused: {}", refusal.message);
                Err(Failure { refusal: Some(refusal), ..Failure::new(reason) })
            }
            Event::Closed(reason) => Err(Failure::new(reason.to_string())),
            Event::Hello(_) | Event::Control(_) => Err(Failure::new("the peer skipped the welcome")),
        }
    }

    fn hello(&self, identity: &AgentIdentity, kept: &TrustKept) -> Hello {
        let edge = matches!(identity.agent, AgentId::Edge(_));
        let placed = identity.placed.generation.filter(|_| edge).map(told);
        let listed = identity.placed.listed.as_ref().map(|listed| listed.known().extension());
        let HelloFacts { speaks, stored, applied, streams, endpoints, facts } = self.source.hello();
        let told = speaks.tell();
        // Programs of before set no bit.
        let features = told.as_ref().map_or(0, |_| speaks.features.0);
        let priorities = (!endpoints.is_empty()).then(|| endpoints::priorities(&endpoints));
        let known = [kept_extension(kept)].into_iter().chain(listed).chain(priorities);
        let ext = placed.into_iter().chain(known).chain(told).collect();
        let endpoints = endpoints.into_iter().map(|Endpoint { address, .. }| address).collect();
        Hello {
            agent: identity.agent.clone(),
            features,
            software: self.config.software.clone(),
            incarnation: self.config.incarnation,
            stored,
            applied,
            streams,
            trust_sequence: identity.trust.sequence,
            endpoints,
            time: self.config.clock.now(),
            facts,
            ext,
        }
    }

    /// One socket for all attempts, made when first needed.
    fn dialer(&self) -> Result<Dialer, Failure> {
        let mut dialer = self.shared.dialer.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(dialer) = &*dialer {
            return Ok(dialer.clone());
        }
        let made = self.config.network.dialer(quinn::EndpointConfig::default());
        let made = made.map_err(|error| Failure::new(format!("failed to open a UDP socket: {error}")))?;
        Ok(dialer.insert(made).clone())
    }
}
