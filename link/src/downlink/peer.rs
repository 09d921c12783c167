//! One connection, from its first packet to its last.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use identity::PeerCertificate;
use identity::tls::{ALPN_JOIN, ALPN_LINK, ALPN_RECOVER, link_major};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::frame::Message;
use protocol::id::AgentId;
use protocol::lane::Lane;
use protocol::message::{Hello, Request, Welcome};
use protocol::session::{Close, CloseCode, Event, Session};
use protocol::version::{Lacks, MAJOR, Speaks};
use quinn::crypto::rustls::HandshakeData;
use quinn::{Connection, Incoming};
use rustls_pki_types::CertificateDer;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::sync::CancellationToken;

use super::registry::{Entering, Entry};
use super::{DownlinkEvent, Shared, revoked};
use crate::driver::{Carrier, Driver};
use crate::lanes::{Live, answer, receive};
use crate::transport::{describe, refused};
use crate::types::{Reason, Responder};

/// From the first packet to the Hello, or to the end of a join request.
const GREETING: Duration = Duration::from_secs(10);
/// How long an older link may take to leave before the newer one is turned away.
const SUPERSEDING: Duration = Duration::from_secs(10);
/// How long a newcomer may take to fetch its answer.
const LINGER: Duration = Duration::from_secs(5);
/// How long whoever decides may think about a newcomer.
const DECISION: Duration = Duration::from_secs(60);
/// How long an owner that ends may take to hear the rest.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// When a full listener may have room again, at the soonest.
const FULL_RETRY: Duration = Duration::from_secs(5);
/// When a listener that ends may be back, at the soonest.
const RESTART: Duration = Duration::from_millis(100);

/// Serves a connection to its end. The permit is held until the peer is known.
pub(super) async fn serve(shared: Arc<Shared>, incoming: Incoming, permit: OwnedSemaphorePermit) {
    let (remote, _) = shared.origin(incoming.remote_address());
    let accepted = async { incoming.accept()?.await };
    let connection = match tokio::time::timeout(GREETING, accepted).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => {
            return shared.refusals.tell(remote, None, describe(&error));
        }
        Err(_) => {
            return shared.refusals.tell(remote, None, "the handshake did not end in time");
        }
    };
    match protocol(&connection).as_deref() {
        Some(ALPN_JOIN) => {
            drop(permit);
            stranger(&shared, connection, Lane::Join, 1).await;
        }
        // For a challenge, and its answer.
        Some(ALPN_RECOVER) => {
            drop(permit);
            stranger(&shared, connection, Lane::Recover, 2).await;
        }
        Some(ALPN_LINK) => link(&shared, connection, permit).await,
        other @ (Some(_) | None) => stray(&shared, &connection, other.and_then(link_major)),
    }
}

/// Refuses somebody of another major version, by name, or somebody who wants nothing that there is.
fn stray(shared: &Shared, connection: &Connection, major: Option<u16>) {
    let (remote, _) = shared.origin(connection.remote_address());
    let Some(major) = major else {
        shared.refusals.tell(remote, None, "no common protocol");
        return crate::transport::close(connection, &refused("no common protocol"));
    };
    let who = if major > MAJOR { "this end" } else { "the agent" };
    let reason = format!(
        "\"{}\" speaks protocol {MAJOR} and the agent protocol {major}: both ends must be of one major version, install a \
         newer version of {who}",
        shared.software
    );
    let peer = identify(shared, connection).ok().map(|(peer, _)| peer);
    shared.refusals.tell_version(remote, peer.as_ref(), &reason);
    crate::transport::close(connection, &refused(reason.clone()));
    if let Some(peer) = peer {
        // Told again with the next attempt, if nobody has time now.
        let _ = shared.events.try_send(DownlinkEvent::Incompatible { peer, reason });
    }
}

fn protocol(connection: &Connection) -> Option<Vec<u8>> {
    connection.handshake_data()?.downcast::<HandshakeData>().ok()?.protocol
}

