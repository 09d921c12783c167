//! A management cluster in process, a chart repository, and agents that do what they are told.
#![allow(dead_code)] // Each test file uses its part.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use hub::controller::{Controllers, ControllersHandle, Settings};
use hub::observed::{Link, Observed};
use hub::plans::{PlanBook, SignPlan, system_clock};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{GroupVersionKind, TypeMeta};
use kube::runtime::wait::await_condition;
use kube::runtime::watcher;
use process::Process;
use protocol::codec::encode;
use protocol::id::{AgentId, EdgeId, Generation};
use protocol::plan::{KeyId, PlanHeader, SignedPlan, UnitId};
use protocol::report::{ClusterReport, Report, UnitReport, UnitState};
use protocol::version::Speaks;
use serde_json::{Value, json};

/// Nothing takes longer; a test that waits longer has failed.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

struct Unsigned;

impl SignPlan for Unsigned {
    fn sign(&self, header: &PlanHeader) -> SignedPlan {
        SignedPlan { header: encode(header), key_id: KeyId([0; 8]), signature: Bytes::new() }
    }
}

/// A hub without links.
pub(crate) struct Hub {
    pub cluster: kube_local::Cluster,
    pub client: kube::Client,
    pub process: Process,
    pub plans: PlanBook,
    pub observed: Observed,
    pub controllers: ControllersHandle,
    pub charts: String,
    pub state: tempfile::TempDir,
    setting: Setting,
}

/// What a hub is told.
#[derive(Default, Clone)]
pub(crate) struct Setting {
    /// A helm binary for charts that need what the engine lacks.
    pub helm: Option<PathBuf>,
    /// It serves an unmodified k0rdent, whose definitions are those that are installed.
    pub serving: Option<hub::state_management::Serving>,
}

impl Drop for Hub {
    fn drop(&mut self) {
        self.process.cancel.cancel();
    }
}

impl Hub {
    pub(crate) async fn start() -> Self {
        Self::with(Setting::default()).await
    }

    /// A hub with a helm binary for charts that need what the engine lacks.
    pub(crate) async fn with_helm(helm: Option<PathBuf>) -> Self {
        Self::with(Setting { helm, ..Setting::default() }).await
    }

    pub(crate) async fn with(setting: Setting) -> Self {
        let cluster = kube_local::Cluster::open(kube_local::Options::default()).await.unwrap();
        let process = Process::embedded();
        cluster.run_controllers(&process.tasks, process.cancel.clone());
        let client = cluster.client();
        install(&client, setting.serving.is_some()).await;
        let charts = serve_charts(&process).await;
        let state = tempfile::tempdir().unwrap();
        let (plans, observed, controllers) =
            controllers(&client, (state.path(), setting.clone()), 1, &process).await;
        let serving = setting.serving.is_some();
        let hub = Self { setting, cluster, client, process, plans, observed, controllers, charts, state };
        hub.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kcm-system"}})).await;
        hub.repository("kcm-system", "skein-charts").await;
        // An unmodified k0rdent refuses regions whose agents dial in.
        for region in ["eu", "us"].into_iter().filter(|_| !serving) {
            hub.apply(json!({
                "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "Region", "metadata": {"name": region}, "spec": {},
            }))
            .await;
        }
        hub
    }

    /// The hub again, as after a crash: nothing is left but the objects and the folder of caches.
    pub(crate) async fn restart(&mut self) {
        self.process.cancel.cancel();
        let process = Process::embedded();
        self.cluster.run_controllers(&process.tasks, process.cancel.clone());
        let (plans, observed, handle) =
            controllers(&self.client, (self.state.path(), self.setting.clone()), 2, &process).await;
        (self.process, self.plans, self.observed, self.controllers) = (process, plans, observed, handle);
    }

    pub(crate) async fn repository(&self, namespace: &str, name: &str) {
        self.apply(json!({
            "apiVersion": "source.toolkit.fluxcd.io/v1", "kind": "HelmRepository",
            "metadata": {"name": name, "namespace": namespace}, "spec": {"url": self.charts},
        }))
        .await;
    }

