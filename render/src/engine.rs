//! Renders a release: dependencies, values, schema, templates, objects; in Helm's order of events.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use serde_json::Value as Json;

use crate::capabilities::Capabilities;
use crate::chart::dependencies::{Instance, is_compatible};
use crate::chart::schema::violations;
use crate::chart::values::coalesce_values;
use crate::chart::{Chart, TemplateFile};
use crate::error::{Position, RenderError};
use crate::limits::Limits;
use crate::manifest::{Hook, Object, Sorted, object, sort, sort_hooks, sort_objects, split};
use crate::template::ast::Parsed;
use crate::template::call::without_no_value;
use crate::template::env::Env;
use crate::template::exec::{Layer, Machine};
use crate::template::funcs::files::content;
use crate::template::json::{dict_with, to_json};
use crate::template::value::{Dict, DictKind, Value};
use crate::yaml::octets;
use crate::{Entropy, Lookup};

/// Longest name of a release.
const RELEASE_NAME_BYTES: usize = 53;

/// The release that a chart is rendered for (`.Release`).
#[derive(Clone, Copy, Debug)]
pub struct Release<'a> {
    /// Its name.
    pub name: &'a str,
    /// The namespace it goes to.
    pub namespace: &'a str,
    /// Counted from 1.
    pub revision: u32,
    /// Whether it is new.
    pub is_install: bool,
    /// Whether it replaces an earlier revision.
    pub is_upgrade: bool,
}

/// Everything a render depends on, but entropy and lookups.
#[derive(Clone, Copy, Debug)]
pub struct Input<'a> {
    /// The chart.
    pub chart: &'a Chart,
    /// The release.
    pub release: Release<'a>,
    /// User values, laid over the chart's.
    pub values: &'a Json,
    /// Whole numbers among the values are integers, as `--set` makes them ([`crate::CommandLineValues`]); otherwise all
    /// numbers are floats, as those of a values file.
    pub integers: bool,
    /// What the cluster can do.
    pub capabilities: &'a Capabilities,
    /// Bounds.
    pub limits: &'a Limits,
    /// Leave out the objects of `crds/`.
    pub skip_crds: bool,
    /// Do not hold the values against `values.schema.json`.
    pub skip_schema_validation: bool,
}

/// What a release consists of.
#[derive(Clone, Debug, PartialEq)]
pub struct Rendered {
    /// Objects in Helm's install order.
    pub objects: Vec<Object>,
    /// Hooks, sorted by kind; within an event they run by weight.
    pub hooks: Vec<Hook>,
    /// The objects of `crds/`, to be applied first, or why they cannot be: to print the files that is no matter.
    pub crds: Result<Vec<Object>, RenderError>,
    /// The files of `crds/` with their paths from the root chart, as they are.
    pub crd_files: Vec<(String, Arc<str>)>,
    /// Documents without content (comments only), which Helm prints and nobody applies.
    pub empty: Vec<Object>,
    /// `NOTES.txt`, if the chart has one.
    pub notes: Option<String>,
    /// Whether a template asked for randomness: the result is not reproducible.
    pub used_entropy: bool,
    /// Whether a template asked for the time.
    pub used_clock: bool,
    /// Whether a template looked into the cluster.
    pub used_lookup: bool,
}

/// A template file with the context it is executed in.
struct Renderable<'c> {
    base_path: String,
    context: Dict,
    file: &'c TemplateFile,
}

/// Renders a chart as `helm template` does.
///
/// # Errors
/// Whatever keeps Helm from rendering it, a function that only Helm has, or a bound of `limits`.
pub fn render(
    input: &Input<'_>,
    entropy: &mut dyn Entropy,
    lookup: &dyn Lookup,
) -> Result<Rendered, RenderError> {
    check_release_name(input.release.name)?;
    let chart = input.chart;
    let name = || chart.metadata.name.clone();
    let user = match input.values {
        Json::Object(entries) => dict_with(entries, DictKind::Any, input.integers),
        Json::Null => Dict::empty(),
        _ => {
            return Err(RenderError::Values { chart: name(), reason: "the values must be a map".to_owned() });
        }
    };
    if chart.metadata.chart_type == "library" {
        return Err(RenderError::NotInstallable { chart: name(), chart_type: "library".to_owned() });
    }
    let mut root = Instance::new(chart);
    let missing = root.missing();
    if !missing.is_empty() {
        return Err(RenderError::MissingDependencies { chart: name(), missing });
    }
    let combine = |reason| RenderError::Values { chart: name(), reason };
    root.process(&user).map_err(combine)?;
    let values = coalesce_values(&root, &user, false).map_err(combine)?;
    if !input.skip_schema_validation {
        let violations = violations(&root, &to_json(&Value::Dict(values.clone())));
        if !violations.is_empty() {
            return Err(RenderError::Schema { chart: name(), violations });
        }
    }
    let required = &chart.metadata.kube_version;
    if !required.is_empty() && !is_compatible(required, &input.capabilities.normalized_version()) {
        let actual = input.capabilities.full_version();
        return Err(RenderError::KubeVersion { chart: name(), required: required.clone(), actual });
    }
    let crds = if input.skip_crds { Crds::default() } else { crds(&root, &root.name, input.limits) };
    let env = Env::new(entropy, lookup, input.limits);
    let (files, env) = render_templates(&root, &values, input, env)?;
    let mut rendered = collect(files, &format!("{}/templates/NOTES.txt", root.name), input.limits)?;
    (rendered.crd_files, rendered.crds) = (crds.files, crds.objects);
    rendered.used_entropy = env.used_entropy;
    rendered.used_clock = env.used_clock;
    rendered.used_lookup = env.used_lookup;
    Ok(rendered)
}

