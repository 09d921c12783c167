//! How a unit is carried out, where that is not as usual: extensions of a [`Unit`], each absent unless somebody asked
//! for it. An agent of before a tag was made does as usual, so none is needed to read a plan.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::codec;
use crate::plan::Unit;

/// Name of the setting of a plan that holds it back: `{"reason": TEXT, "until": RFC 3339 TIME}`, both optional.
pub const HOLD: &str = "hold";

/// Tag of [`Unit::rollback_after`]: four bytes, little endian.
pub const ROLLBACK_AFTER: u16 = 1;
/// Tag of [`Unit::recreates`]: no bytes.
pub const RECREATE: u16 = 2;
/// Tag of [`Unit::leeway`]: an encoded [`Leeways`].
pub const LEEWAY: u16 = 3;

/// Tag of [`Unit::is_dry_run`]: no bytes.
pub const DRY_RUN: u16 = 4;

/// Tag of [`Unit::chart`]: an encoded [`ChartHead`].
pub const CHART: u16 = 5;

/// Most bytes of a [`ChartHead`].
const CHART_BYTES_MAX: usize = 4096;
/// Most bytes of [`Leeways`].
const LEEWAYS_BYTES_MAX: usize = 1 << 20;

/// Differences that are no drift, for objects of a unit in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leeways(pub Vec<Leeway>);

/// Differences of one object that are no drift.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Leeway {
    /// Its place among the objects of the unit.
    pub object: u32,
    /// JSON pointers of the fields that others may change; none: they may change the whole object, and delete it.
    pub paths: Vec<String>,
}

/// The chart a unit was rendered from, for the record of the release on its cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChartHead {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Version of the application inside, or empty.
    pub app_version: String,
}

impl Unit {
    /// After how many failed tries a new revision is given up for the last one that was healthy; `None`: never.
    pub fn rollback_after(&self) -> Option<u32> {
        let tries = u32::from_le_bytes(self.extension(ROLLBACK_AFTER)?.as_ref().try_into().ok()?);
        (tries > 0).then_some(tries)
    }

    /// Sets [`Self::rollback_after`].
    pub fn set_rollback_after(&mut self, tries: Option<u32>) {
        self.extend(ROLLBACK_AFTER, tries.map(|tries| Bytes::copy_from_slice(&tries.to_le_bytes())));
    }

    /// Whether an object that cannot be changed as desired is deleted and made anew.
    pub fn recreates(&self) -> bool {
        self.extension(RECREATE).is_some()
    }

    /// Sets [`Self::recreates`].
    pub fn set_recreates(&mut self, recreates: bool) {
        self.extend(RECREATE, recreates.then(Bytes::new));
    }

    /// What others may change about its objects; nothing if it does not decode.
    pub fn leeway(&self) -> Leeways {
        let encoded = self.extension(LEEWAY);
        encoded.and_then(|bytes| codec::decode(bytes, LEEWAYS_BYTES_MAX).ok()).unwrap_or_default()
    }

    /// Sets [`Self::leeway`].
    pub fn set_leeway(&mut self, leeway: &Leeways) {
        self.extend(LEEWAY, (!leeway.0.is_empty()).then(|| codec::encode(leeway)));
    }

    /// Whether nothing of it is written: only what would change is told.
    pub fn is_dry_run(&self) -> bool {
        self.extension(DRY_RUN).is_some()
    }

    /// Sets [`Self::is_dry_run`].
    pub fn set_dry_run(&mut self, dry_run: bool) {
        self.extend(DRY_RUN, dry_run.then(Bytes::new));
    }

    /// The chart it was rendered from; with it, the agent keeps Helm's record of the release.
    pub fn chart(&self) -> Option<ChartHead> {
        codec::decode(self.extension(CHART)?, CHART_BYTES_MAX).ok()
    }

    /// Sets [`Self::chart`].
    pub fn set_chart(&mut self, chart: Option<&ChartHead>) {
        self.extend(CHART, chart.map(codec::encode));
    }

    fn extension(&self, wanted: u16) -> Option<&Bytes> {
        self.ext.iter().find(|(tag, _)| *tag == wanted).map(|(_, bytes)| bytes)
    }

    fn extend(&mut self, wanted: u16, bytes: Option<Bytes>) {
        self.ext.retain(|(tag, _)| *tag != wanted);
        self.ext.extend(bytes.map(|bytes| (wanted, bytes)));
        self.ext.sort_by_key(|(tag, _)| *tag);
    }
}

impl Leeways {
    /// What others may change about an object: nothing, some fields, or all of it.
    pub fn of(&self, object: usize) -> Option<&[String]> {
        let at = self.0.binary_search_by_key(&object, |leeway| leeway.object as usize).ok()?;
        Some(&self.0[at].paths)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::Digest;
    use crate::plan::{DriftMode, Removal, UnitId, UnitKind};

    fn unit() -> Unit {
        let id = UnitId {
            set_namespace: String::new(),
            set_name: String::new(),
            namespace: String::new(),
            name: String::new(),
        };
        Unit {
            id,
            kind: UnitKind::Helm,
            template: String::new(),
            version: String::new(),
            hash: Digest([0; 32]),
            priority: 0,
            depends_on: Vec::new(),
            objects: Vec::new(),
            hooks: Vec::new(),
            create_namespace: false,
            take_ownership: false,
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            timeout_ms: 0,
            ext: Vec::new(),
        }
    }

    #[test]
    fn what_is_set_is_read_back_and_what_is_usual_leaves_no_trace() {
        let mut unit = unit();
        let leeway = Leeways(vec![
            Leeway { object: 1, paths: vec!["/spec/replicas".into()] },
            Leeway { object: 7, paths: Vec::new() },
        ]);
        unit.set_leeway(&leeway);
        unit.set_recreates(true);
        unit.set_rollback_after(Some(3));
        unit.set_dry_run(true);
        assert!(unit.is_dry_run());
        unit.set_dry_run(false);
        assert_eq!((unit.rollback_after(), unit.recreates(), unit.leeway()), (Some(3), true, leeway.clone()));
        assert_eq!(
            unit.ext.iter().map(|(tag, _)| *tag).collect::<Vec<_>>(),
            [ROLLBACK_AFTER, RECREATE, LEEWAY]
        );
        assert_eq!(leeway.of(0), None);
        assert_eq!(leeway.of(1), Some(&["/spec/replicas".to_owned()][..]));
        assert_eq!(leeway.of(7), Some(&[][..]));
        let chart = ChartHead { name: "web".into(), version: "1.2.3".into(), app_version: String::new() };
        unit.set_chart(Some(&chart));
        assert_eq!(unit.chart(), Some(chart));
        unit.set_chart(None);
        unit.set_leeway(&Leeways::default());
        unit.set_recreates(false);
        unit.set_rollback_after(None);
        assert_eq!(unit.ext, []);
    }

    #[test]
    fn what_does_not_decode_is_as_usual() {
        let mut unit = unit();
        let bytes = Bytes::from_static(&[0xff; 5]);
        unit.ext = vec![(ROLLBACK_AFTER, bytes.clone()), (LEEWAY, bytes)];
        assert_eq!((unit.rollback_after(), unit.leeway()), (None, Leeways::default()));
    }
}
