//! `policyRefs` of a provider configuration: manifests in ConfigMaps, Secrets and Flux sources of the management cluster,
//! or behind a URL, that are put on the target beside the services. Each is a unit of its own, so a broken one harms no other.
//!
//! # Why not `deploymentType: Local`
//! It means: on the management cluster, once for each cluster that is selected. A set is one plan, signed for the one agent
//! of its target, and its status is what that agent reports; with Local a part of it would be in the plan of the management
//! cluster's own agent, with another order, another removal and another word for "deployed". A MultiClusterService with
//! `provider.selfManagement` puts objects on the management cluster. So Local is refused by name, and nothing is put in
//! the wrong place.

use api::k0rdent::{
    Fetching, HelmOptions, HttpSource, LocalObjectReference, LocalSourceKind, LocalSourceRef, OciRef,
    OciSource, PolicyRef, RemoteSourceSpec, RemoteUrl, Service, ServiceTemplate, ServiceTemplateSpec,
    ServiceType, SourceKind, SourceSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt as _;
use sha2::{Digest as _, Sha256};

use super::claim::Owner;
use super::data::Data;
use super::resolve::{Problem, Scene, ServicePlan};
use super::template::Lack;
use super::values::{Marks, TEMPLATE_ANNOTATION};

/// Namespace of objects that name none (Sveltos).
const NAMESPACE: &str = "default";
/// How often a URL is looked at that says nothing of that (Sveltos), and how long one look may take.
const INTERVAL: &str = "5m";
const TIMEOUT: &str = "60s";
/// Most references of one set.
const REFERENCES_MAX: usize = 256;

impl Scene<'_, '_> {
    /// What the references of the set amount to.
    pub(super) fn policies(&self, data: &Data<'_>) -> Vec<ServicePlan> {
        let config = self.claim.carrying.provider.config.as_ref();
        let list = config.and_then(|config| config.get("policyRefs")).filter(|list| !list.is_null());
        let Some(list) = list else { return Vec::new() };
        let plan = |name: String, problem: Problem| ServicePlan {
            id: self.unit_id(&(NAMESPACE.to_owned(), name.clone())),
            name: (NAMESPACE.to_owned(), name),
            template: "policyRefs".to_owned(),
            version: String::new(),
            type_: ServiceType::Resource,
            built: None,
            problem: Some(problem),
        };
        let wrong = |why: String| vec![plan("policyrefs".to_owned(), Problem::failed(why))];
        let references: Vec<PolicyRef> = match serde_json::from_value(list.clone()) {
            Ok(references) => references,
            Err(error) => {
                return wrong(format!(
                    "policyRefs is not understood: {error}; accepted is a list as in serviceSpec.policyRefs"
                ));
            }
        };
        if references.len() > REFERENCES_MAX {
            let count = references.len();
            return wrong(format!("policyRefs has {count} entries, at most {REFERENCES_MAX} are accepted"));
        }
        let one = |(at, reference): (usize, &PolicyRef)| match self.policy(at, reference, data) {
            Ok(policy) => policy,
            Err(problem) => Some(plan(format!("policyref-{at}"), problem)),
        };
        references.iter().enumerate().filter_map(one).collect()
    }

    /// One reference; `None` when it is optional and there is nothing.
    fn policy(
        &self,
        at: usize,
        reference: &PolicyRef,
        data: &Data<'_>,
    ) -> Result<Option<ServicePlan>, Problem> {
        let field = format!("policyRefs[{at}]");
        let named = match (&reference.remote_url, reference.kind) {
            (None, Some(kind)) => self.policy_of_object(&field, kind, reference, data)?,
            (Some(url), None) => Some(self.policy_of_url(&field, url, reference)?),
            (Some(_), Some(_)) | (None, None) => {
                return Err(Problem::failed(format!(
                    "{field}: either remoteURL or kind must be set, but not both"
                )));
            }
        };
        let Some(named) = named else { return Ok(None) };
        let mut template = ServiceTemplate::new(
            "policyRefs",
            ServiceTemplateSpec { resources: Some(named.source.clone()), ..Default::default() },
        );
        template.metadata.namespace = Some(named.namespace.clone());
        if named.templated {
            template.annotations_mut().insert(TEMPLATE_ANNOTATION.to_owned(), "ok".to_owned());
        }
        let content = self.sight.content(&template);
        if reference.optional && matches!(&content, Err(Lack::Missing(_))) {
            return Ok(None);
        }
        let content = content.map_err(|lack| match lack {
            Lack::Missing(text) => Lack::Missing(format!("{field}: {text}")),
            Lack::Invalid(text) => Lack::Invalid(format!("{field}: {text}")),
            Lack::Waiting(text) => Lack::Waiting(text),
        });
        Ok(Some(self.policy_plan(named, reference, &template, content, data)))
    }

    /// A reference to an object of the management cluster; `None` when it is optional and not there.
    fn policy_of_object(
        &self,
        field: &str,
        kind: SourceKind,
        reference: &PolicyRef,
        data: &Data<'_>,
    ) -> Result<Option<Named>, Problem> {
        let kind = match kind {
            SourceKind::ConfigMap => LocalSourceKind::ConfigMap,
            SourceKind::Secret => LocalSourceKind::Secret,
            SourceKind::GitRepository => LocalSourceKind::GitRepository,
            SourceKind::Bucket => LocalSourceKind::Bucket,
            SourceKind::OciRepository => LocalSourceKind::OciRepository,
        };
        let expand = |name: &str, text: &Option<String>| {
            data.expand_name(&format!("{field}.{name}"), text.as_deref().unwrap_or_default())
        };
        let name = expand("name", &reference.name)?;
        if name.is_empty() {
            return Err(Problem::failed(format!("{field}.name is empty: name an object")));
        }
        let namespace =
            self.readable(&format!("{field}.namespace"), expand("namespace", &reference.namespace)?)?;
        let missing = match kind {
            LocalSourceKind::ConfigMap => self.sight.view.get::<ConfigMap>(&namespace, &name).is_none(),
            LocalSourceKind::Secret => self.sight.view.get::<Secret>(&namespace, &name).is_none(),
            LocalSourceKind::GitRepository | LocalSourceKind::Bucket | LocalSourceKind::OciRepository => {
                false
            }
        };
        if missing && reference.optional {
            return Ok(None);
        }
        let object = LocalSourceRef { kind, name: name.clone(), namespace: Some(namespace.clone()) };
        Ok(Some(Named {
            release: format!("{kind:?}-{namespace}-{name}").to_lowercase(),
            title: format!("policyRefs {kind:?} {namespace}/{name}"),
            source: SourceSpec { local_source_ref: Some(object), ..of(reference) },
            namespace,
            templated: false,
        }))
    }

    /// A reference to what a server has.
    fn policy_of_url(
        &self,
        field: &str,
        remote: &RemoteUrl,
        reference: &PolicyRef,
    ) -> Result<Named, Problem> {
        let secret = remote.secret_ref.clone().unwrap_or_default();
        let namespace = secret.namespace.unwrap_or_default();
        let namespace = self.readable(&format!("{field}.remoteURL.secretRef.namespace"), namespace)?;
        let interval = remote.interval.clone().unwrap_or_else(|| INTERVAL.to_owned());
        let fetching = Fetching {
            secret_ref: secret.name.map(|name| LocalObjectReference { name }),
            timeout: TIMEOUT.to_owned(),
            ..Fetching::default()
        };
        let url = remote.url.as_str();
        let spec = match url.split_once("://") {
            Some(("http" | "https", _)) => {
                let http = HttpSource { url: url.to_owned(), interval, fetching, ..HttpSource::default() };
                RemoteSourceSpec { http: Some(http), ..RemoteSourceSpec::default() }
            }
            Some(("oci", rest)) => {
                let (rest, reference) = artifact(rest);
                let url = format!("oci://{rest}");
                let oci = OciSource { url, reference, interval, fetching, ..OciSource::default() };
                RemoteSourceSpec { oci: Some(oci), ..RemoteSourceSpec::default() }
            }
            Some(_) | None => {
                return Err(Problem::failed(format!(
                    "{field}.remoteURL.url does not begin with http://, https:// or oci://"
                )));
            }
        };
        let digest = hex::encode(Sha256::digest(url));
        let short = digest.get(..8).unwrap_or_default();
        Ok(Named {
            release: format!("remoteurl-{short}"),
            title: format!("policyRefs remoteURL {short}"),
            source: SourceSpec { remote_source_spec: Some(spec), ..of(reference) },
            namespace,
            templated: remote.template == Some(true),
        })
    }

    /// The namespace that is meant, if the owner of the set may read it.
    fn readable(&self, field: &str, namespace: String) -> Result<String, Problem> {
        let own = &self.claim.set.0;
        let namespace = if namespace.is_empty() { own.clone() } else { namespace };
        if namespace != *own && self.claim.owner == Owner::ClusterDeployment {
            return Err(Problem::failed(format!(
                "{field} is \"{namespace}\": a ClusterDeployment reads its own namespace \"{own}\" only"
            )));
        }
        Ok(namespace)
    }

    fn policy_plan(
        &self,
        named: Named,
        reference: &PolicyRef,
        template: &ServiceTemplate,
        content: Result<super::template::Content, Lack>,
        data: &Data<'_>,
    ) -> ServicePlan {
        let release = (NAMESPACE.to_owned(), named.release);
        let service = Service {
            name: release.1.clone(),
            namespace: release.0.clone(),
            template: named.title,
            helm_options: Some(HelmOptions {
                create_namespace: Some(!reference.skip_namespace_creation),
                ..HelmOptions::default()
            }),
            ..Service::default()
        };
        let id = self.unit_id(&release);
        let marks = Marks::of(self.sight, template);
        let (built, problem) = match self.build(&service, &id, content, ("", None, marks), data) {
            Ok(built) => (Some(built), None),
            Err(problem) => (None, Some(problem)),
        };
        let type_ = ServiceType::Resource;
        ServicePlan {
            name: release,
            id,
            template: service.template,
            version: String::new(),
            type_,
            built,
            problem,
        }
    }
}

/// What a reference names.
struct Named {
    /// The name of its release.
    release: String,
    /// What it is called as a template.
    title: String,
    /// Where its manifests are.
    source: SourceSpec,
    /// Where its Secret is.
    namespace: String,
    /// Whether the manifests are templates, whatever else says so.
    templated: bool,
}

fn of(reference: &PolicyRef) -> SourceSpec {
    SourceSpec {
        deployment_type: reference.deployment_type,
        path: reference.path.clone(),
        ..SourceSpec::default()
    }
}

/// The repository of an artifact, and which one of it is meant: as `repository:tag` or `repository@digest` say.
fn artifact(address: &str) -> (&str, Option<OciRef>) {
    if let Some((repository, digest)) = address.split_once('@') {
        return (repository, Some(OciRef { digest: Some(digest.to_owned()), ..OciRef::default() }));
    }
    match address.rsplit_once(':') {
        Some((repository, tag)) if !tag.contains('/') => {
            (repository, Some(OciRef { tag: Some(tag.to_owned()), ..OciRef::default() }))
        }
        Some(_) | None => (address, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_artifact_is_named_by_tag_or_digest() {
        let tag = |address| artifact(address).1.and_then(|one| one.tag);
        assert_eq!(artifact("h.dev:5000/a/b").0, "h.dev:5000/a/b");
        assert_eq!(tag("h.dev:5000/a/b"), None);
        assert_eq!(
            (artifact("h.dev:5000/a:v1").0, tag("h.dev:5000/a:v1").as_deref()),
            ("h.dev:5000/a", Some("v1"))
        );
        let (repository, reference) = artifact("h.dev/a@sha256:00");
        assert_eq!((repository, reference.unwrap().digest.as_deref()), ("h.dev/a", Some("sha256:00")));
    }
}
