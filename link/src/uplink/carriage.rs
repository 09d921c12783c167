//! Keeps a live link on the carrier that works.
//!
//! ```text
//!            several datagrams, no answer; a tunnel can be dug
//!     UDP -----------------------------------------------------> TCP ---+ the tunnel ended, is silent, or the machine
//!      ^                                                          | ^   | has another way: a new one takes its place
//!      +----------------------------------------------------------+ +---+
//!       probes by UDP are answered: after 30 s, then every 40 to 50 s, and at once
//!       after dialling, when the machine has another way, or when the tunnel is in trouble
//! ```
//! A move is within QUIC ([`crate::network::tunnel`]): nothing of the link ends, and what had no answer yet is sent again
//! by the new carrier. Neither carrier is ever given up: while no tunnel can be dug, the link stays on UDP and goes on
//! there as soon as UDP does; while UDP stays blocked, the next tunnel takes the place of one that ended.

use std::sync::Arc;
use std::time::Duration;

use identity::{Clock, Entropy as _, SeededEntropy};
use quinn::Connection;
use quinn::rustls::ClientConfig as TlsClientConfig;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::Shared;
use crate::network::tunnel::Tunnel;
use crate::network::{Carrier, Carriers, Dialer, Network, Place, TunnelError};

/// The shortest time without an answer that makes UDP suspect; the longest is three round trips.
const UDP_PATIENCE: Duration = Duration::from_millis(1500);
/// The same for a tunnel: TCP may be waiting for what it lost.
const TCP_PATIENCE: Duration = Duration::from_secs(4);
/// How long digging may take.
const DIGGING: Duration = Duration::from_secs(10);
/// The first pause after a tunnel could not be dug; doubled up to [`PAUSE_MAX`].
const PAUSE_BASE: Duration = Duration::from_millis(500);
/// The longest pause after a tunnel could not be dug.
const PAUSE_MAX: Duration = Duration::from_secs(15);
/// Pauses between rounds of probes; the last one is for all that come. With its jitter and the round it stays below a
/// minute.
const ROUNDS: [Duration; 3] = [Duration::from_secs(30), Duration::from_secs(40), Duration::from_secs(50)];
/// Answers that a round needs.
const ANSWERS: u32 = 3;
/// Probes that may stay without an answer in a round.
const MISSES: u32 = 2;
/// The shortest time an answer may take; the longest is three round trips.
const PROBE_PATIENCE: Duration = Duration::from_secs(1);
/// Pause between the probes of a round.
const PROBE_PAUSE: Duration = Duration::from_millis(200);

/// A live link and what it can be carried by.
pub(super) struct Carriage {
    pub(super) dialer: Dialer,
    pub(super) connection: Connection,
    pub(super) place: Place,
    pub(super) tls: Arc<TlsClientConfig>,
    pub(super) network: Arc<dyn Network>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) shared: Arc<Shared>,
    /// The machine has another way to the peer.
    pub(super) rerouted: watch::Receiver<()>,
    pub(super) seed: u64,
}

impl Carriage {
    /// Keeps the link on the carrier that works, for as long as it is asked to.
    pub(super) async fn keep(self) {
        let Some(carriers) = self.dialer.carriers.clone() else { return std::future::pending().await };
        let name = match self.connection.remote_address() {
            std::net::SocketAddr::V4(_) => Carriers::name_of_udp(self.place.address),
            name @ std::net::SocketAddr::V6(_) => name,
        };
        // Where TCP was faster, as it may be after an outage, UDP need not be blocked.
        let doubtful = carriers.carrier(&name) == Carrier::Tcp;
        let entropy = SeededEntropy::new(self.seed);
        let mut keeper = Keeper { entropy, carriers, name, doubtful, of: self };
        loop {
            match keeper.carriers.carrier(&name) {
                Carrier::Udp => keeper.while_udp_answers().await,
                Carrier::Tcp => keeper.until_udp_answers().await,
            }
        }
    }
}

struct Keeper {
    entropy: SeededEntropy,
    carriers: Arc<Carriers>,
    name: std::net::SocketAddr,
    /// Whether UDP is to be probed at once.
    doubtful: bool,
    of: Carriage,
}

impl Keeper {
    fn patience(&self, least: Duration) -> Duration {
        least.max(self.of.connection.rtt() * 3)
    }

    /// On UDP, until the link is in a tunnel.
    async fn while_udp_answers(&mut self) {
        let mut pause = PAUSE_BASE;
        loop {
            let patience = self.patience(UDP_PATIENCE);
            self.carriers.silent(&self.name, patience).await;
            match dig(&self.carriers, &self.of).await {
                // UDP may have answered meanwhile.
                Ok(tunnel) if self.is_silent(patience).await => {
                    self.carriers.move_to_tcp(self.name, tunnel);
                    self.of.dialer.nudge();
                    self.moved(Carrier::Tcp, &format!("UDP gave no answer for {} ms", patience.as_millis()));
                    return;
                }
                Ok(_) => pause = PAUSE_BASE,
                Err(error) => {
                    tracing::debug!(%error, "UDP gives no answer, and there is no tunnel");
                    self.rest(pause).await;
                    pause = (pause * 2).min(PAUSE_MAX);
                }
            }
        }
    }

