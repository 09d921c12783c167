//! What plans are made of: a few objects, one of which changes; now and then too much for the control lane.

use std::collections::BTreeMap;

use bytes::Bytes;
use identity::{Entropy as _, SeededEntropy};
use protocol::id::Digest;
use protocol::plan::{DriftMode, ObjectEntry, ObjectKey, PlanBody, Removal, Unit, UnitId, UnitKind};

/// Everything a plan names.
pub type Blobs = BTreeMap<Digest, Bytes>;

/// Whether that version has objects that do not fit the control lane.
#[must_use]
pub fn is_big(version: u64) -> bool {
    version % 4 == 3
}

/// The body of version `version` of an edge's configuration.
#[must_use]
pub fn body(edge: u64, version: u64) -> (PlanBody, Blobs) {
    let text = str::to_owned;
    let mut contents = vec![
        format!("{{\"edge\":{edge}}}"),
        format!("{{\"edge\":{edge},\"version\":{version}}}"),
        format!("{{\"every\":{}}}", version / 3),
    ];
    if is_big(version) {
        // Does not compress below its half, so three of them go over the blob lane.
        let mut entropy = SeededEntropy::new(edge << 32 | version);
        let mut noise = vec![0; 15_000];
        for _ in 0..4 {
            entropy.fill(&mut noise);
            contents.push(hex::encode(&noise));
        }
    }
    let objects = contents.iter().enumerate().map(|(index, content)| ObjectEntry {
        key: ObjectKey {
            group: String::new(),
            version: text("v1"),
            kind: text("ConfigMap"),
            namespace: text("shop"),
            name: format!("map-{index}"),
        },
        digest: Digest::of(content.as_bytes()),
    });
    let unit = Unit {
        id: UnitId {
            set_namespace: text("default"),
            set_name: text("set"),
            namespace: text("shop"),
            name: text("web"),
        },
        kind: UnitKind::Resources,
        template: text("web"),
        version: version.to_string(),
        hash: Digest::of(contents.concat().as_bytes()),
        priority: 0,
        depends_on: Vec::new(),
        objects: objects.collect(),
        hooks: Vec::new(),
        create_namespace: true,
        take_ownership: false,
        drift: DriftMode::Repair,
        removal: Removal::Prune,
        timeout_ms: 0,
        ext: Vec::new(),
    };
    let blobs = contents.into_iter().map(|text| (Digest::of(text.as_bytes()), Bytes::from(text))).collect();
    (PlanBody { units: vec![unit], ..PlanBody::default() }, blobs)
}
