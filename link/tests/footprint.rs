//! What idle links cost in memory: real UDP over loopback, alone in its process.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::tls::Accepts;
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, KeyKind, SystemClock, SystemEntropy, TlsKey, Trust,
};
use link::{
    Admission, Admitted, Downlink, DownlinkConfig, DownlinkEvent, HelloFacts, Network, PooledNetwork,
    Profile, UdpNetwork, Uplink, UplinkConfig, UplinkEvent,
};
use protocol::enrolment::Refusal;
use protocol::id::{AgentId, EdgeId};
use protocol::message::{Control, Hello};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const LINKS: u16 = 1000;
/// Links that are dialled at once.
const CROWD: u16 = 50;

struct Everybody;

impl Admission for Everybody {
    fn admit<'a>(&'a self, _: &'a AgentId, _: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        async { Ok(Admitted::default()) }.boxed()
    }
}

fn identity(authority: &Authority, agent: AgentId, endpoint: &str) -> AgentIdentity {
    let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut SystemEntropy).unwrap();
    let now = SystemClock.now();
    let chain = authority.issue(&agent, &tls.signing_request().unwrap(), now, &mut SystemEntropy).unwrap();
    let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
    AgentIdentity {
        agent,
        name: "some-name".to_owned(),
        region: "eu".parse().unwrap(),
        chain,
        tls,
        device: DeviceKey::generate(&mut SystemEntropy),
        trust: authority.trust(),
        endpoints: vec![endpoint.to_owned()],
        not_before,
        not_after,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

/// Resident memory of this process, in bytes.
fn resident() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

#[test]
#[cfg(target_os = "linux")]
fn an_idle_link_costs_at_most_sixty_kibibytes_on_each_side() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let authority = Authority::create("fleet.example", SystemClock.now(), &mut SystemEntropy).unwrap();
        let region = identity(&authority, AgentId::Region("eu".parse().unwrap()), "");
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let config = DownlinkConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            identity: region.link_identity(),
            trust: Trust::new(authority.trust()).unwrap(),
            accepts: Accepts::Edges,
            software: "above/1".to_owned(),
            speaks: protocol::version::Speaks::HERE,
            profile: Profile::edge(),
            peers_max: 10_000,
            keys: None,
            network: UdpNetwork::shared(),
            clock: Arc::new(SystemClock),
        };
        let (handle, mut events) =
            Downlink::bind(config, Arc::new(Everybody), &tasks, cancel.clone()).await.unwrap();
        let endpoint = handle.local_addr().to_string();
        let (seen, mut heard) = mpsc::channel(usize::from(2 * LINKS));
        tasks.spawn(async move {
            while let Some(event) = events.recv().await {
                if let DownlinkEvent::Control { .. } = event
                    && seen.send(()).await.is_err()
                {
                    return;
                }
            }
        });
        // A real agent has a socket of its own, and only one: not part of what a link costs.
        let network: Arc<dyn Network> = PooledNetwork::new(1);
        // What is needed once: pools, tables, the runtime's queues.
        let mut uplinks = dial(&authority, &endpoint, 0..CROWD, &network, &tasks, &cancel);
        let before = connected(&mut uplinks, &mut heard, usize::from(CROWD)).await;
        // A handshake takes memory that it gives back. In crowds, how much of it there is at once does not depend on how
        // busy the machine is: each crowd has what the one before gave back.
        let (mut more, mut after) = (Vec::new(), before);
        for first in (CROWD..CROWD + LINKS).step_by(usize::from(CROWD)) {
            let mut crowd = dial(&authority, &endpoint, first..first + CROWD, &network, &tasks, &cancel);
            after = connected(&mut crowd, &mut heard, usize::from(CROWD)).await;
            more.extend(crowd);
        }
        let per_link = (after - before) / u64::from(LINKS);
        println!("{} KiB per link, both sides together", per_link / 1024);
        assert!(per_link <= 120 * 1024, "{per_link} bytes");
        cancel.cancel();
    });
}

type Dialled = (link::UplinkHandle, mpsc::Receiver<UplinkEvent>, watch::Sender<Arc<AgentIdentity>>);

fn dial(
    authority: &Authority,
    endpoint: &str,
    numbers: std::ops::Range<u16>,
    network: &Arc<dyn Network>,
    tasks: &TaskTracker,
    cancel: &CancellationToken,
) -> Vec<Dialled> {
    numbers
        .map(|number| {
            let mut id = [0; 16];
            id[..2].copy_from_slice(&number.to_be_bytes());
            let identity = identity(authority, AgentId::Edge(EdgeId(id)), endpoint);
            let (sender, receiver) = watch::channel(Arc::new(identity));
            let config = UplinkConfig {
                identity: receiver,
                incarnation: 1,
                software: "below/1".to_owned(),
                profile: Profile::edge(),
                network: Arc::clone(network),
                clock: Arc::new(SystemClock),
                entropy: Box::new(SystemEntropy),
                recovery: None,
            };
            let (handle, events) =
                Uplink::start(config, Arc::new(HelloFacts::default), tasks, cancel.clone()).unwrap();
            (handle, events, sender)
        })
        .collect()
}

/// Waits until all are up and have exchanged a message; gives the memory then.
async fn connected(uplinks: &mut [Dialled], heard: &mut mpsc::Receiver<()>, count: usize) -> u64 {
    for (handle, events, _) in uplinks.iter_mut() {
        let up = tokio::time::timeout(Duration::from_secs(60), events.recv()).await.unwrap();
        assert!(matches!(up, Some(UplinkEvent::Up(_))));
        handle.send(Control::Ping { nonce: 1, reply: true }).await.unwrap();
    }
    for _ in 0..count {
        tokio::time::timeout(Duration::from_secs(60), heard.recv()).await.unwrap().unwrap();
    }
    resident()
}