fn check_release_name(name: &str) -> Result<(), RenderError> {
    let part = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    if name.len() <= RELEASE_NAME_BYTES && name.split('.').all(part) {
        return Ok(());
    }
    Err(RenderError::ReleaseName { name: name.to_owned() })
}

/// What lies in `crds/`.
struct Crds {
    files: Vec<(String, Arc<str>)>,
    objects: Result<Vec<Object>, RenderError>,
}

impl Default for Crds {
    fn default() -> Self {
        Self { files: Vec::new(), objects: Ok(Vec::new()) }
    }
}

/// The files of `crds/` and their objects, those of subcharts after the chart's own.
fn crds(chart: &Instance<'_>, path: &str, limits: &Limits) -> Crds {
    let mut out = Crds::default();
    let manifest = |path: &str| {
        let extension = path.rsplit('.').next().unwrap_or_default();
        ["yaml", "yml", "json"].iter().any(|known| extension.eq_ignore_ascii_case(known))
    };
    for file in chart.chart.files.iter().filter(|file| file.path.starts_with("crds/") && manifest(&file.path))
    {
        let source = format!("{path}/{}", file.path);
        out.files.push((source.clone(), file.text()));
        let Ok(objects) = &mut out.objects else { continue };
        match file.documents(limits) {
            Ok(documents) => objects.extend(documents.iter().map(|(value, text)| Object {
                value: value.clone(),
                source: source.clone(),
                text: text.clone(),
            })),
            Err(reason) => {
                out.objects = Err(RenderError::Manifest { file: source, reason: reason.clone() });
            }
        }
    }
    for child in &chart.children {
        let inner = crds(child, &format!("{path}/charts/{}", child.name), limits);
        out.files.extend(inner.files);
        match (&mut out.objects, inner.objects) {
            (Ok(objects), Ok(inner)) => objects.extend(inner),
            (Ok(_), problem) => out.objects = problem,
            (Err(_), _) => {}
        }
    }
    out
}

/// A rendered file.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct File {
    /// Its full path.
    path: String,
    /// What came out; U+FFFD stands for bytes that are no UTF-8.
    text: String,
    /// What is wrong with such bytes, if there are any.
    flaw: Option<&'static str>,
}

