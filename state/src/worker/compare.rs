//! Comparing what is on the cluster with what a plan wants, for whoever asks. Nothing is written.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::StreamExt;
use protocol::inquiry::{Finding, LINES_MAX, ObjectFindings, UnitFindings};
use protocol::plan::{ObjectEntry, Unit};
use serde_json::{Map, Value};

use super::{CALLS_CONCURRENT, Context, Trouble, secrecy};
use crate::difference::{Quoting, differences};
use crate::field_set;
use crate::live::Live;
use crate::object::{Owner, Place};

impl Context {
    /// How the live objects of a unit differ from it. The API server's silence is told of each object.
    pub(crate) async fn compare(&self, unit: &Unit) -> UnitFindings {
        let owner = Owner::new(&self.agent, &unit.id);
        let leeway = unit.leeway();
        let looks: Vec<_> = unit
            .objects
            .iter()
            .enumerate()
            .map(|(index, entry)| {
                let free = leeway.0.iter().find(|one| usize::try_from(one.object) == Ok(index));
                let free = free.map(|one| one.paths.clone());
                let owner = &owner;
                async move {
                    // Whatever it is, it is as it may be: others may change the whole object.
                    if free.as_ref().is_some_and(Vec::is_empty) {
                        return None;
                    }
                    let found = self.look(unit, entry, owner, &free.unwrap_or_default()).await;
                    let (finding, lines) = match found {
                        Ok(found) => found?,
                        Err(Trouble::Unreachable(text)) => {
                            (Finding::Unknown(format!("the API server does not answer: {text}")), Vec::new())
                        }
                        Err(Trouble::Failed(text)) => (Finding::Unknown(text), Vec::new()),
                        Err(Trouble::Stopped) => {
                            (Finding::Unknown("it was called off".to_owned()), Vec::new())
                        }
                    };
                    Some(ObjectFindings { key: entry.key.clone(), finding, lines })
                }
            })
            .collect();
        let looked: Vec<_> = futures::stream::iter(looks).buffered(CALLS_CONCURRENT).collect().await;
        let all = looked.len();
        let objects: Vec<_> = looked.into_iter().flatten().collect();
        UnitFindings {
            id: unit.id.clone(),
            version: unit.version.clone(),
            same: u32::try_from(all - objects.len()).unwrap_or(u32::MAX),
            objects,
            revisions: Vec::new(),
        }
    }

    /// How one object differs; nothing if it does not.
    async fn look(
        &self,
        unit: &Unit,
        entry: &ObjectEntry,
        owner: &Owner,
        free: &[String],
    ) -> Result<Option<(Finding, Vec<protocol::inquiry::Line>)>, Trouble> {
        let key = &entry.key;
        let resource = self.discovery.resolve(&self.api, &key.group, &key.version, &key.kind).await;
        let Some(resource) = resource.map_err(Trouble::api)? else {
            let text = format!("the API server does not serve {} {}", key.version, key.kind);
            return Ok(Some((Finding::Unknown(text), Vec::new())));
        };
        let place = Place::of(key, &unit.id.namespace, resource);
        let content = self.content(entry.digest).await?;
        let desired = owner.dress(&content.json, &place, None).map_err(Trouble::Failed)?;
        let mut desired: Value = serde_json::from_slice(&desired).unwrap_or_default();
        let live = self.api.get_whole(&place).await.map_err(|error| Trouble::about(&place, error))?;
        let Some(live) = live else { return Ok(Some((Finding::Missing, Vec::new()))) };
        let meta: Live = serde_json::from_value(live.clone()).unwrap_or_default();
        if let Some(other) = owner.taken_by(&meta.metadata) {
            return Ok(Some((Finding::Unknown(format!("it belongs to {other}")), Vec::new())));
        }
        as_stored(&mut desired);
        field_set::keep(&mut desired, &live, free);
        let quoting = match secrecy::is_confidential(&content, &place.id) {
            true => Quoting::Hidden,
            false => Quoting::Shown,
        };
        let lines = differences(&desired, &live, quoting, LINES_MAX);
        Ok((!lines.is_empty()).then_some((Finding::Differs, lines)))
    }
}

/// A Secret as the API server keeps it: texts are data.
fn as_stored(desired: &mut Value) {
    let is_secret = desired["kind"] == "Secret" && desired["apiVersion"] == "v1";
    let Some(object) = desired.as_object_mut().filter(|_| is_secret) else { return };
    let Some(Value::Object(texts)) = object.remove("stringData") else { return };
    let data = object.entry("data").or_insert_with(|| Value::Object(Map::new()));
    let Some(data) = data.as_object_mut() else { return };
    for (key, text) in texts {
        let text = text.as_str().unwrap_or_default();
        data.insert(key, Value::String(STANDARD.encode(text)));
    }
}
