//! Why is it not there: each place where a service can be stuck is told as such, with what helps.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use hub::explain::{ANY_NAMESPACE, Explanation, Standing, Step, Subject};
use hub::services::target::{TargetKind, TargetName};
use protocol::id::AgentId;
use protocol::plan::ObjectKey;
use protocol::report::{ObjectHealth, ObjectReport, Report, UnitReport, UnitState};
use serde_json::{Value, json};
use support::{Hub, K0RDENT, PATIENCE, packed_files, service, store};

fn edge(name: &str) -> Subject {
    Subject::Target(TargetName::new(TargetKind::Edge, ANY_NAMESPACE, name))
}

/// The explanation, once it is as `holds` says.
async fn told(hub: &Hub, service: &str, holds: impl Fn(&Explanation) -> bool) -> Explanation {
    let asking = async {
        loop {
            let answer = hub.controllers.explainer.ask(edge("store-1"), Some(service.to_owned())).await;
            if let Ok(answer) = answer
                && holds(&answer)
            {
                return answer;
            }
            tokio::task::yield_now().await;
        }
    };
    match tokio::time::timeout(PATIENCE, asking).await {
        Ok(answer) => answer,
        Err(_) => {
            let last = hub.controllers.explainer.ask(edge("store-1"), Some(service.to_owned())).await;
            panic!("it is still {last:#?}")
        }
    }
}

/// The first step that is not done.
fn stuck(explanation: &Explanation) -> Option<&Step> {
    let [service] = explanation.services.as_slice() else { return None };
    service.way.iter().find(|step| step.standing != Standing::Done)
}

fn stuck_at(explanation: &Explanation, step: &str, text: &str) -> bool {
    stuck(explanation).is_some_and(|one| one.step == step && one.text.contains(text))
}

async fn manifests(hub: &Hub, name: &str, text: &str) {
    hub.apply(json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": "kcm-system"},
        "data": {"all.yaml": text},
    }))
    .await;
}

