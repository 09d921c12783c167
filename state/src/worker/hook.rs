//! Helm hooks: objects that are run at a moment of a release's life and waited for.
//!
//! Each run of a hook is marked on its object with event and revision number. After a crash an object that carries
//! the mark is waited for, not made again; a hook that has succeeded is noted durably before its object is
//! deleted, so no hook of a revision runs to success twice.

use std::time::Duration;

use protocol::plan::{HookDeletion, HookEntry, HookEvent};

use tokio::sync::watch::Receiver;

use super::{End, Trouble, Worker, secrecy};
use crate::api::Deletion;
use crate::board::Sight;
use crate::live::Live;
use crate::object::{HOOK_ANNOTATION, Place};

impl Worker {
    /// Runs the test hooks that have not succeeded yet by this order. One that fails is the result, and nothing that
    /// is tried again.
    pub(super) async fn test(&self, order: &str) -> Result<End, Trouble> {
        let tests = self.hooks_of(HookEvent::Test);
        let run = format!("{:?} {order}", HookEvent::Test);
        let result = match self.run_all(&tests, run).await {
            Ok(()) => Ok(tests.len()),
            Err(Trouble::Failed(text)) => Err(text),
            Err(trouble @ (Trouble::Stopped | Trouble::Unreachable(_))) => return Err(trouble),
        };
        Ok(End::Tested { order: order.to_owned(), result })
    }

    /// The hooks of an event in the order in which they run.
    fn hooks_of(&self, event: HookEvent) -> Vec<(u32, &HookEntry)> {
        let mut hooks: Vec<(u32, &HookEntry)> =
            (0u32..).zip(&self.unit.hooks).filter(|(_, hook)| hook.events.contains(&event)).collect();
        hooks.sort_by_key(|(_, hook)| hook.weight);
        hooks
    }

    /// Runs the hooks of an event that have not succeeded yet for this revision.
    pub(super) async fn run_hooks(&self, event: HookEvent) -> Result<(), Trouble> {
        let hooks = self.hooks_of(event);
        if hooks.is_empty() {
            return Ok(());
        }
        let store = &self.context.store;
        let number = match event {
            HookEvent::PreDelete | HookEvent::PostDelete => {
                store.last_revision(self.owner.unit.clone()).await
            }
            HookEvent::PreInstall
            | HookEvent::PostInstall
            | HookEvent::PreUpgrade
            | HookEvent::PostUpgrade
            | HookEvent::PreRollback
            | HookEvent::PostRollback
            | HookEvent::Test => store.open_revision(&self.unit, self.context.now()).await,
        };
        let run = format!("{event:?} {}", number.map_err(|error| Trouble::store(&error))?);
        self.run_all(&hooks, run).await
    }

    /// Runs hooks, one after the other.
    async fn run_all(&self, hooks: &[(u32, &HookEntry)], run: String) -> Result<(), Trouble> {
        let store = &self.context.store;
        let done = store.hooks_done(self.owner.unit.clone(), run.clone()).await;
        let done = done.map_err(|error| Trouble::store(&error))?;
        if self.unit.create_namespace && done.len() < hooks.len() {
            self.ensure_namespace().await?;
        }
        for &(position, hook) in hooks {
            self.still_wanted()?;
            let place = self.hook_place(hook).await?;
            if !done.contains(&position) {
                self.run_hook(hook, &place, &run).await?;
                let noted = store.hook_done(self.owner.unit.clone(), run.clone(), position);
                noted.durable().await.map_err(|error| Trouble::store(&error))?;
            }
            if hook.deletion.contains(&HookDeletion::Succeeded) {
                self.delete_hook(&place, |live| live.metadata.annotations.get(HOOK_ANNOTATION) == Some(&run))
                    .await?;
            }
        }
        Ok(())
    }

    async fn hook_place(&self, hook: &HookEntry) -> Result<Place, Trouble> {
        let key = &hook.object.key;
        let api = &self.context.api;
        let resource = self.context.discovery.resolve(api, &key.group, &key.version, &key.kind).await;
        match resource.map_err(Trouble::api)? {
            Some(resource) => Ok(Place::of(key, &self.unit.id.namespace, resource)),
            None => Err(Trouble::Failed(format!("hook {key}: the API server does not serve this kind"))),
        }
    }

