//! Who may link to the hub: regions that have an object here.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use link::{Admission, Admitted};
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::id::AgentId;
use protocol::message::Hello;

use crate::roster::Roster;

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
