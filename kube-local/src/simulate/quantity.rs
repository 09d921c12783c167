//! Quantities of resources, and what pods request.

use serde_json::Value;

use crate::object::{at, items};

/// Thousandths of a core, and bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Resources {
    pub(super) millicores: u64,
    pub(super) bytes: u64,
}

impl Resources {
    /// What the containers of a pod request together.
    pub(super) fn of_pod(pod: &Value) -> Self {
        let mut total = Self::default();
        for container in items(pod, &["spec", "containers"]) {
            let requests = at(container, &["resources", "requests"]);
            let amount = |name: &str| requests.and_then(|map| map.get(name)).and_then(parse).unwrap_or(0.0);
            total.millicores += whole(amount("cpu") * 1000.0);
            total.bytes += whole(amount("memory"));
        }
        total
    }

    pub(super) fn sum<'a>(all: impl IntoIterator<Item = &'a Self>) -> Self {
        all.into_iter().fold(Self::default(), |sum, one| Self {
            millicores: sum.millicores + one.millicores,
            bytes: sum.bytes + one.bytes,
        })
    }
}

fn whole(amount: f64) -> u64 {
    // Requests are far below the range in which this loses precision; negative ones count as none.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = amount.ceil().max(0.0) as u64;
    whole
}

/// A quantity such as `100m`, `1.5`, `128Mi`, `1e3` as a number.
fn parse(quantity: &Value) -> Option<f64> {
    const SUFFIXES: [(&str, f64); 14] = [
        ("Ki", 1024.0),
        ("Mi", 1_048_576.0),
        ("Gi", 1_073_741_824.0),
        ("Ti", 1_099_511_627_776.0),
        ("Pi", 1_125_899_906_842_624.0),
        ("Ei", 1_152_921_504_606_846_976.0),
        ("n", 1e-9),
        ("u", 1e-6),
        ("m", 1e-3),
        ("k", 1e3),
        ("M", 1e6),
        ("G", 1e9),
        ("T", 1e12),
        ("P", 1e15),
    ];
    if let Some(number) = quantity.as_f64() {
        return Some(number);
    }
    let text = quantity.as_str()?;
    for (suffix, factor) in SUFFIXES {
        if let Some(number) = text.strip_suffix(suffix) {
            return number.parse::<f64>().ok().map(|number| number * factor);
        }
    }
    text.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn quantities_are_read_with_their_suffixes() {
        let table = [
            ("100m", 0.1),
            ("2", 2.0),
            ("1.5", 1.5),
            ("1Ki", 1024.0),
            ("1Gi", 1_073_741_824.0),
            ("1k", 1000.0),
            ("1e3", 1000.0),
        ];
        for (text, expected) in table {
            assert!((parse(&json!(text)).unwrap() - expected).abs() < 1e-9, "{text}");
        }
        assert_eq!(parse(&json!("x")), None);
    }
}