    async fn is_silent(&self, patience: Duration) -> bool {
        let silent = self.carriers.silent(&self.name, patience);
        tokio::select! {
            biased;
            () = silent => true,
            () = std::future::ready(()) => false,
        }
    }

    /// In a tunnel, until the link is on UDP.
    async fn until_udp_answers(&mut self) {
        let hurry = Notify::new();
        if std::mem::take(&mut self.doubtful) {
            hurry.notify_one();
        }
        let mut jitter = SeededEntropy::new(self.entropy.below(u64::MAX));
        let patience = self.patience(PROBE_PATIENCE);
        let (carriers, of, name) = (&self.carriers, &self.of, self.name);
        tokio::select! {
            biased;
            () = answers(carriers, of, patience, &hurry, &mut jitter) => {}
            () = hold(carriers, of, name, &hurry) => {}
        }
        self.carriers.move_to_udp(self.name);
        self.of.dialer.nudge();
        self.moved(Carrier::Udp, "UDP answers again");
        // What is still in the tunnel may come out.
        tokio::time::sleep(patience).await;
        self.carriers.fill_in(self.name);
    }

    /// For so long, or until the machine has another way.
    async fn rest(&mut self, pause: Duration) {
        let millis = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(millis / 2 + self.entropy.below(millis / 2 + 1));
        let mut rerouted = self.of.rerouted.clone();
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            Ok(()) = rerouted.changed() => {}
        }
        self.of.rerouted = rerouted;
    }

    fn moved(&self, to: Carrier, reason: &str) {
        let Carriage { network, place, clock, shared, .. } = &self.of;
        tracing::info!(carrier = to.as_str(), reason, remote = %place.address, "the uplink has another carrier");
        self.carriers.remember(network.way(place.address), place.address, to == Carrier::Tcp);
        let since = clock.now();
        shared.state.send_modify(|state| {
            state.carrier = to;
            state.carrier_since = since;
            reason.clone_into(&mut state.carrier_reason);
            state.moves = state.moves.saturating_add(1);
        });
    }
}

/// Ends when UDP gets through reliably.
async fn answers(
    carriers: &Carriers,
    of: &Carriage,
    patience: Duration,
    hurry: &Notify,
    jitter: &mut SeededEntropy,
) {
    let mut rerouted = of.rerouted.clone();
    let mut rounds = ROUNDS.into_iter();
    let mut pause = ROUNDS[0];
    loop {
        pause = rounds.next().unwrap_or(pause);
        let twentieth = u64::try_from(pause.as_millis() / 20).unwrap_or(u64::MAX);
        let early = Duration::from_millis(jitter.below(2 * twentieth));
        tokio::select! {
            biased;
            Ok(()) = rerouted.changed() => rounds = ROUNDS.into_iter(),
            () = hurry.notified() => {}
            () = tokio::time::sleep(pause - early) => {}
        }
        let (mut answered, mut missed) = (0, 0);
        while answered < ANSWERS && missed <= MISSES {
            let came = carriers.probe(of.place.address, patience).await;
            if came {
                answered += 1;
            } else {
                missed += 1;
            }
            of.shared.state.send_if_modified(|state| {
                state.probes = state.probes.saturating_add(1);
                state.probes_answered = state.probes_answered.saturating_add(u64::from(came));
                false
            });
            tokio::time::sleep(PROBE_PAUSE).await;
        }
        if answered == ANSWERS {
            return;
        }
    }
}

/// Has a tunnel, one after the other.
async fn hold(carriers: &Arc<Carriers>, of: &Carriage, name: std::net::SocketAddr, hurry: &Notify) {
    let mut rerouted = of.rerouted.clone();
    let mut pause = PAUSE_BASE;
    loop {
        let patience = TCP_PATIENCE.max(of.connection.rtt() * 6);
        let began = Instant::now();
        let ended = async {
            if let Some(tunnel) = carriers.tunnel_of(&name) {
                tunnel.ended().await;
            }
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = carriers.silent(&name, patience) => {}
            Ok(()) = rerouted.changed() => {}
        }
        hurry.notify_one();
        if began.elapsed() > PAUSE_MAX {
            pause = PAUSE_BASE;
        }
        match dig(carriers, of).await {
            Ok(tunnel) => carriers.move_to_tcp(name, tunnel),
            Err(error) => tracing::debug!(%error, "the tunnel is in trouble, and there is no other one"),
        }
        tokio::select! {
            biased;
            () = tokio::time::sleep(pause) => {}
            Ok(()) = rerouted.changed() => {}
        }
        pause = (pause * 2).min(PAUSE_MAX);
    }
}

async fn dig(carriers: &Arc<Carriers>, of: &Carriage) -> Result<Arc<Tunnel>, TunnelError> {
    let digging = carriers.dig(&of.place, Arc::clone(&of.tls));
    tokio::time::timeout(DIGGING, digging).await.unwrap_or(Err(TunnelError::Deadline(DIGGING)))
}