/// What somebody may ask who shows no certificate, as the owner hears it.
fn asked(remote: SocketAddr, lane: Lane, request: Request, responder: Responder) -> Option<DownlinkEvent> {
    match request {
        Request::Join(request) if lane == Lane::Join => {
            Some(DownlinkEvent::Join { remote, request: Box::new(request), responder })
        }
        Request::Challenge(_) | Request::Recover(_) if lane == Lane::Recover => {
            Some(DownlinkEvent::Recover { remote, request: Box::new(request), responder })
        }
        Request::Join(_)
        | Request::Renew(_)
        | Request::Query(_)
        | Request::ClusterToken { .. }
        | Request::Inquire { .. }
        | Request::Challenge(_)
        | Request::Recover(_) => None,
    }
}

/// So many requests, one after the other, of somebody who shows no certificate.
async fn stranger(shared: &Arc<Shared>, connection: Connection, lane: Lane, requests: usize) {
    let (remote, _) = shared.origin(connection.remote_address());
    let Ok(_place) = shared.strangers.try_acquire() else {
        let reason = "too many join or return at the moment: try again later";
        shared.refusals.tell(remote, None, reason);
        return crate::transport::close(&connection, &refused(reason));
    };
    // Until its time is over, which is bounded.
    shared.prove(&connection.remote_address());
    let carrier = Carrier::new(connection);
    let served = async {
        for _ in 0..requests {
            let opened = tokio::time::timeout(GREETING, carrier.connection.accept_bi()).await;
            let Ok(Ok((send, recv))) = opened else { return false };
            let wrap = |request, responder| asked(remote, lane, request, responder);
            answer(Arc::clone(&carrier), send, recv, lane, shared.events.clone(), wrap).await;
        }
        true
    };
    let name = lane.as_str();
    tokio::select! {
        biased;
        () = shared.cancel.cancelled() => {}
        served = tokio::time::timeout(DECISION, served) => match served {
            // Whoever asked closes once it has the answer.
            Ok(true) => { let _ = tokio::time::timeout(LINGER, carrier.connection.closed()).await; }
            Ok(false) => {
                let reason = format!("no {name} request came");
                shared.refusals.tell(remote, None, &reason);
                return carrier.fail(Close::new(CloseCode::Timeout, reason));
            }
            Err(_) => {}
        }
    }
    carrier.fail(Close::new(CloseCode::Done, format!("the {name} is over")));
}

/// A link.
async fn link(shared: &Arc<Shared>, connection: Connection, permit: OwnedSemaphorePermit) {
    let (remote, means) = shared.origin(connection.remote_address());
    let carrier = Carrier::new(connection);
    let (peer, certificate) = match identify(shared, &carrier.connection) {
        Ok(known) => known,
        Err(reason) => {
            shared.refusals.tell(remote, None, &reason);
            return carrier.fail(refused(reason));
        }
    };
    shared.prove(&carrier.connection.remote_address());
    let opened = tokio::time::timeout(GREETING, carrier.connection.accept_bi()).await;
    let Ok(Ok((send, recv))) = opened else {
        let reason = "no control stream came";
        shared.refusals.tell(remote, Some(&peer), reason);
        return carrier.fail(Close::new(CloseCode::Timeout, reason));
    };
    let mut driver = Driver::new(Session::upper, Arc::clone(&carrier), send, recv);
    let hello = match driver.event().await {
        Event::Hello(hello) => hello,
        Event::Closed(reason) => {
            return shared.refusals.tell(remote, Some(&peer), reason);
        }
        Event::Up(_) | Event::Control(_) => return,
    };
    drop(permit);
    tracing::debug!(%remote, %peer, carrier = means.as_str(), "an agent says hello");
    match admit(shared, &carrier, peer, certificate, &hello).await {
        Ok((entry, commands, welcome)) => {
            live(shared, driver, &entry, commands, hello, &welcome).await;
            entry.ended.cancel();
        }
        Err(refusal) => {
            shared.refusals.tell(remote, Some(&hello.agent), &refusal.message);
            driver.refuse(refusal);
            driver.finish().await;
        }
    }
}

