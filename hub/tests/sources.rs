//! Templates whose content is fetched: objects that describe sources, in; plans and statuses, out.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use axum::http::{StatusCode, Uri};
use axum::response::IntoResponse as _;
use bytes::Bytes;
use protocol::id::AgentId;
use serde_json::{Value, json};
use support::{Hub, packed_files as packed, service, store};

const FLUX: &str = "source.toolkit.fluxcd.io/v1";

/// A server of files, by path.
#[derive(Clone, Default)]
struct Files(Arc<Mutex<BTreeMap<String, Bytes>>>);

impl Files {
    async fn start(&self, hub: &Hub) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let files = self.clone();
        let router = axum::Router::new().fallback(move |uri: Uri| {
            let found = files.0.lock().unwrap().get(uri.path()).cloned();
            async move { found.map_or_else(|| StatusCode::NOT_FOUND.into_response(), Bytes::into_response) }
        });
        let cancel = hub.process.cancel.clone();
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        hub.process.tasks.spawn(async move { serving.await.unwrap() });
        address
    }

    fn put(&self, path: &str, content: impl Into<Bytes>) {
        self.0.lock().unwrap().insert(path.to_owned(), content.into());
    }

    fn remove(&self, path: &str) {
        self.0.lock().unwrap().remove(path);
    }
}

fn map(name: &str, value: &str) -> String {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"value": value}})
        .to_string()
}

/// Waits until the first object of the service is as `holds` says.
async fn object(hub: &Hub, edge: &AgentId, service: &str, holds: impl Fn(&Value) -> bool) -> Value {
    let content = || {
        let plan = hub.plans.get(edge)?;
        let body = plan.content.body();
        let unit = body.units.iter().find(|unit| unit.id.name == service)?;
        let bytes = hub.plans.blob(&unit.objects.first()?.digest)?;
        serde_json::from_slice::<Value>(&bytes).ok()
    };
    hub.plan(edge, |_| content().is_some_and(|object| holds(&object))).await;
    content().unwrap()
}

fn says(template: &Value, text: &str) -> bool {
    template["status"]["validationError"].as_str().is_some_and(|error| error.contains(text))
}

#[tokio::test]
async fn a_bucket_object_feeds_a_service_and_its_last_good_content_stays() {
    let hub = Hub::start().await;
    let files = Files::default();
    let endpoint = files.start(&hub).await;
    let listing = |etag: &str| {
        format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>apps/a.yaml</Key><ETag>{etag}</ETag>\
             <Size>200</Size></Contents></ListBucketResult>"
        )
    };
    files.put("/things", listing("1"));
    files.put("/things/apps/a.yaml", map("page", "first"));
    let bucket = |requested: &str| {
        json!({
            "apiVersion": FLUX, "kind": "Bucket",
            "metadata": {
                "name": "things", "namespace": "kcm-system",
                "annotations": {"reconcile.fluxcd.io/requestedAt": requested},
            },
            "spec": {"bucketName": "things", "endpoint": endpoint, "insecure": true, "interval": "1h"},
        })
    };
    service(
        &hub,
        "page",
        json!({"resources": {
            "deploymentType": "Remote", "path": "./apps", "localSourceRef": {"kind": "Bucket", "name": "things"},
        }}),
    )
    .await;
    let edge = store(&hub).await;
    let lost = |it: &Value| says(it, "Bucket.source.toolkit.fluxcd.io \"things\" not found");
    hub.until("ServiceTemplate", "kcm-system", "page", lost).await;

    hub.apply(bucket("0")).await;
    object(&hub, &edge, "page", |it| it["data"]["value"] == "first").await;
    let valid = |it: &Value| it["status"]["valid"] == true && it["status"].get("validationError").is_none();
    hub.until("ServiceTemplate", "kcm-system", "page", valid).await;

    let good = hub.until("ServiceTemplate", "kcm-system", "page", valid).await;
    let source = &good["status"]["sourceStatus"];
    assert_eq!((&source["kind"], &source["name"]), (&json!("Bucket"), &json!("things")));
    assert!(source["artifact"]["digest"].as_str().is_some_and(|digest| digest.starts_with("sha256:")));
    assert_eq!(source["conditions"][0]["status"], "True");

    // The store goes away: what was good stays, and the template says since when and why.
    files.remove("/things");
    hub.apply(bucket("1")).await;
    let stale = hub
        .until("ServiceTemplate", "kcm-system", "page", |it| says(it, "the last good revision stays"))
        .await;
    let source = &stale["status"]["sourceStatus"];
    assert_eq!(source["artifact"], good["status"]["sourceStatus"]["artifact"]);
    assert_eq!(source["conditions"][0]["status"], "False");
    assert!(
        stale["status"]["valid"] == true && says(&stale, "404") && says(&stale, "(since 20"),
        "{stale:#}"
    );
    object(&hub, &edge, "page", |it| it["data"]["value"] == "first").await;

    files.put("/things", listing("2"));
    files.put("/things/apps/a.yaml", map("page", "second"));
    hub.apply(bucket("2")).await;
    object(&hub, &edge, "page", |it| it["data"]["value"] == "second").await;
    hub.until("ServiceTemplate", "kcm-system", "page", valid).await;
}

