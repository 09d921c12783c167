//! Removing what is no longer wanted: in reverse order of installation, only what is ours by inventory and
//! by its own marks, never a namespace or a definition that others use.

use std::sync::Arc;

use futures::StreamExt;
use protocol::plan::{HookEvent, Removal};
use serde_json::json;

use super::{CALLS_CONCURRENT, End, Event, Trouble, Worker};
use crate::live::Live;
use crate::object::{self, AGENT_ANNOTATION, ObjectId, Place, UNIT_LABEL};
use crate::store::Row;

/// Annotation of objects that Helm does not delete.
const POLICY: &str = "helm.sh/resource-policy";

/// What a namespace holds without anybody having put it there.
const NAMESPACE_FURNITURE: [(&str, &str); 4] = [
    ("ConfigMap", "kube-root-ca.crt"),
    ("ConfigMap", "openshift-service-ca.crt"),
    ("ServiceAccount", "default"),
    ("Secret", "default-token"),
];

/// Kinds that controllers make for other objects, and that go with them.
const NAMESPACE_BYPRODUCTS: [&str; 5] =
    ["Event", "Endpoints", "EndpointSlice", "ControllerRevision", "Lease"];

impl Worker {
    /// Removes the unit from the cluster, or leaves its objects without an owner.
    pub(super) async fn remove(&self, rows: Vec<Row>) -> Result<End, Trouble> {
        match self.unit.removal {
            Removal::Prune => {
                self.run_hooks(HookEvent::PreDelete).await?;
                self.forget_records().await?;
                self.prune(rows, true).await?;
                self.run_hooks(HookEvent::PostDelete).await?;
            }
            Removal::Leave => {
                for row in rows.iter().rev() {
                    if let Some((place, live)) = self.find(row).await? {
                        self.release(&place, &live).await?;
                    }
                    self.forget(vec![row.id.clone()], 0).await;
                }
            }
        }
        Ok(End::Removed)
    }

    /// Deletes rows in reverse order; consecutive ones of the same kind side by side.
    pub(super) async fn prune(&self, mut rows: Vec<Row>, whole_unit: bool) -> Result<(), Trouble> {
        rows.sort_by_key(|row| (foundation(row), std::cmp::Reverse(row.ordinal)));
        for batch in rows.chunk_by(|a, b| (&a.id.group, &a.id.kind) == (&b.id.group, &b.id.kind)) {
            let removals: Vec<_> =
                batch.iter().map(|row| async move { (row, self.prune_one(row, whole_unit).await) }).collect();
            let mut removals = futures::stream::iter(removals).buffered(CALLS_CONCURRENT);
            let (mut ids, mut deleted, mut trouble) = (Vec::new(), 0, None);
            while let Some((row, result)) = removals.next().await {
                match result {
                    Ok(was_deleted) => {
                        deleted += u64::from(was_deleted);
                        ids.push(row.id.clone());
                    }
                    Err(error) => trouble = Some(error),
                }
            }
            drop(removals);
            self.forget(ids, deleted).await;
            if let Some(trouble) = trouble {
                return Err(trouble);
            }
        }
        Ok(())
    }

    /// Strikes objects off the inventory.
    async fn forget(&self, ids: Vec<ObjectId>, deleted: u64) {
        self.context.store.drop_rows(self.owner.unit.clone(), ids.clone()).forget();
        self.tell(Event::Pruned { ids, deleted }).await;
    }

    /// The object of a row, if it exists and is ours.
    async fn find(&self, row: &Row) -> Result<Option<(Place, Live)>, Trouble> {
        let api = &self.context.api;
        let ObjectId { group, kind, .. } = &row.id;
        let resource = self.context.discovery.resolve(api, group, &row.version, kind).await;
        // A kind that is not served any more has no objects.
        let Some(resource) = resource.map_err(Trouble::api)? else { return Ok(None) };
        let place = Place { id: Arc::new(row.id.clone()), resource };
        let live = api.get(&place).await.map_err(|error| Trouble::about(&place, error))?;
        let Some(live) = live.filter(|live| self.owner.agent_owns(&live.metadata)) else { return Ok(None) };
        // Which of our units has it is for the inventory to say. It is asked after the object was read, so
        // that a unit that takes it over in between changes the object, and the deletion does not apply.
        let unit = self.context.store.unit_of(&row.id).await.map_err(|error| Trouble::store(&error))?;
        Ok((unit.as_ref() == Some(&self.owner.unit)).then_some((place, live)))
    }