fn of_config_map(name: &str) -> Value {
    json!({"resources": {"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name}}})
}

const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\ndata: {a: b}\n";

/// The agent tells that it has its plan, and what became of its first unit.
fn report(hub: &Hub, agent: &AgentId, state: UnitState, message: &str, objects: Vec<ObjectReport>) {
    let plan = hub.plans.get(agent).unwrap();
    let body = plan.content.body();
    let unit = &body.units[0];
    let unit = UnitReport {
        id: unit.id.clone(),
        version: unit.version.clone(),
        template: unit.template.clone(),
        deployed_hash: (state == UnitState::Deployed).then_some(unit.hash),
        state,
        message: message.to_owned(),
        since: 1_700_000_000_000,
        drift_repairs: 2,
        objects_total: 1,
        objects_ready: u32::from(state == UnitState::Deployed),
        objects,
    };
    let generation = Some(plan.head.generation);
    let (stored, applied) = (generation, generation);
    let report = Report { sequence: 1, full: true, stored, applied, units: vec![unit], ..Report::default() };
    hub.observed.report(agent, report, 1_700_000_000_000);
}

#[tokio::test]
async fn the_way_of_a_service_is_told_from_its_owner_to_its_objects() {
    let hub = Hub::start().await;
    let agent = store(&hub).await;
    // Nobody names it; then somebody does whose template is missing, then broken.
    let answer = told(&hub, "web", |_| true).await;
    assert!(answer.services.is_empty() && answer.absent.is_empty());
    manifests(&hub, "web", "kind: [").await;
    service(&hub, "web", of_config_map("web")).await;
    let answer = told(&hub, "shop.web", |it| stuck_at(it, "rendered", "")).await;
    assert!(matches!(stuck(&answer).unwrap().standing, Standing::Wrong), "{answer:#?}");
    manifests(&hub, "web", MAP).await;
    // Rendered, but the region has not been heard, so nobody knows.
    let answer = told(&hub, "shop/web", |it| stuck_at(it, "link", "its region is away")).await;
    assert_eq!(stuck(&answer).unwrap().standing, Standing::Unknown);
    let region = AgentId::Region("eu".parse().unwrap());
    hub.link(&region, true);
    hub.link(&agent, false);
    let answer = told(&hub, "web", |it| stuck_at(it, "link", "the edge is away since 2023")).await;
    assert!(stuck(&answer).unwrap().text.contains("the last known"));
    hub.link(&agent, true);
    told(&hub, "web", |it| stuck_at(it, "stored", "not known which plan")).await;
    hub.plan(&agent, |units| units.len() == 1).await;
    // It fails on the cluster, and says over what.
    let key = ObjectKey {
        group: String::new(),
        version: "v1".into(),
        kind: "Pod".into(),
        namespace: String::new(),
        name: "web".into(),
    };
    let message = "container web was OOMKilled".to_owned();
    let pod = ObjectReport { key, health: ObjectHealth::Failed, message, since: 1_700_000_000_000 };
    report(&hub, &agent, UnitState::Failed, "one object failed", vec![pod]);
    let answer = told(&hub, "web", |it| stuck_at(it, "cluster", "Failed since 2023")).await;
    let step = stuck(&answer).unwrap();
    assert!(step.text.contains("0 of 1 objects are well, drift repaired 2 times: one object failed"));
    assert_eq!(step.cure.as_deref(), Some("on the cluster: kubectl describe pod -n shop web"));
    assert_eq!(answer.services[0].unsettled[0].message, "container web was OOMKilled");
    let status = |it: &Value| it["status"]["unsettled"].clone();
    let held = hub.until("Edge", "kcm-system", "store-1", |it| status(it)[0]["state"] == "Failed").await;
    assert_eq!(status(&held)[0]["objects"][0]["message"], "container web was OOMKilled");
    assert_eq!(status(&held)[0]["ready"], json!({"ready": 0, "total": 1}));
    report(&hub, &agent, UnitState::Deployed, "", Vec::new());
    hub.until("Edge", "kcm-system", "store-1", |it| status(it).is_null()).await;
    let answer = told(&hub, "web", |it| stuck(it).is_none() && !it.services.is_empty()).await;
    let steps: Vec<_> = answer.services[0].way.iter().map(|step| step.step).collect();
    assert_eq!(steps, ["asked", "rendered", "plan", "link", "stored", "carried out", "cluster"]);
}

#[tokio::test]
async fn who_names_a_service_without_effect_is_told_with_what_helps() {
    let hub = Hub::start().await;
    store(&hub).await;
    manifests(&hub, "web", MAP).await;
    service(&hub, "web", of_config_map("web")).await;
    let other = |name: &str, spec: Value| json!({"apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name}, "spec": spec});
    let services = |more: Value| {
        let mut service = json!({"name": "web", "namespace": "shop", "template": "web"});
        service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({"services": [service], "priority": 200})
    };
    let here = json!({"matchLabels": {"site": "store"}});
    let there = json!({"matchLabels": {"site": "depot"}, "matchExpressions": [{"key": "tier", "operator": "Exists"}]});
    hub.apply(other("there", json!({"clusterSelector": there, "serviceSpec": services(json!({}))}))).await;
    let answer = told(&hub, "web", |it| it.absent.len() == 1 && it.services.len() == 1).await;
    assert_eq!(
        answer.absent[0].because,
        "its clusterSelector does not match Edge kcm-system/store-1: label \"site\" is \"store\" and must be \
         \"depot\"; label \"tier\" is absent and must be there"
    );
    let uninstall = services(json!({"helmAction": "Uninstall"}));
    hub.apply(other("off", json!({"clusterSelector": here, "serviceSpec": uninstall}))).await;
    let answer = told(&hub, "web", |it| it.absent.len() == 2).await;
    assert!(answer.absent[0].because.contains("helmAction is Uninstall"), "{answer:#?}");

    // A stronger one takes the release: the loser says who, the winner over whom.
    hub.apply(other("strong", json!({"clusterSelector": here, "serviceSpec": services(json!({}))}))).await;
    let answer = told(&hub, "web", |it| it.services.len() == 2).await;
    let release = |owner: &str| {
        let service = answer.services.iter().find(|one| one.owner.ends_with(owner)).unwrap();
        service.way.iter().find(|step| step.step == "release").unwrap().clone()
    };
    assert!(release(" web").text.starts_with("conflict: release shop/web is managed by"));
    assert!(release(" web").cure.unwrap().contains("MultiClusterService web a higher"));
    assert_eq!(release(" strong").text, "it has the release before MultiClusterService web (priority 100)");
}

#[tokio::test]
async fn pauses_holds_and_what_comes_first_are_steps_of_the_way() {
    let hub = Hub::start().await;
    let agent = store(&hub).await;
    hub.link(&AgentId::Region("eu".parse().unwrap()), true);
    manifests(&hub, "web", MAP).await;
    service(&hub, "web", of_config_map("web")).await;
    hub.plan(&agent, |units| units.len() == 1).await;
    report(&hub, &agent, UnitState::Deployed, "", Vec::new());
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "web"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"syncMode": "DryRun", "services": [
                {"name": "web", "namespace": "shop", "template": "web", "dependsOn": [{"name": "db", "namespace": "shop"}]},
                {"name": "db", "namespace": "shop", "template": "absent"},
            ]},
        },
    }))
    .await;
    let answer = told(&hub, "web", |it| stuck_at(it, "dry run", "nothing is written")).await;
    let after = answer.services[0].way.iter().find(|step| step.step == "after").unwrap();
    assert!(after.text.starts_with("shop/db is Failed: ") && after.text.contains("absent"), "{after:?}");

    let hold = json!({"spec": {"hold": {"reason": "inventory"}}});
    let object =
        json!({"apiVersion": "skein.dev/v1alpha1", "kind": "Edge", "metadata": {"namespace": "kcm-system"}});
    let merge = kube::api::Patch::Merge(hold);
    hub.api(&object).patch("store-1", &kube::api::PatchParams::default(), &merge).await.unwrap();
    told(&hub, "web", |it| {
        let mut steps = it.services.iter().flat_map(|service| &service.way);
        steps.any(|step| step.step == "hold" && step.text.contains("inventory"))
    })
    .await;
    assert_eq!(
        hub.controllers.explainer.ask(edge("nowhere"), None).await.unwrap_err(),
        "there is no Edge nowhere"
    );
}

