//! Looking what applying a unit would do, by the API server's own dry run; nothing is written.

use futures::StreamExt;
use serde_json::Value;

use super::{CALLS_CONCURRENT, End, Event, Item, Outcome, Trouble, Worker, secrecy};
use crate::api::{ApiError, Failure};
use crate::difference::{Quoting, difference};
use crate::field_set;
use crate::live::Live;

/// What would become of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Preview {
    /// It is as it would be.
    Nothing,
    /// It would be created.
    Create,
    /// It would be changed, here first.
    Change(String),
}

impl Worker {
    /// Tells of each object what would become of it.
    pub(super) async fn preview(&self, items: Vec<Item>) -> Result<End, Trouble> {
        let looks: Vec<_> =
            items.iter().map(|item| async move { (item.index, self.would(item).await) }).collect();
        let mut looks = futures::stream::iter(looks).buffered(CALLS_CONCURRENT);
        while let Some((index, outcome)) = looks.next().await {
            self.still_wanted()?;
            self.tell(Event::Outcomes(vec![(index, outcome?)])).await;
        }
        Ok(End::Complete)
    }

    async fn would(&self, item: &Item) -> Result<Outcome, Trouble> {
        let (api, place) = (&self.context.api, &item.place);
        let content = self.context.content(item.digest).await?;
        let mut desired = match self.owner.dress(&content.json, place, None) {
            Ok(body) => serde_json::from_slice::<Value>(&body).unwrap_or_default(),
            Err(text) => return Ok(Outcome::Refused(format!("malformed object: {text}"))),
        };
        let live = api.get_whole(place).await.map_err(|error| Trouble::about(place, error))?;
        let refusal = |error: ApiError| match error.failure {
            Failure::Unreachable => Err(Trouble::Unreachable(error.text)),
            Failure::Busy | Failure::Gone | Failure::NotFound | Failure::Conflict | Failure::Refused => {
                Ok(Outcome::Refused(secrecy::told_error(&content, &place.id, error).text))
            }
        };
        let Some(live) = live else {
            return match api.would_create(place, desired.to_string().into_bytes()).await {
                Ok(_) => Ok(Outcome::Would(Preview::Create)),
                // Its namespace would be created first.
                Err(error) if error.failure == Failure::NotFound => Ok(Outcome::Would(Preview::Create)),
                Err(error) => refusal(error),
            };
        };
        let meta: Live = serde_json::from_value(live.clone()).unwrap_or_default();
        let mut force = item.force;
        if item.row.is_none() {
            match self.claim(Some(&meta)) {
                Ok(claim) => force |= claim.force,
                Err(text) => return Ok(Outcome::Refused(text)),
            }
        }
        field_set::keep(&mut desired, &live, self.leeway(item));
        match api.would_apply(place, desired.to_string().into_bytes(), force).await {
            Ok(result) => {
                let quoting = match secrecy::is_confidential(&content, &place.id) {
                    true => Quoting::Hidden,
                    false => Quoting::Shown,
                };
                Ok(Outcome::Would(change(result, live, quoting)))
            }
            Err(error) => refusal(error),
        }
    }
}

/// What tells one object from the other, the server's book-keeping aside.
fn change(mut result: Value, mut live: Value, quoting: Quoting) -> Preview {
    for object in [&mut result, &mut live] {
        if let Some(Value::Object(metadata)) = object.get_mut("metadata") {
            for field in ["managedFields", "resourceVersion", "generation"] {
                metadata.remove(field);
            }
        }
    }
    if let Some(text) = difference(&result, &live, quoting) {
        return Preview::Change(text);
    }
    match difference(&live, &result, Quoting::Hidden) {
        Some(text) => Preview::Change(text.replace("is not as desired", "would be removed")),
        None => Preview::Nothing,
    }
}
