use super::adoption::{Adoption, management_cluster, target_of};
use super::claims::claim;
use super::*;
use crate::services::claim::Owner;
use crate::services::target::{TargetKind, TargetName};
use serde_json::{Value, json};

fn serving() -> Serving {
    Serving { provider: "skein".to_owned() }
}

fn set(metadata: &Value, spec: &Value) -> ServiceSet {
    let object = json!({
        "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "ServiceSet", "metadata": metadata, "spec": spec,
    });
    serde_json::from_value(object).unwrap()
}

fn provider(spec: &Value) -> StateManagementProvider {
    let mut object = registration::provider(&serving(), "kcm-system");
    for (key, value) in spec.as_object().unwrap() {
        object["spec"][key] = value.clone();
    }
    serde_json::from_value(object).unwrap()
}

#[test]
fn a_set_is_adopted_by_its_labels_and_only_with_our_name() {
    let ours = json!({"ksm.k0rdent.mirantis.com/adapter": "skein"});
    let sveltos = json!({"ksm.k0rdent.mirantis.com/adapter": "kcm-controller-manager"});
    let mine = provider(&json!({"selector": {"matchLabels": {"team": "edge"}}}));
    let table = [
        (&ours, "skein", None, true),
        (&ours, "", None, true),
        (&ours, "ksm-projectsveltos", None, false),
        (&sveltos, "skein", None, false),
        (&sveltos, "ksm-projectsveltos", None, false),
        (&json!({}), "skein", None, false),
        // The selector of the object is what counts.
        (&ours, "skein", Some(&mine), false),
        (&json!({"team": "edge"}), "skein", Some(&mine), true),
    ];
    for (labels, name, provider, adopted) in table {
        let set = set(
            &json!({"name": "a", "namespace": "b", "labels": labels}),
            &json!({"cluster": "c", "provider": {"name": name}}),
        );
        assert_eq!(serving().adopts(&set, provider), adopted, "{labels} {name}");
    }
}

#[test]
fn the_provider_is_put_right_and_what_people_say_about_it_stays() {
    let correction = |spec: &Value| registration::correction(&serving(), "kcm-system", &provider(spec));
    assert_eq!(correction(&json!({})), None);
    assert_eq!(correction(&json!({"suspend": true})), None);
    assert_eq!(correction(&json!({"selector": {"matchLabels": {"a": "b"}}})), None);
    let overwritten = correction(&json!({"provisioner": [], "suspend": true, "selector": {}})).unwrap();
    assert_eq!(overwritten["spec"]["suspend"], true);
    assert_eq!(overwritten["spec"]["provisioner"][0]["readinessRule"], "self.data.ready == \"true\"");
    let label = &overwritten["spec"]["selector"]["matchLabels"]["ksm.k0rdent.mirantis.com/adapter"];
    assert_eq!(*label, "skein");
}

#[test]
fn the_last_word_of_a_hub_is_said_only_while_nobody_else_leads() {
    let there: ConfigMap =
        serde_json::from_value(registration::readiness(&serving(), "kcm-system", 7)).unwrap();
    assert_eq!(registration::readiness_correction(&serving(), 7, &there), None);
    assert!(registration::readiness_correction(&serving(), 8, &there).is_some());
    assert_eq!(registration::farewell(6, &there), None);
    let last = registration::farewell(7, &there).unwrap();
    assert_eq!(last.data.as_ref().unwrap()["ready"], "false");
    assert!(registration::readiness_correction(&serving(), 7, &last).is_some());
}

#[test]
fn a_set_goes_to_its_cluster_or_to_the_management_cluster_and_moves() {
    let metadata = json!({"name": "a", "namespace": "b"});
    let of_cluster = set(&metadata, &json!({"cluster": "c", "provider": {}}));
    let own = set(&metadata, &json!({"cluster": "", "provider": {"selfManagement": true}}));
    let edge = TargetName::new(TargetKind::Edge, "kcm-system", "hub-edge");
    let cluster = TargetName::new(TargetKind::ClusterDeployment, "b", "c");
    assert_eq!(target_of(&of_cluster, &edge), cluster);
    assert_eq!(target_of(&own, &edge), edge);
    let name = ("b".to_owned(), "a".to_owned());
    let mut adoption = Adoption::default();
    assert_eq!(adoption.put(&name, Some(management_cluster())).len(), 1);
    assert_eq!(adoption.put(&name, Some(edge.clone())).len(), 2);
    assert_eq!(adoption.sets_of(&management_cluster()).count(), 0);
    assert!(adoption.put(&name, None).contains(&edge));
    assert!(adoption.put(&name, None).is_empty() && adoption.sets_of(&edge).next().is_none());
}

#[test]
fn a_claim_says_what_the_set_says_and_ends_with_it() {
    let spec = json!({
        "cluster": "c", "multiClusterService": "m",
        "provider": {"name": "skein", "config": {"priority": 7, "syncMode": "OneTime"}},
        "services": [{
            "name": "web", "namespace": "shop", "template": "web-1", "version": "1.2.3", "values": "a: 1",
            "helmOptions": {"timeout": "5m"}, "valuesFrom": [{"kind": "Secret", "name": "s"}],
        }],
    });
    let made = claim(&set(&json!({"name": "a", "namespace": "b"}), &spec)).unwrap();
    assert_eq!(made.owner, Owner::MultiClusterService("m".to_owned()));
    assert_eq!((made.carrying.priority, made.set.1.as_str()), (7, "a"));
    assert_eq!(serde_json::to_value(made.carrying.sync_mode).unwrap(), "OneTime");
    let service = &made.spec.services[0];
    assert_eq!(service.version.as_deref(), Some("1.2.3"));
    assert_eq!(service.helm_options.as_ref().unwrap().timeout.as_deref(), Some("5m"));
    assert_eq!(service.values_from[0].name, "s");
    let leaving = json!({"name": "a", "namespace": "b", "deletionTimestamp": "2026-01-01T00:00:00Z"});
    assert!(claim(&set(&leaving, &spec)).is_none());
}

#[test]
fn a_record_stands_for_a_region_only_under_its_own_name() {
    let mut record: ConfigMap =
        serde_json::from_value(registration::region_record("kcm-system", "local")).unwrap();
    assert_eq!(region_of(&record), Some("local"));
    let told = registration::region_correction(&record, &["a:1".to_owned(), "b:2".to_owned()], "Up", "t");
    record.data = serde_json::from_value(told.unwrap()["data"].clone()).unwrap();
    assert_eq!(endpoints_of(&record), ["a:1", "b:2"]);
    // A region that is away keeps its addresses.
    let away = registration::region_correction(&record, &[], "Down", "t").unwrap();
    assert_eq!(away["data"]["endpoints"], "a:1,b:2");
    assert_eq!(registration::region_correction(&record, &[], "Up", "t"), None);
    record.metadata.name = Some("other".to_owned());
    assert_eq!(region_of(&record), None);
}
