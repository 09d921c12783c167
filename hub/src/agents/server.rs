//! Routes what comes up the links to sessions, the registrar and the record of observations.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use identity::lineage::told_kept;
use identity::{Authority, Clock};
use link::downlink::BindError;
use link::{DownlinkEvent, DownlinkEvents, DownlinkHandle, Network, Responder};
use process::Process;
use protocol::delegation::EdgeRenewal;
use protocol::endpoints::{self, Endpoint, Known};
use protocol::enrolment::{Refusal, RefusalReason, TELLS_SOURCE, from_source, source};
use protocol::id::{AgentId, EdgeId, RegionName};
use protocol::message::{Control, EdgeLink, Hello, Request, Response};
use protocol::recovery::remote;
use protocol::report::Report;
use protocol::trust::TrustKept;
use protocol::version::{Features, Speaks};
use tokio::sync::{Semaphore, watch};

use super::listing::Lists;
use super::session::{Handle, Has, Session, Shared};
use super::standby::Door;
use crate::authority::{Asked, Keepers, Registrar, Rotor, Verdict, Verdicts};
use crate::changes::Changes;
use crate::observed::{Link, Observed};
use crate::plans::PlanBook;
use crate::roster::Roster;

/// Most renewals by regions that are noted at once; more are counted only.
const NOTING_MAX: usize = 16;