    pub(crate) fn api(&self, object: &Value) -> Api<DynamicObject> {
        let text = |field: &str| object[field].as_str().unwrap_or_default().to_owned();
        let types = TypeMeta { api_version: text("apiVersion"), kind: text("kind") };
        let kind = GroupVersionKind::try_from(&types).unwrap();
        let plural = match types.kind.as_str() {
            "HelmRepository" => "helmrepositories".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let resource = kube::core::ApiResource::from_gvk_with_plural(&kind, &plural);
        let cluster_scoped =
            ["Namespace", "Region", "MultiClusterService", "PriceBook", "StateManagementProvider"];
        if cluster_scoped.contains(&types.kind.as_str()) {
            Api::all_with(self.client.clone(), &resource)
        } else {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            Api::namespaced_with(self.client.clone(), namespace, &resource)
        }
    }

    pub(crate) async fn apply(&self, object: Value) {
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let parameters = PatchParams::apply("test").force();
        let done = self.api(&object).patch(&name, &parameters, &Patch::Apply(&object)).await;
        done.unwrap_or_else(|error| panic!("{object}: {error}"));
    }

    pub(crate) async fn apply_file(&self, path: &str) {
        let text = std::fs::read_to_string(root().join(path)).unwrap();
        for document in text.split("\n---") {
            let value: Value = serde_saphyr::from_str(document).unwrap();
            if !value.is_null() {
                self.apply(value).await;
            }
        }
    }

    pub(crate) async fn delete(&self, api_version: &str, kind: &str, namespace: &str, name: &str) {
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}});
        self.api(&object).delete(name, &kube::api::DeleteParams::default()).await.unwrap();
    }

    /// Waits until the object is as `holds` says, and returns it.
    pub(crate) async fn until(
        &self,
        kind: &str,
        namespace: &str,
        name: &str,
        holds: impl Fn(&Value) -> bool + Send + Sync,
    ) -> Value {
        let api_version = match kind {
            "Edge" | "JoinToken" | "PriceBook" => "skein.dev/v1alpha1",
            "Secret" | "ConfigMap" => "v1",
            _ => "k0rdent.mirantis.com/v1beta1",
        };
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}});
        let api = self.api(&object);
        let shown = |object: &DynamicObject| serde_json::to_value(object).unwrap();
        let condition = |object: Option<&DynamicObject>| object.is_some_and(|object| holds(&shown(object)));
        let waiting = await_condition(api.clone(), name, condition);
        match tokio::time::timeout(PATIENCE, waiting).await {
            Ok(found) => shown(&found.unwrap().unwrap()),
            Err(_) => {
                let now = api.get_opt(name).await.unwrap().map(|object| shown(&object));
                panic!("{kind} {namespace}/{name} is still {now:#?}");
            }
        }
    }

    pub(crate) async fn until_gone(&self, kind: &str, namespace: &str, name: &str) {
        let api_version = if kind == "Edge" { "skein.dev/v1alpha1" } else { "k0rdent.mirantis.com/v1beta1" };
        let object = json!({"apiVersion": api_version, "kind": kind, "metadata": {"namespace": namespace}});
        let api = self.api(&object);
        let gone = async {
            let mut events = watcher::watch_object(api.clone(), name).boxed();
            while let Some(event) = events.next().await {
                if matches!(event, Ok(None)) {
                    return;
                }
            }
        };
        if tokio::time::timeout(PATIENCE, gone).await.is_err() {
            panic!("{kind} {namespace}/{name} is still there: {:#?}", api.get_opt(name).await);
        }
    }

    /// Enrols an edge, as the authority does.
    pub(crate) async fn enrol(
        &self,
        name: &str,
        namespace: &str,
        region: &str,
        id: u8,
        spec: Value,
        labels: Value,
    ) -> AgentId {
        let id = EdgeId([id; 16]);
        let mut all = json!({"region": region});
        all.as_object_mut().unwrap().extend(spec.as_object().cloned().unwrap_or_default());
        let object = json!({
            "apiVersion": "skein.dev/v1alpha1", "kind": "Edge",
            "metadata": {"name": name, "namespace": namespace, "labels": labels}, "spec": all,
        });
        let api = self.api(&object);
        api.create(&PostParams::default(), &serde_json::from_value(object).unwrap()).await.unwrap();
        let status = json!({"status": {"agentId": id.to_string()}});
        api.patch_status(name, &PatchParams::default(), &Patch::Merge(status)).await.unwrap();
        AgentId::Edge(id)
    }

    /// The edge tells its sealing key, as it does when it enrols.
    pub(crate) async fn tell_sealing_key(&self, name: &str, namespace: &str, seed: u8) {
        let device = identity::DeviceKey::from_seed([seed; 32]);
        let key =
            identity::sealing::told_key(&vec![identity::sealing::told(&device)], &device.public()).unwrap();
        let base64 = |bytes: &[u8]| base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes);
        let told = json!({
            "skein.dev/device-key": base64(&device.public()), "skein.dev/sealing-key": base64(&key.write()),
        });
        let object = json!({
            "apiVersion": "skein.dev/v1alpha1", "kind": "Edge", "metadata": {"namespace": namespace},
        });
        let patch = Patch::Merge(json!({"metadata": {"annotations": told}}));
        self.api(&object).patch(name, &PatchParams::default(), &patch).await.unwrap();
    }

    /// Serves one file; returns the server's address.
    pub(crate) async fn serve(&self, path: &str, content: Vec<u8>) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let content = Bytes::from(content);
        let router =
            axum::Router::new().route(path, axum::routing::get(move || std::future::ready(content.clone())));
        // It outlives a restart of the hub, and ends with the test.
        let serving = async move { axum::serve(listener, router).await.unwrap() };
        tokio_util::task::TaskTracker::new().spawn(serving);
        address
    }

    /// Waits until an object of a kind is as `holds` says.
    pub(crate) async fn until_listed<K>(&self, what: &str, holds: impl Fn(&K) -> bool) -> K
    where
        K: kube::Resource<DynamicType = ()>
            + Clone
            + std::fmt::Debug
            + serde::de::DeserializeOwned
            + Send
            + 'static,
    {
        let api = Api::<K>::all(self.client.clone());
        let found = async {
            let mut events = watcher::watcher(api.clone(), watcher::Config::default()).boxed();
            while let Some(event) = events.next().await {
                match event {
                    Ok(watcher::Event::Apply(object) | watcher::Event::InitApply(object))
                        if holds(&object) =>
                    {
                        return object;
                    }
                    _ => {}
                }
            }
            panic!("the watch ended")
        };
        match tokio::time::timeout(PATIENCE, found).await {
            Ok(found) => found,
            Err(_) => {
                panic!("{what}: {:#?}", api.list(&kube::api::ListParams::default()).await.unwrap().items)
            }
        }
    }

    /// The agent's link is up.
    pub(crate) fn link(&self, agent: &AgentId, up: bool) {
        self.observed.link(agent, Link { up, since: 1_700_000_000_000, address: String::new() });
        // Whoever links reports at once, and tells its version.
        self.observed.update(agent, |view| {
            view.speaks.get_or_insert(Speaks::HERE);
            true
        });
    }

    /// Waits until the agent's plan is as `holds` says; returns the names of its units.
    pub(crate) async fn plan(&self, agent: &AgentId, holds: impl Fn(&[UnitId]) -> bool) -> Vec<UnitId> {
        let mut changes = self.plans.subscribe();
        let planned = async {
            loop {
                if let Some(plan) = self.plans.get(agent) {
                    let units: Vec<_> =
                        plan.content.body().units.iter().map(|unit| unit.id.clone()).collect();
                    if holds(&units) {
                        return units;
                    }
                }
                changes.next().await;
            }
        };
        match tokio::time::timeout(PATIENCE, planned).await {
            Ok(units) => units,
            Err(_) => panic!("the plan of {agent} is still {:#?}", self.plans.get(agent)),
        }
    }

    /// The agent carries out its newest plan and reports it.
    pub(crate) fn carry_out(&self, agent: &AgentId, state: UnitState) {
        let plan = self.plans.get(agent).unwrap();
        self.report(agent, state, Some(plan.head.generation));
    }

    /// The agent has stored its newest plan and reports how far its units are, with the last plan it carried out.
    pub(crate) fn report(&self, agent: &AgentId, state: UnitState, applied: Option<Generation>) {
        let plan = self.plans.get(agent).unwrap();
        let speaks = self.observed.agent(agent).and_then(|view| view.speaks).unwrap_or_default();
        let units = plan
            .content
            .body()
            .units
            .iter()
            .map(|unit| UnitReport {
                id: unit.id.clone(),
                version: unit.version.clone(),
                template: unit.template.clone(),
                deployed_hash: (state == UnitState::Deployed).then_some(unit.hash),
                state,
                message: String::new(),
                since: 1_700_000_000_000,
                drift_repairs: 0,
                objects_total: u32::try_from(unit.objects.len()).unwrap(),
                objects_ready: u32::try_from(unit.objects.len()).unwrap(),
                objects: Vec::new(),
            })
            .collect();
        let report = Report {
            sequence: 1,
            full: true,
            stored: Some(plan.head.generation),
            applied,
            units,
            cluster: Some(ClusterReport {
                kubernetes_version: "v1.36.3".to_owned(),
                reachable: true,
                ..ClusterReport::default()
            }),
            ext: speaks.tell().into_iter().collect(),
            ..Report::default()
        };
        self.observed.report(agent, report, 1_700_000_000_000);
    }
}

