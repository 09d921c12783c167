//! The hub beside an unmodified k0rdent, on a real API server with k0rdent's own definitions: as a state management
//! provider, and as the server of k0rdent's webhooks. KCM's part is played; agents report what they are told to.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use hub::admission::{self, Webhooks};
use hub::cache::Cache;
use hub::controller::{Controllers, Settings};
use hub::observed::{Link, Observed};
use hub::plans::{PlanBook, SignPlan, system_clock};
use hub::state_management::Serving;
use process::Process;
use protocol::codec::encode;
use protocol::id::{AgentId, EdgeId};
use protocol::plan::{KeyId, PlanHeader, SignedPlan};
use protocol::report::{Report, UnitReport, UnitState};
use serde_json::{Value, json};
use skein_tests::control_plane::ControlPlane;
use skein_tests::process::output;
use skein_tests::{parts, wait};

const PATIENCE: Duration = Duration::from_secs(120);
const GROUP: &str = "k0rdent.mirantis.com/v1beta1";

struct Unsigned;

impl SignPlan for Unsigned {
    fn sign(&self, header: &PlanHeader) -> SignedPlan {
        SignedPlan { header: encode(header), key_id: KeyId([0; 8]), signature: Bytes::new() }
    }
}

/// A management cluster with k0rdent's own definitions and ours, without ours of k0rdent's kinds.
struct Management {
    plane: ControlPlane,
    folder: tempfile::TempDir,
}

impl Management {
    async fn start() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("skein-kcm-").tempdir()?;
        let plane = ControlPlane::start_bare(&parts::require_parts()?, &folder.path().join("plane")).await?;
        let management = Self { plane, folder };
        let crds: Vec<_> = api::upstream_crds().into_iter().chain(api::skein_crds()).collect();
        for crd in crds {
            management.apply(&serde_json::to_value(crd)?)?;
        }
        let established = ["wait", "--for=condition=Established", "crd", "--all", "--timeout=180s"];
        output(management.plane.kubectl().args(established))?;
        let namespace =
            |name: &str| json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}});
        management.apply(&namespace("kcm-system"))?;
        Ok(management)
    }

    fn apply(&self, object: &Value) -> Result<String> {
        let file = self.folder.path().join("object.json");
        std::fs::write(&file, object.to_string())?;
        output(self.plane.kubectl().args(["apply", "--server-side", "--force-conflicts", "-f"]).arg(file))
    }

    fn get(&self, arguments: &[&str]) -> Result<Value> {
        let mut kubectl = self.plane.kubectl();
        let text = output(kubectl.args(["get", "-o", "json", "--ignore-not-found"]).args(arguments))?;
        Ok(if text.trim().is_empty() { Value::Null } else { serde_json::from_str(&text)? })
    }

    async fn until(&self, arguments: &[&str], holds: impl Fn(&Value) -> bool) -> Result<Value> {
        let mut last = Value::Null;
        let what = format!("{arguments:?} is as it should be");
        let seen = wait::until(&what, PATIENCE, || {
            let seen = self.get(arguments).map(|now| {
                last = now.clone();
                holds(&now).then_some(now)
            });
            async move { seen }
        });
        let seen = seen.await;
        seen.with_context(|| format!("it is still {last:#}"))
    }

    /// What KCM's admission would refuse is refused: the text of the refusal.
    fn refused(&self, object: &Value) -> Result<String> {
        match self.apply(object) {
            Ok(done) => anyhow::bail!("it was accepted: {done}"),
            Err(error) => Ok(format!("{error:#}")),
        }
    }
}

fn service_set(values: &str) -> Value {
    json!({
        "apiVersion": GROUP, "kind": "ServiceSet",
        "metadata": {
            "name": "shop-1", "namespace": "default",
            "labels": {"ksm.k0rdent.mirantis.com/adapter": "skein", "k0rdent.mirantis.com/managed": "true"},
        },
        "spec": {
            "cluster": "shop-1", "provider": {"name": "skein", "config": {"priority": 100}},
            "services": [{
                "name": "page", "namespace": "shop", "template": "page", "version": "page", "values": values,
            }],
        },
    })
}

fn edge(id: EdgeId) -> Value {
    json!({
        "apiVersion": "skein.dev/v1alpha1", "kind": "Edge",
        "metadata": {"name": "shop-1", "namespace": "default", "labels": {"skein.dev/agent-id": id.to_string()}},
        "spec": {"region": "local", "clusterDeployment": {"namespace": "default", "name": "shop-1"}},
    })
}

/// The agent has carried out its newest plan.
fn carried_out(plans: &PlanBook, observed: &Observed, agent: &AgentId) -> Result<()> {
    let plan = plans.get(agent).context("there is no plan")?;
    let body = plan.content.body();
    let units = body.units.iter().map(|unit| UnitReport {
        id: unit.id.clone(),
        version: unit.version.clone(),
        template: unit.template.clone(),
        deployed_hash: Some(unit.hash),
        state: UnitState::Deployed,
        message: String::new(),
        since: 1_700_000_000_000,
        drift_repairs: 0,
        objects_total: 1,
        objects_ready: 1,
        objects: Vec::new(),
    });
    let head = Some(plan.head.generation);
    let units = units.collect();
    let report = Report { sequence: 1, full: true, stored: head, applied: head, units, ..Report::default() };
    observed.report(agent, report, 1_700_000_000_000);
    Ok(())
}

