//! Broken input of every kind beside a healthy service: each is told with its cause, and harms nobody else.

#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod support;

use bytes::Bytes;
use protocol::id::AgentId;
use serde_json::{Value, json};
use support::{Files, Hub, files_by_path, packed_files};

const K0RDENT: &str = "k0rdent.mirantis.com/v1beta1";
const FLUX: &str = "source.toolkit.fluxcd.io/v1";
const SPACE: &str = "kcm-system";

/// One kind of broken input.
struct Case {
    name: &'static str,
    /// What the ServiceTemplate says; its name where it is not the case's own.
    template: Value,
    /// More of the service.
    service: Value,
    /// What must be told.
    told: &'static [&'static str],
}

fn case(name: &'static str, template: Value, told: &'static [&'static str]) -> Case {
    Case { name, template, service: json!({}), told }
}

/// A healthy chart's service with something wrong besides.
fn with(name: &'static str, service: Value, told: &'static [&'static str]) -> Case {
    Case {
        name,
        template: json!({"helm": {"chartSource": {
            "deploymentType": "Remote", "path": "", "remoteSourceSpec": {"http": {"url": "FILES/good.tgz"}},
        }}}),
        service,
        told,
    }
}

fn remote(of: Value) -> Value {
    json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": of}})
}

fn map(name: &str) -> Value {
    json!({"resources": {"deploymentType": "Remote", "localSourceRef": {"kind": "ConfigMap", "name": name}}})
}

fn local(kind: &str, name: &str) -> Value {
    json!({"resources": {"deploymentType": "Remote", "localSourceRef": {"kind": kind, "name": name}}})
}

fn chart_of(repository: &str, chart: &str, version: &str) -> Value {
    json!({"helm": {"chartSpec": {
        "chart": chart, "version": version, "sourceRef": {"kind": "HelmRepository", "name": repository},
    }}})
}

const META: &str = "apiVersion: v2\nname: web\nversion: 1.0.0\n";
const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n";

/// Charts that are broken in one way each, and what is told of it.
fn charts() -> Vec<(&'static str, Bytes, &'static [&'static str])> {
    let with = |path: &str, text: &str| {
        let mut files = vec![
            ("web/Chart.yaml", META.to_owned()),
            ("web/values.yaml", "a: {b: 1}\n".to_owned()),
            ("web/templates/map.yaml", MAP.to_owned()),
        ];
        files.retain(|(known, _)| *known != path);
        files.push((path, text.to_owned()));
        Bytes::from(packed_files(&files))
    };
    let whole = with("web/x", "");
    vec![
        ("chart-no-archive", Bytes::from_static(b"<html>not here</html>"), &["chart-no-archive.tgz"]),
        ("chart-truncated", whole.slice(..whole.len() / 2), &["chart-truncated.tgz"]),
        (
            "chart-no-metadata",
            packed_files(&[("web/values.yaml", "a: 1".to_owned())]).into(),
            &["Chart.yaml"],
        ),
        ("chart-bad-metadata", with("web/Chart.yaml", "name: [\n"), &["Chart.yaml", "line"]),
        ("chart-no-version", with("web/Chart.yaml", "apiVersion: v2\nname: web\n"), &["version"]),
        ("chart-bad-values", with("web/values.yaml", "a: [\n"), &["values.yaml", "line"]),
        ("chart-parse", with("web/templates/x.yaml", "a: 1\n{{ if }}\n"), &["web/templates/x.yaml:2"]),
        (
            "chart-function",
            with("web/templates/x.yaml", "{{ nosuch 1 }}"),
            &["web/templates/x.yaml:1", "nosuch"],
        ),
        (
            "chart-nil",
            with("web/templates/x.yaml", "\n\na: {{ .Values.no.such }}"),
            &["web/templates/x.yaml:3"],
        ),
        (
            "chart-fail",
            with("web/templates/x.yaml", "{{ fail \"set a host\" }}"),
            &["web/templates/x.yaml:1", "set a host"],
        ),
        (
            "chart-required",
            with("web/templates/x.yaml", "{{ required \"host is needed\" .Values.host }}"),
            &["host is needed"],
        ),
        ("chart-output", with("web/templates/x.yaml", "a: b: c\n"), &["web/templates/x.yaml"]),
        (
            "chart-no-name",
            with("web/templates/x.yaml", "apiVersion: v1\nkind: ConfigMap\n"),
            &["metadata.name"],
        ),
        (
            "chart-endless",
            with(
                "web/templates/x.yaml",
                "{{ define \"x\" }}{{ include \"x\" . }}{{ end }}{{ include \"x\" . }}",
            ),
            &["web/templates/x.yaml:1"],
        ),
        (
            "chart-schema",
            with("web/values.schema.json", r#"{"properties": {"a": {"type": "string"}}}"#),
            &["schema", "a"],
        ),
        (
            "chart-dependency",
            with(
                "web/Chart.yaml",
                &format!("{META}dependencies: [{{name: db, version: 1.x, repository: \"https://h\"}}]\n"),
            ),
            &["charts/", "db"],
        ),
        (
            "chart-kube",
            with("web/Chart.yaml", &format!("{META}kubeVersion: \">=99\"\n")),
            &["kubeVersion", ">=99"],
        ),
        ("chart-library", with("web/Chart.yaml", &format!("{META}type: library\n")), &["library"]),
    ]
}

#[allow(clippy::too_many_lines)] // It is a table.
fn sources() -> Vec<Case> {
    let http = |path: &str| json!({"http": {"url": format!("FILES/{path}"), "interval": "1h"}});
    let kustomize = |name: &'static str, path: &str, told| {
        let source = json!({"deploymentType": "Remote", "path": path, "remoteSourceSpec": http(&format!("{name}.tgz"))});
        case(name, json!({"kustomize": source}), told)
    };
    let with_secret = |secret: &str| json!({"http": {"url": "FILES/good.yaml", "interval": "1h", "secretRef": {"name": secret}}});
    let git = |fields: Value| {
        let mut spec = json!({"url": "https://h.invalid/x.git", "interval": "1h"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"git": spec})
    };
    let oci = |fields: Value| {
        let mut spec = json!({"url": "oci://h.invalid/x", "interval": "1h"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"oci": spec})
    };
    let bucket = |fields: Value| {
        let mut spec = json!({"bucketName": "b", "endpoint": "h.invalid", "interval": "1h"});
        spec.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        json!({"bucket": spec})
    };
    vec![
        case("yaml", map("bad-yaml"), &["ConfigMap kcm-system/bad-yaml", "page.yaml", "line 2"]),
        case(
            "kindless",
            map("bad-kind"),
            &["ConfigMap kcm-system/bad-kind", "the field \"kind\" is missing"],
        ),
        case("nameless", map("bad-name"), &["has no metadata.name"]),
        case("no-map", map("nowhere"), &["failed to get ConfigMap kcm-system/nowhere"]),
        kustomize("overlay-missing", "", &["overlay-missing.tgz", "kustomization.yaml", "gone.yaml"]),
        kustomize("overlay-yaml", "", &["kustomization.yaml"]),
        kustomize("overlay-patch", "", &["kustomization.yaml", "nobody"]),
        kustomize("overlay-remote", "", &["kustomization.yaml", "is not understood as a remote base"]),
        kustomize("overlay-path", "no/such", &["no/such"]),
        case("http-404", remote(http("nowhere.yaml")), &["nowhere.yaml", "404"]),
        case(
            "http-digest",
            remote(
                json!({"http": {"url": "FILES/good.yaml", "interval": "1h", "digest": format!("sha256:{}", "0".repeat(64))}}),
            ),
            &["good.yaml", "altered or replaced"],
        ),
        case("archive-path", remote(http("evil.tgz")), &["evil.tgz", "../evil.yaml", "leads out"]),
        case("lfs", remote(http("lfs.tgz")), &["page.yaml", "Git LFS"]),
        case("secret-absent", remote(with_secret("nowhere")), &["failed to get Secret kcm-system/nowhere"]),
        case(
            "secret-empty",
            remote(with_secret("empty")),
            &["Secret kcm-system/empty lacks username and password"],
        ),
        case("ca", remote(with_secret("bad-ca")), &["ca.crt holds no PEM"]),
        case("docker", remote(oci(json!({"secretRef": {"name": "bad-docker"}}))), &[".dockerconfigjson"]),
        case(
            "ssh",
            remote(json!({"git": {"url": "ssh://git@h.invalid/x", "interval": "1h"}})),
            &["known_hosts"],
        ),
        case(
            "git-include",
            remote(git(json!({"include": [{"repository": {"name": "gone"}}]}))),
            &["include", "GitRepository", "\"gone\" not found"],
        ),
        case(
            "git-cloud",
            remote(git(json!({"provider": "azure"}))),
            &["provider \"azure\" of the GitRepository", "expected generic"],
        ),
        case(
            "oci-cloud",
            remote(oci(json!({"provider": "aws"}))),
            &["provider \"aws\" of the OCIRepository", "expected generic"],
        ),
        case(
            "oci-account",
            remote(oci(json!({"serviceAccountName": "x"}))),
            &["serviceAccountName \"x\"", "expected its pull Secret as secretRef"],
        ),
        case(
            "keyless",
            remote(oci(json!({"verify": {"provider": "cosign"}}))),
            &["keyless", "expected public keys (*.pub) in verify.secretRef"],
        ),
        case(
            "notation",
            remote(oci(json!({"verify": {"provider": "notation"}}))),
            &["verify.provider \"notation\"", "expected cosign"],
        ),
        case(
            "cosign",
            remote(oci(json!({"verify": {"provider": "cosign", "secretRef": {"name": "empty"}}}))),
            &["Secret kcm-system/empty lacks a public key named *.pub"],
        ),
        case(
            "sts",
            remote(bucket(json!({"sts": {"provider": "ldap", "endpoint": "https://sts.invalid"}}))),
            &["sts.provider \"ldap\"", "expected accesskey and secretkey"],
        ),
        case(
            "bucket-key",
            remote(bucket(json!({"secretRef": {"name": "empty"}}))),
            &["lacks accesskey and secretkey"],
        ),
        case(
            "bucket-annotation",
            local("Bucket", "odd"),
            &["skein.dev/bucket-addressing", "\"sideways\"", "path", "host"],
        ),
        case("index-html", chart_of("html", "web", "1.0.0"), &["HelmRepository/html", "index.yaml"]),
        case("index-chart", chart_of("skein-charts", "nosuch", "1.0.0"), &["no chart \"nosuch\"", "it has"]),
        case(
            "index-version",
            chart_of("skein-charts", "web", ">=9"),
            &["satisfies \">=9\"", "the newest is 0.1.0"],
        ),
        case("index-range", chart_of("skein-charts", "web", "one"), &["one"]),
        case(
            "index-absent",
            chart_of("nowhere", "web", "1.0.0"),
            &["HelmRepository", "\"nowhere\" not found"],
        ),
        with("values", json!({"values": "a: [\n"}), &["values", "line"]),
        with("values-list", json!({"values": "- a\n"}), &["values"]),
        with("values-template", json!({"values": "a: {{ .Nothing.here.at.all }}\n"}), &["values", "Nothing"]),
        with(
            "values-from",
            json!({"valuesFrom": [{"kind": "ConfigMap", "name": "nowhere"}]}),
            &["ConfigMap kcm-system/nowhere", "valuesFrom"],
        ),
        with(
            "values-map",
            json!({"valuesFrom": [{"kind": "ConfigMap", "name": "bad-yaml"}]}),
            &["ConfigMap kcm-system/bad-yaml key \"page.yaml\""],
        ),
        with("dependency", json!({"dependsOn": [{"name": "nowhere", "namespace": "shop"}]}), &["nowhere"]),
    ]
}

/// What the cases refer to.
async fn surroundings(hub: &Hub, files: &Files, address: &str) {
    let put = |path: &str, content: Bytes| {
        files.lock().unwrap().insert(path.to_owned(), content);
    };
    let archive = |files: &[(&str, &str)]| {
        let files: Vec<_> = files.iter().map(|(path, text)| (*path, (*text).to_owned())).collect();
        Bytes::from(packed_files(&files))
    };
    put("/good.yaml", Bytes::from_static(MAP.as_bytes()));
    put("/good.tgz", archive(&[("web/Chart.yaml", META), ("web/templates/map.yaml", MAP)]));
    put("/html/index.yaml", Bytes::from_static(b"<html><body>404</body></html>"));
    put("/overlay-missing.tgz", archive(&[("kustomization.yaml", "resources: [gone.yaml]\n")]));
    put("/overlay-yaml.tgz", archive(&[("kustomization.yaml", "resources: [\n")]));
    let patch = "resources: [map.yaml]\npatches:\n- target: {name: nobody}\n  patch: '[{\"op\": \"remove\", \"path\": \"/data/nobody\"}]'\n- patch: '{\"apiVersion\": \"v1\", \"kind\": \"ConfigMap\", \"metadata\": {\"name\": \"nobody\"}}'\n";
    put("/overlay-patch.tgz", archive(&[("kustomization.yaml", patch), ("map.yaml", MAP)]));
    put("/overlay-remote.tgz", archive(&[("kustomization.yaml", "resources: [\"ftp://h/x\"]\n")]));
    put("/overlay-path.tgz", archive(&[("kustomization.yaml", "resources: []\n")]));
    put(
        "/lfs.tgz",
        archive(&[("page.yaml", "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n")]),
    );
    put("/evil.tgz", evil());
    for (name, content, _) in charts() {
        put(&format!("/{name}.tgz"), content);
    }
    let meta = |name: &str| json!({"name": name, "namespace": SPACE});
    for (name, text) in [
        ("bad-yaml", "a: 1\nb: [\n"),
        ("bad-kind", "apiVersion: v1\nmetadata: {name: x}\n"),
        ("bad-name", "apiVersion: v1\nkind: ConfigMap\n"),
    ] {
        hub.apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta(name), "data": {"page.yaml": text}}))
            .await;
    }
    for (name, data) in [
        ("empty", json!({"nothing": "here"})),
        ("bad-ca", json!({"ca.crt": "s3cret"})),
        ("bad-docker", json!({".dockerconfigjson": "s3cret"})),
    ] {
        hub.apply(json!({"apiVersion": "v1", "kind": "Secret", "metadata": meta(name), "stringData": data}))
            .await;
    }
    hub.apply(json!({
        "apiVersion": FLUX, "kind": "HelmRepository", "metadata": meta("html"),
        "spec": {"url": format!("{address}/html/")},
    }))
    .await;
    hub.apply(json!({
        "apiVersion": FLUX, "kind": "Bucket",
        "metadata": {"name": "odd", "namespace": SPACE, "annotations": {"skein.dev/bucket-addressing": "sideways"}},
        "spec": {"bucketName": "b", "endpoint": "h.invalid", "interval": "1h"},
    }))
    .await;
}

