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
    /// The region it belongs to.
    pub home: RegionName,
    /// The region that serves it: its own, or the one that stands in while that is declared lost.
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
    standbys: BTreeMap<RegionName, Standby>,
    /// Edges that wait for approval.
    waiting: BTreeSet<ObjectName>,
}

/// What stands in for a region.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standby {
    /// The region that does.
    pub region: RegionName,
    /// Whether it does so now: the other one is declared lost.
    pub active: bool,
}

impl Lists {
    /// The region that serves the edges of that one.
    fn serving(&self, home: &RegionName) -> RegionName {
        let standby = self.standbys.get(home).filter(|standby| standby.active);
        // Nobody is sent to where nobody is.
        let standby =
            standby.filter(|standby| standby.region != *home && self.regions.contains(&standby.region));
        standby.map_or(home, |standby| &standby.region).clone()
    }

    /// Gives the edges of a region to whoever serves them now; who that concerns.
    fn serve_anew(&mut self, home: &RegionName) -> Vec<AgentId> {
        let serving = self.serving(home);
        let others = |edge: &&Arc<RosterEdge>| edge.home == *home && edge.region != serving;
        let moved: Vec<_> = self.edges.values().filter(others).cloned().collect();
        let mut agents = vec![AgentId::Region(home.clone())];
        for edge in moved {
            agents.push(AgentId::Edge(edge.id));
            self.insert(RosterEdge { region: serving.clone(), ..(*edge).clone() });
        }
        agents
    }

    fn insert(&mut self, edge: RosterEdge) {
        let id = edge.id;
        if let Some(known) = self.edges.get(&id)
            && let Some(ids) = self.by_region.get_mut(&known.region)
        {
            ids.remove(&id);
        }
        self.by_region.entry(edge.region.clone()).or_default().insert(id);
        self.edges.insert(id, Arc::new(edge));
    }
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

    /// How many edges wait for approval. They belong to nobody yet.
    pub fn waiting(&self) -> usize {
        self.lists().waiting.len()
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
        let Some(mut listed) = listed(edge) else {
            self.remove_edge(&object.0, &object.1);
            if edge.spec.waits() {
                self.write().waiting.insert(object);
            }
            return;
        };
        self.write().waiting.remove(&object);
        let id = listed.id;
        if self.by_object(&object.0, &object.1).is_some_and(|known| known.id != id) {
            self.remove_edge(&object.0, &object.1);
        }
        let mut lists = self.write();
        listed.region = lists.serving(&listed.home);
        if lists.edges.get(&id).is_some_and(|known| **known == listed) {
            return;
        }
        if let Some(cluster) = &listed.cluster_deployment {
            lists.by_cluster.entry(cluster.clone()).or_default().insert(id);
        }
        lists.ids.insert(object, id);
        lists.insert(listed);
        drop(lists);
        self.0.announcer.announce(&AgentId::Edge(id));
    }

    /// What stands in for a region, if anything does. Its edges are the other one's while it is declared lost.
    pub fn set_standby(&self, name: &str, standby: Option<Standby>) {
        let Ok(home) = name.parse::<RegionName>() else { return };
        let mut lists = self.write();
        if lists.standbys.get(&home) == standby.as_ref() {
            return;
        }
        match standby {
            Some(standby) => lists.standbys.insert(home.clone(), standby),
            None => lists.standbys.remove(&home),
        };
        let agents = lists.serve_anew(&home);
        drop(lists);
        agents.iter().for_each(|agent| self.0.announcer.announce(agent));
    }

    /// What stands in for a region.
    pub fn standby(&self, region: &RegionName) -> Option<Standby> {
        self.lists().standbys.get(region).cloned()
    }

