//! Keeping Helm's record of a unit's release: one Secret for what is deployed, one for what was before.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::plan::Unit;
use protocol::policy::ChartHead;
use serde_json::{Value, json};

use super::{End, Failed, Trouble, Worker};
use crate::api::Failure;
use crate::live::Live;
use crate::object::{self, AGENT_ANNOTATION, ObjectId, Place, UNIT_LABEL};
use crate::release::{self, Facts};

/// Annotation that tells of which revision of the unit a record is.
const REVISION_ANNOTATION: &str = "skein.dev/revision";
/// Records that are kept (k0rdent's `maxHistory`).
const KEPT: usize = 2;

/// How long a record that Helm is at work on is left to it: twice its own time limit.
const PENDING_SECONDS: u64 = 600;

/// A record to be written.
struct Entry<'a> {
    unit: &'a Unit,
    chart: &'a ChartHead,
    number: u64,
    first_deployed: Option<u64>,
    mark: &'a str,
    status: &'a str,
    description: &'a str,
}

/// A record on the cluster.
struct Found {
    place: Place,
    live: Live,
    number: u64,
}

impl Found {
    fn status(&self) -> Option<&str> {
        self.live.metadata.labels.get("status").map(String::as_str)
    }

    /// Whether somebody's Helm is at work on the release now. One that died is not waited for.
    fn is_worked_on(&self, now: u64) -> bool {
        let at = |label: &str| self.live.metadata.labels.get(label)?.parse::<u64>().ok();
        let begun = at("modifiedAt").max(at("createdAt")).unwrap_or(0);
        self.status().is_some_and(|status| status.starts_with("pending-"))
            && begun.saturating_add(PENDING_SECONDS) > now / 1000
    }
}

impl Worker {
    /// Makes the record of what is deployed, unless it is there; before it that of the revision that was given up for
    /// it, as Helm does.
    pub(super) async fn record(&self, failed: Option<&Failed>) -> Result<End, Trouble> {
        let Some(chart) = self.unit.chart() else { return Ok(End::Complete) };
        let mut found = self.records().await?;
        let of = |found: &Found, revision: &str| {
            found.live.metadata.annotations.get(REVISION_ANNOTATION).is_some_and(|mark| mark == revision)
        };
        let mut revision = self.unit.hash.to_string();
        let mut description = None;
        if let Some(failed) = failed {
            let mark = failed.unit.hash.to_string();
            revision = format!("{revision} after {mark}");
            let before = found.iter().rev().find(|found| of(found, &self.unit.hash.to_string()));
            let before = before.or_else(|| found.last()).map_or(0, |before| before.number);
            description = Some(format!("Rollback to {before}"));
            if !found.iter().any(|found| of(found, &mark) || of(found, &revision)) {
                self.record_failed(&found, failed, &mark).await?;
                found = self.records().await?;
            }
        }
        if let Some((last, before)) = found.split_last()
            && of(last, &revision)
        {
            for one in before.iter().filter(|one| one.status() == Some("deployed")) {
                self.supersede(one).await?;
            }
            return self.tidy(&found).await;
        }
        if let Some(last) = found.last().filter(|last| last.is_worked_on(self.context.now())) {
            return Err(Trouble::Failed(format!("{} is being made by Helm", last.place.id)));
        }
        self.take_over(&found).await?;
        let number = found.last().map_or(0, |last| last.number) + 1;
        let usual = if number == 1 { "Install complete" } else { "Upgrade complete" };
        let mut first_deployed = None;
        for one in &found {
            first_deployed = self.supersede(one).await?.or(first_deployed);
        }
        self.still_wanted()?;
        let entry = Entry {
            unit: &self.unit,
            chart: &chart,
            number,
            first_deployed,
            mark: &revision,
            status: "deployed",
            description: description.as_deref().unwrap_or(usual),
        };
        self.write_record(&entry).await?;
        let found = self.records().await?;
        self.tidy(&found).await
    }

