//! Bundles as they are kept: packed, and unpacked when somebody asks for their content.
//!
//! # Why packed
//! A fleet's bundles differ by a name here and there, and each is needed again only when something changes for its
//! cluster, or its agent lacks something. Kept as they are, those of ten thousand clusters with ten services each fill
//! gigabytes; packed they take a tenth, and to unpack one costs a twentieth of a render. Whoever holds a bundle packs it
//! once: the renderer's memory, the targets and the book of plans share the same bytes.

use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use protocol::id::Digest;
use protocol::plan::{HookEntry, ObjectEntry};
use serde::{Deserialize, Serialize};

use super::bundle::{Bundle, Piece};

/// More would take longer than what it saves is worth.
const LEVEL: i32 = 1;

/// A bundle, packed, with what is often asked of it beside.
#[derive(Debug)]
pub struct Parcel {
    packed: Box<[u8]>,
    unpacked_bytes: usize,
    objects: usize,
    /// What the engine lacks, where a `helm` binary rendered it.
    pub by_helm: Option<Arc<str>>,
    /// Whether a Cluster API `Cluster` is among the objects.
    pub has_cluster: bool,
}

/// The content of an object, or where it is.
#[derive(Debug, Clone)]
pub enum Blob {
    /// As it is.
    Whole(Bytes),
    /// In this parcel.
    Packed(Arc<Parcel>),
}

impl From<Bytes> for Blob {
    fn from(content: Bytes) -> Self {
        Self::Whole(content)
    }
}

impl Blob {
    /// The content of this digest.
    pub fn content(&self, digest: &Digest) -> Option<Bytes> {
        match self {
            Self::Whole(content) => Some(content.clone()),
            Self::Packed(parcel) => parcel.blob(digest),
        }
    }

    /// Bytes that it takes, about.
    pub fn size(&self) -> usize {
        match self {
            Self::Whole(content) => content.len(),
            Self::Packed(parcel) => parcel.share(),
        }
    }
}

/// The parcel of a bundle, once somebody asked for it. Whoever copies a bundle does so to change it: a copy has none yet.
#[derive(Debug, Default)]
pub struct Packing(OnceLock<Arc<Parcel>>);

impl Clone for Packing {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Packing {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

/// What is packed.
#[derive(Serialize, Deserialize)]
struct Content {
    objects: Vec<Piece<ObjectEntry>>,
    hooks: Vec<Piece<HookEntry>>,
    entropy: bool,
    by_helm: Option<String>,
    /// As JSON: its form tells its own types, which the packing does not.
    cluster: Option<Vec<u8>>,
}

impl Bundle {
    /// The same, packed; made once.
    pub fn parcel(&self) -> Arc<Parcel> {
        self.packing.0.get_or_init(|| Arc::new(Parcel::of(self))).clone()
    }
}

impl Parcel {
    fn of(bundle: &Bundle) -> Self {
        let Bundle { objects, hooks, entropy, by_helm, cluster, .. } = bundle;
        let json = |cluster| serde_json::to_vec(cluster).expect("JSON of a JSON value can be written");
        let content = (objects, hooks, entropy, by_helm.as_deref(), cluster.as_ref().map(json));
        let bytes = postcard::to_stdvec(&content).expect("entries and bytes can be written");
        let packed = zstd::bulk::compress(&bytes, LEVEL)
            .expect("compressing into a buffer of sufficient size succeeds");
        Self {
            packed: packed.into_boxed_slice(),
            unpacked_bytes: bytes.len(),
            objects: objects.len() + hooks.len(),
            by_helm: by_helm.clone(),
            has_cluster: cluster.is_some(),
        }
    }

    /// The bundle.
    pub fn unpack(self: &Arc<Self>) -> Bundle {
        const OWN: &str = "what was packed here is what comes out";
        let bytes = zstd::bulk::decompress(&self.packed, self.unpacked_bytes).expect(OWN);
        let Content { objects, hooks, entropy, by_helm, cluster } = postcard::from_bytes(&bytes).expect(OWN);
        let cluster = cluster.map(|json| serde_json::from_slice(&json).expect(OWN));
        let packing = Packing(OnceLock::from(self.clone()));
        Bundle { objects, hooks, entropy, by_helm: by_helm.map(Into::into), cluster, packing }
    }

    /// The content of an object or hook, by digest.
    pub fn blob(self: &Arc<Self>, digest: &Digest) -> Option<Bytes> {
        // A copy of its own: a piece of what was unpacked would keep all of it.
        self.unpack()
            .blobs()
            .find(|(one, _)| one == digest)
            .map(|(_, content)| Bytes::copy_from_slice(&content))
    }

    /// Bytes that it takes.
    pub fn size(&self) -> usize {
        self.packed.len()
    }

    /// Bytes that each of its objects takes, about.
    fn share(&self) -> usize {
        self.packed.len() / self.objects.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::bundle::piece;
    use serde_json::json;

    #[test]
    fn a_parcel_gives_back_what_was_packed_and_is_made_once() {
        let object = |name: &str| {
            piece(&json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"a": name}}))
                .unwrap()
        };
        let bundle = Bundle {
            objects: vec![object("one"), object("two")],
            entropy: true,
            by_helm: Some("it lacks something".into()),
            cluster: Some(json!({"kind": "Cluster", "n": 1.5})),
            ..Bundle::default()
        };
        let parcel = bundle.parcel();
        assert!(Arc::ptr_eq(&parcel, &bundle.parcel()));
        let back = parcel.unpack();
        assert_eq!(back, bundle);
        assert!(Arc::ptr_eq(&back.parcel(), &parcel));
        let two = &bundle.objects[1];
        assert_eq!(parcel.blob(&two.entry.digest), Some(two.content.clone()));
        assert_eq!(parcel.blob(&Digest([0; 32])), None);
        assert!(!Arc::ptr_eq(&bundle.clone().parcel(), &parcel));
    }
}
