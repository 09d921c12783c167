//! Keeping Helm's record of a unit's release: one Secret for what is deployed, one for what was before.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use protocol::policy::ChartHead;
use serde_json::{Value, json};

use super::{End, Trouble, Worker};
use crate::api::Failure;
use crate::live::Live;
use crate::object::{self, AGENT_ANNOTATION, ObjectId, Place, UNIT_LABEL};
use crate::release::{self, Facts};

/// Annotation that tells of which revision of the unit a record is.
const REVISION_ANNOTATION: &str = "skein.dev/revision";
/// Records that are kept (k0rdent's `maxHistory`).
const KEPT: usize = 2;

/// A record on the cluster.
struct Found {
    place: Place,
    live: Live,
    number: u64,
}

impl Worker {
    /// Makes the record of what is deployed, unless it is there.
    pub(super) async fn record(&self) -> Result<End, Trouble> {
        let Some(chart) = self.unit.chart() else { return Ok(End::Complete) };
        let found = self.records().await?;
        let revision = self.unit.hash.to_string();
        let of_this =
            |found: &Found| found.live.metadata.annotations.get(REVISION_ANNOTATION) == Some(&revision);
        if found.last().is_some_and(of_this) {
            return self.tidy(&found).await;
        }
        let number = found.last().map_or(0, |last| last.number) + 1;
        let mut first_deployed = None;
        if let Some(last) = found.last() {
            first_deployed = self.supersede(last).await?;
        }
        self.still_wanted()?;
        self.write_record(&chart, number, first_deployed, &revision).await?;
        self.tidy(&found).await
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

    async fn write_record(
        &self,
        chart: &ChartHead,
        number: u64,
        first_deployed: Option<u64>,
        revision: &str,
    ) -> Result<(), Trouble> {
        let now = self.context.now();
        let facts = Facts {
            unit: &self.unit.id,
            chart,
            revision: number,
            first_deployed: first_deployed.unwrap_or(now),
            now,
            description: if number == 1 { "Install complete" } else { "Upgrade complete" },
        };
        let packed = release::packed(&facts, &self.manifest(chart).await?);
        let place = self.secret(release::secret_name(&self.unit.id.name, number)).await?;
        let body = json!({
            "apiVersion": "v1", "kind": "Secret", "type": release::SECRET_TYPE,
            "metadata": {
                "name": place.id.name, "namespace": place.id.namespace,
                "labels": {
                    "name": self.unit.id.name, "owner": "helm", "status": "deployed", "version": number.to_string(),
                    "modifiedAt": (now / 1000).to_string(), UNIT_LABEL: self.owner.label,
                },
                "annotations": {
                    AGENT_ANNOTATION: self.owner.agent, UNIT_LABEL: self.owner.unit, REVISION_ANNOTATION: revision,
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
    async fn manifest(&self, chart: &ChartHead) -> Result<String, Trouble> {
        let mut manifest = String::new();
        for index in object::apply_order(&self.unit) {
            let content = self.context.content(self.unit.objects[index].digest).await?;
            let text = String::from_utf8_lossy(&content.json);
            // JSON is YAML.
            let _ = write!(manifest, "---\n# Source: {}/templates\n{text}\n", chart.name);
        }
        Ok(manifest)
    }

    /// Marks a record as one that was followed; answers when the release was first deployed.
    async fn supersede(&self, found: &Found) -> Result<Option<u64>, Trouble> {
        let api = &self.context.api;
        let whole = api.get_whole(&found.place).await.map_err(|error| Trouble::about(&found.place, error))?;
        let text = whole.as_ref().and_then(|whole| whole.pointer("/data/release")).and_then(Value::as_str);
        let text =
            text.and_then(|text| STANDARD.decode(text).ok()).and_then(|text| String::from_utf8(text).ok());
        let Some(text) = text else { return Ok(None) };
        if let Some(superseded) = release::superseded(&text) {
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
        for found in found.iter().rev().skip(KEPT - 1) {
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
