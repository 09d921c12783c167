//! From a template object to its content: which chart or manifests, or why there are none.
//!
//! Nothing here reads a template's status: what a plan needs follows from the objects and the fetched charts alone,
//! so no API write stands between an edit and its plan.

use std::sync::Arc;
use std::time::Duration;

use api::k0rdent::{
    ChartRef, ChartRefKind, ChartSourceKind, ChartSpec, ClusterTemplate, DeploymentType, HelmOptions,
    HelmSpec, LocalSourceKind, ServiceTemplate, SourceSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;
use protocol::plan::UnitKind;

use crate::cache::{Kind, View};
use crate::source::flux::{HelmChart, HelmRepository};
use crate::source::{ChartRequest, ChartState, Failure, FetchedChart, Repository, Sources};

/// What a decision reads: API objects with a record, and charts.
pub struct Sight<'a> {
    /// The objects.
    pub view: View<'a>,
    /// The charts.
    pub sources: &'a Sources,
    /// Where shared templates and repositories live.
    pub system_namespace: &'a str,
}

/// Why there is no content.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Lack {
    /// The object does not exist.
    Missing(String),
    /// It is being fetched for the first time.
    Waiting(String),
    /// It cannot be used until somebody changes something.
    Invalid(String),
}

impl Lack {
    /// Why, for a person.
    pub fn message(&self) -> &str {
        match self {
            Self::Missing(message) | Self::Waiting(message) | Self::Invalid(message) => message,
        }
    }
}

/// The content of a template.
#[derive(Debug, Clone)]
pub struct Content {
    /// How it is described.
    pub kind: UnitKind,
    /// What it holds.
    pub body: Body,
    /// The version that services have unless they say another.
    pub version: String,
    /// Helm options of every service made from it.
    pub helm_options: Option<HelmOptions>,
    /// Why there is nothing newer, while the source fails.
    pub stale: Option<Failure>,
}

/// What a template holds.
#[derive(Debug, Clone)]
pub enum Body {
    /// A chart.
    Chart(Arc<FetchedChart>),
    /// Files of manifests by name.
    Manifests(Vec<(String, String)>),
}

/// A chart and why there is no newer one.
pub type Chart = (Arc<FetchedChart>, Option<Failure>);

