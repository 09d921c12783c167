//! Heads of HTTP/1.1 messages: what asks for a tunnel, and what grants it.

use std::io;

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// The longest head.
const HEAD_BYTES_MAX: usize = 8 * 1024;
/// The most header fields.
const FIELDS_MAX: usize = 64;
/// Where tunnels are asked for (RFC 9298, section 2).
const PATH: &str = "/.well-known/masque/udp/";
/// The protocol of a tunnel (RFC 9298, section 3).
const PROTOCOL: &str = "connect-udp";

/// Asks for a tunnel to that host.
pub(super) fn request(host: &str, port: u16) -> String {
    let target = host.replace('%', "%25").replace(':', "%3A");
    let named = if host.contains(':') { format!("[{host}]") } else { host.to_owned() };
    format!(
        "GET {PATH}{target}/{port}/ HTTP/1.1\r\nHost: {named}:{port}\r\nConnection: Upgrade\r\n\
         Upgrade: {PROTOCOL}\r\nCapsule-Protocol: ?1\r\n\r\n"
    )
}

/// Grants a tunnel.
pub(super) const GRANT: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: connect-udp\r\n\
                                Capsule-Protocol: ?1\r\n\r\n";
/// Says that there is nothing else here.
pub(super) const NOTHING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// A status line and what belongs to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Status {
    pub(super) code: u16,
    pub(super) reason: String,
    /// The protocol it switches to.
    pub(super) upgrade: Option<String>,
}

impl Status {
    /// Whether it grants a tunnel.
    pub(super) fn grants(&self) -> bool {
        let upgrade = self.upgrade.as_deref().unwrap_or_default();
        self.code == 101 && upgrade.eq_ignore_ascii_case(PROTOCOL)
    }
}

/// Reads up to the empty line that ends a head; gives the head. What comes after it stays in the buffer.
///
/// # Errors
/// When it is too long, or the other side ends before.
pub(super) async fn read(
    stream: &mut (impl AsyncRead + Unpin),
    buffer: &mut BytesMut,
) -> io::Result<BytesMut> {
    loop {
        if let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            return Ok(buffer.split_to(end + 4));
        }
        if buffer.len() > HEAD_BYTES_MAX {
            let reason = format!("the head of the message has more than {HEAD_BYTES_MAX} bytes");
            return Err(io::Error::new(io::ErrorKind::InvalidData, reason));
        }
        let mut piece = stream.take(1024);
        if piece.read_buf(buffer).await? == 0 {
            let reason = "the other side ended before the head of its message was complete";
            return Err(io::Error::new(io::ErrorKind::UnexpectedEof, reason));
        }
    }
}

/// Writes text, to its end.
pub(super) async fn write(stream: &mut (impl AsyncWrite + Unpin), text: &str) -> io::Result<()> {
    stream.write_all(text.as_bytes()).await?;
    stream.flush().await
}

/// What a response says.
///
/// # Errors
/// When it is none.
pub(super) fn response(head: &[u8]) -> io::Result<Status> {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Response::new(&mut fields);
    let malformed = |reason: String| io::Error::new(io::ErrorKind::InvalidData, reason);
    let whole = parsed.parse(head).map_err(|error| malformed(format!("no HTTP response: {error}")))?;
    let Some(code) = parsed.code.filter(|_| whole.is_complete()) else {
        return Err(malformed("no HTTP response".to_owned()));
    };
    let reason = parsed.reason.unwrap_or_default().chars().take(80).collect();
    Ok(Status { code, reason, upgrade: field(parsed.headers, "upgrade") })
}

/// Whether a request asks for a tunnel.
pub(super) fn asks_for_tunnel(head: &[u8]) -> bool {
    let mut fields = [httparse::EMPTY_HEADER; FIELDS_MAX];
    let mut parsed = httparse::Request::new(&mut fields);
    let whole = parsed.parse(head).is_ok_and(|status| status.is_complete());
    let upgrade = field(parsed.headers, "upgrade").unwrap_or_default();
    whole
        && parsed.method == Some("GET")
        && parsed.path.is_some_and(|path| path.starts_with(PATH))
        && upgrade.eq_ignore_ascii_case(PROTOCOL)
}

fn field(fields: &[httparse::Header<'_>], name: &str) -> Option<String> {
    let found = fields.iter().find(|field| field.name.eq_ignore_ascii_case(name))?;
    Some(String::from_utf8_lossy(found.value).trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_understood_and_anything_else_is_none() {
        for host in ["hub.example", "fd00::2", "10.0.0.1"] {
            assert!(asks_for_tunnel(request(host, 8443).as_bytes()), "{host}");
        }
        assert!(request("fd00::2", 8443).contains("/udp/fd00%3A%3A2/8443/ "));
        for other in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "\r\n\r\n",
            "GET /.well-known/masque/udp/a/1/ HTTP/1.1\r\n\r\n",
        ] {
            assert!(!asks_for_tunnel(other.as_bytes()), "{other}");
        }
        assert!(response(GRANT.as_bytes()).unwrap().grants());
        assert!(!response(NOTHING.as_bytes()).unwrap().grants());
        assert!(response(b"SSH-2.0-OpenSSH_9.9\r\n\r\n").is_err());
    }

    #[tokio::test]
    async fn a_head_without_end_is_refused_and_what_follows_one_is_kept() {
        let endless = vec![b'a'; 1 << 20];
        let error = read(&mut &endless[..], &mut BytesMut::new()).await.unwrap_err();
        assert!(error.to_string().contains("more than 8192 bytes"), "{error}");
        let error = read(&mut &b"HTTP/1.1 200"[..], &mut BytesMut::new()).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        let mut buffer = BytesMut::new();
        let head = read(&mut &b"HTTP/1.1 200 OK\r\n\r\nrest"[..], &mut buffer).await.unwrap();
        assert_eq!(response(&head).unwrap().code, 200);
        assert_eq!(buffer, &b"rest"[..]);
    }
}
