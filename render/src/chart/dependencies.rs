//! Which subcharts take part in a release, under which names and with which values: conditions, tags, aliases and
//! `import-values`, in Helm's order of events.

use std::rc::Rc;

use serde_json::Value as Json;

use super::metadata::Dependency;
use super::model::Chart;
use super::values::{at_path, coalesce_tables, coalesce_values, deep_copy_dict};
use crate::template::funcs::constraint::Constraint;
use crate::template::funcs::semver::Version;
use crate::template::json::dict;
use crate::template::value::{Dict, DictKind, Value};

/// A chart as one release uses it.
#[derive(Clone)]
pub(crate) struct Instance<'c> {
    pub chart: &'c Chart,
    /// The alias, or the chart's name.
    pub name: String,
    pub values: Dict,
    pub dependencies: Vec<Dependency>,
    /// Whether the chart declares dependencies that count; otherwise all of `charts/` is used as it is.
    declares: bool,
    pub children: Vec<Instance<'c>>,
}

impl<'c> Instance<'c> {
    pub(crate) fn new(chart: &'c Chart) -> Self {
        let values = match &chart.values {
            Json::Object(entries) => dict(entries, DictKind::Any),
            _ => Dict::empty(),
        };
        Self {
            chart,
            name: chart.metadata.name.clone(),
            values,
            dependencies: chart.metadata.dependencies.clone(),
            declares: chart.metadata.declares_dependencies,
            children: chart.dependencies.iter().map(|child| Self::new(child)).collect(),
        }
    }

    /// Declared dependencies that are not in `charts/`.
    pub(crate) fn missing(&self) -> Vec<String> {
        let present = |name: &str| self.children.iter().any(|child| child.name == name);
        self.dependencies
            .iter()
            .filter(|wanted| !present(&wanted.name))
            .map(|wanted| wanted.name.clone())
            .collect()
    }

    /// Drops what is disabled, renames what has an alias, and imports values.
    pub(crate) fn process(&mut self, user: &Dict) -> Result<(), String> {
        self.process_enabled(user, "")?;
        self.process_imports()
    }

    fn process_enabled(&mut self, user: &Dict, path: &str) -> Result<(), String> {
        if !self.declares {
            return Ok(());
        }
        let fits = |child: &Self, wanted: &Dependency| {
            child.name == wanted.name && is_compatible(&wanted.version, &child.chart.metadata.version)
        };
        let undeclared = self
            .children
            .iter()
            .filter(|child| !self.dependencies.iter().any(|wanted| fits(child, wanted)))
            .cloned();
        let mut children: Vec<Self> = undeclared.collect();
        for wanted in &mut self.dependencies {
            if let Some(child) = self.children.iter().find(|child| fits(child, wanted)) {
                let mut child = child.clone();
                if !wanted.alias.is_empty() {
                    child.name.clone_from(&wanted.alias);
                }
                children.push(child);
            }
            if !wanted.alias.is_empty() {
                wanted.name.clone_from(&wanted.alias);
            }
            wanted.enabled = true;
        }
        self.children = children;
        let values = coalesce_values(self, user, false)?;
        self.apply_tags(&values);
        self.apply_conditions(&values, path);
        let disabled: Vec<String> = self
            .dependencies
            .iter()
            .filter(|wanted| !wanted.enabled)
            .map(|wanted| wanted.name.clone())
            .collect();
        self.children.retain(|child| !disabled.contains(&child.name));
        self.dependencies.retain(|wanted| !disabled.contains(&wanted.name));
        for child in &mut self.children {
            let inner = format!("{path}{}.", child.name);
            child.process_enabled(&values, &inner)?;
        }
        self.declares = !self.dependencies.is_empty();
        Ok(())
    }

    fn apply_tags(&mut self, values: &Dict) {
        let Some(Value::Dict(tags)) = values.get("tags") else {
            return;
        };
        for wanted in &mut self.dependencies {
            let says = |answer: bool| {
                wanted
                    .tags
                    .iter()
                    .any(|tag| matches!(tags.get(tag), Some(Value::Bool(flag)) if flag == answer))
            };
            wanted.enabled = says(true) || !says(false);
        }
    }

    fn apply_conditions(&mut self, values: &Dict, path: &str) {
        for wanted in &mut self.dependencies {
            for condition in wanted.condition.trim().split(',').filter(|condition| !condition.is_empty()) {
                if let Some(Value::Bool(flag)) = at_path(values, &format!("{path}{condition}")) {
                    wanted.enabled = flag;
                    break;
                }
            }
        }
    }

    fn process_imports(&mut self) -> Result<(), String> {
        for child in &mut self.children {
            child.process_imports()?;
        }
        if !self.declares {
            return Ok(());
        }
        let own = coalesce_values(self, &Dict::empty(), true)?;
        let imported = Dict::empty();
        for wanted in &mut self.dependencies {
            let mut normal = Vec::new();
            for import in &wanted.import_values {
                let Some((child, parent)) = import_paths(import) else { continue };
                if let Some(Value::Dict(table)) = at_path(&own, &format!("{}.{child}", wanted.name)) {
                    coalesce_tables(&imported, &under_path(&parent, table), true);
                }
                normal.push(serde_json::json!({ "child": child, "parent": parent }));
            }
            // Templates see every import in its long form.
            wanted.import_values = normal;
        }
        let own = deep_copy_dict(&own);
        coalesce_tables(&own, &imported, true);
        self.values = own;
        Ok(())
    }
}

/// Where an import comes from in the child and goes to in the parent.
fn import_paths(import: &Json) -> Option<(String, String)> {
    match import {
        Json::String(name) => Some((format!("exports.{name}"), ".".to_owned())),
        Json::Object(paths) => {
            let text = |key: &str| match paths.get(key) {
                Some(Json::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => "<nil>".to_owned(),
            };
            Some((text("child"), text("parent")))
        }
        _ => None,
    }
}

/// The table wrapped in maps so that it stands at `path`.
fn under_path(path: &str, table: Dict) -> Dict {
    if path == "." {
        return table;
    }
    path.split('.')
        .rev()
        .fold(table, |inner, part| [(Rc::from(part), Value::Dict(inner))].into_iter().collect())
}

/// Whether a version lies in a range; a range or version that makes no sense is not compatible.
pub(crate) fn is_compatible(range: &str, version: &str) -> bool {
    match (Constraint::parse(range), Version::parse(version)) {
        (Ok(range), Some(version)) => range.matches(&version),
        _ => false,
    }
}
