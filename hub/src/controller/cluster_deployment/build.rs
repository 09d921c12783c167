//! Step 3: the chart with the configuration and what k0rdent injects, as a unit.

use api::k0rdent::{ClusterDeployment, Credential, HelmOptions};
use api::names;
use kube::ResourceExt;
use protocol::id::AgentId;
use protocol::plan::{DriftMode, Removal, UnitKind};
use protocol::policy::Leeways;
use serde_json::{Map, Value, json};

use super::{ClusterPlan, Valid, unit_id};
use crate::planner::rendering::{Options, Request, Unrendered};
use crate::planner::sealing::Recipient;
use crate::planner::unit::{Extras, Frame};
use crate::services::built::{Built, Sealed};
use crate::services::origin::{DocumentOrigin, Origin, SourceOrigin};
use crate::services::resolve::Renderer;
use crate::services::template::{Body, Chart, Sight};

pub(super) fn build(valid: Valid, sight: &Sight<'_>, renderer: &dyn Renderer) -> ClusterPlan {
    let Valid { found, region } = valid;
    let (template, chart) = match found.template {
        Ok((template, chart)) => (Ok(template), Some(chart)),
        Err(lack) => (Err(lack), None),
    };
    let mut plan = ClusterPlan {
        region,
        paused: found.region.as_ref().is_some_and(|region| region.paused),
        template,
        chart: Err("the chart is not known without a template".to_owned()),
        stale: chart.as_ref().and_then(|(_, failure)| failure.as_ref()).map(crate::content::told),
        credential: found.credential,
        fresh: None,
        planned: None,
    };
    let Some(chart) = chart else { return plan };
    let recipient = plan.region.as_ref().ok().zip(found.region).map(|(name, region)| Recipient {
        agent: AgentId::Region(name.clone()),
        annotations: region.annotations,
    });
    let credential = plan.credential.as_deref().ok();
    match render(&found.deployment, credential, chart, recipient.as_ref(), renderer) {
        Ok(built) => {
            plan.chart = Ok(());
            let deleting = found.deployment.metadata.deletion_timestamp.is_some();
            if !found.deployment.spec.dry_run && !plan.paused && !deleting && plan.region.is_ok() {
                plan.fresh = Some(built.clone());
                plan.planned = Some(built);
            }
        }
        Err(unrendered) => {
            if let Some(key) = unrendered.waits_for {
                sight.view.note(key.kind, &key.namespace, &key.name);
            }
            plan.chart = Err(unrendered.message);
        }
    }
    plan
}

fn render(
    deployment: &ClusterDeployment,
    credential: Option<&Credential>,
    (chart, _): Chart,
    recipient: Option<&Recipient>,
    renderer: &dyn Renderer,
) -> Result<Built, Unrendered> {
    let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
    let version = chart.version.clone();
    let source = SourceOrigin {
        template: deployment.spec.template.clone(),
        kind: "chart".to_owned(),
        version: version.clone(),
        digest: chart.digest.clone(),
        stale: None,
    };
    let documents = [values(deployment, credential).map_err(Unrendered::failed)?.to_string()];
    let request = Request {
        body: &Body::Chart(chart),
        namespace: &namespace,
        name: &name,
        documents: &documents,
        kubernetes_version: None,
        labels: &[(names::label::HELM_NAME, &name), (names::label::HELM_NAMESPACE, &namespace)],
        store: Some((&namespace, &name)),
        patches: &[],
        options: Options::default(),
    };
    let bundle = renderer.render(&request)?;
    let sealed = Sealed::make(bundle, false, recipient, renderer).map_err(Unrendered::failed)?;
    let frame = Frame {
        id: unit_id(&namespace, &name),
        kind: UnitKind::Helm,
        template: deployment.spec.template.clone(),
        version,
        tier: 0,
        depends_on: Vec::new(),
        drift: DriftMode::Repair,
        removal: Removal::Prune,
        // Its release is the management cluster's affair, and its objects are the region's.
        chart: None,
        dry_run: false,
        // Half of a cluster is no reason to take the other half away.
        rollback_after: None,
        leeway: Leeways::default(),
        extras: Extras::default(),
        options: HelmOptions { timeout: Some("30m".to_owned()), ..HelmOptions::default() },
    };
    let config = DocumentOrigin {
        name: "spec.config with what the hub adds".to_owned(),
        bytes: documents[0].len(),
        ..DocumentOrigin::default()
    };
    let origin = Origin { source, documents: vec![config], objects: Vec::new() };
    Ok(Built::new(frame, sealed, origin))
}

/// `spec.config` with what k0rdent's `fillHelmValues` adds.
fn values(deployment: &ClusterDeployment, credential: Option<&Credential>) -> Result<Value, String> {
    let mut values = match &deployment.spec.config {
        None | Some(Value::Null) => Map::new(),
        Some(Value::Object(map)) => map.clone(),
        Some(other) => return Err(format!("spec.config is {other}: an object with Helm values is accepted")),
    };
    if let Some(credential) = credential {
        let identity = &credential.spec.identity_ref;
        values.insert(
            "clusterIdentity".to_owned(),
            json!({
                "apiVersion": identity.api_version, "kind": identity.kind,
                "name": identity.name, "namespace": identity.namespace,
            }),
        );
    }
    if !values.contains_key("clusterLabels") {
        values.insert("clusterLabels".to_owned(), json!(deployment.labels()));
    }
    Ok(Value::Object(values))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn identity_and_labels_are_injected_and_given_labels_stay() {
        let mut deployment: ClusterDeployment = serde_json::from_value(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ClusterDeployment",
            "metadata": {"name": "a", "namespace": "b", "labels": {"zone": "x"}},
            "spec": {"template": "t", "config": {"replicas": 3}},
        }))
        .unwrap();
        let credential: Credential = serde_json::from_value(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "Credential", "metadata": {"name": "c"},
            "spec": {"identityRef": {"apiVersion": "v1", "kind": "Secret", "name": "s", "namespace": "b"}},
        }))
        .unwrap();
        assert_eq!(
            values(&deployment, Some(&credential)).unwrap(),
            json!({
                "replicas": 3, "clusterLabels": {"zone": "x"},
                "clusterIdentity": {"apiVersion": "v1", "kind": "Secret", "name": "s", "namespace": "b"},
            })
        );
        deployment.spec.config = Some(json!({"clusterLabels": {"zone": "y"}}));
        assert_eq!(values(&deployment, None).unwrap(), json!({"clusterLabels": {"zone": "y"}}));
        deployment.spec.config = Some(json!([1]));
        assert!(values(&deployment, None).unwrap_err().starts_with("spec.config is [1]"));
    }
}
