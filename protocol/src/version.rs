//! Versions of the protocol: what they are, what each added, and what is lost where an agent is of an earlier one.
//!
//! ```text
//!   major   in the ALPN of a link, `skein/1`: ends of different majors do not talk, they refuse each other
//!   minor   told in Hello, Welcome and an edge's reports as an extension, with a bit for each feature that is there
//! ```
//! Within a major version no layout ever changes. A minor version adds features: kinds of messages that whoever does not
//! know them skips, and extensions that whoever does not know them keeps and ignores. [`FEATURES`] is the one list of
//! them, with what an upper side does where an agent lacks one; nothing else gives a bit a meaning.
//!
//! # Who asks for what
//! Hub and region look at what the agent below *has*, never at the number of its version: an agent that was built without
//! something says so by its bits. The number is for people. Versions go up from above: hub, regions, edges. An upper side
//! serves every earlier minor of its major; a lower side that is newer than its upper side works as that one does.
//!
//! # Who says nothing
//! Before 1.3 nobody told a version, and 1.2 is the last of these; so whoever tells none is taken for [`Speaks::SILENT`].
//! An edge's region may be the older one: it hands on reports with the extensions that it does not know, so the hub hears
//! of the edge from the edge itself.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec::{decode, encode};
use crate::id::AgentId;
use crate::plan::{PlanBody, Unit};
use crate::{Extensions, policy};

/// The major version; also the number in the ALPN of links.
pub const MAJOR: u16 = 1;
/// The minor version.
pub const MINOR: u16 = 3;
/// Extension of Hello, Welcome and an edge's reports: [`Speaks`], encoded.
pub const VERSION_EXTENSION: u16 = 10;
/// Extension of a Welcome: [`Lacks`], encoded; absent when the agent lacks nothing.
pub const LACKS_EXTENSION: u16 = 11;

/// Most bytes of an encoded [`Speaks`].
const SPEAKS_BYTES_MAX: usize = 32;
/// Most bytes of encoded [`Lacks`].
const LACKS_BYTES_MAX: usize = 16 * 1024;

/// What asks an agent for a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// An extension of a unit, by its tag.
    Unit(u16),
    /// A setting of a plan, by its name.
    Setting(&'static str),
    /// Control messages, by their place among [`crate::message::Control`]; those on their way up are skipped by an upper
    /// side that does not know them.
    Control(&'static [u16]),
    /// Requests, by their place among [`crate::message::Request`].
    Request(&'static [u16]),
    /// Nothing: it is the agent that uses it.
    Nothing,
}

/// What an upper side does where an agent lacks what it would be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Without {
    /// Sends it all the same: the agent does less, and never what was forbidden.
    Sent,
    /// Withholds it, and says so: ignoring it would do what was not wanted.
    Withheld,
}

/// Which agents can have a feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tier {
    /// Edges.
    Edge,
    /// Regions.
    Region,
    /// Both.
    Both,
}

/// Something that a minor version added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Feature {
    /// What people call it.
    pub name: &'static str,
    /// Its bit, for good.
    pub bit: u8,
    /// The minor version that added it.
    pub since: u16,
    /// Who can have it.
    pub of: Tier,
    /// What asks for it.
    pub asked: Asked,
    /// What is done where it is lacking.
    pub without: Without,
    /// What is lost then, for a person.
    pub lost: &'static str,
}