impl Sight<'_> {
    /// The content of a ServiceTemplate.
    ///
    /// # Errors
    /// [`Lack`] with k0rdent's message.
    pub fn service_template(&self, namespace: &str, name: &str) -> Result<Content, Lack> {
        let template = self.view.get::<ServiceTemplate>(namespace, name).ok_or_else(|| {
            Lack::Missing(format!(
                "failed to get ServiceTemplate {namespace}/{name}: ServiceTemplate.k0rdent.mirantis.com \"{name}\" not found"
            ))
        })?;
        self.content(&template)
    }

    /// The content of a ServiceTemplate that was read.
    ///
    /// # Errors
    /// [`Lack`] with what is wrong with the template, without its name.
    pub fn content(&self, template: &ServiceTemplate) -> Result<Content, Lack> {
        let namespace = template.namespace().unwrap_or_default();
        let spec = &template.spec;
        let helm_options = spec.helm_options.clone();
        if let Some(helm) = &spec.helm {
            let (chart, stale) = self.chart(&namespace, helm)?;
            let named =
                helm.chart_spec.as_ref().map(|chart| chart.version.clone()).filter(|version| version != "*");
            let version = spec.version.clone().or(named).unwrap_or_else(|| template.name_any());
            return Ok(Content {
                kind: UnitKind::Helm,
                body: Body::Chart(chart),
                version,
                helm_options,
                stale,
            });
        }
        let version = spec.version.clone().unwrap_or_else(|| template.name_any());
        match (&spec.resources, &spec.kustomize) {
            (Some(source), _) => {
                let body = Body::Manifests(self.manifests(&namespace, source)?);
                Ok(Content { kind: UnitKind::Resources, body, version, helm_options, stale: None })
            }
            (None, Some(_)) => Err(Lack::Invalid(
                "kustomize is not supported by this hub: use helm, or resources with built manifests"
                    .to_owned(),
            )),
            (None, None) => {
                Err(Lack::Invalid("One of Helm, Kustomize, or Resources must be specified.".to_owned()))
            }
        }
    }

    /// The ClusterTemplate and its chart.
    ///
    /// # Errors
    /// [`Lack`] with k0rdent's message.
    pub fn cluster_template(
        &self,
        namespace: &str,
        name: &str,
    ) -> Result<(Arc<ClusterTemplate>, Chart), Lack> {
        let template = self.view.get::<ClusterTemplate>(namespace, name).ok_or_else(|| {
            Lack::Missing(format!(
                "failed to get ClusterTemplate {namespace}/{name}: ClusterTemplate.k0rdent.mirantis.com \"{name}\" not found"
            ))
        })?;
        let chart = self.chart(namespace, &template.spec.helm).map_err(|lack| match lack {
            Lack::Invalid(why) => Lack::Invalid(format!(
                "the ClusterTemplate {namespace}/{name} is invalid with the error: {why}"
            )),
            lack @ (Lack::Missing(_) | Lack::Waiting(_)) => lack,
        })?;
        Ok((template, chart))
    }

    /// The chart that a template names.
    ///
    /// # Errors
    /// [`Lack`] with what is wrong.
    pub fn chart(&self, namespace: &str, helm: &HelmSpec) -> Result<Chart, Lack> {
        if let Some(spec) = &helm.chart_spec {
            return self.chart_of_repository(namespace, spec);
        }
        if let Some(reference) = &helm.chart_ref {
            return self.chart_of_reference(namespace, reference);
        }
        Err(Lack::Invalid(match &helm.chart_source {
            Some(_) => "helm.chartSource is not supported by this hub: use chartSpec with a HelmRepository"
                .to_owned(),
            None => "one of chartSpec, chartRef or chartSource must be set".to_owned(),
        }))
    }

    fn chart_of_reference(&self, namespace: &str, reference: &ChartRef) -> Result<Chart, Lack> {
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        let name = &reference.name;
        match reference.kind {
            ChartRefKind::HelmChart => {}
            ChartRefKind::OciRepository | ChartRefKind::ExternalArtifact => {
                return Err(Lack::Invalid(format!(
                    "chartRef {namespace}/{name}: only kind HelmChart is supported"
                )));
            }
        }
        if let Some(chart) = self.view.get::<HelmChart>(namespace, name) {
            let spec = ChartSpec {
                chart: chart.spec.chart.clone(),
                version: chart.spec.version.clone().unwrap_or_else(|| "*".to_owned()),
                source_ref: api::k0rdent::ChartSourceRef {
                    name: chart.spec.source_ref.name.clone(),
                    ..api::k0rdent::ChartSourceRef::default()
                },
                ..ChartSpec::default()
            };
            return self.chart_of_repository(namespace, &spec);
        }
        // k0rdent names the HelmChart of a template like the template; here the template itself will do.
        let cluster = self.view.get::<ClusterTemplate>(namespace, name);
        let service = self.view.get::<ServiceTemplate>(namespace, name);
        let spec =
            cluster.as_ref().and_then(|template| template.spec.helm.chart_spec.as_ref()).or_else(|| {
                service.as_ref().and_then(|template| template.spec.helm.as_ref()?.chart_spec.as_ref())
            });
        match spec {
            Some(spec) => self.chart_of_repository(namespace, spec),
            None => Err(Lack::Invalid(format!(
                "failed to get HelmChart {namespace}/{name}: HelmChart.source.toolkit.fluxcd.io \"{name}\" not found"
            ))),
        }
    }

    fn chart_of_repository(&self, namespace: &str, spec: &ChartSpec) -> Result<Chart, Lack> {
        match spec.source_ref.kind {
            ChartSourceKind::HelmRepository => {}
            ChartSourceKind::GitRepository | ChartSourceKind::Bucket => {
                return Err(Lack::Invalid(format!(
                    "sourceRef {:?} {}: this hub fetches charts from kind HelmRepository only",
                    spec.source_ref.kind, spec.source_ref.name
                )));
            }
        }
        let name = &spec.source_ref.name;
        // A repository of the system namespace serves every namespace that has none of that name.
        let found = self
            .view
            .get::<HelmRepository>(namespace, name)
            .map(|repository| (namespace, repository))
            .or_else(|| {
                self.view.get(self.system_namespace, name).map(|found| (self.system_namespace, found))
            });
        let Some((at, repository)) = found else {
            return Err(Lack::Invalid(format!(
                "failed to get HelmRepository {namespace}/{name}: HelmRepository.source.toolkit.fluxcd.io \"{name}\" not found"
            )));
        };
        let request = ChartRequest {
            namespace: at.to_owned(),
            repository: name.clone(),
            chart: spec.chart.clone(),
            version: spec.version.clone(),
        };
        let key = request.key();
        self.view.note(Kind::FetchedChart, &key.namespace, &key.name);
        let ChartState { chart, failure } =
            self.sources.chart(&request, &self.repository(at, &repository, &spec.interval));
        match (chart, failure) {
            (Some(chart), failure) => Ok((chart, failure)),
            (None, Some(failure)) => Err(Lack::Invalid(failure.message)),
            (None, None) => Err(Lack::Waiting(format!("chart {} is being fetched", spec.chart))),
        }
    }

    fn repository(&self, namespace: &str, object: &HelmRepository, interval: &str) -> Repository {
        let secret = object.spec.secret_ref.as_ref().and_then(|secret| {
            let secret = self.view.get::<Secret>(namespace, &secret.name)?;
            let field = |name: &str| {
                let bytes = secret.data.as_ref()?.get(name)?;
                String::from_utf8(bytes.0.clone()).ok()
            };
            Some((field("username")?, field("password")?))
        });
        let requested =
            object.annotations().get("reconcile.fluxcd.io/requestedAt").cloned().unwrap_or_default();
        Repository {
            url: object.spec.url.clone(),
            credentials: secret,
            pass_credentials: object.spec.pass_credentials,
            insecure: object.spec.insecure,
            interval: duration(interval).unwrap_or(Duration::from_secs(600)),
            requested: format!("{}{requested}", object.metadata.generation.unwrap_or_default()),
        }
    }

    fn manifests(&self, namespace: &str, source: &SourceSpec) -> Result<Vec<(String, String)>, Lack> {
        if source.deployment_type == DeploymentType::Local {
            return Err(Lack::Invalid(
                "deploymentType Local is not supported by this hub: services go to the selected clusters"
                    .to_owned(),
            ));
        }
        let Some(local) = &source.local_source_ref else {
            return Err(Lack::Invalid(
                "remoteSourceSpec is not supported by this hub: use localSourceRef with a ConfigMap or Secret".to_owned(),
            ));
        };
        let namespace = local.namespace.as_deref().unwrap_or(namespace);
        let name = &local.name;
        let missing = |kind: &str| {
            Lack::Invalid(format!("failed to get {kind} {namespace}/{name}: {kind} \"{name}\" not found"))
        };
        match local.kind {
            LocalSourceKind::ConfigMap => {
                let map = self.view.get::<ConfigMap>(namespace, name).ok_or_else(|| missing("ConfigMap"))?;
                Ok(map.data.iter().flatten().map(|(file, text)| (file.clone(), text.clone())).collect())
            }
            LocalSourceKind::Secret => {
                let secret = self.view.get::<Secret>(namespace, name).ok_or_else(|| missing("Secret"))?;
                secret
                    .data
                    .iter()
                    .flatten()
                    .map(|(file, bytes)| Ok((file.clone(), text(namespace, name, file, &bytes.0)?)))
                    .collect()
            }
            LocalSourceKind::GitRepository | LocalSourceKind::Bucket | LocalSourceKind::OciRepository => {
                Err(Lack::Invalid(format!(
                    "localSourceRef {:?} {namespace}/{name}: this hub reads manifests from ConfigMap and Secret only",
                    local.kind
                )))
            }
        }
    }
}

