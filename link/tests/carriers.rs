//! Links on a real kernel that lets no UDP through, in a network namespace of its own; and through a proxy. Without the
//! right to make a namespace, or without iproute2 and iptables, it says so and tests nothing.
#![cfg(target_os = "linux")]
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::net::SocketAddr;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use identity::tls::Accepts;
use identity::{
    AgentIdentity, Authority, Clock as _, DeviceKey, KeyKind, SystemClock, SystemEntropy, TlsKey, Trust,
};
use link::{
    Admission, Admitted, Carrier, Downlink, DownlinkConfig, DownlinkEvent, DownlinkEvents, DownlinkHandle,
    HelloFacts, LinkState, Network, Profile, Proxies, Tcp, UdpNetwork, Uplink, UplinkConfig, UplinkEvent,
    UplinkHandle,
};
use protocol::enrolment::Refusal;
use protocol::id::{AgentId, EdgeId};
use protocol::message::{Control, Hello};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Set in the process that is in the namespace.
const INSIDE: &str = "SKEIN_TEST_INSIDE_NAMESPACE";
/// No step takes longer.
const PATIENCE: Duration = Duration::from_secs(70);

/// Runs a program of the system with these arguments; whether it went well.
fn run(program: &str, arguments: &str) -> bool {
    let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap_or_default());
    let ran = Command::new(program).args(arguments.split_whitespace()).env("PATH", path).output();
    ran.is_ok_and(|ran| ran.status.success())
}

/// Whether datagrams get through here.
fn udp(through: bool) {
    let does = if through { "-D" } else { "-I" };
    assert!(run("iptables", &format!("{does} INPUT -p udp -j DROP")));
}

#[test]
fn a_link_lives_on_a_kernel_that_drops_udp_and_through_a_proxy() {
    if std::env::var_os(INSIDE).is_some() {
        return inside();
    }
    let may = Command::new("unshare").args(["--net", "--", "true"]).output();
    if !may.is_ok_and(|tried| tried.status.success()) || !run("ip", "-V") || !run("iptables", "-V") {
        println!(
            "not tested: no network namespace can be made here (root, iproute2 and iptables are needed)"
        );
        return;
    }
    let mut own = Command::new("unshare");
    own.args(["--net", "--"]).arg(std::env::current_exe().unwrap()).args(["--nocapture", "--test-threads=1"]);
    assert!(own.env(INSIDE, "1").status().unwrap().success());
}

fn inside() {
    if !run("ip", "link set lo up") || !run("iptables", "-L") {
        println!("not tested: the kernel has no packet filter here");
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let mut mesh = Mesh::start().await;
        blocked_and_unblocked(&mut mesh).await;
        through_a_proxy(&mut mesh).await;
        strangers(&mesh).await;
    });
}

/// Blocked from the start, unblocked, blocked in the middle of it; nothing is lost or comes twice.
async fn blocked_and_unblocked(mesh: &mut Mesh) {
    udp(false);
    let began = Instant::now();
    let mut below = mesh.edge(1, UdpNetwork::shared());
    below.up().await;
    let took = began.elapsed();
    println!("UDP blocked: Welcome over TCP after {took:?}");
    assert!(took < Duration::from_secs(3), "{took:?}");
    mesh.up().await;
    assert_eq!(below.handle.state().carrier, Carrier::Tcp);
    let peer = mesh.handle.peers().remove(0);
    assert!(peer.remote.ip().is_loopback() && peer.carrier == Carrier::Tcp, "{peer:?}");
    mesh.exchange(&mut below, 2000).await;
    udp(true);
    let took = below.carried(Carrier::Udp).await;
    println!("UDP unblocked: back on it after {took:?}");
    assert!(took < Duration::from_secs(60), "{took:?}");
    mesh.exchange(&mut below, 2000).await;
    udp(false);
    let began = Instant::now();
    mesh.exchange(&mut below, 2000).await;
    println!("UDP blocked on a live link: all messages through after {:?}", began.elapsed());
    assert!(began.elapsed() < Duration::from_secs(8), "{:?}", began.elapsed());
    below.carried(Carrier::Tcp).await;
    let state = below.handle.state();
    assert_eq!((state.since, state.moves), (below.since, 2), "it dialled again");
    below.cancel.cancel();
    mesh.down().await;
}