async fn controllers(
    client: &kube::Client,
    (state, setting): (&Path, Setting),
    term: u64,
    process: &Process,
) -> (PlanBook, Observed, ControllersHandle) {
    let plans = PlanBook::new(term, Arc::new(Unsigned), system_clock());
    let observed = Observed::default();
    let settings = Settings {
        system_namespace: "kcm-system".to_owned(),
        trust_domain: "skein.local".to_owned(),
        state_dir: state.to_owned(),
        helm: setting.helm,
        remote_bases: true,
        term,
        serving: setting.serving,
    };
    let handle = Controllers::start(
        client.clone(),
        settings,
        identity::Sealer::new([0; 32]),
        plans.clone(),
        observed.clone(),
        process,
    )
    .await;
    (plans, observed, handle)
}

async fn install(client: &kube::Client, upstream: bool) {
    let api = Api::<CustomResourceDefinition>::all(client.clone());
    let mut all = if upstream { api::upstream_crds() } else { api::k0rdent_crds() };
    all.extend(api::skein_crds());
    for file in std::fs::read_dir(root().join("deploy/crds/third-party")).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        all.push(serde_saphyr::from_str(&text).unwrap());
    }
    for definition in all {
        api.create(&PostParams::default(), &definition).await.unwrap();
    }
}

