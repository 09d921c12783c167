//! Template chains: which templates may follow which, and the way from one to another, one step at a time.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use api::k0rdent::{AvailableUpgrade, SupportedTemplate};

/// The shortest way from one template to another, without the first; empty when they are the same.
///
/// `None` when the chain has no such way. Between ways of equal length the first in the chain's order is taken.
pub fn path(chain: &[SupportedTemplate], from: &str, to: &str) -> Option<Vec<String>> {
    let mut before: BTreeMap<&str, &str> = BTreeMap::new();
    let mut next = VecDeque::from([from]);
    let mut seen = BTreeSet::from([from]);
    while let Some(at) = next.pop_front() {
        if at == to {
            let mut way = Vec::new();
            let mut step = to;
            while step != from {
                way.push(step.to_owned());
                step = before.get(step)?;
            }
            way.reverse();
            return Some(way);
        }
        for upgrade in upgrades(chain, at) {
            if seen.insert(&upgrade.name) {
                before.insert(&upgrade.name, at);
                next.push_back(&upgrade.name);
            }
        }
    }
    None
}

/// Everything that can be reached from a template, nearest first, without itself.
pub fn reachable(chain: &[SupportedTemplate], from: &str) -> Vec<AvailableUpgrade> {
    let mut found = Vec::new();
    let mut next = VecDeque::from([from]);
    let mut seen = BTreeSet::from([from]);
    while let Some(at) = next.pop_front() {
        for upgrade in upgrades(chain, at) {
            if seen.insert(&upgrade.name) {
                found.push(upgrade.clone());
                next.push_back(&upgrade.name);
            }
        }
    }
    found
}

fn upgrades<'a>(chain: &'a [SupportedTemplate], of: &str) -> &'a [AvailableUpgrade] {
    chain.iter().find(|one| one.name == of).map(|one| one.available_upgrades.as_slice()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn chain(pairs: &[(&str, &[&str])]) -> Vec<SupportedTemplate> {
        let upgrade = |name: &&str| AvailableUpgrade { name: (*name).to_owned(), version: None };
        pairs
            .iter()
            .map(|(name, upgrades)| SupportedTemplate {
                name: (*name).to_owned(),
                available_upgrades: upgrades.iter().map(upgrade).collect(),
            })
            .collect()
    }

    #[test]
    fn the_way_goes_step_by_step_and_only_where_the_chain_leads() {
        let chain = chain(&[("a", &["b"]), ("b", &["c", "d"]), ("c", &["d"]), ("d", &[])]);
        assert_eq!(path(&chain, "a", "d"), Some(vec!["b".to_owned(), "d".to_owned()]));
        assert_eq!(path(&chain, "a", "a"), Some(Vec::new()));
        assert_eq!(path(&chain, "d", "a"), None);
        let names: Vec<_> = reachable(&chain, "a").into_iter().map(|upgrade| upgrade.name).collect();
        assert_eq!(names, ["b", "c", "d"]);
    }

    #[test]
    fn a_circle_ends() {
        let chain = chain(&[("a", &["b"]), ("b", &["a"])]);
        assert_eq!(path(&chain, "a", "c"), None);
        assert_eq!(reachable(&chain, "a").len(), 1);
    }
}