#[tokio::test]
async fn a_file_behind_a_url_feeds_manifests_kustomizations_and_charts() {
    let hub = Hub::start().await;
    let files = Files::default();
    let address = files.start(&hub).await;
    files.put("/page.yaml", map("page", "plain"));
    let overlay = [
        ("base/kustomization.yaml", "resources: [map.yaml]\n".to_owned()),
        ("base/map.yaml", map("page", "built")),
        ("eu/kustomization.yaml", "resources: [../base]\nnamePrefix: eu-\n".to_owned()),
    ];
    files.put("/overlay.tar.gz", packed(&overlay));
    let chart = [
        ("web/Chart.yaml", "apiVersion: v2\nname: web\nversion: 0.3.0\n".to_owned()),
        ("web/templates/map.yaml", map("{{ .Release.Name }}", "rendered")),
    ];
    files.put("/web-0.3.0.tgz", packed(&chart));
    let http = |path: &str| json!({"http": {"url": format!("http://{address}/{path}"), "interval": "1h"}});
    let source = |path: &str, folder: &str| json!({"deploymentType": "Remote", "path": folder, "remoteSourceSpec": http(path)});
    service(&hub, "plain", json!({"resources": source("page.yaml", "")})).await;
    service(&hub, "built", json!({"kustomize": source("overlay.tar.gz", "./eu")})).await;
    service(&hub, "chart", json!({"helm": {"chartSource": source("web-0.3.0.tgz", "")}})).await;
    let edge = store(&hub).await;
    object(&hub, &edge, "plain", |it| it["data"]["value"] == "plain").await;
    let built = object(&hub, &edge, "built", |it| it["data"]["value"] == "built").await;
    assert_eq!(built["metadata"]["name"], "eu-page");
    assert_eq!(built["metadata"]["namespace"], "shop");
    let rendered = object(&hub, &edge, "chart", |it| it["data"]["value"] == "rendered").await;
    assert_eq!(rendered["metadata"]["name"], "chart");
    let template =
        hub.until("ServiceTemplate", "kcm-system", "chart", |it| it["status"]["valid"] == true).await;
    assert_eq!(template["status"]["chartVersion"], "0.3.0");
}