    /// What only the revision before had goes, if Helm itself deployed that one: of ours, the inventory knows.
    async fn take_over(&self, found: &[Found]) -> Result<(), Trouble> {
        let deployed = |found: &&Found| {
            found.live.metadata.labels.get("status").is_some_and(|status| status == "deployed")
        };
        let Some(before) = found.iter().rev().find(deployed) else { return Ok(()) };
        if self.owner.agent_owns(&before.live.metadata) {
            return Ok(());
        }
        match self.text_of(before).await?.as_deref().and_then(release::manifest) {
            Some(manifest) => self.leave_behind(&manifest).await,
            None => Ok(()),
        }
    }

    /// The record of a revision that was given up.
    async fn record_failed(&self, found: &[Found], failed: &Failed, mark: &str) -> Result<(), Trouble> {
        let Some(chart) = failed.unit.chart() else { return Ok(()) };
        let mut first_deployed = None;
        if let Some(last) = found.last() {
            first_deployed = self.first_deployed(last).await?;
        }
        let description = format!("Upgrade \"{}\" failed: {}", failed.unit.id.name, failed.reason);
        let entry = Entry {
            unit: &failed.unit,
            chart: &chart,
            number: found.last().map_or(0, |last| last.number) + 1,
            first_deployed,
            mark,
            status: "failed",
            description: &description,
        };
        self.write_record(&entry).await
    }

    /// Deletes the records of a release that leaves.
    pub(super) async fn forget_records(&self) -> Result<(), Trouble> {
        if self.unit.chart().is_none() {
            return Ok(());
        }
        for found in self.records().await? {
            self.still_wanted()?;
            if self.owner.agent_owns(&found.live.metadata) {
                self.delete_record(&found).await?;
            }
        }
        Ok(())
    }

    async fn secret(&self, name: String) -> Result<Place, Trouble> {
        let api = &self.context.api;
        let resource = self.context.discovery.resolve(api, "", "v1", "Secret").await.map_err(Trouble::api)?;
        let resource =
            resource.ok_or_else(|| Trouble::Failed("the API server serves no Secrets".to_owned()))?;
        let namespace = self.unit.id.namespace.clone();
        let id = ObjectId { group: String::new(), kind: "Secret".to_owned(), namespace, name };
        Ok(Place { id: std::sync::Arc::new(id), resource })
    }

    /// The records of this release, the newest last.
    async fn records(&self) -> Result<Vec<Found>, Trouble> {
        let any = self.secret(String::new()).await?;
        let release = &self.unit.id.name;
        let selector = format!("owner=helm,name={release}");
        let listed = self.context.api.selected(&any, &selector).await.map_err(Trouble::api)?;
        let mut found = Vec::new();
        for live in listed {
            let number = live.metadata.labels.get("version").and_then(|number| number.parse().ok());
            let Some(number) = number else { continue };
            found.push(Found { place: self.secret(live.metadata.name.clone()).await?, live, number });
        }
        found.sort_by_key(|found| found.number);
        Ok(found)
    }

