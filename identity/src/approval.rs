//! Who is let in without a question: the conditions of a token, held against a device that asks for the first time.
//!
//! ```text
//!   first ask --all conditions met--------------------------> joined
//!       \-----one is not, or the policy is manual--> waits --a person: yes--> joined
//!                                                       \----a person: no---> refused, asks again rarely
//! ```
//! # Why
//! Conditions are held against a device once, when the token binds to it, and the outcome is stored in that same write:
//! so of many devices at several hubs no more than `count` are let in, and a hub that dies finds what was decided. What a
//! device tells of itself (its labels) is its own word; what counts is that it has the token. The address is what the
//! region sees, and vouches for.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::str::FromStr;

use protocol::UnixMillis;

/// A network: an address and how many of its first bits count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cidr {
    address: IpAddr,
    prefix: u8,
}

/// A text is not a network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "\"{0}\" is not a network: an address and the length of its prefix are accepted, as 10.0.0.0/8 or 2001:db8::/32"
)]
pub struct CidrError(String);

impl Cidr {
    /// Whether an address is of this network. An IPv4 address that IPv6 carries is that IPv4 address.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self.address, address.to_canonical()) {
            (IpAddr::V4(network), IpAddr::V4(address)) => {
                let differing = u32::from(network) ^ u32::from(address);
                differing.checked_shr(32 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V6(network), IpAddr::V6(address)) => {
                let differing = u128::from(network) ^ u128::from(address);
                differing.checked_shr(128 - u32::from(self.prefix)).unwrap_or(0) == 0
            }
            (IpAddr::V4(_), IpAddr::V6(_)) | (IpAddr::V6(_), IpAddr::V4(_)) => false,
        }
    }
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let wrong = || CidrError(text.chars().take(64).collect());
        let (address, prefix) = text.split_once('/').ok_or_else(wrong)?;
        let address: IpAddr = address.parse().map_err(|_| wrong())?;
        let longest = if address.is_ipv4() { 32 } else { 128 };
        // What `parse` takes beside digits: a sign.
        let digits = prefix.bytes().all(|byte| byte.is_ascii_digit());
        let prefix = prefix.parse().ok().filter(|prefix| digits && *prefix <= longest).ok_or_else(wrong)?;
        Ok(Self { address, prefix })
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix)
    }
}

/// Who decides about those who come with a token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Policy {
    /// A person, always.
    Manual,
    /// A person about those who do not meet these.
    Automatic(Conditions),
}

/// Conditions; all must be met, and one that is absent is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// How many are let in.
    pub count: Option<u32>,
    /// From when on.
    pub from: Option<UnixMillis>,
    /// Until when; at that moment no more.
    pub until: Option<UnixMillis>,
    /// Labels the edge would have.
    pub labels: BTreeMap<String, String>,
    /// Networks from which to ask; any when there are none.
    pub sources: Vec<Cidr>,
}

/// A device that asks for the first time.
#[derive(Debug, Clone, Copy)]
pub struct Asking<'a> {
    /// The labels it would have.
    pub labels: &'a BTreeMap<String, String>,
    /// Where it asks from, as whoever vouches for that sees it.
    pub from: Option<IpAddr>,
    /// How many were let in by the conditions before.
    pub admitted: u32,
    /// The time.
    pub now: UnixMillis,
}

impl Policy {
    /// Why a device is to wait; nothing when it is let in. The first condition that is not met is named, with what
    /// would be.
    pub fn waits(&self, asking: &Asking<'_>) -> Option<String> {
        let Self::Automatic(conditions) = self else {
            return Some("spec.approval.policy is Manual".to_owned());
        };
        let Conditions { count, from, until, labels, sources } = conditions;
        if let Some((label, value)) =
            labels.iter().find(|(label, value)| asking.labels.get(*label) != Some(*value))
        {
            let shown = asking.labels.get(label).map_or("absent".to_owned(), |shown| format!("\"{shown}\""));
            return Some(format!("label \"{label}\" is {shown}, spec.approval.labels asks for \"{value}\""));
        }
        if from.is_some_and(|from| asking.now < from) {
            return Some("it asked before spec.approval.from".to_owned());
        }
        if until.is_some_and(|until| asking.now >= until) {
            return Some("it did not ask before spec.approval.until".to_owned());
        }
        if !sources.is_empty() {
            let Some(address) = asking.from else {
                return Some(
                    "the region does not tell where it asks from, spec.approval.sourceCidrs wants to know"
                        .to_owned(),
                );
            };
            if !sources.iter().any(|source| source.contains(address)) {
                return Some(format!("{address} is in none of spec.approval.sourceCidrs"));
            }
        }
        if let Some(count) = count.filter(|count| asking.admitted >= *count) {
            return Some(format!("spec.approval.count lets in {count}, and so many came before"));
        }
        None
    }
}