const fn row(
    (name, bit, since): (&'static str, u8, u16),
    of: Tier,
    (asked, without): (Asked, Without),
    lost: &'static str,
) -> Feature {
    Feature { name, bit, since, of, asked, without, lost }
}

use Asked::{Control, Nothing, Request, Setting};
use Tier::{Both, Edge, Region};
use Without::{Sent, Withheld};

/// All features, by bit.
pub const FEATURES: [Feature; 19] = [
    row(
        ("rollback", 0, 1),
        Edge,
        (Asked::Unit(policy::ROLLBACK_AFTER), Sent),
        "an upgrade that fails stays as it is, and does not give way to the last healthy revision",
    ),
    row(
        ("recreate", 1, 1),
        Edge,
        (Asked::Unit(policy::RECREATE), Sent),
        "an object that cannot be changed as desired is reported as failed, and not made anew",
    ),
    row(
        ("drift-latitude", 2, 1),
        Edge,
        (Asked::Unit(policy::LEEWAY), Withheld),
        "fields and objects that others may change would be put back",
    ),
    row(("dry-run", 3, 1), Edge, (Asked::Unit(policy::DRY_RUN), Withheld), "a dry run would be carried out"),
    row(
        ("helm-records", 4, 1),
        Edge,
        (Asked::Unit(policy::CHART), Sent),
        "`helm list` on the cluster does not show releases, and those that Helm installed are not taken over",
    ),
    row(
        ("hold", 5, 1),
        Edge,
        (Setting(policy::HOLD), Withheld),
        "a hold would not hold: while there is one, no new plan is sent",
    ),
    row(
        ("inquiry", 6, 1),
        Both,
        (Request(&[4]), Withheld),
        "`skein diff` and `skein history` cannot ask the cluster, and show what was last reported",
    ),
    row(
        ("health-rules", 7, 1),
        Edge,
        (Asked::Unit(policy::HEALTH_RULES), Sent),
        "health rules are not evaluated: objects count as healthy by their own status alone",
    ),
    row(
        ("not-after", 8, 1),
        Edge,
        (Asked::Unit(policy::NOT_AFTER), Withheld),
        "a revision would be begun after the time until which it may be",
    ),
    row(
        ("emergency", 9, 1),
        Edge,
        (Asked::Unit(policy::EMERGENCY), Sent),
        "what is urgent waits for maintenance windows like everything else",
    ),
    row(
        ("reload", 10, 1),
        Edge,
        (Asked::Unit(policy::RELOAD), Sent),
        "workloads do not roll when a ConfigMap or Secret that they use changes",
    ),
    row(
        ("tests", 11, 1),
        Edge,
        (Asked::Unit(policy::TEST), Sent),
        "the tests of charts are not run, and `skein test` gets no result",
    ),
    row(
        ("prune-definitions", 12, 1),
        Edge,
        (Asked::Unit(policy::PRUNE_DEFINITIONS), Sent),
        "whether CustomResourceDefinitions go with their service cannot be said",
    ),
    row(
        ("return", 13, 2),
        Both,
        (Request(&[5, 6]), Sent),
        "once its certificate has expired, the agent needs a new token to come back",
    ),
    row(
        ("delegated-renewal", 14, 2),
        Region,
        (Control(&[13, 14]), Withheld),
        "its edges cannot renew their certificates while the hub is away",
    ),
    row(
        ("placement", 15, 2),
        Both,
        (Control(&[15]), Withheld),
        "it stays in its region: it can neither be moved to another one nor go to a standby",
    ),
    row(
        ("trust-chain", 16, 2),
        Both,
        (Control(&[16, 17]), Withheld),
        "it follows a rotation of keys only with its next certificate, and a rotation waits for it until then",
    ),
    row(
        ("version", 17, 3),
        Both,
        (Nothing, Sent),
        "it does not tell its version: it is taken for one of 1.2, and does not show what it lacks",
    ),
    row(
        ("endpoints", 18, 3),
        Both,
        (Control(&[18]), Withheld),
        "it hears of other endpoints only with its next certificate or placement, and dials them in turn",
    ),
];

/// A set of features.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Features(pub u64);

impl Features {
    /// Questions about an agent's cluster.
    pub const INQUIRY: Self = Self(1 << 6);
    /// Holds.
    pub const HOLD: Self = Self(1 << 5);
    /// Tables by which a region renews its edges.
    pub const DELEGATED_RENEWAL: Self = Self(1 << 14);
    /// Word of where an edge links.
    pub const PLACEMENT: Self = Self(1 << 15);
    /// Signed lists of where hub and regions listen.
    pub const ENDPOINTS: Self = Self(1 << 18);
    /// Signed trust bundles on their way down.
    pub const TRUST_CHAIN: Self = Self(1 << 16);

    /// Those that were there in that minor version.
    pub const fn of_minor(minor: u16) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < FEATURES.len() {
            if FEATURES[at].since <= minor {
                bits |= 1 << FEATURES[at].bit;
            }
            at += 1;
        }
        Self(bits)
    }

    /// The feature of that name alone; nothing where there is none of that name.
    pub fn named(name: &str) -> Option<Self> {
        let feature = FEATURES.iter().find(|feature| feature.name == name)?;
        Some(Self(1 << feature.bit))
    }

    /// These and those.
    #[must_use]
    pub const fn and(self, those: Self) -> Self {
        Self(self.0 | those.0)
    }

    /// Whether all of those are among these.
    pub const fn has(self, those: Self) -> bool {
        self.0 & those.0 == those.0
    }

    /// These without those.
    #[must_use]
    pub const fn without(self, those: Self) -> Self {
        Self(self.0 & !those.0)
    }

    /// Those among these that are known here, by bit.
    pub fn known(self) -> impl Iterator<Item = &'static Feature> {
        FEATURES.iter().filter(move |feature| self.0 & (1 << feature.bit) != 0)
    }

    /// Whether there are none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// What one end of a link speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Speaks {
    /// The minor version.
    pub minor: u16,
    /// What it has.
    pub features: Features,
}

impl Default for Speaks {
    fn default() -> Self {
        Self::HERE
    }
}

impl Speaks {
    /// This program.
    pub const HERE: Self = Self::of_minor(MINOR);
    /// Whoever tells no version.
    pub const SILENT: Self = Self::of_minor(2);