/// Who the certificate says it is. The verifier has checked the chain; that there is one is checked here,
/// because a listener that also takes joins cannot demand it in the handshake.
fn identify(shared: &Shared, connection: &Connection) -> Result<(AgentId, PeerCertificate), String> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or_else(|| "a link needs a client certificate".to_owned())?;
    let leaf = chain.first().ok_or_else(|| "a link needs a client certificate".to_owned())?;
    let certificate = PeerCertificate::read(leaf).map_err(|error| error.to_string())?;
    let trust_domain = shared.trust.bundle().trust_domain;
    let peer = certificate.agent(&trust_domain).map_err(|error| error.to_string())?;
    // The deny set may have changed since the handshake.
    if shared.trust.deny().denies(&peer, &certificate) {
        return Err(revoked().message);
    }
    Ok((peer, certificate))
}

type Admittance = (Arc<Entry>, mpsc::Receiver<Message>, Welcome);

async fn admit(
    shared: &Shared,
    carrier: &Arc<Carrier>,
    peer: AgentId,
    certificate: PeerCertificate,
    hello: &Hello,
) -> Result<Admittance, Refusal> {
    if hello.agent != peer {
        let message = format!("the certificate is of {peer}, the hello of {}", hello.agent);
        return Err(Refusal { reason: RefusalReason::Forbidden, message, retry_after_ms: None });
    }
    let admitted = shared.admission.admit(&peer, hello).await?;
    let (live, commands) = Live::new(Arc::clone(carrier));
    let now = shared.clock.now();
    let (speaks, here) = (Speaks::told(&hello.ext), shared.speaks);
    let lacks = Lacks::of(speaks.lacking(&peer, here));
    let entry = Arc::new(Entry {
        peer,
        incarnation: hello.incarnation,
        software: hello.software.clone(),
        speaks,
        since: now,
        certificate,
        live,
        stopping: CancellationToken::new(),
        refusal: OnceLock::new(),
        gone: CancellationToken::new(),
        ended: CancellationToken::new(),
    });
    enter(shared, &entry).await?;
    let welcome = Welcome {
        features: here.features.0 & hello.features,
        software: shared.software.clone(),
        acknowledged: admitted.acknowledged,
        time: now,
        trust_sequence: shared.trust.bundle().sequence,
        ext: here.tell().map_or_else(Vec::new, |version| [version].into_iter().chain(lacks.tell()).collect()),
    };
    Ok((entry, commands, welcome))
}

/// Makes this the agent's link, after the one before has gone.
async fn enter(shared: &Shared, entry: &Arc<Entry>) -> Result<(), Refusal> {
    loop {
        match shared.registry.enter(entry, shared.peers_max) {
            Entering::Entered => return Ok(()),
            Entering::Supersedes(older) => {
                let message = "another link of the same agent is newer".to_owned();
                older.stop(Refusal { reason: RefusalReason::Superseded, message, retry_after_ms: None });
                if tokio::time::timeout(SUPERSEDING, older.gone.cancelled()).await.is_err() {
                    let message = "the link before does not leave".to_owned();
                    let retry_after_ms = Some(shared.slots.next(FULL_RETRY));
                    return Err(Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms });
                }
            }
            Entering::Outdated => {
                let message = "a later run of the same agent is linked".to_owned();
                return Err(Refusal { reason: RefusalReason::Superseded, message, retry_after_ms: None });
            }
            Entering::Full => {
                let message = format!("{} links, there may be no more", shared.peers_max);
                let retry_after_ms = Some(shared.slots.next(FULL_RETRY));
                return Err(Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms });
            }
        }
    }
}

