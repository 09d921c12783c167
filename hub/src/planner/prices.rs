//! A price book as one edge computes with it: what concerns its cluster and region, with rules left for nodes.
//!
//! The object says: for each price, the last entry that matches and names it wins. The edge's form says: the first rule
//! whose labels a node has holds. So entries for nodes become rules from the last to the first, each with everything
//! folded in that holds wherever it holds.

use std::collections::BTreeMap;

use api::skein::{PriceBookSpec, PriceEntry, Prices};
use serde_json::{Value, json};

/// The setting of an edge; `None` when a price is no number.
pub fn setting(
    book: &PriceBookSpec,
    region: Option<&str>,
    labels: &BTreeMap<String, String>,
) -> Option<String> {
    let entries: Vec<_> = book.entries.iter().filter(|entry| concerns(entry, region, labels)).collect();
    let none = BTreeMap::new();
    let nodes = |entry: &PriceEntry| {
        entry.selector.as_ref().map(|selector| selector.node_selector.clone()).unwrap_or_default()
    };
    let defaults = book.defaults.clone().unwrap_or_default();
    let rates = |node: &BTreeMap<String, String>| {
        entries
            .iter()
            .filter(|entry| nodes(entry).iter().all(|(key, value)| node.get(key) == Some(value)))
            .fold(defaults.clone(), |below, entry| entry.prices.over(&below))
    };
    let mut rules = Vec::new();
    for entry in entries.iter().rev() {
        let selector = nodes(entry);
        if !selector.is_empty() {
            rules.push(json!({"nodeLabels": selector, "rates": shown(&rates(&selector))?}));
        }
    }
    let book = json!({"currency": book.currency, "default": shown(&rates(&none))?, "rules": rules});
    Some(String::from_utf8_lossy(&super::canonical::canonical(&book)).into_owned())
}

/// What is wrong with a book, by field; `None` when nothing is.
pub fn problem(book: &PriceBookSpec) -> Option<String> {
    let defaults = book.defaults.iter().map(|prices| ("spec.defaults".to_owned(), prices));
    let entries = book.entries.iter().enumerate();
    let entries = entries.map(|(index, entry)| (format!("spec.entries[{index}]"), &entry.prices));
    for (path, prices) in defaults.chain(entries) {
        for (name, price) in [
            ("cpuCoreHour", &prices.cpu_core_hour),
            ("gpuHour", &prices.gpu_hour),
            ("memoryGibHour", &prices.memory_gib_hour),
            ("networkGib", &prices.network_gib),
            ("storageGibHour", &prices.storage_gib_hour),
        ] {
            if let Some(price) = price
                && price.value().is_none()
            {
                return Some(format!(
                    "{path}.{name} is \"{}\": a decimal number of 0 or more is accepted, such as \"0.0316\"",
                    price.as_str()
                ));
            }
        }
    }
    None
}

fn concerns(entry: &PriceEntry, region: Option<&str>, labels: &BTreeMap<String, String>) -> bool {
    let Some(selector) = &entry.selector else { return true };
    let here = selector.region.as_deref().is_none_or(|wanted| region == Some(wanted));
    let wanted = selector.cluster_selector.as_ref().map(|selector| &selector.match_labels);
    here && wanted.is_none_or(|wanted| wanted.iter().all(|(key, value)| labels.get(key) == Some(value)))
}

/// Prices the edge computes with; what nobody names costs nothing.
fn shown(prices: &Prices) -> Option<Value> {
    let number =
        |price: &Option<api::skein::Price>| price.as_ref().map_or(Some(0.0), api::skein::Price::value);
    Some(json!({
        "cpu": number(&prices.cpu_core_hour)?,
        "ram": number(&prices.memory_gib_hour)?,
        "gpu": number(&prices.gpu_hour)?,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn book() -> PriceBookSpec {
        serde_json::from_value(json!({
            "currency": "EUR",
            "defaults": {"cpuCoreHour": "1", "memoryGibHour": "2"},
            "entries": [
                {"selector": {"region": "eu"}, "cpuCoreHour": "3"},
                {"selector": {"region": "us"}, "cpuCoreHour": "9"},
                {"selector": {"nodeSelector": {"tier": "spot"}}, "cpuCoreHour": "0.5"},
                {"selector": {"clusterSelector": {"matchLabels": {"site": "x"}}}, "memoryGibHour": "4"},
            ],
        }))
        .unwrap()
    }

    #[test]
    fn an_edge_gets_what_concerns_it() {
        let labels = BTreeMap::from([("site".to_owned(), "x".to_owned())]);
        let text = setting(&book(), Some("eu"), &labels).unwrap();
        assert_eq!(
            serde_json::from_str::<Value>(&text).unwrap(),
            json!({
                "currency": "EUR", "default": {"cpu": 3.0, "ram": 4.0, "gpu": 0.0},
                "rules": [{"nodeLabels": {"tier": "spot"}, "rates": {"cpu": 0.5, "ram": 4.0, "gpu": 0.0}}],
            })
        );
        telemetry::cost::PriceBook::from_json(&text).unwrap();
    }

    #[test]
    fn a_price_that_is_no_number_is_named() {
        let mut book = book();
        assert_eq!(problem(&book), None);
        book.entries[2].prices.gpu_hour = Some("-1".into());
        assert!(problem(&book).unwrap().starts_with("spec.entries[2].gpuHour is \"-1\""));
        assert_eq!(setting(&book, None, &BTreeMap::new()), None);
    }
}
