//! YAML as `sigs.k8s.io/yaml` reads and writes it: YAML 1.1 truths, its number forms, JSON's data model.

pub(crate) mod emit;
pub(crate) mod read;
pub(crate) mod resolve;
