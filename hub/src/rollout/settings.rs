//! What `spec.rollout` says, checked.

use api::skein::{Amount as Given, Gate, OnAbort, RolloutSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use protocol::UnixMillis;

use crate::content::describe::duration;

/// How long a target that is away is waited for when nothing is said.
const AWAY_DEADLINE: UnixMillis = 24 * 3_600_000;
/// How long a failure must last when nothing is said: an edge tries again within seconds.
const FAILURE_GRACE: UnixMillis = 10_000;
/// The share of targets that may be unavailable, and away, when nothing is said.
const QUARTER: Amount = Amount::Share(25);

/// A number of targets, or a share of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Amount {
    /// So many.
    Number(usize),
    /// So many percent, at most 100.
    Share(usize),
}

impl Amount {
    /// Of so many targets, rounded down.
    pub fn floor(self, of: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Share(share) => of * share / 100,
        }
    }

    /// Of so many targets, rounded up.
    pub fn ceil(self, of: usize) -> usize {
        match self {
            Self::Number(number) => number,
            Self::Share(share) => (of * share).div_ceil(100),
        }
    }
}

/// How a rollout goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// The waves; the last one takes all that is left.
    pub waves: Vec<Wave>,
    /// Failed targets at which it pauses.
    pub pause_on_failure: Option<Amount>,
    /// Failed targets at which the revision is given up.
    pub abort_on_failure: Option<Amount>,
    /// How long a target must fail before it counts as failed, in milliseconds.
    pub failure_grace: UnixMillis,
    /// What then becomes of those that have it.
    pub on_abort: OnAbort,
    /// How long a connected target may take, in milliseconds.
    pub deadline: Option<UnixMillis>,
    /// Targets that may be away without being waited for.
    pub away: Amount,
    /// How long the others are waited for, in milliseconds.
    pub away_deadline: UnixMillis,
}

/// Targets that get a revision together.
#[derive(Debug, Clone, PartialEq)]
pub struct Wave {
    /// Its name.
    pub name: String,
    /// Takes targets by label; all when absent.
    pub selector: Option<LabelSelector>,
    /// At most so many.
    pub edges: Option<Amount>,
    /// How many may be unavailable at once.
    pub max_unavailable: Amount,
    /// How long it must have been done, in milliseconds.
    pub soak: UnixMillis,
    /// Whether a person must promote.
    pub gate: bool,
}

/// Why the settings cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Neither a number nor a share.
    #[error("spec.rollout.{field}: \"{value}\" is neither a number{from_one} nor a share such as 10%")]
    Amount {
        /// The field.
        field: String,
        /// What it holds.
        value: String,
        /// Whether none is too few.
        from_one: &'static str,
    },
    /// No duration.
    #[error("spec.rollout.{field}: \"{value}\" is no duration such as 30m or 1h30m")]
    Duration {
        /// The field.
        field: String,
        /// What it holds.
        value: String,
    },
    /// Two waves of one name.
    #[error(
        "spec.rollout.waves[{at}].name: there is a wave \"{name}\" already; each needs a name of its own"
    )]
    Twice {
        /// The place.
        at: usize,
        /// The name.
        name: String,
    },
}

impl Settings {
    /// Reads a specification.
    ///
    /// # Errors
    /// The field, what it holds and what is accepted.
    pub fn of(spec: &RolloutSpec) -> Result<Self, SettingsError> {
        let usual = amount("maxUnavailable", spec.max_unavailable.as_ref(), 1)?.unwrap_or(QUARTER);
        let mut waves: Vec<Wave> = Vec::new();
        for (at, wave) in spec.waves.iter().enumerate() {
            if waves.iter().any(|one| one.name == wave.name) {
                return Err(SettingsError::Twice { at, name: wave.name.clone() });
            }
            let field = |name: &str| format!("waves[{at}].{name}");
            let own = amount(&field("maxUnavailable"), wave.max_unavailable.as_ref(), 1)?;
            waves.push(Wave {
                name: wave.name.clone(),
                selector: wave.selector.clone(),
                edges: amount(&field("edges"), wave.edges.as_ref(), 1)?,
                max_unavailable: own.unwrap_or(usual),
                soak: millis(&field("soakTime"), wave.soak_time.as_deref())?.unwrap_or(0),
                gate: wave.gate == Some(Gate::Manual),
            });
        }
        let takes_all = |wave: &Wave| wave.selector.is_none() && wave.edges.is_none();
        if !waves.last().is_some_and(takes_all) {
            let name = if waves.is_empty() { "all" } else { "rest" };
            waves.push(Wave {
                name: name.to_owned(),
                selector: None,
                edges: None,
                max_unavailable: usual,
                soak: 0,
                gate: false,
            });
        }
        let away = spec.away.clone().unwrap_or_default();
        Ok(Self {
            waves,
            pause_on_failure: amount("pauseOnFailure", spec.pause_on_failure.as_ref(), 1)?,
            abort_on_failure: amount("abortOnFailure", spec.abort_on_failure.as_ref(), 1)?,
            failure_grace: millis("failureGrace", spec.failure_grace.as_deref())?.unwrap_or(FAILURE_GRACE),
            on_abort: spec.on_abort,
            deadline: millis("deadline", spec.deadline.as_deref())?,
            away: amount("away.max", away.max.as_ref(), 0)?.unwrap_or(QUARTER),
            away_deadline: millis("away.deadline", away.deadline.as_deref())?.unwrap_or(AWAY_DEADLINE),
        })
    }
}

fn amount(field: &str, given: Option<&Given>, least: usize) -> Result<Option<Amount>, SettingsError> {
    let Some(given) = given else { return Ok(None) };
    let (read, value) = match given {
        Given::Number(number) => (usize::try_from(*number).ok().map(Amount::Number), number.to_string()),
        Given::Share(text) => {
            let share = text.strip_suffix('%').and_then(|share| share.parse::<usize>().ok());
            (share.filter(|share| *share <= 100).map(Amount::Share), text.clone())
        }
    };
    let enough = |amount: &Amount| match amount {
        Amount::Number(number) | Amount::Share(number) => *number >= least,
    };
    let from_one = if least > 0 { " from 1" } else { "" };
    let wrong = SettingsError::Amount { field: field.to_owned(), value, from_one };
    read.filter(enough).map(Some).ok_or(wrong)
}

fn millis(field: &str, given: Option<&str>) -> Result<Option<UnixMillis>, SettingsError> {
    let Some(text) = given else { return Ok(None) };
    let read = duration(text).and_then(|duration| u64::try_from(duration.as_millis()).ok());
    let wrong = SettingsError::Duration { field: field.to_owned(), value: text.to_owned() };
    read.map(Some).ok_or(wrong)
}