    async fn write_record(&self, entry: &Entry<'_>) -> Result<(), Trouble> {
        let now = self.context.now();
        let Entry { unit, chart, number, first_deployed, mark, status, description } = entry;
        let facts = Facts {
            unit: &unit.id,
            chart,
            revision: *number,
            first_deployed: first_deployed.unwrap_or(now),
            now,
            status,
            description,
            hooks: self.hooks_told(unit, chart).await?,
        };
        let packed = release::packed(&facts, &self.manifest(unit, chart).await?);
        let place = self.secret(release::secret_name(&self.unit.id.name, *number)).await?;
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": release::SECRET_TYPE,
            "metadata": {
                "name": place.id.name, "namespace": place.id.namespace,
                "labels": {
                    "name": self.unit.id.name, "owner": "helm", "status": status, "version": number.to_string(),
                    "modifiedAt": (now / 1000).to_string(), UNIT_LABEL: self.owner.label,
                },
                "annotations": {
                    AGENT_ANNOTATION: self.owner.agent, UNIT_LABEL: self.owner.unit, REVISION_ANNOTATION: mark,
                },
            },
            "data": {"release": STANDARD.encode(packed)},
        });
        match self.context.api.create(&place, body.to_string().into_bytes()).await {
            Ok(_) => Ok(()),
            // Made in a life before a crash, or by somebody who was faster: what there is, the next look tells.
            Err(error) if error.failure == Failure::Conflict => {
                Err(Trouble::Failed(format!("{} was made meanwhile", place.id)))
            }
            Err(error) => Err(Trouble::about(&place, error)),
        }
    }

    /// What is deployed, as one stream of documents.
    async fn manifest(&self, unit: &Unit, chart: &ChartHead) -> Result<String, Trouble> {
        let mut manifest = String::new();
        for index in object::apply_order(unit) {
            let content = self.context.content(unit.objects[index].digest).await?;
            let text = String::from_utf8_lossy(&content.json);
            // JSON is YAML.
            let _ = write!(manifest, "---\n# Source: {}/templates\n{text}\n", chart.name);
        }
        Ok(manifest)
    }

    /// The hooks of a unit, as records have them.
    async fn hooks_told(&self, unit: &Unit, chart: &ChartHead) -> Result<Vec<Value>, Trouble> {
        let mut hooks = Vec::new();
        for hook in &unit.hooks {
            let content = self.context.content(hook.object.digest).await?;
            hooks.push(release::hook(hook, chart, &String::from_utf8_lossy(&content.json)));
        }
        Ok(hooks)
    }

    /// The text of a record.
    async fn text_of(&self, found: &Found) -> Result<Option<String>, Trouble> {
        let api = &self.context.api;
        let whole = api.get_whole(&found.place).await.map_err(|error| Trouble::about(&found.place, error))?;
        let text = whole.as_ref().and_then(|whole| whole.pointer("/data/release")).and_then(Value::as_str);
        Ok(text.and_then(|text| STANDARD.decode(text).ok()).and_then(|text| String::from_utf8(text).ok()))
    }

    /// When the release of a record was first deployed.
    async fn first_deployed(&self, found: &Found) -> Result<Option<u64>, Trouble> {
        Ok(self.text_of(found).await?.and_then(|text| release::first_deployed(&text)))
    }

    /// Marks a record as one that was followed, if it was deployed; answers when the release was first deployed.
    async fn supersede(&self, found: &Found) -> Result<Option<u64>, Trouble> {
        let api = &self.context.api;
        let Some(text) = self.text_of(found).await? else { return Ok(None) };
        let is_deployed = found.live.metadata.labels.get("status").is_none_or(|status| status == "deployed");
        if is_deployed && let Some(superseded) = release::superseded(&text) {
            let patch = json!({
                "metadata": {
                    "uid": found.live.metadata.uid,
                    "labels": {"status": "superseded", UNIT_LABEL: self.owner.label},
                    "annotations": {AGENT_ANNOTATION: self.owner.agent, UNIT_LABEL: self.owner.unit},
                },
                "data": {"release": STANDARD.encode(superseded)},
            });
            api.merge(&found.place, &patch).await.map_err(|error| Trouble::about(&found.place, error))?;
        }
        Ok(release::first_deployed(&text))
    }

    /// Deletes records beyond those that are kept.
    async fn tidy(&self, found: &[Found]) -> Result<End, Trouble> {
        for found in found.iter().rev().skip(KEPT) {
            self.delete_record(found).await?;
        }
        Ok(End::Complete)
    }

    async fn delete_record(&self, found: &Found) -> Result<(), Trouble> {
        // One that changed meanwhile is somebody else's affair now.
        let deleted = self.context.api.delete(&found.place, &found.live.metadata).await;
        deleted.map(|_| ()).map_err(|error| Trouble::about(&found.place, error))
    }
}
