//! The Helm values of a service: documents of `valuesFrom` in order, then the inline text.
//!
//! As in Sveltos: all keys of a ConfigMap or Secret are documents, in order of name; the inline text holds Go templates,
//! a ConfigMap or Secret does when it says so with the annotation `projectsveltos.io/template`; the name of the object
//! may be a template too. Beyond k0rdent, an entry may name one key, and may be optional.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::k0rdent::{LocalSourceKind, ServiceTemplate, ValuesFrom, ValuesFromKind};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::ResourceExt;

use super::data::{Data, hide_document};
use super::origin::{DocumentOrigin, ObjectOrigin};
use super::resolve::Problem;
use super::template::Sight;

/// Says that the content of an object holds Go templates (Sveltos).
pub const TEMPLATE_ANNOTATION: &str = "projectsveltos.io/template";

/// The documents of a service, in the order in which they are merged.
#[derive(Debug, Default)]
pub struct Documents {
    /// Their texts.
    pub texts: Vec<String>,
    /// Where each came from.
    pub origins: Vec<DocumentOrigin>,
    /// Objects that templates read.
    pub objects: BTreeSet<ObjectOrigin>,
    /// The keys of `valuesFrom` with their texts: what the templates in a kustomization see.
    substitutes: BTreeMap<String, String>,
}

/// One ConfigMap or Secret, as documents by key.
struct Source {
    name: String,
    secret: bool,
    template: bool,
    keys: Vec<(String, Result<String, ()>)>,
}

impl Documents {
    /// Reads the documents.
    ///
    /// # Errors
    /// What is missing, or not readable, by document and key.
    pub fn read(
        sight: &Sight<'_>,
        namespace: &str,
        from: &[ValuesFrom],
        inline: Option<&str>,
        data: &Data<'_>,
    ) -> Result<Self, Problem> {
        let mut documents = Self::default();
        for (at, entry) in from.iter().enumerate() {
            documents.add_source(sight, namespace, (at, entry), data)?;
        }
        if let Some(inline) = inline.filter(|text| !text.trim().is_empty()) {
            documents.add("values".to_owned(), inline, (true, false), data)?;
        }
        Ok(documents)
    }

    fn add_source(
        &mut self,
        sight: &Sight<'_>,
        namespace: &str,
        (at, entry): (usize, &ValuesFrom),
        data: &Data<'_>,
    ) -> Result<(), Problem> {
        let name = data.expand_name(&format!("valuesFrom[{at}].name"), &entry.name)?;
        let source = match entry.kind {
            ValuesFromKind::ConfigMap => sight.view.get::<ConfigMap>(namespace, &name).map(of_config_map),
            ValuesFromKind::Secret => sight.view.get::<Secret>(namespace, &name).map(of_secret),
        };
        let kind = match entry.kind {
            ValuesFromKind::ConfigMap => "ConfigMap",
            ValuesFromKind::Secret => "Secret",
        };
        let Some(source) = source else {
            return if entry.optional {
                Ok(())
            } else {
                Err(Problem::failed(format!(
                    "failed to get {kind} {namespace}/{name} named in valuesFrom: {kind} \"{name}\" not found"
                )))
            };
        };
        if let Some(key) = &entry.key
            && !entry.optional
            && !source.keys.iter().any(|(one, _)| one == key)
        {
            let there: Vec<_> = source.keys.iter().map(|(one, _)| one.as_str()).collect();
            return Err(Problem::failed(format!(
                "{} named in valuesFrom has no key \"{key}\"; it has {}",
                source.name,
                if there.is_empty() { "none".to_owned() } else { there.join(", ") }
            )));
        }
        for (key, text) in &source.keys {
            if entry.key.as_ref().is_some_and(|wanted| wanted != key) {
                continue;
            }
            let text = text.as_ref().map_err(|()| {
                Problem::failed(format!(
                    "{} named in valuesFrom: key \"{key}\" is not UTF-8 text",
                    source.name
                ))
            })?;
            let what = format!("{} key \"{key}\"", source.name);
            self.add(what, text, (source.template, source.secret), data)?;
            let text = self.texts.last().cloned().unwrap_or_default();
            self.substitutes.insert(key.clone(), text);
        }
        Ok(())
    }

    /// What a kustomization built to, with the keys of `valuesFrom` put into it, as in Sveltos; without `valuesFrom`
    /// braces mean nothing.
    ///
    /// # Errors
    /// Which object holds a template that fails.
    pub fn substituted(&self, built: &[(String, String)]) -> Result<Vec<(String, String)>, Problem> {
        if self.substitutes.is_empty() {
            return Ok(built.to_vec());
        }
        let data = serde_json::json!(self.substitutes);
        let limits = render::Limits::default();
        let expand = |(name, text): &(String, String)| {
            let expanded = render::expand_template(name, text, &data, &limits).map_err(|error| {
                let secrets = self.texts.iter().zip(&self.origins).filter(|(_, origin)| origin.secret);
                let message =
                    secrets.fold(error.to_string(), |message, (text, _)| hide_document(&message, text));
                Problem::failed(message)
            })?;
            Ok((name.clone(), expanded.text))
        };
        built.iter().map(expand).collect()
    }

