//! What a device does after it was not let in: ask again, when, and whether to say so.
//!
//! ```text
//!            +--- nobody answers, or who decides cannot be asked: after a pause ---+
//!            |                                                                     |
//!            v                                                                     |
//!   start > asks --- granted, stored --> an agent                                  |
//!            ^ |\--- it waits for approval, or was refused for now: when told -----+
//!            | |                                                                   |
//!            +-|-------------------------------------------------------------------+
//!              \---- refused for good; not believed; no key; cannot be kept --> ends
//! ```
//! The device key is on disk before the first request leaves, so a device that is started anew is the same one, wherever
//! it was; the hub keeps all the rest. `tests/golden/join.txt` shows every end of a request and what follows.
//!
//! # Why
//! A device may wait for a person for days, and thousands of them at once: whoever answers says when to ask again, and
//! the log has a line when something else is waited for, and one from time to time.

use std::time::Duration;

use identity::Entropy;
use protocol::enrolment::RefusalReason;

use crate::enrol::JoinError;

/// Pause when whoever refused did not say when to ask again.
const PAUSE: Duration = Duration::from_secs(30);
/// Longest pause that is believed.
const PAUSE_MAX: Duration = Duration::from_secs(3600);
/// How often it is said again that nobody answers, and that a decision is waited for.
const SAID: (Duration, Duration) = (Duration::from_secs(60), Duration::from_secs(3600));

/// What follows an attempt that failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Ask again.
    Again {
        /// After this pause.
        after: Duration,
        /// Whether the log is to have a line.
        tell: bool,
    },
    /// It makes no sense to ask again.
    End,
}

/// Why it is asked again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Cause {
    /// Nobody decides at the moment.
    Absence,
    /// Somebody is to decide, or may change their mind.
    Decision,
}

/// Remembers what the log was told.
#[derive(Debug)]
pub struct Patience {
    /// Pause when nobody answers.
    pause: Duration,
    told: Option<String>,
    silent: Duration,
}

impl Patience {
    /// Patience with this pause where nobody answers.
    pub fn new(pause: Duration) -> Self {
        Self { pause, told: None, silent: Duration::ZERO }
    }

    /// What follows that failure. Pauses are up to a quarter longer than they must be, so that many who were refused at
    /// once do not come back at once.
    pub fn after(&mut self, error: &JoinError, entropy: &mut dyn Entropy) -> Next {
        let Some((cause, pause)) = self.cause(error) else { return Next::End };
        let quarter = u64::try_from(pause.as_millis() / 4).unwrap_or(u64::MAX);
        let after = pause + Duration::from_millis(entropy.below(quarter.max(1)));
        let text = error.to_string();
        let often = if cause == Cause::Absence { SAID.0 } else { SAID.1 };
        let tell = self.told.as_ref() != Some(&text) || self.silent >= often;
        if tell {
            (self.told, self.silent) = (Some(text), Duration::ZERO);
        }
        self.silent += after;
        Next::Again { after, tell }
    }

    /// An attempt took so long: that, too, is time in which the log says nothing.
    pub fn kept(&mut self, took: Duration) {
        self.silent += took;
    }

