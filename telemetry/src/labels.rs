//! The set of labels that names a series.
//!
//! # Why one string
//! A region keeps hundreds of thousands of label sets and compares them all day. One shared allocation per
//! set, with names and values in order and a NUL after each, makes clones free, equality one `memcmp`, and
//! ordering equal to comparing pair by pair. A NUL inside a name or value becomes U+FFFD.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The label that holds the metric's name.
pub const METRIC_NAME: &str = "__name__";

/// A set of labels, sorted by name, each name once, no empty values (an empty value is no label).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Labels(Arc<str>);

impl Labels {
    /// No labels.
    pub fn empty() -> Self {
        Self(Arc::from(""))
    }

    /// From pairs in any order; of equal names the last wins.
    pub fn from_pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let pairs: Vec<(&str, &str)> = pairs.into_iter().collect();
        if !pairs.iter().any(|(name, _)| name.contains('\0')) {
            return Self::from_clean(pairs);
        }
        // Before they are put in order: a name that is replaced may have another place, or be that of another label.
        let names: Vec<String> = pairs.iter().map(|(name, _)| clean(name)).collect();
        Self::from_clean(
            names.iter().map(String::as_str).zip(pairs.iter().map(|(_, value)| *value)).collect(),
        )
    }

    /// From pairs in any order whose names hold no separator.
    fn from_clean(mut pairs: Vec<(&str, &str)>) -> Self {
        if !pairs.windows(2).all(|two| two[0].0 < two[1].0) {
            pairs.sort_by(|left, right| left.0.cmp(right.0));
            // The sort is stable, so of a run of equal names the last one given is the last one here.
            let mut kept: Vec<(&str, &str)> = Vec::with_capacity(pairs.len());
            for pair in pairs {
                match kept.last_mut() {
                    Some(last) if last.0 == pair.0 => *last = pair,
                    _ => kept.push(pair),
                }
            }
            pairs = kept;
        }
        Self::from_sorted(pairs.into_iter())
    }

    /// From pairs already in order of name, each name once.
    fn from_sorted<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)> + Clone) -> Self {
        let kept = pairs.filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let size = kept.clone().map(|(name, value)| name.len() + value.len() + 2).sum();
        let mut text = String::with_capacity(size);
        for (name, value) in kept {
            push_clean(&mut text, name);
            push_clean(&mut text, value);
        }
        Self(Arc::from(text))
    }

    /// Names and values in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> + Clone {
        let mut rest: &str = &self.0;
        std::iter::from_fn(move || {
            let (name, after) = rest.split_once('\0')?;
            let (value, after) = after.split_once('\0')?;
            rest = after;
            Some((name, value))
        })
    }

    /// The value of a label; empty when there is none, as in Prometheus.
    pub fn get(&self, name: &str) -> &str {
        self.iter().find(|(found, _)| *found == name).map_or("", |(_, value)| value)
    }

    /// The metric's name; empty when there is none.
    pub fn metric(&self) -> &str {
        self.get(METRIC_NAME)
    }

    /// How many labels there are.
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Bytes of the names and values.
    pub fn size(&self) -> usize {
        self.0.len()
    }

    /// Only the labels for which `keep` answers yes.
    pub fn filter(&self, keep: impl Fn(&str) -> bool + Clone) -> Self {
        Self::from_sorted(self.iter().filter(move |(name, _)| keep(name)))
    }

    /// Without the metric's name.
    pub fn without_metric(&self) -> Self {
        if self.metric().is_empty() { self.clone() } else { self.filter(|name| name != METRIC_NAME) }
    }

    /// With a label set, or removed when the value is empty.
    pub fn with(&self, name: &str, value: &str) -> Self {
        self.with_all([(name, value)])
    }

    /// With labels set, or removed where the value is empty.
    pub fn with_all<'a>(&'a self, pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        Self::from_pairs(self.iter().chain(pairs))
    }
}

/// A text without separators.
fn clean(part: &str) -> String {
    part.replace('\0', "\u{fffd}")
}

/// Adds a text and the separator; a separator inside the text is replaced.
fn push_clean(text: &mut String, part: &str) {
    if part.contains('\0') {
        text.push_str(&clean(part));
    } else {
        text.push_str(part);
    }
    text.push('\0');
}

impl Default for Labels {
    fn default() -> Self {
        Self::empty()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Labels {
    fn from_iter<I: IntoIterator<Item = (&'a str, &'a str)>>(pairs: I) -> Self {
        Self::from_pairs(pairs)
    }
}

/// As in PromQL: `name{label="value", ...}`.
impl fmt::Display for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.metric())?;
        let mut rest = self.iter().filter(|(name, _)| *name != METRIC_NAME).peekable();
        if rest.peek().is_none() && !self.metric().is_empty() {
            return Ok(());
        }
        f.write_str("{")?;
        for (index, (name, value)) in rest.enumerate() {
            let comma = if index > 0 { ", " } else { "" };
            write!(f, "{comma}{name}={value:?}")?;
        }
        f.write_str("}")
    }
}

impl fmt::Debug for Labels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As a map, the way Prometheus' JSON shows a metric.
impl Serialize for Labels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

impl<'de> Deserialize<'de> for Labels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let pairs = std::collections::BTreeMap::<String, String>::deserialize(deserializer)?;
        Ok(pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_are_sorted_unique_and_never_empty() {
        let labels = Labels::from_pairs([("b", "1"), ("a", "2"), ("c", ""), ("b", "3"), ("", "x")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a", "2"), ("b", "3")]);
        assert_eq!((labels.get("a"), labels.get("c"), labels.len()), ("2", "", 2));
        assert_eq!(labels.with("b", ""), Labels::from_pairs([("a", "2")]));
    }

    #[test]
    fn a_separator_in_a_value_cannot_forge_a_label() {
        let labels = Labels::from_pairs([("a", "1\0b\0two")]);
        assert_eq!(labels.len(), 1);
        assert_eq!(labels.get("b"), "");
    }

    #[test]
    fn a_separator_in_a_name_makes_neither_another_order_nor_a_name_twice() {
        let labels = Labels::from_pairs([("a\0", "1"), ("a!", "2"), ("a\u{fffd}", "3")]);
        assert_eq!(labels.iter().collect::<Vec<_>>(), [("a!", "2"), ("a\u{fffd}", "3")]);
        assert_eq!(labels, labels.iter().collect());
    }

    #[test]
    fn the_order_is_the_order_of_pairs() {
        let pairs = |value| Labels::from_pairs([("a", value)]);
        assert!(pairs("x") < pairs("x!"));
        assert!(Labels::empty() < pairs("x"));
        assert!(pairs("x") < Labels::from_pairs([("a", "x"), ("b", "0")]));
    }

    #[test]
    fn display_is_promql() {
        let labels = Labels::from_pairs([(METRIC_NAME, "up"), ("job", "a\"b")]);
        assert_eq!(labels.to_string(), r#"up{job="a\"b"}"#);
        assert_eq!(Labels::empty().to_string(), "{}");
        assert_eq!(Labels::from_pairs([(METRIC_NAME, "up")]).to_string(), "up");
    }
}
