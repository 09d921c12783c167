//! Who and what: agents, generations and digests.
//!
//! Every identifier has one text form, used alike in certificates, custom resources, logs and metrics.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest region or edge name, in bytes (a DNS label, RFC 1123).
pub const NAME_BYTES_MAX: usize = 63;

/// Why a text is not an identifier.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a DNS label.
    #[error(
        "name \"{0}\" is not a DNS label: 1 to 63 of a-z, 0-9 and \"-\", starting and ending with a letter or digit"
    )]
    Name(String),
    /// Not a UUID.
    #[error("edge id \"{0}\" is not a UUID: 32 hexadecimal digits in groups of 8-4-4-4-12")]
    Edge(String),
    /// Not a SPIFFE id of this mesh.
    #[error(
        "\"{0}\" is not an agent id: expected spiffe://<trust-domain>/hub, /region/<name> or /edge/<uuid>"
    )]
    Spiffe(String),
    /// Not a digest.
    #[error("digest \"{0}\" is not 64 hexadecimal digits")]
    Digest(String),
    /// Not a generation.
    #[error("generation \"{0}\" is not <term>.<counter>")]
    Generation(String),
}

/// A region's name: a DNS label.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct RegionName(String);

impl RegionName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for RegionName {
    type Error = IdError;
    fn try_from(text: String) -> Result<Self, IdError> {
        let valid = !text.is_empty()
            && text.len() <= NAME_BYTES_MAX
            && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
            && !text.starts_with('-')
            && !text.ends_with('-');
        if valid { Ok(Self(text)) } else { Err(IdError::Name(text)) }
    }
}

impl FromStr for RegionName {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        Self::try_from(text.to_owned())
    }
}

impl From<RegionName> for String {
    fn from(name: RegionName) -> Self {
        name.0
    }
}

impl fmt::Display for RegionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An edge's identity: a UUID given at enrolment, never reused.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct EdgeId(pub [u8; 16]);

impl fmt::Display for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, byte) in self.0.iter().enumerate() {
            if matches!(index, 4 | 6 | 8 | 10) {
                f.write_str("-")?;
            }
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for EdgeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EdgeId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Edge(text.to_owned());
        let dashes = [8, 13, 18, 23];
        if text.len() != 36 || !dashes.iter().all(|&at| text.as_bytes()[at] == b'-') {
            return Err(wrong());
        }
        let digits: Vec<u8> =
            text.bytes().enumerate().filter(|(at, _)| !dashes.contains(at)).map(|(_, byte)| byte).collect();
        Ok(Self(parse_hex(&digits).ok_or_else(wrong)?))
    }
}

/// An agent: a program below the hub that has an identity of its own.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum AgentId {
    /// The regional agent of a region.
    Region(RegionName),
    /// The edge agent of one child cluster.
    Edge(EdgeId),
}

impl AgentId {
    /// The SPIFFE id that the agent's certificate carries as its only URI name.
    pub fn spiffe(&self, trust_domain: &str) -> String {
        format!("spiffe://{trust_domain}/{self}")
    }

    /// Reads a SPIFFE id of the given trust domain.
    ///
    /// # Errors
    /// [`IdError::Spiffe`] when the domain differs or the path names no agent.
    pub fn from_spiffe(uri: &str, trust_domain: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Spiffe(uri.to_owned());
        let path = uri
            .strip_prefix("spiffe://")
            .and_then(|rest| rest.strip_prefix(trust_domain))
            .and_then(|rest| rest.strip_prefix('/'))
            .ok_or_else(wrong)?;
        path.parse().map_err(|_| wrong())
    }

    /// The edge, if the agent is one.
    pub fn edge(&self) -> Option<EdgeId> {
        match self {
            Self::Edge(edge) => Some(*edge),
            Self::Region(_) => None,
        }
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Region(name) => write!(f, "region/{name}"),
            Self::Edge(edge) => write!(f, "edge/{edge}"),
        }
    }
}

impl FromStr for AgentId {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        match text.split_once('/') {
            Some(("region", name)) => Ok(Self::Region(name.parse()?)),
            Some(("edge", id)) => Ok(Self::Edge(id.parse()?)),
            _ => Err(IdError::Spiffe(text.to_owned())),
        }
    }
}

/// The order of plans for one agent: higher wins, always (invariant 2).
///
/// `term` is the number of times leadership of the hub changed hands, `counter` counts inside a term, so a
/// deposed leader can never outbid its successor and no write to the API stands between an edit and its plan.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Generation {
    /// Lease transitions of the hub at the time of planning.
    pub term: u64,
    /// Count inside the term, from 1.
    pub counter: u64,
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.term, self.counter)
    }
}

impl FromStr for Generation {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        let wrong = || IdError::Generation(text.to_owned());
        let (term, counter) = text.split_once('.').ok_or_else(wrong)?;
        Ok(Self { term: term.parse().map_err(|_| wrong())?, counter: counter.parse().map_err(|_| wrong())? })
    }
}

/// The BLAKE3 hash of a blob's content, its address everywhere.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Digest(pub [u8; 32]);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0[..6].iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for Digest {
    type Err = IdError;
    fn from_str(text: &str) -> Result<Self, IdError> {
        parse_hex(text.as_bytes()).map(Self).ok_or_else(|| IdError::Digest(text.to_owned()))
    }
}

/// `2 * N` lower- or upper-case hexadecimal digits, no more and no less.
fn parse_hex<const N: usize>(digits: &[u8]) -> Option<[u8; N]> {
    if digits.len() != 2 * N {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        let (high, low) = ((pair[0] as char).to_digit(16)?, (pair[1] as char).to_digit(16)?);
        *byte = u8::try_from(high * 16 + low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_identifier_reads_back_what_it_prints() {
        let edge = EdgeId(*b"0123456789abcdef");
        assert_eq!(edge.to_string().parse::<EdgeId>(), Ok(edge));
        let digest = Digest::of(b"x");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        for agent in [AgentId::Region("eu".parse().unwrap()), AgentId::Edge(edge)] {
            assert_eq!(AgentId::from_spiffe(&agent.spiffe("fleet.example"), "fleet.example"), Ok(agent));
        }
        let generation = Generation { term: 3, counter: 41 };
        assert_eq!(generation.to_string().parse::<Generation>(), Ok(generation));
    }

    #[test]
    fn a_spiffe_id_of_another_domain_or_shape_is_refused() {
        for uri in [
            "spiffe://other/region/eu",
            "spiffe://fleet.example.evil/region/eu",
            "spiffe://fleet.example/region/",
            "spiffe://fleet.example/region/EU",
            "spiffe://fleet.example/region/eu/x",
            "spiffe://fleet.example/edge/not-a-uuid",
            "https://fleet.example/region/eu",
        ] {
            assert!(AgentId::from_spiffe(uri, "fleet.example").is_err(), "{uri}");
        }
    }

    #[test]
    fn a_later_term_outbids_any_counter_of_an_earlier_one() {
        assert!(Generation { term: 2, counter: 1 } > Generation { term: 1, counter: u64::MAX });
    }
}