/// An archive with a path that leads out, which no honest packer writes.
fn evil() -> Bytes {
    let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let mut archive = tar::Builder::new(encoder);
    let mut header = tar::Header::new_gnu();
    header.as_gnu_mut().unwrap().name[..12].copy_from_slice(b"../evil.yaml");
    header.set_size(4);
    header.set_mode(0o644);
    header.set_cksum();
    archive.append(&header, &b"a: 1"[..]).unwrap();
    archive.into_inner().unwrap().finish().unwrap().into()
}

async fn service(hub: &Hub, name: &str, template: &Value, more: &Value, address: &str) {
    let spec: Value = serde_json::from_str(&template.to_string().replace("FILES", address)).unwrap();
    let mut service = json!({"name": name, "namespace": "shop", "template": name});
    service.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "ServiceTemplate", "metadata": {"name": name, "namespace": SPACE}, "spec": spec,
    }))
    .await;
    hub.apply(json!({
        "apiVersion": K0RDENT, "kind": "MultiClusterService", "metadata": {"name": name},
        "spec": {
            "clusterSelector": {"matchLabels": {"site": "store"}}, "serviceSpec": {"services": [service]},
        },
    }))
    .await;
}

async fn store(hub: &Hub) -> AgentId {
    let edge = hub.enrol("store-1", SPACE, "eu", 3, json!({}), json!({"site": "store"})).await;
    hub.link(&edge, true);
    edge
}

