//! Waiting for what another process does, with a deadline.
//!
//! This is the only place in the tests where real time passes on purpose: a condition is asked again
//! every few milliseconds until it holds, and the error says what was still missing. Code that can run
//! under virtual time has no business here.

use std::future::Future;
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior};

const PERIOD: Duration = Duration::from_millis(20);

/// Asks `probe` until it answers `Ok(Some(value))`.
///
/// `Ok(None)` and an unfinished probe mean "not yet"; an error ends the wait at once, for conditions that
/// can no longer come true.
///
/// # Errors
/// The error of `probe`, or a text that names `what` when `limit` has passed.
pub async fn until<T, F, Fut>(what: &str, limit: Duration, mut probe: F) -> anyhow::Result<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = anyhow::Result<Option<T>>>,
{
    let deadline = Instant::now() + limit;
    let mut ticks = tokio::time::interval(PERIOD);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match tokio::time::timeout_at(deadline, probe()).await {
            Ok(answer) => {
                if let Some(value) = answer? {
                    return Ok(value);
                }
            }
            Err(_elapsed) => anyhow::bail!("{what}: not seen within {limit:?}"),
        }
        if Instant::now() >= deadline {
            anyhow::bail!("{what}: not seen within {limit:?}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BRIEF: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(600);

    #[tokio::test]
    async fn a_condition_is_asked_until_it_holds() {
        let mut asked = 0;
        let value = until("third answer", LONG, || {
            asked += 1;
            let answer = (asked == 3).then_some(asked);
            async move { Ok(answer) }
        })
        .await
        .unwrap();
        assert_eq!(value, 3);
    }

    #[tokio::test]
    async fn a_condition_that_never_holds_is_named() {
        let error = until::<(), _, _>("the moon", BRIEF, || async { Ok(None) }).await.unwrap_err();
        assert_eq!(error.to_string(), "the moon: not seen within 50ms");
    }

    #[tokio::test]
    async fn a_probe_that_hangs_does_not_outlive_the_limit() {
        let error = until::<(), _, _>("an answer", BRIEF, std::future::pending).await.unwrap_err();
        assert_eq!(error.to_string(), "an answer: not seen within 50ms");
    }

    #[tokio::test]
    async fn an_error_ends_the_wait_at_once() {
        let error =
            until::<(), _, _>("anything", LONG, || async { anyhow::bail!("it died") }).await.unwrap_err();
        assert_eq!(error.to_string(), "it died");
    }
}
