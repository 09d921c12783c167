//! From the files of a chart to the chart, in Helm's order of events: `Chart.yaml`, the other files one by one,
//! validation, subcharts.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Map, Value as Json};

use super::archive::unpack;
use super::metadata::Metadata;
use super::model::{Chart, ChartError, File, TemplateFile};
use super::shape;
use crate::limits::Limits;
use crate::template::funcs::json_errors::complaint;
use crate::yaml::octets;
use crate::yaml::read::read_texts;

/// Files with their paths.
type Files = Vec<(String, Vec<u8>)>;

impl Chart {
    /// Reads the files of a chart (`folder` in the chart above it, empty for the root), in their order.
    pub(super) fn load(
        mut files: Files,
        limits: &Limits,
        folder: &str,
        depth: usize,
    ) -> Result<Self, ChartError> {
        if depth > limits.chart_depth {
            return Err(ChartError::TooMany { what: "levels of subcharts", maximum: limits.chart_depth });
        }
        files.iter_mut().for_each(|(_, data)| without_mark(data));
        let mut about = About { folder, limits, is_root: depth == 0, fields: None };
        for (path, data) in files.iter().filter(|(path, _)| path == "Chart.yaml") {
            about.add(path, data)?;
        }
        let fields = about.fields.as_ref();
        let fields = fields.ok_or_else(|| ChartError::MissingMetadata { chart: folder.to_owned() })?;
        let version = Metadata::read(fields).api_version;
        if about.is_root && !matches!(version.as_str(), "v1" | "v2" | "v3") {
            return Err(ChartError::ApiVersion { reason: "unsupported chart version" });
        }
        let mut chart = Self {
            metadata: Metadata::default(),
            values: Json::Object(Map::new()),
            schema: None,
            templates: Vec::new(),
            files: Vec::new(),
            dependencies: Vec::new(),
        };
        let subcharts = chart.sort(files, &mut about)?;
        chart.metadata = Metadata::read(&about.fields.unwrap_or_default());
        chart.metadata.validate().map_err(|reason| ChartError::Metadata { reason })?;
        if about.is_root && chart.metadata.api_version == "v3" {
            return Err(ChartError::ApiVersion { reason: "invalid chart apiVersion" });
        }
        for (name, files) in subcharts {
            if name.starts_with(['_', '.']) {
                continue;
            }
            let found = chart.subchart(&name, files, limits, depth + 1)?;
            chart.dependencies.push(Arc::new(found));
        }
        Ok(chart)
    }

    /// Puts every file where it belongs; answers those of the subcharts, by what stands in `charts/`.
    fn sort(&mut self, files: Files, about: &mut About<'_>) -> Result<BTreeMap<String, Files>, ChartError> {
        let mut subcharts: BTreeMap<String, Files> = BTreeMap::new();
        for (path, data) in files {
            match path.as_str() {
                "Chart.yaml" => {}
                "Chart.lock" => about.check_lock(&path, &data)?,
                "values.yaml" => {
                    self.values = default_values(&data, about.limits)
                        .map_err(|reason| about.problem("values.yaml", reason))?;
                }
                "values.schema.json" => {
                    let parsed = serde_json::from_slice(&data);
                    self.schema = Some(parsed.map_err(|error| broken_json(&data, &error.to_string())));
                }
                "requirements.yaml" | "requirements.lock" => {
                    if path == "requirements.yaml" {
                        about.add(&path, &data)?;
                    } else {
                        about.check_lock(&path, &data)?;
                    }
                    if about.is_old() {
                        self.files.push(File::new(path, data));
                    }
                }
                _ if path.starts_with("templates/") => self.templates.push(TemplateFile::new(path, &data)),
                _ if path.starts_with("charts/") && !path.ends_with(".prov") => {
                    let inner = path["charts/".len()..].to_owned();
                    let name = inner.split('/').next().unwrap_or(&inner).to_owned();
                    subcharts.entry(name).or_default().push((inner, data));
                }
                _ => self.files.push(File::new(path, data)),
            }
        }
        Ok(subcharts)
    }

