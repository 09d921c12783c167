//! What Go templates in values and manifests see, as Sveltos offers it and a little more.
//!
//! | name | is |
//! |---|---|
//! | `Cluster` | the Cluster API object, or the Edge that stands for an enrolled cluster |
//! | `InfrastructureProvider`, `KubeadmControlPlane` (also `ControlPlane`) | the objects that `Cluster` refers to, as the template rendered them |
//! | `ClusterDeployment`, `Edge`, `Region`, `Credential` | the objects of that kind that belong to the target, without status |
//! | `Labels` | what MultiClusterServices select by |
//! | `MgmtResources` | the objects of `templateResourceRefs` by identifier |
//!
//! Objects are read on the management cluster: rendering happens there.
//!
//! # Why a set of a ClusterDeployment reads Secrets of its own namespace only
//! Whoever may make a ClusterDeployment in one namespace must not read the Secrets of another through a template. The
//! identity that the Credential names is the exception k0rdent makes. A MultiClusterService belongs to the platform and
//! may refer to anything.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use api::k0rdent::{ClusterDeployment, Credential, Region, TemplateResourceRef};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::ResourceExt;
use serde_json::{Map, Value, json};

use super::claim::{Claim, Owner};
use super::origin::ObjectOrigin;
use super::resolve::Problem;
use super::target::{Target, TargetKind};
use super::template::Sight;
use crate::cache::resources::{Found, ResourceKind};
use crate::cache::view::Part;

/// Most objects that one set may refer to.
const REFERENCES_MAX: usize = 256;

/// The data of one set on one target, read when the first template asks.
pub struct Data<'a> {
    target: &'a Target,
    claim: &'a Claim,
    sight: &'a Sight<'a>,
    simple: OnceCell<Value>,
    read: OnceCell<Result<Read, Problem>>,
}

/// The data, and which objects it came from.
struct Read {
    json: Value,
    objects: BTreeMap<String, ObjectOrigin>,
    secrets: Vec<Value>,
}

/// A text that was expanded.
#[derive(Debug)]
pub struct Text {
    /// The text.
    pub text: String,
    /// What it used: objects with the parts that matter.
    pub objects: BTreeSet<ObjectOrigin>,
}

impl<'a> Data<'a> {
    /// The data of a claim on a target; nothing is read yet.
    pub fn new(target: &'a Target, claim: &'a Claim, sight: &'a Sight<'a>) -> Self {
        Self { target, claim, sight, simple: OnceCell::new(), read: OnceCell::new() }
    }

    /// Expands a text; one without templates is returned as it is and reads nothing.
    ///
    /// # Errors
    /// Where the text fails, in `what`; or which object it refers to is missing.
    pub fn expand(&self, what: &str, text: &str) -> Result<Text, Problem> {
        if !text.contains("{{") {
            return Ok(Text { text: text.to_owned(), objects: BTreeSet::new() });
        }
        let read = self.read.get_or_init(|| self.read()).as_ref().map_err(Clone::clone)?;
        let expanded = render::expand_template(what, text, &read.json, &render::Limits::default())
            .map_err(|error| Problem::failed(self.redact(&error.to_string())))?;
        let objects = read.objects.iter().filter(|(name, _)| {
            expanded.used.contains(*name) || (name.starts_with("MgmtResources.") && !named_only(text))
        });
        Ok(Text { text: expanded.text, objects: objects.map(|(_, origin)| origin.clone()).collect() })
    }

    /// Expands a name: only what needs no reference is there.
    pub fn expand_name(&self, what: &str, text: &str) -> Result<String, Problem> {
        if !text.contains("{{") {
            return Ok(text.to_owned());
        }
        let data = self.simple.get_or_init(|| Value::Object(self.simple_facts()));
        render::expand_template(what, text, data, &render::Limits::default())
            .map(|expanded| expanded.text.trim().to_owned())
            .map_err(|error| Problem::failed(error.to_string()))
    }

    /// The text without what Secrets said.
    pub fn redact(&self, text: &str) -> String {
        let Some(Ok(read)) = self.read.get() else { return text.to_owned() };
        read.secrets.iter().fold(text.to_owned(), |text, secret| redact(&text, secret))
    }

    /// The facts that need no reference.
    fn simple_facts(&self) -> Map<String, Value> {
        let target = self.target;
        let mut facts = Map::new();
        facts.insert("Cluster".to_owned(), target.cluster.clone());
        facts.insert("Labels".to_owned(), json!(target.labels));
        for (name, object) in [
            ("InfrastructureProvider", &target.infrastructure),
            ("KubeadmControlPlane", &target.control_plane),
            ("ControlPlane", &target.control_plane),
            ("Edge", &target.edge),
        ] {
            if let Some(object) = object {
                facts.insert(name.to_owned(), object.clone());
            }
        }
        if let Some(deployment) = self.deployment() {
            facts.insert("ClusterDeployment".to_owned(), desired(&*deployment));
        }
        facts
    }