/// UDP is blocked still; the way leads through a proxy that dies and comes back.
async fn through_a_proxy(mesh: &mut Mesh) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let refusing = UdpNetwork::with(Tcp::Prefer, proxies(&format!("http://{address}")));
    let proxy = TestProxy::start(listener, &mesh.tasks);
    let below = mesh.edge(2, refusing);
    let reason = below.failure().await;
    assert!(reason.contains("demands a user and password, none is given (407)"), "{reason}");
    below.cancel.cancel();

    let network = UdpNetwork::with(Tcp::Prefer, proxies(&format!("http://agent:se%63ret@{address}")));
    let mut below = mesh.edge(2, network);
    below.up().await;
    mesh.up().await;
    assert!(proxy.connections.load(Ordering::Relaxed) > 0);
    mesh.exchange(&mut below, 500).await;
    // It dies, and with it what it carried.
    proxy.cancel.cancel();
    proxy.ended.cancelled().await;
    let again = TestProxy::start(TcpListener::bind(address).await.unwrap(), &mesh.tasks);
    mesh.exchange(&mut below, 500).await;
    assert!(again.connections.load(Ordering::Relaxed) > 0);
    assert_eq!(below.handle.state().since, below.since, "it dialled again");
    below.cancel.cancel();
    mesh.down().await;
}

/// Whoever speaks something else at the port is told so, and whoever says nothing is sent away.
async fn strangers(mesh: &Mesh) {
    let address = mesh.handle.local_addr();
    let mut plain = TcpStream::connect(address).await.unwrap();
    plain.write_all(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n").await.unwrap();
    let mut told = Vec::new();
    let ended = tokio::time::timeout(PATIENCE, plain.read_to_end(&mut told)).await;
    assert!(ended.is_ok() && !told.starts_with(b"HTTP"), "{told:?}");
    let silent: Vec<_> =
        futures::future::join_all((0..200).map(|_| TcpStream::connect(address))).await.into_iter().collect();
    let mut sent_away = 0;
    for stream in silent {
        let mut byte = [0];
        let ended = tokio::time::timeout(PATIENCE, stream.unwrap().read(&mut byte)).await.unwrap();
        sent_away += usize::from(ended.is_err() || ended.is_ok_and(|read| read == 0));
    }
    assert_eq!(sent_away, 200);
    let refused = mesh.handle.tunnels().unwrap().refused();
    assert!(refused >= 200 - 128, "{refused}");
}

fn proxies(url: &str) -> Proxies {
    Proxies::new(url.parse().unwrap(), "")
}

/// A proxy that lets `agent:secret` through to anywhere.
struct TestProxy {
    connections: Arc<AtomicUsize>,
    cancel: CancellationToken,
    ended: CancellationToken,
}

impl TestProxy {
    fn start(listener: TcpListener, tasks: &TaskTracker) -> Self {
        let (cancel, ended) = (CancellationToken::new(), CancellationToken::new());
        let connections = Arc::<AtomicUsize>::default();
        let proxy = Self { connections, cancel, ended };
        let (counted, cancel, ended) =
            (Arc::clone(&proxy.connections), proxy.cancel.clone(), proxy.ended.clone());
        tasks.spawn(async move {
            let mut served = tokio::task::JoinSet::new();
            loop {
                tokio::select! {
                    () = cancel.cancelled() => break,
                    accepted = listener.accept() => {
                        served.spawn(Self::serve(accepted.unwrap().0, Arc::clone(&counted)));
                    }
                }
            }
            served.shutdown().await;
            drop(listener);
            ended.cancel();
        });
        proxy
    }

    async fn serve(mut near: TcpStream, counted: Arc<AtomicUsize>) {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let Ok(byte) = near.read_u8().await else { return };
            head.push(byte);
        }
        let head = String::from_utf8(head).unwrap();
        // agent:secret
        if !head.contains("Proxy-Authorization: Basic YWdlbnQ6c2VjcmV0\r\n") {
            let refusal = "HTTP/1.1 407 Who?\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n";
            return near.write_all(refusal.as_bytes()).await.unwrap_or_default();
        }
        let target: SocketAddr = head.split(' ').nth(1).unwrap().parse().unwrap();
        let Ok(mut far) = TcpStream::connect(target).await else { return };
        counted.fetch_add(1, Ordering::Relaxed);
        let _ = near.write_all(b"HTTP/1.1 200 Go\r\n\r\n").await;
        let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
    }
}

struct Everybody;

impl Admission for Everybody {
    fn admit<'a>(&'a self, _: &'a AgentId, _: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        async { Ok(Admitted::default()) }.boxed()
    }
}

/// A region.
struct Mesh {
    authority: Authority,
    handle: DownlinkHandle,
    events: DownlinkEvents,
    tasks: TaskTracker,
}

