//! Applying a unit: what is new is entered into the inventory, then namespaces and definitions, hooks, and
//! the rest in the unit's order, objects of the same kind side by side.

use std::time::Duration;

use futures::StreamExt;
use protocol::plan::{HookEvent, UnitId, UnitKind};
use protocol::report::ObjectHealth;
use serde::Deserialize;

use super::{CALLS_CONCURRENT, Context, End, Event, Item, Outcome, Trouble, Worker};
use crate::api::{ApiError, Failure};
use crate::board::Sight;
use crate::live::Live;
use crate::object::{self, ObjectId, Place, UNIT_LABEL};
use crate::store::Row;

/// How long definitions may take to be established.
const ESTABLISH_WAIT: Duration = Duration::from_secs(30);
/// How long an established definition may take to be listed by discovery.
const DISCOVERY_WAIT: Duration = Duration::from_secs(10);
/// First pause between two looks at discovery, and the longest.
const DISCOVERY_PAUSE: Duration = Duration::from_millis(20);
const DISCOVERY_PAUSE_MAX: Duration = Duration::from_secs(1);

impl Worker {
    /// Writes and checks objects, then removes those that left the unit.
    pub(super) async fn apply(
        &self,
        items: Vec<Item>,
        unplaced: bool,
        gone: Vec<Row>,
        before: Option<HookEvent>,
    ) -> Result<End, Trouble> {
        let items = self.enter(items).await?;
        let stage = |item: &Item| object::stage(&self.unit.objects[item.index]);
        let (foundation, rest): (Vec<Item>, Vec<Item>) = items.into_iter().partition(|item| stage(item) < 2);
        let definitions: Vec<&Item> = foundation.iter().filter(|item| stage(item) == 1).collect();
        self.write_all(&foundation).await?;
        let defined = |item: &Item| {
            let group = &item.place.id.group;
            let of_group = |name: &str| name.split_once('.').is_some_and(|(_, of)| of == group);
            definitions.iter().any(|definition| of_group(&definition.place.id.name))
        };
        if unplaced || rest.iter().any(defined) {
            self.established(&definitions).await?;
        }
        if unplaced && !definitions.is_empty() {
            return Ok(End::Again);
        }
        if let Some(event) = before {
            self.run_hooks(event).await?;
        }
        self.write_all(&rest).await?;
        if !gone.is_empty() {
            self.prune(gone, false).await?;
        }
        Ok(End::Complete)
    }

    /// Enters objects that were never touched into the inventory, durably, before they are. What belongs to
    /// somebody else is refused here.
    async fn enter(&self, items: Vec<Item>) -> Result<Vec<Item>, Trouble> {
        if items.iter().all(|item| item.row.is_some() || item.check) {
            return Ok(items);
        }
        let looks: Vec<_> = items.into_iter().map(|item| self.look(item)).collect();
        let mut looks = futures::stream::iter(looks).buffered(CALLS_CONCURRENT);
        let (mut entered, mut rows, mut refused) = (Vec::new(), Vec::new(), Vec::new());
        while let Some((mut item, live)) = looks.next().await {
            let live = match live {
                Ok(live) => live,
                // Others of the unit may be looked at all the same.
                Err(error) if error.failure == Failure::Refused => {
                    refused.push((item.index, Outcome::Refused(error.text)));
                    continue;
                }
                Err(error) => return Err(Trouble::about(&item.place, error)),
            };
            if item.row.is_none() {
                match self.claim(live.as_ref()) {
                    Ok(claim) => {
                        let row = self.row(&item, claim.adopted);
                        item.force |= claim.force;
                        rows.push(row.clone());
                        item.row = Some(row);
                    }
                    Err(text) => {
                        refused.push((item.index, Outcome::Foreign(text)));
                        continue;
                    }
                }
            }
            entered.push(item);
        }
        drop(looks);
        if !refused.is_empty() {
            self.tell(Event::Outcomes(refused)).await;
        }
        self.still_wanted()?;
        self.tell(Event::Begun(rows.clone())).await;
        let begun = self.context.store.begin(&self.unit, self.context.now(), rows);
        begun.durable().await.map_err(|error| Trouble::store(&error))?;
        if self.unit.create_namespace {
            self.ensure_namespace().await?;
        }
        Ok(entered)
    }

    /// What is there of an object that was never touched.
    async fn look(&self, item: Item) -> (Item, Result<Option<Live>, ApiError>) {
        let live = match item.row {
            Some(_) => Ok(None),
            None => self.context.api.get(&item.place).await,
        };
        (item, live)
    }

    pub(super) fn row(&self, item: &Item, adopted: bool) -> Row {
        Row {
            id: ObjectId::clone(&item.place.id),
            version: item.place.resource.version.clone(),
            unit: self.owner.unit.clone(),
            ordinal: u32::try_from(item.index).unwrap_or(u32::MAX),
            digest: None,
            fields: None,
            adopted,
        }
    }

    /// Whether Helm says that the object belongs to the release that the unit is: then it was installed by Helm, or by
    /// what uses Helm, and is taken over.
    fn of_this_release(&self, live: &Live) -> bool {
        let annotations = &live.metadata.annotations;
        let says = |key: &str, value: &str| annotations.get(key).is_some_and(|text| text == value);
        self.unit.kind == UnitKind::Helm
            && !annotations.contains_key(UNIT_LABEL)
            && says("meta.helm.sh/release-name", &self.unit.id.name)
            && says("meta.helm.sh/release-namespace", &self.unit.id.namespace)
    }

