//! Why a render failed: where (chart, file, line, column, function) and in Helm's words.

use std::fmt;

/// A place in a template.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Position {
    /// Name of the chart, from the root down (`shop/charts/db`), or of the template text.
    pub chart: String,
    /// Path of the file from the root chart (`shop/charts/db/templates/service.yaml`).
    pub file: String,
    /// Line, counted from 1.
    pub line: usize,
    /// Column in bytes, counted from 0 as text/template does.
    pub column: usize,
}

impl Position {
    pub(crate) fn new(file: &str, (line, column): (usize, usize)) -> Self {
        let chart = file.find("/templates/").map_or(file, |at| &file[..at]);
        Self { chart: chart.to_owned(), file: file.to_owned(), line, column }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}:{}", self.file, self.line, self.column)
    }
}

/// Why a render failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RenderError {
    /// A template's text is not a template.
    #[error("parse error at ({}:{}): {message}", position.file, position.line)]
    Parse {
        /// Where.
        position: Position,
        /// What is wrong.
        message: String,
        /// The function that does not exist, if that is what is wrong.
        function: Option<String>,
    },
    /// A template failed while it executed.
    #[error("{trace}")]
    Execute {
        /// The innermost place in a file.
        position: Position,
        /// The function that failed.
        function: Option<String>,
        /// The chain of templates from the outside in, as Helm prints it.
        trace: String,
    },
    /// The chart itself refused (`fail`, `required`).
    #[error("execution error at ({at}): {message}")]
    Refused {
        /// The place Helm names: in the file that was being rendered.
        at: Box<Position>,
        /// The innermost place in a file.
        position: Position,
        /// `fail` or `required`.
        function: String,
        /// The chart's words.
        message: String,
    },
    /// The chart needs a function that Helm has and this engine lacks.
    #[error("{position}: the function \"{function}\" is not supported by this engine")]
    Unsupported {
        /// Where it is called.
        position: Position,
        /// Its name.
        function: String,
    },
    /// A bound of [`crate::Limits`] was reached.
    #[error("{position}: rendering needs more than the limit \"{limit}\" of {maximum} allows")]
    Limit {
        /// Where.
        position: Position,
        /// Name of the limit.
        limit: &'static str,
        /// Its value.
        maximum: u64,
    },
    /// The values do not fit the schemas.
    #[error("values don't meet the specifications of the schema(s) in the following chart(s):\n{violations}")]
    Schema {
        /// The chart rendered.
        chart: String,
        /// Violations per chart.
        violations: String,
    },
    /// The values cannot be combined with those of the charts.
    #[error("failed to combine the values of the chart \"{chart}\": {reason}")]
    Values {
        /// The chart rendered.
        chart: String,
        /// Why.
        reason: String,
    },
    /// Declared dependencies are missing.
    #[error("found in Chart.yaml, but missing in charts/ directory: {}", missing.join(", "))]
    MissingDependencies {
        /// The chart rendered.
        chart: String,
        /// Names of what is missing.
        missing: Vec<String>,
    },
    /// The cluster is too old or too new for the chart.
    #[error("chart requires kubeVersion: {required} which is incompatible with Kubernetes {actual}")]
    KubeVersion {
        /// The chart rendered.
        chart: String,
        /// Its constraint.
        required: String,
        /// The cluster's version.
        actual: String,
    },
    /// A library chart has nothing to install.
    #[error("{chart_type} charts are not installable")]
    NotInstallable {
        /// The chart rendered.
        chart: String,
        /// Its type.
        chart_type: String,
    },
    /// The release's name is not usable.
    #[error(
        "release name check failed: release name {name:?}: invalid release name, must match regex ^[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*$ and the length must not be longer than 53"
    )]
    ReleaseName {
        /// The name.
        name: String,
    },
    /// What a template wrote is not YAML, or not a Kubernetes object.
    #[error("YAML parse error on {file}: {reason}")]
    Manifest {
        /// Path of the file from the root chart.
        file: String,
        /// What is wrong.
        reason: String,
    },
}

impl RenderError {
    /// Where the trouble is, for errors in templates.
    #[must_use]
    pub fn position(&self) -> Option<&Position> {
        match self {
            Self::Parse { position, .. }
            | Self::Execute { position, .. }
            | Self::Refused { position, .. }
            | Self::Unsupported { position, .. }
            | Self::Limit { position, .. } => Some(position),
            Self::Schema { .. }
            | Self::Values { .. }
            | Self::MissingDependencies { .. }
            | Self::KubeVersion { .. }
            | Self::NotInstallable { .. }
            | Self::ReleaseName { .. }
            | Self::Manifest { .. } => None,
        }
    }

    /// The function that is missing here, when Helm itself might render the chart.
    #[must_use]
    pub fn unsupported_function(&self) -> Option<&str> {
        match self {
            Self::Unsupported { function, .. } => Some(function),
            Self::Parse { .. }
            | Self::Execute { .. }
            | Self::Refused { .. }
            | Self::Limit { .. }
            | Self::Schema { .. }
            | Self::Values { .. }
            | Self::MissingDependencies { .. }
            | Self::KubeVersion { .. }
            | Self::NotInstallable { .. }
            | Self::ReleaseName { .. }
            | Self::Manifest { .. } => None,
        }
    }
}

impl From<Box<crate::template::fault::ExecError>> for RenderError {
    fn from(error: Box<crate::template::fault::ExecError>) -> Self {
        use crate::template::fault::Fault;
        let place = |error: &crate::template::fault::ExecError| {
            Position::new(&error.source.name, error.source.line_column(error.offset))
        };
        let origin = error.origin();
        let position = place(error.innermost_file());
        match &origin.fault {
            Fault::Refused(message) => Self::Refused {
                at: Box::new(place(&error)),
                position,
                function: origin.function.clone().unwrap_or_default(),
                message: message.clone(),
            },
            Fault::Unsupported(function) => Self::Unsupported { position, function: function.clone() },
            Fault::Limit { name, maximum } => Self::Limit { position, limit: name, maximum: *maximum },
            Fault::Message(_) | Fault::Method(_) | Fault::Type(_) | Fault::Nested { .. } => {
                Self::Execute { position, function: origin.function.clone(), trace: error.trace() }
            }
        }
    }
}
