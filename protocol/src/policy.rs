//! How a unit is carried out, where that is not as usual: extensions of a [`Unit`], each absent unless somebody asked
//! for it. An agent of before a tag was made does as usual, so none is needed to read a plan.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::UnixMillis;
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

/// Tag of [`Unit::health_rules`]: an encoded [`HealthRules`].
pub const HEALTH_RULES: u16 = 6;

/// Tag of [`Unit::not_after`]: eight bytes, little endian.
pub const NOT_AFTER: u16 = 7;

/// Tag of [`Unit::is_emergency`]: no bytes.
pub const EMERGENCY: u16 = 8;

/// Tag of [`Unit::reloads`]: no bytes.
pub const RELOAD: u16 = 9;

/// Tag of [`Unit::test_order`]: text.
pub const TEST: u16 = 10;

/// Tag of [`Unit::prunes_definitions`]: no bytes.
pub const PRUNE_DEFINITIONS: u16 = 11;

/// Most bytes of [`HealthRules`].
const HEALTH_RULES_BYTES_MAX: usize = 1 << 20;
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

/// Rules that objects of a unit must satisfy beside those of kstatus.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRules(pub Vec<HealthRule>);

/// A rule that every object of a kind must satisfy to count as healthy (k0rdent's health rules).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthRule {
    /// Where it stands, for a person: `NAMESPACE/NAME#POSITION` of a ConfigMap.
    pub source: String,
    /// API group of the kind, empty for core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Whether the rule takes the kind to be cluster-scoped.
    pub cluster_scoped: bool,
    /// A CEL expression over `obj` that yields a bool.
    pub healthy: String,
    /// A CEL expression over `obj` that yields the text for an object that is not healthy.
    pub message: String,
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

    /// Rules that its objects must satisfy beside those of kstatus; none if they do not decode.
    pub fn health_rules(&self) -> HealthRules {
        let encoded = self.extension(HEALTH_RULES);
        encoded.and_then(|bytes| codec::decode(bytes, HEALTH_RULES_BYTES_MAX).ok()).unwrap_or_default()
    }

    /// Sets [`Self::health_rules`].
    pub fn set_health_rules(&mut self, rules: &HealthRules) {
        self.extend(HEALTH_RULES, (!rules.0.is_empty()).then(|| codec::encode(rules)));
    }

    /// The moment after which this revision must not be begun any more; one that was begun goes on.
    pub fn not_after(&self) -> Option<UnixMillis> {
        Some(UnixMillis::from_le_bytes(self.extension(NOT_AFTER)?.as_ref().try_into().ok()?))
    }

    /// Sets [`Self::not_after`].
    pub fn set_not_after(&mut self, not_after: Option<UnixMillis>) {
        self.extend(NOT_AFTER, not_after.map(|at| Bytes::copy_from_slice(&at.to_le_bytes())));
    }

    /// Whether it is so urgent that it does not wait for a maintenance window; a hold and a veto it respects.
    pub fn is_emergency(&self) -> bool {
        self.extension(EMERGENCY).is_some()
    }

    /// Sets [`Self::is_emergency`].
    pub fn set_emergency(&mut self, emergency: bool) {
        self.extend(EMERGENCY, emergency.then(Bytes::new));
    }

    /// Whether workloads roll when a ConfigMap or Secret that they use changes.
    pub fn reloads(&self) -> bool {
        self.extension(RELOAD).is_some()
    }

    /// Sets [`Self::reloads`].
    pub fn set_reloads(&mut self, reloads: bool) {
        self.extend(RELOAD, reloads.then(Bytes::new));
    }

    /// The last order to run its test hooks, by a name that no other order for it has.
    pub fn test_order(&self) -> Option<&str> {
        std::str::from_utf8(self.extension(TEST)?).ok()
    }

    /// Sets [`Self::test_order`].
    pub fn set_test_order(&mut self, order: Option<&str>) {
        self.extend(TEST, order.map(|order| Bytes::copy_from_slice(order.as_bytes())));
    }

    /// Whether its CustomResourceDefinitions go with it.
    pub fn prunes_definitions(&self) -> bool {
        self.extension(PRUNE_DEFINITIONS).is_some()
    }

    /// Sets [`Self::prunes_definitions`].
    pub fn set_prunes_definitions(&mut self, prunes: bool) {
        self.extend(PRUNE_DEFINITIONS, prunes.then(Bytes::new));
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
        unit.set_not_after(Some(7));
        unit.set_test_order(Some("one"));
        unit.set_emergency(true);
        assert_eq!((unit.not_after(), unit.test_order(), unit.is_emergency()), (Some(7), Some("one"), true));
        unit.set_not_after(None);
        unit.set_test_order(None);
        unit.set_emergency(false);
        let rule = HealthRule {
            source: "kcm-system/rules#0".into(),
            group: "batch".into(),
            kind: "Job".into(),
            cluster_scoped: false,
            healthy: "true".into(),
            message: "''".into(),
        };
        unit.set_health_rules(&HealthRules(vec![rule.clone()]));
        assert_eq!(unit.health_rules(), HealthRules(vec![rule]));
        unit.set_health_rules(&HealthRules::default());
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
