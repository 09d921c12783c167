//! `Chart.yaml`: read as leniently as Helm does (numbers where texts belong, any case of names), then validated.

use std::collections::BTreeMap;
use std::rc::Rc;

use serde_json::{Map, Value as Json};

use crate::template::json::from_json;
use crate::template::value::{Dict, DictKind, Value};

/// What a chart says about itself.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Metadata {
    /// Name of the chart.
    pub name: String,
    /// Version of the chart (SemVer 2).
    pub version: String,
    /// Version of the application inside, or empty.
    pub app_version: String,
    /// One line of description, or empty.
    pub description: String,
    /// Constraint on the Kubernetes version, or empty.
    pub kube_version: String,
    /// Free annotations.
    pub annotations: BTreeMap<String, String>,
    /// Declared dependencies.
    pub dependencies: Vec<Dependency>,
    /// `application`, `library`, or empty (an application).
    pub chart_type: String,
    /// `v1` or `v2`.
    pub api_version: String,
    pub(crate) home: String,
    pub(crate) icon: String,
    pub(crate) condition: String,
    pub(crate) tags: String,
    pub(crate) sources: Vec<String>,
    pub(crate) keywords: Vec<String>,
    pub(crate) maintainers: Vec<[String; 3]>,
    pub(crate) deprecated: bool,
    null_maintainer: bool,
    null_dependency: bool,
    declares_annotations: bool,
    /// Whether the key `dependencies` was present at all.
    pub(crate) declares_dependencies: bool,
}

/// A declared dependency.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Dependency {
    /// Name of the chart.
    pub name: String,
    /// Constraint on its version.
    pub version: String,
    /// Where it comes from, or empty.
    pub repository: String,
    /// Paths of values that switch it on or off, separated by commas.
    pub condition: String,
    /// Tags that switch it on or off together with others.
    pub tags: Vec<String>,
    /// Name it goes by in the parent, or empty.
    pub alias: String,
    pub(crate) import_values: Vec<Json>,
    pub(crate) enabled: bool,
}

fn field<'j>(object: &'j Map<String, Json>, name: &str) -> Option<&'j Json> {
    object
        .get(name)
        .or_else(|| object.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value))
}

fn scalar(value: &Json) -> Option<String> {
    match value {
        Json::String(text) => Some(text.clone()),
        Json::Bool(flag) => Some(flag.to_string()),
        // Whole: what has a fraction is read as a text.
        Json::Number(number) => Some(number.to_string()),
        Json::Null => Some(String::new()),
        Json::Array(_) | Json::Object(_) => None,
    }
}

fn text(object: &Map<String, Json>, name: &str) -> String {
    field(object, name).and_then(scalar).unwrap_or_default()
}

/// White space as single spaces each, what cannot be printed left out, as Helm cleans metadata.
fn printable(text: &str) -> String {
    let seen =
        |letter: &char| !(letter.is_control() || matches!(letter, '\u{200b}'..='\u{200f}' | '\u{feff}'));
    text.chars().map(|letter| if letter.is_whitespace() { ' ' } else { letter }).filter(seen).collect()
}

fn texts(object: &Map<String, Json>, name: &str) -> Vec<String> {
    let items = field(object, name).and_then(Json::as_array);
    items.map(|items| items.iter().filter_map(scalar).collect()).unwrap_or_default()
}

/// The maps of a list; what is null there is told by [`has_null`].
fn objects<'j>(object: &'j Map<String, Json>, name: &str) -> Vec<&'j Map<String, Json>> {
    let items = field(object, name).and_then(Json::as_array);
    items.map(|items| items.iter().filter_map(Json::as_object).collect()).unwrap_or_default()
}

fn has_null(object: &Map<String, Json>, name: &str) -> bool {
    field(object, name).and_then(Json::as_array).is_some_and(|items| items.iter().any(Json::is_null))
}

fn flag(object: &Map<String, Json>, name: &str) -> bool {
    field(object, name).and_then(Json::as_bool).unwrap_or_default()
}

impl Metadata {
    /// Reads the document of a `Chart.yaml` whose fields have the right types (see [`super::shape`]).
    pub(crate) fn read(document: &Json) -> Self {
        let empty = Map::new();
        let object = document.as_object().unwrap_or(&empty);
        let annotations = field(object, "annotations").and_then(Json::as_object);
        let annotations = annotations.map(|entries| {
            entries.iter().map(|(key, value)| (key.clone(), scalar(value).unwrap_or_default())).collect()
        });
        let maintainers = objects(object, "maintainers")
            .into_iter()
            .map(|one| [text(one, "name"), text(one, "email"), text(one, "url")])
            .collect();
        let version = text(object, "apiVersion");
        let text = |object, name| printable(&text(object, name));
        let texts = |object, name| texts(object, name).iter().map(|text| printable(text)).collect();
        Self {
            name: text(object, "name"),
            version: text(object, "version"),
            app_version: text(object, "appVersion"),
            description: text(object, "description"),
            kube_version: text(object, "kubeVersion"),
            declares_annotations: annotations.is_some(),
            annotations: annotations.unwrap_or_default(),
            dependencies: read_dependencies(object),
            chart_type: text(object, "type"),
            api_version: if version.is_empty() { "v1".to_owned() } else { version },
            home: text(object, "home"),
            icon: text(object, "icon"),
            condition: text(object, "condition"),
            tags: text(object, "tags"),
            sources: texts(object, "sources"),
            keywords: texts(object, "keywords"),
            maintainers,
            null_maintainer: has_null(object, "maintainers"),
            null_dependency: has_null(object, "dependencies"),
            deprecated: flag(object, "deprecated"),
            declares_dependencies: field(object, "dependencies").is_some_and(|value| !value.is_null()),
        }
    }

