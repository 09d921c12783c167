//! A parsed chart with its subcharts.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;

use super::archive::{check_path, unpack};
use super::ignore::Rules;
use super::metadata::Metadata;
use super::shape;
use crate::limits::Limits;
use crate::template::ast::{Parsed, Source};
use crate::template::funcs::Dialect;
use crate::template::funcs::json_errors::complaint;
use crate::template::lex::ParseError;
use crate::yaml::octets;
use crate::yaml::read::read_texts;

/// Why files are not a chart.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChartError {
    /// The archive is damaged or not an archive.
    #[error("failed to read the chart archive: {reason}")]
    Archive {
        /// What is wrong with it.
        reason: String,
    },
    /// A file's path leaves the chart, or is not that of a file.
    #[error("refused the chart file \"{path}\": {reason}")]
    IllegalPath {
        /// The path as given.
        path: String,
        /// Why it is refused.
        reason: &'static str,
    },
    /// Something is larger than [`Limits`] allows.
    #[error("{what} is larger than the maximum size {maximum}")]
    TooLarge {
        /// What is too large.
        what: String,
        /// The limit, in bytes.
        maximum: u64,
    },
    /// There is more of something than [`Limits`] allows.
    #[error("the chart has more {what} than the maximum of {maximum}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        maximum: usize,
    },
    /// A file of the chart does not mean what it must.
    #[error("cannot load {file}: {reason}")]
    File {
        /// Name of the chart, or the folder of a subchart.
        chart: String,
        /// Path inside the chart.
        file: String,
        /// What is wrong with it.
        reason: String,
    },
    /// `Chart.yaml` is missing.
    #[error("Chart.yaml file is missing")]
    MissingMetadata {
        /// Where it was expected.
        chart: String,
    },
    /// `Chart.yaml` is incomplete or contradicts itself.
    #[error("validation: {reason}")]
    Metadata {
        /// Helm's complaint.
        reason: String,
    },
    /// `apiVersion` names a format of charts that does not exist, or that Helm does not install.
    #[error("{reason}")]
    ApiVersion {
        /// Helm's complaint.
        reason: &'static str,
    },
    /// A subchart is no chart.
    #[error("error unpacking subchart {name} in {parent}: {problem}")]
    Subchart {
        /// Its folder or archive in `charts/`.
        name: String,
        /// Name of the chart that it lies in.
        parent: String,
        /// What is wrong with it.
        problem: Box<ChartError>,
    },
}

/// A file with its path inside the chart.
#[derive(Clone, Debug)]
pub(crate) struct File {
    pub path: String,
    pub data: Vec<u8>,
    manifests: Arc<OnceLock<Result<Manifests, String>>>,
}

/// The documents of a file that no values change.
#[derive(Debug)]
pub(crate) struct Manifests {
    pub text: Arc<str>,
    /// Each document, parsed and as it stands in the file; empty ones left out.
    pub documents: Vec<(Json, Box<str>)>,
}

impl File {
    fn new(path: String, data: Vec<u8>) -> Self {
        Self { path, data, manifests: Arc::default() }
    }

    /// The objects of this file; read once however often the chart is rendered.
    pub(crate) fn documents(&self, limits: &Limits) -> &Result<Manifests, String> {
        self.manifests.get_or_init(|| {
            let text: Arc<str> = Arc::from(String::from_utf8_lossy(&self.data).as_ref());
            let mut documents = Vec::new();
            for document in crate::manifest::split(&text) {
                if let Some(value) = crate::manifest::object(document, limits)? {
                    documents.push((value, Box::from(document)));
                }
            }
            Ok(Manifests { text, documents })
        })
    }
}

type Cached = Arc<OnceLock<Result<Arc<Parsed>, ParseError>>>;

/// A template file; parsed once however often the chart is rendered.
#[derive(Clone, Debug)]
pub(crate) struct TemplateFile {
    pub path: String,
    /// What is wrong with its bytes, if they are not UTF-8: no matter as long as they do not come out as YAML.
    pub flaw: Option<&'static str>,
    text: Arc<str>,
    cached: Cached,
}

impl TemplateFile {
    fn new(path: String, data: &[u8]) -> Self {
        let text = Arc::from(String::from_utf8_lossy(data).as_ref());
        Self { path, flaw: octets::flaw(data), text, cached: Cached::default() }
    }

