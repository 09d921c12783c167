//! By way of an HTTP proxy: `CONNECT` (RFC 9110, section 9.3.6), with `Basic` authentication (RFC 7617).

use std::fmt;
use std::io;
use std::net::IpAddr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::BytesMut;

use super::flow::Stream;
use super::head;

/// Why a proxy is of no use.
#[derive(Debug, thiserror::Error)]
pub enum ProxyError {
    /// It is not written as one.
    #[error("the proxy \"{shown}\" is {wrong}: http://[USER:PASSWORD@]HOST[:PORT] is accepted")]
    Malformed {
        /// The proxy, without its credentials.
        shown: String,
        /// What is wrong.
        wrong: &'static str,
    },
    /// It wants to know who asks.
    #[error("the proxy {proxy} {}", if *.given { "does not accept the user and password given (407)" } else { "demands a user and password, none is given (407)" })]
    Authentication {
        /// Which proxy.
        proxy: String,
        /// Whether credentials were shown.
        given: bool,
    },
    /// It does not allow it.
    #[error("the proxy {proxy} forbids connections to {target} (403)")]
    Forbidden {
        /// Which proxy.
        proxy: String,
        /// Where to.
        target: String,
    },
    /// It has no way there.
    #[error("the proxy {proxy} does not reach {target} ({code})")]
    NoRoute {
        /// Which proxy.
        proxy: String,
        /// Where to.
        target: String,
        /// Its status code.
        code: u16,
    },
    /// It says something else.
    #[error("the proxy {proxy} refuses a connection to {target}: {code} {reason}")]
    Refused {
        /// Which proxy.
        proxy: String,
        /// Where to.
        target: String,
        /// Its status code.
        code: u16,
        /// Its words.
        reason: String,
    },
    /// It does not speak HTTP.
    #[error("the proxy {proxy} does not answer as one: {source}")]
    Answer {
        /// Which proxy.
        proxy: String,
        /// What is wrong.
        source: io::Error,
    },
}

/// A proxy, and who asks it.
#[derive(Clone, PartialEq, Eq)]
pub struct Proxy {
    host: String,
    port: u16,
    /// What the header says; never shown.
    authorization: Option<String>,
}

impl fmt::Debug for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Proxy({self})")
    }
}

impl fmt::Display for Proxy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&authority(&self.host, self.port))
    }
}

impl std::str::FromStr for Proxy {
    type Err = ProxyError;

    /// Reads `http://[USER:PASSWORD@]HOST[:PORT]`; user and password may be percent-encoded.
    fn from_str(text: &str) -> Result<Self, ProxyError> {
        let (scheme, rest) = text.trim().split_once("://").unwrap_or(("http", text.trim()));
        let rest = rest.split_once('/').map_or(rest, |(authority, _)| authority);
        let (credentials, place) = match rest.rsplit_once('@') {
            Some((credentials, place)) => (Some(credentials), place),
            None => (None, rest),
        };
        let malformed = |wrong| ProxyError::Malformed { shown: format!("{scheme}://{place}"), wrong };
        if !scheme.eq_ignore_ascii_case("http") {
            return Err(malformed("of another scheme"));
        }
        let (host, port) = match place.rsplit_once(':').filter(|(host, _)| !host.ends_with(':')) {
            Some((host, port)) if !place.ends_with(']') => {
                (host, port.parse().map_err(|_| malformed("without a usable port"))?)
            }
            Some(_) | None => (place, 3128),
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        let unusual = |character: char| character.is_whitespace() || character.is_control();
        if host.is_empty() || host.chars().any(unusual) {
            return Err(malformed("without a usable host"));
        }
        let authorization = match credentials {
            Some(credentials) => {
                let decoded = unescaped(credentials).ok_or_else(|| malformed("wrongly percent-encoded"))?;
                Some(format!("Basic {}", STANDARD.encode(decoded)))
            }
            None => None,
        };
        Ok(Self { host: host.to_owned(), port, authorization })
    }
}

impl Proxy {
    /// The same with other credentials, written as `USER:PASSWORD`.
    #[must_use]
    pub fn with_credentials(self, credentials: &str) -> Self {
        Self { authorization: Some(format!("Basic {}", STANDARD.encode(credentials.trim_end()))), ..self }
    }

