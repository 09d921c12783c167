//! A parsed chart with its subcharts.

use std::sync::{Arc, OnceLock};

use serde_json::Value as Json;

use super::archive::{check_path, unpack};
use super::ignore::IgnoreRules;
use super::metadata::Metadata;
use crate::limits::Limits;
use crate::template::ast::{Parsed, Source};
use crate::template::funcs::Dialect;
use crate::template::lex::ParseError;
use crate::yaml::octets;

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
    /// A folder in `charts/` has the name of an archive.
    #[error("error unpacking subchart tar in {parent}: expected {expected}, got {found}")]
    SubchartArchive {
        /// Name of the chart that it lies in.
        parent: String,
        /// The name.
        expected: String,
        /// The first file there.
        found: String,
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
    text: Arc<OnceLock<Arc<str>>>,
    documents: Arc<OnceLock<Result<Vec<Document>, String>>>,
}

/// A document, parsed and as it stands in the file.
type Document = (Json, Box<str>);

impl File {
    pub(super) fn new(path: String, data: Vec<u8>) -> Self {
        Self { path, data, text: Arc::default(), documents: Arc::default() }
    }

    /// Its content; U+FFFD stands for bytes that are no UTF-8.
    pub(crate) fn text(&self) -> Arc<str> {
        Arc::clone(self.text.get_or_init(|| Arc::from(String::from_utf8_lossy(&self.data).as_ref())))
    }

    /// The objects of this file, empty documents left out; read once however often the chart is rendered.
    pub(crate) fn documents(&self, limits: &Limits) -> &Result<Vec<Document>, String> {
        self.documents.get_or_init(|| {
            let mut documents = Vec::new();
            for document in crate::manifest::split(&self.text()) {
                if let Some(value) = crate::manifest::object(document, limits)? {
                    documents.push((value, Box::from(document)));
                }
            }
            Ok(documents)
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
    pub(super) fn new(path: String, data: &[u8]) -> Self {
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
    /// When a path leaves the folder, a limit is exceeded, or the files are not a chart. What is ignored counts for no
    /// limit.
    pub fn from_files(files: impl IntoIterator<Item = (String, Vec<u8>)>) -> Result<Self, ChartError> {
        let limits = Limits::default();
        let mut files: Vec<(String, Vec<u8>)> = files.into_iter().collect();
        for (path, _) in &mut files {
            *path =
                check_path(path).map_err(|reason| ChartError::IllegalPath { path: path.clone(), reason })?;
        }
        let ignore = files.iter().find(|(path, _)| path == IgnoreRules::FILE);
        let rules = IgnoreRules::parse(ignore.map_or(&[], |(_, data)| data.as_slice()))?;
        files.retain(|(path, _)| !rules.ignores(path));
        let mut total = 0_u64;
        for (path, data) in &files {
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
        }
        if files.len() > limits.chart_files {
            return Err(ChartError::TooMany { what: "files", maximum: limits.chart_files });
        }
        // Folder by folder, as they are walked on a disk.
        files.sort_by(|(a, _), (b, _)| a.split('/').cmp(b.split('/')));
        Self::load(files, &limits, "", 0)
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
}
