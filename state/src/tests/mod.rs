//! The engine against a Kubernetes API: one in process for each test, or a real one with nodes that run pods:
//! `SKEIN_STATE_TEST_KUBECONFIG=<file> cargo test -p state tests:: -- --test-threads=1`.

mod apply;
mod chance;
mod drift;
mod dry_run;
mod events;
mod health;
mod hold;
mod hooks;
mod inquiry;
mod latitude;
mod measure;
mod offer;
mod owner;
mod records;
mod refused;
mod reload;
mod removal;
mod rollback;
mod sealed;
mod sweep;
mod trial;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use kube::Client;
use kube::client::Body;
use kube_local::{Cluster, Options, Simulate};
use protocol::codec;
use protocol::id::{AgentId, Digest, EdgeId, Generation};
use protocol::message::BlobPart;
use protocol::plan::{
    DriftMode, HookDeletion, HookEntry, HookEvent, KeyId, ObjectEntry, ObjectKey, PlanBody, PlanHeader,
    Removal, SignedPlan, Unit, UnitId, UnitKind,
};
use protocol::report::{Report, UnitReport, UnitState};
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::faults::Faults;
use crate::store::Store;
use crate::{Config, Engine, EngineHandle, Offered, Reports, Verify};

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const AGENT: AgentId = AgentId::Edge(EdgeId([7; 16]));

/// Trusts every plan whose signature says so.
pub(super) struct Trusting;

impl Verify for Trusting {
    fn verify(&self, plan: &SignedPlan) -> Result<PlanHeader, String> {
        if plan.signature.as_ref() != b"good" {
            return Err("the signature is wrong".to_owned());
        }
        codec::decode(&plan.header, 1 << 20).map_err(|error| error.to_string())
    }
}

/// What lies between the engine and the API server: counts, cuts, kills.
#[derive(Default)]
pub(super) struct Wire {
    pub(super) cut: AtomicBool,
    /// How often the kinds of example.org are still left out of discovery.
    pub(super) unlisted: AtomicU64,
    /// Requests (method, space, URI) in which this occurs are forbidden, unless it is empty.
    pub(super) forbidden: Mutex<String>,
    /// Requests (method, space, URI) in which this occurs are never answered, unless it is empty.
    pub(super) stalled: Mutex<String>,
    pub(super) log: Mutex<Vec<String>>,
    /// Requests that made something.
    pub(super) created: Mutex<Vec<String>>,
    pub(super) faults: Mutex<Arc<Faults>>,
}

impl Wire {
    /// Notes a step of a story, among the requests.
    pub(super) fn note(&self, history: &mut Vec<String>, step: String) {
        self.log.lock().unwrap().push(format!("== {step}"));
        history.push(step);
    }

    fn stalls(&self, request: &http::Request<Body>) -> bool {
        let stalled = self.stalled.lock().unwrap();
        !stalled.is_empty() && format!("{} {}", request.method(), request.uri()).contains(stalled.as_str())
    }

    /// What the API server says to a request that is forbidden.
    fn refusal(&self, request: &http::Request<Body>) -> Option<http::Response<Body>> {
        let forbidden = self.forbidden.lock().unwrap();
        let line = format!("{} {}", request.method(), request.uri());
        if forbidden.is_empty() || !line.contains(forbidden.as_str()) {
            return None;
        }
        Some(status(403, "Forbidden", &format!("\"{line}\" is forbidden: User \"edge\" may not")))
    }

    /// Writes since the start, but for those of Events.
    pub(super) fn writes(&self) -> Vec<String> {
        let log = self.log.lock().unwrap();
        log.iter().filter(|line| !line.starts_with("GET") && !line.contains("/events")).cloned().collect()
    }
}

/// A cluster, a state file, and plans for them.
pub(super) struct World {
    pub(super) client: Client,
    pub(super) wire: Arc<Wire>,
    pub(super) folder: tempfile::TempDir,
    pub(super) counter: AtomicU64,
    /// How long Events wait.
    pub(super) events_delay: Duration,
    controllers: CancellationToken,
}