#[tokio::test]
async fn a_source_that_lacks_something_names_it_and_harms_no_other() {
    let hub = Hub::start().await;
    let files = Files::default();
    let address = files.start(&hub).await;
    files.put("/page.yaml", map("page", "plain"));
    service(
        &hub,
        "good",
        json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": {
            "http": {"url": format!("http://{address}/page.yaml")},
        }}}),
    )
    .await;
    let remote = |spec: Value| json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": spec}});
    let secret = json!({"name": "nowhere"});
    for (name, spec, why) in [
        (
            "no-secret",
            json!({"git": {"url": "https://h.invalid/x.git", "interval": "1h", "secretRef": secret}}),
            "Secret \"nowhere\" not found",
        ),
        (
            "no-host-key",
            json!({"git": {"url": "ssh://git@h.invalid/x.git", "interval": "1h"}}),
            "known_hosts",
        ),
        (
            "no-digest",
            json!({"http": {
                "url": format!("http://{address}/page.yaml"), "digest": format!("sha256:{}", "0".repeat(64)),
            }}),
            "the content was altered or replaced",
        ),
        (
            "cloud",
            json!({"oci": {"url": "oci://h.invalid/x", "interval": "1h", "provider": "aws"}}),
            "provider \"aws\" of the OCIRepository is not supported",
        ),
    ] {
        service(&hub, name, remote(spec)).await;
        hub.until("ServiceTemplate", "kcm-system", name, |it| {
            it["status"]["valid"] == false && says(it, why)
        })
        .await;
    }
    let edge = store(&hub).await;
    object(&hub, &edge, "good", |it| it["data"]["value"] == "plain").await;
}

#[tokio::test]
async fn a_hub_that_allows_it_lays_remote_bases_beside_a_kustomization() {
    let hub = Hub::start().await;
    let files = Files::default();
    let address = files.start(&hub).await;
    files.put("/bases/page.yaml", map("page", "remote"));
    let overlay = [
        ("base/kustomization.yaml", format!("resources: [\"http://{address}/bases/page.yaml\"]\n")),
        ("eu/kustomization.yaml", "resources: [../base]\nnamePrefix: eu-\n".to_owned()),
    ];
    files.put("/overlay.tar.gz", packed(&overlay));
    let http = json!({"http": {"url": format!("http://{address}/overlay.tar.gz")}});
    let source = json!({"deploymentType": "Remote", "path": "eu", "remoteSourceSpec": http});
    service(&hub, "built", json!({"kustomize": source})).await;
    let edge = store(&hub).await;
    let built = object(&hub, &edge, "built", |it| it["data"]["value"] == "remote").await;
    assert_eq!(built["metadata"], json!({"name": "eu-page", "namespace": "shop"}));

    let gone = [("kustomization.yaml", format!("resources: [\"http://{address}/bases/gone.yaml\"]\n"))];
    files.put("/gone.tar.gz", packed(&gone));
    let http = json!({"http": {"url": format!("http://{address}/gone.tar.gz")}});
    service(&hub, "gone", json!({"kustomize": {"deploymentType": "Remote", "remoteSourceSpec": http}})).await;
    let template = hub
        .until("ServiceTemplate", "kcm-system", "gone", |it| {
            says(it, "kustomization.yaml") && says(it, "404")
        })
        .await;
    assert_eq!(template["status"]["valid"], false);
}

#[tokio::test]
async fn policies_come_from_a_url_whatever_the_file_is_called_and_may_be_templates() {
    let hub = Hub::start().await;
    let files = Files::default();
    let address = files.start(&hub).await;
    files.put("/policies", map("policy", "{{ .Cluster.metadata.name }}"));
    let url = json!({"url": format!("http://{address}/policies"), "template": true, "interval": "1h"});
    hub.apply(json!({
        "apiVersion": support::K0RDENT, "kind": "MultiClusterService", "metadata": {"name": "guard"},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}},
            "serviceSpec": {"provider": {"config": {"policyRefs": [{"remoteURL": url}]}}, "services": [
                {"name": "page", "namespace": "shop", "template": "absent"},
            ]},
        },
    }))
    .await;
    let edge = store(&hub).await;
    let units = hub.plan(&edge, |units| !units.is_empty()).await;
    assert!(units[0].name.starts_with("remoteurl-"), "{units:?}");
    let policy = object(&hub, &edge, &units[0].name, |it| it["data"]["value"] == "store-1").await;
    assert_eq!(policy["metadata"]["name"], "policy");
}

