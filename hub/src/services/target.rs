//! What services are put on: a cluster that a ClusterDeployment makes, or a cluster or device that enrolled itself.

use std::collections::BTreeMap;

use api::k0rdent::ClusterDeployment;
use api::names;
use api::skein::Edge;
use kube::ResourceExt;
use protocol::id::{AgentId, EdgeId};
use serde_json::{Value, json};

use crate::cache::{Key, Kind};
use crate::planner::bundle::Bundle;
use crate::planner::sealing::Recipient;
use crate::roster::ObjectName;

/// Which object stands for a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TargetKind {
    /// A `ClusterDeployment`.
    ClusterDeployment,
    /// An `Edge` that no ClusterDeployment made.
    Edge,
}

/// Names a target.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetName {
    /// What it is.
    pub kind: TargetKind,
    /// Namespace of its object.
    pub namespace: String,
    /// Name of its object.
    pub name: String,
}

impl TargetName {
    /// A name of parts.
    pub fn new(kind: TargetKind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// The key of its object.
    pub fn key(&self) -> Key {
        let kind = match self.kind {
            TargetKind::ClusterDeployment => Kind::ClusterDeployment,
            TargetKind::Edge => Kind::Edge,
        };
        Key::new(kind, &self.namespace, &self.name)
    }

    /// Namespace and name.
    pub fn object(&self) -> ObjectName {
        (self.namespace.clone(), self.name.clone())
    }
}

/// A target as it is now.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    /// Its name.
    pub name: TargetName,
    /// UID of its object.
    pub uid: String,
    /// Labels that MultiClusterServices select by.
    pub labels: BTreeMap<String, String>,
    /// Namespace in which templates of MultiClusterServices are looked up.
    pub template_namespace: String,
    /// Its region, once that is known.
    pub region: Option<String>,
    /// The edge agent on it, once there is one.
    pub agent: Option<EdgeId>,
    /// The same with what it told of its keys.
    pub recipient: Option<Recipient>,
    /// Kubernetes version, as far as it is known.
    pub kubernetes_version: Option<String>,
    /// The object that Go templates in values see as `.Cluster`.
    pub cluster: Value,
    /// What the Cluster API object refers to as its infrastructure, as it was rendered.
    pub infrastructure: Option<Value>,
    /// What the Cluster API object refers to as its control plane, as it was rendered.
    pub control_plane: Option<Value>,
    /// The `Edge` object that belongs to it, without status.
    pub edge: Option<Value>,
    /// Whether it is being deleted.
    pub deleting: bool,
    /// Of the management cluster itself: the namespace of its sets.
    pub management: Option<String>,
}

impl Target {
    /// The target that a ClusterDeployment stands for; `cluster` is the rendered Cluster API object, if there is one.
    pub fn of_cluster(
        deployment: &ClusterDeployment,
        region: Option<String>,
        cluster: Option<&Value>,
    ) -> Self {
        let (namespace, name) = (deployment.namespace().unwrap_or_default(), deployment.name_any());
        let labels = deployment.labels().clone();
        let mut shown = cluster.cloned().unwrap_or_else(|| {
            json!({"apiVersion": "cluster.x-k8s.io/v1beta2", "kind": "Cluster", "metadata": {}, "spec": {}})
        });
        describe(&mut shown, &namespace, &name, &labels, deployment.annotations());
        Self {
            uid: deployment.uid().unwrap_or_default(),
            template_namespace: namespace.clone(),
            name: TargetName { kind: TargetKind::ClusterDeployment, namespace, name },
            labels,
            region,
            agent: None,
            recipient: None,
            kubernetes_version: None,
            cluster: shown,
            infrastructure: None,
            control_plane: None,
            edge: None,
            deleting: deployment.metadata.deletion_timestamp.is_some(),
            management: None,
        }
    }

