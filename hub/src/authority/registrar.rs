//! Who becomes an agent: joins.
//!
//! ```text
//! JoinRequest -> find JoinToken -> check_join (pure) -> bind in JoinToken.status -> Edge object -> certificate
//!                     ^                                      | conflict: another    \-- not approved: waits
//!                     +--------------------------------------+ request was faster
//! ```
//! Every step can be repeated: a device whose answer got lost asks again and gets the same one. The binding is
//! written with the resource version that was read, so of two devices with one token one wins.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use api::k0rdent::{ClusterDeployment, ClusterDeploymentRef};
use api::names::label;
use api::skein::{Edge, EdgeSpec, EdgeStatus, JoinToken, JoinTokenUse, RefusedJoins};
use bytes::Bytes;
use identity::{Authority, Clock, JoinDecision, SystemEntropy, TokenUse, check_join};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::api::{Api, ListParams, ObjectMeta, Patch, PatchParams, PostParams};
use kube::runtime::events::{Event, EventType, Recorder, Reporter};
use kube::{Resource, ResourceExt};
use process::Process;
use protocol::enrolment::{self, JoinGrant, JoinRequest, Refusal, RefusalReason, RenewGrant, TokenId};
use protocol::id::{AgentId, RegionName};
use protocol::message::Response;

use super::approval::{self, ASKS, Asked, Asks, Outcome, Outcomes};
use super::device::{self, Registered};
use super::regions::Regions;
use super::token::{check_via, malformed, spki_hash, token_record};
use crate::cache::Store;
use crate::roster::Roster;

/// Label of a JoinToken: the token's id in hexadecimal.
pub(super) const TOKEN_ID: &str = "skein.dev/token-id";
/// Label of an Edge: its agent's id.
const AGENT_ID: &str = "skein.dev/agent-id";
/// Rounds of reading and binding before the device is asked to come back.
pub(super) const ROUNDS: u32 = 5;

/// Decides who becomes an agent.
#[derive(Clone)]
pub struct Registrar {
    pub(super) client: kube::Client,
    namespace: String,
    pub(super) authority: Arc<Authority>,
    endpoints: Arc<RwLock<Vec<String>>>,
    /// Held while a token is bound; within, the token bound last, as it then was.
    turn: Arc<tokio::sync::Mutex<Option<JoinToken>>>,
    tokens: Arc<OnceLock<Store<JoinToken>>>,
    roster: Arc<OnceLock<Roster>>,
    outcomes: Arc<Outcomes>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) events: Recorder,
    regions: Regions,
}

/// Why a request is not granted: the peer's fault, or the API server's.
pub(super) enum Denied {
    Refused(Refusal),
    Api(kube::Error),
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<kube::Error> for Denied {
    fn from(error: kube::Error) -> Self {
        Self::Api(error)
    }
}

/// Why the device waits that the token was bound to before, if it does.
fn bound_before(token: &JoinToken, request: &JoinRequest) -> Option<String> {
    let hash = spki_hash(&request.device_key);
    let uses = &token.status.as_ref()?.uses;
    uses.iter().find(|used| used.spki_hash == hash)?.approval.clone()
}

/// The Edge object says which agent it stands for.
async fn stands_for(edges: &Api<Edge>, name: &str, agent: String) -> Result<(), Denied> {
    let status = EdgeStatus { agent_id: Some(agent), ..EdgeStatus::default() };
    let patch = serde_json::json!({"status": status});
    edges.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await?;
    Ok(())
}

impl Registrar {
    /// A registrar for the mesh of this authority.
    pub fn new(
        client: kube::Client,
        namespace: String,
        authority: Arc<Authority>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let reporter = Reporter { controller: "skein-hub".to_owned(), instance: None };
        let events = Recorder::new(client.clone(), reporter);
        Self {
            client,
            namespace,
            authority,
            endpoints: Arc::default(),
            turn: Arc::default(),
            tokens: Arc::default(),
            roster: Arc::default(),
            outcomes: Arc::default(),
            clock,
            events,
            regions: Regions::Objects,
        }
    }

    /// Keeps what belongs to regions in ConfigMaps: the kind `Region` belongs to another k0rdent.
    #[must_use]
    pub fn with_region_records(mut self) -> Self {
        self.regions = Regions::Records(self.namespace.clone());
        self
    }

