//! A region that cheats: it has a certificate of the mesh and one edge, and offers that edge whatever it likes.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::tls::Accepts;
use identity::{Authority, Entropy as _, KeyKind, Trust};
use link::{Admission, Admitted, Downlink, DownlinkConfig, DownlinkEvent, Profile};
use process::Process;
use protocol::enrolment::Refusal;
use protocol::id::{AgentId, Digest, Generation};
use protocol::message::{BlobPart, Control, Hello, PlanHead, PlanOffer};
use protocol::plan::{PlanHeader, SignedPlan};

use super::world::{Ills, REGION_PORT, START, World, edge_id};
use skein_tests::plans::{self, Blobs};

/// The edge it has.
const VICTIM: u8 = 97;
/// Another edge, whose plan it has too.
const OTHER: u8 = 98;

fn address() -> IpAddr {
    Ipv4Addr::new(10, 0, 0, 9).into()
}

struct Everybody;

impl Admission for Everybody {
    fn admit<'a>(&'a self, _: &'a AgentId, _: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        std::future::ready(Ok(Admitted::default())).boxed()
    }
}

/// A plan that somebody signed.
struct Plan {
    signed: SignedPlan,
    head: PlanHead,
    encoded: Bytes,
    blobs: Blobs,
}

impl Plan {
    fn make(authority: &Authority, agent: AgentId, counter: u64) -> Self {
        let (body, blobs) = plans::body(VICTIM.into(), counter);
        let encoded = body.encode();
        let head = PlanHead { generation: Generation { term: 1, counter }, body: Digest::of(&encoded) };
        let signed = authority.sign_plan(&header(agent, head.generation, head.body));
        Self { signed, head, encoded, blobs }
    }

    fn offer(&self) -> Control {
        let parts = std::iter::once(&self.encoded).chain(self.blobs.values());
        let blobs = parts.map(|bytes| BlobPart::make(bytes, None)).collect();
        Control::Plan(PlanOffer { edge: None, plan: self.signed.clone(), blobs })
    }

    fn altered(&self, change: impl FnOnce(&mut SignedPlan)) -> Control {
        let mut signed = self.signed.clone();
        change(&mut signed);
        Self { signed, head: self.head, encoded: self.encoded.clone(), blobs: self.blobs.clone() }.offer()
    }
}

/// What the hub never meant for the victim now: altered, for another, signed by another hub, older.
fn lies(world: &mut World) -> Vec<Control> {
    let victim = AgentId::Edge(edge_id(VICTIM));
    let stranger =
        Authority::create_kind("fleet.example", KeyKind::Ed25519, START, &mut world.entropy).unwrap();
    let later = Plan::make(&world.authority, victim.clone(), 9);
    let other = Plan::make(&world.authority, AgentId::Edge(edge_id(OTHER)), 10);
    let own = Plan::make(&world.authority, AgentId::Region("evil".parse().unwrap()), 11);
    let forged = Plan::make(&stranger, victim.clone(), 12);
    let mut lies = vec![other.offer(), own.offer(), forged.offer()];
    // Signed by a stranger who says he is the hub.
    let key = later.signed.key_id;
    lies.push(forged.altered(|plan| plan.key_id = key));
    let signature = other.signed.signature.clone();
    lies.push(later.altered(|plan| plan.signature = signature));
    for _ in 0..4 {
        let at = usize::try_from(world.entropy.below(later.signed.header.len() as u64)).unwrap();
        lies.push(later.altered(|plan| {
            let mut header = plan.header.to_vec();
            header[at] ^= 1;
            plan.header = header.into();
        }));
    }
    lies
}

/// Offers a plan, then lies, then an older plan; only the first is obeyed.
pub(crate) async fn cheat(world: &mut World) -> Result<(), String> {
    let evil = AgentId::Region("evil".parse().unwrap());
    let above = SocketAddr::new(address(), REGION_PORT);
    let identity = world.identity(&evil, "evil", above);
    let process = Process::embedded();
    let config = DownlinkConfig {
        listen: above,
        identity: identity.link_identity(),
        trust: Trust::new(world.authority.trust()).unwrap(),
        accepts: Accepts::Edges,
        software: "evil/1".to_owned(),
        speaks: protocol::version::Speaks::HERE,
        profile: Profile::near(),
        peers_max: 10,
        keys: None,
        network: world.network.node(address()),
        clock: Arc::new(world.clock.clone()),
    };
    let (handle, mut events) =
        Downlink::bind(config, Arc::new(Everybody), &process.tasks, process.cancel.clone()).await.unwrap();
    let mut place = world.edge_place(VICTIM, "evil", above);
    world.run_edge(&mut place, Ills::default());
    let victim = AgentId::Edge(edge_id(VICTIM));
    let good = Plan::make(&world.authority, victim.clone(), 5);
    let older = Plan::make(&world.authority, victim.clone(), 4);
    for plan in [&older, &good] {
        world.model.lock().unwrap().signed(edge_id(VICTIM), plan.head);
    }
    let lies = lies(world);
    let mut refusals = 0;
    let told = async {
        let everything = std::iter::once(good.offer()).chain(lies.iter().cloned()).chain([older.offer()]);
        let everything: Vec<_> = everything.collect();
        while let Some(event) = events.recv().await {
            match event {
                // Over each link all of it: what a link that died took with it is said again.
                DownlinkEvent::Up { .. } => {
                    refusals = 0;
                    for lie in &everything {
                        // A link that is down again comes back.
                        let _ = handle.send(&victim, lie.clone()).await;
                    }
                }
                DownlinkEvent::Control { control: Control::PlanRefused { .. }, .. } => {
                    refusals += 1;
                    if refusals == lies.len() + 1 {
                        return;
                    }
                }
                DownlinkEvent::Control { .. }
                | DownlinkEvent::Down { .. }
                | DownlinkEvent::Telemetry { .. }
                | DownlinkEvent::Request { .. }
                | DownlinkEvent::Join { .. }
                | DownlinkEvent::Incompatible { .. }
                | DownlinkEvent::Recover { .. } => {}
            }
        }
    };
    let in_time = tokio::time::timeout(std::time::Duration::from_secs(120), told).await.is_ok();
    let head = place.disk.lock().unwrap().head();
    process.drain().await;
    world.edges.push(place);
    let index = world.edges.len() - 1;
    world.crash_edge(index).await;
    world.edges.pop();
    if !in_time {
        return Err(format!("4: only {refusals} of {} lies were refused", lies.len() + 1));
    }
    if world.model.lock().unwrap().forgeries_refused < lies.len() as u64 {
        return Err("4: a forgery was refused for another reason than that it is one".to_owned());
    }
    if head != Some(good.head) {
        return Err(format!("4: the edge of a cheating region holds {head:?}"));
    }
    Ok(())
}

/// The header of a plan with that body.
fn header(agent: AgentId, generation: Generation, body: Digest) -> PlanHeader {
    PlanHeader { agent, generation, body, issued_at: START, not_after: None, ext: Vec::new() }
}
