//! What is known of the targets of a rollout.

use std::collections::BTreeMap;

use protocol::UnixMillis;

/// What is known of a target.
#[derive(Debug, Clone, Copy)]
pub struct Fact<'a> {
    /// Its name, unique in the fleet.
    pub name: &'a str,
    /// Labels that waves select by.
    pub labels: &'a BTreeMap<String, String>,
    /// The revision it was given; nothing, when it was given none yet.
    pub given: Option<&'a str>,
    /// When it was given that; 0 for what it had before there was a rollout.
    pub given_at: UnixMillis,
    /// How it is with that revision, as far as anybody knows.
    pub health: Health,
    /// Whether it can be heard.
    pub link: Link,
    /// Whether somebody said to leave it alone.
    pub held: bool,
}

/// How a target is with the revision it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Health {
    /// All is deployed.
    Ready,
    /// On its way.
    Waiting,
    /// Something of it has failed since then, but for moments (see [`super::steady`]).
    Failed(UnixMillis),
}

/// Whether a target can be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Link {
    /// It can; it would be since then, had the link never broken (see [`super::steady`]).
    Up(UnixMillis),
    /// It cannot, since then; nothing is known of the time when it never was.
    Away(Option<UnixMillis>),
    /// Nobody knows yet: the hub has only just started.
    Unsettled,
}
