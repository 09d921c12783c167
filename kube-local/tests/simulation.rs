//! Simulated workloads, in virtual time.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::time::Duration;

use k8s_openapi::api::apps::v1::{DaemonSet, Deployment, ReplicaSet, StatefulSet};
use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::{Event, Node, PersistentVolumeClaim, Pod, Service};
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::runtime::wait::await_condition;
use kube_local::{Cluster, Options, Simulate};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

const POD_START: Duration = Duration::from_secs(20);

async fn simulated(pod_start: Duration) -> (Cluster, TaskTracker) {
    let simulate = Simulate { workloads: true, node_cpu_cores: 2, node_memory_gib: 4, pod_start };
    let cluster = Cluster::open(Options { simulate, ..Options::default() }).await.unwrap();
    let tasks = TaskTracker::new();
    cluster.run_controllers(&tasks, CancellationToken::new());
    (cluster, tasks)
}

fn from<T: serde::de::DeserializeOwned>(value: Value) -> T {
    serde_json::from_value(value).unwrap()
}

fn workload(name: &str, image: &str, extra: Value) -> Value {
    let mut object = json!({"metadata": {"name": name}, "spec": {
        "selector": {"matchLabels": {"app": name}},
        "template": {
            "metadata": {"labels": {"app": name}},
            "spec": {"containers": [{"name": "main", "image": image, "ports": [{"containerPort": 80, "name": "http"}]}]},
        },
    }});
    for (field, value) in extra.as_object().into_iter().flatten() {
        object["spec"][field] = value.clone();
    }
    object
}

fn rolled_out(deployment: Option<&Deployment>) -> bool {
    deployment.is_some_and(|deployment| {
        let wanted = deployment.spec.as_ref().unwrap().replicas;
        let Some(status) = &deployment.status else { return false };
        status.observed_generation == deployment.metadata.generation
            && status.updated_replicas == wanted
            && status.available_replicas == wanted
            && status.replicas == wanted
    })
}

async fn pods(cluster: &Cluster, app: &str) -> Vec<Pod> {
    let api: Api<Pod> = Api::namespaced(cluster.client(), "default");
    api.list(&ListParams::default().labels(&format!("app={app}"))).await.unwrap().items
}

#[tokio::test(start_paused = true)]
async fn a_deployment_becomes_available_after_its_pods_started() {
    let (cluster, _tasks) = simulated(POD_START).await;
    let api: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    let begun = Instant::now();
    api.create(&PostParams::default(), &from(workload("web", "nginx:1", json!({"replicas": 3}))))
        .await
        .unwrap();
    let done = await_condition(api.clone(), "web", rolled_out).await.unwrap().unwrap();
    assert_eq!(begun.elapsed().as_secs(), POD_START.as_secs());
    let conditions = done.status.unwrap().conditions.unwrap();
    let reasons: Vec<&str> = conditions.iter().filter_map(|one| one.reason.as_deref()).collect();
    assert_eq!(reasons, ["MinimumReplicasAvailable", "NewReplicaSetAvailable"]);
    for pod in pods(&cluster, "web").await {
        let status = pod.status.unwrap();
        assert_eq!(status.phase.as_deref(), Some("Running"));
        assert!(status.pod_ip.unwrap().starts_with("10.244."));
        assert!(status.container_statuses.unwrap()[0].ready);
    }
}