    /// Host and port to connect to.
    pub(super) fn place(&self) -> (&str, u16) {
        (&self.host, self.port)
    }

    /// Asks for a way to a host; the stream leads there afterwards. Gives what came from there already.
    pub(super) async fn open(
        &self,
        stream: &mut impl Stream,
        host: &str,
        port: u16,
    ) -> Result<BytesMut, ProxyError> {
        let target = authority(host, port);
        let answer = |source| ProxyError::Answer { proxy: self.to_string(), source };
        let authorization = match &self.authorization {
            Some(value) => format!("Proxy-Authorization: {value}\r\n"),
            None => String::new(),
        };
        let request = format!("CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n{authorization}\r\n");
        head::write(stream, &request).await.map_err(answer)?;
        let mut buffer = BytesMut::new();
        let read = head::read(stream, &mut buffer).await.map_err(answer)?;
        let status = head::response(&read).map_err(answer)?;
        let proxy = self.to_string();
        match status.code {
            200..=299 => Ok(buffer),
            407 => Err(ProxyError::Authentication { proxy, given: self.authorization.is_some() }),
            403 => Err(ProxyError::Forbidden { proxy, target }),
            code @ (502..=504) => Err(ProxyError::NoRoute { proxy, target, code }),
            code => Err(ProxyError::Refused { proxy, target, code, reason: status.reason }),
        }
    }
}

/// Which proxy to take for which host.
#[derive(Debug, Clone, Default)]
pub struct Proxies {
    proxy: Option<Proxy>,
    direct: Vec<String>,
}

impl Proxies {
    /// A proxy for all hosts but those listed as `NO_PROXY` has them: names with their subdomains, addresses,
    /// networks (`10.0.0.0/8`), or `*`, joined by commas.
    pub fn new(proxy: Proxy, no_proxy: &str) -> Self {
        let entries = no_proxy.split(',').map(|entry| entry.trim().to_ascii_lowercase());
        Self { proxy: Some(proxy), direct: entries.filter(|entry| !entry.is_empty()).collect() }
    }

    /// What settings say: a proxy given for links, or else the one that the machine has for HTTPS, which may be of no use
    /// for links and is then left out with a warning. Credentials, written as `USER:PASSWORD`, are for either.
    ///
    /// # Errors
    /// When the proxy given for links is none.
    pub fn settled(
        given: Option<&str>,
        of_machine: Option<&str>,
        credentials: Option<&str>,
        no_proxy: &str,
    ) -> Result<Self, ProxyError> {
        let proxy = match (given, of_machine.filter(|proxy| !proxy.trim().is_empty())) {
            (Some(given), _) => given.parse::<Proxy>()?,
            (None, Some(of_machine)) => match of_machine.parse() {
                Ok(proxy) => proxy,
                Err(error) => {
                    tracing::warn!(%error, "the machine's proxy for HTTPS is not used for links");
                    return Ok(Self::default());
                }
            },
            (None, None) => return Ok(Self::default()),
        };
        let proxy = match credentials {
            Some(credentials) => proxy.with_credentials(credentials),
            None => proxy,
        };
        tracing::info!(%proxy, "links that go through TCP go through a proxy");
        Ok(Self::new(proxy, no_proxy))
    }

