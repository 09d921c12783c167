//! From a template object to its content: which chart or manifests, or why there are none.
//!
//! Nothing here reads a template's status: what a plan needs follows from the objects and the fetched charts alone,
//! so no API write stands between an edit and its plan.

use std::sync::Arc;

use api::k0rdent::{
    ChartRef, ChartRefKind, ChartSource, ChartSourceKind, ChartSpec, ClusterTemplate, DeploymentType,
    HelmOptions, HelmSpec, ReconcileStrategy, ServiceTemplate, SourceSpec,
};
use kube::ResourceExt;
use protocol::plan::UnitKind;

use crate::cache::View;
use crate::content::flux::HelmChart;
use crate::content::{
    ChartState, Failure, FetchedChart, Kustomization, Name, Sources, Wish, is_kustomization, lfs,
};
use crate::services::supply::Described;

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
    /// What it holds; of a kustomization what it builds to by itself.
    pub body: Body,
    /// The kustomization, to be built for the namespace of a service.
    pub kustomization: Option<Kustomization>,
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
            let named = helm
                .chart_spec
                .as_ref()
                .map(|chart| unpinned(&chart.version))
                .filter(|version| version != "*");
            let version = spec.version.clone().or(named).unwrap_or_else(|| template.name_any());
            return Ok(Content {
                kind: UnitKind::Helm,
                body: Body::Chart(chart),
                kustomization: None,
                version,
                helm_options,
                stale,
            });
        }
        let version = spec.version.clone().unwrap_or_else(|| template.name_any());
        let (kind, (files, stale), kustomization) = match (&spec.resources, &spec.kustomize) {
            (Some(source), _) => (UnitKind::Resources, self.manifests(&namespace, source)?, None),
            (None, Some(source)) => {
                let (kustomization, files) = self.kustomization(&namespace, source)?;
                (UnitKind::Kustomize, files, Some(kustomization))
            }
            (None, None) => {
                return Err(Lack::Invalid(
                    "One of Helm, Kustomize, or Resources must be specified.".to_owned(),
                ));
            }
        };
        Ok(Content { kind, body: Body::Manifests(files), kustomization, version, helm_options, stale })
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
        match &helm.chart_source {
            Some(source) => self.chart_of_source(namespace, source),
            None => Err(Lack::Invalid("one of chartSpec, chartRef or chartSource must be set".to_owned())),
        }
    }

    fn chart_of_reference(&self, namespace: &str, reference: &ChartRef) -> Result<Chart, Lack> {
        let namespace = reference.namespace.as_deref().unwrap_or(namespace);
        let name = &reference.name;
        let described = match reference.kind {
            ChartRefKind::HelmChart => return self.chart_of_object(namespace, name),
            ChartRefKind::OciRepository => self.oci_repository(namespace, name)?,
            ChartRefKind::ExternalArtifact => self.external_artifact(namespace, name)?,
        };
        self.chart_in(described, &Wish::default())
    }

    fn chart_of_object(&self, namespace: &str, name: &str) -> Result<Chart, Lack> {
        if let Some(chart) = self.view.get::<HelmChart>(namespace, name) {
            return self.chart_of_repository(namespace, &chart.spec.chart);
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
            None => Err(not_found("HelmChart", namespace, name)),
        }
    }

    fn chart_of_source(&self, namespace: &str, source: &ChartSource) -> Result<Chart, Lack> {
        refuse_local(source.deployment_type)?;
        let path = source.path.clone().unwrap_or_default();
        let described =
            self.described(namespace, source.local_source_ref.as_ref(), source.remote_source_spec.as_ref())?;
        self.chart_in(described, &Wish { path, ..Wish::default() })
    }

    /// The chart that a description leads to.
    fn chart_in(&self, described: Described, wish: &Wish) -> Result<Chart, Lack> {
        let state = self.state(&described);
        let name = &described.name;
        let ChartState { chart, failure } = self.sources.chart(name, state, wish);
        match (chart, failure) {
            (Some(chart), failure) => Ok((chart, failure)),
            (None, Some(failure)) => Err(Lack::Invalid(format!("{}: {}", name.name, failure.message))),
            (None, None) => Err(waiting(name)),
        }
    }

    fn chart_of_repository(&self, namespace: &str, spec: &ChartSpec) -> Result<Chart, Lack> {
        let mut wish = Wish {
            path: String::new(),
            values_files: spec.values_files.clone(),
            ignore_missing: spec.ignore_missing_values_files == Some(true),
            with_revision: false,
        };
        let name = &spec.source_ref.name;
        let described = match spec.source_ref.kind {
            ChartSourceKind::HelmRepository => return self.chart_of_index(namespace, spec, &wish),
            ChartSourceKind::GitRepository => self.git_repository(namespace, name)?,
            ChartSourceKind::Bucket => self.bucket(namespace, name)?,
        };
        wish.path.clone_from(&spec.chart);
        wish.with_revision = spec.reconcile_strategy == ReconcileStrategy::Revision;
        self.chart_in(described, &wish)
    }

    fn chart_of_index(&self, namespace: &str, spec: &ChartSpec, wish: &Wish) -> Result<Chart, Lack> {
        self.chart_in(self.helm_repository(namespace, spec)?, wish)
    }

    /// The manifests of a source, with their names.
    fn manifests(&self, namespace: &str, source: &SourceSpec) -> Result<Files, Lack> {
        refuse_local(source.deployment_type)?;
        let path = source.path.as_deref().unwrap_or_default();
        let (tree, stale) = self.tree(namespace, source, path)?;
        if !tree.named && is_kustomization(&tree.files) {
            // No cluster knows a kind of that name: it can only be meant to be built.
            return self.kustomization(namespace, source).map(|(_, files)| files);
        }
        let manifest = |path: &str| {
            let ending = path.rsplit('.').next().unwrap_or_default();
            // Every key of a ConfigMap or Secret is a file, whatever it is called.
            tree.named || matches!(ending, "yaml" | "yml" | "json")
        };
        if let Some(why) = lfs::pointer(&tree.files) {
            return Err(Lack::Invalid(format!("{}: {why}", tree.origin)));
        }
        let files = tree.files.iter().filter(|(path, _)| manifest(path));
        let files = files
            .map(|(path, bytes)| match std::str::from_utf8(bytes) {
                Ok(text) => Ok((path.clone(), text.to_owned())),
                Err(_) => Err(Lack::Invalid(format!("{}: \"{path}\" is not UTF-8 text", tree.origin))),
            })
            .collect::<Result<Vec<_>, _>>()?;
        if files.is_empty() && !tree.named {
            return Err(Lack::Invalid(format!(
                "{}: there is no manifest (.yaml, .yml, .json) below path \"{path}\"",
                tree.origin
            )));
        }
        Ok((files, stale))
    }

    /// A kustomization, and what it builds to by itself.
    fn kustomization(&self, namespace: &str, source: &SourceSpec) -> Result<(Kustomization, Files), Lack> {
        refuse_local(source.deployment_type)?;
        // The whole tree: a kustomization refers to what lies beside it.
        let (tree, stale) = self.tree(namespace, source, "")?;
        let path = source.path.clone().filter(|_| !tree.named).unwrap_or_default();
        let wanted = Kustomization { files: tree.files, digest: tree.digest, path, origin: tree.origin };
        let (wanted, older) = self.with_bases(namespace, wanted)?;
        let (good, built, unbuilt) = self.sources.kustomization(wanted).map_err(Lack::Invalid)?;
        Ok((good, (built.to_vec(), stale.or(older).or(unbuilt))))
    }
}

/// The version without the digest that it may be pinned to.
fn unpinned(version: &str) -> String {
    version.split_once('@').map_or(version, |(version, _)| version).to_owned()
}

/// Manifests by name, and why there are no newer ones.
pub type Files = (Vec<(String, String)>, Option<Failure>);

pub(super) fn waiting(name: &Name) -> Lack {
    Lack::Waiting(format!("{} is being fetched", name.name))
}

pub(super) fn not_found(kind: &str, namespace: &str, name: &str) -> Lack {
    let group = match kind {
        "ConfigMap" | "Secret" => "",
        _ => ".source.toolkit.fluxcd.io",
    };
    Lack::Invalid(format!("failed to get {kind} {namespace}/{name}: {kind}{group} \"{name}\" not found"))
}

fn refuse_local(deployment: DeploymentType) -> Result<(), Lack> {
    match deployment {
        DeploymentType::Remote => Ok(()),
        DeploymentType::Local => Err(Lack::Invalid(
            "deploymentType \"Local\" is not supported by this hub: expected \"Remote\", services go to the selected \
             clusters (a MultiClusterService with provider.selfManagement goes to the management cluster)"
                .to_owned(),
        )),
    }
}