#[tokio::test(start_paused = true)]
async fn a_changed_template_rolls_out_within_its_bounds() {
    let (cluster, _tasks) = simulated(POD_START).await;
    let api: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    let strategy = json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}});
    let object = workload("web", "nginx:1", json!({"replicas": 4, "strategy": strategy}));
    api.create(&PostParams::default(), &from(object)).await.unwrap();
    await_condition(api.clone(), "web", rolled_out).await.unwrap();
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}}}});
    api.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    let begun = Instant::now();
    let within = |deployment: Option<&Deployment>| {
        let status = deployment.unwrap().status.as_ref().unwrap();
        assert!(status.replicas.unwrap_or(0) <= 5, "more than the surge allows: {status:?}");
        assert!(status.available_replicas.unwrap_or(0) >= 4, "fewer than must be available: {status:?}");
        rolled_out(deployment)
    };
    await_condition(api.clone(), "web", within).await.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 4 * POD_START.as_secs(), "one after the other");
    let images: Vec<String> = pods(&cluster, "web")
        .await
        .into_iter()
        .map(|pod| pod.spec.unwrap().containers[0].image.clone().unwrap())
        .collect();
    assert_eq!(images, vec!["nginx:2"; 4]);
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), "default");
    let mut revisions: Vec<(String, Option<i32>)> = sets
        .list(&ListParams::default())
        .await
        .unwrap()
        .items
        .into_iter()
        .map(|set| {
            let revision = set.metadata.annotations.unwrap()["deployment.kubernetes.io/revision"].clone();
            (revision, set.spec.unwrap().replicas)
        })
        .collect();
    revisions.sort();
    assert_eq!(revisions, [("1".to_owned(), Some(0)), ("2".to_owned(), Some(4))]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_pod_is_replaced_and_a_deleted_deployment_leaves_nothing() {
    let (cluster, _tasks) = simulated(Duration::ZERO).await;
    let api: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    api.create(&PostParams::default(), &from(workload("web", "nginx:1", json!({"replicas": 2}))))
        .await
        .unwrap();
    await_condition(api.clone(), "web", rolled_out).await.unwrap();
    let all: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let victim = pods(&cluster, "web").await.remove(0).metadata.name.unwrap();
    all.delete(&victim, &DeleteParams::default()).await.unwrap();
    let replaced = |deployment: Option<&Deployment>| {
        deployment.is_some_and(|it| it.status.as_ref().is_some_and(|status| status.ready_replicas == Some(2)))
    };
    tokio::time::sleep(Duration::from_secs(1)).await;
    await_condition(api.clone(), "web", replaced).await.unwrap();
    let names: Vec<String> =
        pods(&cluster, "web").await.into_iter().filter_map(|pod| pod.metadata.name).collect();
    assert_eq!(names.len(), 2);
    assert!(!names.contains(&victim));
    api.delete("web", &DeleteParams::default()).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(pods(&cluster, "web").await.is_empty());
    let sets: Api<ReplicaSet> = Api::namespaced(cluster.client(), "default");
    assert!(sets.list(&ListParams::default()).await.unwrap().items.is_empty());
}

#[tokio::test(start_paused = true)]
async fn an_image_that_does_not_exist_backs_off_and_the_deadline_passes() {
    let (cluster, _tasks) = simulated(Duration::ZERO).await;
    let api: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    let object = workload("web", "registry/does-not-exist:1", json!({}));
    api.create(&PostParams::default(), &from(object)).await.unwrap();
    let unavailable = |deployment: Option<&Deployment>| {
        deployment
            .is_some_and(|it| it.status.as_ref().is_some_and(|status| status.unavailable_replicas == Some(1)))
    };
    await_condition(api.clone(), "web", unavailable).await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let pod = pods(&cluster, "web").await.remove(0);
    let state = pod.status.unwrap().container_statuses.unwrap()[0].state.clone().unwrap();
    assert_eq!(state.waiting.unwrap().reason.as_deref(), Some("ImagePullBackOff"));
    let events: Api<Event> = Api::namespaced(cluster.client(), "default");
    let warnings = events.list(&ListParams::default().fields("type=Warning,reason=Failed")).await.unwrap();
    assert_eq!(warnings.items.len(), 1);
    // The cure: another image.
    let image =
        json!({"spec": {"template": {"spec": {"containers": [{"name": "main", "image": "nginx:2"}]}}}});
    api.patch("web", &PatchParams::default(), &Patch::Strategic(image)).await.unwrap();
    await_condition(api, "web", rolled_out).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_on_the_node_waits_until_there_is_room() {
    let (cluster, _tasks) = simulated(Duration::ZERO).await;
    let api: Api<Pod> = Api::namespaced(cluster.client(), "default");
    let pod = |name: &str, cpu: &str| -> Pod {
        from(json!({"metadata": {"name": name}, "spec": {"containers": [
            {"name": "main", "image": "nginx:1", "resources": {"requests": {"cpu": cpu}}},
        ]}}))
    };
    let running = |pod: Option<&Pod>| {
        pod.is_some_and(|pod| pod.status.as_ref().and_then(|it| it.phase.as_deref()) == Some("Running"))
    };
    api.create(&PostParams::default(), &pod("first", "1500m")).await.unwrap();
    await_condition(api.clone(), "first", running).await.unwrap();
    api.create(&PostParams::default(), &pod("second", "1")).await.unwrap();
    let refused = |pod: Option<&Pod>| {
        let conditions = pod.and_then(|pod| pod.status.as_ref()?.conditions.clone()).unwrap_or_default();
        conditions.iter().any(|one| {
            one.reason.as_deref() == Some("Unschedulable")
                && one.message.as_deref() == Some("0/1 nodes are available: 1 Insufficient cpu.")
        })
    };
    await_condition(api.clone(), "second", refused).await.unwrap();
    api.delete("first", &DeleteParams::default()).await.unwrap();
    await_condition(api, "second", running).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_stateful_set_starts_in_order_with_bound_claims() {
    let (cluster, _tasks) = simulated(POD_START).await;
    let api: Api<StatefulSet> = Api::namespaced(cluster.client(), "default");
    let claims = json!([{"metadata": {"name": "data"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
    }}]);
    let extra = json!({"replicas": 2, "serviceName": "db", "volumeClaimTemplates": claims});
    let begun = Instant::now();
    api.create(&PostParams::default(), &from(workload("db", "pg:1", extra))).await.unwrap();
    let ready = |set: Option<&StatefulSet>| {
        set.is_some_and(|set| set.status.as_ref().is_some_and(|status| status.ready_replicas == Some(2)))
    };
    let done = await_condition(api, "db", ready).await.unwrap().unwrap().status.unwrap();
    assert_eq!(begun.elapsed().as_secs(), 2 * POD_START.as_secs());
    assert_eq!(done.current_revision, done.update_revision);
    let claims: Api<PersistentVolumeClaim> = Api::namespaced(cluster.client(), "default");
    for name in ["data-db-0", "data-db-1"] {
        assert_eq!(claims.get(name).await.unwrap().status.unwrap().phase.as_deref(), Some("Bound"));
    }
}

#[tokio::test(start_paused = true)]
async fn a_daemon_set_runs_on_the_node_and_a_job_completes() {
    let (cluster, _tasks) = simulated(Duration::ZERO).await;
    let nodes: Api<Node> = Api::all(cluster.client());
    let daemons: Api<DaemonSet> = Api::namespaced(cluster.client(), "default");
    daemons.create(&PostParams::default(), &from(workload("agent", "a:1", json!({})))).await.unwrap();
    let ready = |set: Option<&DaemonSet>| {
        set.is_some_and(|set| set.status.as_ref().is_some_and(|status| status.number_ready == 1))
    };
    await_condition(daemons, "agent", ready).await.unwrap();
    assert_eq!(nodes.list(&ListParams::default()).await.unwrap().items.len(), 1);

    let jobs: Api<Job> = Api::namespaced(cluster.client(), "default");
    let job = json!({"metadata": {"name": "once"}, "spec": {
        "completions": 3, "parallelism": 2, "ttlSecondsAfterFinished": 60,
        "template": {"spec": {"restartPolicy": "Never", "containers": [{"name": "a", "image": "a:1"}]}},
    }});
    jobs.create(&PostParams::default(), &from(job)).await.unwrap();
    let complete = kube::runtime::conditions::is_job_completed();
    let done = await_condition(jobs, "once", complete).await.unwrap().unwrap();
    assert_eq!(done.status.unwrap().succeeded, Some(3));
}

#[tokio::test(start_paused = true)]
async fn services_get_addresses_and_endpoints() {
    let (cluster, _tasks) = simulated(Duration::ZERO).await;
    let deployments: Api<Deployment> = Api::namespaced(cluster.client(), "default");
    deployments.create(&PostParams::default(), &from(workload("web", "nginx:1", json!({})))).await.unwrap();
    await_condition(deployments, "web", rolled_out).await.unwrap();
    let services: Api<Service> = Api::namespaced(cluster.client(), "default");
    let service = json!({"metadata": {"name": "web"}, "spec": {
        "type": "LoadBalancer", "selector": {"app": "web"}, "ports": [{"port": 8080, "targetPort": "http"}],
    }});
    let made = services.create(&PostParams::default(), &from(service)).await.unwrap().spec.unwrap();
    assert!(made.cluster_ip.unwrap().starts_with("10.96."));
    assert!(made.ports.unwrap()[0].node_port.unwrap() >= 30_000);
    let balanced = |service: Option<&Service>| {
        let status = service.and_then(|it| it.status.as_ref()?.load_balancer.as_ref()?.ingress.clone());
        status.is_some_and(|ingress| ingress[0].ip.is_some())
    };
    await_condition(services, "web", balanced).await.unwrap();
    let slices: Api<k8s_openapi::api::discovery::v1::EndpointSlice> =
        Api::namespaced(cluster.client(), "default");
    tokio::time::sleep(Duration::from_secs(1)).await;
    let slice = slices.list(&ListParams::default()).await.unwrap().items.remove(0);
    assert_eq!(slice.endpoints.unwrap().len(), 1);
    assert_eq!(slice.ports.unwrap()[0].port, Some(80));
}
