//! What is wrong with the services of a `serviceSpec`, in k0rdent's words: the admission webhook asks it of what comes, and
//! conditions ask it of what is there. One judge, so that both doors say the same.
//!
//! Templates and chains are judged by their statuses, as k0rdent does. What is planned never hangs on those: where a
//! target is, its own resolution tells more, and sooner.

use api::k0rdent::Service;

use super::dependency::{check_services, name_of};
use crate::cache::Cache;

/// Templates and chains of services.
///
/// # Errors
/// k0rdent's messages, one a line.
pub fn references(cache: &Cache, namespace: &str, services: &[Service]) -> Result<(), String> {
    let mut wrong = Vec::new();
    for service in services {
        wrong.extend(template_of(cache, namespace, service).err());
        wrong.extend(chain_of(cache, namespace, service).err());
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!("some services have invalid templates\n{}", wrong.join("\n")))
}

/// Names of services, and what they wait for.
///
/// # Errors
/// k0rdent's message.
pub fn dependencies(services: &[Service]) -> Result<(), String> {
    for service in services {
        let (namespace, name) = name_of(service);
        for (field, text) in [("name", &name), ("namespace", &namespace)] {
            if !is_label(text) {
                return Err(format!(
                    "service {field} \"{text}\" is not a DNS-1123 label: at most 63 of a-z, 0-9 and '-' are accepted, with a letter or digit at both ends"
                ));
            }
        }
    }
    check_services(services)
}

/// Whether somebody has judged what a service names; what has only just come is neither good nor bad.
pub fn is_judged(cache: &Cache, namespace: &str, service: &Service) -> bool {
    let template = cache.service_templates.get(namespace, &service.template);
    let chain =
        service.template_chain.as_ref().and_then(|name| cache.service_template_chains.get(namespace, name));
    template.is_none_or(|template| template.status.is_some())
        && chain.is_none_or(|chain| chain.status.is_some())
}

fn template_of(cache: &Cache, namespace: &str, service: &Service) -> Result<(), String> {
    let name = &service.template;
    let template = cache.service_templates.get(namespace, name).ok_or_else(|| {
        format!(
            "failed to get ServiceTemplate {namespace}/{name}: ServiceTemplate.k0rdent.mirantis.com \"{name}\" not found"
        )
    })?;
    let status = template.status.clone().unwrap_or_default();
    if status.valid {
        return Ok(());
    }
    let why = status.validation_error.unwrap_or_default();
    Err(format!("the ServiceTemplate {namespace}/{name} is invalid with the error: {why}"))
}

fn chain_of(cache: &Cache, namespace: &str, service: &Service) -> Result<(), String> {
    let Some(name) = service.template_chain.as_ref().filter(|name| !name.is_empty()) else { return Ok(()) };
    let chain = cache.service_template_chains.get(namespace, name).ok_or_else(|| {
        format!(
            "failed to get ServiceTemplateChain {namespace}/{name}: ServiceTemplateChain.k0rdent.mirantis.com \"{name}\" not found"
        )
    })?;
    let status = chain.status.clone().unwrap_or_default();
    if !status.valid {
        let why = status.validation_error.unwrap_or_default();
        return Err(format!("the ServiceTemplateChain {namespace}/{name} is invalid with the error: {why}"));
    }
    if chain.spec.supported_templates.iter().any(|one| one.name == service.template) {
        return Ok(());
    }
    Err(format!(
        "the ServiceTemplateChain {namespace}/{name} does not support ServiceTemplate {namespace}/{}",
        service.template
    ))
}

fn is_label(text: &str) -> bool {
    let inner = |one: char| one.is_ascii_lowercase() || one.is_ascii_digit() || one == '-';
    (1..=63).contains(&text.len())
        && text.chars().all(inner)
        && !text.starts_with('-')
        && !text.ends_with('-')
}
