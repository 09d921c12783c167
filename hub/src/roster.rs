//! Who belongs to the mesh: edges by identity, by object and by region, and the regions there are.
//!
//! Built from `Edge` and `Region` objects as they are seen. Admission asks it: an agent without an object, or
//! with a revoked one, is refused.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use api::skein::Edge;
use bytes::Bytes;
use kube::ResourceExt;
use protocol::id::{AgentId, EdgeId, RegionName};

use crate::authority;
use crate::changes::{Announcer, Changes};

/// Namespace and name of an object.
pub type ObjectName = (String, String);

/// An enrolled edge.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RosterEdge {
    /// Its identity.
    pub id: EdgeId,
    /// Namespace of its `Edge` object.
    pub namespace: String,
    /// Name of its `Edge` object.
    pub name: String,
    /// Its region.
    pub region: RegionName,
    /// Whether it is to be refused from now on.
    pub revoked: bool,
    /// The `ClusterDeployment` it was made for.
    pub cluster_deployment: Option<ObjectName>,
    /// Its device, once it is known.
    pub device: Option<Device>,
}

/// What is on record of an edge's device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its public key (Ed25519, 32 bytes).
    pub key: Bytes,
    /// How often it has returned.
    pub returns: u64,
}

/// All edges and regions. Clones share the content.
#[derive(Clone, Default)]
pub struct Roster(Arc<Shared>);

#[derive(Default)]
struct Shared {
    lists: RwLock<Lists>,
    complete: AtomicBool,
    announcer: Announcer<AgentId>,
}

#[derive(Default)]
struct Lists {
    edges: BTreeMap<EdgeId, Arc<RosterEdge>>,
    ids: BTreeMap<ObjectName, EdgeId>,
    by_region: BTreeMap<RegionName, BTreeSet<EdgeId>>,
    by_cluster: BTreeMap<ObjectName, BTreeSet<EdgeId>>,
    regions: BTreeSet<RegionName>,
}

impl Roster {
    /// Whether all objects that there were at the start are in. Before, who is missing may still come.
    pub fn is_complete(&self) -> bool {
        self.0.complete.load(Ordering::Acquire)
    }

    /// All objects that there were at the start are in.
    pub fn completed(&self) {
        self.0.complete.store(true, Ordering::Release);
    }

    /// The edge with this identity.
    pub fn edge(&self, id: &EdgeId) -> Option<Arc<RosterEdge>> {
        self.lists().edges.get(id).cloned()
    }

    /// The edge whose object has this name.
    pub fn by_object(&self, namespace: &str, name: &str) -> Option<Arc<RosterEdge>> {
        let lists = self.lists();
        let id = lists.ids.get(&(namespace.to_owned(), name.to_owned()))?;
        lists.edges.get(id).cloned()
    }

    /// The edge that was made for this `ClusterDeployment`; the first by identity when there are several.
    pub fn by_cluster(&self, namespace: &str, name: &str) -> Option<Arc<RosterEdge>> {
        let lists = self.lists();
        let id = lists.by_cluster.get(&(namespace.to_owned(), name.to_owned()))?.first()?;
        lists.edges.get(id).cloned()
    }

    /// The edges of a region, in order.
    pub fn of_region(&self, region: &RegionName) -> Vec<EdgeId> {
        self.lists().by_region.get(region).map(|ids| ids.iter().copied().collect()).unwrap_or_default()
    }

    /// Whether there is a `Region` object of this name.
    pub fn has_region(&self, region: &RegionName) -> bool {
        self.lists().regions.contains(region)
    }

    /// All regions, in order.
    pub fn regions(&self) -> Vec<RegionName> {
        self.lists().regions.iter().cloned().collect()
    }

    /// All edges, in order of identity.
    pub fn edges(&self) -> Vec<Arc<RosterEdge>> {
        self.lists().edges.values().cloned().collect()
    }

    /// Agents that came, changed or went.
    pub fn subscribe(&self) -> Changes<AgentId> {
        self.0.announcer.subscribe()
    }

