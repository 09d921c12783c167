//! `ServiceTemplate`, `ClusterTemplate` and their chains: what was found in the content, and whether it can be used.

use std::collections::BTreeMap;

use api::conditions::{kind, set_condition, status};
use api::k0rdent::{
    Artifact, ChartRef, ClusterTemplate, ClusterTemplateStatus, ServiceTemplate, ServiceTemplateStatus,
    SourceStatus, SupportedTemplate, TemplateChainStatus,
};
use api::names::annotation;
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::ResourceExt;

use crate::admission::rules::chain_faults;
use crate::content::{Failure, FetchedChart, told};
use crate::services::supply::SourceState;
use crate::services::template::{Body, Lack, Sight};

pub(super) fn service(
    template: &ServiceTemplate,
    sight: &Sight<'_>,
    now: Timestamp,
) -> ServiceTemplateStatus {
    let mut before = template.status.clone().unwrap_or_default();
    let state = sight.source_state(template);
    before.source_status = state.map(|state| source_status(state, before.source_status.take(), now));
    let generation = template.metadata.generation;
    match sight.content(template) {
        Ok(content) => {
            let chart = match &content.body {
                Body::Chart(chart) => Some(chart.as_ref()),
                Body::Manifests(_) => None,
            };
            ServiceTemplateStatus {
                chart_ref: chart.map(|_| chart_ref(template)),
                chart_version: chart.map(|chart| chart.version.clone()),
                config: chart.map(|chart| chart.chart.values().clone()),
                description: chart.and_then(description),
                k8s_constraint: template
                    .spec
                    .k8s_constraint
                    .clone()
                    .or_else(|| chart.and_then(|chart| annotated(chart, annotation::CHART_K8S_CONSTRAINT))),
                observed_generation: generation,
                valid: true,
                validation_error: content.stale.as_ref().map(stale),
                ..before
            }
        }
        Err(lack) => {
            let (valid, validation_error) = lacking(&lack, before.valid, before.validation_error.clone());
            ServiceTemplateStatus { valid, validation_error, ..before }
        }
    }
}

pub(super) fn cluster(template: &ClusterTemplate, sight: &Sight<'_>) -> ClusterTemplateStatus {
    let before = template.status.clone().unwrap_or_default();
    let namespace = template.namespace().unwrap_or_default();
    match sight.chart(&namespace, &template.spec.helm) {
        Ok((chart, failure)) => {
            let annotated_providers = annotated(&chart, annotation::CHART_PROVIDER).unwrap_or_default();
            let providers = annotated_providers.split(',').map(str::trim).filter(|one| !one.is_empty());
            ClusterTemplateStatus {
                chart_ref: Some(chart_ref(template)),
                chart_version: Some(chart.version.clone()),
                config: Some(chart.chart.values().clone()),
                description: description(&chart),
                k8s_version: template
                    .spec
                    .k8s_version
                    .clone()
                    .or_else(|| annotated(&chart, annotation::CHART_K8S_VERSION)),
                observed_generation: template.metadata.generation,
                provider_contracts: contracts(template, &chart),
                providers: if template.spec.providers.is_empty() {
                    providers.map(str::to_owned).collect()
                } else {
                    template.spec.providers.clone()
                },
                schema_config_map_name: before.schema_config_map_name,
                valid: true,
                validation_error: failure.as_ref().map(stale),
            }
        }
        Err(lack) => {
            let (valid, validation_error) = lacking(&lack, before.valid, before.validation_error.clone());
            ClusterTemplateStatus { valid, validation_error, ..before }
        }
    }
}

/// How the source stands; times stay while nothing changes.
fn source_status(state: SourceState, before: Option<SourceStatus>, now: Timestamp) -> SourceStatus {
    let SourceState { kind: of, name, namespace, fetched, failure } = state;
    let same = |one: &SourceStatus| one.kind == of && one.name == name && one.namespace == namespace;
    let before = before.filter(same).unwrap_or_default();
    let known = before.artifact;
    let artifact = fetched.map(|(url, artifact)| {
        let digest = format!("sha256:{}", artifact.digest);
        let known = known.filter(|known| known.digest == digest && known.revision == artifact.revision);
        Artifact {
            last_update_time: known.map_or(Time(now), |known| known.last_update_time),
            size: i64::try_from(artifact.size()).ok(),
            metadata: BTreeMap::new(),
            // The hub hands content to no one but itself.
            path: String::new(),
            revision: artifact.revision.clone(),
            digest,
            url,
        }
    });
    let mut conditions = before.conditions;
    let (status, reason, message) = match (failure, &artifact) {
        (Some(failure), _) => (status::FALSE, "Failed", failure),
        (None, Some(artifact)) => {
            (status::TRUE, "Succeeded", format!("fetched revision {}", artifact.revision))
        }
        (None, None) => (status::TRUE, "Succeeded", "the object is there".to_owned()),
    };
    set_condition(&mut conditions, kind::READY, status, reason, message, None, Time(now));
    SourceStatus { artifact, conditions, kind: of.to_owned(), name, namespace, observed_generation: None }
}

/// What is told of a template whose last good content stays in force.
fn stale(failure: &Failure) -> String {
    format!("the source cannot be read now, the last good revision stays: {}", told(failure))
}

/// While a chart is fetched for the first time since the hub started, what was known before stays.
fn lacking(lack: &Lack, valid: bool, error: Option<String>) -> (bool, Option<String>) {
    match lack {
        Lack::Waiting(_) if valid => (true, error),
        Lack::Waiting(message) | Lack::Missing(message) | Lack::Invalid(message) => {
            (false, Some(message.clone()))
        }
    }
}

fn chart_ref<K: kube::Resource>(template: &K) -> ChartRef {
    ChartRef { name: template.name_any(), namespace: template.namespace(), ..ChartRef::default() }
}

fn description(chart: &FetchedChart) -> Option<String> {
    let text = &chart.chart.metadata().description;
    (!text.is_empty()).then(|| text.clone())
}

fn annotated(chart: &FetchedChart, key: &str) -> Option<String> {
    chart.chart.metadata().annotations.get(key).cloned()
}

fn contracts(template: &ClusterTemplate, chart: &FetchedChart) -> std::collections::BTreeMap<String, String> {
    if !template.spec.provider_contracts.is_empty() {
        return template.spec.provider_contracts.clone();
    }
    let annotations = &chart.chart.metadata().annotations;
    annotations
        .iter()
        .filter(|(key, _)| *key != annotation::CHART_PROVIDER)
        .filter_map(|(key, value)| {
            let provider = key.strip_prefix(annotation::CHART_CONTRACT_PREFIX)?;
            Some((provider.to_owned(), value.clone()))
        })
        .collect()
}

/// A chain is valid when its templates exist and its upgrades stay inside it.
pub(super) fn chain(supported: &[SupportedTemplate], exists: impl Fn(&str) -> bool) -> TemplateChainStatus {
    let mut problems = Vec::new();
    for (index, template) in supported.iter().enumerate() {
        if !exists(&template.name) {
            problems.push(format!("spec.supportedTemplates[{index}].name: Not found: \"{}\"", template.name));
        }
    }
    problems.extend(chain_faults(supported));
    let validation_error = (!problems.is_empty())
        .then(|| format!("the template chain spec is invalid: {}", problems.join("; ")));
    TemplateChainStatus { valid: problems.is_empty(), validation_error }
}
