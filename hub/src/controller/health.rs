//! What health rules and kstatus say, as conditions of a ServiceSet and of its services (k0rdent's names).

use std::collections::BTreeMap;

use api::conditions::{kind, reason, status};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use protocol::report::{ObjectHealth, ObjectReport, UnitReport};

use super::sheet::Sheet;

/// Objects that a condition lists one by one.
const LISTED_MAX: usize = 3;
/// Rules that are wrong, listed one by one.
const PROBLEMS_MAX: usize = 5;

/// `ServiceHealth<Kind>`: which objects of a service are not healthy, and why.
pub(super) fn conditions(report: &UnitReport) -> Vec<Condition> {
    let mut by_kind = BTreeMap::<&str, Vec<&ObjectReport>>::new();
    for object in &report.objects {
        if matches!(object.health, ObjectHealth::InProgress | ObjectHealth::Failed) {
            by_kind.entry(&object.key.kind).or_default().push(object);
        }
    }
    let condition = |(kind, objects): (&str, Vec<&ObjectReport>)| {
        let told = objects.iter().take(LISTED_MAX).map(|object| {
            let slash = if object.key.namespace.is_empty() { "" } else { "/" };
            format!("{}{slash}{} ({})", object.key.namespace, object.key.name, object.message)
        });
        let told = told.collect::<Vec<_>>().join(", ");
        let more = objects.len().saturating_sub(LISTED_MAX);
        let more = if more > 0 { format!(" \u{2026}and {more} more") } else { String::new() };
        let mismatch = objects.iter().any(|object| object.message.contains(" says scope "));
        let since = objects.iter().map(|object| object.since).min().unwrap_or(report.since);
        Condition {
            type_: format!("ServiceHealth{kind}"),
            status: status::FALSE.to_owned(),
            reason: if mismatch { "HealthRuleScopeMismatch".to_owned() } else { format!("{kind}Unhealthy") },
            message: format!("{} {kind} unhealthy: {told}{more}", objects.len()),
            last_transition_time: Time(super::timestamp(since)),
            observed_generation: None,
        }
    };
    by_kind.into_iter().map(condition).collect()
}

/// `ServiceSetHealthRules`: whether all rules for a set can be run.
pub(super) fn rules(sheet: &mut Sheet, problems: &[String]) {
    if problems.is_empty() {
        let message = "All health rules loaded successfully";
        return sheet.set(kind::SERVICE_SET_HEALTH_RULES, status::TRUE, reason::ALL_RULES_VALID, message);
    }
    let mut message = problems.iter().take(PROBLEMS_MAX).cloned().collect::<Vec<_>>().join("; ");
    if problems.len() > PROBLEMS_MAX {
        message.push_str(&format!("; \u{2026}and {} more", problems.len() - PROBLEMS_MAX));
    }
    sheet.set(kind::SERVICE_SET_HEALTH_RULES, status::FALSE, reason::HEALTH_RULE_INVALID, message);
}
