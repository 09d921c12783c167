//! What strangers say to a listener on TCP, and what listeners and proxies answer.

use std::sync::LazyLock;

use futures::FutureExt as _;
use link::Proxy;
use link::network::tunnel::readers;

use super::chosen;

/// The size of pieces, and a tunnel's bytes.
pub(super) fn capsules(bytes: &[u8]) {
    let Some((piece, bytes)) = chosen(bytes) else { return };
    let found = readers::datagrams(bytes, piece);
    assert_eq!(found, readers::datagrams(bytes, bytes.len()), "however the bytes are cut");
    if let Ok(found) = found {
        assert!(found.iter().map(Vec::len).sum::<usize>() <= bytes.len());
        let carried = readers::carried(&found);
        assert_eq!(readers::datagrams(&carried, piece), Ok(found));
    }
}

/// A request to a listener, and an answer to a dialling side.
pub(super) fn upgrade(bytes: &[u8]) {
    let asks =
        readers::asks_for_tunnel(bytes).now_or_never().expect("bytes that are there are not waited for");
    if asks == Some(true) {
        let text = String::from_utf8_lossy(bytes);
        assert!(text.contains("/.well-known/masque/udp/"), "a tunnel for {text}");
    }
    let grants =
        readers::grants_tunnel(bytes).now_or_never().expect("bytes that are there are not waited for");
    assert!(!grants.is_ok_and(|grants| grants) || bytes.windows(3).any(|three| three == b"101"));
}

/// A proxy's answer: nothing that it says brings the password out.
pub(super) fn proxy(bytes: &[u8]) {
    static PROXY: LazyLock<Option<Proxy>> = LazyLock::new(|| "http://me:hidden-word@p:1".parse().ok());
    let Some(proxy) = PROXY.as_ref() else { return };
    let answer = readers::through_proxy(proxy, bytes).now_or_never().expect("the proxy has ended");
    match answer {
        // What follows the answer is kept as it is, as far as it was read.
        Ok(rest) => assert!(rest.is_empty() || bytes.windows(rest.len()).any(|part| part == &rest[..])),
        Err(error) => {
            let text = error.to_string();
            assert!(text.chars().count() <= 400, "{} letters of a stranger's in a log", text.len());
            assert!(!text.contains("hidden-word") || bytes.windows(6).any(|six| six == b"hidden"));
        }
    }
    // The text of one is a peer's word too where it comes with settings.
    if let Ok(text) = std::str::from_utf8(bytes) {
        drop(text.parse::<Proxy>());
    }
}