    fn subchart(&self, name: &str, files: Files, limits: &Limits, depth: usize) -> Result<Self, ChartError> {
        let parent = self.metadata.name.clone();
        let is_archive = name.ends_with(".tgz");
        if let Some((found, _)) = files.first().filter(|(path, _)| is_archive && path != name) {
            return Err(ChartError::SubchartArchive {
                parent,
                expected: name.to_owned(),
                found: found.clone(),
            });
        }
        // A loose file in charts/ is a chart without files.
        let inner = |(path, data): (String, Vec<u8>)| Some((path.split_once('/')?.1.to_owned(), data));
        let found = match files.first() {
            Some((_, archive)) if is_archive => unpack(archive, limits),
            _ => Ok(files.into_iter().filter_map(inner).collect()),
        };
        found.and_then(|files| Self::load(files, limits, name, depth)).map_err(|problem| {
            ChartError::Subchart { name: name.to_owned(), parent, problem: Box::new(problem) }
        })
    }
}

/// What the files of a chart say about it.
struct About<'a> {
    folder: &'a str,
    limits: &'a Limits,
    is_root: bool,
    /// The fields of `Chart.yaml`, those of `requirements.yaml` laid over them.
    fields: Option<Json>,
}

impl About<'_> {
    fn problem(&self, file: &str, reason: String) -> ChartError {
        ChartError::File { chart: self.folder.to_owned(), file: file.to_owned(), reason }
    }

    fn document(&self, file: &str, data: &[u8]) -> Result<Json, ChartError> {
        octets::text(data)
            .and_then(|text| read_texts(text, self.limits).map_err(|error| error.to_string()))
            .map_err(|error| self.problem(file, format!("error converting YAML to JSON: {error}")))
    }

    /// Lays the fields of a file over what is known, as Go's decoder fills a struct a second time.
    fn add(&mut self, file: &str, data: &[u8]) -> Result<(), ChartError> {
        let document = self.document(file, data)?;
        let is_first = self.is_root && file == "Chart.yaml";
        shape::check(&document, is_first).map_err(|reason| self.problem(file, reason))?;
        let fields = self.fields.get_or_insert_with(|| Json::Object(Map::new()));
        if let (Json::Object(fields), Json::Object(document)) = (fields, document) {
            overlay(fields, document);
        }
        Ok(())
    }

    /// A lock binds nobody who renders, but must be one.
    fn check_lock(&self, file: &str, data: &[u8]) -> Result<(), ChartError> {
        let document = self.document(file, data)?;
        shape::check_lock(&document).map_err(|reason| self.problem(file, reason))
    }

    fn is_old(&self) -> bool {
        self.fields.as_ref().is_some_and(|fields| Metadata::read(fields).api_version == "v1")
    }
}

fn overlay(fields: &mut Map<String, Json>, document: Map<String, Json>) {
    for (key, value) in document {
        let known = fields.keys().find(|known| known.eq_ignore_ascii_case(&key)).cloned();
        let place = known.unwrap_or(key);
        match (fields.get_mut(&place), value) {
            (Some(Json::Object(known)), Json::Object(value)) => known.extend(value),
            // A null leaves texts and truths as they are.
            (Some(Json::String(_) | Json::Bool(_) | Json::Number(_)), Json::Null) => {}
            (_, value) => {
                fields.insert(place, value);
            }
        }
    }
}

/// What Go's decoder says of a schema that is no JSON.
fn broken_json(data: &[u8], otherwise: &str) -> String {
    match complaint(data) {
        Some(_) if data.iter().all(u8::is_ascii_whitespace) => "EOF".to_owned(),
        Some(ended) if ended == "unexpected end of JSON input" => "unexpected EOF".to_owned(),
        Some(problem) => problem,
        None => otherwise.to_owned(),
    }
}

/// The values that a chart comes with.
fn default_values(data: &[u8], limits: &Limits) -> Result<Json, String> {
    let text = octets::text(data)
        .map_err(|error| format!("cannot unmarshal yaml document: error converting YAML to JSON: {error}"))?;
    crate::manifest::merge_value_documents(text, limits)
}

/// Takes the byte order mark off, as Helm does with every file of a chart.
fn without_mark(data: &mut Vec<u8>) {
    if data.starts_with(MARK) {
        data.drain(..MARK.len());
    }
}

/// The byte order mark.
pub(super) const MARK: &[u8] = b"\xEF\xBB\xBF";