    /// The proxy for a host, if one is to be taken.
    pub(super) fn of(&self, host: &str, address: IpAddr) -> Option<&Proxy> {
        let host = host.to_ascii_lowercase();
        let excepted = self.direct.iter().any(|entry| excepts(entry, &host, address));
        self.proxy.as_ref().filter(|_| !excepted)
    }
}

/// Whether an entry of `NO_PROXY` means that host.
fn excepts(entry: &str, host: &str, address: IpAddr) -> bool {
    if entry == "*" {
        return true;
    }
    if let Some((network, bits)) = entry.split_once('/') {
        let (Ok(network), Ok(bits)) = (network.parse::<IpAddr>(), bits.parse::<u32>()) else { return false };
        return match (network, address) {
            (IpAddr::V4(network), IpAddr::V4(address)) if bits <= 32 => {
                (network.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) if bits <= 128 => {
                (network.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
            }
            _ => false,
        };
    }
    let name = entry.trim_start_matches('.');
    host == name
        || host.strip_suffix(name).is_some_and(|before| before.ends_with('.'))
        || entry.parse() == Ok(address)
}

fn authority(host: &str, port: u16) -> String {
    if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") }
}

/// Percent-encoded bytes as they are; nothing when they are wrongly encoded.
fn unescaped(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        if first == b'%' {
            let digits = std::str::from_utf8(after.get(..2)?).ok()?;
            bytes.push(u8::from_str_radix(digits, 16).ok()?);
            rest = &after[2..];
        } else {
            bytes.push(first);
            rest = after;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proxies_are_read_and_never_show_their_password() {
        let proxy: Proxy = "http://some%40one:se%3Acret@proxy.example:8080/".parse().unwrap();
        assert_eq!(format!("{proxy:?} {proxy}"), "Proxy(proxy.example:8080) proxy.example:8080");
        assert_eq!(proxy.authorization, Some(format!("Basic {}", STANDARD.encode("some@one:se:cret"))));
        assert_eq!("proxy".parse::<Proxy>().unwrap().place(), ("proxy", 3128));
        assert_eq!("http://[fd00::1]:80".parse::<Proxy>().unwrap().place(), ("fd00::1", 80));
        for wrong in
            ["https://u:hidden@p:1", "http://u:hidden@:80", "http://u:hidden@p:99999", "http://u:%hidden@p"]
        {
            let error = wrong.parse::<Proxy>().unwrap_err().to_string();
            assert!(!error.contains("hidden") && error.contains("is accepted"), "{error}");
        }
    }

    #[test]
    fn hosts_may_be_excepted_by_name_address_and_network() {
        let proxies = Proxies::new("http://p".parse().unwrap(), "hub.example, .inner, 10.0.0.0/8,fd00::/8");
        let takes = |host: &str, address: &str| proxies.of(host, address.parse().unwrap()).is_some();
        assert!(!takes("hub.example", "192.0.2.1") && !takes("a.HUB.example", "192.0.2.1"));
        assert!(!takes("x.inner", "192.0.2.1") && !takes("x", "10.255.0.1") && !takes("x", "fd12::1"));
        assert!(takes("myhub.example", "192.0.2.1") && takes("x", "11.0.0.1"));
    }

    #[test]
    fn the_proxy_for_links_counts_before_that_of_the_machine() {
        let settled = |given, of_machine| Proxies::settled(given, of_machine, Some("a:b\n"), "");
        let proxy = |given, of_machine| settled(given, of_machine).unwrap().proxy;
        assert_eq!(proxy(Some("one:1"), Some("two:2")).unwrap().place(), ("one", 1));
        let machine = proxy(None, Some("http://two:2")).unwrap();
        assert_eq!(machine.authorization, Some(format!("Basic {}", STANDARD.encode("a:b"))));
        assert_eq!(proxy(None, Some("https://two:2")), None);
        assert_eq!(proxy(None, Some(" ")), None);
        assert!(settled(Some("https://one:1"), None).is_err());
    }

    async fn answered(answer: &'static str) -> Result<BytesMut, ProxyError> {
        let proxy: Proxy = "http://me:hidden@p:1".parse().unwrap();
        let (mut near, mut far) = tokio::io::duplex(64 * 1024);
        head::write(&mut far, answer).await.unwrap();
        drop(tokio::io::AsyncWriteExt::shutdown(&mut far).await);
        proxy.open(&mut near, "hub", 8443).await
    }

    #[tokio::test]
    async fn each_refusal_of_a_proxy_is_named_and_none_shows_the_password() {
        assert_eq!(answered("HTTP/1.1 200 fine\r\n\r\nmore").await.unwrap(), &b"more"[..]);
        for (answer, named) in [
            ("HTTP/1.1 407 no\r\n\r\n", "does not accept the user and password"),
            ("HTTP/1.0 403 no\r\n\r\n", "forbids connections to hub:8443"),
            ("HTTP/1.1 502 no\r\n\r\n", "does not reach hub:8443 (502)"),
            ("HTTP/1.1 418 teapot\r\n\r\n", "418 teapot"),
            ("220 smtp.example ESMTP\r\n\r\n", "does not answer as one"),
            ("", "ended before"),
        ] {
            let error = answered(answer).await.unwrap_err().to_string();
            assert!(error.contains(named) && !error.contains("hidden"), "{error}");
        }
    }
}