    /// Helm's validation.
    pub(crate) fn validate(&self) -> Result<(), String> {
        if self.name.is_empty() {
            return Err("chart.metadata.name is required".to_owned());
        }
        if self.name == "." || self.name == ".." {
            return Err(format!("chart.metadata.name {:?} is not allowed", self.name));
        }
        if self.name.contains('/') {
            return Err(format!("chart.metadata.name {:?} is invalid", self.name));
        }
        if self.version.is_empty() {
            return Err("chart.metadata.version is required".to_owned());
        }
        if crate::template::funcs::semver::Version::parse(&self.version).is_none() {
            return Err(format!("chart.metadata.version {:?} is invalid", self.version));
        }
        if !matches!(self.chart_type.as_str(), "" | "application" | "library") {
            return Err("chart.metadata.type must be application or library".to_owned());
        }
        for (null, list) in [(self.null_maintainer, "maintainers"), (self.null_dependency, "dependencies")] {
            if null {
                return Err(format!("{list} must not contain empty or null nodes"));
            }
        }
        let mut seen = Vec::new();
        for dependency in &self.dependencies {
            let key = if dependency.alias.is_empty() { &dependency.name } else { &dependency.alias };
            if !key.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-')) {
                return Err(format!(
                    "dependency {:?} has disallowed characters in the alias",
                    dependency.name
                ));
            }
            if seen.contains(&key) {
                return Err(format!("more than one dependency with name or alias {key:?}"));
            }
            seen.push(key);
        }
        Ok(())
    }

    /// `.Chart` as templates see it: Go's field names.
    pub(crate) fn to_value(&self, name: &str, dependencies: &[Dependency], is_root: bool) -> Value {
        let text = |text: &str| Value::text(text);
        let texts = |items: &[String]| Value::list(items.iter().map(|item| Value::text(item)).collect());
        let annotations: BTreeMap<Rc<str>, Value> = self
            .annotations
            .iter()
            .map(|(key, value)| (Rc::from(key.as_str()), Value::text(value)))
            .collect();
        let maintainers = self.maintainers.iter().map(|[name, email, url]| {
            let entries = [("Name", name), ("Email", email), ("URL", url)];
            Value::Dict(entries.into_iter().map(|(key, value)| (Rc::from(key), Value::text(value))).collect())
        });
        let kind = if self.declares_annotations { DictKind::Strings } else { DictKind::NoStrings };
        let entries = [
            ("Name", text(name)),
            ("Home", text(&self.home)),
            ("Sources", texts(&self.sources)),
            ("Version", text(&self.version)),
            ("Description", text(&self.description)),
            ("Keywords", texts(&self.keywords)),
            ("Maintainers", Value::list(maintainers.collect())),
            ("Icon", text(&self.icon)),
            ("APIVersion", text(&self.api_version)),
            ("Condition", text(&self.condition)),
            ("Tags", text(&self.tags)),
            ("AppVersion", text(&self.app_version)),
            ("Deprecated", Value::Bool(self.deprecated)),
            ("Annotations", Value::Dict(Dict::new(kind, annotations))),
            ("KubeVersion", text(&self.kube_version)),
            ("Dependencies", Value::list(dependencies.iter().map(Dependency::to_value).collect())),
            ("Type", text(&self.chart_type)),
            ("IsRoot", Value::Bool(is_root)),
        ];
        Value::Dict(entries.into_iter().map(|(key, value)| (Rc::from(key), value)).collect())
    }
}

fn read_dependencies(object: &Map<String, Json>) -> Vec<Dependency> {
    let import_values = |one| field(one, "import-values").and_then(Json::as_array).cloned();
    objects(object, "dependencies")
        .into_iter()
        .map(|one| Dependency {
            name: text(one, "name"),
            version: text(one, "version"),
            repository: text(one, "repository"),
            condition: text(one, "condition"),
            tags: texts(one, "tags"),
            alias: text(one, "alias"),
            import_values: import_values(one).unwrap_or_default(),
            enabled: flag(one, "enabled"),
        })
        .collect()
}

impl Dependency {
    fn to_value(&self) -> Value {
        let entries = [
            ("Name", Value::text(&self.name)),
            ("Version", Value::text(&self.version)),
            ("Repository", Value::text(&self.repository)),
            ("Condition", Value::text(&self.condition)),
            ("Tags", Value::list(self.tags.iter().map(|tag| Value::text(tag)).collect())),
            ("Enabled", Value::Bool(self.enabled)),
            ("ImportValues", Value::list(self.import_values.iter().map(from_json).collect())),
            ("Alias", Value::text(&self.alias)),
        ];
        Value::Dict(entries.into_iter().map(|(key, value)| (Rc::from(key), value)).collect())
    }
}
