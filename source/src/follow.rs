//! Following one source: fetch, settle, wait for the interval or for another description, again. Failures back off
//! with full jitter. What nobody asks for any more is let go.

use std::time::Duration;

use sha2::{Digest, Sha256};
use tokio::sync::watch;

use crate::artifact::Artifact;
use crate::error::SourceError;
use crate::fetch::Known;
use crate::origin::Source;
use crate::sources::{Name, Sources};

/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// No interval is shorter.
const INTERVAL_MIN: Duration = Duration::from_secs(10);
/// An interval is stretched by at most this share, so that sources of one age do not ask at one time.
const JITTER: f64 = 0.05;

/// Follows a source until nobody asks for it any more.
pub(crate) async fn follow(
    sources: &Sources,
    name: &Name,
    mut description: watch::Receiver<Source>,
    mut known: Option<Known>,
) {
    let mut failures = 0_u32;
    let mut wanted = fingerprint(&description.borrow());
    loop {
        let source = description.borrow_and_update().clone();
        let asked = fingerprint(&source);
        if asked != wanted {
            // Another question, or another signature to demand: the answer of before says nothing.
            (known, wanted) = (None, asked);
        }
        if source.suspended {
            sources.suspended(name);
        } else {
            match attempt(sources, name, &source, known.as_ref(), &wanted).await {
                Ok(fetched) => {
                    failures = 0;
                    let artifact = fetched.map(|(artifact, now)| {
                        known = Some(now);
                        artifact
                    });
                    sources.settle(name, Ok(artifact));
                }
                Err(error) => {
                    failures = failures.saturating_add(1);
                    sources.settle(name, Err(error));
                }
            }
        }
        let wait = if failures == 0 {
            source.interval.max(INTERVAL_MIN).mul_f64(1.0 + JITTER * share())
        } else {
            backoff(failures, share())
        };
        match tokio::time::timeout(wait, description.changed()).await {
            Ok(Ok(())) => failures = 0,
            Ok(Err(_)) => return,
            Err(_) => {
                if failures == 0 && !sources.still_wanted(name) {
                    return;
                }
            }
        }
    }
}

async fn attempt(
    sources: &Sources,
    name: &Name,
    source: &Source,
    known: Option<&Known>,
    fingerprint: &str,
) -> Result<Option<(std::sync::Arc<Artifact>, Known)>, SourceError> {
    let shared = &sources.0;
    let Some((artifact, known)) = shared.fetcher.fetch(source, known).await? else { return Ok(None) };
    (shared.inspect)(name, &artifact).map_err(|detail| SourceError::Refused { detail })?;
    shared.fetcher.store.keep(&name.to_string(), fingerprint, &known, &artifact);
    Ok(Some((std::sync::Arc::new(artifact), known)))
}

/// What is asked for, without who asks: with equal fingerprints, "not modified" is an answer.
pub(crate) fn fingerprint(source: &Source) -> String {
    let text = format!("{:?}\n{:?}\n{:?}", source.origin, source.verification, source.ignore);
    hex::encode(Sha256::digest(text))
}

/// Full jitter over a doubling bound; `share` is uniform from 0 to 1.
fn backoff(failures: u32, share: f64) -> Duration {
    let (first, longest) = BACKOFF;
    let bound = first.saturating_mul(1 << failures.min(16)).min(longest);
    first.mul_f64(0.5) + bound.mul_f64(share)
}

fn share() -> f64 {
    (getrandom::u64().unwrap_or_default() >> 11) as f64 / (1_u64 << 53) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_never_zero() {
        assert!(backoff(1, 0.0) >= Duration::from_millis(250));
        assert!(backoff(1, 1.0) <= Duration::from_millis(1250));
        assert!(backoff(40, 1.0) <= Duration::from_secs(301));
    }
}
