//! The API as HTTP: status codes and texts, discovery, OpenAPI, tables, tokens.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;
use http::{Method, Request, StatusCode};
use http_body_util::{BodyExt, Full};
use kube_local::{Cluster, Options, Simulate};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

const JSON: &str = "application/json";
const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

struct Got {
    code: u16,
    headers: http::HeaderMap,
    body: Bytes,
}

impl Got {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or_default().to_owned()
    }
}

async fn call(
    cluster: &Cluster,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Got {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response = cluster.service().oneshot(request).await.unwrap();
    let (head, body) = response.into_parts();
    Got { code: head.status.as_u16(), headers: head.headers, body: body.collect().await.unwrap().to_bytes() }
}

async fn get(cluster: &Cluster, path: &str, accept: &str) -> Got {
    call(cluster, Method::GET, path, &[("accept", accept)], "").await
}

async fn post(cluster: &Cluster, path: &str, body: Value) -> Got {
    call(cluster, Method::POST, path, &[("content-type", JSON)], body.to_string()).await
}

async fn cluster() -> Cluster {
    Cluster::open(Options::default()).await.unwrap()
}

/// Names with random parts, ages and times as a table's reader sees them.
fn table_text(table: &Value) -> String {
    let columns = table["columnDefinitions"].as_array().unwrap();
    let mut lines: Vec<String> = vec![
        columns
            .iter()
            .map(|column| column["name"].as_str().unwrap().to_uppercase())
            .collect::<Vec<_>>()
            .join(" | "),
    ];
    for row in table["rows"].as_array().unwrap() {
        let cells = row["cells"].as_array().unwrap().iter();
        let text = cells.map(|cell| cell.as_str().map_or_else(|| cell.to_string(), str::to_owned));
        lines.push(text.collect::<Vec<_>>().join(" | "));
    }
    lines.join("\n")
}

#[tokio::test]
async fn what_is_not_there_is_said_as_kubernetes_says_it() {
    let cluster = cluster().await;
    let table = [
        ("/api/v1/namespaces/default/pods/x", "pods \"x\" not found"),
        ("/apis/apps/v1/namespaces/default/deployments/x", "deployments.apps \"x\" not found"),
        ("/apis/nowhere.io/v1/things", "the server could not find the requested resource"),
        ("/api/v1/nonsense", "the server could not find the requested resource"),
    ];
    for (path, message) in table {
        let got = get(&cluster, path, JSON).await;
        assert_eq!((got.code, got.message().as_str()), (404, message), "{path}");
        let status = got.json();
        assert_eq!((&status["kind"], &status["status"]), (&json!("Status"), &json!("Failure")));
    }
    let got = get(&cluster, "/apis/apps/v1/namespaces/default/deployments/x", JSON).await.json();
    assert_eq!(got["details"], json!({"name": "x", "group": "apps", "kind": "deployments"}));
}

#[tokio::test]
async fn bodies_that_cannot_be_read_are_refused_with_the_reason() {
    let cluster = cluster().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let cluster = &cluster;
    let send = |kind: &'static str, body: Bytes| async move {
        call(cluster, Method::POST, path, &[("content-type", kind)], body).await
    };
    let bad = send(JSON, Bytes::from_static(b"{\"a\":")).await;
    assert_eq!(bad.code, 400);
    assert!(bad.message().contains("json parse error"), "{}", bad.message());
    let proto = send("text/csv", Bytes::from_static(b"a,b")).await;
    assert_eq!((proto.code, proto.json()["reason"].as_str()), (415, Some("UnsupportedMediaType")));
    let big = send(JSON, vec![b' '; 4 * 1024 * 1024].into()).await;
    assert_eq!((big.code, big.json()["reason"].as_str()), (413, Some("RequestEntityTooLarge")));
    let yaml =
        send("application/yaml", Bytes::from_static(b"metadata:\n  name: plain\ndata:\n  a: b\n")).await;
    assert_eq!(yaml.code, 201, "{:?}", yaml.body);
    let patch = call(cluster, Method::PATCH, &format!("{path}/plain"), &[("content-type", JSON)], "{}").await;
    assert_eq!(patch.code, 415);
    let wrong = json!({"metadata": {"name": "z"}, "data": {"a": 1}});
    let wrong = post(cluster, path, wrong).await;
    assert_eq!(wrong.code, 400, "{:?}", wrong.body);
    assert!(wrong.message().contains("cannot be handled as a ConfigMap"), "{}", wrong.message());
    let other = post(cluster, path, json!({"kind": "Secret", "metadata": {"name": "z"}})).await;
    assert_eq!(other.code, 400);
    let elsewhere = post(cluster, path, json!({"metadata": {"name": "z", "namespace": "kube-system"}})).await;
    assert_eq!(
        elsewhere.message(),
        "the namespace of the provided object does not match the namespace sent on the request"
    );
}

