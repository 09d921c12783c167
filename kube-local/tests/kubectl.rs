//! The real kubectl against the API on a socket. Where there is no kubectl these tests say so and pass.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout)]

use std::process::Stdio;
use std::time::Duration;

use kube_local::{Cluster, Options, Simulate};
use tokio::io::AsyncWriteExt;
use tokio::process::Command;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a command may take; those that wait give up before.
const PATIENCE: Duration = Duration::from_secs(90);

struct Kubectl {
    kubeconfig: tempfile::NamedTempFile,
    cache: tempfile::TempDir,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Kubectl {
    /// A served cluster with simulated workloads; `None` without a kubectl.
    async fn start() -> Option<Self> {
        let found =
            Command::new("kubectl").args(["version", "--client"]).stdout(Stdio::null()).status().await;
        if !found.is_ok_and(|status| status.success()) {
            println!("skipped: there is no kubectl on the path");
            return None;
        }
        let simulate =
            Simulate { workloads: true, pod_start: Duration::from_millis(50), ..Simulate::default() };
        let cluster = Cluster::open(Options { simulate, ..Options::default() }).await.unwrap();
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let kubeconfig = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(kubeconfig.path(), cluster.kubeconfig(&url, Some("secret"))).unwrap();
        let (tasks, cancel) = (TaskTracker::new(), CancellationToken::new());
        cluster.run_controllers(&tasks, cancel.clone());
        let stop = cancel.clone();
        tasks.spawn(async move { cluster.serve(listener, Some("secret".to_owned()), stop).await.unwrap() });
        Some(Self { kubeconfig, cache: tempfile::tempdir().unwrap(), cancel, tasks })
    }

    async fn run(&self, arguments: &str, input: &str) -> (bool, String) {
        let mut child = Command::new("kubectl")
            .args(arguments.split_whitespace())
            .env("KUBECONFIG", self.kubeconfig.path())
            .env("KUBECACHEDIR", self.cache.path())
            .env("KUBECTL_EXTERNAL_DIFF", "diff -u")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        stdin.write_all(input.as_bytes()).await.unwrap();
        drop(stdin);
        let ended = tokio::time::timeout(PATIENCE, child.wait_with_output()).await;
        let output =
            ended.unwrap_or_else(|_| panic!("kubectl {arguments}: no end within {PATIENCE:?}")).unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.success(), String::from_utf8_lossy(&text).into_owned())
    }

    /// Runs a command that must succeed and say something.
    async fn says(&self, arguments: &str, input: &str, expected: &str) {
        let (success, text) = self.run(arguments, input).await;
        assert!(success, "kubectl {arguments}: {text}");
        assert!(text.contains(expected), "kubectl {arguments}: expected \"{expected}\" in: {text}");
    }

    /// Runs a command that must fail and say why.
    async fn refuses(&self, arguments: &str, input: &str, expected: &str) {
        let (success, text) = self.run(arguments, input).await;
        assert!(!success, "kubectl {arguments} should fail: {text}");
        assert!(text.contains(expected), "kubectl {arguments}: expected \"{expected}\" in: {text}");
    }

    async fn stop(self) {
        self.cancel.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

const DEPLOYMENT: &str = "
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 2
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec: {containers: [{name: main, image: 'nginx:1'}]}
";

const DEFINITION: &str = "
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    additionalPrinterColumns: [{name: Size, type: integer, jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec: {type: object, properties: {size: {type: integer, maximum: 9, description: How big.}}}
";

fn widget(field: &str, size: u32) -> String {
    format!("apiVersion: example.com/v1\nkind: Widget\nmetadata: {{name: one}}\nspec: {{{field}: {size}}}\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workloads_are_applied_rolled_out_scaled_and_deleted() {
    let Some(kubectl) = Kubectl::start().await else { return };
    kubectl.says("apply -f -", DEPLOYMENT, "deployment.apps/web created").await;
    kubectl.says("apply -f -", DEPLOYMENT, "deployment.apps/web unchanged").await;
    kubectl.says("rollout status deploy/web --timeout=60s", "", "successfully rolled out").await;
    kubectl.says("get deploy web", "", "2/2").await;
    kubectl.refuses("diff -f -", &DEPLOYMENT.replace("replicas: 2", "replicas: 3"), "+  replicas: 3").await;
    kubectl.says("apply --server-side --force-conflicts -f -", DEPLOYMENT, "serverside-applied").await;
    kubectl.says("scale deploy/web --replicas=3", "", "scaled").await;
    kubectl.says("set image deploy/web main=nginx:2", "", "image updated").await;
    kubectl.says("rollout status deploy/web --timeout=60s", "", "successfully rolled out").await;
    kubectl.says("rollout undo deploy/web", "", "rolled back").await;
    kubectl.says("rollout status deploy/web --timeout=60s", "", "successfully rolled out").await;
    kubectl.says("describe deploy web", "", "ScalingReplicaSet").await;
    kubectl.says("logs deploy/web", "", "simulated by kube-local").await;
    kubectl.says("get pods -o wide", "", "Running").await;
    kubectl.says("delete deploy web", "", "deleted").await;
    kubectl.says("wait --for=delete pod -l app=web --timeout=60s", "", "").await;
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn custom_kinds_are_explained_validated_and_waited_for() {
    let Some(kubectl) = Kubectl::start().await else { return };
    kubectl.says("apply -f -", DEFINITION, "created").await;
    kubectl.says("wait --for=condition=Established crd/widgets.example.com --timeout=60s", "", "met").await;
    kubectl.says("explain widget.spec", "", "How big.").await;
    kubectl.says("apply -f -", &widget("size", 3), "widget.example.com/one created").await;
    kubectl.says("get wd", "", "SIZE").await;
    kubectl.refuses("apply -f -", &widget("size", 10), "should be less than or equal to 9").await;
    kubectl.refuses("apply -f -", &widget("sise", 1), "unknown field \"spec.sise\"").await;
    kubectl.refuses("apply --server-side --field-manager=other -f -", &widget("size", 4), "conflict").await;
    kubectl.says("patch wd one --type=merge -p {\"spec\":{\"size\":5}}", "", "patched").await;
    kubectl.says("label wd one a=b", "", "labeled").await;
    kubectl.says("wait wd/one --for=jsonpath={.spec.size}=5 --timeout=60s", "", "met").await;
    kubectl.says("api-resources --api-group=example.com", "", "widgets").await;
    kubectl.says("delete crd widgets.example.com", "", "deleted").await;
    kubectl.refuses("get wd", "", "the server").await;
    kubectl.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_kubectl_creates_as_protobuf_is_understood() {
    let Some(kubectl) = Kubectl::start().await else { return };
    kubectl.says("auth can-i create pods", "", "yes").await;
    kubectl.says("create namespace team", "", "namespace/team created").await;
    kubectl.says("create configmap settings --from-literal=a=b -n team", "", "created").await;
    kubectl.says("get configmap settings -n team -o jsonpath={.data.a}", "", "b").await;
    kubectl.says("create secret generic secret --from-literal=a=b -n team", "", "created").await;
    kubectl.says("get secret secret -n team -o jsonpath={.data.a}", "", "Yg==").await;
    kubectl.says("create deployment web --image=nginx:1 -n team", "", "created").await;
    kubectl.says("rollout status deploy/web -n team --timeout=60s", "", "successfully rolled out").await;
    kubectl
        .refuses("create quota few --hard=pods=3 -n team", "", "not understood: send application/json")
        .await;
    kubectl.says("delete namespace team --timeout=60s", "", "deleted").await;
    kubectl.stop().await;
}
