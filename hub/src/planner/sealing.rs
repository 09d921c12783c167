//! Sealing: what only its recipient may read is sealed to its key before it enters a plan.
//!
//! Sealed are Secrets, objects that say so with the annotation `skein.dev/sealed`, and everything of a service whose
//! values, templates or manifests came from a Secret: nobody can tell where in the objects such a value ended up.
//!
//! # Why before the unit is made
//! A plan names objects by digest, and a unit's hash is over those digests; both pass through a region. Over plain
//! content they would let it test guesses, and tell which clusters share a password. So digests and hashes are those of
//! sealed blobs. The same content for the same recipient gives the same blob, so an unchanged Secret keeps its digest.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::Bytes;
use identity::Sealer;
use lru::LruCache;
use protocol::id::{AgentId, Digest};
use protocol::plan::ObjectEntry;

use super::bundle::{Bundle, Piece};
use crate::authority::{SEALING_KEY, sealing_key};

/// Why an agent from before sealing gets nothing confidential, and what helps: an agent of today tells its key as soon as
/// it is linked (its certificate from before counts as due).
const UNTOLD: &str = "it has told no sealing key, as agents from before sealing: update the agent, and it tells its key \
                      as soon as it is linked; or enrol it again";

/// Blobs that are remembered, and their bytes: to make one again costs about 0.1 ms.
const REMEMBERED: (usize, usize) = (65_536, 64 << 20);

/// Whom content is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Recipient {
    /// The agent.
    pub agent: AgentId,
    /// Annotations of its Edge or Region, with the key it told.
    pub annotations: BTreeMap<String, String>,
}

/// Seals bundles; remembers.
pub struct Sealing {
    sealer: Sealer,
    memory: Mutex<Memory>,
}

struct Memory {
    /// By told key and digest of the plain content.
    blobs: LruCache<(String, Digest), (Digest, Bytes)>,
    bytes: usize,
}

impl Sealing {
    /// Nothing remembered yet.
    pub fn new(sealer: Sealer) -> Self {
        let count = NonZeroUsize::new(REMEMBERED.0).unwrap_or(NonZeroUsize::MIN);
        Self { sealer, memory: Mutex::new(Memory { blobs: LruCache::new(count), bytes: 0 }) }
    }

    /// The bundle as this recipient gets it: what is confidential is sealed, or everything.
    ///
    /// # Errors
    /// Why the recipient cannot get it, and what helps.
    pub fn seal(
        &self,
        bundle: &Arc<Bundle>,
        recipient: &Recipient,
        everything: bool,
    ) -> Result<Arc<Bundle>, String> {
        let confidential = |confidential: bool| everything || confidential;
        let some = bundle.objects.iter().any(|piece| confidential(piece.confidential))
            || bundle.hooks.iter().any(|piece| confidential(piece.confidential));
        if !some {
            return Ok(bundle.clone());
        }
        let mut sealed = Bundle::clone(bundle);
        for piece in sealed.objects.iter_mut().filter(|piece| confidential(piece.confidential)) {
            (piece.entry.digest, piece.content) = self.blob(&piece.entry, &piece.content, recipient)?;
        }
        for piece in sealed.hooks.iter_mut().filter(|piece| confidential(piece.confidential)) {
            let Piece { entry, content, .. } = piece;
            (entry.object.digest, *content) = self.blob(&entry.object, content, recipient)?;
        }
        Ok(Arc::new(sealed))
    }

