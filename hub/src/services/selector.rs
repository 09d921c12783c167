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

/// Why the labels do not satisfy the selector: every requirement that fails, with what the label is.
pub fn mismatch(selector: Option<&LabelSelector>, labels: &BTreeMap<String, String>) -> Vec<String> {
    let selector = selector.cloned().unwrap_or_default();
    let is = |key: &str| match labels.get(key) {
        Some(value) => format!("label \"{key}\" is \"{value}\""),
        None => format!("label \"{key}\" is absent"),
    };
    let equal = selector.match_labels.unwrap_or_default();
    let expressions = selector.match_expressions.unwrap_or_default();
    if equal.is_empty() && expressions.is_empty() {
        return vec!["the selector is empty, and an empty selector selects nothing".to_owned()];
    }
    let unequal = equal.iter().filter(|(key, value)| labels.get(*key) != Some(value));
    let unequal = unequal.map(|(key, value)| format!("{} and must be \"{value}\"", is(key)));
    let failing = expressions.iter().filter(|one| !holds(one, labels)).map(|one| {
        let values = one.values.as_deref().unwrap_or_default().join(", ");
        let must = match one.operator.as_str() {
            "In" => format!("be one of {values}"),
            "NotIn" => format!("be none of {values}"),
            "Exists" => "be there".to_owned(),
            "DoesNotExist" => "not be there".to_owned(),
            other => format!(
                "satisfy the operator \"{other}\", which does not exist: In, NotIn, Exists and DoesNotExist are accepted"
            ),
        };
        format!("{} and must {must}", is(&one.key))
    });
    unequal.chain(failing).collect()
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
            let why = mismatch(Some(&require("a", operator, &["1", "2"])), &labels(given));
            assert_eq!(why.is_empty(), expected, "{operator} {given}: {why:?}");
        }
    }

    #[test]
    fn a_mismatch_names_the_label_what_it_is_and_what_it_must_be() {
        let mut selector = require("tier", "In", &["edge", "shop"]);
        selector.match_labels = Some(labels("site=berlin,zone=a"));
        assert_eq!(
            mismatch(Some(&selector), &labels("site=bonn,zone=a")),
            [
                "label \"site\" is \"bonn\" and must be \"berlin\"",
                "label \"tier\" is absent and must be one of edge, shop",
            ]
        );
        assert!(mismatch(None, &labels("a=1"))[0].contains("selects nothing"));
    }

    #[test]
    fn an_empty_selector_selects_nothing() {
        assert!(!selects(None, &labels("a=1")));
        assert!(!selects(Some(&LabelSelector::default()), &labels("a=1")));
        let equal = LabelSelector { match_labels: Some(labels("a=1")), ..LabelSelector::default() };
        assert!(selects(Some(&equal), &labels("a=1,b=2")) && !selects(Some(&equal), &labels("a=2")));
    }
}
