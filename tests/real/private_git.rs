//! What a kustomization in one private repository takes from others: a GitRepository that it includes and remote bases,
//! over HTTPS with a password and over SSH with a key, from two real servers into the plan of an edge.

use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context as _, Result, ensure};
use bytes::Bytes;
use hub::controller::{Controllers, ControllersHandle, Settings};
use hub::observed::{Link, Observed};
use hub::plans::{PlanBook, SignPlan, system_clock};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind, TypeMeta};
use process::Process;
use protocol::codec::encode;
use protocol::id::{AgentId, EdgeId};
use protocol::plan::{KeyId, PlanHeader, SignedPlan};
use serde_json::{Value, json};
use skein_tests::wait;
use tokio_util::sync::DropGuard;

use crate::servers::{PASSWORD, PATIENCE, Site, USER, git};

const SYSTEM: &str = "kcm-system";
const FLUX: &str = "source.toolkit.fluxcd.io/v1";
const K0RDENT: &str = "k0rdent.mirantis.com/v1beta1";
const EDGE: EdgeId = EdgeId([7; 16]);

struct Unsigned;

impl SignPlan for Unsigned {
    fn sign(&self, header: &PlanHeader) -> SignedPlan {
        SignedPlan { header: encode(header), key_id: KeyId([0; 8]), signature: Bytes::new() }
    }
}

/// A hub that allows remote bases, on a management cluster in process.
struct Hub {
    client: kube::Client,
    plans: PlanBook,
    _controllers: ControllersHandle,
    _folder: tempfile::TempDir,
    _stop: DropGuard,
}