/// What is told of a service, once it is all of that.
async fn told(hub: &Hub, name: &str, parts: &[&str]) {
    let of = |set: &api::k0rdent::ServiceSet| {
        let status = set.status.as_ref()?;
        let service = status.services.iter().find(|service| service.name == name)?;
        service.failure_message.clone()
    };
    let all = |text: &str| parts.iter().all(|part| text.contains(part)) && !text.contains("s3cret");
    let holds = |set: &api::k0rdent::ServiceSet| of(set).is_some_and(|text| all(&text));
    let waiting = hub.until_listed::<api::k0rdent::ServiceSet>(name, holds);
    if tokio::time::timeout(std::time::Duration::from_secs(15), waiting).await.is_err() {
        let api = kube::Api::<api::k0rdent::ServiceSet>::all(hub.client.clone());
        let sets = api.list(&kube::api::ListParams::default()).await.unwrap();
        panic!("{name}: expected {parts:?} in {:?}", sets.items.iter().find_map(of));
    }
}

#[tokio::test]
async fn broken_input_of_every_kind_is_told_and_harms_no_other() {
    let hub = Hub::start().await;
    let (files, address) = files_by_path().await;
    surroundings(&hub, &files, &address).await;
    let good = json!({"resources": {"deploymentType": "Remote", "remoteSourceSpec": {
        "http": {"url": "FILES/good.yaml", "interval": "1h"},
    }}});
    service(&hub, "good", &good, &json!({}), &address).await;
    let mut cases = sources();
    cases.extend(charts().into_iter().map(|(name, _, told)| {
        let http = json!({"http": {"url": format!("FILES/{name}.tgz"), "interval": "1h"}});
        let source = json!({"deploymentType": "Remote", "path": "", "remoteSourceSpec": http});
        case(name, json!({"helm": {"chartSource": source}}), told)
    }));
    assert!(cases.len() > 50, "{}", cases.len());
    let edge = store(&hub).await;
    for Case { name, template, service: more, .. } in &cases {
        service(&hub, name, template, more, &address).await;
    }
    let mut wrong = Vec::new();
    for Case { name, told: parts, .. } in &cases {
        let hub = &hub;
        let result = std::panic::AssertUnwindSafe(told(hub, name, parts));
        if let Err(why) = futures::FutureExt::catch_unwind(result).await {
            wrong.push(why.downcast_ref::<String>().cloned().unwrap_or_else(|| (*name).to_owned()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let units = hub.plan(&edge, |units| units.iter().any(|unit| unit.name == "good")).await;
    assert_eq!(units.len(), 1, "{units:?}");
}

/// A service's name, template and more; the object that feeds it, as it was good and as it is broken; and what is told.
type Change = (&'static str, Value, Value, Value, Value, &'static [&'static str]);

fn changes() -> Vec<Change> {
    let chart = |more: Value| {
        let template = with("x", json!({}), &[]).template;
        (template, more)
    };
    let from = |name: &str| json!({"valuesFrom": [{"kind": "ConfigMap", "name": name}]});
    let config = |name: &str, text: &str| {
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name, "namespace": SPACE},
            "data": {"page.yaml": text},
        })
    };
    let overlay = |text: &str| {
        let bytes = packed_files(&[("kustomization.yaml", text.to_owned()), ("map.yaml", MAP.to_owned())]);
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "overlay", "namespace": SPACE},
            "binaryData": {"overlay.tar.gz": base64::Engine::encode(&base64::engine::general_purpose::STANDARD, bytes)},
        })
    };
    let kustomize = json!({"kustomize": {
        "deploymentType": "Remote", "path": "", "localSourceRef": {"kind": "ConfigMap", "name": "overlay"},
    }});
    let (template, more) = chart(from("fed"));
    vec![
        (
            "raw",
            map("raw"),
            json!({}),
            config("raw", MAP),
            config("raw", "a: [\n"),
            &["ConfigMap kcm-system/raw", "page.yaml", "line"],
        ),
        (
            "fed",
            template,
            more,
            config("fed", "a: 1\n"),
            config("fed", "- a\n"),
            &["ConfigMap kcm-system/fed key \"page.yaml\""],
        ),
        (
            "overlay",
            kustomize,
            json!({}),
            overlay("resources: [map.yaml]\n"),
            overlay("resources: [gone.yaml]\n"),
            &["gone.yaml"],
        ),
    ]
}