    /// The target that an enrolled edge stands for.
    pub fn of_edge(edge: &Edge, system_namespace: &str) -> Self {
        let (namespace, name) = (edge.namespace().unwrap_or_default(), edge.name_any());
        let labels = edge.labels().clone();
        let cluster = Self::shown_edge(edge);
        let status = edge.status.as_ref();
        let agent = status.and_then(|status| status.agent_id.as_ref()).and_then(|id| id.parse().ok());
        Self {
            uid: edge.uid().unwrap_or_default(),
            template_namespace: edge
                .spec
                .template_namespace
                .clone()
                .unwrap_or_else(|| system_namespace.to_owned()),
            name: TargetName { kind: TargetKind::Edge, namespace, name },
            labels,
            region: Some(edge.spec.region.clone()),
            agent,
            recipient: agent.map(|agent| Self::recipient(agent, edge)),
            kubernetes_version: status.and_then(|status| status.kubernetes_version.clone()),
            infrastructure: None,
            control_plane: None,
            edge: Some(cluster.clone()),
            cluster,
            deleting: edge.metadata.deletion_timestamp.is_some() || edge.spec.revoked,
            management: Self::is_of_management(edge).then(|| system_namespace.to_owned()),
        }
    }

    /// Whether an edge says that it is the management cluster's.
    pub fn is_of_management(edge: &Edge) -> bool {
        edge.spec.cluster_deployment.is_none()
            && edge.labels().get(names::label::MANAGEMENT_CLUSTER).map(String::as_str) == Some("true")
    }

    /// The edge's agent as a recipient of plans.
    pub fn recipient(agent: EdgeId, edge: &Edge) -> Recipient {
        Recipient { agent: AgentId::Edge(agent), annotations: edge.annotations().clone() }
    }

    /// Takes over what the Cluster API object refers to, from the same bundle.
    pub fn refer(&mut self, bundle: &Bundle) {
        let of = |field: &str| {
            let reference = self.cluster.pointer(field)?;
            let text = |name: &str| reference.get(name).and_then(Value::as_str);
            let (kind, name) = (text("kind")?, text("name")?);
            let piece = bundle
                .objects
                .iter()
                .find(|piece| piece.entry.key.kind == kind && piece.entry.key.name == name)?;
            serde_json::from_slice(&piece.content).ok()
        };
        (self.infrastructure, self.control_plane) =
            (of("/spec/infrastructureRef"), of("/spec/controlPlaneRef"));
    }

    /// The edge agent's object as templates see it.
    pub fn shown_edge(edge: &Edge) -> Value {
        let mut shown = json!({
            "apiVersion": "skein.dev/v1alpha1", "kind": "Edge", "metadata": {}, "spec": edge.spec,
        });
        let (namespace, name) = (edge.namespace().unwrap_or_default(), edge.name_any());
        describe(&mut shown, &namespace, &name, edge.labels(), edge.annotations());
        shown
    }

    /// Whether it belongs to a region other than the management cluster.
    pub fn is_regional(&self) -> bool {
        self.region.as_deref().is_some_and(|region| region != names::LOCAL_REGION)
    }
}

/// Fills metadata with what the object at the hub says; what the chart set itself stays.
fn describe(
    object: &mut Value,
    namespace: &str,
    name: &str,
    labels: &BTreeMap<String, String>,
    annotations: &BTreeMap<String, String>,
) {
    let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) else { return };
    metadata.entry("name").or_insert_with(|| json!(name));
    metadata.entry("namespace").or_insert_with(|| json!(namespace));
    for (field, pairs) in [("labels", labels), ("annotations", annotations)] {
        let shown = metadata.entry(field).or_insert_with(|| json!({}));
        let Some(shown) = shown.as_object_mut() else { continue };
        for (key, value) in pairs.iter().filter(|(key, _)| !key.starts_with("kubectl.kubernetes.io/")) {
            shown.entry(key.clone()).or_insert_with(|| json!(value));
        }
    }
}
