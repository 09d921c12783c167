//! Bundles by the digest of what went into them.
//!
//! They are kept as parcels; the few that many clusters share, and those of the moment, stand ready.

use std::num::NonZeroUsize;
use std::sync::Arc;

use lru::LruCache;
use protocol::id::Digest;

use super::bundle::Bundle;
use super::parcel::Parcel;

/// Bundles that stand ready, and the bytes of their content.
const READY: (usize, usize) = (512, 32 << 20);
/// Bundles that are kept packed, and their bytes.
const PACKED: (usize, usize) = (131_072, 256 << 20);

/// Remembers bundles within bounds; what was not asked for longest goes first.
pub(super) struct Remembered {
    ready: Shelf<Arc<Bundle>>,
    packed: Shelf<Arc<Parcel>>,
}

/// What is remembered, with the sum of its sizes.
struct Shelf<T> {
    entries: LruCache<Digest, T>,
    bytes: usize,
    bytes_max: usize,
    size: fn(&T) -> usize,
}

impl Remembered {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            ready: Shelf::new(READY, |bundle| bundle.size()),
            packed: Shelf::new(PACKED, |parcel| parcel.size()),
        }
    }

    /// The bundle of this input.
    pub(super) fn get(&mut self, input: &Digest) -> Option<Arc<Bundle>> {
        if let Some(bundle) = self.ready.entries.get(input) {
            return Some(bundle.clone());
        }
        let bundle = Arc::new(self.packed.entries.get(input)?.unpack());
        self.ready.keep(*input, bundle.clone());
        Some(bundle)
    }

    /// Keeps the bundle of this input; it is packed already.
    pub(super) fn keep(&mut self, input: Digest, bundle: &Arc<Bundle>, parcel: Arc<Parcel>) {
        self.ready.keep(input, bundle.clone());
        self.packed.keep(input, parcel);
    }
}

impl<T> Shelf<T> {
    fn new((count, bytes_max): (usize, usize), size: fn(&T) -> usize) -> Self {
        // Grows as it is filled: room for all entries at once would be taken before there are any.
        let count = NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
        let mut entries = LruCache::unbounded();
        entries.resize(count);
        Self { entries, bytes: 0, bytes_max, size }
    }

    fn keep(&mut self, input: Digest, entry: T) {
        self.bytes += (self.size)(&entry);
        if let Some((_, old)) = self.entries.push(input, entry) {
            self.bytes = self.bytes.saturating_sub((self.size)(&old));
        }
        while self.bytes > self.bytes_max {
            let Some((_, old)) = self.entries.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub((self.size)(&old));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::bundle::{Piece, piece};
    use protocol::plan::{HookDeletion, HookEntry, HookEvent};
    use serde_json::json;

    fn bundle(number: usize) -> Arc<Bundle> {
        let object = |kind: &str, text: String| {
            piece(&json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "a", "namespace": "x"}, "data": {"key": text}})).unwrap()
        };
        let hook = object("Secret", "hook".to_owned());
        let events = vec![HookEvent::PreInstall];
        let entry =
            HookEntry { object: hook.entry, events, weight: -3, deletion: vec![HookDeletion::Succeeded] };
        Arc::new(Bundle {
            objects: vec![object("ConfigMap", number.to_string().repeat(2_000))],
            hooks: vec![Piece { entry, content: hook.content, confidential: hook.confidential }],
            entropy: number.is_multiple_of(2),
            by_helm: number.is_multiple_of(3).then(|| "it lacks something".into()),
            cluster: Some(json!({"kind": "Cluster", "number": number})),
            ..Bundle::default()
        })
    }

    #[test]
    fn what_was_put_away_comes_back_the_same() {
        let mut remembered = Remembered::new();
        let input = |number: usize| Digest::of(&number.to_le_bytes());
        for number in 0..2_000 {
            let bundle = bundle(number);
            remembered.keep(input(number), &bundle, bundle.parcel());
        }
        assert_eq!(remembered.ready.entries.len(), READY.0);
        assert!((0..2_000).all(|number| remembered.get(&input(number)) == Some(bundle(number))));
        assert!(remembered.get(&input(2_000)).is_none());
        assert!(remembered.packed.bytes < 2_000 * 1_000, "{}", remembered.packed.bytes);
    }

    #[test]
    fn what_was_not_asked_for_longest_goes_first() {
        let mut shelf: Shelf<Vec<u8>> = Shelf::new((10, 100), Vec::len);
        let input = |number: u8| Digest::of(&[number]);
        for number in 0..4 {
            shelf.keep(input(number), vec![number; 30]);
        }
        assert_eq!((shelf.entries.len(), shelf.bytes), (3, 90));
        assert!(!shelf.entries.contains(&input(0)));
        shelf.keep(input(3), vec![3; 10]);
        assert_eq!((shelf.entries.len(), shelf.bytes), (3, 70));
        for number in 4..20 {
            shelf.keep(input(number), Vec::new());
        }
        assert_eq!((shelf.entries.len(), shelf.bytes), (10, 0));
        shelf.keep(input(99), vec![0; 101]);
        assert_eq!((shelf.entries.len(), shelf.bytes), (0, 0));
    }
}
