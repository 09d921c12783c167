//! Renewals: answered over an agent's own link or that of its region, and what regions decided while the hub was away.
//!
//! A region gets its issuing certificate here too, together with its own. What a region renewed on its own is held
//! against the objects once it tells: an edge that is not its own or was revoked meanwhile is named in an Event. Nobody
//! else believes such a certificate (see [`identity::issuer`]), and the edge's link is ended as every removal is.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use identity::issuer::wished_issuer;
use identity::{SystemEntropy, check_renewal};
use kube::runtime::events::{Event, EventType};
use process::Process;
use protocol::delegation::EdgeRenewal;
use protocol::enrolment::{Refusal, RefusalReason, RenewGrant, RenewRequest};
use protocol::id::{AgentId, RegionName};
use protocol::message::Response;

use super::device::{self, Registered};
use super::registrar::{Denied, Registrar};
use super::token::malformed;

/// What the hub thinks of a renewal that a region decided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// As the hub would have decided.
    Fine,
    /// The region refused it.
    Refused,
    /// The edge was revoked meanwhile.
    Revoked,
    /// The edge is not one of that region's.
    Foreign,
}

/// How often each verdict was reached.
#[derive(Debug, Default)]
pub(crate) struct Verdicts([AtomicU64; 4]);

impl Verdicts {
    const ALL: [(Verdict, &str); 4] = [
        (Verdict::Fine, "fine"),
        (Verdict::Refused, "refused"),
        (Verdict::Revoked, "revoked"),
        (Verdict::Foreign, "foreign"),
    ];

    /// Counters that are among the process's metrics.
    pub(crate) fn register(process: &Process) -> Arc<Self> {
        let verdicts = Arc::new(Self::default());
        let read = Arc::clone(&verdicts);
        process.metrics.source(move |gathering| {
            for (verdict, name) in Self::ALL {
                let count = read.0[verdict as usize].load(Ordering::Relaxed) as f64;
                let help = "Renewals that regions decided without the hub, by what the hub thinks of them.";
                gathering.counter("skein_hub_region_renewals_total", help, &[("verdict", name)], count);
            }
        });
        verdicts
    }

    pub(crate) fn count(&self, verdict: Verdict) {
        self.0[verdict as usize].fetch_add(1, Ordering::Relaxed);
    }
}

impl Registrar {
    /// Answers a renewal over the link of `peer`, which is the agent itself or its region. A refusal is an Event of the
    /// agent's object, where there is one.
    pub async fn renew(&self, peer: &AgentId, request: &RenewRequest) -> Response {
        let registered = match self.registered(&request.agent).await {
            Ok(registered) => registered,
            Err(denied) => return self.denied("renewal", denied),
        };
        match self.try_renew(peer, &registered, request).await {
            Ok(grant) => Response::Renewed(grant),
            Err(denied) => {
                if let Denied::Refused(refusal) = &denied {
                    self.note(&registered, "RenewalRefused", refusal.message.clone()).await;
                }
                self.denied("renewal", denied)
            }
        }
    }

    async fn try_renew(
        &self,
        peer: &AgentId,
        registered: &Registered,
        request: &RenewRequest,
    ) -> Result<RenewGrant, Denied> {
        let key = self.device_key_of(registered, &request.agent)?;
        let region = self.serving(registered).await?;
        let via_region = matches!(peer, AgentId::Region(name) if *name == region);
        if *peer != request.agent && !via_region {
            let message = format!("{peer} may not renew the certificate of {}", request.agent);
            return Err(Refusal { reason: RefusalReason::Forbidden, message, retry_after_ms: None }.into());
        }
        check_renewal(request, &key, &request.agent)?;
        let wished = match &request.agent {
            AgentId::Region(_) => wished_issuer(request, &key)?,
            // An edge issues nothing, whatever it asks for.
            AgentId::Edge(_) => None,
        };
        registered.keep_told(&self.client, &device::annotations(&key, &request.ext)).await?;
        let mut grant = self.renewed(&request.agent, &region, &request.csr).await?;
        if let Some(csr) = wished {
            let issuer = self.authority.delegate(&region, csr, self.clock.now(), &mut SystemEntropy);
            grant.ext.push(issuer.map_err(malformed)?);
        }
        Ok(grant)
    }

    /// Notes what a region decided about a renewal.
    pub(crate) async fn renewed_by_region(
        &self,
        region: &RegionName,
        renewal: &EdgeRenewal,
        verdict: Verdict,
    ) {
        let agent = AgentId::Edge(renewal.edge);
        let (about, reason, message) = match (verdict, &renewal.refusal) {
            (Verdict::Fine, _) => {
                tracing::info!(%region, %agent, not_after = renewal.not_after, "renewed by its region");
                return;
            }
            (Verdict::Refused, refusal) => {
                let why = refusal.as_ref().map_or("", |refusal| refusal.message.as_str());
                let message =
                    format!("region \"{region}\" refused the renewal while the hub was away: {why}");
                (agent, "RenewalRefused", message)
            }
            (Verdict::Revoked, _) => {
                let message = format!("region \"{region}\" renewed it before it knew that it was revoked");
                (agent, "RevokedRenewed", message)
            }
            (Verdict::Foreign, _) => {
                let message =
                    format!("it renewed {agent}, which is not one of its edges; nobody accepts that");
                (AgentId::Region(region.clone()), "ForeignRenewal", message)
            }
        };
        tracing::warn!(%region, %about, reason, message, "a region's renewal is noted");
        match self.registered(&about).await {
            Ok(registered) => self.note(&registered, reason, message).await,
            Err(denied) => drop(self.denied("note of a renewal", denied)),
        }
    }

    async fn note(&self, registered: &Registered, reason: &str, message: String) {
        let event = Event {
            type_: EventType::Warning,
            reason: reason.to_owned(),
            note: Some(message),
            action: "Renew".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.events.publish(&event, &registered.object_ref()).await {
            tracing::warn!(%error, reason, "failed to publish an event");
        }
    }
}