/// Renders every file, in the order of paths.
fn render_templates<'h>(
    root: &Instance<'_>,
    values: &Dict,
    input: &Input<'_>,
    env: Env<'h>,
) -> Result<(Vec<File>, Env<'h>), RenderError> {
    let mut scope = Scope { input, renderables: BTreeMap::new() };
    scope.add(root, &root.name, Value::Dict(values.seen_as(DictKind::Values)), true)?;
    let mut order: Vec<(&String, &Renderable<'_>)> = scope.renderables.iter().collect();
    let depth = |name: &str| name.matches('/').count();
    order.sort_by_key(|(name, _)| std::cmp::Reverse((depth(name), *name)));
    let mut layer = Layer::default();
    // What is wrong with the bytes of a template.
    let mut template_flaw = None;
    for (name, renderable) in &order {
        template_flaw = template_flaw.or(renderable.file.flaw);
        let parsed = parsed(name, renderable.file, input.limits)?;
        for template in parsed.defines.iter().chain([&parsed.root]) {
            layer.add(Arc::clone(template));
        }
    }
    let mut machine = Machine::new(env, Rc::new(layer));
    let mut files = Vec::new();
    for (name, renderable) in order {
        if name.rsplit('/').next().is_some_and(|name| name.starts_with('_')) {
            continue;
        }
        let template: Dict = [
            (Rc::from("Name"), Value::text(name)),
            (Rc::from("BasePath"), Value::text(&renderable.base_path)),
        ]
        .into_iter()
        .collect();
        renderable.context.insert("Template", Value::Dict(template.seen_as(DictKind::Values)));
        let Some(template) = machine.find(name) else { continue };
        let output =
            machine.execute(&template, &Value::Dict(renderable.context.seen_as(DictKind::Values)))?;
        let output = without_no_value(&output);
        let text = output.lossy().into_owned();
        let flaw = octets::flaw(output.bytes())
            .or_else(|| template_flaw.filter(|_| text.contains(char::REPLACEMENT_CHARACTER)));
        files.push(File { path: name.clone(), text, flaw });
    }
    files.sort();
    Ok((files, machine.env))
}

/// The tree of a template file.
fn parsed(name: &str, file: &TemplateFile, limits: &Limits) -> Result<Arc<Parsed>, RenderError> {
    file.parsed(name, limits.nesting_depth).map_err(|(source, error)| RenderError::Parse {
        position: Position::new(name, source.line_column(error.offset)),
        // Helm shows what stands behind the last colon.
        message: error.told(&source).rsplit(": ").next().unwrap_or_default().to_owned(),
        function: error.function,
    })
}

/// Gathers the templates of a chart and its subcharts with their contexts.
struct Scope<'i, 'c> {
    input: &'i Input<'i>,
    /// By their full names: of two with one name the last counts.
    renderables: BTreeMap<String, Renderable<'c>>,
}

impl<'c> Scope<'_, 'c> {
    fn add(
        &mut self,
        chart: &Instance<'c>,
        path: &str,
        values: Value,
        is_root: bool,
    ) -> Result<Dict, RenderError> {
        let files: BTreeMap<Rc<str>, Value> = chart
            .chart
            .files
            .iter()
            .map(|file| (Rc::from(file.path.as_str()), content(&file.data)))
            .collect();
        let subcharts = Dict::empty();
        let context: Dict = [
            (Rc::from("Chart"), chart.chart.metadata.to_value(&chart.name, &chart.dependencies, is_root)),
            (Rc::from("Files"), Value::Dict(Dict::new(DictKind::Files, files))),
            (Rc::from("Release"), release(&self.input.release)),
            (Rc::from("Capabilities"), self.input.capabilities.to_value()),
            (Rc::from("Values"), values.clone()),
            (Rc::from("Subcharts"), Value::Dict(subcharts.clone())),
        ]
        .into_iter()
        .collect();
        for child in &chart.children {
            let inner = match &values {
                Value::Dict(values) => values.get(&child.name),
                _ => None,
            };
            let inner = match inner {
                Some(Value::Dict(inner)) => inner,
                _ => Dict::empty(),
            };
            let path = format!("{path}/charts/{}", child.name);
            let inner = self.add(child, &path, Value::Dict(inner.seen_as(DictKind::Values)), false)?;
            subcharts.insert(child.name.as_str(), Value::Dict(inner));
        }
        let library = chart.chart.metadata.chart_type.eq_ignore_ascii_case("library");
        for file in &chart.chart.templates {
            let partial = file.path.rsplit('/').next().is_some_and(|name| name.starts_with('_'));
            if library && !partial {
                continue;
            }
            let base_path = format!("{path}/templates");
            let renderable = Renderable { base_path, context: context.clone(), file };
            self.renderables.insert(format!("{path}/{}", file.path), renderable);
        }
        Ok(context)
    }
}

fn release(release: &Release<'_>) -> Value {
    let entries = [
        ("Name", Value::text(release.name)),
        ("Namespace", Value::text(release.namespace)),
        ("IsUpgrade", Value::Bool(release.is_upgrade)),
        ("IsInstall", Value::Bool(release.is_install)),
        ("Revision", Value::Int(i64::from(release.revision))),
        ("Service", Value::text("Helm")),
    ];
    Value::Dict(entries.into_iter().map(|(key, value)| (Rc::from(key), value)).collect())
}

/// Turns rendered files into objects, hooks and notes.
fn collect(files: Vec<File>, notes_path: &str, limits: &Limits) -> Result<Rendered, RenderError> {
    let mut rendered = Rendered {
        objects: Vec::new(),
        hooks: Vec::new(),
        crds: Ok(Vec::new()),
        crd_files: Vec::new(),
        empty: Vec::new(),
        notes: None,
        used_entropy: false,
        used_clock: false,
        used_lookup: false,
    };
    for File { path, text, flaw } in files {
        if path.ends_with("NOTES.txt") {
            if path == notes_path {
                rendered.notes = Some(text);
            }
            continue;
        }
        for document in split(&text) {
            let broken = flaw.filter(|_| document.contains(char::REPLACEMENT_CHARACTER));
            let broken = broken.map(|flaw| Err(format!("error converting YAML to JSON: yaml: {flaw}")));
            let value = broken
                .unwrap_or_else(|| object(document, limits))
                .map_err(|reason| RenderError::Manifest { file: path.clone(), reason })?;
            let Some(value) = value else {
                let (source, text) = (path.clone(), Box::from(document));
                rendered.empty.push(Object { value: Json::Null, source, text });
                continue;
            };
            match sort(value, &path, document) {
                Sorted::Object(object) => rendered.objects.push(object),
                Sorted::Hook(hook) => rendered.hooks.push(hook),
                Sorted::Unknown => {}
            }
        }
    }
    sort_objects(&mut rendered.objects);
    sort_hooks(&mut rendered.hooks);
    Ok(rendered)
}
