//! Who may link to the hub: regions that have an object here.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use link::{Admission, Admitted};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::message::Hello;

use crate::roster::Roster;

/// When a hub that has just begun may have read its objects, in milliseconds.
const READING_RETRY_MS: u64 = 500;

/// Asks the roster.
pub(super) struct RegionsOnly(pub(super) Roster);

impl Admission for RegionsOnly {
    fn admit<'a>(&'a self, peer: &'a AgentId, _: &'a Hello) -> BoxFuture<'a, Result<Admitted, Refusal>> {
        std::future::ready(self.decide(peer)).boxed()
    }
}

impl RegionsOnly {
    fn decide(&self, peer: &AgentId) -> Result<Admitted, Refusal> {
        let refuse = |reason, message| Err(Refusal { reason, message, retry_after_ms: None });
        if !self.0.is_complete() {
            // A region that is told that it is gone stays away for long, and drops what its edges have.
            let message = "the hub has just begun and still reads its objects".to_owned();
            let retry_after_ms = Some(READING_RETRY_MS);
            return Err(Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms });
        }
        match peer {
            AgentId::Region(region) if self.0.has_region(region) => Ok(Admitted::default()),
            AgentId::Region(region) => {
                refuse(RefusalReason::Revoked, format!("there is no Region \"{region}\" here any more"))
            }
            AgentId::Edge(_) => refuse(
                RefusalReason::OutOfScope,
                "edges link to the agent of their region, not to the hub".to_owned(),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(roster: &Roster, region: &str) -> Option<RefusalReason> {
        let peer = AgentId::Region(region.parse().unwrap());
        RegionsOnly(roster.clone()).decide(&peer).err().map(|refusal| refusal.reason)
    }

    #[test]
    fn a_region_is_sent_away_for_good_only_once_all_regions_are_known() {
        let roster = Roster::default();
        assert_eq!(refused(&roster, "eu"), Some(RefusalReason::Unavailable));
        roster.set_region("eu", true);
        assert_eq!(refused(&roster, "eu"), Some(RefusalReason::Unavailable));
        roster.completed();
        assert_eq!(refused(&roster, "eu"), None);
        assert_eq!(refused(&roster, "us"), Some(RefusalReason::Revoked));
    }
}