    /// The tree of this file under its full name.
    pub(crate) fn parsed(&self, name: &str, depth: usize) -> Result<Arc<Parsed>, (Arc<Source>, ParseError)> {
        let source = || Arc::new(Source { name: name.to_owned(), text: self.text.to_string() });
        let parse = || {
            let name: Arc<str> = Arc::from(name);
            crate::template::parse::parse(&source(), &name, depth, Dialect::Helm).map(Arc::new)
        };
        let result = match self.cached.get_or_init(parse) {
            // An aliased subchart shares the file under another name.
            Ok(parsed) if parsed.root.name.as_ref() != name => parse(),
            other => other.clone(),
        };
        result.map_err(|error| (source(), error))
    }
}

/// A chart: metadata, values, templates, other files and subcharts.
#[derive(Clone, Debug)]
pub struct Chart {
    pub(crate) metadata: Metadata,
    pub(crate) values: Json,
    /// The schema, or why it is none: that counts only where it is used.
    pub(crate) schema: Option<Result<Json, String>>,
    pub(crate) templates: Vec<TemplateFile>,
    pub(crate) files: Vec<File>,
    pub(crate) dependencies: Vec<Arc<Chart>>,
}

impl Chart {
    /// Reads a packaged chart (`.tgz`).
    ///
    /// # Errors
    /// When the archive is damaged, unsafe or too large, or is not a chart.
    pub fn from_archive(tgz: &[u8], limits: &Limits) -> Result<Self, ChartError> {
        Self::load(unpack(tgz, limits)?, limits, "", 0)
    }

