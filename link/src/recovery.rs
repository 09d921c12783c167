//! The return of an agent that no listener takes a link from, because of the time: its certificate has expired, the root
//! behind it or behind the listener's was replaced while the agent was away, or one of the clocks is wrong.
//!
//! ```text
//!   dial --- "certificate expired" (said here or there) ---> recover at the same address ---> dial again
//!                                                                |
//!                                                   refused, no answer: pause, dial again
//! ```

use std::sync::Arc;

use identity::recovery::{accept_recovery, make_recover_request};
use identity::{AgentIdentity, Clock, KeyStore, TlsKey};
use protocol::lane::Framed as _;
use protocol::message::{Request, Response};
use protocol::recovery::RecoverGrant;
use protocol::session::{Close, CloseCode};
use quinn::{Connection, ConnectionError};
use tokio::sync::watch;

use crate::driver::Carrier;
use crate::keeping::amend;
use crate::lanes::ask;
use crate::transport::{CERTIFICATE_EXPIRED, UNKNOWN_AUTHORITY, describe, is_alert};
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

/// Whether a handshake failed because of the time: a certificate has expired, or a root was replaced meanwhile.
pub(crate) fn is_untimely(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::ConnectionClosed(close) => is_of_then(close.error_code.into()),
        ConnectionError::TransportError(error) => is_of_then(error.code.into()),
        ConnectionError::VersionMismatch
        | ConnectionError::ApplicationClosed(_)
        | ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}

fn is_of_then(code: u64) -> bool {
    matches!(code, CERTIFICATE_EXPIRED | UNKNOWN_AUTHORITY)
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
        let answered = self.exchange(&identity, &carrier).await;
        carrier.fail(Close::new(CloseCode::Done, "the return is over"));
        let (tls, grant) = answered?;
        let accept = |present: &AgentIdentity| {
            let returned = accept_recovery(present, tls.clone(), grant.clone(), clock);
            returned.map(Some).map_err(|error| error_chain(&error))
        };
        let returned = amend(&self.store, &self.identity, accept).await.map_err(Failure::new)?;
        let Some(returned) = returned else { return Ok(()) };
        tracing::info!(
            not_after = returned.not_after,
            returns = returned.returns,
            clock_ahead_ms = returned.clock_ahead_ms,
            "returned with a new certificate"
        );
        Ok(())
    }

    async fn exchange(
        &self,
        identity: &AgentIdentity,
        carrier: &Carrier,
    ) -> Result<(TlsKey, RecoverGrant), Failure> {
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
            Response::Recovered(grant) => Ok((tls, grant)),
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
