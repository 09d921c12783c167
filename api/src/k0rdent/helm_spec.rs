//! `helm` of the three kinds of templates: where a chart comes from.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    DeploymentType, LocalObjectReference, LocalSourceRef, OidcIdentity, RemoteSourceSpec,
    VerificationProvider, source::INTERVAL,
};
use crate::schema::rules;

const ONE_CHART: &str = "chartSpec, chartSource and chartRef are mutually exclusive";
const ONE_SOURCE: &str = "LocalSource and RemoteSource are mutually exclusive.";

/// Where the chart comes from: exactly one of chartSpec, chartRef and chartSource.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    ("(has(self.chartSpec) ? (!has(self.chartSource) && !has(self.chartRef)): true)", ONE_CHART),
    ("(has(self.chartSource) ? (!has(self.chartSpec) && !has(self.chartRef)): true)", ONE_CHART),
    ("(has(self.chartRef) ? (!has(self.chartSpec) && !has(self.chartSource)): true)", ONE_CHART),
    (
        "has(self.chartSpec) || has(self.chartRef) || has(self.chartSource)",
        "one of chartSpec, chartRef or chartSource must be set",
    ),
])))]
pub struct HelmSpec {
    /// A Flux object that already serves the chart.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_ref: Option<ChartRef>,
    /// A folder with a chart in a source. ServiceTemplates only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_source: Option<ChartSource>,
    /// A chart of a repository, by name and version.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chart_spec: Option<ChartSpec>,
}

/// A Flux object that serves a chart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChartRef {
    /// API version of the object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the object.
    pub kind: ChartRefKind,
    /// Name of the object.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// Namespace of the object; the template's when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 63))]
    pub namespace: Option<String>,
}

/// Kinds of objects that serve charts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartRefKind {
    /// Flux OCIRepository.
    #[serde(rename = "OCIRepository")]
    OciRepository,
    /// Flux HelmChart.
    #[default]
    HelmChart,
    /// Flux ExternalArtifact.
    ExternalArtifact,
}

/// A folder with a chart in a source that exists or is to be made.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[
    (
        "has(self.localSourceRef) ? (self.localSourceRef.kind != 'Secret' && self.localSourceRef.kind != 'ConfigMap'): true",
        "Secret and ConfigMap are not supported as Helm chart sources",
    ),
    ("has(self.localSourceRef) ? !has(self.remoteSourceSpec): true", ONE_SOURCE),
    ("has(self.remoteSourceSpec) ? !has(self.localSourceRef): true", ONE_SOURCE),
    ("has(self.localSourceRef) || has(self.remoteSourceSpec)", "One of LocalSource or RemoteSource must be specified."),
])))]
pub struct ChartSource {
    /// Deploy to the target cluster (Remote) or to the management cluster (Local).
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub deployment_type: DeploymentType,
    /// A source object of the management cluster.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub local_source_ref: Option<LocalSourceRef>,
    /// The chart's folder inside the source.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// A remote source to fetch the chart from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub remote_source_spec: Option<RemoteSourceSpec>,
}

/// The spec of a Flux HelmChart (source.toolkit.fluxcd.io/v1).
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
#[schemars(extend("x-kubernetes-validations" = rules(&[(
    "!has(self.verify) || self.sourceRef.kind == 'HelmRepository'",
    "spec.verify is only supported when spec.sourceRef.kind is 'HelmRepository'",
)])))]
pub struct ChartSpec {
    /// Name of the chart in the repository, or its folder in a Git repository or bucket.
    pub chart: String,
    /// Go on when one of valuesFiles is missing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ignore_missing_values_files: Option<bool>,
    /// How often to look for a new version.
    #[serde(default = "ten_minutes")]
    #[schemars(regex(pattern = INTERVAL), extend("x-skein-required" = true))]
    pub interval: String,
    /// What counts as a change: a new chart version, or a new revision of the source.
    #[serde(default)]
    pub reconcile_strategy: ReconcileStrategy,
    /// The repository. When absent: the HelmRepository kcm-templates.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub source_ref: ChartSourceRef,
    /// Stop looking for new versions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub suspend: Option<bool>,
    /// Values files of the chart to merge, in this order, instead of values.yaml.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values_files: Vec<String>,
    /// Which signatures are demanded.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verify: Option<ChartVerification>,
    /// A version, or a range of semantic versions.
    #[serde(default = "any_version")]
    pub version: String,
}

/// What k0rdent's webhook fills in for an interval that is absent.
fn ten_minutes() -> String {
    "10m0s".to_owned()
}

fn any_version() -> String {
    "*".to_owned()
}

impl Default for ChartSpec {
    fn default() -> Self {
        Self {
            chart: String::new(),
            ignore_missing_values_files: None,
            interval: ten_minutes(),
            reconcile_strategy: ReconcileStrategy::default(),
            source_ref: ChartSourceRef::default(),
            suspend: None,
            values_files: Vec::new(),
            verify: None,
            version: any_version(),
        }
    }
}

/// What counts as a change of a chart.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReconcileStrategy {
    /// A new chart version.
    #[default]
    ChartVersion,
    /// A new revision of the source.
    Revision,
}

/// A repository of charts in the template's namespace.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChartSourceRef {
    /// API version of the repository object.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub api_version: Option<String>,
    /// Kind of the repository object.
    pub kind: ChartSourceKind,
    /// Name of the repository object.
    pub name: String,
}

impl Default for ChartSourceRef {
    fn default() -> Self {
        Self {
            api_version: None,
            kind: ChartSourceKind::HelmRepository,
            name: crate::names::DEFAULT_HELM_REPOSITORY.to_owned(),
        }
    }
}

/// Kinds of repositories of charts.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ChartSourceKind {
    /// Flux HelmRepository.
    #[default]
    HelmRepository,
    /// Flux GitRepository.
    GitRepository,
    /// Flux Bucket.
    Bucket,
}

/// Which signatures of a chart are demanded.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq)]
#[serde(rename_all = "camelCase")]
pub struct ChartVerification {
    /// Identities that keyless signatures must carry.
    #[serde(default, rename = "matchOIDCIdentity", skip_serializing_if = "Vec::is_empty")]
    pub match_oidc_identity: Vec<OidcIdentity>,
    /// The signing tool.
    #[serde(default)]
    #[schemars(extend("x-skein-required" = true))]
    pub provider: VerificationProvider,
    /// Secret with the public keys.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub secret_ref: Option<LocalObjectReference>,
}
