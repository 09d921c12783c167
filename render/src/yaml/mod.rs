//! YAML as `sigs.k8s.io/yaml` reads and writes it: YAML 1.1 truths, its number forms, JSON's data model.

mod compose;
pub(crate) mod emit;
mod letters;
pub(crate) mod octets;
pub(crate) mod read;
pub(crate) mod resolve;
mod scalars;
mod scan;
mod tags;