// The hub goes on while the test waits for kubectl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "real parts: tests/run"]
async fn an_unmodified_k0rdent_on_a_real_api_server_sees_its_services_come_and_go() -> Result<()> {
    let management = Management::start().await?;
    let client = management.plane.client().await?;
    let process = Process::embedded();
    let _stop = process.cancel.clone().drop_guard();
    let plans = PlanBook::new(1, Arc::new(Unsigned), system_clock());
    let observed = Observed::default();
    let settings = Settings {
        system_namespace: "kcm-system".to_owned(),
        trust_domain: "skein.local".to_owned(),
        state_dir: management.folder.path().join("hub"),
        helm: None,
        remote_bases: false,
        term: 1,
        serving: Some(Serving { provider: "skein".to_owned() }),
    };
    let sealer = identity::Sealer::new([0; 32]);
    let _handle =
        Controllers::start(client.clone(), settings, sealer, plans.clone(), observed.clone(), &process).await;
    let smp = management.until(&["statemanagementprovider", "skein"], |smp| !smp.is_null()).await?;
    ensure!(smp["spec"]["suspend"] == false, "{smp:#}");
    let ready = ["configmap", "skein-state-management", "-n", "kcm-system"];
    management.until(&ready, |asked| asked["data"]["ready"] == "true").await?;

    let cluster = json!({
        "apiVersion": GROUP, "kind": "ClusterDeployment", "metadata": {"name": "shop-1", "namespace": "default"},
        "spec": {"template": "adopted-cluster-1-0-2", "credential": "adopted"},
    });
    management.apply(&cluster)?;
    management.apply(&json!({
        "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "page", "namespace": "default"},
        "data": {"page.yaml": "{apiVersion: v1, kind: ConfigMap, metadata: {name: page}, data: {a: b}}"},
    }))?;
    management.apply(&json!({
        "apiVersion": GROUP, "kind": "ServiceTemplate", "metadata": {"name": "page", "namespace": "default"},
        "spec": {"resources": {"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": "page"}}},
    }))?;
    let untouched = management.get(&["clusterdeployment", "shop-1"])?;
    management.apply(&service_set(""))?;
    let set = ["serviceset", "shop-1"];
    // First it may still be listing what the templates read.
    management
        .until(&set, |set| {
            let service = &set["status"]["services"][0];
            let message = service["failureMessage"].as_str().unwrap_or_default();
            service["state"] == "Pending" && message.contains("--cluster-deployment default/shop-1")
        })
        .await?;

    let id = EdgeId([7; 16]);
    let agent = AgentId::Edge(id);
    management.apply(&edge(id))?;
    let status = json!({"status": {"agentId": id.to_string()}}).to_string();
    let patch = ["patch", "edge", "shop-1", "--subresource=status", "--type=merge", "-p", &status];
    output(management.plane.kubectl().args(patch))?;
    observed.link(&agent, Link { up: true, since: 1_700_000_000_000, address: String::new() });
    wait::until("the edge has a plan", PATIENCE, || {
        let units = plans.get(&agent).map_or(0, |plan| plan.content.body().units.len());
        async move { Ok((units == 1).then_some(())) }
    })
    .await?;
    carried_out(&plans, &observed, &agent)?;
    let told = management.until(&set, |set| set["status"]["deployed"] == true).await?;
    // Everything that KCM counts by, as its own definitions let it through.
    let service = &told["status"]["services"][0];
    ensure!(service["state"] == "Deployed" && service["version"] == "page", "{told:#}");
    ensure!(service["type"] == "Resource" && service["lastStateTransitionTime"].is_string(), "{told:#}");
    ensure!(told["status"]["cluster"]["name"] == "shop-1" && told["status"]["provider"]["ready"] == true);

    output(management.plane.kubectl().args(["delete", "serviceset", "shop-1", "--wait=false"]))?;
    management.until(&set, |set| set["status"]["services"][0]["state"] == "Deleting").await?;
    carried_out(&plans, &observed, &agent)?;
    management.until(&set, Value::is_null).await?;
    let now = management.get(&["clusterdeployment", "shop-1"])?;
    ensure!(now == untouched, "the ClusterDeployment was touched: {now:#}");
    // An end in order is told.
    process.cancel.cancel();
    management.until(&ready, |asked| asked["data"]["ready"] == "false").await?;
    Ok(())
}

