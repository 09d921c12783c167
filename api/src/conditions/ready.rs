//! How `Ready` follows from an object's other conditions, as k0rdent does it:
//! errors before warnings before unknowns, and True only when nothing of these is left.

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};

use super::{find, kind, reason, set_condition, status};

/// How long a Cluster API cluster may stay unready before that counts as an error.
pub const CLUSTER_PATIENCE: SignedDuration = SignedDuration::from_mins(30);

/// What a condition that is False means for `Ready`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Gravity {
    /// The object has failed; the text joins the message.
    Error(String),
    /// The object is still on its way; the text joins the message.
    Warning(String),
    /// Nothing.
    None,
}

impl Gravity {
    /// Every False condition is an error: the rule for most kinds.
    pub fn error(condition: &Condition) -> Self {
        Self::Error(condition.message.clone())
    }

    /// The rule for ClusterDeployments: services and, for 30 minutes, the Cluster API cluster may still be on their way.
    pub fn of_cluster_deployment(condition: &Condition, now: Timestamp) -> Self {
        match condition.type_.as_str() {
            kind::SERVICES_IN_READY_STATE => Self::Warning(format!("Services ready: {}", condition.message)),
            kind::CAPI_CLUSTER_SUMMARY
                if now.duration_since(condition.last_transition_time.0) < CLUSTER_PATIENCE =>
            {
                Self::Warning(condition.message.clone())
            }
            kind::CAPI_CLUSTER_SUMMARY => Self::Error(format!(
                "Cluster is not ready. Check the provider logs for more details: {}",
                condition.message
            )),
            _ => Self::error(condition),
        }
    }

    /// The rule for MultiClusterServices: clusters and dependencies may still be on their way.
    pub fn of_multi_cluster_service(condition: &Condition) -> Self {
        match condition.type_.as_str() {
            kind::CLUSTER_IN_READY_STATE => Self::Warning(format!("Clusters ready: {}", condition.message)),
            kind::MULTI_CLUSTER_SERVICE_DEPENDENCY_READY => Self::Warning(condition.message.clone()),
            // What was given up or cannot be read waits for a person.
            kind::ROLLOUT_COMPLETE if !matches!(condition.reason.as_str(), "Aborted" | "InvalidRollout") => {
                Self::Warning(condition.message.clone())
            }
            _ => Self::error(condition),
        }
    }
}

/// Sets `Ready` from the other conditions; says whether it changed.
///
/// While `Deleting` is there, `Ready` is False with its reason and message. `Paused=True` is an error.
/// Without any condition `Ready` is Unknown.
pub fn aggregate_ready(
    conditions: &mut Vec<Condition>,
    gravity: impl Fn(&Condition) -> Gravity,
    observed_generation: Option<i64>,
    now: Timestamp,
) -> bool {
    if let Some(deleting) = find(conditions, kind::DELETING) {
        let (reason, message) = (deleting.reason.clone(), deleting.message.clone());
        return set_condition(
            conditions,
            kind::READY,
            status::FALSE,
            &reason,
            message,
            observed_generation,
            Time(now),
        );
    }
    let mut errors = Vec::new();
    let mut warnings = Vec::new();
    let mut unknowns = Vec::new();
    let mut seen = 0;
    for condition in conditions.iter().filter(|condition| condition.type_ != kind::READY) {
        seen += 1;
        match (condition.type_.as_str(), condition.status.as_str()) {
            (kind::PAUSED, status::TRUE) => errors.push(condition.message.clone()),
            (kind::PAUSED, _) | (_, status::TRUE) => {}
            (_, status::FALSE) => match gravity(condition) {
                Gravity::Error(text) => errors.push(text),
                Gravity::Warning(text) => warnings.push(text),
                Gravity::None => {}
            },
            (_, _) => unknowns.push(condition.message.clone()),
        }
    }
    let (status, reason, message) = if !errors.is_empty() {
        (status::FALSE, reason::FAILED, joined(errors))
    } else if !warnings.is_empty() {
        (status::FALSE, reason::PROGRESSING, joined(warnings))
    } else if seen == 0 || !unknowns.is_empty() {
        (status::UNKNOWN, reason::PROGRESSING, joined(unknowns))
    } else {
        (status::TRUE, reason::SUCCEEDED, "Object is ready".to_owned())
    };
    set_condition(conditions, kind::READY, status, reason, message, observed_generation, Time(now))
}

