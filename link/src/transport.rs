//! QUIC configurations and errors, in a link's words.

use std::sync::Arc;
use std::time::Duration;

use identity::tls::{TlsError, client_config, join_config, recover_config};
use identity::{AgentIdentity, Clock, Entropy, JoinToken};
use protocol::session::{Close, CloseCode};
use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{Connection, ConnectionError, ServerConfig, ValidationTokenConfig, VarInt};

use crate::heard::Client;
use crate::profile::Profile;

/// Handshakes that wait to be accepted.
const INCOMING_MAX: usize = 16 * 1024;
/// Bytes kept for all of them.
const INCOMING_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Bytes kept for one of them.
const INCOMING_ONE_BYTES_MAX: u64 = 16 * 1024;
/// TLS alerts arrive as QUIC errors from here on.
const CRYPTO_ERROR: u64 = 0x100;
/// The alert `certificate_expired`, which also stands for "not valid yet" (RFC 8446, section 6.2).
pub(crate) const CERTIFICATE_EXPIRED: u64 = CRYPTO_ERROR + 45;
/// The alert `unknown_ca`: one side does not know the root that the other one's certificate leads to.
pub(crate) const UNKNOWN_AUTHORITY: u64 = CRYPTO_ERROR + 48;

/// The dialling side of a link.
pub(crate) fn link_client(
    identity: &AgentIdentity,
    profile: &Profile,
    clock: Arc<dyn Clock>,
    entropy: &mut dyn Entropy,
) -> Result<Client, TlsError> {
    quic_client(client_config(identity, clock)?, profile, entropy)
}

/// The dialling side of a join.
pub(crate) fn join_client(
    token: &JoinToken,
    profile: &Profile,
    clock: Arc<dyn Clock>,
    entropy: &mut dyn Entropy,
) -> Result<Client, TlsError> {
    quic_client(join_config(token, clock)?, profile, entropy)
}

pub(crate) fn quic_client(
    tls: quinn::rustls::ClientConfig,
    profile: &Profile,
    entropy: &mut dyn Entropy,
) -> Result<Client, TlsError> {
    let crypto = QuicClientConfig::try_from(tls).map_err(|error| TlsError::Configure(unsuited(&error)))?;
    Ok(Client::new(Arc::new(crypto), profile.lower(entropy)))
}

/// The dialling side of a return after expiry.
pub(crate) fn recover_client(
    identity: &AgentIdentity,
    profile: &Profile,
    clock: Arc<dyn Clock>,
    entropy: &mut dyn Entropy,
) -> Result<Client, TlsError> {
    quic_client(recover_config(identity, clock)?, profile, entropy)
}

/// The listening side of links and joins.
pub(crate) fn server(tls: quinn::rustls::ServerConfig, profile: &Profile) -> Result<ServerConfig, TlsError> {
    let crypto = QuicServerConfig::try_from(tls).map_err(|error| TlsError::Configure(unsuited(&error)))?;
    let mut config = ServerConfig::with_crypto(Arc::new(crypto));
    let mut tokens = ValidationTokenConfig::default();
    tokens.sent(0);
    config
        .transport_config(profile.upper())
        .validation_token_config(tokens)
        .max_incoming(INCOMING_MAX)
        .incoming_buffer_size(INCOMING_ONE_BYTES_MAX)
        .incoming_buffer_size_total(INCOMING_BYTES_MAX)
        .retry_token_lifetime(Duration::from_secs(15));
    Ok(config)
}

fn unsuited(error: &quinn::crypto::rustls::NoInitialCipherSuite) -> quinn::rustls::Error {
    quinn::rustls::Error::General(error.to_string())
}

/// Closes a connection with an application code and a reason.
pub(crate) fn close(connection: &Connection, close: &Close) {
    connection.close(VarInt::from_u32(close.code.number()), close.reason.as_bytes());
}

/// A close for a peer that is told nothing more.
pub(crate) fn refused(reason: impl Into<String>) -> Close {
    Close::new(CloseCode::Refused, reason)
}

/// What happened to a connection, for a person.
pub(crate) fn describe(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(close) => {
            let reason = String::from_utf8_lossy(&close.reason);
            format!("closed by the peer (code {}): {reason}", close.error_code)
        }
        ConnectionError::ConnectionClosed(close) => {
            let code = u64::from(close.error_code);
            match alert(code) {
                Some(meaning) => format!("the peer refused the TLS handshake: {meaning}"),
                None => format!("aborted by the peer: {close}"),
            }
        }
        ConnectionError::TransportError(error) => {
            let reason = error.reason.trim_start_matches("invalid peer certificate: Other(OtherError(");
            reason.trim_end_matches("))").to_owned()
        }
        ConnectionError::Reset => "the peer does not know the connection any more: it restarted".to_owned(),
        ConnectionError::TimedOut => "no packet came within the idle timeout".to_owned(),
        ConnectionError::LocallyClosed => "closed here".to_owned(),
        ConnectionError::VersionMismatch | ConnectionError::CidsExhausted => error.to_string(),
    }
}

/// Whether a QUIC error is a TLS alert.
pub(crate) fn is_alert(code: u64) -> bool {
    (CRYPTO_ERROR..CRYPTO_ERROR + 256).contains(&code)
}

/// What a TLS alert (RFC 8446, section 6) means on a link.
fn alert(code: u64) -> Option<&'static str> {
    match code.checked_sub(CRYPTO_ERROR)? {
        42 => Some("the certificate is malformed (bad_certificate)"),
        43 => Some("the certificate is not for this use (unsupported_certificate)"),
        44 => Some("this agent was revoked (certificate_revoked)"),
        45 => {
            Some("the certificate has expired, or is not valid yet by the clock there (certificate_expired)")
        }
        46 => Some("the certificate is not accepted: wrong trust domain, tier or use (certificate_unknown)"),
        48 => Some("the certificate's authority is not trusted (unknown_ca)"),
        49 => Some("access denied (access_denied)"),
        116 => Some("a client certificate is required (certificate_required)"),
        120 => Some(
            "it knows no version that this end speaks, which is protocol 1: install versions of one major version on both ends (no_application_protocol)",
        ),
        _ => None,
    }
}
