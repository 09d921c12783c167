use std::collections::BTreeMap;

use super::*;
use crate::planner::rendering::Seed;
use protocol::plan::{HookDeletion, HookEvent};
use serde_json::json;

#[derive(Default)]
struct Kept(Mutex<Option<Printed>>);

impl Seeds for Kept {
    fn load(&self, _: (&str, &str), _: &str) -> Option<Seed> {
        None
    }
    fn store(&self, _: (&str, &str), _: &str, _: Seed) {}
    fn draw(&self) -> Seed {
        Seed { bytes: [0; 32], time: 0 }
    }
    fn printed(&self, _: (&str, &str), _: &str) -> Option<Printed> {
        self.0.lock().unwrap().clone()
    }
    fn keep(&self, _: (&str, &str), _: &str, printed: &Printed) {
        *self.0.lock().unwrap() = Some(printed.clone());
    }
}

struct Site {
    helm: Helm,
    seeds: Arc<dyn Seeds>,
    cache: Cache,
    folder: tempfile::TempDir,
}

fn site(binary: &str) -> Site {
    let (folder, cache) = (tempfile::tempdir().unwrap(), Cache::default());
    let helm = Helm::new(binary.into(), folder.path().join("helm"), cache.clone(), &Process::embedded());
    Site { helm, seeds: Arc::new(Kept::default()), cache, folder }
}

const STAND_IN: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/helm");

fn job(name: &str, chart: Content) -> Job {
    Job {
        digest: Digest::of(name.as_bytes()),
        why: "it lacks something".to_owned(),
        chart,
        set: ("default".to_owned(), "set".to_owned()),
        name: name.to_owned(),
        namespace: "shop".to_owned(),
        values: json!({"a": 1}),
        kubernetes_version: Some("v1.36.3".to_owned()),
        labels: vec![("who".to_owned(), "me".to_owned())],
        skip_crds: false,
        skip_schema_validation: true,
    }
}

fn packed() -> Content {
    Content::File { name: "x.tgz".to_owned(), bytes: bytes::Bytes::from_static(b"packed") }
}

impl Site {
    async fn answer(&self, name: &str, chart: Content) -> Result<Arc<Bundle>, Unrendered> {
        let mut changes = self.cache.subscribe();
        let waiting = self.helm.ask(job(name, chart.clone()), &self.seeds).unwrap_err();
        assert!(waiting.waits_for.is_some());
        let announced = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap();
        assert_eq!(announced.first().map(|change| &change.key), waiting.waits_for.as_ref());
        self.helm.ask(job(name, chart), &self.seeds)
    }
}

fn data(bundle: &Bundle, field: &str) -> String {
    let content: Value = serde_json::from_slice(&bundle.objects[0].content).unwrap();
    assert_eq!(content["metadata"]["labels"]["who"], "me");
    content["data"][field].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn helm_is_asked_once_and_its_answer_is_announced() {
    let site = site(STAND_IN);
    let bundle = site.answer("web", packed()).await.unwrap();
    assert_eq!(data(&bundle, "values"), r#"{"a":1}"#);
    let arguments = data(&bundle, "arguments");
    let (before, after) = arguments.split_once(" --namespace ").unwrap();
    assert!(before.starts_with("template web /") && before.ends_with("/chart.tgz"), "{before}");
    assert_eq!(after, "shop --values - --include-crds --skip-schema-validation --kube-version v1.36.3");
    assert_eq!(data(&bundle, "chart"), "packed");
    assert_eq!(bundle.by_helm.as_deref(), Some("it lacks something"));
    let hook = &bundle.hooks[0].entry;
    assert_eq!(hook.events, [HookEvent::PreInstall, HookEvent::PostUpgrade]);
    assert_eq!((hook.weight, hook.deletion.as_slice()), (3, &[HookDeletion::BeforeCreation][..]));
    let left = std::fs::read_dir(site.folder.path().join("helm")).unwrap().count();
    assert_eq!(left, 0, "a run leaves nothing behind");
}

#[tokio::test]
async fn a_run_sees_the_files_of_a_chart_in_a_tree_and_nothing_of_the_hub() {
    let files = BTreeMap::from([
        ("Chart.yaml".to_owned(), b"name: x".to_vec()),
        ("templates/deep/a.yaml".to_owned(), b"a: 1".to_vec()),
    ]);
    let bundle = site(STAND_IN).answer("tree", Content::Tree(Arc::new(files))).await.unwrap();
    assert_eq!(data(&bundle, "chart"), "Chart.yaml templates/deep/a.yaml");
    let environment = data(&bundle, "environment");
    for name in environment.split(' ') {
        let known =
            ["HELM_", "HOME", "HTTP", "KUBECONFIG", "LC_ALL", "LD_LIBRARY_PATH", "PATH", "PWD", "SSL_"];
        let shell = ["TMPDIR", "OLDPWD", "_", "SHLVL"];
        assert!(known.iter().any(|known| name.starts_with(known)) || shell.contains(&name), "{name}");
    }
}

#[tokio::test]
async fn what_helm_printed_outlives_the_hub_and_is_drawn_anew_for_another_input() {
    let first = site(STAND_IN);
    let one = first.answer("random", packed()).await.unwrap();
    let again = Site { seeds: first.seeds.clone(), ..site(STAND_IN) };
    let kept = again.helm.ask(job("random", packed()), &again.seeds).unwrap();
    assert_eq!(kept, one);
    let other = Job { digest: Digest::of(b"other"), ..job("random", packed()) };
    assert!(again.helm.ask(other, &again.seeds).unwrap_err().waits_for.is_some());
}

#[tokio::test]
async fn what_helm_refuses_is_said_in_its_words() {
    let error = site(STAND_IN).answer("refused", packed()).await.unwrap_err();
    assert_eq!(error.message, "helm: Error: execution error at (x/templates/x.yaml:1:3): no");
}

#[tokio::test]
async fn a_binary_that_cannot_be_run_is_named_and_tried_again() {
    let site = site("/nowhere/helm");
    let error = site.answer("web", packed()).await.unwrap_err();
    assert!(error.message.starts_with("helm (\"/nowhere/helm\") cannot be run: "), "{}", error.message);
    assert!(error.failed);
    let mut changes = site.cache.subscribe();
    tokio::time::pause();
    tokio::time::timeout(AGAIN * 2, changes.next()).await.unwrap();
    assert!(site.helm.ask(job("web", packed()), &site.seeds).unwrap_err().waits_for.is_some());
}
