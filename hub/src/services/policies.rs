//! `policyRefs` of a provider configuration: manifests in ConfigMaps, Secrets and Flux sources of the management cluster
//! that are put on the target beside the services. Each is a unit of its own, so a broken one harms no other.

use api::k0rdent::{
    HelmOptions, LocalSourceKind, LocalSourceRef, PolicyRef, Service, ServiceTemplate, ServiceTemplateSpec,
    ServiceType, SourceKind, SourceSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};

use super::claim::Owner;
use super::data::Data;
use super::resolve::{Problem, Scene, ServicePlan};
use super::template::Lack;
use super::values::Marks;

/// Namespace of objects that name none (Sveltos).
const NAMESPACE: &str = "default";
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
        let kind = match (&reference.remote_url, reference.kind) {
            (None, Some(SourceKind::ConfigMap)) => LocalSourceKind::ConfigMap,
            (None, Some(SourceKind::Secret)) => LocalSourceKind::Secret,
            (None, Some(SourceKind::GitRepository)) => LocalSourceKind::GitRepository,
            (None, Some(SourceKind::Bucket)) => LocalSourceKind::Bucket,
            (None, Some(SourceKind::OciRepository)) => LocalSourceKind::OciRepository,
            (Some(_), None) => {
                return Err(Problem::failed(format!(
                    "{field}.remoteURL is not supported by this hub: name a GitRepository, OCIRepository, Bucket, ConfigMap or Secret"
                )));
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(Problem::failed(format!(
                    "{field}: either remoteURL or kind must be set, but not both"
                )));
            }
        };
        let expand = |name: &str, text: &Option<String>| {
            data.expand_name(&format!("{field}.{name}"), text.as_deref().unwrap_or_default())
        };
        let name = expand("name", &reference.name)?;
        if name.is_empty() {
            return Err(Problem::failed(format!("{field}.name is empty: name an object")));
        }
        let own = &self.claim.set.0;
        let namespace = expand("namespace", &reference.namespace)?;
        let namespace = if namespace.is_empty() { own.clone() } else { namespace };
        if namespace != *own && self.claim.owner == Owner::ClusterDeployment {
            return Err(Problem::failed(format!(
                "{field}.namespace is \"{namespace}\": a ClusterDeployment reads its own namespace \"{own}\" only"
            )));
        }
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
        let source = SourceSpec {
            deployment_type: reference.deployment_type,
            local_source_ref: Some(LocalSourceRef {
                kind,
                name: name.clone(),
                namespace: Some(namespace.clone()),
            }),
            path: reference.path.clone(),
            remote_source_spec: None,
        };
        let mut template = ServiceTemplate::new(
            "policyRefs",
            ServiceTemplateSpec { resources: Some(source), ..Default::default() },
        );
        template.metadata.namespace = Some(namespace.clone());
        let content = self.sight.content(&template);
        if reference.optional && matches!(&content, Err(Lack::Missing(_))) {
            return Ok(None);
        }
        let content = content.map_err(|lack| match lack {
            Lack::Missing(text) => Lack::Missing(format!("{field}: {text}")),
            Lack::Invalid(text) => Lack::Invalid(format!("{field}: {text}")),
            Lack::Waiting(text) => Lack::Waiting(text),
        });
        Ok(Some(self.policy_plan((kind, &namespace, &name), reference, &template, content, data)))
    }

    fn policy_plan(
        &self,
        (kind, namespace, name): (LocalSourceKind, &str, &str),
        reference: &PolicyRef,
        template: &ServiceTemplate,
        content: Result<super::template::Content, Lack>,
        data: &Data<'_>,
    ) -> ServicePlan {
        let release = (NAMESPACE.to_owned(), format!("{kind:?}-{namespace}-{name}").to_lowercase());
        let service = Service {
            name: release.1.clone(),
            namespace: release.0.clone(),
            template: format!("policyRefs {kind:?} {namespace}/{name}"),
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
