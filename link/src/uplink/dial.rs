//! One attempt to get a link: every address of every endpoint, and a return where only the time was in the way.

use std::net::SocketAddr;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use identity::AgentIdentity;
use protocol::enrolment::Refusal;
use protocol::lane::Framed as _;
use protocol::message::{Hello, Welcome};
use protocol::session::{Close, CloseCode, Event, Session};
use quinn::{Connection, Endpoint};

use super::{HelloFacts, Reach, Runner, UplinkConfig, error_chain};
use crate::driver::{Carrier, Driver};
use crate::recovery::{Recovery, is_untimely};
use crate::transport::{describe, link_client, recover_client};
use crate::types::Reason;

/// How long whoever decides may think about a return.
const RETURN_DEADLINE: Duration = Duration::from_secs(45);

/// A link that was welcomed.
pub(super) struct Connected {
    pub(super) driver: Driver,
    pub(super) carrier: Arc<Carrier>,
    pub(super) welcome: Welcome,
    pub(super) remote: SocketAddr,
}

/// Why there is no link, and when to try again if the peer said so.
pub(crate) struct Failure {
    pub(crate) reason: String,
    pub(crate) refusal: Option<Refusal>,
    /// Where a link failed for the time alone: there the agent may return.
    pub(crate) untimely: Option<SocketAddr>,
}

impl Failure {
    pub(crate) fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), refusal: None, untimely: None }
    }
}

impl Runner {
    /// Tries every address of every endpoint once; and once more after a return.
    pub(super) async fn dial(&mut self) -> Result<Connected, Failure> {
        let mut attempt = self.dial_all().await;
        if let Err(Failure { untimely: Some(address), .. }) = attempt
            && let Some(recovery) = self.config.recovery.clone()
        {
            attempt = match self.recover(&recovery, address).await {
                Ok(()) => self.dial_all().await,
                Err(failure) => Err(failure),
            };
        }
        if let Err(failure) = &attempt {
            self.shared.state.send_modify(|state| {
                state.attempts = state.attempts.saturating_add(1);
                state.reason.clone_from(&failure.reason);
            });
        }
        attempt
    }

    async fn dial_all(&mut self) -> Result<Connected, Failure> {
        let identity = Arc::clone(&self.config.identity.borrow_and_update());
        let mut last = Failure::new("the identity names no endpoint to dial");
        for endpoint in &identity.endpoints {
            let addresses = match self.config.network.resolve(endpoint).await {
                Ok(addresses) => addresses,
                Err(error) => {
                    last = Failure::new(format!("failed to resolve \"{endpoint}\": {error}"));
                    continue;
                }
            };
            for address in addresses {
                match self.dial_address(&identity, address).await {
                    Ok(connected) => return Ok(connected),
                    Err(failure) => {
                        let reason = format!("{endpoint}: {}", failure.reason);
                        let untimely = failure.untimely.or(last.untimely);
                        last = Failure { reason, untimely, ..failure };
                        if self.config.network.way(address) != self.reach.way {
                            // Those tried before may be within reach now.
                            return Err(last);
                        }
                    }
                }
            }
        }
        Err(last)
    }

    /// Gets a new certificate from whoever listens there.
    async fn recover(&mut self, recovery: &Recovery, address: SocketAddr) -> Result<(), Failure> {
        let identity = Arc::clone(&self.config.identity.borrow());
        let UplinkConfig { profile, clock, entropy, .. } = &mut self.config;
        let client = recover_client(&identity, profile, Arc::clone(clock), &mut **entropy)
            .map_err(|error| Failure::new(error_chain(&error)))?;
        let connection = self.connect(client, address).await?;
        let returned = recovery.recover(connection, &*self.config.clock);
        match tokio::time::timeout(RETURN_DEADLINE, returned).await {
            Ok(returned) => returned,
            Err(_) => Err(Failure::new(format!("no answer to the return within {RETURN_DEADLINE:?}"))),
        }
    }

    async fn connect(&self, client: quinn::ClientConfig, address: SocketAddr) -> Result<Connection, Failure> {
        let timeout = self.config.profile.connect_timeout;
        let rerouted = self.rerouted();
        let connecting = self
            .endpoint()?
            .connect_with(client, address, identity::tls::SERVER_NAME)
            .map_err(|error| Failure::new(error.to_string()))?;
        let connected = tokio::select! {
            biased;
            connected = tokio::time::timeout(timeout, connecting) => connected,
            // The pause behind this failure ends at once.
            () = rerouted => return Err(Failure::new("the machine's network changed")),
        };
        match connected {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(error)) => {
                let untimely = is_untimely(&error).then_some(address);
                Err(Failure { untimely, ..Failure::new(describe(&error)) })
            }
            Err(_) => Err(Failure::new(format!("no answer within {timeout:?}"))),
        }
    }

    async fn dial_address(
        &mut self,
        identity: &Arc<AgentIdentity>,
        address: SocketAddr,
    ) -> Result<Connected, Failure> {
        self.reach = Reach { address, way: self.config.network.way(address) };
        let UplinkConfig { profile, clock, entropy, .. } = &mut self.config;
        let client = link_client(identity, profile, Arc::clone(clock), &mut **entropy)
            .map_err(|error| Failure::new(error_chain(&error)))?;
        let carrier = Carrier::new(self.connect(client, address).await?);
        // Until the Welcome nothing is certain: the peer may still be reading the certificate.
        match self.greet(identity, &carrier).await {
            Ok((driver, welcome)) => Ok(Connected { driver, carrier, welcome, remote: address }),
            Err(failure) => {
                // The peer reads the certificate after this side thinks that all is well.
                let untimely = carrier.end().is_some_and(is_untimely);
                carrier.fail(Close::new(CloseCode::Done, "not welcome"));
                Err(Failure { untimely: untimely.then_some(address), ..failure })
            }
        }
    }

    async fn greet(
        &self,
        identity: &AgentIdentity,
        carrier: &Arc<Carrier>,
    ) -> Result<(Driver, Welcome), Failure> {
        let lost = |error: quinn::ConnectionError| Failure::new(describe(&error));
        let (send, recv) = carrier.connection.open_bi().await.map_err(lost)?;
        let hello = self.hello(identity);
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

    fn hello(&self, identity: &AgentIdentity) -> Hello {
        let HelloFacts { features, stored, applied, streams, endpoints, facts } = self.source.hello();
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
            ext: Vec::new(),
        }
    }

    /// One socket for all attempts, made when first needed.
    fn endpoint(&self) -> Result<Endpoint, Failure> {
        let mut endpoint = self.shared.endpoint.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(endpoint) = &*endpoint {
            return Ok(endpoint.clone());
        }
        let made = self.config.network.dialer(quinn::EndpointConfig::default());
        let made = made.map_err(|error| Failure::new(format!("failed to open a UDP socket: {error}")))?;
        Ok(endpoint.insert(made).clone())
    }
}
