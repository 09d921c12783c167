//! Keeps an agent's certificate fresh over its live link.

use std::sync::Arc;
use std::time::Duration;

use identity::renewal::accept_renewal;
use identity::{AgentIdentity, Clock, Entropy, KeyStore, TlsKey, make_renew_request};
use protocol::message::{Request, Response};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::uplink::{UplinkHandle, error_chain};

/// How long the upper side may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest sleep at a stretch: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(3600);
/// The first pause after a failure; doubled up to [`PAUSE_MAX`], drawn between half and all of it.
const PAUSE_BASE: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// What renewal needs.
pub struct Renewal {
    /// The link to renew over.
    pub uplink: UplinkHandle,
    /// Where the new identity is kept before it is used.
    pub store: Arc<dyn KeyStore>,
    /// Where the new identity is published.
    pub identity: watch::Sender<Arc<AgentIdentity>>,
    /// The time of day.
    pub clock: Arc<dyn Clock>,
    /// For jitter.
    pub entropy: Box<dyn Entropy>,
}

impl Renewal {
    /// Renews whenever it is time, until cancelled. Nothing it meets makes it end: an agent without a valid
    /// certificate goes on with what it has, and so does this.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failures = 0;
        loop {
            let identity = Arc::clone(&self.identity.borrow());
            let due = identity.needs_renewal_at();
            let now = self.clock.now();
            let pause = if now < due {
                failures = 0;
                Duration::from_millis(due - now).min(NAP)
            } else {
                match self.renew(&identity).await {
                    Ok(()) => continue,
                    Err(reason) => {
                        failures += 1;
                        tracing::warn!(%reason, not_after = identity.not_after, "certificate is not renewed yet");
                        self.backoff(failures)
                    }
                }
            };
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    async fn renew(&self, identity: &AgentIdentity) -> Result<(), String> {
        let tls = TlsKey::generate().map_err(|error| error.to_string())?;
        let request = make_renew_request(identity, &tls).map_err(|error| error.to_string())?;
        let answer = self.uplink.call(Request::Renew(request), CALL_TIMEOUT).await;
        let grant = match answer.map_err(|error| error.to_string())? {
            Response::Renewed(grant) => grant,
            Response::Refused(refusal) => return Err(format!("refused: {}", refusal.message)),
            Response::Joined(_)
            | Response::Answer(_)
            | Response::TokenRegistered { .. }
            | Response::Challenge(_)
            | Response::Recovered(_) => {
                return Err("the answer is not about a renewal".to_owned());
            }
        };
        let renewed = accept_renewal(identity, tls, grant).map_err(|error| error.to_string())?;
        let renewed = renewed.granted_now(&*self.clock);
        let store = Arc::clone(&self.store);
        let kept = renewed.clone();
        let stored = tokio::task::spawn_blocking(move || store.store(&kept)).await;
        stored.map_err(|error| error.to_string())?.map_err(|error| error_chain(&error))?;
        tracing::info!(not_after = renewed.not_after, "certificate is renewed");
        self.identity.send_replace(Arc::new(renewed));
        Ok(())
    }

    fn backoff(&mut self, failures: u32) -> Duration {
        let bound = PAUSE_BASE.saturating_mul(1 << failures.min(20)).min(PAUSE_MAX);
        let half = u64::try_from(bound.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half + self.entropy.below(half))
    }
}
