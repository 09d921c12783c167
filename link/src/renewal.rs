//! Keeps an agent's certificate fresh over its live link, and a region's issuing certificate with it.

use std::sync::Arc;
use std::time::Duration;

use identity::issuer::issuer_wish;
use identity::renewal::accept_renewal;
use identity::{
    AgentIdentity, Clock, Entropy, FileStore, KeyStore, RegionIssuer, SystemEntropy, TlsKey,
    make_renew_request,
};
use protocol::message::{Request, Response};
use protocol::{Extensions, UnixMillis};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::keeping::amend;
use crate::uplink::{UplinkHandle, error_chain};

/// How long the upper side may take to answer.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest sleep at a stretch: the clock may be set meanwhile.
const NAP: Duration = Duration::from_secs(3600);
/// The first pause after a failure; doubled up to [`PAUSE_MAX`], drawn between half and all of it.
const PAUSE_BASE: Duration = Duration::from_secs(5);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(600);

/// When another root issues, all agents renew within this time, in milliseconds.
const OTHER_ROOT_SPREAD_MS: UnixMillis = 120_000;

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
    /// What a region asks for besides; nothing for an edge.
    pub delegation: Option<Delegation>,
}

/// The issuing certificate of a region.
pub struct Delegation {
    /// Where it is kept before it is used.
    pub store: Arc<FileStore>,
    /// Where it is published.
    pub issuer: watch::Sender<Option<Arc<RegionIssuer>>>,
}

impl Renewal {
    /// Renews whenever it is time, until cancelled. Nothing it meets makes it end: an agent without a valid
    /// certificate goes on with what it has, and so does this.
    pub async fn run(mut self, cancel: CancellationToken) {
        let mut failures = 0;
        let mut changed = self.identity.subscribe();
        let mut other_root_since = None;
        // A region without an issuing certificate asks for one as soon as its link is up; once, for a hub of before has
        // none to give.
        let mut lacks_issuer =
            self.delegation.as_ref().is_some_and(|delegation| delegation.issuer.borrow().is_none());
        if lacks_issuer {
            let mut state = self.uplink.watch();
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                // The link's end is this task's too: then it goes on by time alone.
                _ = state.wait_for(|state| state.up) => {}
            }
        }
        loop {
            let identity = Arc::clone(&self.identity.borrow());
            let now = self.clock.now();
            let replaced = self.of_other_root(&identity, now, &mut other_root_since);
            let due = if lacks_issuer { 0 } else { identity.needs_renewal_at().min(replaced) };
            let pause = if now < due {
                failures = 0;
                Duration::from_millis(due - now).min(NAP)
            } else {
                match self.renew(&identity).await {
                    Ok(()) if replaced <= now && self.identity.borrow().is_of_other_root() => {
                        failures += 1;
                        tracing::info!(
                            "renewed by the root of before: whoever answered has no other one yet"
                        );
                        self.backoff(failures)
                    }
                    Ok(()) => {
                        lacks_issuer = false;
                        continue;
                    }
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
                // Its bundle may name another root now.
                Ok(()) = changed.changed(), if failures == 0 => {}
                () = tokio::time::sleep(pause) => {}
            }
        }
    }

    /// When a certificate is to be renewed that is not by the root that issues now: soon after that was learnt, each agent
    /// at a moment of its own.
    fn of_other_root(
        &mut self,
        identity: &AgentIdentity,
        now: UnixMillis,
        since: &mut Option<(u64, UnixMillis)>,
    ) -> UnixMillis {
        if !identity.is_of_other_root() {
            *since = None;
            return UnixMillis::MAX;
        }
        match since {
            Some((sequence, due)) if *sequence == identity.trust.sequence => *due,
            _ => {
                let due = now + self.entropy.below(OTHER_ROOT_SPREAD_MS);
                *since = Some((identity.trust.sequence, due));
                due
            }
        }
    }

    async fn renew(&self, identity: &AgentIdentity) -> Result<(), String> {
        let tls = TlsKey::generate().map_err(|error| error.to_string())?;
        let mut request = make_renew_request(identity, &tls).map_err(|error| error.to_string())?;
        let issuing = self.delegation.is_some().then(TlsKey::generate).transpose();
        let issuing = issuing.map_err(|error| error.to_string())?;
        if let Some(key) = &issuing {
            request.ext.push(issuer_wish(identity, key).map_err(|error| error.to_string())?);
        }
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
        let told = grant.ext.clone();
        // It may have been placed elsewhere meanwhile, or trust another root.
        let accept = |present: &AgentIdentity| {
            let renewed =
                accept_renewal(present, tls.clone(), grant.clone()).map_err(|error| error.to_string());
            Ok(Some(renewed?.granted_now(&*self.clock)))
        };
        let Some(renewed) = amend(&self.store, &self.identity, accept).await? else { return Ok(()) };
        tracing::info!(not_after = renewed.not_after, "certificate is renewed");
        if let (Some(delegation), Some(key)) = (&self.delegation, issuing)
            && let Err(reason) = delegation.take(&renewed, key, &told, self.clock.now()).await
        {
            tracing::error!(%reason, "the region's issuing certificate is not renewed; the one before goes on to serve");
        }
        Ok(())
    }

    fn backoff(&mut self, failures: u32) -> Duration {
        let bound = PAUSE_BASE.saturating_mul(1 << failures.min(20)).min(PAUSE_MAX);
        let half = u64::try_from(bound.as_millis() / 2).unwrap_or(u64::MAX);
        Duration::from_millis(half + self.entropy.below(half))
    }
}

impl Delegation {
    /// Keeps and publishes the issuing certificate among the extensions of a grant, if there is one.
    async fn take(
        &self,
        identity: &AgentIdentity,
        key: TlsKey,
        told: &Extensions,
        now: UnixMillis,
    ) -> Result<(), String> {
        let issuer = RegionIssuer::granted(identity, key, told, now, &mut SystemEntropy);
        let Some(issuer) = issuer.map_err(|error| error.to_string())? else { return Ok(()) };
        let (store, kept) = (Arc::clone(&self.store), issuer.clone());
        let stored = tokio::task::spawn_blocking(move || store.store_issuer(&kept)).await;
        stored.map_err(|error| error.to_string())?.map_err(|error| error_chain(&error))?;
        tracing::info!(
            not_after = issuer.not_after(),
            "the region may renew its edges while the hub is away"
        );
        self.issuer.send_replace(Some(Arc::new(issuer)));
        Ok(())
    }
}