    fn add(
        &mut self,
        name: String,
        text: &str,
        (template, secret): (bool, bool),
        data: &Data<'_>,
    ) -> Result<(), Problem> {
        let template = template && text.contains("{{");
        let text = if template {
            let expanded = data.expand(&name, text).map_err(|problem| Problem {
                message: if secret { hide_document(&problem.message, text) } else { problem.message },
                ..problem
            })?;
            self.objects.extend(expanded.objects);
            expanded.text
        } else {
            text.to_owned()
        };
        self.origins.push(DocumentOrigin { name, bytes: text.len(), template, secret });
        self.texts.push(text);
        Ok(())
    }

    /// The first document that is no map of values, and why.
    pub fn fault(&self) -> Option<String> {
        self.texts.iter().zip(&self.origins).find_map(|(text, origin)| {
            let error = render::parse_values(text).err()?;
            Some(format!("{}: {error}", origin.name))
        })
    }

    /// Whether a Secret's content went in, as a document or through a template.
    pub fn hold_secrets(&self) -> bool {
        self.origins.iter().any(|origin| origin.secret) || self.objects.iter().any(|one| one.kind == "Secret")
    }

    /// The message without what Secrets said.
    pub fn redact(&self, message: &str, data: &Data<'_>) -> String {
        let secrets = self.texts.iter().zip(&self.origins).filter(|(_, origin)| origin.secret);
        secrets.fold(data.redact(message), |message, (text, _)| hide_document(&message, text))
    }
}

fn of_config_map(map: Arc<ConfigMap>) -> Source {
    Source {
        name: format!("ConfigMap {}/{}", map.namespace().unwrap_or_default(), map.name_any()),
        secret: false,
        template: map.annotations().contains_key(TEMPLATE_ANNOTATION),
        keys: map.data.iter().flatten().map(|(key, text)| (key.clone(), Ok(text.clone()))).collect(),
    }
}

fn of_secret(secret: Arc<Secret>) -> Source {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).map_err(|_| ());
    Source {
        name: format!("Secret {}/{}", secret.namespace().unwrap_or_default(), secret.name_any()),
        secret: true,
        template: secret.annotations().contains_key(TEMPLATE_ANNOTATION),
        keys: secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), text(&bytes.0))).collect(),
    }
}

/// What has to be minded about manifests.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Marks {
    /// They are Go templates.
    pub templated: bool,
    /// They are kept in a Secret.
    pub secret: bool,
}

impl Marks {
    /// Of a template.
    pub fn of(sight: &Sight<'_>, template: &ServiceTemplate) -> Self {
        let namespace = template.namespace().unwrap_or_default();
        Self { templated: are_templates(sight, &namespace, template), secret: are_secret(template) }
    }

    /// Of the template of this name.
    pub fn named(sight: &Sight<'_>, namespace: &str, template: &str) -> Self {
        let template = sight.view.get::<ServiceTemplate>(namespace, template);
        template.map_or_else(Self::default, |template| Self::of(sight, &template))
    }
}

/// Whether the manifests of a ServiceTemplate hold Go templates: the object they are in says so.
fn are_templates(sight: &Sight<'_>, namespace: &str, template: &ServiceTemplate) -> bool {
    let Some(source) = template.spec.resources.as_ref().and_then(|source| source.local_source_ref.as_ref())
    else {
        return template.annotations().contains_key(TEMPLATE_ANNOTATION);
    };
    let namespace = source.namespace.as_deref().unwrap_or(namespace);
    let marked = match source.kind {
        LocalSourceKind::ConfigMap => sight
            .view
            .get::<ConfigMap>(namespace, &source.name)
            .is_some_and(|one| one.annotations().contains_key(TEMPLATE_ANNOTATION)),
        LocalSourceKind::Secret => sight
            .view
            .get::<Secret>(namespace, &source.name)
            .is_some_and(|one| one.annotations().contains_key(TEMPLATE_ANNOTATION)),
        LocalSourceKind::GitRepository | LocalSourceKind::Bucket | LocalSourceKind::OciRepository => false,
    };
    marked || template.annotations().contains_key(TEMPLATE_ANNOTATION)
}

/// Whether the manifests of a ServiceTemplate are kept in a Secret.
fn are_secret(template: &ServiceTemplate) -> bool {
    let sources = [&template.spec.resources, &template.spec.kustomize];
    sources.into_iter().flatten().any(|source| {
        source.local_source_ref.as_ref().is_some_and(|source| source.kind == LocalSourceKind::Secret)
    })
}