    /// Deletes one object; false if it was left or is not ours. What changes meanwhile is looked at again: it
    /// may have become another unit's.
    async fn prune_one(&self, row: &Row, whole_unit: bool) -> Result<bool, Trouble> {
        let mut sight = self.context.board.follow(&row.id);
        loop {
            self.still_wanted()?;
            let Some((place, live)) = self.find(row).await? else { return Ok(false) };
            if let Some(reason) = self.reason_to_leave(row, &live, whole_unit).await? {
                tracing::info!(object = %row.id, unit = self.owner.unit, reason, "left on the cluster");
                self.release(&place, &live).await?;
                return Ok(false);
            }
            self.context.watch(&place.resource).await;
            if self.delete_and_wait(&place, &live, &mut sight).await? {
                return Ok(true);
            }
        }
    }

    /// Why an object of ours must stay all the same.
    async fn reason_to_leave(
        &self,
        row: &Row,
        live: &Live,
        whole_unit: bool,
    ) -> Result<Option<String>, Trouble> {
        let ObjectId { group, kind, name, .. } = &row.id;
        let definition = object::is_definition(group, kind);
        match () {
            () if kept(live) => Ok(Some(format!("its annotation {POLICY} says keep"))),
            () if row.adopted => Ok(Some("it was there before the unit".to_owned())),
            () if definition && !self.unit.prunes_definitions() => {
                Ok(Some("definitions stay unless pruneDefinitions is set".to_owned()))
            }
            () if definition && !whole_unit => Ok(Some("definitions go only with their unit".to_owned())),
            () if definition => self.foreign_instance(name).await,
            () if object::is_namespace(group, kind) => self.foreign_content(name).await,
            () => Ok(None),
        }
    }

    /// Takes our marks off an object.
    async fn release(&self, place: &Place, live: &Live) -> Result<(), Trouble> {
        let patch = json!({"metadata": {
            "uid": live.metadata.uid,
            "labels": {UNIT_LABEL: null},
            "annotations": {UNIT_LABEL: null, AGENT_ANNOTATION: null},
        }});
        let released = self.context.api.merge(place, &patch).await;
        released.map(|_| ()).map_err(|error| Trouble::about(place, error))
    }

    /// Whether a namespace holds what nobody but its owner put there: then it stays.
    async fn foreign_content(&self, namespace: &str) -> Result<Option<String>, Trouble> {
        let api = &self.context.api;
        for resource in api.namespaced_kinds().await.map_err(Trouble::api)? {
            if NAMESPACE_BYPRODUCTS.contains(&resource.kind.as_str()) {
                continue;
            }
            let foreign = api.foreign(&resource, namespace).await.map_err(Trouble::api)?;
            let found = foreign.iter().find(|live| {
                let name = live.metadata.name.as_str();
                let furniture = NAMESPACE_FURNITURE
                    .iter()
                    .any(|(kind, start)| resource.kind == *kind && name.starts_with(start));
                !furniture && !live.metadata.owned && !live.metadata.terminating()
            });
            if let Some(live) = found {
                let name = &live.metadata.name;
                return Ok(Some(format!("{} {namespace}/{name} in it is not ours", resource.kind)));
            }
        }
        Ok(None)
    }

    /// Whether objects of a defined kind exist that are not ours: then the definition stays.
    async fn foreign_instance(&self, definition: &str) -> Result<Option<String>, Trouble> {
        let api = &self.context.api;
        let Some((plural, group)) = definition.split_once('.') else { return Ok(None) };
        let Some(version) = api.preferred_version(group).await.map_err(Trouble::api)? else {
            return Ok(None);
        };
        let kinds = api.resources(group, &version).await.map_err(Trouble::api)?.unwrap_or_default();
        let Some(resource) = kinds.into_iter().find(|kind| kind.plural == plural) else { return Ok(None) };
        let foreign = api.foreign(&resource, "").await.map_err(Trouble::api)?;
        Ok(foreign.first().map(|live| format!("{} {} is not ours", resource.kind, live.metadata.name)))
    }
}

/// Whether its author wants the object to outlive its release. Source: Helm, "Tell Helm Not To Uninstall a Resource".
pub(super) fn kept(live: &Live) -> bool {
    let policy = live.metadata.annotations.get(POLICY);
    policy.is_some_and(|policy| policy.trim().eq_ignore_ascii_case("keep"))
}

/// What was applied first goes last: 1 for definitions, 2 for namespaces, 0 for all else.
fn foundation(row: &Row) -> u8 {
    let ObjectId { group, kind, .. } = &row.id;
    u8::from(object::is_namespace(group, kind)) * 2 + u8::from(object::is_definition(group, kind))
}