pub(crate) fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Serves deploy/charts as a repository; returns its address.
async fn serve_charts(process: &Process) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/charts/", listener.local_addr().unwrap());
    let mut files: BTreeMap<String, Bytes> = BTreeMap::new();
    let mut index = json!({"apiVersion": "v1", "entries": {}});
    for chart in ["embedded-cluster", "web"] {
        let file = format!("{chart}-0.1.0.tgz");
        files.insert(file.clone(), packed(&root().join("deploy/charts").join(chart), chart));
        index["entries"][chart] = json!([{"name": chart, "version": "0.1.0", "urls": [file]}]);
    }
    files.insert("index.yaml".to_owned(), Bytes::from(index.to_string()));
    let files = Arc::new(files);
    let router = axum::Router::new().route(
        "/charts/{file}",
        axum::routing::get(move |axum::extract::Path(file): axum::extract::Path<String>| {
            let found = files.get(&file).cloned();
            async move { found.ok_or(axum::http::StatusCode::NOT_FOUND) }
        }),
    );
    let cancel = process.cancel.clone();
    let serving =
        axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
    process.tasks.spawn(async move { serving.await.unwrap() });
    url
}

/// Files by path, as a server has them.
pub(crate) type Files = Arc<std::sync::Mutex<BTreeMap<String, Bytes>>>;

/// A server of files that may change, which outlives every hub; with its address.
pub(crate) async fn files_by_path() -> (Files, String) {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let files = Files::default();
    let served = files.clone();
    let router = axum::Router::new().fallback(move |uri: axum::http::Uri| {
        let found = served.lock().unwrap().get(uri.path()).cloned();
        async move { found.ok_or(axum::http::StatusCode::NOT_FOUND) }
    });
    let serving = async move { axum::serve(listener, router).await.unwrap() };
    tokio_util::task::TaskTracker::new().spawn(serving);
    (files, address)
}

/// API version of k0rdent's kinds.
pub(crate) const K0RDENT: &str = "k0rdent.mirantis.com/v1beta1";

/// A template in the system's namespace, and a service of it for every store.
pub(crate) async fn service(hub: &Hub, name: &str, spec: Value) {
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": name, "namespace": "kcm-system"},
        "spec": spec,
    }))
    .await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"services": [{"name": name, "namespace": "shop", "template": name}]},
        },
    }))
    .await;
}

/// An edge that is a store, linked.
pub(crate) async fn store(hub: &Hub) -> AgentId {
    let edge = hub.enrol("store-1", "kcm-system", "eu", 3, json!({}), json!({"site": "store"})).await;
    hub.link(&edge, true);
    edge
}

/// Files as a packed archive.
pub(crate) fn packed_files(files: &[(&str, String)]) -> Vec<u8> {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    for (path, text) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(text.len() as u64);
        header.set_mode(0o644);
        header.set_cksum();
        archive.append_data(&mut header, path, text.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn packed(folder: &Path, name: &str) -> Bytes {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    archive.append_dir_all(name, folder).unwrap();
    Bytes::from(archive.into_inner().unwrap().finish().unwrap())
}

/// The condition of this type.
pub(crate) fn condition<'a>(object: &'a Value, type_: &str) -> &'a Value {
    object["status"]["conditions"]
        .as_array()
        .and_then(|list| list.iter().find(|one| one["type"] == type_))
        .unwrap_or(&Value::Null)
}

/// The condition has this status.
pub(crate) fn has(object: &Value, type_: &str, status: &str) -> bool {
    condition(object, type_)["status"] == status
}