#[tokio::test]
async fn what_a_changed_object_would_change_is_told_before_it_is_applied() {
    let hub = Hub::start().await;
    let agent = store(&hub).await;
    manifests(&hub, "web", MAP).await;
    manifests(&hub, "more", &MAP.replace("a: b", "a: c").replace("name: web", "name: more")).await;
    service(&hub, "web", of_config_map("web")).await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": "more", "namespace": "kcm-system"},
        "spec": of_config_map("more"),
    }))
    .await;
    hub.plan(&agent, |units| units.len() == 1).await;
    hub.until("ServiceTemplate", "kcm-system", "more", |it| it["status"]["valid"] == true).await;
    let changed = |name: &str, site: &str, template: &str| {
        json!({
            "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name},
            "spec": {"clusterSelector": {"matchLabels": {"site": site}},
                "serviceSpec": {"services": [{"name": name, "namespace": "shop", "template": template}]}},
        })
    };
    let explainer = &hub.controllers.explainer;
    let generation = hub.plans.get(&agent).unwrap().head.generation;
    let told = async |object: Value| {
        let would = explainer.would(vec![object]).await.unwrap();
        let services = would.targets.into_iter().flat_map(|target| target.services);
        let objects = |change: &hub::would::Change| {
            change
                .objects
                .iter()
                .map(|one| format!("{} {}", one.change, one.object))
                .collect::<Vec<_>>()
                .join(", ")
        };
        services.map(|one| format!("{} {}: {}", one.name, one.change, objects(&one))).collect::<Vec<_>>()
    };
    let other = ["web Changed: Created ConfigMap more, Deleted ConfigMap web"];
    assert_eq!(told(changed("web", "store", "more")).await, other);
    assert_eq!(told(changed("new", "store", "more")).await, ["new Added: Created ConfigMap more"]);
    assert_eq!(told(changed("web", "depot", "web")).await, ["web Removed: "]);
    assert_eq!(told(changed("new", "depot", "more")).await, Vec::<String>::new());
    assert_eq!(told(changed("web", "store", "web")).await, Vec::<String>::new());
    assert_eq!(told(changed("web", "store", "absent")).await, ["web Refused: "]);
    let error = explainer.would(vec![json!({"kind": "Pod", "metadata": {"name": "x"}})]).await.unwrap_err();
    assert!(error.contains("MultiClusterService and ClusterDeployment are accepted"), "{error}");
    // Nothing of it happened.
    assert_eq!(hub.plans.get(&agent).unwrap().head.generation, generation);
}

#[tokio::test]
async fn an_order_for_tests_on_a_service_set_is_for_one_service_of_one_target() {
    let hub = Hub::start().await;
    let probe = "apiVersion: v1\nkind: Pod\nmetadata: {name: probe, annotations: {helm.sh/hook: test}}\n\
                 spec: {containers: [{name: a, image: b}]}\n";
    let chart = packed_files(&[
        ("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 1.0.0\n".to_owned()),
        ("web/templates/map.yaml", MAP.to_owned()),
        ("web/templates/tests/probe.yaml", probe.to_owned()),
    ]);
    let address = hub.serve("/web-1.0.0.tgz", chart).await;
    let source = json!({"url": format!("{address}/web-1.0.0.tgz"), "interval": "1h"});
    service(
        &hub,
        "web",
        json!({"helm": {"chartSource": {"deploymentType": "Remote", "remoteSourceSpec": {"http": source}}}}),
    )
    .await;
    let agent = store(&hub).await;
    hub.plan(&agent, |units| !units.is_empty()).await;
    let told = told(&hub, "web", |it| it.services.iter().any(|one| one.built.is_some())).await;
    assert_eq!(told.services[0].built.as_ref().map(|built| built.tests), Some(1));
    let order = || {
        let plan = hub.plans.get(&agent)?;
        plan.content.body().units.first()?.test_order().map(str::to_owned)
    };
    assert_eq!(order(), None);
    let (_, set) = told.services[0].set.split_once('/').unwrap();
    // It is known what it is called before it is there.
    hub.until("ServiceSet", "kcm-system", set, |_| true).await;
    let say = async |value: &str| {
        let patch = json!({"metadata": {"annotations": {"skein.dev/test": value}}});
        let object =
            json!({"apiVersion": K0RDENT, "kind": "ServiceSet", "metadata": {"namespace": "kcm-system"}});
        let parameters = kube::api::PatchParams::default();
        hub.api(&object).patch(set, &parameters, &kube::api::Patch::Merge(patch)).await.unwrap();
    };
    say("shop/other 1").await;
    say("shop/web 1").await;
    hub.plan(&agent, |_| order().as_deref() == Some("shop/web 1")).await;
}