    fn blob(
        &self,
        entry: &ObjectEntry,
        content: &Bytes,
        recipient: &Recipient,
    ) -> Result<(Digest, Bytes), String> {
        let Recipient { agent, annotations } = recipient;
        let refused = |why: &str| format!("{} cannot be delivered sealed to {agent}: {why}", entry.key);
        let told = annotations.get(SEALING_KEY);
        let told = told.ok_or_else(|| refused(UNTOLD))?;
        let name = (told.clone(), entry.digest);
        if let Some(known) = self.memory().blobs.get(&name) {
            return Ok(known.clone());
        }
        let key = sealing_key(annotations)
            .ok_or_else(|| refused(&format!("its device key did not sign the annotation {SEALING_KEY}")))?;
        let blob = self.sealer.seal(agent, &key, content).map_err(|error| refused(&error.to_string()))?;
        let made = (Digest::of(&blob), blob);
        self.memory().keep(name, made.clone());
        Ok(made)
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Memory {
    fn keep(&mut self, name: (String, Digest), blob: (Digest, Bytes)) {
        self.bytes += blob.1.len();
        if let Some((_, (_, old))) = self.blobs.push(name, blob) {
            self.bytes = self.bytes.saturating_sub(old.len());
        }
        while self.bytes > REMEMBERED.1 {
            let Some((_, (_, old))) = self.blobs.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(old.len());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::bundle::piece;
    use identity::{DeviceKey, SealingKey};
    use serde_json::{Value, json};

    fn object(kind: &str, name: &str, value: &str) -> Value {
        json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": name}, "data": {"key": value}})
    }

    fn bundle(objects: &[Value]) -> Arc<Bundle> {
        let objects = objects.iter().map(|object| piece(object).unwrap()).collect();
        Arc::new(Bundle { objects, ..Bundle::default() })
    }

    fn recipient(seed: u8) -> (Recipient, SealingKey) {
        let device = DeviceKey::from_seed([seed; 32]);
        let annotations =
            crate::authority::device_annotations(&device.public(), &vec![identity::sealing::told(&device)]);
        let agent = AgentId::Region("eu".parse().unwrap());
        (Recipient { agent, annotations }, SealingKey::of(&device))
    }

    #[test]
    fn secrets_are_sealed_to_their_recipient_and_the_rest_is_shared() {
        let sealing = Sealing::new(Sealer::new([9; 32]));
        let marked = json!({"apiVersion": "v1", "kind": "ConfigMap",
            "metadata": {"name": "marked", "annotations": {"skein.dev/sealed": "true"}}});
        let plain =
            bundle(&[object("Secret", "login", "aHVudGVyMg=="), object("ConfigMap", "conf", "x"), marked]);
        let (eu, key) = recipient(1);
        let sealed = sealing.seal(&plain, &eu, false).unwrap();
        let is_sealed = |at: usize| protocol::sealed::is_sealed(&sealed.objects[at].content);
        assert!(is_sealed(0) && !is_sealed(1) && is_sealed(2));
        assert_eq!(sealed.objects[1], plain.objects[1]);
        assert_eq!(key.open(&eu.agent, &sealed.objects[0].content).unwrap(), plain.objects[0].content);
        assert_eq!(Digest::of(&sealed.objects[0].content), sealed.objects[0].entry.digest);
        assert_eq!(sealing.seal(&plain, &eu, false).unwrap(), sealed);
        let restarted = Sealing::new(Sealer::new([9; 32]));
        assert_eq!(restarted.seal(&plain, &eu, false).unwrap(), sealed);
        let (us, _) = recipient(2);
        assert_ne!(sealing.seal(&plain, &us, false).unwrap().objects[0].entry, sealed.objects[0].entry);
        let all = sealing.seal(&plain, &eu, true).unwrap();
        assert!(all.objects.iter().all(|piece| protocol::sealed::is_sealed(&piece.content)));
    }

    #[test]
    fn nothing_confidential_goes_to_an_agent_without_a_key_and_all_else_does() {
        let sealing = Sealing::new(Sealer::new([9; 32]));
        let (mut eu, _) = recipient(1);
        eu.annotations.remove(SEALING_KEY);
        let open = bundle(&[object("ConfigMap", "conf", "x")]);
        assert_eq!(sealing.seal(&open, &eu, false).unwrap(), open);
        let error = sealing.seal(&bundle(&[object("Secret", "login", "eA==")]), &eu, false).unwrap_err();
        assert_eq!(error, format!("Secret login cannot be delivered sealed to region/eu: {UNTOLD}"));
    }
}