    /// Whether an object that may exist already can be ours.
    pub(super) fn claim(&self, live: Option<&Live>) -> Result<Claim, String> {
        let Some(live) = live else { return Ok(Claim { adopted: false, force: false }) };
        if self.owner.owns(&live.metadata) {
            return Ok(Claim { adopted: false, force: true });
        }
        if self.unit.take_ownership || self.of_this_release(live) {
            return Ok(Claim { adopted: false, force: true });
        }
        match live.metadata.annotations.get(UNIT_LABEL) {
            Some(unit) => {
                let agent = live.metadata.annotations.get(object::AGENT_ANNOTATION);
                let agent = agent.map_or("another agent", String::as_str);
                Err(format!(
                    "belongs to unit \"{unit}\" of {agent}; remove it there, or set takeOwnership to take it over"
                ))
            }
            None => Ok(Claim { adopted: true, force: false }),
        }
    }

    /// Makes the release's namespace if it is missing.
    pub(super) async fn ensure_namespace(&self) -> Result<(), Trouble> {
        let UnitId { namespace, .. } = &self.unit.id;
        if namespace.is_empty() {
            return Ok(());
        }
        let api = &self.context.api;
        let resource = self.context.discovery.resolve(api, "", "v1", "Namespace").await;
        let resource = resource.map_err(Trouble::api)?;
        let resource =
            resource.ok_or_else(|| Trouble::Failed("the API server serves no namespaces".to_owned()))?;
        let id = ObjectId {
            group: String::new(),
            kind: "Namespace".to_owned(),
            namespace: String::new(),
            name: namespace.clone(),
        };
        let place = Place { id: std::sync::Arc::new(id), resource };
        match api.get(&place).await {
            Ok(None) => {}
            Ok(Some(_)) => return Ok(()),
            // Who may not look at namespaces may work in one all the same; if it is missing, its objects tell.
            Err(error) if error.failure == Failure::Refused => return Ok(()),
            Err(error) => return Err(Trouble::about(&place, error)),
        }
        let body =
            serde_json::json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": namespace}});
        match api.create(&place, body.to_string().into_bytes()).await {
            Ok(_) => Ok(()),
            Err(error) if error.failure == Failure::Conflict => Ok(()),
            Err(error) => Err(Trouble::about(&place, error)),
        }
    }

    /// Writes items in order; consecutive ones of the same kind side by side.
    async fn write_all(&self, items: &[Item]) -> Result<(), Trouble> {
        for batch in items.chunk_by(|a, b| a.place.resource == b.place.resource) {
            self.still_wanted()?;
            let writes: Vec<_> = batch.iter().map(|item| self.write_or_check(item)).collect();
            let mut writes = futures::stream::iter(writes).buffered(CALLS_CONCURRENT);
            let (mut outcomes, mut trouble) = (Vec::with_capacity(batch.len()), None);
            while let Some((index, result)) = writes.next().await {
                match result {
                    Ok(outcome) => outcomes.push((index, outcome)),
                    Err(lost) => trouble = Some(lost),
                }
            }
            drop(writes);
            self.tell(Event::Outcomes(outcomes)).await;
            if let Some(trouble) = trouble {
                return Err(trouble);
            }
        }
        Ok(())
    }

    /// Waits until the API server serves what definitions define.
    async fn established(&self, definitions: &[&Item]) -> Result<(), Trouble> {
        for definition in definitions {
            let place = &definition.place;
            let mut sight = self.context.board.follow(&place.id);
            self.context.watch(&place.resource).await;
            let now = self.context.api.get(place).await.map_err(|error| Trouble::about(place, error))?;
            let Some(live) = now else { continue };
            let ready = |sight: &Sight| {
                matches!(sight, Sight::Present { health: ObjectHealth::Current | ObjectHealth::Failed, .. })
            };
            if !ready(&Sight::of(&place.resource, &live)) {
                let waited = self.wait(tokio::time::timeout(ESTABLISH_WAIT, sight.wait_for(ready))).await?;
                if waited.is_err() {
                    let seconds = ESTABLISH_WAIT.as_secs();
                    let what = format!("{} was not established within {seconds} s", place.id);
                    return Err(Trouble::Failed(what));
                }
            }
            self.served(definition).await?;
        }
        Ok(())
    }

    /// Waits until the kinds of a definition are found: an API server says that a definition is established a moment
    /// before it lists it. What does not come is told where an object needs it.
    async fn served(&self, definition: &Item) -> Result<(), Trouble> {
        let content = self.context.content(definition.digest).await?;
        let Ok(Defined { spec: DefinedSpec { group, names, versions } }) =
            serde_json::from_slice(&content.json)
        else {
            return Ok(());
        };
        let Context { api, discovery, .. } = &*self.context;
        let all_found = async {
            for version in versions.iter().filter(|version| version.served) {
                let mut pause = DISCOVERY_PAUSE;
                while discovery.resolve(api, &group, &version.name, &names.kind).await?.is_none() {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(DISCOVERY_PAUSE_MAX);
                }
            }
            Ok(())
        };
        let waited = self.wait(tokio::time::timeout(DISCOVERY_WAIT, all_found)).await?;
        waited.unwrap_or(Ok(())).map_err(Trouble::api)
    }
}

/// What a definition defines.
#[derive(Deserialize)]
struct Defined {
    spec: DefinedSpec,
}

#[derive(Deserialize)]
struct DefinedSpec {
    group: String,
    names: DefinedNames,
    versions: Vec<DefinedVersion>,
}

#[derive(Deserialize)]
struct DefinedNames {
    kind: String,
}

#[derive(Deserialize)]
struct DefinedVersion {
    name: String,
    served: bool,
}

/// How an object can be ours.
pub(super) struct Claim {
    pub(super) adopted: bool,
    pub(super) force: bool,
}