impl Hub {
    async fn start() -> Result<Self> {
        let cluster = kube_local::Cluster::open(kube_local::Options::default()).await?;
        let process = Process::embedded();
        cluster.run_controllers(&process.tasks, process.cancel.clone());
        let client = cluster.client();
        let mut all = api::k0rdent_crds();
        all.extend(api::skein_crds());
        for file in std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../deploy/crds/third-party"))? {
            let text = std::fs::read_to_string(file?.path())?;
            all.push(serde_json::from_value(render::parse_values(&text)?)?);
        }
        let definitions = Api::<CustomResourceDefinition>::all(client.clone());
        for definition in all {
            definitions.create(&PostParams::default(), &definition).await?;
        }
        let (plans, observed) = (PlanBook::new(1, Arc::new(Unsigned), system_clock()), Observed::default());
        let folder = tempfile::tempdir()?;
        let settings = Settings {
            system_namespace: SYSTEM.to_owned(),
            trust_domain: "skein.local".to_owned(),
            state_dir: folder.path().to_owned(),
            helm: None,
            remote_bases: true,
            term: 1,
            serving: None,
        };
        let sealer = identity::Sealer::new([0; 32]);
        let (book, seen) = (plans.clone(), observed.clone());
        let controllers = Controllers::start(client.clone(), settings, sealer, book, seen, &process).await;
        let stop = process.cancel.clone().drop_guard();
        let hub = Self { client, plans, _controllers: controllers, _folder: folder, _stop: stop };
        hub.apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM}})).await?;
        let region = json!({"apiVersion": K0RDENT, "kind": "Region", "metadata": {"name": "eu"}, "spec": {}});
        hub.apply(region).await?;
        hub.apply(json!({
            "apiVersion": "skein.dev/v1alpha1", "kind": "Edge",
            "metadata": {"name": "store-1", "namespace": SYSTEM, "labels": {"site": "store"}},
            "spec": {"region": "eu"},
        }))
        .await?;
        let status = Patch::Merge(json!({"status": {"agentId": EDGE.to_string()}}));
        let edges = hub.api("skein.dev/v1alpha1", "Edge", true)?;
        edges.patch_status("store-1", &PatchParams::default(), &status).await?;
        let link = Link { up: true, since: 1_700_000_000_000, address: String::new() };
        observed.link(&AgentId::Edge(EDGE), link);
        Ok(hub)
    }

    fn api(&self, api_version: &str, kind: &str, namespaced: bool) -> Result<Api<DynamicObject>> {
        let types = TypeMeta { api_version: api_version.to_owned(), kind: kind.to_owned() };
        let plural = match kind {
            "GitRepository" => "gitrepositories".to_owned(),
            kind => format!("{}s", kind.to_lowercase()),
        };
        let resource = ApiResource::from_gvk_with_plural(&GroupVersionKind::try_from(&types)?, &plural);
        Ok(if namespaced {
            Api::namespaced_with(self.client.clone(), SYSTEM, &resource)
        } else {
            Api::all_with(self.client.clone(), &resource)
        })
    }

    async fn apply(&self, object: Value) -> Result<()> {
        let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
        let namespaced = !text("/metadata/namespace").is_empty();
        let api = self.api(text("/apiVersion"), text("/kind"), namespaced)?;
        let parameters = PatchParams::apply("test").force();
        let done = api.patch(text("/metadata/name"), &parameters, &Patch::Apply(&object)).await;
        done.with_context(|| format!("{object:#}")).map(drop)
    }

    async fn secret(&self, name: &str, data: Value) -> Result<()> {
        self.apply(json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": name, "namespace": SYSTEM}, "stringData": data,
        }))
        .await
    }

    /// The `data` of the ConfigMap with this name in the edge's plan, once it is as wanted.
    async fn planned(&self, name: &str, wanted: &Value) -> Result<()> {
        let mut last = Value::Null;
        let what = format!("the plan has {name} with {wanted}");
        let waited = wait::until(&what, PATIENCE, || {
            let plan = self.plans.get(&AgentId::Edge(EDGE));
            let body = plan.map(|plan| plan.content.body());
            let units = body.iter().flat_map(|body| body.units.iter());
            let objects = units.flat_map(|unit| unit.objects.iter());
            let found = objects.filter_map(|object| self.plans.blob(&object.digest));
            let mut found = found.filter_map(|bytes| serde_json::from_slice::<Value>(&bytes).ok());
            let found = found.find(|object| object["metadata"]["name"] == name);
            last = found.map(|object| object["data"].clone()).unwrap_or_default();
            let done = (last == *wanted).then_some(());
            async move { Ok(done) }
        });
        let waited = waited.await;
        waited.with_context(|| format!("it is still {last}"))
    }

    /// Waits until the template says this of its source; returns all that it says.
    async fn says(&self, template: &str, why: &str) -> Result<String> {
        let templates = self.api(K0RDENT, "ServiceTemplate", true)?;
        let last = Mutex::new(String::new());
        let what = format!("{template} says {why:?}");
        let waited = wait::until(&what, PATIENCE, || {
            let (templates, last) = (templates.clone(), &last);
            async move {
                let found = templates.get_opt(template).await?;
                let said = found.as_ref().and_then(|it| it.data["status"]["validationError"].as_str());
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                *last = said.unwrap_or_default().to_owned();
                Ok(last.contains(why).then_some(()))
            }
        });
        let waited = waited.await;
        let last = last.into_inner().unwrap_or_else(PoisonError::into_inner);
        waited.with_context(|| format!("it still says {last:?}"))?;
        Ok(last)
    }

    /// A service that is a kustomization in a folder of the GitRepository `app`.
    async fn service(&self, name: &str, folder: &str) -> Result<()> {
        let source = json!({
            "deploymentType": "Remote", "path": folder, "localSourceRef": {"kind": "GitRepository", "name": "app"},
        });
        self.apply(json!({
            "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": name, "namespace": SYSTEM},
            "spec": {"kustomize": source},
        }))
        .await?;
        self.apply(json!({
            "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name},
            "spec": {
                "clusterSelector": {"matchLabels": {"site": "store"}},
                "serviceSpec": {"services": [{"name": name, "namespace": "shop", "template": name}]},
            },
        }))
        .await
    }
}

/// A bare repository below `git/` of the site, with these files in its only commit; the folder of the work is kept.
fn repository(site: &Site, name: &str, files: &[(&str, String)]) -> Result<()> {
    let work = site.at(&format!("work-{name}"));
    std::fs::create_dir_all(&work)?;
    git(&work, &["init", "--quiet"])?;
    std::fs::create_dir_all(site.at("git"))?;
    commit(site, name, files)?;
    git(&work, &["clone", "--quiet", "--bare", ".", &format!("../git/{name}.git")])?;
    git(&work, &["remote", "add", "origin", &format!("../git/{name}.git")]).map(drop)
}

fn commit(site: &Site, name: &str, files: &[(&str, String)]) -> Result<()> {
    for (path, text) in files {
        site.write(&format!("work-{name}/{path}"), text)?;
    }
    let work = site.at(&format!("work-{name}"));
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "-m", "next"]).map(drop)
}

