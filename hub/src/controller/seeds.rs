//! Seeds of charts that ask for randomness: one Secret per ServiceSet, in its namespace, labelled `skein.dev/render`.

use jiff::Timestamp;
use serde_json::json;

use super::writer::{Part, Write, Writer};
use crate::cache::{Cache, Key, Kind};
use crate::planner::rendering::{Seed, Seeds};

/// Label on the Secrets; its value is the set's name.
const LABEL: &str = "skein.dev/render";

/// Seeds in Secrets.
pub(super) struct Secrets {
    pub cache: Cache,
    pub writer: Writer,
}

impl Seeds for Secrets {
    fn load(&self, set: (&str, &str), release: &str) -> Option<Seed> {
        let secret = self.cache.secrets.get(set.0, &name(set.1))?;
        let bytes = &secret.data.as_ref()?.get(release)?.0;
        let text = std::str::from_utf8(bytes).ok()?;
        let (seed, time) = text.split_once(' ')?;
        Some(Seed { bytes: hex::decode(seed).ok()?.try_into().ok()?, time: time.parse().ok()? })
    }

    fn store(&self, set: (&str, &str), release: &str, seed: Seed) {
        if self.load(set, release) == Some(seed) {
            return;
        }
        let key = Key::new(Kind::Secret, set.0, &name(set.1));
        let text = format!("{} {}", hex::encode(seed.bytes), seed.time);
        let exists = self.cache.secrets.get(set.0, &name(set.1)).is_some();
        let write = if exists {
            Write::Patch(json!({"stringData": {release: text}}))
        } else {
            Write::Create(json!({
                "apiVersion": "v1", "kind": "Secret", "type": "skein.dev/render",
                "metadata": {"name": name(set.1), "namespace": set.0, "labels": {LABEL: set.1}},
                "stringData": {release: text},
            }))
        };
        self.writer.submit(&key, Part::Object, write);
    }

    fn draw(&self) -> Seed {
        let mut bytes = [0; 32];
        if getrandom::fill(&mut bytes).is_err() {
            tracing::error!("the system gives no randomness; a chart that asks for it gets none");
        }
        Seed { bytes, time: Timestamp::now().as_second() }
    }
}

fn name(set: &str) -> String {
    format!("skein-render-{set}")
}