    fn deployment(&self) -> Option<std::sync::Arc<ClusterDeployment>> {
        let name = &self.target.name;
        // A change of it decides its target again by itself.
        match name.kind {
            TargetKind::ClusterDeployment => {
                self.sight.view.unrecorded().cluster_deployments.get(&name.namespace, &name.name)
            }
            TargetKind::Edge => None,
        }
    }

    fn credential(&self) -> Option<std::sync::Arc<Credential>> {
        let deployment = self.deployment()?;
        let name = deployment.spec.credential.as_deref().filter(|name| !name.is_empty())?;
        self.sight.view.get::<Credential>(&self.target.name.namespace, name)
    }

    fn read(&self) -> Result<Read, Problem> {
        let mut facts = self.simple_facts();
        let mut objects = BTreeMap::new();
        let credential = self.credential();
        if let Some(region) = &self.target.region {
            let object = self.sight.view.get::<Region>("", region);
            let shown = object.map_or_else(|| json!({"metadata": {"name": region}}), |one| desired(&*one));
            facts.insert("Region".to_owned(), shown);
            objects.insert("Region".to_owned(), ObjectOrigin::of("Region", "", region));
        }
        if let Some(credential) = &credential {
            facts.insert("Credential".to_owned(), desired(&**credential));
            let namespace = credential.namespace().unwrap_or_default();
            let origin = ObjectOrigin::of("Credential", &namespace, &credential.name_any());
            objects.insert("Credential".to_owned(), origin);
        }
        let (mut resources, mut secrets) = (Map::new(), Vec::new());
        let given = self.references()?;
        let propagated = self.propagated(credential.as_deref());
        for (reference, own) in
            given.iter().map(|one| (one, true)).chain(propagated.iter().map(|one| (one, false)))
        {
            if resources.contains_key(&reference.identifier) {
                continue;
            }
            let Some((object, origin)) = self.resource(reference, own)? else { continue };
            if origin.kind == "Secret" {
                secrets.push(object.clone());
            }
            resources.insert(reference.identifier.clone(), object);
            objects.insert(format!("MgmtResources.{}", reference.identifier), origin);
        }
        facts.insert("MgmtResources".to_owned(), Value::Object(resources));
        Ok(Read { json: Value::Object(facts), objects, secrets })
    }

    /// What the set's provider configuration refers to.
    fn references(&self) -> Result<Vec<TemplateResourceRef>, Problem> {
        let list = self
            .claim
            .carrying
            .provider
            .config
            .as_ref()
            .and_then(|config| config.get("templateResourceRefs"))
            .filter(|list| !list.is_null());
        let Some(list) = list else { return Ok(Vec::new()) };
        let references: Vec<TemplateResourceRef> = serde_json::from_value(list.clone())
            .map_err(|error| Problem::failed(format!("templateResourceRefs cannot be read: {error}")))?;
        if references.len() > REFERENCES_MAX {
            return Err(Problem::failed(format!(
                "templateResourceRefs has {} entries, at most {REFERENCES_MAX} are accepted",
                references.len()
            )));
        }
        Ok(references)
    }

