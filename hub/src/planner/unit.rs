//! From a bundle to a unit of a plan.

use std::collections::BTreeMap;

use api::k0rdent::HelmOptions;
use protocol::id::Digest;
use protocol::plan::{DriftMode, HookEvent, Removal, Unit, UnitId, UnitKind};
use protocol::policy::{ChartHead, HealthRules, Leeways};
use serde_json::json;

use super::bundle::Bundle;
use super::canonical::canonical;
use crate::content::describe::duration;
use crate::services::orders::Orders;

/// Helm's own default.
const TIMEOUT_MS: u64 = 300_000;
/// Tries of an atomic release: about ten seconds, for what only needs another moment.
const ATOMIC_TRIES: u32 = 5;

/// What a unit is besides its objects.
#[derive(Debug, Clone)]
pub struct Frame {
    /// Its name.
    pub id: UnitId,
    /// How it was described.
    pub kind: UnitKind,
    /// The template.
    pub template: String,
    /// The template's version.
    pub version: String,
    /// Its place in the order.
    pub tier: i32,
    /// Units that come before.
    pub depends_on: Vec<UnitId>,
    /// What to do about drift.
    pub drift: DriftMode,
    /// What to do when it leaves the plan.
    pub removal: Removal,
    /// The chart, where it is one.
    pub chart: Option<ChartHead>,
    /// Tell only what would change.
    pub dry_run: bool,
    /// After how many failed tries an upgrade is given up; `None`: never.
    pub rollback_after: Option<u32>,
    /// What others may change about the objects.
    pub leeway: Leeways,
    /// What is asked for besides.
    pub extras: Extras,
    /// Helm options, those of the service over those of the template.
    pub options: HelmOptions,
}

/// What is asked for besides.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Extras {
    /// Rules that its objects must satisfy.
    pub health: HealthRules,
    /// What annotations of the owner say.
    pub orders: Orders,
    /// Workloads roll when a ConfigMap or Secret that they use changes.
    pub reloads: bool,
    /// Its definitions go with it.
    pub prunes_definitions: bool,
}

/// The unit.
pub fn unit(frame: Frame, bundle: &Bundle) -> Unit {
    let Frame { id, kind, template, version, tier, mut depends_on, drift, removal, .. } = frame;
    let Frame { chart, dry_run, rollback_after, leeway, extras, options, .. } = frame;
    depends_on.sort();
    depends_on.dedup();
    let install = options.install_options.clone().unwrap_or_default();
    let upgrade = options.upgrade_options.clone().unwrap_or_default();
    let hooks = if options.disable_hooks.unwrap_or(false) || install.disable_hooks {
        Vec::new()
    } else {
        bundle.hooks.iter().map(|piece| piece.entry.clone()).collect()
    };
    let timeout = options.timeout.as_deref().and_then(duration).filter(|timeout| !timeout.is_zero());
    let mut unit = Unit {
        hash: Digest([0; 32]),
        kind,
        template,
        version,
        priority: tier,
        depends_on,
        objects: bundle.objects.iter().map(|piece| piece.entry.clone()).collect(),
        hooks,
        create_namespace: options.create_namespace.unwrap_or(install.create_namespace),
        // Manifests are applied the way kubectl applies them; a release minds its neighbours.
        take_ownership: install.take_ownership || upgrade.take_ownership || kind == UnitKind::Resources,
        drift,
        removal,
        timeout_ms: timeout
            .map_or(TIMEOUT_MS, |timeout| u64::try_from(timeout.as_millis()).unwrap_or(u64::MAX)),
        ext: Vec::new(),
        id,
    };
    unit.set_chart(chart.as_ref());
    unit.set_dry_run(dry_run);
    unit.set_rollback_after(rollback_after);
    unit.set_recreates(upgrade.recreate || upgrade.force);
    unit.set_leeway(&leeway);
    unit.set_health_rules(&extras.health);
    unit.set_reloads(extras.reloads);
    unit.set_prunes_definitions(extras.prunes_definitions);
    unit.set_not_after(extras.orders.not_after);
    unit.set_emergency(extras.orders.emergency);
    // An order for tests is of no concern to what has none.
    let tested = unit.hooks.iter().any(|hook| hook.events.contains(&HookEvent::Test));
    unit.set_test_order(extras.orders.test.as_deref().filter(|_| tested));
    unit.hash = hash(&unit);
    unit
}

/// What a cluster's own record of the release says of its chart.
pub fn chart_head(chart: &render::Chart) -> ChartHead {
    let metadata = chart.metadata();
    ChartHead {
        name: metadata.name.clone(),
        version: metadata.version.clone(),
        app_version: metadata.app_version.clone(),
    }
}

/// After how many failed tries an upgrade is given up, given what is said of that. A release is atomic unless its
/// options say otherwise (k0rdent); all else goes on trying unless a number is given.
pub fn tries(kind: UnitKind, options: &HelmOptions, given: Option<u32>) -> Option<u32> {
    match kind {
        UnitKind::Helm if options.atomic == Some(false) => None,
        UnitKind::Helm => given.or(Some(ATOMIC_TRIES)),
        UnitKind::Kustomize | UnitKind::Resources => given,
    }
}

/// The unit with the same content for another recipient.
pub fn resealed(unit: &Unit, bundle: &Bundle) -> Unit {
    let mut unit = unit.clone();
    unit.objects = bundle.objects.iter().map(|piece| piece.entry.clone()).collect();
    if !unit.hooks.is_empty() {
        unit.hooks = bundle.hooks.iter().map(|piece| piece.entry.clone()).collect();
    }
    unit.hash = hash(&unit);
    unit
}