#[tokio::test]
async fn unknown_fields_warn_or_refuse_as_asked() {
    let cluster = cluster().await;
    let path = "/api/v1/namespaces/default/configmaps";
    let object = |name: &str| json!({"metadata": {"name": name}, "dta": {"a": "b"}});
    let warned = post(&cluster, path, object("a")).await;
    assert_eq!(warned.code, 201);
    assert_eq!(warned.headers["warning"], "299 - \"unknown field \\\"dta\\\"\"");
    assert!(warned.json().get("dta").is_none());
    let refused = post(&cluster, &format!("{path}?fieldValidation=Strict"), object("b")).await;
    assert_eq!(
        (refused.code, refused.message().as_str()),
        (
            400,
            "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: unknown field \
             \"dta\""
        )
    );
    let silent = post(&cluster, &format!("{path}?fieldValidation=Ignore"), object("c")).await;
    assert!(silent.headers.get("warning").is_none());
}

#[tokio::test]
async fn discovery_is_the_same_in_both_forms() {
    let cluster = cluster().await;
    let accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json";
    let mut aggregated = Vec::new();
    for path in ["/api", "/apis"] {
        let got = get(&cluster, path, accept).await;
        let media_type = got.headers["content-type"].to_str().unwrap().to_owned();
        assert!(media_type.contains("as=APIGroupDiscoveryList"), "{media_type}");
        for group in got.json()["items"].as_array().unwrap() {
            for version in group["versions"].as_array().unwrap() {
                for resource in version["resources"].as_array().unwrap() {
                    aggregated.push(format!(
                        "{}/{} {}",
                        group["metadata"]["name"].as_str().unwrap_or_default(),
                        version["version"].as_str().unwrap(),
                        resource["resource"].as_str().unwrap()
                    ));
                }
            }
        }
    }
    let mut legacy = Vec::new();
    let mut groups = vec![(String::new(), "v1".to_owned(), "/api/v1".to_owned())];
    for group in get(&cluster, "/apis", JSON).await.json()["groups"].as_array().unwrap() {
        for version in group["versions"].as_array().unwrap() {
            let text = |field: &str| version[field].as_str().unwrap().to_owned();
            let name = group["name"].as_str().unwrap().to_owned();
            groups.push((name, text("version"), format!("/apis/{}", text("groupVersion"))));
        }
    }
    for (group, version, path) in groups {
        for resource in get(&cluster, &path, JSON).await.json()["resources"].as_array().unwrap() {
            let name = resource["name"].as_str().unwrap();
            if !name.contains('/') {
                legacy.push(format!("{group}/{version} {name}"));
            }
        }
    }
    aggregated.sort();
    legacy.sort();
    assert_eq!(aggregated, legacy);
    assert!(aggregated.len() > 50);
}

#[tokio::test]
async fn open_api_tells_clients_that_the_server_validates() {
    let cluster = cluster().await;
    let index = get(&cluster, "/openapi/v3", JSON).await.json();
    for (path, entry) in index["paths"].as_object().unwrap() {
        let url = entry["serverRelativeURL"].as_str().unwrap();
        let document = get(&cluster, url, JSON).await.json();
        assert_eq!(document["openapi"], "3.0.0", "{path}");
    }
    let apps = get(&cluster, "/openapi/v3/apis/apps/v1", JSON).await.json();
    let patch = &apps["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"];
    assert_eq!(patch["x-kubernetes-group-version-kind"]["kind"], "Deployment");
    let parameters = patch["parameters"].as_array().unwrap();
    assert!(parameters.iter().any(|one| one["name"] == "fieldValidation"));
    let schema = &apps["components"]["schemas"]["io.k8s.api.apps.v1.Deployment"];
    assert_eq!(schema["x-kubernetes-group-version-kind"][0]["kind"], "Deployment");
}