    /// k0rdent: services of a ClusterDeployment see the identity of its Credential, and the Secret beside it.
    fn propagated(&self, credential: Option<&Credential>) -> Vec<TemplateResourceRef> {
        let (Owner::ClusterDeployment, Some(credential)) = (&self.claim.owner, credential) else {
            return Vec::new();
        };
        if self.deployment().is_none_or(|deployment| !deployment.spec.propagate_credentials) {
            return Vec::new();
        }
        let mut identity = credential.spec.identity_ref.clone();
        identity.namespace = identity.namespace.or_else(|| credential.namespace());
        let name = identity.name.clone().unwrap_or_default();
        let secret = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Secret".to_owned()),
            name: Some(format!("{name}-secret")),
            namespace: identity.namespace.clone(),
            ..ObjectReference::default()
        };
        let reference = |identifier: &str, resource| TemplateResourceRef {
            identifier: identifier.to_owned(),
            optional: true,
            ignore_status_changes: true,
            resource,
            ..TemplateResourceRef::default()
        };
        vec![
            reference("InfrastructureProviderIdentity", identity),
            reference("InfrastructureProviderIdentitySecret", secret),
        ]
    }

    /// The object; `None` when it is optional and not there.
    fn resource(
        &self,
        reference: &TemplateResourceRef,
        own: bool,
    ) -> Result<Option<(Value, ObjectOrigin)>, Problem> {
        let TemplateResourceRef { identifier, optional, resource, .. } = reference;
        let field = |name: &str| format!("templateResourceRefs \"{identifier}\".resource.{name}");
        let expand = |name: &str, text: &Option<String>| {
            self.expand_name(&field(name), text.as_deref().unwrap_or_default())
        };
        let (kind, name) = (resource.kind.clone().unwrap_or_default(), expand("name", &resource.name)?);
        for (what, text) in [("kind", &kind), ("name", &name)] {
            if text.is_empty() {
                return Err(Problem::failed(format!("{} is empty: name an object", field(what))));
            }
        }
        let namespace = expand("namespace", &resource.namespace)?;
        let namespace = if namespace.is_empty() { self.claim.set.0.clone() } else { namespace };
        let of_platform = matches!(self.claim.owner, Owner::MultiClusterService(_));
        if own && kind == "Secret" && namespace != self.claim.set.0 && !of_platform {
            return Err(Problem::failed(format!(
                "{} is \"{namespace}\": a ClusterDeployment reads Secrets of its own namespace \"{}\" only",
                field("namespace"),
                self.claim.set.0
            )));
        }
        let api_version = resource.api_version.clone().filter(|version| !version.is_empty());
        let at = ResourceKind { api_version: api_version.unwrap_or_else(|| "v1".to_owned()), kind };
        let parts = Part::of(&reference.watch_fields, reference.ignore_status_changes);
        let mut origin = ObjectOrigin::of(&at.kind, &namespace, &name);
        origin.parts = parts.iter().map(ToString::to_string).collect();
        match self.sight.view.resource(&at, &namespace, &name, parts) {
            Found::Object(object) => {
                origin.version = object
                    .pointer("/metadata/resourceVersion")
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned();
                Ok(Some((Value::clone(&object), origin)))
            }
            Found::Absent(_) if *optional => Ok(None),
            Found::Absent(why) => Err(Problem::failed(format!(
                "templateResourceRefs \"{identifier}\": failed to get {} {namespace}/{name}: {why}",
                at.kind
            ))),
            Found::Unknown => Err(Problem::pending(format!(
                "templateResourceRefs \"{identifier}\": objects of kind {} are being listed",
                at.kind
            ))),
        }
    }
}

/// Whether a template reaches resources by name only, so that what it used is known one by one.
fn named_only(text: &str) -> bool {
    let whole = text.match_indices("MgmtResources").filter(|(at, word)| {
        let behind = &text[at + word.len()..];
        let named = |rest: &str| rest.starts_with(|c: char| c.is_alphanumeric() || c == '_');
        !(behind.strip_prefix('.').is_some_and(named) || behind.trim_start().starts_with('"'))
    });
    whole.count() == 0
}

/// An object as templates see it: what is desired of it.
fn desired<K: kube::Resource<DynamicType = ()> + serde::Serialize>(object: &K) -> Value {
    let mut value = serde_json::to_value(object).unwrap_or_default();
    if let Some(map) = value.as_object_mut() {
        map.remove("status");
        map.insert("apiVersion".to_owned(), json!(K::api_version(&())));
        map.insert("kind".to_owned(), json!(K::kind(&())));
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            for name in ["managedFields", "resourceVersion", "generation"] {
                metadata.remove(name);
            }
            if let Some(annotations) = metadata.get_mut("annotations").and_then(Value::as_object_mut) {
                annotations.remove("kubectl.kubernetes.io/last-applied-configuration");
            }
        }
    }
    value
}

/// The text without the values of a Secret, neither as they are kept nor decoded.
fn redact(text: &str, secret: &Value) -> String {
    let mut text = text.to_owned();
    for (field, encoded) in [("data", true), ("stringData", false)] {
        for value in secret.get(field).and_then(Value::as_object).into_iter().flat_map(Map::values) {
            let Some(value) = value.as_str() else { continue };
            text = hide(&text, value);
            if encoded
                && let Ok(bytes) = serde_json::from_value::<k8s_openapi::ByteString>(json!(value))
                && let Ok(plain) = String::from_utf8(bytes.0)
            {
                text = hide_document(&text, &plain);
            }
        }
    }
    text
}

/// The text without a secret document: neither whole, nor its lines, nor the values on them.
pub fn hide_document(text: &str, document: &str) -> String {
    let mut text = hide(text, document.trim());
    for line in document.lines() {
        text = hide(&text, line.trim());
        if let Some((_, value)) = line.split_once(':') {
            text = hide(&text, value.trim().trim_matches(['"', '\'']));
        }
    }
    text
}

/// Texts shorter than this are not hidden: they would hide half of every sentence, and tell nothing.
const HIDDEN_MIN: usize = 4;

fn hide(text: &str, secret: &str) -> String {
    if secret.len() < HIDDEN_MIN { text.to_owned() } else { text.replace(secret, "(hidden)") }
}