    /// Says where the hub listens, all its replicas; regions that join or renew are told so.
    pub fn listens_at(&self, endpoints: Vec<String>) {
        *self.endpoints.write().unwrap_or_else(PoisonError::into_inner) = endpoints;
    }

    /// Lends the watched tokens, so that a join does not list those of the whole cluster. Without them, and where
    /// they do not suffice, the API server is asked.
    pub fn knows(&self, tokens: Store<JoinToken>) {
        if self.tokens.set(tokens).is_err() {
            tracing::error!("the watched tokens are lent twice");
        }
    }

    /// Tells how joins end among the process's metrics, and how many devices wait; the more do, the less often they are
    /// to ask.
    pub(crate) fn counts(&self, roster: Roster, process: &Process) {
        self.outcomes.register(process);
        let waiting = roster.clone();
        process.metrics.source(move |gathering| {
            let help = "Edges that wait for approval.";
            gathering.gauge("skein_hub_edges_waiting", help, &[], waiting.waiting() as f64);
        });
        if self.roster.set(roster).is_err() {
            tracing::error!("the roster is lent twice");
        }
    }

    /// Namespace of the hub's own objects.
    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Whether it is known where the hub listens.
    pub(super) fn is_listening(&self) -> bool {
        !self.hub_endpoints().is_empty()
    }