impl Drop for World {
    fn drop(&mut self) {
        self.controllers.cancel();
    }
}

pub(super) fn client_through(client: &Client, wire: &Arc<Wire>) -> Client {
    let (client, wire) = (client.clone(), Arc::clone(wire));
    let tapped = tower::service_fn(move |request: http::Request<Body>| {
        let (client, wire) = (client.clone(), Arc::clone(&wire));
        async move {
            let watch = request.uri().query().is_some_and(|query| query.contains("watch=true"));
            let write = request.method() != http::Method::GET;
            let faults = Arc::clone(&wire.faults.lock().unwrap());
            if write && faults.dies_before() || faults.dead() {
                std::future::pending::<()>().await;
            }
            if wire.cut.load(Ordering::SeqCst) || write && faults.breaks() {
                return Err(std::io::Error::other("connection refused"));
            }
            let left = |left: u64| left.checked_sub(1);
            if request.uri().path() == "/apis/example.org/v1"
                && wire.unlisted.fetch_update(Ordering::SeqCst, Ordering::SeqCst, left).is_ok()
            {
                return Ok(status(404, "NotFound", "not found"));
            }
            if wire.stalls(&request) {
                std::future::pending::<()>().await;
            }
            if let Some(refusal) = wire.refusal(&request) {
                return Ok(refusal);
            }
            wire.log.lock().unwrap().push(format!("{} {}", request.method(), request.uri()));
            let line = format!("{} {}", request.method(), request.uri().path());
            let answer = client.send(request).await.map_err(std::io::Error::other);
            if answer.as_ref().is_ok_and(|answer| answer.status() == 201) {
                wire.created.lock().unwrap().push(line);
            }
            if write && faults.breaks() {
                return Err(std::io::Error::other("connection reset"));
            }
            if write && faults.dies_after() || faults.dead() && !watch {
                std::future::pending::<()>().await;
            }
            answer
        }
    });
    Client::new(tapped, "default")
}

/// An answer that says no.
fn status(code: u16, reason: &str, message: &str) -> http::Response<Body> {
    let body = json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason,
        "message": message});
    http::Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap()
}

impl World {
    pub(super) async fn new() -> Self {
        // With RUST_LOG=state=debug a failing test tells its story.
        let filter = tracing_subscriber::EnvFilter::from_default_env();
        let _ = tracing_subscriber::fmt().with_env_filter(filter).with_test_writer().try_init();
        let controllers = CancellationToken::new();
        let client = match std::env::var_os("SKEIN_STATE_TEST_KUBECONFIG") {
            Some(file) => real_client(&PathBuf::from(file)).await,
            None => {
                let simulate = Simulate { workloads: true, ..Simulate::default() };
                let cluster = Cluster::open(Options { simulate, ..Options::default() }).await.unwrap();
                cluster.run_controllers(&TaskTracker::new(), controllers.clone());
                cluster.client()
            }
        };
        let wire = Arc::new(Wire::default());
        let folder = tempfile::tempdir().unwrap();
        let events_delay = Duration::ZERO;
        Self { client, wire, folder, counter: AtomicU64::new(0), events_delay, controllers }
    }

    pub(super) fn file(&self) -> PathBuf {
        self.folder.path().join("state.db")
    }

    pub(super) fn config(&self) -> Config {
        let client = client_through(&self.client, &self.wire);
        let mut config = Config::new(client, AGENT, self.file(), Arc::new(Trusting));
        config.opener = Arc::new(sealed::open);
        config.instance = "shop-1".to_owned();
        config.events_delay = self.events_delay;
        config
    }

    pub(super) async fn start(&self) -> Running {
        self.start_with(Arc::default()).await
    }

    /// Starts with crash points.
    pub(super) async fn start_with(&self, faults: Arc<Faults>) -> Running {
        *self.wire.faults.lock().unwrap() = Arc::clone(&faults);
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        let (store, closed) = Store::open_with(&self.file(), faults).unwrap();
        tasks.spawn(async move {
            let _ = closed.await;
        });
        let handle = Engine::launch(self.config(), store, &tasks, cancel.clone()).await.unwrap();
        let reports = handle.reports();
        Running {
            handle: Some(handle),
            reports,
            tasks,
            cancel,
            units: BTreeMap::new(),
            last: Report::default(),
        }
    }