#[tokio::test]
async fn what_was_good_stays_when_its_input_breaks() {
    let hub = Hub::start().await;
    let (files, address) = files_by_path().await;
    surroundings(&hub, &files, &address).await;
    let edge = store(&hub).await;
    let changes = changes();
    for (name, template, more, good, ..) in &changes {
        hub.apply(good.clone()).await;
        service(&hub, name, template, more, &address).await;
    }
    hub.plan(&edge, |units| units.len() == changes.len()).await;
    let hashes = || {
        let plan = hub.plans.get(&edge).unwrap();
        plan.content.body().units.iter().map(|unit| (unit.id.name.clone(), unit.hash)).collect::<Vec<_>>()
    };
    let before = hashes();
    for (name, _, _, _, broken, parts) in &changes {
        hub.apply(broken.clone()).await;
        if *name == "overlay" {
            // Of a kustomization the last good tree stays: its template says so.
            let stale = |it: &Value| {
                let told = it["status"]["validationError"].as_str().unwrap_or_default();
                told.contains("the last good revision stays") && parts.iter().all(|part| told.contains(part))
            };
            hub.until("ServiceTemplate", SPACE, name, stale).await;
        } else {
            told(&hub, name, parts).await;
        }
    }
    assert_eq!(hashes(), before);
}

