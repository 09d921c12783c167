//! `JoinToken`: whether it can still be used. Who used it is written by the authority that binds it.

use api::skein::{JoinToken, JoinTokenPhase, JoinTokenStatus};
use jiff::Timestamp;

pub(super) fn status(object: &JoinToken, now: Timestamp) -> JoinTokenStatus {
    let before = object.status.clone().unwrap_or_default();
    let used = i32::try_from(before.uses.len()).unwrap_or(i32::MAX);
    let phase = if object.spec.revoked {
        JoinTokenPhase::Revoked
    } else if used >= object.spec.max_uses {
        JoinTokenPhase::Used
    } else if object.spec.not_after.0 <= now {
        JoinTokenPhase::Expired
    } else {
        JoinTokenPhase::Active
    };
    JoinTokenStatus { phase: Some(phase), observed_generation: object.metadata.generation, ..before }
}

/// When the phase changes by itself.
pub(super) fn expires(object: &JoinToken, now: Timestamp) -> Option<Timestamp> {
    Some(object.spec.not_after.0).filter(|at| *at > now)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::skein::{JoinTokenSpec, JoinTokenUse};
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

    #[test]
    fn the_phase_follows_revocation_use_and_time_in_this_order() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let mut token =
            JoinToken::new("t", JoinTokenSpec { not_after: Time(at(10)), ..JoinTokenSpec::default() });
        let phase = |token: &JoinToken, second| status(token, at(second)).phase;
        assert_eq!(phase(&token, 9), Some(JoinTokenPhase::Active));
        assert_eq!(phase(&token, 10), Some(JoinTokenPhase::Expired));
        assert_eq!((expires(&token, at(9)), expires(&token, at(10))), (Some(at(10)), None));
        let one = JoinTokenUse {
            agent_id: "a".into(),
            approval: None,
            bound_at: Time(at(1)),
            spki_hash: "x".into(),
        };
        token.status = Some(JoinTokenStatus { uses: vec![one], ..JoinTokenStatus::default() });
        assert_eq!(phase(&token, 10), Some(JoinTokenPhase::Used));
        token.spec.revoked = true;
        assert_eq!(phase(&token, 10), Some(JoinTokenPhase::Revoked));
    }
}