    /// Takes over an `Edge` object as it is now. Whoever makes one may call this at once; the watch confirms it.
    pub fn put_edge(&self, edge: &Edge) {
        let object = (edge.namespace().unwrap_or_default(), edge.name_any());
        let Some(listed) = listed(edge) else { return self.remove_edge(&object.0, &object.1) };
        let id = listed.id;
        if self.by_object(&object.0, &object.1).is_some_and(|known| known.id != id) {
            self.remove_edge(&object.0, &object.1);
        }
        let mut lists = self.write();
        if lists.edges.get(&id).is_some_and(|known| **known == listed) {
            return;
        }
        lists.by_region.entry(listed.region.clone()).or_default().insert(id);
        if let Some(cluster) = &listed.cluster_deployment {
            lists.by_cluster.entry(cluster.clone()).or_default().insert(id);
        }
        lists.ids.insert(object, id);
        lists.edges.insert(id, Arc::new(listed));
        drop(lists);
        self.0.announcer.announce(&AgentId::Edge(id));
    }

    /// The `Edge` object is gone.
    pub fn remove_edge(&self, namespace: &str, name: &str) {
        let mut lists = self.write();
        let Some(id) = lists.ids.remove(&(namespace.to_owned(), name.to_owned())) else { return };
        if let Some(edge) = lists.edges.remove(&id) {
            if let Some(ids) = lists.by_region.get_mut(&edge.region) {
                ids.remove(&id);
            }
            if let Some(cluster) = &edge.cluster_deployment
                && let Some(ids) = lists.by_cluster.get_mut(cluster)
            {
                ids.remove(&id);
                if ids.is_empty() {
                    lists.by_cluster.remove(cluster);
                }
            }
        }
        drop(lists);
        self.0.announcer.announce(&AgentId::Edge(id));
    }

    /// The `Region` object is there, or gone.
    pub fn set_region(&self, name: &str, there: bool) {
        let Ok(region) = name.parse::<RegionName>() else { return };
        let mut lists = self.write();
        let changed =
            if there { lists.regions.insert(region.clone()) } else { lists.regions.remove(&region) };
        drop(lists);
        if changed {
            self.0.announcer.announce(&AgentId::Region(region));
        }
    }

    fn lists(&self) -> std::sync::RwLockReadGuard<'_, Lists> {
        self.0.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Lists> {
        self.0.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` until the object says which agent it stands for.
fn listed(edge: &Edge) -> Option<RosterEdge> {
    let id = edge.status.as_ref()?.agent_id.as_ref()?.parse().ok()?;
    Some(RosterEdge {
        id,
        namespace: edge.namespace().unwrap_or_default(),
        name: edge.name_any(),
        region: edge.spec.region.parse().ok()?,
        revoked: edge.spec.revoked,
        cluster_deployment: edge
            .spec
            .cluster_deployment
            .as_ref()
            .map(|cluster| (cluster.namespace.clone(), cluster.name.clone())),
        device: authority::device_of(edge.annotations()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::skein::{EdgeSpec, EdgeStatus};

    fn edge(name: &str, id: u8, region: &str) -> Edge {
        let mut edge = Edge::new(name, EdgeSpec { region: region.to_owned(), ..EdgeSpec::default() });
        edge.metadata.namespace = Some("kcm-system".to_owned());
        let agent_id = Some(EdgeId([id; 16]).to_string());
        edge.status = Some(EdgeStatus { agent_id, ..EdgeStatus::default() });
        edge
    }

    #[test]
    fn an_edge_is_found_by_identity_object_and_region_until_its_object_goes() {
        let roster = Roster::default();
        let mut changes = roster.subscribe();
        let (id, region) = (EdgeId([1; 16]), "eu".parse().unwrap());
        roster.put_edge(&edge("one", 1, "eu"));
        roster.put_edge(&edge("one", 1, "eu"));
        assert_eq!(changes.take().len(), 1);
        assert_eq!(roster.edge(&id).unwrap().name, "one");
        assert_eq!(roster.by_object("kcm-system", "one").unwrap().id, id);
        assert_eq!(roster.of_region(&region), [id]);
        roster.remove_edge("kcm-system", "one");
        assert!(roster.edge(&id).is_none() && roster.of_region(&region).is_empty());
    }

    #[test]
    fn an_object_that_stands_for_another_agent_replaces_the_first() {
        let roster = Roster::default();
        roster.put_edge(&edge("one", 1, "eu"));
        roster.put_edge(&edge("one", 2, "eu"));
        assert!(roster.edge(&EdgeId([1; 16])).is_none());
        assert_eq!(roster.by_object("kcm-system", "one").unwrap().id, EdgeId([2; 16]));
    }
}
