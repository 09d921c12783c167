//! Where a hub or a region listens: a list with priorities, signed by the hub.
//!
//! ```text
//!   hub                                     region eu                              its edges
//!    | Endpoints {of the hub} ------------> | stored, dialled from now on
//!    | Endpoints {of region eu} ----------> | kept; told at once, or when the edge links -> | stored, dialled
//! ```
//! A list is of one listener: the hub, which regions dial, or a region, which its edges dial. There is one for all who dial
//! it, so a change costs one signature however many edges there are. A region carries its list, and cannot alter it.
//!
//! As in DNS SRV (RFC 2782) the lowest priority is dialled first, and those of equal priority in an order that each agent
//! draws for itself, so that a fleet spreads.
//!
//! An agent that does not know the message is not sent it ([`crate::version::Features::ENDPOINTS`]), and goes by what its grants and placements say.

use std::fmt;
use std::str::FromStr;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{decode, encode};
use crate::id::{Generation, RegionName};
use crate::placement::{ENDPOINT_BYTES_MAX, ENDPOINTS_MAX};
use crate::plan::KeyId;
use crate::{Extensions, UnixMillis};

/// What a list's signature begins with, so that it is none of anything else.
pub const ENDPOINTS_CONTEXT: &[u8] = b"skein endpoints v1\0";
/// Longest encoded list.
pub const LIST_BYTES_MAX: usize = 16 * 1024;
/// Priority of an endpoint of which nothing else is said: there is room for better and for worse ones.
pub const PRIORITY: u16 = 10;
/// Extension of a Hello: which list the agent took last ([`Known`], 24 bytes).
pub const KNOWN_EXTENSION: u16 = 12;
/// Extension of a region's Hello: the priorities of its endpoints, encoded, in their order.
pub const PRIORITIES_EXTENSION: u16 = 13;

/// An address to dial, and how much it is preferred.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Endpoint {
    /// Lower ones are dialled first.
    pub priority: u16,
    /// `host:port`.
    pub address: String,
}

/// Why a text names no endpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "endpoint \"{endpoint}\": {detail}; accepted is HOST:PORT or HOST:PORT=PRIORITY, as eu.example.com:8444=20, with \
     priorities from 0 (dialled first) to 65535"
)]
pub struct EndpointError {
    endpoint: String,
    detail: String,
}

/// Who listens there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Listener {
    /// The hub: regions dial it.
    Hub,
    /// A region: its edges dial it.
    Region(RegionName),
}

/// Where a listener is found; what is signed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EndpointList {
    /// Whose.
    pub of: Listener,
    /// The endpoints.
    pub endpoints: Vec<Endpoint>,
    /// Grows with every list: term of leadership, and count inside the term.
    pub generation: Generation,
    /// The hub's time when it was signed.
    pub issued_at: UnixMillis,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// A list on its way down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedEndpoints {
    /// The encoded [`EndpointList`].
    pub list: Bytes,
    /// Which of the hub's keys signed it.
    pub key_id: KeyId,
    /// That key's signature (64 bytes) over [`ENDPOINTS_CONTEXT`] and `list`.
    pub signature: Bytes,
    /// Room for later minor versions.
    pub ext: Extensions,
}

/// The priorities of a region's endpoints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Priorities(pub Vec<u16>);

/// Which list an agent has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Known {
    /// Its generation.
    pub generation: Generation,
    /// What tells lists with other endpoints apart ([`mark`]).
    pub mark: [u8; 8],
}

impl Endpoint {
    /// An address of the usual priority.
    pub fn new(address: impl Into<String>) -> Self {
        Self { priority: PRIORITY, address: address.into() }
    }

    /// What is wrong with the address, in words; nothing when all is well.
    fn flaw(&self) -> Option<String> {
        let address = &self.address;
        if address.len() > ENDPOINT_BYTES_MAX {
            return Some(format!("{} bytes, at most {ENDPOINT_BYTES_MAX} are accepted", address.len()));
        }
        let Some((host, port)) = address.rsplit_once(':') else { return Some("there is no port".to_owned()) };
        if port.parse().is_ok_and(|port: u16| port == 0) || port.parse::<u16>().is_err() {
            return Some(format!("port \"{port}\" is none of 1 to 65535"));
        }
        let bare = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        if bare.is_none() && host.contains(':') {
            return Some("an IPv6 address stands in brackets, as [2001:db8::1]:8444".to_owned());
        }
        let accepted = |letter: char| letter.is_ascii_alphanumeric() || ".-_:%".contains(letter);
        let host = bare.unwrap_or(host);
        (host.is_empty() || !host.chars().all(accepted))
            .then(|| format!("host \"{host}\" is no name or address"))
    }
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let wrong = |detail: String| {
            let endpoint = text.chars().take(ENDPOINT_BYTES_MAX).collect();
            EndpointError { endpoint, detail }
        };
        let (address, priority) = match text.trim().split_once('=') {
            Some((address, priority)) => {
                let read = priority.parse();
                (address, read.map_err(|_| wrong(format!("priority \"{priority}\" is none of 0 to 65535")))?)
            }
            None => (text.trim(), PRIORITY),
        };
        let endpoint = Self { priority, address: address.to_owned() };
        endpoint.flaw().map_or(Ok(endpoint), |flaw| Err(wrong(flaw)))
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}", self.address, self.priority)
    }
}