/// Why the link server cannot run.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The hub has no certificate for itself.
    #[error("failed to make the hub's own certificate")]
    Identity(#[source] identity::authority::AuthorityError),
    /// Key and certificate do not fit.
    #[error("failed to show the hub's own certificate")]
    Tls(#[source] identity::tls::TlsError),
    /// The authority's own root is not usable.
    #[error("failed to trust the hub's own authority")]
    Trust(#[source] identity::trust::TrustError),
    /// The address cannot be bound.
    #[error("failed to listen for agents on {address}; is another program using that UDP port?")]
    Bind {
        /// Which address.
        address: SocketAddr,
        /// What the system says.
        #[source]
        source: BindError,
    },
}

/// What the server works with.
pub struct Server {
    /// Issues the hub's own certificate, and signs.
    pub authority: Arc<Authority>,
    /// Answers joins, renewals and requests for tokens.
    pub registrar: Registrar,
    /// The plans to offer.
    pub plans: PlanBook,
    /// Where reports go.
    pub observed: Observed,
    /// Who belongs here.
    pub roster: Roster,
    /// Where datagrams go.
    pub network: Arc<dyn Network>,
    /// The time.
    pub clock: Arc<dyn Clock>,
}

impl Server {
    /// Listens for agents and serves them until the process ends. Returns a handle for calls to regions.
    ///
    /// # Errors
    /// [`StartError`].
    pub async fn start(self, listen: SocketAddr, process: &Process) -> Result<DownlinkHandle, StartError> {
        let (network, clock) = (self.network.clone(), self.clock.clone());
        let door = Door::open(listen, &self.authority, network, clock, process).await?;
        let (_, nowhere) = watch::channel(Vec::new());
        self.serve(door, nowhere, process)
    }

    /// The same at a door that is open already; regions are told where the hub listens.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn serve(
        self,
        door: Door,
        hub: watch::Receiver<Vec<Endpoint>>,
        process: &Process,
    ) -> Result<DownlinkHandle, StartError> {
        door.shown().renew(&self.authority, &*self.clock)?;
        door.unlock(self.roster.clone());
        let Door { downlink, events, .. } = door;
        let shared = Shared {
            downlink: downlink.clone(),
            plans: self.plans.clone(),
            observed: self.observed.clone(),
            roster: self.roster.clone(),
            authority: self.authority.clone(),
            keepers: Keepers::default(),
            clock: self.clock.clone(),
            signed: Arc::default(),
            lists: Lists::new(hub.clone()),
        };
        let reports = process.metrics.counter("skein_hub_reports_total", "Reports received from agents.");
        let links = Arc::new(AtomicU64::new(0));
        let read = links.clone();
        let tunnels = downlink.tunnels();
        let (handle, observed) = (downlink.clone(), self.observed.clone());
        process.metrics.source(move |gathering| {
            if let Some(tunnels) = &tunnels {
                let help = "Tunnels of regions through TCP.";
                gathering.gauge("skein_hub_tunnels", help, &[], tunnels.count() as f64);
                let help = "TCP connections turned away: too many whose peer is not known.";
                gathering.counter("skein_hub_tunnels_refused_total", help, &[], tunnels.refused() as f64);
            }
            let up = read.load(Ordering::Relaxed) as f64;
            gathering.gauge("skein_hub_links", "Regions that are linked.", &[], up);
            let (help, refused) =
                ("Links refused: the agent is of another major version.", handle.incompatible());
            gathering.counter("skein_hub_links_incompatible_total", help, &[], refused as f64);
            crate::observed::versions(&observed, gathering);
        });
        self.registrar.counts(self.roster.clone(), process);
        let known = (self.roster.clone(), self.observed.clone(), self.plans.clone());
        let rotor = Rotor::new(self.registrar.clone(), downlink.clone(), shared.keepers.clone(), known);
        let router = Router {
            changed_plans: self.plans.subscribe(),
            changed_roster: self.roster.subscribe(),
            stepped: shared.keepers.steps(),
            moved: hub,
            shared,
            registrar: self.registrar,
            clock: self.clock,
            process: process.clone(),
            sessions: BTreeMap::new(),
            places: BTreeMap::new(),
            telling: BTreeSet::new(),
            reports,
            renewals: Verdicts::register(process),
            noting: Arc::new(Semaphore::new(NOTING_MAX)),
            links,
        };
        process.spawn_vital("the hub's link server", router.run(events));
        process.spawn_vital("the rotation of keys", rotor.run(process.clone()));
        Ok(downlink)
    }
}

struct Router {
    shared: Shared,
    registrar: Registrar,
    clock: Arc<dyn Clock>,
    process: Process,
    changed_plans: Changes<AgentId>,
    changed_roster: Changes<AgentId>,
    stepped: watch::Receiver<()>,
    /// Where the hub listens.
    moved: watch::Receiver<Vec<Endpoint>>,
    sessions: BTreeMap<RegionName, Handle>,
    /// Where each edge was last offered a plan, so that a region hears when an edge leaves it.
    places: BTreeMap<EdgeId, RegionName>,
    /// Regions that vouch for where joins come from.
    telling: BTreeSet<RegionName>,
    reports: process::metrics::Counter,
    renewals: Arc<Verdicts>,
    /// Bounds how many renewals by regions are noted at once.
    noting: Arc<Semaphore>,
    links: Arc<AtomicU64>,
}

impl Router {
    async fn run(mut self, mut events: DownlinkEvents) {
        let cancel = self.process.cancel.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => return,
                changed = self.changed_plans.next() => { self.mark(changed); }
                changed = self.changed_roster.next() => self.roster_changed(changed),
                Ok(()) = self.stepped.changed() => self.keys_changed(),
                Ok(()) = self.moved.changed() => self.hub_moved(),
                event = events.recv() => match event {
                    Some(event) => self.handle(event),
                    None => return,
                },
            }
            self.links.store(self.sessions.len() as u64, Ordering::Relaxed);
        }
    }

    /// Agents came, changed or went: a region that is gone loses its link, the others hear of their edges.
    fn roster_changed(&mut self, agents: impl IntoIterator<Item = AgentId>) {
        let agents: Vec<_> = agents.into_iter().collect();
        for agent in &agents {
            if let AgentId::Region(region) = agent
                && !self.shared.roster.has_region(region)
            {
                let message = format!("there is no Region \"{region}\" here any more");
                let refusal = Refusal { reason: RefusalReason::Revoked, message, retry_after_ms: None };
                self.shared.downlink.close(agent, refusal);
            }
        }
        for region in self.mark(agents) {
            if let Some(session) = self.sessions.get(&region) {
                session.edge_changed();
            }
        }
    }

    /// There is another trust bundle: every region hears of it, and has anew what the key of before has signed.
    fn keys_changed(&self) {
        self.shared.lists.forget();
        for (region, session) in &self.sessions {
            session.forget_places();
            session.mark([AgentId::Region(region.clone())]);
            session.edge_changed();
        }
    }

    /// The hub listens elsewhere, or a replica came or went: every region hears of it.
    fn hub_moved(&self) {
        for (region, session) in &self.sessions {
            session.mark([AgentId::Region(region.clone())]);
        }
    }

    /// Tells the sessions concerned which of their agents are to have something else; gives the regions whose edges
    /// these are.
    fn mark(&mut self, agents: impl IntoIterator<Item = AgentId>) -> BTreeSet<RegionName> {
        let mut regions = BTreeSet::new();
        for agent in agents {
            let now = match &agent {
                AgentId::Region(region) => Some(region.clone()),
                AgentId::Edge(edge) => self.shared.roster.edge(edge).map(|edge| edge.region.clone()),
            };
            let before = agent.edge().and_then(|edge| match &now {
                Some(region) => self.places.insert(edge, region.clone()),
                None => self.places.remove(&edge),
            });
            let left = before.filter(|before| Some(before) != now.as_ref());
            if agent.edge().and_then(|edge| self.shared.roster.edge(&edge)).is_some_and(|edge| edge.revoked) {
                // Whoever knows of it from before may not take it in either.
                self.sessions.values().for_each(|session| session.mark([agent.clone()]));
            }
            for region in now.iter().chain(&left) {
                if let Some(session) = self.sessions.get(region) {
                    session.mark([agent.clone()]);
                }
                regions.insert(region.clone());
            }
        }
        regions
    }

    fn handle(&mut self, event: DownlinkEvent) {
        match event {
            DownlinkEvent::Up { peer, hello } => self.up(peer, *hello),
            DownlinkEvent::Down { peer, reason } => {
                tracing::info!(%peer, ?reason, "link down");
                if let AgentId::Region(region) = &peer {
                    self.sessions.remove(region);
                    self.region_away(region);
                }
            }
            DownlinkEvent::Control { peer: AgentId::Region(region), control } => {
                self.control(&region, control)
            }
            DownlinkEvent::Request { peer, request, responder } => self.request(peer, request, responder),
            DownlinkEvent::Join { remote, request, responder } => {
                tracing::info!(%remote, name = request.name, "a device asks to join");
                let registrar = self.registrar.clone();
                let request = from_source(*request, remote);
                self.process.tasks.spawn(async move {
                    let asked = Asked { via: None, from: Some(remote.ip()) };
                    responder.respond(registrar.join(asked, &request).await);
                });
            }
            DownlinkEvent::Recover { remote, request, responder } => {
                let registrar = self.registrar.clone();
                self.process.tasks.spawn(async move {
                    responder.respond(returning(&registrar, &remote.to_string(), *request).await);
                });
            }
            DownlinkEvent::Incompatible { peer, reason } => self.incompatible(&peer, reason),
            DownlinkEvent::Control { peer, .. } | DownlinkEvent::Telemetry { peer, .. } => {
                let message = "only regions link here, and telemetry stays in its region".to_owned();
                let refusal = Refusal { reason: RefusalReason::Forbidden, message, retry_after_ms: None };
                self.shared.downlink.close(&peer, refusal);
            }
        }
    }

    /// An agent is of another major version: it stays away until it or what it dials is another one.
    fn incompatible(&self, agent: &AgentId, reason: String) {
        let known = match agent {
            AgentId::Region(region) => self.shared.roster.has_region(region),
            AgentId::Edge(edge) => self.shared.roster.edge(edge).is_some(),
        };
        if known {
            self.shared
                .observed
                .update(agent, |view| view.incompatible.replace(reason.clone()) != Some(reason));
        }
    }

    fn up(&mut self, peer: AgentId, hello: Hello) {
        let AgentId::Region(region) = &peer else { return };
        tracing::info!(%peer, software = hello.software, "link up");
        let speaks = Speaks::told(&hello.ext);
        let listed = speaks.features.has(Features::ENDPOINTS).then(|| Known::told(&hello.ext));
        let has = Has { stored: hello.stored, trust: hello.trust_sequence, listed };
        if let Some(kept) = told_kept(&hello.ext) {
            self.shared.keepers.hear(&peer, &kept, &self.shared.roster);
        }
        if hello.facts.contains_key(TELLS_SOURCE) {
            self.telling.insert(region.clone());
        } else {
            self.telling.remove(region);
        }
        let now = self.clock.now();
        self.shared.observed.update(&peer, |view| {
            view.link = Link { up: true, since: now, address: String::new() };
            view.software = hello.software;
            view.speaks = Some(speaks);
            view.incompatible = None;
            view.endpoints = endpoints::named(&hello.endpoints, &hello.ext);
            view.stored = hello.stored;
            view.applied = hello.applied;
            true
        });
        let (handle, session) =
            Session::begin(self.shared.clone(), (region.clone(), speaks.features), has, &self.process.cancel);
        self.process.tasks.spawn(session);
        // Dropping the session of an older link ends it.
        self.sessions.insert(region.clone(), handle);
        self.found(region);
    }

    /// Where a region listens is known now: the others may tell edges of it.
    fn found(&self, region: &RegionName) {
        let edges = self.shared.roster.of_region(region);
        for (other, session) in self.sessions.iter().filter(|(other, _)| *other != region) {
            // Collected: the ledger is asked here and written there.
            let left: Vec<_> = edges.iter().filter(|edge| session.lists(**edge)).copied().collect();
            session.mark(left.into_iter().map(AgentId::Edge).chain([AgentId::Region(other.clone())]));
        }
    }

    /// An edge is linked where it belongs: others need not hold it any more.
    fn arrived(&self, region: &RegionName, edge: EdgeId) {
        for (_, session) in self.sessions.iter().filter(|(other, _)| *other != region) {
            if session.lists(edge) {
                session.mark([AgentId::Edge(edge)]);
            }
        }
    }

    /// The region, and all that is known through it, is not heard any more.
    fn region_away(&self, region: &RegionName) {
        let now = self.clock.now();
        let away = Link { up: false, since: now, address: String::new() };
        self.shared.observed.link(&AgentId::Region(region.clone()), away);
    }

    fn control(&self, region: &RegionName, message: Control) {
        let edge_is_foreign = |edge: Option<EdgeId>| {
            edge.is_some_and(|edge| self.shared.roster.edge(&edge).is_some_and(|edge| edge.region != *region))
        };
        let Some(session) = self.sessions.get(region) else { return };
        match message {
            Control::Report { edge, .. } if edge_is_foreign(edge) => {}
            Control::Report { edge, report } => self.report(region, edge, *report),
            Control::EdgeLinks { links, last } => self.links(region, session, links, last),
            Control::BlobsWanted { edge, digests } => {
                session.wanted(edge, digests, |digest| self.shared.plans.blob(digest).is_some());
            }
            Control::PlanStored { edge, head } => {
                let agent = edge.map_or_else(|| AgentId::Region(region.clone()), AgentId::Edge);
                if edge.is_none() {
                    session.stored(edge, head);
                }
                self.shared.observed.update(&agent, |view| view.stored.replace(head) != Some(head));
            }
            Control::PlanRefused { edge, generation, refusal } => {
                let generation = generation.map(|generation| generation.to_string());
                tracing::warn!(%region, ?edge, generation, message = refusal.message, "a plan was refused");
                session.refused(edge);
                if let (Some(edge), None, RefusalReason::Incompatible) = (edge, generation, refusal.reason) {
                    self.incompatible(&AgentId::Edge(edge), refusal.message);
                }
            }
            Control::Goodbye(refusal) => {
                tracing::info!(%region, message = refusal.message, "the region says goodbye")
            }
            Control::Ping { nonce, reply: false } => {
                let pong = Control::Ping { nonce, reply: true };
                // If the link is down, there is nobody to answer; if it is busy, it is alive.
                let _ = self.shared.downlink.try_send(&AgentId::Region(region.clone()), pong);
            }
            Control::Ping { reply: true, .. } => {}
            Control::EdgeRenewed(renewal) => self.renewed(region, renewal),
            Control::TrustKept(kept) => self.kept(region, &kept),
            Control::Plan(_)
            | Control::Blobs { .. }
            | Control::ReportAck { .. }
            | Control::TelemetryAcks(_)
            | Control::EdgeRemoved { .. }
            | Control::EdgeTable(_)
            | Control::Placement { .. }
            | Control::Trust(_)
            | Control::TrustChain(_)
            | Control::Endpoints { .. } => {
                let message = "that message only travels down".to_owned();
                let refusal = Refusal { reason: RefusalReason::Malformed, message, retry_after_ms: None };
                self.shared.downlink.close(&AgentId::Region(region.clone()), refusal);
            }
        }
    }

    /// The region says which trust bundle it keeps, and what its edges say of theirs.
    fn kept(&self, region: &RegionName, kept: &[TrustKept]) {
        for kept in kept {
            let agent = kept.edge.map_or_else(|| AgentId::Region(region.clone()), AgentId::Edge);
            self.shared.keepers.hear(&agent, kept, &self.shared.roster);
        }
    }

    /// Takes over what the region knows of its edges.
    fn links(&self, region: &RegionName, session: &Handle, links: Vec<EdgeLink>, last: bool) {
        if session.links(&links, last) {
            // It may not know of some yet.
            session.mark(self.shared.roster.of_region(region).into_iter().map(AgentId::Edge));
        }
        for EdgeLink { edge, up, since, software, stored, .. } in links {
            if self.shared.roster.edge(&edge).is_none_or(|listed| listed.region != *region) {
                continue;
            }
            self.shared.observed.update(&AgentId::Edge(edge), |view| {
                let before = (view.link.clone(), view.stored, view.region.clone());
                view.link = Link { up, since, address: String::new() };
                if up {
                    view.incompatible = None;
                }
                view.region = Some(region.clone());
                view.stored = stored.or(view.stored);
                if !software.is_empty() {
                    view.software = software;
                }
                before != (view.link.clone(), view.stored, view.region.clone())
            });
            if up {
                self.arrived(region, edge);
            }
        }
    }

    fn report(&self, region: &RegionName, edge: Option<EdgeId>, report: Report) {
        let peer = AgentId::Region(region.clone());
        let agent = edge.map_or_else(|| peer.clone(), AgentId::Edge);
        let sequence = report.sequence;
        self.reports.increment();
        self.shared.observed.report(&agent, report, self.clock.now());
        // For whoever wants to know: nobody waits for it, and everything is told again after a connection.
        let _ = self.shared.downlink.try_send(&peer, Control::ReportAck { edge, sequence });
    }

    /// A region decided about a renewal on its own; what was wrong with it is shown where people look.
    fn renewed(&self, region: &RegionName, renewal: EdgeRenewal) {
        let listed = self.shared.roster.edge(&renewal.edge).filter(|listed| listed.region == *region);
        let verdict = match (listed, &renewal.refusal) {
            (None, _) => Verdict::Foreign,
            (Some(listed), None) if listed.revoked => Verdict::Revoked,
            (Some(_), Some(_)) => Verdict::Refused,
            (Some(_), None) => Verdict::Fine,
        };
        self.renewals.count(verdict);
        let Ok(permit) = self.noting.clone().try_acquire_owned() else { return };
        let (registrar, region) = (self.registrar.clone(), region.clone());
        self.process.tasks.spawn(async move {
            registrar.renewed_by_region(&region, &renewal, verdict).await;
            drop(permit);
        });
    }

    fn request(&self, peer: AgentId, request: Request, responder: Responder) {
        let registrar = self.registrar.clone();
        let tells = matches!(&peer, AgentId::Region(region) if self.telling.contains(region));
        self.process.tasks.spawn(async move {
            let response = match (&peer, request) {
                (AgentId::Region(region), Request::Join(request)) => {
                    let from = source(&request).map(|from| from.ip()).filter(|_| tells);
                    registrar.join(Asked { via: Some(region), from }, &request).await
                }
                (_, Request::Renew(request)) => registrar.renew(&peer, &request).await,
                (AgentId::Region(region), request @ (Request::Challenge(_) | Request::Recover(_))) => {
                    returning(&registrar, &format!("region {region}"), request).await
                }
                (AgentId::Region(region), Request::ClusterToken { namespace, name, public_key, token }) => {
                    registrar.cluster_token(region, &namespace, &name, token, &public_key).await
                }
                (
                    _,
                    Request::Query(_)
                    | Request::Join(_)
                    | Request::ClusterToken { .. }
                    | Request::Inquire { .. }
                    | Request::Challenge(_)
                    | Request::Recover(_),
                ) => forbidden(&peer),
            };
            responder.respond(response);
        });
    }
}

fn forbidden(peer: &impl std::fmt::Display) -> Response {
    let message = format!("{peer} may not ask this of the hub");
    Response::Refused(Refusal { reason: RefusalReason::Forbidden, message, retry_after_ms: None })
}

/// Both halves of a return. Who relays it does not matter: the device key vouches for it.
async fn returning(registrar: &Registrar, relayed: &str, request: Request) -> Response {
    match request {
        Request::Challenge(agent) => registrar.challenge(&agent),
        Request::Recover(request) => {
            let from =
                remote(&request).map_or_else(|| relayed.to_owned(), |remote| format!("{remote} ({relayed})"));
            registrar.recover(&from, &request).await
        }
        Request::Join(_)
        | Request::Renew(_)
        | Request::Query(_)
        | Request::ClusterToken { .. }
        | Request::Inquire { .. } => forbidden(&relayed),
    }
}
