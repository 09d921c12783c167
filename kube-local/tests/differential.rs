//! The same requests to a real kube-apiserver and to kube-local; the answers must agree, but for what is random
//! (uids, versions, times) and for the differences that `cases.json` names as known, each with its reason.
//!
//! `KUBE_LOCAL_REFERENCE=KUBECONFIG cargo test -p kube-local --test differential -- --ignored --nocapture` with the
//! kubeconfig of a kube-apiserver v1.36 that runs without controllers and without the ServiceAccount admission.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeMap;
use std::time::Duration;

use http::Request;
use http_body_util::BodyExt;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use kube_local::{Cluster, Options};
use regex::Regex;
use serde::Deserialize;
use serde_json::Value;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Case {
    name: String,
    #[serde(default)]
    method: String,
    #[serde(default)]
    path: String,
    content_type: Option<String>,
    accept: Option<String>,
    body: Option<Value>,
    text: Option<String>,
    /// Paths that may differ, as patterns.
    #[serde(default)]
    ignore: Vec<String>,
    /// Why the answers are known to differ.
    known: Option<String>,
    /// No request: time for the real one's asynchronous parts.
    pause_millis: Option<u64>,
}

#[derive(Debug, PartialEq)]
struct Answer {
    code: u16,
    warnings: Vec<String>,
    fields: BTreeMap<String, Value>,
}

async fn ask(client: &Client, case: &Case) -> Answer {
    let body = match (&case.body, &case.text) {
        (Some(body), _) => body.to_string().into_bytes(),
        (None, text) => text.clone().unwrap_or_default().into_bytes(),
    };
    let mut request = Request::builder().method(case.method.as_str()).uri(&case.path);
    request = request.header("user-agent", "differ/1");
    request = request.header("accept", case.accept.as_deref().unwrap_or("application/json"));
    if case.body.is_some() || case.text.is_some() {
        request = request.header("content-type", case.content_type.as_deref().unwrap_or("application/json"));
    }
    let response = client.send(request.body(Body::from(body)).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    let bytes = body.collect().await.unwrap().to_bytes();
    let parsed =
        serde_json::from_slice(&bytes).unwrap_or_else(|_| Value::from(String::from_utf8_lossy(&bytes)));
    let mut fields = BTreeMap::new();
    flatten(&parsed, String::new(), &mut fields);
    let warnings =
        head.headers.get_all("warning").iter().map(|one| one.to_str().unwrap().to_owned()).collect();
    Answer { code: head.status.as_u16(), warnings, fields }
}

/// Every leaf by its path, what is random replaced by a word.
fn flatten(value: &Value, path: String, fields: &mut BTreeMap<String, Value>) {
    match value {
        Value::Object(map) if !map.is_empty() => {
            for (key, inner) in map {
                // Their order depends on where a second ends.
                if let ("managedFields", Value::Array(entries)) = (key.as_str(), inner) {
                    for entry in entries {
                        let word = |field: &str| entry[field].as_str().unwrap_or_default().to_owned();
                        let owner =
                            format!("{} {} {}", word("manager"), word("operation"), word("subresource"));
                        flatten(entry, format!("{path}.managedFields[{owner}]"), fields);
                    }
                    continue;
                }
                let random = ["resourceVersion", "uid"].contains(&key.as_str()) && inner.is_string();
                let inner = if random { &Value::from("*") } else { inner };
                flatten(inner, format!("{path}.{key}"), fields);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            for (index, inner) in items.iter().enumerate() {
                flatten(inner, format!("{path}[{index}]"), fields);
            }
        }
        Value::String(text) => {
            fields.insert(path, Value::from(without_random(text)));
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) | Value::Array(_) => {
            fields.insert(path, value.clone());
        }
    }
}

fn without_random(text: &str) -> String {
    let patterns = [
        (r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", "UID"),
        (r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z", "TIME"),
        (r"\b\d+s\b", "AGE"),
    ];
    patterns.iter().fold(text.to_owned(), |text, (pattern, word)| {
        Regex::new(pattern).unwrap().replace_all(&text, *word).into_owned()
    })
}

/// The differences between two answers, in words.
fn differences(case: &Case, real: &Answer, ours: &Answer) -> Vec<String> {
    let ignored: Vec<Regex> = case.ignore.iter().map(|pattern| Regex::new(pattern).unwrap()).collect();
    let mut lines = Vec::new();
    if real.code != ours.code {
        lines.push(format!("code: real {}, ours {}", real.code, ours.code));
    }
    if real.warnings != ours.warnings {
        lines.push(format!("warnings: real {:?}, ours {:?}", real.warnings, ours.warnings));
    }
    let paths: std::collections::BTreeSet<&String> = real.fields.keys().chain(ours.fields.keys()).collect();
    for path in paths.into_iter().filter(|path| !ignored.iter().any(|pattern| pattern.is_match(path))) {
        let (one, other) = (real.fields.get(path), ours.fields.get(path));
        if one != other {
            let shown = |value: Option<&Value>| value.map_or_else(|| "nothing".to_owned(), Value::to_string);
            lines.push(format!("{path}: real {}, ours {}", shown(one), shown(other)));
        }
    }
    lines
}

#[tokio::test]
#[ignore = "a real kube-apiserver: KUBE_LOCAL_REFERENCE names its kubeconfig"]
async fn answers_agree_with_a_real_api_server() {
    let reference =
        std::env::var("KUBE_LOCAL_REFERENCE").expect("KUBE_LOCAL_REFERENCE must name a kubeconfig");
    let kubeconfig = Kubeconfig::read_from(&reference).unwrap();
    let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
    let real = Client::try_from(config).unwrap();
    let cluster = Cluster::open(Options::default()).await.unwrap();
    let ours = cluster.client();
    let run = &uuid::Uuid::new_v4().simple().to_string()[..8];
    let cases = include_str!("differential/cases.json")
        .replace("$NS", &format!("ns-{run}"))
        .replace("$GROUP", &format!("g{run}.example.com"));
    let cases: Vec<Case> = serde_json::from_str(&cases).unwrap();
    let (mut failed, mut agreed, mut known) = (Vec::new(), 0, 0);
    for case in &cases {
        if let Some(millis) = case.pause_millis {
            tokio::time::sleep(Duration::from_millis(millis)).await;
            continue;
        }
        let lines = differences(case, &ask(&real, case).await, &ask(&ours, case).await);
        match (&case.known, lines.is_empty()) {
            (_, true) => agreed += 1,
            (Some(why), false) => {
                known += 1;
                println!("known: {}: {why}", case.name);
            }
            (None, false) => {
                failed.push(format!("{}: {} {}\n  {}", case.name, case.method, case.path, lines.join("\n  ")))
            }
        }
    }
    println!("{agreed} agree, {known} differ as known, {} differ", failed.len());
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}