    /// A plan of these units with the next generation, and all of its blobs.
    pub(super) fn plan(&self, units: Vec<Planned>) -> (SignedPlan, Vec<BlobPart>) {
        let counter = self.counter.fetch_add(1, Ordering::SeqCst) + 1;
        plan_of(units, Generation { term: 1, counter })
    }

    pub(super) async fn get(&self, path: &str) -> Option<Value> {
        let request = http::Request::get(path).body(Vec::new()).unwrap();
        match self.client.request::<Value>(request).await {
            Ok(value) => Some(value),
            Err(kube::Error::Api(status)) if status.code == 404 => None,
            Err(error) => panic!("{path}: {error}"),
        }
    }

    /// All Events that an agent wrote.
    pub(super) async fn events(&self) -> Vec<Value> {
        let list = self.get("/api/v1/events").await.unwrap_or_default();
        let ours = |event: &&Value| event["reportingComponent"] == "skein.dev/edge-agent";
        list["items"].as_array().into_iter().flatten().filter(ours).cloned().collect()
    }

    /// Waits for an Event.
    pub(super) async fn told(&self, what: &str, is: impl Fn(&Value) -> bool) -> Value {
        let told = async {
            loop {
                if let Some(event) = self.events().await.into_iter().find(&is) {
                    return event;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        match tokio::time::timeout(PATIENCE, told).await {
            Ok(event) => event,
            Err(_) => panic!("no Event tells {what}: {:#?}", self.events().await),
        }
    }

    /// Waits until an object is there.
    pub(super) async fn comes(&self, path: &str) {
        let there = async {
            let terminating = |object: &Value| object["metadata"].get("deletionTimestamp").is_some();
            while self.get(path).await.is_none_or(|object| terminating(&object)) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(tokio::time::timeout(PATIENCE, there).await.is_ok(), "{path} does not come");
    }

    /// Waits until an object has this value.
    pub(super) async fn becomes(&self, path: &str, pointer: &str, value: Value) {
        let there = async {
            while self.get(path).await.as_ref().and_then(|object| object.pointer(pointer)) != Some(&value) {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        assert!(
            tokio::time::timeout(PATIENCE, there).await.is_ok(),
            "{path} {pointer} does not become {value}"
        );
    }

    /// What a user does with kubectl.
    pub(super) async fn edit(&self, path: &str, patch: Value) -> Value {
        let request = http::Request::patch(format!("{path}?fieldManager=kubectl-edit"))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    /// An edit that may come too late.
    pub(super) async fn try_edit(&self, path: &str, patch: Value) {
        let request = http::Request::patch(format!("{path}?fieldManager=kubectl-edit"))
            .header("content-type", "application/merge-patch+json")
            .body(patch.to_string().into_bytes())
            .unwrap();
        let _ = self.client.request::<Value>(request).await;
    }

    /// A deletion that may come too late.
    pub(super) async fn try_delete(&self, path: &str) {
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        let _ = self.client.request::<Value>(request).await;
    }

    pub(super) async fn create(&self, path: &str, object: Value) -> Value {
        let request = http::Request::post(format!("{path}?fieldManager=kubectl"))
            .header("content-type", "application/json")
            .body(object.to_string().into_bytes())
            .unwrap();
        self.client.request(request).await.unwrap()
    }

    pub(super) async fn delete(&self, path: &str) {
        let request = http::Request::delete(path).body(Vec::new()).unwrap();
        self.client.request::<Value>(request).await.unwrap();
    }
}

/// A client of a real API server, emptied of what the test before left.
async fn real_client(file: &std::path::Path) -> Client {
    let kubeconfig = kube::config::Kubeconfig::read_from(file).unwrap();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &Default::default()).await.unwrap();
    let client = Client::try_from(config).unwrap();
    let mut paths: Vec<String> =
        ["shop", "tools", "used", "unused"].map(|name| format!("/api/v1/namespaces/{name}")).into();
    paths.push("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/widgets.example.org".to_owned());
    for path in paths {
        let gone = async {
            loop {
                let request = http::Request::delete(&path).body(Vec::new()).unwrap();
                match client.request::<Value>(request).await {
                    Err(kube::Error::Api(status)) if status.code == 404 => break,
                    _ => tokio::time::sleep(Duration::from_millis(100)).await,
                }
            }
        };
        assert!(tokio::time::timeout(PATIENCE, gone).await.is_ok(), "{path} of the test before does not go");
    }
    client
}

/// A running engine and what it reported.
pub(super) struct Running {
    pub(super) handle: Option<EngineHandle>,
    pub(super) reports: Reports,
    pub(super) tasks: TaskTracker,
    pub(super) cancel: CancellationToken,
    pub(super) units: BTreeMap<String, UnitReport>,
    pub(super) last: Report,
}

impl Running {
    pub(super) fn handle(&self) -> &EngineHandle {
        self.handle.as_ref().unwrap()
    }

    /// Offers a plan with all blobs.
    pub(super) async fn offer(&self, (plan, blobs): (SignedPlan, Vec<BlobPart>)) -> Generation {
        match self.handle().offer(plan, blobs).await {
            Offered::Stored(head) => head.generation,
            other @ (Offered::Missing(_) | Offered::Refused(_)) => panic!("not stored: {other:?}"),
        }
    }

    /// Reads reports until this holds.
    pub(super) async fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        // A real namespace whose kinds have just changed takes half a minute to go.
        let waited = tokio::time::timeout(PATIENCE, async {
            while !holds(self) {
                let report = self.reports.next().await;
                for unit in &report.units {
                    self.units.insert(unit.id.name.clone(), unit.clone());
                }
                self.last = report;
            }
        });
        if waited.await.is_err() {
            let units: Vec<String> = self
                .units
                .values()
                .map(|unit| {
                    format!("{}: {} \"{}\" {:?}", unit.id, unit.state.as_str(), unit.message, unit.objects)
                })
                .collect();
            panic!("waited in vain: {what}\n{}\napplied {:?}", units.join("\n"), self.handle().applied());
        }
    }

    /// The state of each unit now.
    pub(super) fn drain(&self, states: &mut BTreeMap<String, UnitState>) {
        states.clear();
        for unit in self.handle().snapshot() {
            states.insert(unit.id.name.clone(), unit.state);
        }
    }

    pub(super) fn state(&self, unit: &str) -> Option<UnitState> {
        self.units.get(unit).map(|unit| unit.state)
    }

    pub(super) fn message(&self, unit: &str) -> &str {
        self.units.get(unit).map_or("", |unit| unit.message.as_str())
    }

    pub(super) async fn until_state(&mut self, unit: &str, state: UnitState) {
        self.until(&format!("{unit} {}", state.as_str()), |running| running.state(unit) == Some(state)).await;
    }

    /// Offers a plan and waits until it is carried out.
    pub(super) async fn carry_out(&mut self, plan: (SignedPlan, Vec<BlobPart>)) {
        let generation = self.offer(plan).await;
        self.until("the plan is carried out", |running| running.last.applied == Some(generation)).await;
    }

    /// Stops as kill -9 does: nothing is finished. Resolves when the file is closed.
    pub(super) async fn kill(mut self) {
        self.cancel.cancel();
        self.handle = None;
        drop(self.reports);
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// A unit and the contents of its objects.
pub(super) struct Planned {
    pub(super) unit: Unit,
    pub(super) blobs: Vec<Bytes>,
}

pub(super) fn unit_id(name: &str) -> UnitId {
    UnitId {
        set_namespace: "default".into(),
        set_name: "set".into(),
        namespace: "shop".into(),
        name: name.into(),
    }
}

pub(super) fn entry(object: &Value) -> (ObjectEntry, Bytes) {
    let text = |path: &str| object.pointer(path).and_then(Value::as_str).unwrap_or_default().to_owned();
    let api = text("/apiVersion");
    let (group, version) = api.split_once('/').unwrap_or(("", &api));
    let key = ObjectKey {
        group: group.into(),
        version: version.into(),
        kind: text("/kind"),
        namespace: text("/metadata/namespace"),
        name: text("/metadata/name"),
    };
    let content = Bytes::from(serde_json::to_vec(object).unwrap());
    (ObjectEntry { key, digest: Digest::of(&content) }, content)
}

impl Planned {
    pub(super) fn new(name: &str, objects: Vec<Value>) -> Self {
        let (entries, blobs): (Vec<_>, Vec<_>) = objects.iter().map(entry).unzip();
        let unit = Unit {
            id: unit_id(name),
            kind: UnitKind::Resources,
            template: "template".into(),
            version: "1.0.0".into(),
            hash: Digest([0; 32]),
            priority: 0,
            depends_on: Vec::new(),
            objects: entries,
            hooks: Vec::new(),
            create_namespace: true,
            take_ownership: false,
            drift: DriftMode::Repair,
            removal: Removal::Prune,
            timeout_ms: 60_000,
            ext: Vec::new(),
        };
        Self { unit, blobs }
    }

    pub(super) fn with(mut self, change: impl FnOnce(&mut Unit)) -> Self {
        change(&mut self.unit);
        self
    }

    pub(super) fn hook(
        mut self,
        object: &Value,
        events: Vec<HookEvent>,
        weight: i64,
        deletion: Vec<HookDeletion>,
    ) -> Self {
        let (object, content) = entry(object);
        self.unit.hooks.push(HookEntry { object, events, weight, deletion });
        self.blobs.push(content);
        self
    }
}

/// Signs a plan of these units.
pub(super) fn plan_of(units: Vec<Planned>, generation: Generation) -> (SignedPlan, Vec<BlobPart>) {
    plan_with(units, BTreeMap::new(), generation)
}

/// Signs a plan of these units with settings.
pub(super) fn plan_with(
    units: Vec<Planned>,
    settings: BTreeMap<String, String>,
    generation: Generation,
) -> (SignedPlan, Vec<BlobPart>) {
    let mut blobs = Vec::new();
    let mut body = PlanBody { settings, ..PlanBody::default() };
    for Planned { mut unit, blobs: contents } in units {
        let mut identity = unit.id.to_string().into_bytes();
        for entry in unit.objects.iter().chain(unit.hooks.iter().map(|hook| &hook.object)) {
            identity.extend_from_slice(&entry.digest.0);
        }
        unit.hash = Digest::of(&identity);
        blobs.extend(contents.iter().map(|content| BlobPart::make(content, None)));
        body.units.push(unit);
    }
    let encoded = body.encode();
    blobs.insert(0, BlobPart::make(&encoded, None));
    let header = PlanHeader {
        agent: AGENT,
        generation,
        body: Digest::of(&encoded),
        issued_at: 0,
        not_after: None,
        ext: Vec::new(),
    };
    (sign(&header), blobs)
}

pub(super) fn sign(header: &PlanHeader) -> SignedPlan {
    SignedPlan {
        header: codec::encode(header),
        key_id: KeyId([0; 8]),
        signature: Bytes::from_static(b"good"),
    }
}

pub(super) fn config_map(name: &str, value: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"key": value}})
}

pub(super) fn deployment(name: &str, replicas: u32) -> Value {
    json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": name}, "spec": {
        "replicas": replicas,
        "selector": {"matchLabels": {"app": name}},
        "template": {"metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "c", "image": "i", "resources": {"requests": {"cpu": "1000m"}}}]}}}})
}

pub(super) fn job(name: &str) -> Value {
    json!({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": name}, "spec": {
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}}}})
}

/// Nothing a server takes.
pub(super) fn malformed() -> serde_json::Value {
    json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "broken"}, "spec": {"ports": [{"port": 99_999_999}]}})
}

pub(super) const MAPS: &str = "/api/v1/namespaces/shop/configmaps";
