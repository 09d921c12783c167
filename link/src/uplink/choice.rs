//! Which endpoint an agent dials, and when one that is linked to a worse one looks for a better one.
//!
//! ```text
//!   a round: what is listed, by priority (RFC 2782), equal ones as drawn --- all failed ---> pause, another round;
//!            of equal ones those last that were silent just now;                             from the third on, one of
//!            those not at all while somebody answers who cannot serve now                    those of before too
//!
//!   linked to a worse one -- 15 to 30 s --> scout dials what is better -- failed --> twice as long, up to 10 minutes
//!                                                  | Welcome
//!                                                  v  make before break (`handover`)
//! ```
//! A better endpoint that loses its links soon after they came is not trusted at once: each time the first pause is twice
//! as long as before, until a link has lasted for [`STEADY`].

use std::collections::BTreeMap;
use std::time::Duration;

use identity::{AgentIdentity, Entropy};
use protocol::endpoints::{Endpoint, order};
use protocol::id::Generation;
use tokio::time::Instant;

use super::{Failure, Runner};

/// How much an endpoint is preferred: its priority; less is better.
pub(super) type Rank = u32;

/// Rank of an endpoint that is not listed.
pub(super) const UNLISTED: Rank = Rank::MAX;
/// Rounds that fail before the endpoints of before are tried too: each that is silent costs a round ten seconds.
const FALLBACK_AFTER: u32 = 2;
/// The longest first pause before a better endpoint is looked for.
const LOOK_FIRST: Duration = Duration::from_secs(30);
/// The longest of all.
const LOOK_MAX: Duration = Duration::from_secs(600);
/// A link that lasted so long was a good one.
const STEADY: Duration = Duration::from_secs(600);
/// For so long it is remembered that an endpoint was silent.
const SILENT: Duration = Duration::from_secs(20);
/// Over this time those leave whose endpoint is not listed any more: a fleet does not come at once.
const LEAVING: Duration = Duration::from_secs(2);

/// What is remembered of endpoints from one link to the next.
#[derive(Debug, Clone, Default)]
pub(super) struct Choice {
    /// Where the last link was.
    last: Option<String>,
    /// Whether it was moved there because that is better.
    climbed: bool,
    /// How many such links in a row were lost soon.
    spoiled: u32,
    /// Endpoints that gave no answer, and when that was noticed.
    silent: BTreeMap<String, Instant>,
    /// Whether somebody answered in the last round who cannot serve now.
    for_now: bool,
}

/// How a link came to be at its endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Came {
    /// It is where the link before was, or the first one.
    Back,
    /// The link before was elsewhere, and was lost.
    FailedOver,
    /// The link before was moved here.
    Moved,
}

impl Choice {
    /// A link is up at that endpoint, perhaps because a scout found it better than the one before.
    pub(super) fn up(&mut self, endpoint: &str, climbed: bool) -> Came {
        let elsewhere = self.last.as_deref().is_some_and(|last| last != endpoint);
        (self.last, self.climbed) = (Some(endpoint.to_owned()), climbed);
        match (climbed, elsewhere) {
            (true, _) => Came::Moved,
            (false, true) => Came::FailedOver,
            (false, false) => Came::Back,
        }
    }

    /// That link was lost after so long, perhaps because nothing came any more.
    pub(super) fn lost(&mut self, lasted: Duration, silent: bool) {
        if let Some(last) = self.last.clone().filter(|_| silent) {
            self.silent(&last);
        }
        if lasted >= STEADY {
            self.spoiled = 0;
        } else if self.climbed {
            self.spoiled = self.spoiled.saturating_add(1);
        }
    }

    /// An endpoint gave no answer.
    pub(super) fn silent(&mut self, endpoint: &str) {
        let now = Instant::now();
        self.silent.retain(|_, at| now - *at < SILENT);
        self.silent.insert(endpoint.to_owned(), now);
    }

    /// A round failed; perhaps somebody answered who cannot serve now.
    pub(super) fn failed(&mut self, for_now: bool) {
        self.for_now = for_now;
    }

    fn is_silent(&self, endpoint: &str) -> bool {
        self.silent.get(endpoint).is_some_and(|at| at.elapsed() < SILENT)
    }

    /// How long to wait before a better endpoint is looked for, after so many looks in vain.
    pub(super) fn pause(&self, looks: u32, entropy: &mut dyn Entropy) -> Duration {
        let doublings = self.spoiled.saturating_add(looks).min(16);
        let half = LOOK_FIRST.saturating_mul(1 << doublings).min(LOOK_MAX) / 2;
        half + drawn(half, entropy)
    }

    /// How long to wait before an endpoint is left that is not listed any more.
    pub(super) fn leave(entropy: &mut dyn Entropy) -> Duration {
        drawn(LEAVING, entropy)
    }
}