#[tokio::test]
async fn both_kinds_of_events_are_one() {
    let cluster = cluster().await;
    let event = json!({
        "metadata": {"name": "e"}, "regarding": {"kind": "Pod", "name": "p", "namespace": "default"},
        "note": "hello", "reason": "Said", "type": "Normal", "action": "Say",
        "reportingController": "example.com/me", "reportingInstance": "me-1",
        "eventTime": "2026-01-01T00:00:00.000000Z",
    });
    let made = post(&cluster, "/apis/events.k8s.io/v1/namespaces/default/events", event).await;
    assert_eq!(made.code, 201, "{:?}", made.body);
    let core = get(&cluster, "/api/v1/namespaces/default/events/e", JSON).await.json();
    assert_eq!((&core["apiVersion"], &core["message"]), (&json!("v1"), &json!("hello")));
    assert_eq!(core["involvedObject"]["name"], "p");
    let new = get(&cluster, "/apis/events.k8s.io/v1/namespaces/default/events/e", JSON).await.json();
    assert_eq!((&new["note"], &new["regarding"]["name"]), (&json!("hello"), &json!("p")));
    let selected = get(&cluster, "/api/v1/events?fieldSelector=involvedObject.name=p", JSON).await.json();
    assert_eq!(selected["items"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn reviews_allow_everything_and_are_not_stored() {
    let cluster = cluster().await;
    let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
    let asked = json!({"spec": {"resourceAttributes": {"verb": "create", "resource": "pods"}}});
    let got = post(&cluster, path, asked).await;
    assert_eq!((got.code, &got.json()["status"]["allowed"]), (201, &json!(true)));
    assert_eq!(get(&cluster, path, JSON).await.code, 405);
}

#[tokio::test]
async fn custom_columns_are_printed_as_their_definition_says() {
    let cluster = cluster().await;
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{
                "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                "additionalPrinterColumns": [
                    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
                    {"name": "Big", "type": "boolean", "jsonPath": ".spec.big"},
                    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    {"name": "Since", "type": "date", "jsonPath": ".spec.since"},
                    {"name": "Tags", "type": "string", "jsonPath": ".spec.tags", "priority": 1},
                ],
            }],
        },
    });
    let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
    assert_eq!(post(&cluster, path, definition).await.code, 201);
    let widgets = "/apis/example.com/v1/namespaces/default/widgets";
    let kind = json!({"apiVersion": "example.com/v1", "kind": "Widget"});
    for (name, spec) in [
        ("full", json!({"size": 3, "big": true, "since": "2026-01-01T00:00:00Z", "tags": ["a", "b"]})),
        ("empty", json!({})),
    ] {
        let mut widget = kind.clone();
        widget["metadata"] = json!({"name": name});
        widget["spec"] = spec;
        assert_eq!(post(&cluster, widgets, widget).await.code, 201);
    }
    let patch = json!({"status": {"conditions": [{"type": "Other", "status": "False"}, {"type": "Ready", "status": "True"}]}});
    let merge = [("content-type", "application/merge-patch+json")];
    let patched =
        call(&cluster, Method::PATCH, &format!("{widgets}/full/status"), &merge, patch.to_string()).await;
    assert_eq!(patched.code, 200, "{:?}", patched.body);
    let table = get(&cluster, widgets, TABLE).await.json();
    assert_eq!(table["kind"], "Table");
    let text = table_text(&table);
    let since = regex::Regex::new(r"True \| \d+[a-z0-9]+ \|").unwrap();
    insta::assert_snapshot!(since.replace_all(&text, "True | AGE |"), @r#"
    NAME | SIZE | BIG | READY | SINCE | TAGS
    empty | null | null | null | null | null
    full | 3 | true | True | AGE | ["a","b"]
    "#);
    assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
    let one = get(&cluster, &format!("{widgets}/full?includeObject=None"), TABLE).await.json();
    assert!(one["rows"][0].get("object").is_none());
}