    /// Runs one hook to its end.
    async fn run_hook(&self, hook: &HookEntry, place: &Place, run: &str) -> Result<(), Trouble> {
        let api = &self.context.api;
        let mut sight = self.context.board.follow(&place.id);
        self.context.watch(&place.resource).await;
        let found = api.get(place).await.map_err(|error| Trouble::about(place, error))?;
        let ours =
            |live: &Live| live.metadata.annotations.get(HOOK_ANNOTATION).is_some_and(|mark| mark == run);
        let begun = match found {
            Some(live) if ours(&live) && !matches!(ended(place, &live), Some(Err(_))) => live,
            Some(live) => {
                if !self.owner.owns(&live.metadata) && !self.unit.take_ownership {
                    return Err(Trouble::Failed(format!("hook {} exists and is not ours", place.id)));
                }
                self.delete_hook(place, |_| true).await?;
                self.create_hook(hook, place, run).await?
            }
            None => self.create_hook(hook, place, run).await?,
        };
        let uid = begun.metadata.uid.clone();
        let end = match ended(place, &begun) {
            Some(end) => end,
            None => self.wait(self.wait_for_end(place, &mut sight, &uid)).await?,
        };
        let Err(mut reason) = end else { return Ok(()) };
        if let Some(cause) = self.context.why(place).await {
            reason = format!("{reason}; {cause}");
        }
        if hook.deletion.contains(&HookDeletion::Failed) {
            self.delete_hook(place, |live| live.metadata.uid == uid).await?;
        }
        Err(Trouble::Failed(format!("hook {} failed: {reason}", place.id)))
    }

    async fn create_hook(&self, hook: &HookEntry, place: &Place, run: &str) -> Result<Live, Trouble> {
        let blob = self.context.content(hook.object.digest).await?;
        let body = self.owner.dress(&blob.json, place, Some(run));
        let body =
            body.map_err(|text| Trouble::Failed(format!("hook {}: malformed object: {text}", place.id)))?;
        let created = self.context.api.create(place, body).await;
        created.map_err(|error| Trouble::about(place, secrecy::told_error(&blob, &place.id, error)))
    }

    async fn wait_for_end(
        &self,
        place: &Place,
        sight: &mut Receiver<Sight>,
        wanted: &str,
    ) -> Result<(), String> {
        let limit = Duration::from_millis(self.unit.timeout_ms);
        let waiting = async {
            loop {
                match &*sight.borrow_and_update() {
                    Sight::Present { uid, finished: Some(end), .. } if uid == wanted => return end.clone(),
                    // What a list from before its creation did not show.
                    Sight::Present { .. } | Sight::Absent | Sight::Unknown => {}
                }
                match self.context.api.get(place).await {
                    Ok(Some(live)) if live.metadata.uid == wanted => {
                        if let Some(end) = ended(place, &live) {
                            return end;
                        }
                    }
                    Ok(_) => return Err("it was deleted before it ended".to_owned()),
                    Err(error) => tracing::debug!(%error, "a hook was not found"),
                }
                if sight.changed().await.is_err() {
                    return Err("the engine ends".to_owned());
                }
            }
        };
        match tokio::time::timeout(limit, waiting).await {
            Ok(end) => end,
            Err(_) => Err(format!("it did not end within {} s", limit.as_secs())),
        }
    }

    /// Deletes a hook's object and waits until it is gone.
    async fn delete_hook(&self, place: &Place, which: impl Fn(&Live) -> bool) -> Result<(), Trouble> {
        let api = &self.context.api;
        let mut sight = self.context.board.follow(&place.id);
        self.context.watch(&place.resource).await;
        loop {
            self.still_wanted()?;
            let live = api.get(place).await.map_err(|error| Trouble::about(place, error))?;
            let Some(live) = live.filter(|live| which(live)) else { return Ok(()) };
            if self.delete_and_wait(place, &live, &mut sight).await? {
                return Ok(());
            }
        }
    }

    /// Deletes exactly this state of an object and waits until the watch sees that it is gone; false if it
    /// has changed since.
    pub(super) async fn delete_and_wait(
        &self,
        place: &Place,
        live: &Live,
        sight: &mut Receiver<Sight>,
    ) -> Result<bool, Trouble> {
        let (api, uid) = (&self.context.api, live.metadata.uid.as_str());
        match api.delete(place, &live.metadata).await {
            Ok(Deletion::Gone) => return Ok(true),
            Ok(Deletion::Begun) => {}
            Ok(Deletion::Changed) => return Ok(false),
            Err(error) => return Err(Trouble::about(place, error)),
        }
        let waiting = async {
            loop {
                // A watch may tell of a time before the object existed: the API server has the last word.
                sight.mark_unchanged();
                let live = api.get(place).await.map_err(|error| Trouble::about(place, error))?;
                let Some(live) = live.filter(|live| live.metadata.uid == uid) else { return Ok(true) };
                let finalizers = live.metadata.finalizers.join(", ");
                let seen = self.wait(tokio::time::timeout(super::REMOVAL_WAIT, sight.changed())).await?;
                if seen.is_err() && !finalizers.is_empty() {
                    let text = format!(
                        "{} is still being deleted: it waits for its finalizers {finalizers}",
                        place.id
                    );
                    return Err(Trouble::Failed(text));
                }
                if seen.is_err() {
                    return Err(Trouble::Failed(format!("{} is still being deleted", place.id)));
                }
            }
        };
        waiting.await
    }
}

fn ended(place: &Place, live: &Live) -> Option<Result<(), String>> {
    crate::health::finished(&place.resource.group, &place.resource.kind, live)
}