    pub(super) fn hub_endpoints(&self) -> Vec<String> {
        self.endpoints.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Answers a join.
    pub async fn join(&self, asked: Asked<'_>, request: &JoinRequest) -> Response {
        match self.try_join(asked, request).await {
            Ok(grant) => {
                tracing::info!(agent = %grant.agent, name = grant.name, "joined");
                self.outcomes.count(Outcome::Joined);
                Response::Joined(grant)
            }
            Err(Denied::Refused(refusal)) if refusal.reason == RefusalReason::ApprovalPending => {
                // It asks again and again; that it came was told when its Edge was made.
                tracing::debug!(message = refusal.message, "a device waits for approval");
                self.outcomes.count(Outcome::Pending);
                Response::Refused(refusal)
            }
            Err(denied) => {
                self.outcomes.count(match &denied {
                    Denied::Refused(refusal) if refusal.reason == RefusalReason::Revoked => Outcome::Denied,
                    Denied::Refused(refusal) if refusal.reason == RefusalReason::Unavailable => {
                        Outcome::Unavailable
                    }
                    Denied::Refused(_) => Outcome::Refused,
                    Denied::Api(_) => Outcome::Unavailable,
                });
                self.denied("join", denied)
            }
        }
    }

    async fn try_join(&self, asked: Asked<'_>, request: &JoinRequest) -> Result<JoinGrant, Denied> {
        let (token, decision, waits) = self.decide(asked, request).await?;
        let asks = waits.map(|why| Asks {
            at: self.now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string(),
            from: enrolment::source(request).filter(|_| asked.from.is_some()).map_or_else(
                || "an address that the region does not tell".to_owned(),
                |from| from.to_string(),
            ),
            why,
        });
        self.grant(&token, request, decision, asks).await
    }

    /// Holds a join against its token, and binds the token to the device; also says why the device is to wait, if it
    /// is. One at a time: a token that many devices use is one object, and they would only stand in each other's way.
    async fn decide(
        &self,
        asked: Asked<'_>,
        request: &JoinRequest,
    ) -> Result<(JoinToken, JoinDecision, Option<String>), Denied> {
        let mut last = self.turn.lock().await;
        for round in 0..ROUNDS {
            // What is known may be of a moment ago: it can grant, because binding compares versions; it cannot
            // refuse, and after a conflict it is not believed.
            let known = if round == 0 { self.known_token(last.as_ref(), request.token) } else { None };
            let believed = known.is_none();
            let token = match known {
                Some(token) => token,
                None => self.token(request.token).await?,
            };
            let checked = token_record(&token, &request.device_key)
                .and_then(|record| check_via(asked.via, &record).map(|()| record))
                .and_then(|record| check_join(request, &record, self.clock.now()));
            let decision = match checked {
                Ok(decision) => decision,
                Err(_) if !believed => continue,
                Err(refusal) => {
                    self.record_refusal(&token, &refusal).await;
                    return Err(refusal.into());
                }
            };
            match &decision.binding {
                Some(binding) => {
                    let waits = approval::waits(&token, &decision.labels, asked, self.clock.now());
                    if let Some(bound) = self.bind(&token, binding, waits.clone()).await? {
                        *last = Some(bound);
                        return Ok((token, decision, waits));
                    }
                }
                // A device that joins again changes nothing: no version is compared, the token may be revoked by now.
                None if !believed => {}
                None => {
                    let waits = bound_before(&token, request);
                    return Ok((token, decision, waits));
                }
            }
        }
        Err(Refusal {
            reason: RefusalReason::Unavailable,
            message: "the token is changed by others all the time".to_owned(),
            retry_after_ms: Some(1_000),
        }
        .into())
    }

    /// A token without a look at the API server: as it was bound last, for the watch may be behind that, or as watched.
    fn known_token(&self, last: Option<&JoinToken>, id: TokenId) -> Option<JoinToken> {
        let wanted = hex::encode(id.0);
        let is_it = |token: &JoinToken| token.spec.token_id.as_deref() == Some(wanted.as_str());
        if let Some(last) = last.filter(|last| is_it(last)) {
            return Some(last.clone());
        }
        let watched = self.tokens.get()?.list().into_iter().find(|token| is_it(token))?;
        Some(watched.as_ref().clone())
    }

    async fn token(&self, id: TokenId) -> Result<JoinToken, Denied> {
        let wanted = hex::encode(id.0);
        let tokens = Api::<JoinToken>::all(self.client.clone());
        let found = tokens.list(&ListParams::default().labels(&format!("{TOKEN_ID}={wanted}"))).await?.items;
        let token = found.into_iter().find(|token| token.spec.token_id.as_deref() == Some(&wanted));
        Ok(token.ok_or_else(|| identity::join::unknown_token(id))?)
    }

    /// Binds the token to a device. `None` when somebody else changed the token meanwhile.
    async fn bind(
        &self,
        token: &JoinToken,
        binding: &TokenUse,
        waits: Option<String>,
    ) -> Result<Option<JoinToken>, Denied> {
        let mut bound = token.clone();
        bound.status.get_or_insert_default().uses.push(JoinTokenUse {
            agent_id: binding.agent.to_string(),
            approval: waits,
            bound_at: Time(self.now()),
            spki_hash: spki_hash(&binding.device_key),
        });
        match self.tokens(token).replace_status(&token.name_any(), &PostParams::default(), &bound).await {
            Ok(bound) => Ok(Some(bound)),
            Err(kube::Error::Api(status)) if status.is_conflict() => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    async fn grant(
        &self,
        token: &JoinToken,
        request: &JoinRequest,
        decision: JoinDecision,
        asks: Option<Asks>,
    ) -> Result<JoinGrant, Denied> {
        let JoinDecision { agent, name, labels, .. } = decision;
        let region: RegionName = token.spec.region.parse().map_err(malformed)?;
        let endpoints = match &agent {
            AgentId::Region(_) => {
                self.keep_keys(&region, request).await?;
                self.hub_endpoints()
            }
            AgentId::Edge(_) => {
                let edge = self.ensure_edge(token, (&agent, &name), labels, request, asks).await?;
                let others = self.roster.get().map_or(0, Roster::waiting);
                if let Some(refusal) = approval::held_back(&edge, others) {
                    return Err(refusal.into());
                }
                self.region_endpoints(&region).await?
            }
        };
        let chain = self
            .authority
            .issue(&agent, &request.csr, self.clock.now(), &mut SystemEntropy)
            .map_err(malformed)?;
        let ((trust, ext), time) = (self.authority.vouched().map_err(malformed)?, self.clock.now());
        Ok(JoinGrant { agent, name, region, chain, trust, endpoints, time, ext })
    }

    async fn region_endpoints(&self, region: &RegionName) -> Result<Vec<String>, Denied> {
        let found = self.regions.find(&self.client, region).await?;
        Ok(found.map(|region| region.endpoints()).unwrap_or_default())
    }

    async fn keep_keys(&self, region: &RegionName, request: &JoinRequest) -> Result<(), Denied> {
        let Some(found) = self.regions.find(&self.client, region).await? else {
            let message = self.regions.advice(region);
            return Err(Refusal { reason: RefusalReason::OutOfScope, message, retry_after_ms: None }.into());
        };
        let told = device::annotations(&request.device_key, &request.ext);
        Ok(found.keep_told(&self.client, &told).await?)
    }

    /// The Edge object of an agent, made when it is not there yet; of one that waits, when there is something to wait for.
    async fn ensure_edge(
        &self,
        token: &JoinToken,
        (agent, name): (&AgentId, &str),
        mut labels: BTreeMap<String, String>,
        request: &JoinRequest,
        asks: Option<Asks>,
    ) -> Result<Edge, Denied> {
        let uuid = agent.edge().map(|edge| edge.to_string()).unwrap_or_default();
        let namespace = match &token.spec.cluster_deployment {
            Some(cluster) => cluster.namespace.clone(),
            None => token.spec.template_namespace.clone().unwrap_or_else(|| self.namespace.clone()),
        };
        let edges = Api::<Edge>::namespaced(self.client.clone(), &namespace);
        let mut told = device::annotations(&request.device_key, &request.ext);
        if let Some(there) = edges.get_opt(name).await? {
            if there.labels().get(AGENT_ID) == Some(&uuid) {
                // Whoever made it may have died before it said whom it stands for.
                let stands = there.status.as_ref().is_some_and(|status| status.agent_id.is_some());
                Registered::Edge(Box::new(there.clone())).keep_told(&self.client, &told).await?;
                if !stands {
                    stands_for(&edges, name, uuid).await?;
                }
                return Ok(there);
            }
            let message = format!("the name \"{name}\" belongs to another edge in namespace \"{namespace}\"");
            return Err(Refusal { reason: RefusalReason::OutOfScope, message, retry_after_ms: None }.into());
        }
        let approved = asks.as_ref().map(|_| false);
        if let Some(asks) = &asks {
            told.insert(ASKS.to_owned(), serde_json::to_string(asks).unwrap_or_default());
        }
        labels.insert(AGENT_ID.to_owned(), uuid.clone());
        labels.insert(label::REGION.to_owned(), token.spec.region.clone());
        labels.insert(label::COMPONENT.to_owned(), label::COMPONENT_KCM.to_owned());
        let edge = Edge {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(namespace),
                labels: Some(labels),
                annotations: Some(told),
                owner_references: self.owner(token).await?.map(|owner| vec![owner]),
                ..ObjectMeta::default()
            },
            spec: EdgeSpec {
                approved,
                cluster_deployment: token.spec.cluster_deployment.clone(),
                region: token.spec.region.clone(),
                template_namespace: token.spec.template_namespace.clone(),
                ..EdgeSpec::default()
            },
            status: None,
        };
        let made = edges.create(&PostParams::default(), &edge).await?;
        stands_for(&edges, name, uuid).await?;
        if let Some(asks) = asks {
            self.tell_waiting(&made, &asks).await;
        }
        Ok(made)
    }

    /// Says once, in the log and as an Event, that a device waits.
    async fn tell_waiting(&self, edge: &Edge, asks: &Asks) {
        let key = approval::fingerprint(edge.annotations()).unwrap_or_default();
        let note =
            format!("a device from {} with key SHA256:{key} waits for approval: {}", asks.from, asks.why);
        let name = edge.name_any();
        tracing::info!(name, from = asks.from, key, why = asks.why, "a device waits for approval");
        let (type_, reason, action) = (EventType::Normal, "ApprovalPending".to_owned(), "Join".to_owned());
        let event = Event { type_, reason, note: Some(note), action, secondary: None };
        if let Err(error) = self.events.publish(&event, &edge.object_ref(&())).await {
            tracing::warn!(name, %error, "failed to publish an event");
        }
    }

    /// An edge made for a ClusterDeployment goes with it.
    async fn owner(
        &self,
        token: &JoinToken,
    ) -> Result<Option<k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference>, Denied> {
        let Some(ClusterDeploymentRef { namespace, name, .. }) = &token.spec.cluster_deployment else {
            return Ok(None);
        };
        let clusters = Api::<ClusterDeployment>::namespaced(self.client.clone(), namespace);
        Ok(clusters.get_opt(name).await?.and_then(|cluster| cluster.owner_ref(&())))
    }

    /// The region that serves an agent: its own, or the one that stands in while that is declared lost.
    pub(super) async fn serving(&self, registered: &Registered) -> Result<RegionName, Denied> {
        let home = registered.region().map_err(malformed)?;
        if !matches!(registered, Registered::Edge(_)) {
            return Ok(home);
        }
        let found = self.regions.find(&self.client, &home).await?;
        let Some(standby) = found.and_then(|region| region.standing_in()) else { return Ok(home) };
        let exists = self.regions.find(&self.client, &standby).await?.is_some();
        Ok(if exists { standby } else { home })
    }

    /// A fresh certificate for an agent of that region, and what goes with it.
    pub(super) async fn renewed(
        &self,
        agent: &AgentId,
        region: &RegionName,
        csr: &[u8],
    ) -> Result<RenewGrant, Denied> {
        let chain =
            self.authority.issue(agent, csr, self.clock.now(), &mut SystemEntropy).map_err(malformed)?;
        let endpoints = match agent {
            AgentId::Region(_) => self.hub_endpoints(),
            AgentId::Edge(_) => self.region_endpoints(region).await?,
        };
        let ((trust, ext), time) = (self.authority.vouched().map_err(malformed)?, self.clock.now());
        Ok(RenewGrant { chain, trust, endpoints, time, ext })
    }

    /// The device key of an agent that may have certificates.
    ///
    /// # Errors
    /// The refusal of one that was revoked or is not known well enough.
    pub(super) fn device_key_of(&self, registered: &Registered, agent: &AgentId) -> Result<Bytes, Refusal> {
        if registered.is_revoked() {
            let message = format!("{agent} was revoked");
            return Err(Refusal { reason: RefusalReason::Revoked, message, retry_after_ms: None });
        }
        // A device knows who it would be: it may not get by another way what it waits for.
        if let Registered::Edge(edge) = registered
            && let Some(refusal) = approval::held_back(edge, 0)
        {
            return Err(refusal);
        }
        device::device_key(registered.annotations()).ok_or_else(|| Refusal {
            reason: RefusalReason::Forbidden,
            message: format!("no device key of {agent} is known: let it join again"),
            retry_after_ms: None,
        })
    }

    /// The object of an agent that joined.
    pub(super) async fn registered(&self, agent: &AgentId) -> Result<Registered, Denied> {
        let unknown = || Refusal {
            reason: RefusalReason::Revoked,
            message: format!("{agent} is not known here: its object was deleted"),
            retry_after_ms: None,
        };
        match agent {
            AgentId::Region(name) => Ok(self.regions.find(&self.client, name).await?.ok_or_else(unknown)?),
            AgentId::Edge(edge) => {
                let selector = ListParams::default().labels(&format!("{AGENT_ID}={edge}"));
                let found = Api::<Edge>::all(self.client.clone()).list(&selector).await?.items;
                let edge = found.into_iter().next().ok_or_else(unknown)?;
                Ok(Registered::Edge(Box::new(edge)))
            }
        }
    }

    /// Shows a refusal where the token's owner looks: in its status and as an Event.
    async fn record_refusal(&self, token: &JoinToken, refusal: &Refusal) {
        let before = token
            .status
            .as_ref()
            .and_then(|status| status.refused.as_ref())
            .map_or(0, |refused| refused.count);
        let refused = RefusedJoins {
            count: before + 1,
            last_at: Some(Time(self.now())),
            last_message: Some(refusal.message.clone()),
        };
        let patch = serde_json::json!({"status": {"refused": refused}});
        let name = token.name_any();
        if let Err(error) =
            self.tokens(token).patch_status(&name, &PatchParams::default(), &Patch::Merge(patch)).await
        {
            tracing::warn!(token = name, %error, "failed to record a refusal");
        }
        let event = Event {
            type_: EventType::Warning,
            reason: "JoinRefused".to_owned(),
            note: Some(refusal.message.clone()),
            action: "Join".to_owned(),
            secondary: None,
        };
        if let Err(error) = self.events.publish(&event, &token.object_ref(&())).await {
            tracing::warn!(token = name, %error, "failed to publish an event");
        }
    }

    pub(super) fn denied(&self, what: &str, denied: Denied) -> Response {
        match denied {
            Denied::Refused(refusal) => {
                tracing::warn!(reason = ?refusal.reason, message = refusal.message, "{what} refused");
                Response::Refused(refusal)
            }
            Denied::Api(error) => {
                tracing::error!(%error, "{what} failed at the API server");
                Response::Refused(Refusal {
                    reason: RefusalReason::Unavailable,
                    message: "the management cluster does not answer as it should".to_owned(),
                    retry_after_ms: Some(2_000),
                })
            }
        }
    }

    fn tokens(&self, token: &JoinToken) -> Api<JoinToken> {
        Api::namespaced(self.client.clone(), &token.namespace().unwrap_or_default())
    }

    pub(super) fn now(&self) -> jiff::Timestamp {
        jiff::Timestamp::from_millisecond(self.clock.now().cast_signed()).unwrap_or_default()
    }
}