impl fmt::Display for Listener {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Hub => f.write_str("the hub"),
            Self::Region(region) => write!(f, "region \"{region}\""),
        }
    }
}

impl EndpointList {
    /// What is wrong with it, in words; nothing when all is well.
    pub fn flaw(&self) -> Option<String> {
        let count = self.endpoints.len();
        if !(1..=ENDPOINTS_MAX).contains(&count) {
            return Some(format!("endpoints: there are {count}, accepted are 1 to {ENDPOINTS_MAX}"));
        }
        self.endpoints.iter().enumerate().find_map(|(index, endpoint)| {
            if let Some(flaw) = endpoint.flaw() {
                let shown: String = endpoint.address.chars().take(64).collect();
                return Some(format!("endpoints[{index}]: \"{shown}\": {flaw}"));
            }
            let twice = self.endpoints[..index].iter().any(|before| before.address == endpoint.address);
            twice.then(|| format!("endpoints[{index}]: \"{}\" is named twice", endpoint.address))
        })
    }

    /// Which list it is.
    pub fn known(&self) -> Known {
        Known { generation: self.generation, mark: mark(&self.endpoints) }
    }
}

impl Known {
    /// Whether an agent that has this list, or none, is to be told another one: only if that says something else.
    pub fn wants(known: Option<Self>, other: Self) -> bool {
        known.is_none_or(|known| other.generation > known.generation && other.mark != known.mark)
    }

    /// As an extension of a Hello.
    pub fn extension(self) -> (u16, Bytes) {
        let Generation { term, counter } = self.generation;
        let bytes = [term.to_be_bytes(), counter.to_be_bytes(), self.mark].concat();
        (KNOWN_EXTENSION, Bytes::from(bytes))
    }

    /// What a Hello says; nothing of an agent that took no list.
    pub fn told(ext: &Extensions) -> Option<Self> {
        let (_, bytes) = ext.iter().find(|(tag, _)| *tag == KNOWN_EXTENSION)?;
        let (term, rest) = bytes.split_first_chunk::<8>()?;
        let (counter, mark) = rest.split_first_chunk::<8>()?;
        let generation =
            Generation { term: u64::from_be_bytes(*term), counter: u64::from_be_bytes(*counter) };
        Some(Self { generation, mark: mark.try_into().ok()? })
    }
}

/// What tells lists with other endpoints apart.
pub fn mark(endpoints: &[Endpoint]) -> [u8; 8] {
    let mut hash = blake3::Hasher::new();
    for Endpoint { priority, address } in endpoints {
        hash.update(&priority.to_be_bytes());
        hash.update(&(address.len() as u64).to_be_bytes());
        hash.update(address.as_bytes());
    }
    let mut mark = [0; 8];
    mark.copy_from_slice(&hash.finalize().as_bytes()[..8]);
    mark
}

/// These endpoints as a list has them: each address once, with its best priority, the best first, and no more than a list
/// may have.
pub fn listed(endpoints: impl IntoIterator<Item = Endpoint>) -> Vec<Endpoint> {
    let mut endpoints: Vec<_> = endpoints.into_iter().filter(|endpoint| endpoint.flaw().is_none()).collect();
    endpoints.sort();
    let mut listed: Vec<Endpoint> = Vec::new();
    for endpoint in endpoints {
        if listed.iter().all(|before| before.address != endpoint.address) {
            listed.push(endpoint);
        }
    }
    listed.truncate(ENDPOINTS_MAX);
    listed
}

/// The order in which an agent dials: lower priorities first, equal ones as `below` draws them (a number from zero to its
/// argument, without that).
pub fn order<'a>(endpoints: &'a [Endpoint], mut below: impl FnMut(u64) -> u64) -> Vec<&'a Endpoint> {
    let mut drawn: Vec<(u16, u64, &'a Endpoint)> =
        endpoints.iter().map(|endpoint| (endpoint.priority, below(u64::MAX), endpoint)).collect();
    drawn.sort();
    drawn.into_iter().map(|(_, _, endpoint)| endpoint).collect()
}

/// The priorities of a region's endpoints, as an extension of its Hello.
pub fn priorities(endpoints: &[Endpoint]) -> (u16, Bytes) {
    let priorities = endpoints.iter().map(|endpoint| endpoint.priority).collect();
    (PRIORITIES_EXTENSION, encode(&Priorities(priorities)))
}

