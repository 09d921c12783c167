//! `Storage::Disk`: what was answered is there again, also after `kill -9`.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use futures::StreamExt;
use futures::future::join_all;
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use kube_local::{Cluster, OpenError, Options, Storage};
use serde_json::json;
use tokio::time::{Duration, timeout};

/// How long an event may take.
const PATIENCE: Duration = Duration::from_secs(60);

const CHILD: &str = "KUBE_LOCAL_TEST_DIRECTORY";

async fn open(directory: &Path) -> Result<Cluster, OpenError> {
    Cluster::open(Options { storage: Storage::Disk(directory.to_owned()), ..Options::default() }).await
}

fn config_map(name: &str) -> ConfigMap {
    serde_json::from_value(json!({"metadata": {"name": name}, "data": {"name": name}})).unwrap()
}

fn maps(cluster: &Cluster) -> Api<ConfigMap> {
    Api::namespaced(cluster.client(), "default")
}

#[tokio::test]
async fn a_reopened_cluster_goes_on_where_it_stopped() {
    let directory = tempfile::tempdir().unwrap();
    let (kept, revision) = {
        let cluster = open(directory.path()).await.unwrap();
        let api = maps(&cluster);
        let kept = api.create(&PostParams::default(), &config_map("kept")).await.unwrap();
        api.create(&PostParams::default(), &config_map("gone")).await.unwrap();
        api.delete("gone", &DeleteParams::default()).await.unwrap();
        (kept, api.list(&ListParams::default()).await.unwrap().metadata.resource_version.unwrap())
    };
    let cluster = open(directory.path()).await.unwrap();
    let api = maps(&cluster);
    let list = api.list(&ListParams::default()).await.unwrap();
    assert_eq!(list.metadata.resource_version.as_ref(), Some(&revision));
    let names: Vec<&str> = list.items.iter().filter_map(|item| item.metadata.name.as_deref()).collect();
    assert_eq!(names, ["kept"]);
    assert_eq!(list.items[0].metadata.uid, kept.metadata.uid);
    let made = api.create(&PostParams::default(), &config_map("new")).await.unwrap();
    let number = |text: &str| text.parse::<u64>().unwrap();
    assert!(number(&made.metadata.resource_version.unwrap()) > number(&revision));
    let mut watch = api.watch(&WatchParams::default(), &revision).await.unwrap().boxed();
    assert!(
        matches!(
            timeout(PATIENCE, watch.next()).await.expect("an event").unwrap().unwrap(),
            WatchEvent::Added(_)
        ),
        "nothing was missed"
    );
    let before = kept.metadata.resource_version.unwrap();
    let mut watch = api.watch(&WatchParams::default(), &before).await.unwrap().boxed();
    let WatchEvent::Error(gone) = timeout(PATIENCE, watch.next()).await.expect("an event").unwrap().unwrap()
    else {
        panic!("expected 410")
    };
    assert_eq!(gone.code, 410, "what happened before the restart is not remembered");
}

#[tokio::test]
async fn a_directory_has_one_holder_who_is_named() {
    let directory = tempfile::tempdir().unwrap();
    let _holder = open(directory.path()).await.unwrap();
    let path = directory.path().to_owned();
    let refused = open(&path).await.unwrap_err().to_string();
    assert!(refused.contains("held by another process"), "{refused}");
    assert!(refused.contains(&*path.to_string_lossy()), "{refused}");
}

#[tokio::test]
async fn concurrent_writes_share_commits_and_all_arrive() {
    let directory = tempfile::tempdir().unwrap();
    {
        let cluster = open(directory.path()).await.unwrap();
        let writes =
            (0..500).map(|number| {
                let api = maps(&cluster);
                async move {
                    api.create(&PostParams::default(), &config_map(&format!("m{number}"))).await.unwrap()
                }
            });
        join_all(writes).await;
    }
    let cluster = open(directory.path()).await.unwrap();
    assert_eq!(maps(&cluster).list(&ListParams::default()).await.unwrap().items.len(), 500);
}

/// Not a test of its own: the process that the next test kills.
#[tokio::test]
async fn child_writes_until_it_is_killed() {
    let Ok(directory) = std::env::var(CHILD) else { return };
    let cluster = open(Path::new(&directory)).await.unwrap();
    let api = maps(&cluster);
    for number in 0_u64.. {
        let name = format!("m{number}");
        api.create(&PostParams::default(), &config_map(&name)).await.unwrap();
        println!("\nanswered {name}");
    }
}

#[tokio::test]
async fn an_answered_write_survives_kill_9() {
    let directory = tempfile::tempdir().unwrap();
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_writes_until_it_is_killed", "--nocapture"])
        .env(CHILD, directory.path())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut answered = BTreeSet::new();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    for line in &mut lines {
        if let Some(name) = line.unwrap().strip_prefix("answered ") {
            answered.insert(name.to_owned());
        }
        if answered.len() == 300 {
            child.kill().unwrap();
            break;
        }
    }
    child.wait().unwrap();
    for line in lines.map_while(Result::ok) {
        answered.extend(line.strip_prefix("answered m").map(|number| format!("m{number}")));
    }
    let cluster = open(directory.path()).await.unwrap();
    let list = maps(&cluster).list(&ListParams::default()).await.unwrap();
    let found: BTreeSet<String> = list.items.into_iter().filter_map(|item| item.metadata.name).collect();
    // The last line may be cut in the middle of its name.
    let lost: Vec<&String> = answered.difference(&found).collect();
    assert!(lost.is_empty(), "answered but lost: {lost:?}");
    assert!(found.len() >= 300);
}
