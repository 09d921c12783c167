//! The first connection to a peer: by UDP, and beside it through TCP when no answer comes soon.
//!
//! ```text
//!   UDP ----------------------------- answer? ---> connected
//!     \-- head start over, or it lost lately --> tunnel --> QUIC in it --> connected, whichever comes first
//! ```
//! Both dial connections of their own, and the one that loses ends before it says who it is: a peer never sees two links
//! of one agent. What the peer itself says (a certificate it does not take, a protocol it does not know) is its answer by
//! either, and ends the race.

use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::FusedFuture as _;
use quinn::rustls::ClientConfig as TlsClientConfig;
use quinn::{ClientConfig, Connection, ConnectionError};
use tokio::time::Instant;

use crate::heard::{Answer, Client, Heard};
use crate::network::{Carrier, Carriers, Dialer, Place, TunnelError, Way};
use crate::transport::describe;

/// The shortest head start of UDP; the longest is three round trips.
const HEAD_START: Duration = Duration::from_secs(1);
/// How many times as long as for an answer an attempt waits for its turn when the peer serves others first
/// ([`crate::heard`]).
const QUEUED: u32 = 3;

/// What a race needs.
pub(crate) struct Race<'a> {
    pub(crate) dialer: &'a Dialer,
    pub(crate) client: Client,
    /// What is around a tunnel.
    pub(crate) tls: Arc<TlsClientConfig>,
    pub(crate) place: &'a Place,
    /// The way there, for what is remembered of it.
    pub(crate) way: Option<Way>,
    pub(crate) timeout: Duration,
}

/// Why there is no connection.
pub(crate) enum Lost {
    /// The peer's answer, or that of this side to what the peer showed.
    Answer(ConnectionError),
    /// No answer.
    Silence(String),
}

impl Race<'_> {
    /// Connects; says by which carrier.
    pub(crate) async fn run(self) -> Result<(Connection, Carrier), Lost> {
        let Self { dialer, client, tls, place, way, timeout } = self;
        let began = Instant::now();
        let (first, heard) = client.attempt();
        let direct = connect(dialer, (first, &heard), place.address, timeout);
        let Some(carriers) = &dialer.carriers else {
            return Ok((direct.await?, Carrier::Udp));
        };
        carriers.begin(place.address);
        let head_start = if carriers.is_blocked(way, place.address) {
            Duration::ZERO
        } else {
            let rtt = carriers.learned(place.address).unwrap_or_default();
            HEAD_START.max(rtt * 3).min(timeout)
        };
        let tunnelled = async {
            tokio::time::sleep(head_start).await;
            let mut left = timeout.saturating_sub(began.elapsed());
            if heard.is_any() {
                // UDP gets through, and it is the peer that has much to do: no reason to give it more.
                tokio::time::sleep(left).await;
                left = timeout;
            }
            through_tunnel(dialer, carriers, (client, tls), place, left).await
        };
        let (mut direct, mut tunnelled) = (std::pin::pin!(direct.fuse()), std::pin::pin!(tunnelled.fuse()));
        let mut silences = Vec::new();
        loop {
            let (attempt, carrier) = tokio::select! {
                biased;
                attempt = &mut direct, if !direct.is_terminated() => (attempt, Carrier::Udp),
                attempt = &mut tunnelled, if !tunnelled.is_terminated() => (attempt, Carrier::Tcp),
                else => return Err(Lost::Silence(silences.join("; "))),
            };
            match attempt {
                Ok(connection) => {
                    carriers.remember(way, place.address, carrier == Carrier::Tcp);
                    return Ok((connection, carrier));
                }
                Err(Lost::Answer(error)) => return Err(Lost::Answer(error)),
                Err(Lost::Silence(reason)) => silences.push(reason),
            }
        }
    }
}

async fn connect(
    dialer: &Dialer,
    (client, heard): (ClientConfig, &Heard),
    to: std::net::SocketAddr,
    timeout: Duration,
) -> Result<Connection, Lost> {
    let connecting = dialer.endpoint.connect_with(client, to, identity::tls::SERVER_NAME);
    let connecting = connecting.map_err(|error| Lost::Silence(error.to_string()))?;
    let impatience = async {
        let heard_within = |answer, time| tokio::time::timeout(time, heard.until(answer));
        if heard_within(Answer::There, timeout).await.is_err() {
            return format!("no answer within {timeout:?}");
        }
        if heard_within(Answer::Serving, timeout * QUEUED).await.is_err() {
            return format!("the peer answers, but has no time for this agent within {:?}", timeout * QUEUED);
        }
        tokio::time::sleep(timeout).await;
        format!("the handshake did not end within {timeout:?}")
    };
    tokio::select! {
        biased;
        connected = connecting => match connected {
            Ok(connection) => Ok(connection),
            Err(error) if is_answer(&error) => Err(Lost::Answer(error)),
            Err(error) => Err(Lost::Silence(describe(&error))),
        },
        reason = impatience => Err(Lost::Silence(reason)),
    }
}

async fn through_tunnel(
    dialer: &Dialer,
    carriers: &Arc<Carriers>,
    (client, tls): (Client, Arc<TlsClientConfig>),
    place: &Place,
    timeout: Duration,
) -> Result<Connection, Lost> {
    let began = Instant::now();
    let dug = tokio::time::timeout(timeout, carriers.dig(place, tls)).await;
    let over_tcp = |error: TunnelError| Lost::Silence(format!("over TCP: {error}"));
    let tunnel = dug.unwrap_or(Err(TunnelError::Deadline(timeout))).map_err(over_tcp)?;
    let name = carriers.name_of(&tunnel);
    let (client, heard) = client.attempt();
    let left = timeout.saturating_sub(began.elapsed());
    connect(dialer, (client, &heard), name, left).await.map_err(|lost| match lost {
        Lost::Silence(reason) => Lost::Silence(format!("over TCP: {reason}")),
        Lost::Answer(error) => Lost::Answer(error),
    })
}

/// Whether somebody answered, in whatever way.
fn is_answer(error: &ConnectionError) -> bool {
    match error {
        ConnectionError::VersionMismatch
        | ConnectionError::TransportError(_)
        | ConnectionError::ConnectionClosed(_)
        | ConnectionError::ApplicationClosed(_) => true,
        ConnectionError::Reset
        | ConnectionError::TimedOut
        | ConnectionError::LocallyClosed
        | ConnectionError::CidsExhausted => false,
    }
}