    /// Why to ask again, and after which time; nothing when not.
    fn cause(&self, error: &JoinError) -> Option<(Cause, Duration)> {
        let refusal = match error {
            JoinError::Unreachable(_) | JoinError::Deadline(_) => return Some((Cause::Absence, self.pause)),
            JoinError::Grant(_) | JoinError::Key(_) | JoinError::Store(_) => return None,
            JoinError::Refused(refusal) => refusal,
        };
        let told = refusal.retry_after_ms.map(|told| Duration::from_millis(told).min(PAUSE_MAX));
        match refusal.reason {
            RefusalReason::Unavailable => Some((Cause::Absence, told.unwrap_or(self.pause).max(self.pause))),
            RefusalReason::ApprovalPending => Some((Cause::Decision, told.unwrap_or(PAUSE))),
            RefusalReason::TokenUnknown
            | RefusalReason::TokenExpired
            | RefusalReason::TokenUsed
            | RefusalReason::TokenRevoked
            | RefusalReason::ProofInvalid
            | RefusalReason::OutOfScope
            | RefusalReason::Revoked
            | RefusalReason::Malformed
            | RefusalReason::Incompatible
            | RefusalReason::Superseded
            | RefusalReason::Forbidden => told.map(|told| (Cause::Decision, told.max(PAUSE))),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write as _;

    use identity::SeededEntropy;
    use identity::join::GrantError;
    use identity::key::KeyError;
    use identity::store::StoreError;
    use protocol::enrolment::Refusal;

    use super::*;

    /// Every way in which an attempt fails.
    fn failures() -> Vec<(String, JoinError)> {
        use RefusalReason::{
            ApprovalPending, Forbidden, Incompatible, Malformed, OutOfScope, ProofInvalid, Revoked,
            Superseded, TokenExpired, TokenRevoked, TokenUnknown, TokenUsed, Unavailable,
        };
        let mut all = vec![
            ("unreachable".to_owned(), JoinError::Unreachable("x".to_owned())),
            ("deadline".to_owned(), JoinError::Deadline(Duration::from_secs(1))),
            ("grant not believed".to_owned(), JoinError::Grant(GrantError::Root)),
            ("no key".to_owned(), JoinError::Key(KeyError::Parse { detail: "x".to_owned() })),
            ("not kept".to_owned(), JoinError::Store(StoreError::Missing { path: "x".into() })),
        ];
        for reason in [
            TokenUnknown,
            TokenExpired,
            TokenUsed,
            TokenRevoked,
            ProofInvalid,
            OutOfScope,
            ApprovalPending,
            Revoked,
            Unavailable,
            Malformed,
            Incompatible,
            Superseded,
            Forbidden,
        ] {
            for (name, retry_after_ms) in [
                ("", None),
                (", in 0.2 s", Some(200)),
                (", in 10 min", Some(600_000)),
                (", never more", Some(u64::MAX)),
            ] {
                let refusal = Refusal { reason, message: "x".to_owned(), retry_after_ms };
                all.push((format!("refused: {reason:?}{name}"), JoinError::Refused(refusal)));
            }
        }
        all
    }

    /// A state: what the log was told last, and how long ago.
    fn states(of: &JoinError) -> [(&'static str, Patience); 4] {
        let base = |told: Option<String>, silent| Patience {
            told,
            silent: Duration::from_secs(silent),
            ..Patience::new(Duration::from_secs(2))
        };
        [
            ("first time", base(None, 0)),
            ("other before", base(Some("other".to_owned()), 1)),
            ("same, 59 s ago", base(Some(of.to_string()), 59)),
            ("same, 1 h ago", base(Some(of.to_string()), 3600)),
        ]
    }

    #[test]
    fn every_end_of_an_attempt_in_every_state_is_as_the_golden_file_says() {
        let mut text = String::new();
        for (name, error) in failures() {
            for (state, mut patience) in states(&error) {
                let next = match patience.after(&error, &mut SeededEntropy::new(1)) {
                    Next::End => "ends".to_owned(),
                    Next::Again { after, tell } => {
                        // Without the jitter, which is another test's.
                        let (_, pause) = patience.cause(&error).unwrap();
                        assert!(after >= pause && after <= pause + pause / 4 + Duration::from_millis(1));
                        format!("again after {pause:?}{}", if tell { ", told" } else { "" })
                    }
                };
                writeln!(text, "{name:<38} | {state:<14} | {next}").unwrap();
            }
        }
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/join.txt");
        if std::env::var_os("SKEIN_BLESS").is_some() {
            std::fs::write(path, &text).unwrap();
        }
        assert_eq!(std::fs::read_to_string(path).unwrap_or_default(), text, "SKEIN_BLESS=1 writes it anew");
    }

    #[test]
    fn who_waits_for_weeks_says_so_once_an_hour() {
        let mut patience = Patience::new(Duration::from_secs(2));
        let refusal = Refusal {
            reason: RefusalReason::ApprovalPending,
            message: "wait".to_owned(),
            retry_after_ms: Some(200),
        };
        let (mut entropy, mut passed, mut lines) = (SeededEntropy::new(1), Duration::ZERO, 0);
        // It is kept for 15 s each time.
        while passed < Duration::from_secs(14 * 24 * 3600) {
            let Next::Again { after, tell } =
                patience.after(&JoinError::Refused(refusal.clone()), &mut entropy)
            else {
                panic!("it gives up")
            };
            lines += u32::from(tell);
            patience.kept(Duration::from_secs(15));
            passed += after + Duration::from_secs(15);
        }
        assert!((300..=14 * 24 + 1).contains(&lines), "{lines}");
    }
}
