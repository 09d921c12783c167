//! Helm charts: what they contain, how they are read from archives and folders, and how the values and the enabled
//! dependencies of a release come about.

pub(crate) mod archive;
pub(crate) mod dependencies;
pub(crate) mod glob;
pub(crate) mod ignore;
mod load;
pub(crate) mod metadata;
mod model;
pub(crate) mod pattern;
pub(crate) mod schema;
mod shape;
pub(crate) mod values;
mod violation;

pub use ignore::IgnoreRules;
pub use metadata::{Dependency, Metadata};
pub(crate) use model::TemplateFile;
pub use model::{Chart, ChartError};
pub use values::merge_values;