    /// A program of that minor version, with all that it had.
    pub const fn of_minor(minor: u16) -> Self {
        Self { minor, features: Features::of_minor(minor) }
    }

    /// What extensions tell; [`Self::SILENT`] when they tell nothing that can be read.
    pub fn told(ext: &Extensions) -> Self {
        let told = ext.iter().find(|(tag, _)| *tag == VERSION_EXTENSION);
        told.and_then(|(_, bytes)| decode(bytes, SPEAKS_BYTES_MAX).ok()).unwrap_or(Self::SILENT)
    }

    /// The extension that tells it; nothing for one that is silent, as programs of before are.
    pub fn tell(self) -> Option<(u16, Bytes)> {
        (self != Self::SILENT).then(|| (VERSION_EXTENSION, encode(&self)))
    }

    /// The features that `upper` has, an agent of that tier can have, and this one has not.
    pub fn lacking(self, agent: &AgentId, upper: Self) -> Features {
        let edge = matches!(agent, AgentId::Edge(_));
        let can = |feature: &&Feature| match feature.of {
            Tier::Edge => edge,
            Tier::Region => !edge,
            Tier::Both => true,
        };
        let all = FEATURES.iter().filter(can).fold(0, |bits, feature| bits | 1 << feature.bit);
        Features(all & upper.features.0).without(self.features)
    }

    /// Why something is not sent to an agent that speaks this and lacks those features, for a person.
    pub fn cannot(self, lacking: Features) -> String {
        let lacks = Lacks::of(lacking);
        format!("the agent speaks protocol {self} and lacks {lacks}; install a newer one")
    }
}

/// All features that a plan may need.
pub const NEEDED: Features = {
    let (mut bits, mut at) = (0, 0);
    while at < FEATURES.len() {
        let row = &FEATURES[at];
        if matches!((row.asked, row.without), (Asked::Unit(_) | Asked::Setting(_), Withheld)) {
            bits |= 1 << row.bit;
        }
        at += 1;
    }
    Features(bits)
};

/// The features that a unit asks for.
pub fn asked(unit: &Unit) -> Features {
    let asks = |feature: &&Feature| match feature.asked {
        Asked::Unit(tag) => unit.ext.iter().any(|(there, _)| *there == tag),
        Asked::Setting(_) | Asked::Control(_) | Asked::Request(_) | Asked::Nothing => false,
    };
    Features(FEATURES.iter().filter(asks).fold(0, |bits, feature| bits | 1 << feature.bit))
}

/// The features without which an agent must not be sent that unit: without them it would do what was not wanted.
pub fn needed(unit: &Unit) -> Features {
    Features(asked(unit).0 & NEEDED.0)
}

/// The features without which an agent must not be sent that plan.
pub fn needed_by(body: &PlanBody) -> Features {
    body.units.iter().map(needed).fold(needed_by_settings(body.settings.keys()), Features::and)
}

/// The features without which an agent must not be sent a plan with these settings.
pub fn needed_by_settings<'a>(names: impl Iterator<Item = &'a String>) -> Features {
    let of = |name: &String| {
        let asked = |feature: &&Feature| matches!(feature.asked, Asked::Setting(asked) if asked == name);
        FEATURES.iter().find(asked).map_or(0, |feature| 1 << feature.bit)
    };
    Features(names.fold(0, |bits, name| bits | of(name)))
}

impl std::fmt::Display for Speaks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{MAJOR}.{}", self.minor)
    }
}

/// A feature that an agent lacks, as it is told: the agent may never have heard of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lack {
    /// The feature.
    pub name: String,
    /// The minor version that added it.
    pub since: u16,
    /// What is lost, for a person.
    pub lost: String,
}

/// What an agent lacks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lacks(pub Vec<Lack>);

impl Lacks {
    /// These features, in words.
    pub fn of(features: Features) -> Self {
        let lack = |feature: &Feature| Lack {
            name: feature.name.to_owned(),
            since: feature.since,
            lost: feature.lost.to_owned(),
        };
        Self(features.known().map(lack).collect())
    }

    /// The extension of a Welcome that tells it.
    pub fn tell(&self) -> Option<(u16, Bytes)> {
        (!self.0.is_empty()).then(|| (LACKS_EXTENSION, encode(self)))
    }

    /// What the extensions of a Welcome tell; nothing when that cannot be read.
    pub fn told(ext: &Extensions) -> Self {
        let told = ext.iter().find(|(tag, _)| *tag == LACKS_EXTENSION);
        told.and_then(|(_, bytes)| decode(bytes, LACKS_BYTES_MAX).ok()).unwrap_or_default()
    }
}

impl std::fmt::Display for Lacks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (at, Lack { name, since, lost }) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { "; " };
            write!(f, "{comma}{name} ({MAJOR}.{since}): {lost}")?;
        }
        Ok(())
    }
}