fn joined(mut texts: Vec<String>) -> String {
    texts.retain(|text| !text.is_empty());
    texts.join(". ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(minute: i64) -> Timestamp {
        Timestamp::UNIX_EPOCH + SignedDuration::from_mins(minute)
    }

    fn given(entries: &[(&str, &str, &str)]) -> Vec<Condition> {
        let mut conditions = Vec::new();
        for (type_, status, message) in entries {
            set_condition(&mut conditions, type_, status, "Because", *message, Some(1), Time(at(0)));
        }
        conditions
    }

    fn ready(conditions: &mut Vec<Condition>, minute: i64) -> (String, String, String) {
        aggregate_ready(
            conditions,
            |condition| Gravity::of_cluster_deployment(condition, at(minute)),
            Some(1),
            at(minute),
        );
        let ready = find(conditions, kind::READY).unwrap();
        (ready.status.clone(), ready.reason.clone(), ready.message.clone())
    }

    fn triple(a: &str, b: &str, c: &str) -> (String, String, String) {
        (a.to_owned(), b.to_owned(), c.to_owned())
    }

    #[test]
    fn errors_come_before_warnings_before_unknowns() {
        let mut all = given(&[
            (kind::TEMPLATE_READY, "False", "no template"),
            (kind::CREDENTIAL_READY, "False", "no credential"),
            (kind::SERVICES_IN_READY_STATE, "False", "0/1"),
            (kind::HELM_RELEASE_READY, "Unknown", "nobody knows"),
        ]);
        assert_eq!(ready(&mut all, 0), triple("False", "Failed", "no template. no credential"));
        all.retain(|condition| {
            condition.status != "False" || condition.type_ == kind::SERVICES_IN_READY_STATE
        });
        assert_eq!(ready(&mut all, 0), triple("False", "Progressing", "Services ready: 0/1"));
        all.retain(|condition| condition.status == "Unknown");
        assert_eq!(ready(&mut all, 0), triple("Unknown", "Progressing", "nobody knows"));
    }

    #[test]
    fn it_is_ready_when_nothing_is_wrong_and_unknown_when_nothing_is_said() {
        assert_eq!(
            ready(&mut given(&[(kind::TEMPLATE_READY, "True", "")]), 0),
            triple("True", "Succeeded", "Object is ready")
        );
        assert_eq!(ready(&mut Vec::new(), 0), triple("Unknown", "Progressing", ""));
    }

    #[test]
    fn an_unready_capi_cluster_is_a_warning_for_half_an_hour() {
        let mut conditions = given(&[(kind::CAPI_CLUSTER_SUMMARY, "False", "no machines")]);
        assert_eq!(ready(&mut conditions, 29), triple("False", "Progressing", "no machines"));
        assert_eq!(ready(&mut conditions, 30).1, "Failed");
    }

    #[test]
    fn a_paused_object_is_not_ready_and_one_that_is_not_paused_may_be() {
        let paused = ready(&mut given(&[(kind::PAUSED, "True", "region eu is paused")]), 0);
        assert_eq!(paused, triple("False", "Failed", "region eu is paused"));
        assert_eq!(ready(&mut given(&[(kind::PAUSED, "False", "")]), 0).0, "True");
    }

    #[test]
    fn while_it_is_deleted_ready_tells_what_deletion_waits_for() {
        let mut conditions =
            given(&[(kind::TEMPLATE_READY, "True", ""), (kind::DELETING, "True", "1 service left")]);
        assert_eq!(ready(&mut conditions, 0), triple("False", "Because", "1 service left"));
    }

    #[test]
    fn ready_keeps_its_time_while_its_status_stays() {
        let mut conditions = given(&[(kind::CAPI_CLUSTER_SUMMARY, "False", "no machines")]);
        ready(&mut conditions, 1);
        ready(&mut conditions, 40);
        assert_eq!(find(&conditions, kind::READY).unwrap().last_transition_time, Time(at(1)));
    }
}
