//! The price book: what a core, a gibibyte and a GPU cost per hour.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// Prices per hour.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Rates {
    /// Of a core.
    pub cpu: f64,
    /// Of a GiB of memory.
    pub ram: f64,
    /// Of a GPU.
    pub gpu: f64,
}

/// OpenCost's defaults (`configs/default.json`), in US dollars.
impl Default for Rates {
    fn default() -> Self {
        Self { cpu: 0.031611, ram: 0.004237, gpu: 0.95 }
    }
}

/// Prices, and where others hold.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PriceBook {
    /// ISO 4217 code.
    pub currency: String,
    /// Prices where no rule matches.
    pub default: Rates,
    /// Rules, the first that matches a node holds.
    pub rules: Vec<PriceRule>,
}

impl Default for PriceBook {
    fn default() -> Self {
        Self { currency: "USD".to_owned(), default: Rates::default(), rules: Vec::new() }
    }
}

/// Prices of some nodes.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct PriceRule {
    /// Labels that a node must have, all of them; none matches every node.
    pub node_labels: BTreeMap<String, String>,
    /// What it costs there.
    pub rates: Rates,
}

/// Why a text is not a price book.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PriceError {
    /// Not the JSON of one.
    #[error("failed to read price book: {0}")]
    Read(String),
    /// A price that is none.
    #[error("price book field \"{field}\" is {value}, a number of 0 or more is accepted")]
    Rate {
        /// Which.
        field: String,
        /// What it is.
        value: String,
    },
}

impl PriceBook {
    /// Reads a price book from JSON.
    ///
    /// # Errors
    /// [`PriceError`] with the field that is wrong.
    pub fn from_json(text: &str) -> Result<Self, PriceError> {
        let book: Self = serde_json::from_str(text).map_err(|error| PriceError::Read(error.to_string()))?;
        check("default", &book.default)?;
        for (index, rule) in book.rules.iter().enumerate() {
            check(&format!("rules[{index}].rates"), &rule.rates)?;
        }
        Ok(book)
    }

    /// The prices on a node.
    pub fn rates(&self, node_labels: &BTreeMap<String, String>) -> Rates {
        let holds = |rule: &&PriceRule| {
            rule.node_labels.iter().all(|(name, value)| node_labels.get(name) == Some(value))
        };
        self.rules.iter().find(holds).map_or(self.default, |rule| rule.rates)
    }
}

fn check(path: &str, rates: &Rates) -> Result<(), PriceError> {
    for (name, value) in [("cpu", rates.cpu), ("ram", rates.ram), ("gpu", rates.gpu)] {
        if !(value.is_finite() && value >= 0.0) {
            return Err(PriceError::Rate { field: format!("{path}.{name}"), value: value.to_string() });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_matches_holds() {
        let book = PriceBook::from_json(
            r#"{"currency":"EUR","default":{"cpu":1,"ram":2,"gpu":3},
                "rules":[{"nodeLabels":{"tier":"spot"},"rates":{"cpu":0.5,"ram":1,"gpu":1}},{"rates":{"cpu":9,"ram":9,"gpu":9}}]}"#,
        )
        .unwrap();
        let labels = |value: &str| BTreeMap::from([("tier".to_owned(), value.to_owned())]);
        assert_eq!(book.rates(&labels("spot")).cpu, 0.5);
        assert_eq!(book.rates(&labels("other")).cpu, 9.0);
    }

    #[test]
    fn a_negative_price_is_refused_by_field() {
        let error = PriceBook::from_json(r#"{"default":{"cpu":-1}}"#).unwrap_err().to_string();
        assert_eq!(error, "price book field \"default.cpu\" is -1, a number of 0 or more is accepted");
        assert!(
            PriceBook::from_json(r#"{"prize":1}"#).unwrap_err().to_string().contains("unknown field `prize`")
        );
    }
}
