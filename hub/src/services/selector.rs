//! Label selectors, as Kubernetes reads them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, LabelSelectorRequirement};

/// Whether the labels satisfy the selector. An empty or absent selector selects nothing, as k0rdent has it.
pub fn selects(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = selector else { return false };
    let equal = selector.match_labels.as_ref();
    let expressions = selector.match_expressions.as_deref().unwrap_or_default();
    if equal.is_none_or(BTreeMap::is_empty) && expressions.is_empty() {
        return false;
    }
    equal.is_none_or(|equal| equal.iter().all(|(key, value)| labels.get(key) == Some(value)))
        && expressions.iter().all(|one| holds(one, labels))
}

fn holds(requirement: &LabelSelectorRequirement, labels: &BTreeMap<String, String>) -> bool {
    let values = requirement.values.as_deref().unwrap_or_default();
    let value = labels.get(&requirement.key);
    let listed = value.is_some_and(|value| values.contains(value));
    match requirement.operator.as_str() {
        "In" => listed,
        "NotIn" => !listed,
        "Exists" => value.is_some(),
        "DoesNotExist" => value.is_none(),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(text: &str) -> BTreeMap<String, String> {
        text.split(',')
            .filter_map(|pair| pair.split_once('='))
            .map(|(key, value)| (key.into(), value.into()))
            .collect()
    }

    fn require(key: &str, operator: &str, values: &[&str]) -> LabelSelector {
        LabelSelector {
            match_expressions: Some(vec![LabelSelectorRequirement {
                key: key.into(),
                operator: operator.into(),
                values: Some(values.iter().map(|value| (*value).into()).collect()),
            }]),
            ..LabelSelector::default()
        }
    }

    #[test]
    fn every_operator_does_as_its_name_says() {
        let table = [
            ("In", "a=1", true),
            ("In", "a=3", false),
            ("In", "", false),
            ("NotIn", "a=1", false),
            ("NotIn", "", true),
            ("Exists", "a=9", true),
            ("Exists", "b=1", false),
            ("DoesNotExist", "b=1", true),
            ("DoesNotExist", "a=1", false),
            ("Near", "a=1", false),
        ];
        for (operator, given, expected) in table {
            assert_eq!(
                selects(Some(&require("a", operator, &["1", "2"])), &labels(given)),
                expected,
                "{operator} {given}"
            );
        }
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!selects(None, &labels("a=1")));
        assert!(!selects(Some(&LabelSelector::default()), &labels("a=1")));
        let equal = LabelSelector { match_labels: Some(labels("a=1")), ..LabelSelector::default() };
        assert!(selects(Some(&equal), &labels("a=1,b=2")) && !selects(Some(&equal), &labels("a=2")));
    }
}
