//! Writing one object, or looking whether it is as it should be.

use serde_json::Value;

use super::{Item, Outcome, Trouble, Worker, secrecy};
use crate::api::{ApiError, Failure};
use crate::difference::{Quoting, difference};
use crate::field_set;
use crate::live::Live;
use crate::object::{self, ObjectId};
use crate::rules::{self, Rules};
use crate::store::Row;

impl Worker {
    pub(super) async fn write_or_check(&self, item: &Item) -> (usize, Result<Outcome, Trouble>) {
        let result = if item.check { self.check(item).await } else { self.write(item).await };
        let outcome = match result {
            Err(Trouble::Failed(text)) => Ok(Outcome::Failed(text)),
            Ok(_) | Err(Trouble::Unreachable(_) | Trouble::Stopped) => result,
        };
        (item.index, outcome)
    }

    async fn write(&self, item: &Item) -> Result<Outcome, Trouble> {
        let blob = self.context.content(item.digest).await?;
        let body = match self.owner.dress(&blob.json, &item.place, None) {
            Ok(body) => self.with_live_values(item, self.with_mounts(item, body).await?).await?,
            Err(text) => return Ok(Outcome::Refused(format!("malformed object: {text}"))),
        };
        let api = &self.context.api;
        let mut result = api.apply(&item.place, body.clone(), item.force).await;
        let lost_namespace = |error: &ApiError| {
            error.failure == Failure::NotFound && item.place.id.namespace == self.unit.id.namespace
        };
        if self.unit.create_namespace
            && item.place.resource.namespaced
            && result.as_ref().is_err_and(lost_namespace)
        {
            self.ensure_namespace().await?;
            result = api.apply(&item.place, body.clone(), item.force).await;
        }
        if result.as_ref().is_err_and(|error| error.failure == Failure::Refused) && self.unit.recreates() {
            result = self.recreate(item, body, result).await?;
        }
        match result {
            Ok(live) => self.written(item, live).await,
            Err(error) => self.unwritten(item, secrecy::told_error(&blob, &item.place.id, error)),
        }
    }

    /// The fields of an object that others may change.
    pub(super) fn leeway(&self, item: &Item) -> &[String] {
        self.leeway.of(item.index).unwrap_or_default()
    }

    /// The object with what others may change as they have it, so that writing the rest does not undo that.
    async fn with_live_values(&self, item: &Item, body: Vec<u8>) -> Result<Vec<u8>, Trouble> {
        let leeway = self.leeway(item);
        if leeway.is_empty() || item.row.as_ref().is_none_or(|row| row.digest.is_none()) {
            return Ok(body);
        }
        let live = self.context.api.get_whole(&item.place).await;
        let Some(live) = live.map_err(|error| Trouble::about(&item.place, error))? else { return Ok(body) };
        let Ok(mut desired) = serde_json::from_slice::<Value>(&body) else { return Ok(body) };
        field_set::keep(&mut desired, &live, leeway);
        Ok(desired.to_string().into_bytes())
    }

    /// Deletes and makes anew what cannot be changed to what is desired. The API server is asked first whether it
    /// would take the object if there were none: then it is in the way, and not the object itself wrong.
    async fn recreate(
        &self,
        item: &Item,
        body: Vec<u8>,
        refused: Result<Live, ApiError>,
    ) -> Result<Result<Live, ApiError>, Trouble> {
        let (api, place) = (&self.context.api, &item.place);
        if holds_data(&place.id) {
            return Ok(refused);
        }
        let mut sight = self.context.board.follow(&place.id);
        self.context.watch(&place.resource).await;
        loop {
            self.still_wanted()?;
            let live = api.get(place).await.map_err(|error| Trouble::about(place, error))?;
            let Some(live) = live.filter(|live| self.owner.agent_owns(&live.metadata)) else { break };
            match api.would_create(place, body.clone()).await {
                Err(error) if error.failure == Failure::Conflict => {}
                _ => return Ok(refused),
            }
            tracing::info!(object = %place.id, unit = self.owner.unit, "is made anew: it cannot be changed");
            if self.delete_and_wait(place, &live, &mut sight).await? {
                break;
            }
        }
        self.still_wanted()?;
        Ok(api.apply(place, body, item.force).await)
    }

