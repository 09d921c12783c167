//! Kustomize in process: what `kustomize build` v5.8.1 makes of a folder, object for object and in its order.
//!
//! Pure: files come in as a tree of paths and bytes, objects go out. Nothing is fetched and nothing is run: remote
//! bases, Helm charts, programs and containers are refused with an error of their own.

mod build;
mod collection;
mod config;
mod definition;
mod error;
mod fields;
mod generate;
mod identity;
mod images;
mod input;
mod json_patch;
mod loader;
mod merge;
mod names;
mod node;
mod origin;
mod patch;
mod path;
mod plugins;
mod read;
mod replacement;
mod resource;
mod schema;
mod selector;
mod sort;
mod steps;
mod targets;
mod time;
mod value_add;
mod variables;
mod write;

use std::collections::BTreeMap;

use serde_json::Value as Json;

pub use error::KustomizeError;
pub use targets::{Target, Targets};

use crate::limits::Limits;

/// Builds the kustomization in the folder `path` of a tree of files, as `kustomize build` does.
///
/// `files` are named by their paths from the root of the tree, with `/` and without `.` and `..`; `path` is empty for
/// the root itself. Files and folders outside the tree cannot be named; as with kustomize, a kustomization may include
/// any folder of the tree that does not include it, but only files in or below its own folder.
///
/// # Errors
/// Where kustomize refuses, where something is remote or would have to be run, and beyond the limits.
pub fn build(
    files: &BTreeMap<String, Vec<u8>>,
    path: &str,
    limits: &Limits,
) -> Result<Vec<Json>, KustomizeError> {
    let tree = loader::Tree::new(files, limits)?;
    build::build(&tree, path)
}