/// The loop over everything that can happen on a live link, from `Up` to `Down`.
async fn live(
    shared: &Arc<Shared>,
    mut driver: Driver,
    entry: &Arc<Entry>,
    commands: mpsc::Receiver<Message>,
    hello: Box<Hello>,
    welcome: &Welcome,
) {
    let peer = entry.peer.clone();
    tracing::info!(%peer, software = %hello.software, protocol = %entry.speaks, "link is up");
    let up = DownlinkEvent::Up { peer: peer.clone(), hello };
    // The owner knows of the link before the peer does, so it cannot miss the peer's first message.
    let told = tell(shared, up).await;
    let reason = if told {
        driver.welcome(welcome);
        pump(shared, &mut driver, entry, commands).await
    } else {
        Reason::Lost("nobody listens any more".to_owned())
    };
    tracing::info!(%peer, %reason, "link is down");
    // Entered as long as its end is not told: the agent's next link waits for that.
    if told {
        tell(shared, DownlinkEvent::Down { peer, reason }).await;
    }
    shared.registry.leave(entry);
    entry.gone.cancel();
    driver.close(Refusal {
        reason: RefusalReason::Unavailable,
        message: "the link is over".to_owned(),
        retry_after_ms: None,
    });
    driver.finish().await;
}

/// Tells the owner, however long it takes, unless everything ends; says whether it was told.
async fn tell(shared: &Shared, event: DownlinkEvent) -> bool {
    tokio::select! {
        biased;
        sent = shared.events.send(event) => sent.is_ok(),
        () = async { shared.cancel.cancelled().await; tokio::time::sleep(LAST_WORDS).await } => false,
    }
}

async fn pump(
    shared: &Arc<Shared>,
    driver: &mut Driver,
    entry: &Arc<Entry>,
    mut commands: mpsc::Receiver<Message>,
) -> Reason {
    let carrier = &entry.live.carrier;
    let mut pending = None;
    loop {
        while driver.has_room()
            && let Ok(message) = commands.try_recv()
        {
            driver.send(&message);
        }
        let idle = pending.is_none();
        tokio::select! {
            biased;
            () = entry.stopping.cancelled() => {
                let refusal = entry.refusal.get().cloned().unwrap_or_else(going_away);
                driver.close(refusal.clone());
                return Reason::Local(Close::new(CloseCode::Refused, refusal.message));
            }
            () = shared.cancel.cancelled() => {
                let retry_after_ms = Some(shared.slots.next(RESTART));
                driver.close(Refusal { retry_after_ms, ..going_away() });
                return Reason::Local(Close::new(CloseCode::GoingAway, going_away().message));
            }
            permit = shared.events.reserve(), if !idle => match (permit, pending.take()) {
                (Ok(permit), Some(event)) => permit.send(event),
                (Ok(_), None) => {}
                (Err(_), _) => return Reason::Lost("nobody listens any more".to_owned()),
            },
            event = driver.turn(idle) => match event {
                Some(Event::Control(control)) => {
                    pending = Some(DownlinkEvent::Control { peer: entry.peer.clone(), control });
                }
                Some(Event::Closed(reason)) => return reason,
                Some(Event::Hello(_) | Event::Up(_)) | None => {}
            },
            Some(message) = commands.recv(), if driver.has_room() => driver.send(&message),
            Ok(recv) = carrier.connection.accept_uni() => {
                let peer = entry.peer.clone();
                let wrap = move |item| DownlinkEvent::Telemetry { peer: peer.clone(), item };
                let sink = shared.telemetry.clone();
                shared.tasks.spawn(receive(Arc::clone(carrier), recv, Lane::Telemetry, sink, wrap));
            }
            Ok((send, recv)) = carrier.connection.accept_bi() => {
                let peer = entry.peer.clone();
                let wrap = move |request, responder| {
                    Some(DownlinkEvent::Request { peer: peer.clone(), request, responder })
                };
                let sink = shared.events.clone();
                shared.tasks.spawn(answer(Arc::clone(carrier), send, recv, Lane::Request, sink, wrap));
            }
        }
    }
}

fn going_away() -> Refusal {
    let message = "the listener restarts".to_owned();
    Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: None }
}
