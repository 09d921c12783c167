//! `PriceBook`: what resources cost. The hub puts prices into plans; edges compute cost from them.

use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::CustomResource;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

use crate::schema::conditions;

/// Prices, in general and for some clusters or nodes.
#[derive(CustomResource, Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[kube(
    group = "skein.dev",
    version = "v1alpha1",
    kind = "PriceBook",
    doc = "What resources cost. With several books, the first by name is used.",
    status = "PriceBookStatus",
    derive = "PartialEq",
    derive = "Default",
    attr = "cfg_attr(all(), serde(default))",
    category = "skein",
    printcolumn(
        name = "Currency",
        type_ = "string",
        json_path = ".spec.currency",
        description = "Currency of the prices"
    ),
    printcolumn(
        name = "CPU",
        type_ = "string",
        json_path = ".spec.defaults.cpuCoreHour",
        description = "General price of a CPU core for an hour"
    ),
    printcolumn(
        name = "Memory",
        type_ = "string",
        json_path = ".spec.defaults.memoryGibHour",
        description = "General price of a GiB of memory for an hour"
    ),
    printcolumn(
        name = "Edges",
        type_ = "integer",
        json_path = ".status.edges",
        description = "How many edges compute with these prices"
    ),
    printcolumn(
        name = "Ready",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].status"#,
        description = "The prices can be used"
    ),
    printcolumn(
        name = "Message",
        type_ = "string",
        json_path = r#".status.conditions[?(@.type=="Ready")].message"#,
        priority = 1,
        description = "Why they cannot be used"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp",
        description = "Time since the object was made"
    )
)]
#[serde(rename_all = "camelCase")]
pub struct PriceBookSpec {
    /// Currency of the prices, as an ISO 4217 code.
    #[serde(default = "dollar")]
    #[schemars(regex(pattern = "^[A-Z]{3}$"))]
    pub currency: String,
    /// Prices where no entry says otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub defaults: Option<Prices>,
    /// Prices for some clusters or nodes. For each price, the last entry that matches and names it wins.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(extend("x-kubernetes-list-type" = "atomic"))]
    pub entries: Vec<PriceEntry>,
}

fn dollar() -> String {
    "USD".to_owned()
}

impl Default for PriceBookSpec {
    fn default() -> Self {
        Self { currency: dollar(), defaults: None, entries: Vec::new() }
    }
}

/// Prices for some clusters or nodes.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PriceEntry {
    /// What the prices are for; everything when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selector: Option<PriceSelector>,
    /// The prices.
    #[serde(flatten)]
    pub prices: Prices,
}

/// What prices are for: everything that all the given fields match.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct PriceSelector {
    /// Clusters with these labels on their ClusterDeployment or Edge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster_selector: Option<ClusterLabels>,
    /// Nodes with these labels.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub node_selector: BTreeMap<String, String>,
    /// Clusters of this region.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// Labels of clusters.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct ClusterLabels {
    /// Labels that must all be present with exactly these values.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub match_labels: BTreeMap<String, String>,
}

/// Prices. Absent means that another entry or the defaults say it, and in the end nothing.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct Prices {
    /// One CPU core for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price")]
    pub cpu_core_hour: Option<Price>,
    /// One GPU for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price")]
    pub gpu_hour: Option<Price>,
    /// One GiB of memory for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price")]
    pub memory_gib_hour: Option<Price>,
    /// One GiB of traffic that leaves the cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price")]
    pub network_gib: Option<Price>,
    /// One GiB of volume for an hour.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(schema_with = "price")]
    pub storage_gib_hour: Option<Price>,
}

impl Prices {
    /// These prices, and `below` where these say nothing.
    pub fn over(&self, below: &Self) -> Self {
        Self {
            cpu_core_hour: self.cpu_core_hour.clone().or_else(|| below.cpu_core_hour.clone()),
            gpu_hour: self.gpu_hour.clone().or_else(|| below.gpu_hour.clone()),
            memory_gib_hour: self.memory_gib_hour.clone().or_else(|| below.memory_gib_hour.clone()),
            network_gib: self.network_gib.clone().or_else(|| below.network_gib.clone()),
            storage_gib_hour: self.storage_gib_hour.clone().or_else(|| below.storage_gib_hour.clone()),
        }
    }
}

/// A price as text, such as "0.0316", so that no digit is lost on the way. A whole number may stand without quotes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Price(String);

impl Price {
    /// The price as a number; `None` when the text is not a decimal number of zero or more.
    pub fn value(&self) -> Option<f64> {
        self.0.parse::<f64>().ok().filter(|value| value.is_finite() && *value >= 0.0)
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl From<&str> for Price {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl Serialize for Price {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Price {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        match serde_json::Value::deserialize(deserializer)? {
            serde_json::Value::String(text) => Ok(Self(text)),
            serde_json::Value::Number(number) => Ok(Self(number.to_string())),
            serde_json::Value::Null
            | serde_json::Value::Bool(_)
            | serde_json::Value::Array(_)
            | serde_json::Value::Object(_) => {
                Err(serde::de::Error::custom("a price is a decimal number such as \"0.0316\""))
            }
        }
    }
}

/// A decimal number as text, or a whole number.
fn price(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "x-kubernetes-int-or-string": true,
        "pattern": "^[0-9]+(\\.[0-9]+)?$",
        "anyOf": [{"type": "integer"}, {"type": "string"}]
    })
}

/// Whether the prices are used.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct PriceBookStatus {
    /// What is true of the prices.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(schema_with = "conditions")]
    pub conditions: Vec<Condition>,
    /// How many edges compute with these prices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edges: Option<i32>,
    /// The metadata.generation this status was computed from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}