    /// The `Edge` object is gone.
    pub fn remove_edge(&self, namespace: &str, name: &str) {
        let mut lists = self.write();
        let object = (namespace.to_owned(), name.to_owned());
        lists.waiting.remove(&object);
        let Some(id) = lists.ids.remove(&object) else { return };
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
        if !changed {
            return;
        }
        let stood_in: Vec<_> = lists
            .standbys
            .iter()
            .filter(|(_, standby)| standby.region == region)
            .map(|(home, _)| home.clone())
            .collect();
        let mut agents = vec![AgentId::Region(region)];
        stood_in.iter().for_each(|home| agents.extend(lists.serve_anew(home)));
        drop(lists);
        agents.iter().for_each(|agent| self.0.announcer.announce(agent));
    }

    fn lists(&self) -> std::sync::RwLockReadGuard<'_, Lists> {
        self.0.lists.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> std::sync::RwLockWriteGuard<'_, Lists> {
        self.0.lists.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `None` until the object says which agent it stands for, and while that waits for approval. One that was refused is
/// listed as revoked, so that its region hears of it.
fn listed(edge: &Edge) -> Option<RosterEdge> {
    if edge.spec.waits() {
        return None;
    }
    let home: RegionName = edge.spec.region.parse().ok()?;
    let id = edge.status.as_ref()?.agent_id.as_ref()?.parse().ok()?;
    Some(RosterEdge {
        id,
        namespace: edge.namespace().unwrap_or_default(),
        name: edge.name_any(),
        region: home.clone(),
        home,
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
    fn an_edge_that_waits_belongs_to_nobody_until_a_person_has_said_yes_or_no() {
        let roster = Roster::default();
        let mut one = edge("one", 1, "eu");
        let mut put = |approved, revoked| {
            (one.spec.approved, one.spec.revoked) = (approved, revoked);
            roster.put_edge(&one);
            let listed = roster.edge(&EdgeId([1; 16])).map(|edge| edge.revoked);
            (roster.waiting(), listed)
        };
        assert_eq!(put(Some(false), false), (1, None));
        assert_eq!(put(Some(false), true), (0, Some(true)));
        assert_eq!(put(Some(true), false), (0, Some(false)));
        assert_eq!(put(Some(false), false), (1, None));
        roster.remove_edge("kcm-system", "one");
        assert_eq!(roster.waiting(), 0);
    }

    #[test]
    fn an_edge_that_moves_is_its_new_regions_alone() {
        let roster = Roster::default();
        roster.put_edge(&edge("one", 1, "eu"));
        roster.put_edge(&edge("one", 1, "us"));
        let of = |region: &str| roster.of_region(&region.parse().unwrap());
        assert_eq!((of("eu"), of("us")), (vec![], vec![EdgeId([1; 16])]));
    }

    #[test]
    fn the_edges_of_a_lost_region_are_its_standbys_until_it_is_back() {
        let roster = Roster::default();
        roster.put_edge(&edge("one", 1, "eu"));
        roster.put_edge(&edge("two", 2, "us"));
        let standby = |active| Some(Standby { region: "us".parse().unwrap(), active });
        let of = |region: &str| roster.of_region(&region.parse().unwrap()).len();
        roster.set_standby("eu", standby(false));
        assert_eq!((of("eu"), of("us")), (1, 1));
        let mut changes = roster.subscribe();
        changes.take();
        // As long as there is no such region, nobody is sent there.
        roster.set_standby("eu", standby(true));
        assert_eq!((of("eu"), of("us")), (1, 1));
        changes.take();
        roster.set_region("us", true);
        assert_eq!((of("eu"), of("us")), (0, 2));
        assert_eq!(changes.take().len(), 3, "both regions and the edge");
        // One that enrols meanwhile too.
        roster.put_edge(&edge("three", 3, "eu"));
        let three = roster.edge(&EdgeId([3; 16])).unwrap();
        assert_eq!((three.region.as_str(), three.home.as_str()), ("us", "eu"));
        roster.set_standby("eu", None);
        assert_eq!((of("eu"), of("us")), (2, 1));
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
