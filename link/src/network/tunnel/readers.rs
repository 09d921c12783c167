//! What a tunnel's ends read of each other and of a proxy before they know anybody, for tests that feed them bytes.

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use super::proxy::{Proxy, ProxyError};
use super::{capsule, head};

/// The datagrams of a tunnel's bytes, which come in pieces of that size.
///
/// # Errors
/// Why no more is read of it.
pub fn datagrams(bytes: &[u8], piece: usize) -> Result<Vec<Vec<u8>>, String> {
    let (mut buffer, mut found) = (BytesMut::new(), Vec::new());
    for piece in bytes.chunks(piece.max(1)) {
        buffer.extend_from_slice(piece);
        while let Some(datagram) = capsule::decode(&mut buffer).map_err(|error| error.to_string())? {
            found.push(datagram.to_vec());
        }
    }
    Ok(found)
}

/// Datagrams as a tunnel carries them; those that are too long are left out.
pub fn carried(datagrams: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for datagram in datagrams {
        capsule::encode(datagram, &mut bytes);
    }
    bytes
}

/// Whether a listener gives a tunnel to a stranger who says that; `None` when it hears no whole head.
pub async fn asks_for_tunnel(mut bytes: &[u8]) -> Option<bool> {
    let head = head::read(&mut bytes, &mut BytesMut::new()).await.ok()?;
    Some(head::asks_for_tunnel(&head))
}

/// Whether whoever says that grants a tunnel.
///
/// # Errors
/// What is wrong with the answer.
pub async fn grants_tunnel(mut bytes: &[u8]) -> std::io::Result<bool> {
    let head = head::read(&mut bytes, &mut BytesMut::new()).await?;
    Ok(head::response(&head)?.grants())
}

/// What a proxy that answers this has passed on already.
///
/// # Errors
/// [`ProxyError`], as the dialling side tells it.
pub async fn through_proxy(proxy: &Proxy, answer: &[u8]) -> Result<BytesMut, ProxyError> {
    let (mut near, mut far) = tokio::io::duplex(answer.len() + 16 * 1024);
    // The pipe takes all of it at once.
    drop(far.write_all(answer).await);
    drop(far.shutdown().await);
    proxy.open(&mut near, "hub.example", 8443).await
}