/// What needs a cloud's own login, or a signature without a key.
fn refused_sources() -> Vec<(&'static str, Value, &'static str)> {
    let git = json!({"url": "https://h.invalid/x.git", "interval": "1h"});
    let oci = json!({"url": "oci://h.invalid/x", "interval": "1h"});
    let bucket = json!({"bucketName": "b", "endpoint": "h.invalid", "interval": "1h"});
    let git = |more: Value| json!({"git": with(git.clone(), more)});
    let oci = |more: Value| json!({"oci": with(oci.clone(), more)});
    let bucket = |more: Value| json!({"bucket": with(bucket.clone(), more)});
    let identity = json!({"provider": "cosign", "secretRef": {"name": "keys"}, "matchOIDCIdentity": [
        {"issuer": "^https://i$", "subject": "^s$"},
    ]});
    let account = json!({"provider": "aws", "serviceAccountName": "s"});
    vec![
        ("git-aws", git(json!({"provider": "aws"})), "expected generic, with credentials in secretRef"),
        (
            "git-app",
            git(json!({"provider": "github"})),
            "provider \"github\" of the GitRepository is not supported",
        ),
        (
            "oci-gcp",
            oci(json!({"provider": "gcp"})),
            "provider \"gcp\" of the OCIRepository is not supported",
        ),
        (
            "bucket-gcp",
            bucket(json!({"provider": "gcp"})),
            "expected generic or aws, with accesskey and secretkey",
        ),
        (
            "bucket-azure",
            bucket(json!({"provider": "azure"})),
            "provider \"azure\" of the Bucket is not supported",
        ),
        (
            "bucket-machine",
            bucket(json!({"provider": "aws"})),
            "provider \"aws\" of the Bucket without secretRef",
        ),
        ("bucket-account", bucket(account), "serviceAccountName \"s\" of the Bucket is not supported"),
        ("identity", oci(json!({"verify": identity})), "verify.matchOIDCIdentity"),
    ]
}

fn with(mut object: Value, more: Value) -> Value {
    if let (Some(object), Value::Object(more)) = (object.as_object_mut(), more) {
        object.extend(more);
    }
    object
}

#[tokio::test]
async fn what_only_a_cloud_or_another_tool_could_do_is_refused_with_the_field_the_value_and_the_cure() {
    let hub = Hub::start().await;
    for (name, spec, why) in refused_sources() {
        service(&hub, name, json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": spec}}))
            .await;
        let refused = |it: &Value| it["status"]["valid"] == false && says(it, why);
        hub.until("ServiceTemplate", "kcm-system", name, refused).await;
    }
    let local = json!({"resources": {"deploymentType": "Local", "localSourceRef": {"kind": "ConfigMap", "name": "m"}}});
    service(&hub, "local", local).await;
    let refused =
        |it: &Value| says(it, "deploymentType \"Local\" is not supported by this hub: expected \"Remote\"");
    hub.until("ServiceTemplate", "kcm-system", "local", refused).await;
    hub.apply(json!({
        "apiVersion": FLUX, "kind": "HelmRepository", "metadata": {"name": "cloud", "namespace": "kcm-system"},
        "spec": {"url": "oci://h.invalid/charts", "type": "oci", "provider": "aws", "interval": "1h"},
    }))
    .await;
    let chart = json!({"helm": {"chartSpec": {
        "chart": "web", "version": "1.0.0", "interval": "1h", "sourceRef": {"kind": "HelmRepository", "name": "cloud"},
    }}});
    service(&hub, "cloud-chart", chart).await;
    let refused = |it: &Value| {
        says(it, "provider \"aws\" of the HelmRepository is not supported by this hub: expected")
    };
    hub.until("ServiceTemplate", "kcm-system", "cloud-chart", refused).await;
}