#[tokio::test]
async fn a_plan_that_no_agent_takes_is_held_back_and_says_so() {
    let hub = Hub::start().await;
    let (files, address) = files_by_path().await;
    let chart = |count: usize| {
        let name = "{{ printf \"%s-%05d\" (repeat 23 \"long-name-\") . }}";
        let template = format!(
            "{{{{ range until {count} }}}}---\napiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}}}\n{{{{ end }}}}\n"
        );
        Bytes::from(packed_files(&[
            ("web/Chart.yaml", META.to_owned()),
            ("web/templates/maps.yaml", template),
        ]))
    };
    files.lock().unwrap().insert("/small.tgz".to_owned(), chart(10));
    files.lock().unwrap().insert("/large.tgz".to_owned(), chart(14_000));
    let template = |file: &str| {
        json!({"helm": {"chartSource": {"deploymentType": "Remote", "path": "", "remoteSourceSpec": {
            "http": {"url": format!("FILES/{file}"), "interval": "1h"},
        }}}})
    };
    service(&hub, "small", &template("small.tgz"), &json!({}), &address).await;
    let edge = store(&hub).await;
    hub.plan(&edge, |units| units.len() == 1).await;
    let generation = hub.plans.get(&edge).unwrap().head.generation;
    for number in 0..4 {
        service(&hub, &format!("large-{number}"), &template("large.tgz"), &json!({}), &address).await;
    }
    let held = |set: &api::k0rdent::ServiceSet| {
        let conditions = set.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        conditions.iter().any(|one| {
            one.type_ == "ServiceSetProfile"
                && one.status == "False"
                && one.message.contains("the plan is held back")
        })
    };
    let set = hub.until_listed("a plan that is held back", held).await;
    let message = serde_json::to_string(&set.status).unwrap();
    assert!(message.contains("spread the services over fewer objects or more clusters"), "{message}");
    let plan = hub.plans.get(&edge).unwrap();
    let bytes = plan.content.body().units.iter().map(|unit| unit.objects.len()).sum::<usize>();
    assert!(plan.head.generation >= generation && bytes < 60_000, "what was published stays small: {bytes}");
}