    async fn written(&self, item: &Item, mut live: Live) -> Result<Outcome, Trouble> {
        let resource = &item.place.resource;
        let adopted = item.row.as_ref().is_some_and(|row| row.adopted);
        let row = Row {
            digest: Some(item.digest),
            fields: live.metadata.fields(self.context.api.manager(), self.leeway(item)),
            ..self.row(item, adopted)
        };
        let version = live.metadata.version();
        let ruled = |rules: &Rules| rules.concern(&resource.group, &resource.kind);
        if resource.metadata_only() && self.rules.as_deref().is_some_and(ruled) {
            // The answer has metadata only, and a rule looks at the rest.
            let whole = self.context.api.get_whole(&item.place).await;
            let whole = whole.map_err(|error| Trouble::about(&item.place, error))?.unwrap_or_default();
            live = serde_json::from_value(whole).unwrap_or_default();
        }
        let health = rules::judge(self.rules.as_deref(), resource, &live);
        Ok(Outcome::Written { row: Box::new(row), version, health })
    }

    fn unwritten(&self, item: &Item, error: ApiError) -> Result<Outcome, Trouble> {
        match error.failure {
            Failure::Unreachable => Err(Trouble::Unreachable(error.text)),
            Failure::Busy | Failure::Gone => Ok(Outcome::Failed(error.text)),
            Failure::Conflict => {
                Ok(Outcome::Foreign(format!("{}; set takeOwnership to take the fields over", error.text)))
            }
            Failure::NotFound => {
                self.context.discovery.forget(&item.place.resource);
                Ok(Outcome::Refused(error.text))
            }
            Failure::Refused => Ok(Outcome::Refused(error.text)),
        }
    }

    /// Compares values, where the record of field ownership does not tell what changed.
    async fn check(&self, item: &Item) -> Result<Outcome, Trouble> {
        let live = self.context.api.get_whole(&item.place).await;
        let live = live.map_err(|error| Trouble::about(&item.place, error))?;
        let Some(live) = live else { return Ok(Outcome::Differs("is deleted".to_owned())) };
        let blob = self.context.content(item.digest).await?;
        let mut desired = match self.owner.dress(&blob.json, &item.place, None) {
            Ok(body) => {
                let body = self.with_mounts(item, body).await?;
                serde_json::from_slice::<Value>(&body).unwrap_or_default()
            }
            Err(text) => return Ok(Outcome::Refused(format!("malformed object: {text}"))),
        };
        field_set::keep(&mut desired, &live, self.leeway(item));
        let quoting =
            if secrecy::is_confidential(&blob, &item.place.id) { Quoting::Hidden } else { Quoting::Shown };
        if let Some(text) = difference(&desired, &live, quoting) {
            return Ok(Outcome::Differs(text));
        }
        let live = serde_json::from_value::<Live>(live).unwrap_or_default();
        let health = rules::judge(self.rules.as_deref(), &item.place.resource, &live);
        let fields = live.metadata.fields(self.context.api.manager(), self.leeway(item));
        Ok(Outcome::Same { fields, version: live.metadata.version(), health })
    }
}

/// Whether with the object goes what no manifest brings back.
fn holds_data(id: &ObjectId) -> bool {
    let volume =
        matches!(id.kind.as_str(), "PersistentVolumeClaim" | "PersistentVolume") && id.group.is_empty();
    volume || object::is_namespace(&id.group, &id.kind) || object::is_definition(&id.group, &id.kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds_data_is_never_made_anew() {
        let id = |group: &str, kind: &str| ObjectId {
            group: group.into(),
            kind: kind.into(),
            namespace: String::new(),
            name: "x".into(),
        };
        let held = [
            ("", "Namespace"),
            ("", "PersistentVolume"),
            ("", "PersistentVolumeClaim"),
            ("apiextensions.k8s.io", "CustomResourceDefinition"),
        ];
        assert!(held.iter().all(|(group, kind)| holds_data(&id(group, kind))));
        let free = [("", "ConfigMap"), ("apps", "StatefulSet"), ("example.org", "PersistentVolume")];
        assert!(free.iter().all(|(group, kind)| !holds_data(&id(group, kind))));
    }
}
