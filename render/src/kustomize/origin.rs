//! `buildMetadata`: where objects come from and what changed them, written into annotations.

use super::collection::Collection;
use super::loader::join;
use super::node::Node;
use super::resource::Resource;
use crate::limits::Limits;

/// The annotation that says where an object comes from.
pub(crate) const ORIGIN: &str = "config.kubernetes.io/origin";
/// The annotation that lists what changed an object.
pub(crate) const TRANSFORMATIONS: &str = "alpha.config.kubernetes.io/transformations";

/// Where an object comes from, or what changed it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Origin {
    pub path: String,
    pub configured_in: String,
    /// Version, kind, name and namespace of the configuration.
    pub configured_by: Option<[String; 4]>,
}

impl Origin {
    /// The origin of something at a path below this one.
    pub(crate) fn at(&self, path: &str) -> Self {
        Self { path: relative(&self.path, path), ..self.clone() }
    }

    /// A built-in transformer or generator of the kustomization `file` here.
    pub(crate) fn built_in(&self, file: &str, kind: &str) -> Self {
        Self {
            path: String::new(),
            configured_in: relative(&self.path, file),
            configured_by: Some(["builtin".to_owned(), kind.to_owned(), String::new(), String::new()]),
        }
    }

    /// What a configuration object makes or changes.
    pub(crate) fn of_configuration(resource: &Resource) -> Option<Self> {
        let text = resource.annotation(ORIGIN)?;
        let node = super::read::document(text, &Limits::default()).ok()??;
        let path = node.get("path").map_or("", Node::raw).to_owned();
        let by = [resource.api_version(), resource.kind(), resource.name(), resource.namespace()];
        Some(Self { path: String::new(), configured_in: path, configured_by: Some(by.map(str::to_owned)) })
    }

    fn entries(&self) -> Vec<String> {
        let shown = |text: &str| crate::to_yaml(&text.into()).trim_end().to_owned();
        let mut lines = Vec::new();
        if !self.path.is_empty() {
            lines.push(format!("path: {}", shown(&self.path)));
        }
        if !self.configured_in.is_empty() {
            lines.push(format!("configuredIn: {}", shown(&self.configured_in)));
        }
        if let Some(by) = &self.configured_by {
            lines.push("configuredBy:".to_owned());
            let names = ["apiVersion", "kind", "name", "namespace"];
            for (name, value) in names.iter().zip(by).filter(|(_, value)| !value.is_empty()) {
                lines.push(format!("  {name}: {}", shown(value)));
            }
        }
        lines
    }

    pub(crate) fn text(&self) -> String {
        let entries = self.entries();
        if entries.is_empty() { "{}\n".to_owned() } else { format!("{}\n", entries.join("\n")) }
    }

    fn item(&self) -> String {
        format!("- {}\n", self.entries().join("\n  "))
    }
}

/// A path below a folder; it may lead out of where the build began.
fn relative(folder: &str, path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in folder.split('/').chain(path.split('/')) {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    parts.join("/")
}

/// Marks generated objects that are not marked yet.
pub(crate) fn mark_generated(resource: &mut Resource, origin: &Origin) {
    if resource.annotation(ORIGIN).is_none() {
        resource.set_annotation(ORIGIN, Some(origin.text()));
    }
}

/// Notes a transformer on every object.
pub(crate) fn mark_transformed(collection: &mut Collection, origin: &Origin) {
    for resource in &mut collection.all {
        if resource.annotation(ORIGIN).is_none() {
            resource.set_annotation(ORIGIN, Some(origin.text()));
            continue;
        }
        let before = resource.annotation(TRANSFORMATIONS).unwrap_or_default();
        let all = format!("{before}{}", origin.item());
        resource.set_annotation(TRANSFORMATIONS, Some(all));
    }
}

/// The path of a file from the root of the tree, for messages.
pub(crate) fn shown_path(folder: &str, file: &str) -> String {
    join(folder, file).unwrap_or_else(|| file.to_owned())
}
