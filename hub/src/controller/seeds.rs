//! What makes a render the same again, in Secrets beside the ServiceSet, labelled `skein.dev/render`: seeds of charts
//! that ask for randomness, one Secret per set; and what a `helm` binary printed, compressed and cut into as many
//! Secrets as it takes, as Helm keeps its releases.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use protocol::id::Digest;
use serde_json::json;
use sha2::{Digest as _, Sha256};

use super::writer::{Part, Write, Writer};
use crate::cache::{Cache, Key, Kind};
use crate::planner::helm::Printed;
use crate::planner::rendering::{Seed, Seeds};

/// Label on the Secrets; its value is the set's name.
const LABEL: &str = "skein.dev/render";
/// Bytes of one part of what was printed: an API server takes a Secret of 1 MiB.
const PART_BYTES: usize = 700 << 10;
/// Parts of one release, and bytes of all of them before compression.
const PARTS_MAX: usize = 16;
const PRINTED_BYTES_MAX: usize = 32 << 20;

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

    fn printed(&self, set: (&str, &str), release: &str) -> Option<Printed> {
        let part = |at: usize| {
            let secret = self.cache.secrets.get(set.0, &part_name(set.1, release, at))?;
            let data = secret.data.clone()?;
            let text = |key: &str| Some(String::from_utf8_lossy(&data.get(key)?.0).into_owned());
            Some((text("digest")?, text("parts")?.parse::<usize>().ok()?, data.get("part")?.0.clone()))
        };
        let (digest, parts, mut compressed) = part(0)?;
        for at in 1..parts.min(PARTS_MAX) {
            let (same, _, more) = part(at)?;
            compressed.extend((same == digest).then_some(more)?);
        }
        let text = zstd::bulk::decompress(&compressed, PRINTED_BYTES_MAX).ok()?;
        let digest = Digest(hex::decode(&digest).ok()?.try_into().ok()?);
        Some(Printed { digest, text: String::from_utf8(text).ok()? })
    }

    fn keep(&self, set: (&str, &str), release: &str, printed: &Printed) {
        let compressed = zstd::bulk::compress(printed.text.as_bytes(), 3).unwrap_or_default();
        let parts: Vec<_> = compressed.chunks(PART_BYTES).collect();
        if parts.is_empty() || parts.len() > PARTS_MAX {
            tracing::warn!(
                set = set.1,
                release,
                bytes = compressed.len(),
                "what helm printed is too large to keep: what it draws at random changes when the hub restarts"
            );
            return;
        }
        for (at, part) in parts.iter().enumerate() {
            let name = part_name(set.1, release, at);
            let key = Key::new(Kind::Secret, set.0, &name);
            let data = json!({
                "digest": STANDARD.encode(hex::encode(printed.digest.0)),
                "parts": STANDARD.encode(parts.len().to_string()),
                "part": STANDARD.encode(part),
            });
            let write = if self.cache.secrets.get(set.0, &name).is_some() {
                Write::Patch(json!({"data": data}))
            } else {
                Write::Create(json!({
                    "apiVersion": "v1", "kind": "Secret", "type": "skein.dev/render",
                    "metadata": {
                        "name": name, "namespace": set.0, "labels": {LABEL: "helm"},
                        "annotations": {"skein.dev/service-set": set.1, "skein.dev/release": release},
                        "ownerReferences": self.owner(set),
                    },
                    "data": data,
                }))
            };
            self.writer.submit(&key, Part::Object, write);
        }
    }
}

impl Secrets {
    /// The set, or the cluster that has no set of its own; with it goes what was kept.
    fn owner(&self, (namespace, name): (&str, &str)) -> serde_json::Value {
        let owner = |kind: &str, uid: Option<String>| {
            let owner = |uid| json!({"apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": kind, "name": name, "uid": uid});
            uid.map(owner)
        };
        let set = self.cache.service_sets.get(namespace, name);
        let cluster = self.cache.cluster_deployments.get(namespace, name);
        let found = owner("ServiceSet", set.and_then(|set| set.metadata.uid.clone()))
            .or_else(|| owner("ClusterDeployment", cluster.and_then(|one| one.metadata.uid.clone())));
        json!(found.into_iter().collect::<Vec<_>>())
    }
}

/// The name of a part; names of sets and releases together may be too long for one.
fn part_name(set: &str, release: &str, at: usize) -> String {
    let short = hex::encode(Sha256::digest(format!("{set}\n{release}")));
    format!("skein-helm-{}-{at}", short.get(..24).unwrap_or_default())
}

fn name(set: &str) -> String {
    format!("skein-render-{set}")
}