/// Over the release's identity and all its content, and over nothing that does not change what is deployed.
fn hash(unit: &Unit) -> Digest {
    let objects: Vec<_> =
        unit.objects.iter().map(|entry| (entry.key.to_string(), entry.digest.to_string())).collect();
    let hooks: Vec<_> = unit
        .hooks
        .iter()
        .map(|hook| (hook.object.key.to_string(), hook.object.digest.to_string(), hook.weight))
        .collect();
    let identity = json!({
        "namespace": unit.id.namespace, "name": unit.id.name, "template": unit.template, "version": unit.version,
        "objects": objects, "hooks": hooks, "createNamespace": unit.create_namespace,
    });
    Digest::of(&canonical(&identity))
}

/// The options of a service over those of its template; maps are merged (k0rdent).
pub fn merged(service: Option<&HelmOptions>, template: Option<&HelmOptions>) -> HelmOptions {
    let (Some(over), Some(under)) = (service, template) else {
        return service.or(template).cloned().unwrap_or_default();
    };
    let mut labels: BTreeMap<_, _> = under.labels.clone();
    labels.extend(over.labels.clone());
    HelmOptions {
        atomic: over.atomic.or(under.atomic),
        create_namespace: over.create_namespace.or(under.create_namespace),
        dependency_update: over.dependency_update.or(under.dependency_update),
        description: over.description.clone().or_else(|| under.description.clone()),
        disable_hooks: over.disable_hooks.or(under.disable_hooks),
        disable_open_api_validation: over.disable_open_api_validation.or(under.disable_open_api_validation),
        enable_client_cache: over.enable_client_cache.or(under.enable_client_cache),
        install_options: over.install_options.clone().or_else(|| under.install_options.clone()),
        labels,
        replace: over.replace.or(under.replace),
        skip_crds: over.skip_crds.or(under.skip_crds),
        skip_schema_validation: over.skip_schema_validation.or(under.skip_schema_validation),
        timeout: over.timeout.clone().or_else(|| under.timeout.clone()),
        uninstall_options: over.uninstall_options.clone().or_else(|| under.uninstall_options.clone()),
        upgrade_options: over.upgrade_options.clone().or_else(|| under.upgrade_options.clone()),
        wait: over.wait.or(under.wait),
        wait_for_jobs: over.wait_for_jobs.or(under.wait_for_jobs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::planner::bundle::piece;
    use api::k0rdent::HelmUpgradeOptions;

    fn frame(options: HelmOptions) -> Frame {
        let text = str::to_owned;
        Frame {
            id: UnitId {
                set_namespace: text("a"),
                set_name: text("b"),
                namespace: text("c"),
                name: text("d"),
            },
            kind: UnitKind::Helm,
            template: text("t"),
            version: text("1"),
            tier: 5,
            depends_on: Vec::new(),
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            chart: None,
            dry_run: false,
            rollback_after: None,
            leeway: Leeways::default(),
            extras: Extras::default(),
            options,
        }
    }

    #[test]
    fn releases_are_atomic_unless_they_say_otherwise_and_the_rest_only_on_request() {
        let options = |atomic| HelmOptions { atomic, ..HelmOptions::default() };
        let table = [
            (UnitKind::Helm, None, None, Some(5)),
            (UnitKind::Helm, Some(true), Some(2), Some(2)),
            (UnitKind::Helm, Some(false), Some(2), None),
            (UnitKind::Resources, Some(true), None, None),
            (UnitKind::Kustomize, None, Some(3), Some(3)),
        ];
        for (kind, atomic, given, wanted) in table {
            assert_eq!(tries(kind, &options(atomic), given), wanted, "{kind:?} {atomic:?} {given:?}");
        }
    }

    #[test]
    fn what_the_options_say_of_upgrades_goes_along() {
        let upgrade = HelmUpgradeOptions { recreate: true, ..HelmUpgradeOptions::default() };
        let options = HelmOptions { upgrade_options: Some(upgrade), ..HelmOptions::default() };
        let made = unit(Frame { rollback_after: Some(4), ..frame(options) }, &Bundle::default());
        assert_eq!((made.rollback_after(), made.recreates()), (Some(4), true));
        assert_eq!(made.hash, unit(frame(HelmOptions::default()), &Bundle::default()).hash);
        assert_eq!(unit(frame(HelmOptions::default()), &Bundle::default()).ext, []);
    }

    #[test]
    fn the_hash_follows_content_and_identity_and_not_patience() {
        let config = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "x"}});
        let bundle = Bundle { objects: vec![piece(&config).unwrap()], ..Bundle::default() };
        let hash = |frame, bundle: &Bundle| unit(frame, bundle).hash;
        let one = hash(frame(HelmOptions::default()), &bundle);
        let patient = HelmOptions { timeout: Some("1h".into()), ..HelmOptions::default() };
        assert_eq!(hash(frame(patient), &bundle), one);
        assert_ne!(hash(frame(HelmOptions::default()), &Bundle::default()), one);
        let other = Frame { version: "2".into(), ..frame(HelmOptions::default()) };
        assert_ne!(hash(other, &bundle), one);
    }

    #[test]
    fn options_of_the_service_go_before_those_of_the_template() {
        let options = |timeout: &str, label: &str| HelmOptions {
            timeout: Some(timeout.into()),
            labels: BTreeMap::from([(label.to_owned(), "x".to_owned())]),
            ..HelmOptions::default()
        };
        let merged = merged(Some(&options("1m", "a")), Some(&options("2m", "b")));
        assert_eq!(merged.timeout.as_deref(), Some("1m"));
        assert_eq!(merged.labels.len(), 2);
        assert_eq!(unit(frame(merged), &Bundle::default()).timeout_ms, 60_000);
        assert_eq!(unit(frame(HelmOptions::default()), &Bundle::default()).timeout_ms, 300_000);
    }
}
