//! Templates to Kubernetes objects: a Helm chart engine, raw manifests, and Go templates over cluster objects.
//!
//! Pure: no clock, no randomness, no network, no files. Randomness and time come in through [`Entropy`], cluster
//! objects through [`Lookup`]; [`Rendered`] says which of them a chart asked for, and so whether the same input gives
//! the same bytes again. Every bound is in [`Limits`].
//!
//! # Why an engine of our own
//! Ten thousand clusters with values of their own are rendered in process within seconds, where a `helm` process each
//! would take hours. The template language is Go's, so its value model is too: see `template::value`.
//!
//! # Where it differs from Helm v4
//! - Maps are walked in key order wherever Go's order is random (`keys`, `values`, schema violations).
//! - Local time is UTC. Zones are those of the bundled database, where Helm asks the machine for its own: on machines
//!   that keep `CET`, `MET`, `WET`, `EET`, `EST`, `MST`, `HST` and the like of `EST5EDT` as zones of fixed rules (the
//!   database made them links to cities in 2024), years before the first rule of the city come out otherwise.
//! - DSA keys, and certificates signed with keys that the TLS library does not take (RSA of less than 2048 bits), answer
//!   [`RenderError::Unsupported`], for which a caller may run Helm.
//! - Integers of rendered objects keep all 64 bits, as Kubernetes reads them; values pass through floats as in Helm.
//! - Bytes that are no UTF-8 come out as U+FFFD where Helm prints them as they are (in NOTES.txt, in `crds/`); where Helm
//!   refuses what is no YAML for that, so do we.
//! - A schema may not refer to other documents: there is no network.
//! - Texts that YAML 1.1 refuses and YAML 1.2 accepts may be accepted; a tab that indents a node is not. What is wrong
//!   with broken YAML is said in other words.
//! - Where Go prints an address, there is a made-up one. `now` has no monotonic clock beside the other one.
//! - A map that contains itself, of which Helm dies, prints up to a bound. TOML nests no deeper than 250.
//! - An endless `include` is stopped by [`Limits::call_depth`] rather than by Helm's count of repeats.
//!
//! `tests/charts` holds charts with Helm's own output beside them; `tests/refresh` asks Helm again.

// A template value is one of ten kinds and a JSON value one of six: "any other kind" is what the code means.
#![allow(clippy::wildcard_enum_match_arm)]

mod capabilities;
mod chart;
mod engine;
mod error;
mod gotemplate;
pub mod kustomize;
mod limits;
mod manifest;
mod printed;
mod resources;
mod set_line;
mod template;
mod yaml;

pub use capabilities::Capabilities;
pub use chart::{Chart, ChartError, Dependency, IgnoreRules, Metadata, merge_values};
pub use engine::{Input, Release, Rendered, render};
pub use error::{Position, RenderError};
pub use gotemplate::{Expanded, expand_template};
pub use limits::Limits;
pub use manifest::{DeletePolicy, Hook, HookEvent, ManifestError, Object, parse_values};
pub use printed::{MissingTemplate, Shown};
pub use resources::parse_yaml_documents;
pub use set_line::{CommandLineValues, SetError};

/// Where randomness and time come from.
pub trait Entropy {
    /// `count` random bytes.
    fn bytes(&mut self, count: usize) -> Vec<u8>;

    /// Now, in seconds since 1970.
    fn now_unix_seconds(&mut self) -> i64;

    /// Now, in nanoseconds since 1970, where the clock is that fine.
    fn now_unix_nanoseconds(&mut self) -> i128 {
        i128::from(self.now_unix_seconds()) * 1_000_000_000
    }
}

/// What `lookup` finds in the cluster.
pub trait Lookup {
    /// An object, a list of objects when `name` is empty, or an empty map when there is none.
    fn get(&self, api_version: &str, kind: &str, namespace: &str, name: &str) -> serde_json::Value;
}

/// The cluster of `helm template`: there is nothing in it.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoCluster;

impl Lookup for NoCluster {
    fn get(&self, _: &str, _: &str, _: &str, _: &str) -> serde_json::Value {
        serde_json::Value::Object(serde_json::Map::new())
    }
}

/// An object as Helm prints it: sigs.k8s.io/yaml's form, keys sorted, one line break at the end.
pub fn to_yaml(value: &serde_json::Value) -> String {
    yaml::emit::to_yaml(value)
}
