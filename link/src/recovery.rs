//! The return of an agent that no listener takes a link from, because of the time: its certificate has expired, or
//! one of the clocks is wrong.
//!
//! ```text
//!   dial --- "certificate expired" (said here or there) ---> recover at the same address ---> dial again
//!                                                                |
//!                                                   refused, no answer: pause, dial again
//! ```

use std::sync::Arc;

use identity::recovery::{accept_recovery, make_recover_request};
use identity::{AgentIdentity, Clock, KeyStore};
use protocol::lane::Framed as _;
use protocol::message::{Request, Response};
use protocol::session::{Close, CloseCode};
use quinn::{Connection, ConnectionError};
use tokio::sync::watch;

use crate::driver::Carrier;
use crate::lanes::ask;
use crate::transport::{CERTIFICATE_EXPIRED, describe, is_alert};
use crate::types::CallError;
use crate::uplink::{Failure, error_chain};

/// What returning needs.
#[derive(Clone)]
pub struct Recovery {
    /// Where the new identity is kept before it is used.
    pub store: Arc<dyn KeyStore>,
    /// Where it is published.
    pub identity: watch::Sender<Arc<AgentIdentity>>,
}

/// Whether a handshake failed because of the time.
pub(crate) fn is_untimely(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ConnectionClosed(close) => u64::from(close.error_code) == CERTIFICATE_EXPIRED,
        ConnectionError::TransportError(error) => u64::from(error.code) == CERTIFICATE_EXPIRED,
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

/// Whether a handshake may have failed because another region issued the certificate, which the hub can replace.
pub(crate) fn is_of_elsewhere(identity: &AgentIdentity, error: &ConnectionError) -> bool {
    let ConnectionError::ConnectionClosed(close) = error else { return false };
    identity.is_issued_by_region() && is_alert(u64::from(close.error_code))
}

impl Recovery {
    /// Returns over that connection; the new identity is durable and published when this is done.
    pub(crate) async fn recover(&self, connection: Connection, clock: &dyn Clock) -> Result<(), Failure> {
        let identity = Arc::clone(&self.identity.borrow());
        let carrier = Carrier::new(connection);
        let returned = self.exchange(&identity, &carrier, clock).await;
        carrier.fail(Close::new(CloseCode::Done, "the return is over"));
        let returned = returned?;
        let (store, kept) = (Arc::clone(&self.store), returned.clone());
        let stored = tokio::task::spawn_blocking(move || store.store(&kept)).await;
        let stored = stored.map_err(|error| Failure::new(error.to_string()))?;
        stored.map_err(|error| Failure::new(error_chain(&error)))?;
        tracing::info!(
            not_after = returned.not_after,
            returns = returned.returns,
            clock_ahead_ms = returned.clock_ahead_ms,
            "returned with a new certificate"
        );
        self.identity.send_replace(Arc::new(returned));
        Ok(())
    }

    async fn exchange(
        &self,
        identity: &AgentIdentity,
        carrier: &Carrier,
        clock: &dyn Clock,
    ) -> Result<AgentIdentity, Failure> {
        let unexpected = || Failure::new("the peer answers something else than was asked");
        let asked = call(carrier, Request::Challenge(identity.agent.clone())).await?;
        let Response::Challenge(challenge) = asked else { return Err(unexpected()) };
        let store = Arc::clone(&self.store);
        let tls = tokio::task::spawn_blocking(move || store.pending_key()).await;
        let tls = tls.map_err(|error| Failure::new(error.to_string()))?;
        let tls = tls.map_err(|error| Failure::new(error_chain(&error)))?;
        let request = make_recover_request(identity, &tls, challenge)
            .map_err(|error| Failure::new(error_chain(&error)))?;
        match call(carrier, Request::Recover(request)).await? {
            Response::Recovered(grant) => accept_recovery(identity, tls, grant, clock)
                .map_err(|error| Failure::new(error_chain(&error))),
            Response::Joined(_)
            | Response::Renewed(_)
            | Response::Answer(_)
            | Response::TokenRegistered { .. }
            | Response::Refused(_)
            | Response::Challenge(_) => Err(unexpected()),
        }
    }
}

/// One question; a refusal is a failure.
async fn call(carrier: &Carrier, request: Request) -> Result<Response, Failure> {
    let message = request.to_message().map_err(|error| Failure::new(error.to_string()))?;
    let (send, recv) = carrier.connection.open_bi().await.map_err(|error| Failure::new(describe(&error)))?;
    match ask(send, recv, &message).await {
        Ok(Response::Refused(refusal)) => {
            let reason = format!("the return is refused: {}", refusal.message);
            Err(Failure { refusal: Some(refusal), ..Failure::new(reason) })
        }
        Ok(response) => Ok(response),
        Err(CallError::Down) => {
            let reason = carrier.connection.close_reason().map(|error| describe(&error));
            Err(Failure::new(reason.unwrap_or_else(|| CallError::Down.to_string())))
        }
        Err(error) => Err(Failure::new(error.to_string())),
    }
}
