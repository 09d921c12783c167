//! Hosted control planes, with a host that only takes notes.

use std::path::Path;
use std::sync::{Arc, Mutex};

use api::skein::{HostedControlPlane, HostedControlPlaneSpec};
use axum::extract::State;
use axum::http::{Method, Uri};
use axum::{Json, Router};
use futures::TryStreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Api, PostParams};
use kube::runtime::{WatchStreamExt as _, watcher};
use kube::{Resource as _, ResourceExt as _};
use link::DownlinkEvent;
use protocol::enrolment::RefusalReason;
use protocol::message::{Request, Response};
use serde_json::{Value, json};
use tokio::net::UnixListener;

use super::world::{World, region_name, simulate};
use crate::app::Settings;
use crate::control_plane::driver::EmbeddedHost;
use crate::control_plane::reconciler::Context;

type Calls = Arc<Mutex<Vec<(String, Value)>>>;

/// A host of embedded clusters that says that everything runs.
fn host(socket: &Path) -> Calls {
    let calls = Calls::default();
    let answer = async |State(calls): State<Calls>, method: Method, uri: Uri, body: String| {
        let body = serde_json::from_str(&body).unwrap_or_default();
        calls.lock().unwrap().push((format!("{method} {}", uri.path()), body));
        Json(
            json!({"kubeconfig": "kind: Config", "endpoint": "http://127.0.0.1:1", "kubernetesVersion": "v1.36.3"}),
        )
    };
    let router = Router::new().fallback(answer).with_state(calls.clone());
    let listener = UnixListener::bind(socket).unwrap();
    #[expect(clippy::disallowed_methods, reason = "it lives as long as the test's runtime")]
    tokio::spawn(async move { axum::serve(listener, router).await });
    calls
}

fn names(calls: &Calls) -> Vec<String> {
    let mut names: Vec<String> = calls.lock().unwrap().iter().map(|(call, _)| call.clone()).collect();
    names.dedup();
    names
}

/// Waits until the control plane is as wanted; nothing stands for one that is gone.
async fn settled(
    planes: &Api<HostedControlPlane>,
    wanted: impl Fn(Option<&HostedControlPlane>) -> bool,
) -> Option<HostedControlPlane> {
    let mut states = std::pin::pin!(watcher::watch_object(planes.clone(), "shop-1").default_backoff());
    loop {
        let state = states.try_next().await.unwrap().expect("the watch goes on");
        if wanted(state.as_ref()) {
            return state;
        }
    }
}

fn condition(plane: Option<&HostedControlPlane>, name: &str) -> Option<(bool, String)> {
    let conditions = &plane?.status.as_ref()?.conditions;
    api::conditions::find(conditions, name).map(|found| (found.status == "True", found.message.clone()))
}

#[test]
fn a_control_plane_runs_before_the_hub_answers_and_its_agent_follows() {
    simulate(async {
        let mut world = World::new(1).await;
        let client = world.client();
        let crds = Api::all(client.clone());
        for crd in api::skein_crds() {
            crds.create(&PostParams::default(), &crd).await.unwrap();
        }
        let socket = world.folder.path().join("host.sock");
        let calls = host(&socket);
        let mut hub = world.hub().await;
        let settings =
            Settings { control_planes: true, embedded_host: Some(socket.clone()), ..world.settings() };
        let region = world.region_with(settings).await;
        hub.listed().await;

        let planes = Api::<HostedControlPlane>::namespaced(client.clone(), "default");
        let plane = HostedControlPlane::new(
            "shop-1",
            HostedControlPlaneSpec { version: "v1.36.3".to_owned(), ..HostedControlPlaneSpec::default() },
        );
        planes.create(&PostParams::default(), &plane).await.unwrap();
        // The hub cannot answer at first.
        let token = async |hub: &mut super::world::Hub| loop {
            if let DownlinkEvent::Request {
                request: Request::ClusterToken { namespace, name, token, .. },
                responder,
                ..
            } = hub.next().await
            {
                return (namespace, name, token, responder);
            }
        };
        let (namespace, name, _, responder) = token(&mut hub).await;
        assert_eq!((namespace.as_str(), name.as_str()), ("default", "shop-1"));
        responder.refuse(RefusalReason::Unavailable, "nobody leads");
        let waiting = |plane: Option<&HostedControlPlane>| {
            condition(plane, "EdgeAgentStarted")
                .is_some_and(|(started, why)| !started && why.contains("nobody leads"))
        };
        let plane = settled(&planes, waiting).await.unwrap();
        assert!(plane.status.unwrap().ready);
        let secrets = Api::<Secret>::namespaced(client.clone(), "default");
        let secret = secrets.get("shop-1-kubeconfig").await.unwrap();
        assert_eq!(secret.data.unwrap()["value"].0, b"kind: Config");

        let (_, _, id, responder) = token(&mut hub).await;
        responder.respond(Response::TokenRegistered { not_after: u64::MAX });
        let started = |plane: Option<&HostedControlPlane>| {
            condition(plane, "EdgeAgentStarted").is_some_and(|(started, _)| started)
        };
        let plane = settled(&planes, started).await.unwrap();
        let agent =
            calls.lock().unwrap().iter().find(|(call, _)| call == "PUT /agents/shop-1").cloned().unwrap().1;
        let given = identity::JoinToken::parse(agent["token"].as_str().unwrap()).unwrap();
        assert_eq!((given.id, given.region.as_str(), given.role), (id, "eu", identity::TokenRole::Edge));
        assert_eq!(given.pins, world.authority.pins());
        assert_eq!(given.endpoints, ["10.0.0.2:8444"]);

        // What is settled is not written again.
        let context = Context {
            client: client.clone(),
            host: Some(EmbeddedHost::new(&socket).unwrap()),
            uplink: region.running.uplink.clone(),
            region: region_name(),
            join: Box::new(|| (Vec::new(), Vec::new())),
        };
        let plane = planes.get(&plane.name_any()).await.unwrap();
        context.apply(&plane).await.unwrap();
        assert_eq!(
            planes.get("shop-1").await.unwrap().meta().resource_version,
            plane.meta().resource_version
        );
        drop(context);

        planes.delete("shop-1", &Default::default()).await.unwrap();
        settled(&planes, |plane| plane.is_none()).await;
        let all = names(&calls);
        assert_eq!(all[all.len() - 2..], ["DELETE /agents/shop-1", "DELETE /clusters/shop-1"]);
        region.end().await;
    });
}
