//! Whether whoever is dialled has answered at all, long before a connection stands.
//!
//! # Why
//! A listener to which thousands return at once proves to each at first only that it is there (a Retry), and serves them in
//! the order in which they came. Whoever gave up then, and came again, would have what was done for it thrown away, and the
//! listener would do it twice: the more wait, the more is done in vain. So whoever was answered waits for its turn, and
//! does not try TCP beside it; whoever hears nothing goes on to the next address as before.
//!
//! QUIC's library tells of a Retry to the cryptography alone, so that is where it is noticed. Anybody on the path can forge
//! one: all that buys is that the agent waits a bounded time. Once the peer has begun a handshake, that is bounded as it
//! always is: what is lost then is soon asked for again only by a new attempt, for QUIC takes the time in line for the time
//! that a packet travels.

use std::any::Any;
use std::sync::Arc;

use quinn::{ClientConfig, ConnectError, ConnectionId, Side, TransportConfig};
use quinn_proto::TransportError;
use quinn_proto::crypto::{self, ExportKeyingMaterialError, HeaderKey, KeyPair, Keys, PacketKey, Session};
use quinn_proto::transport_parameters::TransportParameters;
use tokio::sync::watch;

/// What connections are dialled with.
#[derive(Clone)]
pub(crate) struct Client {
    crypto: Arc<dyn crypto::ClientConfig>,
    transport: Arc<TransportConfig>,
}

/// What was heard of the peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Answer {
    /// Nothing.
    None,
    /// It is there.
    There,
    /// It has begun the handshake.
    Serving,
}

/// What an attempt has heard so far.
#[derive(Clone)]
pub(crate) struct Heard(watch::Sender<Answer>);

impl Client {
    pub(crate) fn new(crypto: Arc<dyn crypto::ClientConfig>, transport: Arc<TransportConfig>) -> Self {
        Self { crypto, transport }
    }

    /// What one attempt needs, and what tells whether it was answered.
    pub(crate) fn attempt(&self) -> (ClientConfig, Heard) {
        let heard = Heard(watch::channel(Answer::None).0);
        let crypto = Listening { of: Arc::clone(&self.crypto), heard: heard.clone() };
        let mut config = ClientConfig::new(Arc::new(crypto));
        config.transport_config(Arc::clone(&self.transport));
        (config, heard)
    }
}

impl Heard {
    /// Whether anything was heard.
    pub(crate) fn is_any(&self) -> bool {
        *self.0.borrow() != Answer::None
    }

    /// Ends when that was heard.
    pub(crate) async fn until(&self, answer: Answer) {
        // The sender lives here.
        let _ = self.0.subscribe().wait_for(|heard| *heard >= answer).await;
    }

    fn hear(&self, answer: Answer) {
        self.0.send_if_modified(|heard| std::mem::replace(heard, answer.max(*heard)) < answer);
    }
}

/// The cryptography of an attempt, which tells what is heard.
struct Listening {
    of: Arc<dyn crypto::ClientConfig>,
    heard: Heard,
}

impl crypto::ClientConfig for Listening {
    fn start_session(
        self: Arc<Self>,
        version: u32,
        server_name: &str,
        params: &TransportParameters,
    ) -> Result<Box<dyn Session>, ConnectError> {
        let of = Arc::clone(&self.of).start_session(version, server_name, params)?;
        Ok(Box::new(Dialled { of, heard: self.heard.clone() }))
    }
}

struct Dialled {
    of: Box<dyn Session>,
    heard: Heard,
}

impl Session for Dialled {
    fn read_handshake(&mut self, buf: &[u8]) -> Result<bool, TransportError> {
        self.heard.hear(Answer::Serving);
        self.of.read_handshake(buf)
    }

    fn is_valid_retry(&self, orig_dst_cid: &ConnectionId, header: &[u8], payload: &[u8]) -> bool {
        let valid = self.of.is_valid_retry(orig_dst_cid, header, payload);
        if valid {
            self.heard.hear(Answer::There);
        }
        valid
    }

    fn initial_keys(&self, dst_cid: &ConnectionId, side: Side) -> Keys {
        self.of.initial_keys(dst_cid, side)
    }

    fn handshake_data(&self) -> Option<Box<dyn Any>> {
        self.of.handshake_data()
    }

    fn peer_identity(&self) -> Option<Box<dyn Any>> {
        self.of.peer_identity()
    }

    fn early_crypto(&self) -> Option<(Box<dyn HeaderKey>, Box<dyn PacketKey>)> {
        self.of.early_crypto()
    }

    fn early_data_accepted(&self) -> Option<bool> {
        self.of.early_data_accepted()
    }

    fn is_handshaking(&self) -> bool {
        self.of.is_handshaking()
    }

    fn transport_parameters(&self) -> Result<Option<TransportParameters>, TransportError> {
        self.of.transport_parameters()
    }

    fn write_handshake(&mut self, buf: &mut Vec<u8>) -> Option<Keys> {
        self.of.write_handshake(buf)
    }

    fn next_1rtt_keys(&mut self) -> Option<KeyPair<Box<dyn PacketKey>>> {
        self.of.next_1rtt_keys()
    }

    fn export_keying_material(
        &self,
        output: &mut [u8],
        label: &[u8],
        context: &[u8],
    ) -> Result<(), ExportKeyingMaterialError> {
        self.of.export_keying_material(output, label, context)
    }
}