fn text(namespace: &str, name: &str, file: &str, bytes: &[u8]) -> Result<String, Lack> {
    String::from_utf8(bytes.to_vec())
        .map_err(|_| Lack::Invalid(format!("Secret {namespace}/{name}: key \"{file}\" is not UTF-8 text")))
}

/// A Go duration such as `10m0s`; `None` when it is none.
pub fn duration(text: &str) -> Option<Duration> {
    let mut total = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|one: char| !one.is_ascii_digit() && one != '.')?;
        let (number, after) = rest.split_at(digits);
        let letters = after.find(|one: char| one.is_ascii_digit()).unwrap_or(after.len());
        let (unit, next) = after.split_at(letters);
        let seconds = match unit {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        total += Duration::try_from_secs_f64(number.parse::<f64>().ok()? * seconds).ok()?;
        rest = next;
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn go_durations_are_read() {
        assert_eq!(duration("10m0s"), Some(Duration::from_secs(600)));
        assert_eq!(duration("1h30m"), Some(Duration::from_secs(5400)));
        assert_eq!(duration("1.5s"), Some(Duration::from_millis(1500)));
        assert_eq!(duration("250ms"), Some(Duration::from_millis(250)));
        for wrong in ["", "5", "m", "5 m", "5d"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
    }
}