/// The endpoints that a region's Hello names, with their priorities; of a region of before each is preferred to the next.
pub fn named(addresses: &[String], ext: &Extensions) -> Vec<Endpoint> {
    let told = ext.iter().find(|(tag, _)| *tag == PRIORITIES_EXTENSION);
    let told = told.and_then(|(_, bytes)| decode::<Priorities>(bytes, LIST_BYTES_MAX).ok());
    let told = told.filter(|told| told.0.len() == addresses.len());
    let priority = |index: usize| match &told {
        Some(told) => told.0.get(index).copied().unwrap_or(PRIORITY),
        None => u16::try_from(index).unwrap_or(u16::MAX).saturating_add(PRIORITY),
    };
    let endpoint =
        |(index, address): (usize, &String)| Endpoint { priority: priority(index), address: address.clone() };
    addresses.iter().take(ENDPOINTS_MAX).enumerate().map(endpoint).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_an_address_and_perhaps_a_priority() {
        let read =
            |text: &str| text.parse::<Endpoint>().map(|endpoint| (endpoint.address, endpoint.priority));
        assert_eq!(read("eu.example.com:8444"), Ok(("eu.example.com:8444".to_owned(), PRIORITY)));
        assert_eq!(read("10.0.0.7:1=0"), Ok(("10.0.0.7:1".to_owned(), 0)));
        assert_eq!(read(" [2001:db8::1]:8444=65535"), Ok(("[2001:db8::1]:8444".to_owned(), 65535)));
        let told = "eu.example.com:8444=7".parse::<Endpoint>().unwrap().to_string();
        assert_eq!(told, "eu.example.com:8444=7");
        for (text, detail) in [
            ("eu.example.com", "there is no port"),
            ("eu:0", "port \"0\" is none of 1 to 65535"),
            ("eu:http", "port \"http\" is none of 1 to 65535"),
            (":8444", "host \"\" is no name or address"),
            ("a b:8444", "host \"a b\" is no name or address"),
            ("2001:db8::1:8444", "an IPv6 address stands in brackets"),
            ("eu:8444=high", "priority \"high\" is none of 0 to 65535"),
            ("eu:8444=65536", "priority \"65536\" is none of 0 to 65535"),
            ("eu:8444=", "priority \"\" is none of 0 to 65535"),
        ] {
            let error = text.parse::<Endpoint>().unwrap_err().to_string();
            assert!(error.contains(&format!("endpoint \"{text}\": {detail}")), "{error}");
            assert!(error.contains("accepted is HOST:PORT or HOST:PORT=PRIORITY"), "{error}");
        }
    }

    #[test]
    fn a_list_has_each_address_once_the_best_first() {
        let read = |text: &str| text.parse::<Endpoint>().unwrap();
        let mut bad = read("c:1");
        bad.address.clear();
        let all = [read("b:1=20"), read("a:1=30"), read("b:1=5"), bad, read("c:1")];
        let told: Vec<_> = listed(all).iter().map(Endpoint::to_string).collect();
        assert_eq!(told, ["b:1=5", "c:1=10", "a:1=30"]);
        let many = (0..40).map(|number| Endpoint::new(format!("host-{number}:1")));
        assert_eq!(listed(many).len(), ENDPOINTS_MAX);
    }

    #[test]
    fn what_a_region_of_before_names_stays_in_its_order() {
        let addresses = ["b:1".to_owned(), "a:1".to_owned()];
        let before = named(&addresses, &Vec::new());
        assert_eq!(before.iter().map(Endpoint::to_string).collect::<Vec<_>>(), ["b:1=10", "a:1=11"]);
        let with = [Endpoint { priority: 9, address: "b:1".to_owned() }, Endpoint::new("a:1")];
        assert_eq!(named(&addresses, &vec![priorities(&with)]), with);
        // Priorities of other endpoints than these say nothing.
        assert_eq!(named(&addresses, &vec![priorities(&with[..1])]), before);
    }

    #[test]
    fn a_list_that_says_the_same_again_need_not_be_told() {
        let known = |counter, byte| Known { generation: Generation { term: 1, counter }, mark: [byte; 8] };
        assert!(Known::wants(None, known(1, 1)));
        assert!(Known::wants(Some(known(1, 1)), known(2, 2)));
        assert!(!Known::wants(Some(known(1, 1)), known(2, 1)));
        assert!(!Known::wants(Some(known(2, 1)), known(1, 2)));
        let told = vec![(9, Bytes::new()), known(7, 8).extension()];
        assert_eq!(Known::told(&told), Some(known(7, 8)));
        for length in [0, 8, 16, 23, 25] {
            assert_eq!(Known::told(&vec![(KNOWN_EXTENSION, Bytes::from(vec![1; length]))]), None);
        }
    }
}