#[tokio::test(start_paused = true)]
async fn tables_of_built_in_kinds_show_what_people_look_at() {
    let simulate = Simulate { workloads: true, ..Simulate::default() };
    let cluster = Cluster::open(Options { simulate, ..Options::default() }).await.unwrap();
    let tasks = TaskTracker::new();
    cluster.run_controllers(&tasks, CancellationToken::new());
    let deployment = json!({"metadata": {"name": "web"}, "spec": {
        "replicas": 2, "selector": {"matchLabels": {"app": "web"}},
        "template": {"metadata": {"labels": {"app": "web"}}, "spec": {"containers": [{"name": "main", "image": "nginx:1"}]}},
    }});
    assert_eq!(post(&cluster, "/apis/apps/v1/namespaces/default/deployments", deployment).await.code, 201);
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}, {"port": 81, "name": "b"}],
    }});
    let refused = post(&cluster, "/api/v1/namespaces/default/services", service).await;
    assert!(refused.message().contains("spec.ports[0].name: Required value"), "{}", refused.message());
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "type": "NodePort", "selector": {"app": "web"}, "ports": [{"port": 80}],
    }});
    assert_eq!(post(&cluster, "/api/v1/namespaces/default/services", service).await.code, 201);
    let secret = json!({"metadata": {"name": "s"}, "stringData": {"a": "b"}});
    assert_eq!(post(&cluster, "/api/v1/namespaces/default/secrets", secret).await.code, 201);
    tokio::time::sleep(std::time::Duration::from_secs(5)).await;
    let mut text = String::new();
    for path in [
        "/api/v1/namespaces",
        "/api/v1/nodes",
        "/api/v1/namespaces/default/pods",
        "/api/v1/namespaces/default/services",
        "/api/v1/namespaces/default/secrets",
        "/api/v1/namespaces/default/configmaps",
        "/api/v1/namespaces/default/serviceaccounts",
        "/apis/apps/v1/namespaces/default/deployments",
        "/apis/apps/v1/namespaces/default/replicasets",
        "/api/v1/namespaces/default/events?fieldSelector=reason=ScalingReplicaSet",
    ] {
        text += &table_text(&get(&cluster, path, TABLE).await.json());
        text += "\n\n";
    }
    for (pattern, stand_in) in [
        (r"web-[a-z0-9]+-[a-z0-9]{5}", "web-HASH-RAND"),
        (r"web-[a-z0-9]{6,10}", "web-HASH"),
        (r"\b\d+s\b", "AGE"),
        (r"web\.[a-z0-9]+", "web.HASH"),
        (r"hash=[a-z0-9]+", "hash=HASH"),
    ] {
        text = regex::Regex::new(pattern).unwrap().replace_all(&text, stand_in).into_owned();
    }
    insta::assert_snapshot!(text);
}

#[tokio::test(start_paused = true)]
async fn logs_are_simulated_once_the_container_runs() {
    let simulate = Simulate { workloads: true, ..Simulate::default() };
    let cluster = Cluster::open(Options { simulate, ..Options::default() }).await.unwrap();
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "main", "image": "nginx:1"}]}});
    assert_eq!(post(&cluster, "/api/v1/namespaces/default/pods", pod).await.code, 201);
    let path = "/api/v1/namespaces/default/pods/p/log";
    let waiting = get(&cluster, path, "*/*").await;
    assert_eq!(waiting.code, 400);
    assert_eq!(waiting.message(), "container \"main\" in pod \"p\" is waiting to start: ContainerCreating");
    let tasks = TaskTracker::new();
    cluster.run_controllers(&tasks, CancellationToken::new());
    tokio::time::sleep(std::time::Duration::from_secs(1)).await;
    let log = get(&cluster, path, "*/*").await;
    assert_eq!(log.code, 200);
    assert!(String::from_utf8_lossy(&log.body).contains("simulated by kube-local"));
    let wrong = get(&cluster, &format!("{path}?container=other"), "*/*").await;
    assert_eq!(wrong.message(), "container other is not valid for pod p");
}

#[tokio::test]
async fn a_token_is_asked_for_in_the_header_or_in_the_path() {
    let cluster = cluster().await;
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
    let (serving, stop) = (cluster.clone(), cancel.clone());
    tasks.spawn(async move { serving.serve(listener, Some("secret".to_owned()), stop).await.unwrap() });
    let table = [
        ("/api/v1/namespaces", "", StatusCode::UNAUTHORIZED),
        ("/api/v1/namespaces", "Authorization: Bearer wrong\r\n", StatusCode::UNAUTHORIZED),
        ("/api/v1/namespaces", "Authorization: Bearer secret\r\n", StatusCode::OK),
        ("/token/secret/api/v1/namespaces?limit=1", "", StatusCode::OK),
        ("/token/wrong/api/v1/namespaces", "", StatusCode::UNAUTHORIZED),
        ("/readyz", "", StatusCode::OK),
    ];
    for (path, header, expected) in table {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{header}\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let code = answer.split(' ').nth(1).unwrap();
        assert_eq!(code, expected.as_str(), "{path} {header}");
    }
    let kubeconfig = cluster.kubeconfig(&format!("http://{address}"), Some("secret"));
    assert!(kubeconfig.contains("/token/secret"), "{kubeconfig}");
    cancel.cancel();
    tasks.close();
    tasks.wait().await;
}