    /// Reads a chart folder given as (path inside the folder, content). `.helmignore` is obeyed.
    ///
    /// # Errors
    /// When a path leaves the folder, a limit is exceeded, or the files are not a chart.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, ChartError> {
        let limits = Limits::default();
        let mut checked = Vec::new();
        let mut total = 0_u64;
        for (path, data) in files {
            let path = check_path(&path.replace('\\', "/"))
                .map_err(|reason| ChartError::IllegalPath { path: path.clone(), reason })?;
            total = total.saturating_add(data.len() as u64);
            if data.len() as u64 > limits.chart_file_bytes {
                return Err(ChartError::TooLarge {
                    what: format!("chart file {path:?}"),
                    maximum: limits.chart_file_bytes,
                });
            }
            if total > limits.chart_bytes {
                return Err(ChartError::TooLarge { what: "chart".to_owned(), maximum: limits.chart_bytes });
            }
            if checked.len() >= limits.chart_files {
                return Err(ChartError::TooMany { what: "files", maximum: limits.chart_files });
            }
            checked.push((path, data));
        }
        let ignore = checked
            .iter()
            .find(|(path, _)| path == ".helmignore")
            .map(|(_, data)| String::from_utf8_lossy(data).into_owned());
        let rules = Rules::parse(&ignore.unwrap_or_default()).map_err(|reason| ChartError::File {
            chart: String::new(),
            file: ".helmignore".to_owned(),
            reason,
        })?;
        checked.retain(|(path, _)| !rules.ignores(path));
        Self::load(checked, &limits, "", 0)
    }

    /// What the chart says about itself.
    #[must_use]
    pub fn metadata(&self) -> &Metadata {
        &self.metadata
    }

    /// Its default values, those of its subcharts not included.
    #[must_use]
    pub fn values(&self) -> &Json {
        &self.values
    }

    /// Its `values.schema.json`, if it has one.
    #[must_use]
    pub fn values_schema(&self) -> Option<&Json> {
        self.schema.as_ref()?.as_ref().ok()
    }

    fn load(
        mut files: Vec<(String, Vec<u8>)>,
        limits: &Limits,
        folder: &str,
        depth: usize,
    ) -> Result<Self, ChartError> {
        if depth > limits.chart_depth {
            return Err(ChartError::TooMany { what: "levels of subcharts", maximum: limits.chart_depth });
        }
        files.iter_mut().for_each(|(_, data)| without_mark(data));
        files.sort_by(|(a, _), (b, _)| a.cmp(b));
        let problem = |file: &str, reason: String| ChartError::File {
            chart: folder.to_owned(),
            file: file.to_owned(),
            reason,
        };
        let yaml = |file: &str, data: &[u8]| {
            let document = octets::text(data)
                .and_then(|text| read_texts(text, limits).map_err(|error| error.to_string()))
                .map_err(|error| problem(file, format!("error converting YAML to JSON: {error}")))?;
            let is_root = depth == 0 && file == "Chart.yaml";
            shape::check(&document, is_root).map_err(|reason| problem(file, reason))?;
            Ok(document)
        };
        let find = |name: &str| files.iter().find(|(path, _)| path == name).map(|(_, data)| data.clone());
        let Some(document) = find("Chart.yaml") else {
            return Err(ChartError::MissingMetadata { chart: folder.to_owned() });
        };
        let mut metadata = Metadata::read(&yaml("Chart.yaml", &document)?);
        if let Some(data) = find("requirements.yaml") {
            metadata.read_requirements(&yaml("requirements.yaml", &data)?);
        }
        if depth == 0 && !matches!(metadata.api_version.as_str(), "v1" | "v2" | "v3") {
            return Err(ChartError::ApiVersion { reason: "unsupported chart version" });
        }
        metadata.validate().map_err(|reason| ChartError::Metadata { reason })?;
        if depth == 0 && metadata.api_version == "v3" {
            return Err(ChartError::ApiVersion { reason: "invalid chart apiVersion" });
        }
        let old = metadata.api_version == "v1";
        let mut chart = Self {
            metadata,
            values: Json::Object(serde_json::Map::new()),
            schema: None,
            templates: Vec::new(),
            files: Vec::new(),
            dependencies: Vec::new(),
        };
        let mut subcharts: BTreeMap<String, Vec<(String, Vec<u8>)>> = BTreeMap::new();
        for (path, data) in files {
            match path.as_str() {
                "Chart.yaml" | "Chart.lock" => {}
                "requirements.yaml" | "requirements.lock" if !old => {}
                "values.yaml" => {
                    chart.values =
                        default_values(&data, limits).map_err(|reason| problem("values.yaml", reason))?;
                }
                "values.schema.json" => {
                    let parsed = serde_json::from_slice(&data);
                    chart.schema = Some(parsed.map_err(|error| broken_json(&data, &error.to_string())));
                }
                _ if path.starts_with("templates/") => chart.templates.push(TemplateFile::new(path, &data)),
                _ if path.starts_with("charts/") && !path.ends_with(".prov") => {
                    let inner = path["charts/".len()..].to_owned();
                    let name = inner.split('/').next().unwrap_or(&inner).to_owned();
                    subcharts.entry(name).or_default().push((inner, data));
                }
                _ => chart.files.push(File::new(path, data)),
            }
        }
        for (name, files) in subcharts {
            let found = Self::subchart(&name, files, limits, depth + 1).map_err(|problem| {
                let (name, parent) = (name.clone(), chart.metadata.name.clone());
                ChartError::Subchart { name, parent, problem: Box::new(problem) }
            })?;
            chart.dependencies.extend(found.map(Arc::new));
        }
        Ok(chart)
    }

    fn subchart(
        name: &str,
        files: Vec<(String, Vec<u8>)>,
        limits: &Limits,
        depth: usize,
    ) -> Result<Option<Self>, ChartError> {
        if name.starts_with(['_', '.']) {
            return Ok(None);
        }
        if name.ends_with(".tgz") {
            let Some((_, data)) = files.into_iter().next() else {
                return Ok(None);
            };
            return Self::load(unpack(&data, limits)?, limits, name, depth).map(Some);
        }
        let inner: Vec<_> = files
            .into_iter()
            .filter_map(|(path, data)| path.split_once('/').map(|(_, inner)| (inner.to_owned(), data)))
            .collect();
        if inner.is_empty() {
            // A loose file in charts/ that is not a chart.
            return Err(ChartError::MissingMetadata { chart: name.to_owned() });
        }
        Self::load(inner, limits, name, depth).map(Some)
    }
}

/// What Go's decoder says of a schema that is no JSON.
fn broken_json(data: &[u8], otherwise: &str) -> String {
    match complaint(data) {
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
    if data.starts_with(b"\xEF\xBB\xBF") {
        data.drain(..3);
    }
}