/// An edge.
struct Below {
    agent: AgentId,
    handle: UplinkHandle,
    events: mpsc::Receiver<UplinkEvent>,
    cancel: CancellationToken,
    /// When its link came up.
    since: u64,
    /// Keeps the channel open.
    _identity: watch::Sender<Arc<AgentIdentity>>,
}

impl Mesh {
    async fn start() -> Self {
        let authority = Authority::create("fleet.example", SystemClock.now(), &mut SystemEntropy).unwrap();
        let region = identity(&authority, AgentId::Region("eu".parse().unwrap()), "");
        let tasks = TaskTracker::new();
        let config = DownlinkConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            identity: region.link_identity(),
            trust: Trust::new(authority.trust()).unwrap(),
            accepts: Accepts::Edges,
            software: "above/1".to_owned(),
            speaks: protocol::version::Speaks::HERE,
            profile: Profile::edge(),
            peers_max: 10,
            keys: None,
            network: UdpNetwork::with(Tcp::Require, Proxies::default()),
            clock: Arc::new(SystemClock),
        };
        let bound = Downlink::bind(config, Arc::new(Everybody), &tasks, CancellationToken::new()).await;
        let (handle, events) = bound.unwrap();
        Self { authority, handle, events, tasks }
    }

    fn edge(&self, number: u8, network: Arc<dyn Network>) -> Below {
        let agent = AgentId::Edge(EdgeId([number; 16]));
        let identity = identity(&self.authority, agent.clone(), &self.handle.local_addr().to_string());
        let (sender, receiver) = watch::channel(Arc::new(identity));
        let cancel = CancellationToken::new();
        let config = UplinkConfig {
            identity: receiver,
            incarnation: SystemClock.now(),
            software: "below/1".to_owned(),
            profile: Profile::edge(),
            network,
            clock: Arc::new(SystemClock),
            entropy: Box::new(SystemEntropy),
            recovery: None,
        };
        let (handle, events) =
            Uplink::start(config, Arc::new(HelloFacts::default), &self.tasks, cancel.clone()).unwrap();
        Below { agent, handle, events, cancel, since: 0, _identity: sender }
    }

    async fn next(&mut self) -> DownlinkEvent {
        tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes").unwrap()
    }

    async fn up(&mut self) {
        match self.next().await {
            DownlinkEvent::Up { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    async fn down(&mut self) {
        match self.next().await {
            DownlinkEvent::Down { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// So many numbered messages in both directions at once; each comes once, in its order.
    async fn exchange(&mut self, below: &mut Below, count: u64) {
        let (sender, receiver, agent) = (below.handle.clone(), self.handle.clone(), below.agent.clone());
        let sending = async move {
            for nonce in 1..=count {
                let ping = Control::Ping { nonce, reply: true };
                sender.send(ping.clone()).await.unwrap();
                receiver.send(&agent, ping).await.unwrap();
            }
        };
        let receiving = async {
            let (mut up, mut down) = (0, 0);
            while up < count || down < count {
                tokio::select! {
                    event = self.next() => match event {
                        DownlinkEvent::Control { control: Control::Ping { nonce, .. }, .. } => {
                            up += 1;
                            assert_eq!(nonce, up);
                        }
                        other => panic!("{other:?}"),
                    },
                    event = below.events.recv() => match event {
                        Some(UplinkEvent::Control(Control::Ping { nonce, .. })) => {
                            down += 1;
                            assert_eq!(nonce, down);
                        }
                        other => panic!("{other:?}"),
                    },
                }
            }
        };
        tokio::time::timeout(PATIENCE, async { tokio::join!(sending, receiving) }).await.expect("all arrive");
    }
}

impl Below {
    async fn up(&mut self) {
        let event = tokio::time::timeout(PATIENCE, self.events.recv()).await.expect("an event comes");
        assert!(matches!(event, Some(UplinkEvent::Up(_))), "{event:?}");
        self.since = self.handle.state().since;
    }

    /// Waits until the link is on that carrier.
    async fn carried(&self, by: Carrier) -> Duration {
        let began = Instant::now();
        let mut states = self.handle.watch();
        let on = |state: &LinkState| state.up && state.carrier == by;
        tokio::time::timeout(PATIENCE, states.wait_for(on)).await.expect("it moves").unwrap();
        began.elapsed()
    }

    /// Waits until an attempt has failed.
    async fn failure(&self) -> String {
        let mut states = self.handle.watch();
        let failed = |state: &LinkState| state.attempts > 0;
        let state = tokio::time::timeout(PATIENCE, states.wait_for(failed)).await.expect("it fails").unwrap();
        state.reason.clone()
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