fn map(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
        .to_string()
}

/// A kustomization with one ConfigMap beside it.
fn base(name: &str, value: &str) -> Vec<(&'static str, String)> {
    vec![
        ("deploy/kustomization.yaml", "resources: [map.yaml]\n".to_owned()),
        ("deploy/map.yaml", map(name, value)),
    ]
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "real parts: tests/run"]
async fn a_kustomization_takes_private_includes_and_private_bases_over_https_and_ssh() -> Result<()> {
    let mut site = Site::new()?;
    let (web, port) = (site.nginx().await?, site.sshd().await?);
    let user = skein_tests::process::output(std::process::Command::new("id").arg("-un"))?;
    let ssh = format!("ssh://{}@127.0.0.1:{port}{}", user.trim(), site.at("git").display());
    repository(&site, "lib", &base("included", "by ssh"))?;
    repository(&site, "closed", &base("by-ssh", "a base"))?;
    // A base that has a base on the other server.
    let both = format!("resources: [map.yaml, \"{ssh}/closed.git//deploy?ref=main\"]\n");
    let open = [("deploy/kustomization.yaml", both), ("deploy/map.yaml", map("by-https", "a base"))];
    repository(&site, "open", &open)?;
    let overlay =
        format!("resources: [\"{web}/git/open.git//deploy?ref=main\", ../lib/deploy]\nnamePrefix: eu-\n");
    repository(&site, "app", &[("eu/kustomization.yaml", overlay)])?;

    let hub = Hub::start().await?;
    let read =
        |name: &str| std::fs::read_to_string(site.at(name)).with_context(|| format!("failed to read {name}"));
    let known_hosts = format!("[127.0.0.1]:{port} {}", read("host.pub")?);
    let by_ssh = json!({"identity": read("identity")?, "known_hosts": known_hosts});
    let by_https = json!({"username": USER, "password": PASSWORD, "ca.crt": site.authority});
    hub.secret("app", by_https.clone()).await?;
    hub.secret("lib", by_ssh.clone()).await?;
    let repository = |name: &str, url: String, requested: &str, more: Value| {
        let mut spec = json!({
            "url": url, "interval": "1h", "ref": {"branch": "main"}, "secretRef": {"name": name},
        });
        spec.as_object_mut()
            .into_iter()
            .for_each(|spec| spec.extend(more.as_object().cloned().unwrap_or_default()));
        json!({
            "apiVersion": FLUX, "kind": "GitRepository",
            "metadata": {
                "name": name, "namespace": SYSTEM, "annotations": {"reconcile.fluxcd.io/requestedAt": requested},
            },
            "spec": spec,
        })
    };
    let included =
        json!({"include": [{"repository": {"name": "lib"}, "fromPath": "deploy", "toPath": "lib/deploy"}]});
    hub.apply(repository("lib", format!("{ssh}/lib.git"), "0", json!({}))).await?;
    hub.apply(repository("app", format!("{web}/git/app.git"), "0", included)).await?;
    hub.service("page", "./eu").await?;

    // Without a Secret of its name a host is asked as a stranger would, whatever credentials the repository has.
    let why = hub.says("page", "certificate").await?;
    ensure!(why.contains("kustomization.yaml") && !why.contains(PASSWORD), "{why}");
    let host = web.trim_start_matches("https://").replace(':', "-");
    hub.secret(&format!("remote-base-{host}"), by_https).await?;
    hub.says("page", "Host key verification failed").await?;
    hub.secret(&format!("remote-base-127.0.0.1-{port}"), by_ssh).await?;
    hub.planned("eu-included", &json!({"value": "by ssh"})).await?;
    hub.planned("eu-by-https", &json!({"value": "a base"})).await?;
    hub.planned("eu-by-ssh", &json!({"value": "a base"})).await?;

    // What is included moves on, and what includes it does.
    commit(&site, "lib", &[("deploy/map.yaml", map("included", "again"))])?;
    git(&site.at("work-lib"), &["push", "--quiet", "origin", "HEAD:main"])?;
    hub.apply(repository("lib", format!("{ssh}/lib.git"), "1", json!({}))).await?;
    hub.planned("eu-included", &json!({"value": "again"})).await
}