impl Runner {
    /// A round of dialling failed. Where a balancer stands before replicas of which one serves, the next round is to
    /// reach another one: it goes by the ports of both ends.
    pub(super) fn failed(&mut self, failure: &Failure) {
        self.choice.failed(failure.is_for_now());
        if failure.is_for_now()
            && let Some(dialer) = self.dialer_now()
            && let Err(error) = self.config.network.rebind(&dialer)
        {
            tracing::debug!(%error, "the next attempt is from the same port");
        }
    }

    /// A link is up at that endpoint.
    pub(super) fn publish_endpoint(&mut self, endpoint: &str, climbed: bool) {
        let came = self.choice.up(endpoint, climbed);
        self.shared.state.send_modify(|state| {
            endpoint.clone_into(&mut state.endpoint);
            state.failovers += u64::from(came == Came::FailedOver);
            state.handovers += u64::from(came == Came::Moved);
        });
    }
}

/// From zero to that.
fn drawn(bound: Duration, entropy: &mut dyn Entropy) -> Duration {
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(entropy.below(millis.saturating_add(1)))
}

/// Whom to dial in a round, after so many rounds that failed.
pub(super) fn round(
    identity: &AgentIdentity,
    choice: &Choice,
    failed: u32,
    entropy: &mut dyn Entropy,
) -> Vec<String> {
    let preferred = identity.preferred();
    let is_silent = |endpoint: &Endpoint| choice.is_silent(&endpoint.address);
    let mut drawn = order(&preferred, |bound| entropy.below(bound));
    drawn.sort_by_key(|endpoint| (endpoint.priority, is_silent(endpoint)));
    if choice.for_now && !drawn.iter().all(|endpoint| is_silent(endpoint)) {
        drawn.retain(|endpoint| !is_silent(endpoint));
    }
    let mut round: Vec<String> = drawn.into_iter().map(|endpoint| endpoint.address.clone()).collect();
    let mut fallbacks = identity.fallbacks();
    if let Some(turn) = failed.checked_sub(FALLBACK_AFTER)
        && !fallbacks.is_empty()
    {
        let turn = turn as usize % fallbacks.len();
        round.push(fallbacks.swap_remove(turn));
    }
    round
}

/// Whom to dial that is better than that.
pub(super) fn better(identity: &AgentIdentity, than: Rank, entropy: &mut dyn Entropy) -> Vec<String> {
    let mut preferred = identity.preferred();
    preferred.retain(|endpoint| Rank::from(endpoint.priority) < than);
    order(&preferred, |bound| entropy.below(bound))
        .into_iter()
        .map(|endpoint| endpoint.address.clone())
        .collect()
}

/// What is worse about an endpoint than about others: its rank, and in which list. Nothing when it is one of the best, or
/// nothing is listed.
pub(super) fn worse(identity: &AgentIdentity, endpoint: &str) -> Option<(Rank, Generation)> {
    let listed = identity.placed.listed.as_ref()?;
    let named = listed.endpoints.iter().find(|named| named.address == endpoint);
    let rank = named.map_or(UNLISTED, |named| Rank::from(named.priority));
    let best = listed.endpoints.iter().map(|named| Rank::from(named.priority)).min()?;
    (best < rank).then_some((rank, listed.generation))
}

#[cfg(test)]
mod tests {
    use identity::SeededEntropy;

    use super::*;

    #[test]
    fn looks_become_rare_and_rarer_still_where_what_is_better_does_not_last() {
        let mut entropy = SeededEntropy::new(1);
        let mut choice = Choice::default();
        let bounds = |choice: &Choice, looks, entropy: &mut SeededEntropy| {
            let pauses: Vec<_> = (0..200).map(|_| choice.pause(looks, entropy).as_secs()).collect();
            (pauses.iter().min().copied().unwrap_or(0), pauses.iter().max().copied().unwrap_or(0))
        };
        assert_eq!(bounds(&choice, 0, &mut entropy), (15, 29));
        assert_eq!(bounds(&choice, 1, &mut entropy).0, 30);
        let (least, most) = bounds(&choice, 40, &mut entropy);
        assert!((300..310).contains(&least) && (590..=600).contains(&most), "{least} to {most}");
        assert_eq!(choice.up("b:1", false), Came::Back);
        for spoiled in 1..4 {
            assert_eq!(choice.up("a:1", true), Came::Moved);
            choice.lost(Duration::from_secs(20), true);
            assert_eq!(choice.up("b:1", false), Came::FailedOver);
            // A link on the worse one that is lost says nothing of the better one.
            choice.lost(Duration::from_secs(20), true);
            assert_eq!(choice.up("b:1", false), Came::Back);
            let least = bounds(&choice, 0, &mut entropy).0;
            assert!((15 << spoiled..(15 << spoiled) + 10).contains(&least), "{least} after {spoiled}");
        }
        choice.lost(STEADY, false);
        assert_eq!(bounds(&choice, 0, &mut entropy).0, 15);
    }
}