// The webhooks answer while the test waits for kubectl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "real parts: tests/run"]
async fn a_real_api_server_asks_our_webhooks_and_tells_users_k0rdents_words() -> Result<()> {
    let management = Management::start().await?;
    let client = management.plane.client().await?;
    let process = Process::embedded();
    let stop = process.cancel.clone().drop_guard();
    let cache = Cache::default();
    cache.watch(&client, &process).recv().await;
    let webhooks =
        Webhooks { listen: "127.0.0.1:0".parse()?, place: None, failure_policy: "Fail".to_owned() };
    admission::start(&client, &cache, "kcm-system", webhooks, &process).await?;
    wait::until("the API server is told", PATIENCE, || {
        let told = process.readiness.missing().is_empty();
        async move { Ok(told.then_some(())) }
    })
    .await?;

    // Filled in: k0rdent's definitions want a source and an interval.
    let template = |kind: &str, name: &str| {
        json!({
            "apiVersion": GROUP, "kind": kind, "metadata": {"name": name, "namespace": "default"},
            "spec": {"helm": {"chartSpec": {"chart": "adopted-cluster", "version": "1.0.2"}}},
        })
    };
    management.apply_when_heard(&template("ClusterTemplate", "adopted")).await?;
    let made = management.get(&["clustertemplate", "adopted"])?;
    let chart = &made["spec"]["helm"]["chartSpec"];
    ensure!(chart["sourceRef"]["name"] == "kcm-templates" && chart["interval"] == "10m0s", "{chart:#}");

    // Refused, with k0rdent's words.
    let cluster = |spec: Value| {
        json!({
            "apiVersion": GROUP, "kind": "ClusterDeployment",
            "metadata": {"name": "shop-1", "namespace": "default"}, "spec": spec,
        })
    };
    let right = json!({"template": "adopted", "credential": "adopted", "config": {}});
    let refused = management.refused(&cluster(json!({"template": "gone", "config": {}})))?;
    ensure!(refused.contains("the ClusterDeployment is invalid: "), "{refused}");
    let refused = management.refused(&cluster(right.clone()))?;
    ensure!(refused.contains("the ClusterTemplate default/adopted is invalid with the error: "), "{refused}");
    let valid = json!({"status": {
        "valid": true, "providers": ["infrastructure-internal"], "config": {"clusterLabels": {}},
    }});
    management.status("clustertemplate", "adopted", &valid)?;
    management
        .until_refused(&cluster(right.clone()), "failed to get Credential default/adopted referred in")
        .await?;
    management.apply(&json!({
        "apiVersion": GROUP, "kind": "Credential", "metadata": {"name": "adopted", "namespace": "default"},
        "spec": {"identityRef": {"apiVersion": "v1", "kind": "Secret", "name": "kc", "namespace": "default"}},
    }))?;
    management.until_refused(&cluster(right.clone()), "the Credential default/adopted is not Ready").await?;
    management.status("credential", "adopted", &json!({"status": {"ready": true}}))?;
    management.apply_when_heard(&cluster(right.clone())).await?;
    let mut more = right.clone();
    more["serviceSpec"] = json!({"services": [{"name": "web", "template": "no"}]});
    let refused = management.refused(&cluster(more))?;
    ensure!(refused.contains("some services have invalid templates"), "{refused}");

    // What is in use stays, with the warning.
    let delete = ["delete", "clustertemplate", "adopted"];
    let deadline = wait::until("the template is in use", PATIENCE, || {
        let refused =
            output(management.plane.kubectl().args(["delete", "--dry-run=server"]).args(&delete[1..]));
        let refused = refused.err().map(|error| format!("{error:#}"));
        async move { Ok(refused) }
    });
    let refused = deadline.await?;
    ensure!(refused.contains("template deletion is forbidden"), "{refused}");

    // A hub that ends its webhooks leaves nothing that blocks.
    drop(stop);
    admission::withdraw(&client).await?;
    let left = management.get(&["validatingwebhookconfiguration,mutatingwebhookconfiguration"])?;
    ensure!(left["items"].as_array().is_none_or(Vec::is_empty), "{left:#}");
    management.apply_when_heard(&cluster(json!({"template": "gone", "config": {}}))).await?;
    Ok(())
}

impl Management {
    /// Applies once the watches behind the webhooks have heard of what it names.
    async fn apply_when_heard(&self, object: &Value) -> Result<()> {
        let mut last = String::new();
        let applied = wait::until("the object is accepted", PATIENCE, || {
            let applied = self.apply(object);
            let done = applied.is_ok().then_some(());
            last = applied.unwrap_or_else(|error| format!("{error:#}"));
            async move { Ok(done) }
        });
        let applied = applied.await;
        applied.with_context(|| last)
    }

    /// The same until it is refused for this reason.
    async fn until_refused(&self, object: &Value, why: &str) -> Result<()> {
        wait::until(why, PATIENCE, || {
            let refused = self.refused(object);
            async move { Ok(refused?.contains(why).then_some(())) }
        })
        .await
    }

    fn status(&self, kind: &str, name: &str, patch: &Value) -> Result<String> {
        let patch = patch.to_string();
        let arguments = ["patch", kind, name, "--subresource=status", "--type=merge", "-p", &patch];
        output(self.plane.kubectl().args(arguments))
    }
}
