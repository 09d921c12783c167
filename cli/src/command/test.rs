//! `skein test`: runs the test hooks of one service on one cluster, and tells what came of it.
//!
//! The order is an annotation of the ServiceSet, so that `spec` stays as Git has it and other clusters are left alone;
//! the edge carries each value out once, also when it comes back later.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::k0rdent::ServiceSet;
use api::names::annotation;
use futures::StreamExt;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::watch_object;
use serde_json::{Value, json};

use super::explain::{ask, asked};
use super::{Asking, text};
use crate::hub_api;
use crate::state_dir::StateDir;

/// Which service, and where.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// A service (NAME, NAMESPACE.NAME or NAMESPACE/NAME) and where: `SERVICE on edge/NAME` or on clusterdeployment/NAME
    #[arg(required = true, num_args = 2..=3, value_name = "SERVICE on TARGET")]
    words: Vec<String>,
    /// Namespace of the target; needed only where several have one of that name
    #[arg(short, long)]
    namespace: Option<String>,
    /// How many seconds to wait for the result
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    timeout: u64,
    /// The management cluster [default: that of the mesh on this machine, else what kubectl would use]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    #[command(flatten)]
    asking: Asking,
}

/// What is to be tested.
#[derive(Debug, PartialEq, Eq)]
struct Wanted {
    /// Namespace and name of its ServiceSet.
    set: (String, String),
    /// Namespace and name of the service.
    service: (String, String),
    /// Why its edge cannot be asked now.
    away: Option<String>,
}

/// Orders the tests and follows them.
pub(crate) async fn run(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = arguments.asking.url(state.clone())?;
    let subject = asked(&arguments.words)?;
    let answer = ask(&url, "explain", &subject, arguments.namespace.as_deref()).await?;
    let Wanted { set, service, away } = wanted(&answer, subject.service.as_deref().unwrap_or_default())?;
    let state = StateDir::find(state).ok();
    let client: Client = hub_api::management(arguments.kubeconfig.as_deref(), state.as_ref()).await?;
    let sets = Api::<ServiceSet>::namespaced(client, &set.0);
    let order = format!("{}/{} {}", service.0, service.1, jiff::Timestamp::now());
    let patch = json!({"metadata": {"annotations": {annotation::TEST: order}}});
    sets.patch(&set.1, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("the management cluster refused the annotation {}", annotation::TEST))?;
    let limit = Duration::from_secs(arguments.timeout);
    let Ok(result) = tokio::time::timeout(limit, result(&sets, &set.1, &service, &order)).await else {
        let away = away.map(|away| format!(" ({away})")).unwrap_or_default();
        bail!(
            "{}/{} was not tested within {} s{away}; the order stays, and `skein explain` tells what came of it",
            service.0,
            service.1,
            arguments.timeout
        );
    };
    let (passed, said) = result?;
    let told = json!({"service": format!("{}/{}", service.0, service.1), "passed": passed, "message": said});
    arguments.asking.show(&told, |_| format!("{}/{}: {said}", service.0, service.1))?;
    if passed { Ok(()) } else { bail!("the tests of {}/{} failed", service.0, service.1) }
}

/// The one service that is meant, if it can be tested.
fn wanted(answer: &Value, asked: &str) -> Result<Wanted> {
    let target = text(&answer["target"]);
    let services = answer["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let there: Vec<_> = services.iter().filter(|one| one["objects"].is_number()).collect();
    let service = match there.as_slice() {
        [] => bail!(
            "there is no service {asked} on {target} that could be tested: `skein explain` says what is there and why"
        ),
        [one] => *one,
        several => {
            let names: Vec<_> = several.iter().map(|one| pair(one).join("/")).collect();
            bail!("several services are meant by {asked}: {}; name one as NAMESPACE/NAME", names.join(", "));
        }
    };
    let [namespace, name] = pair(service);
    if service["tests"].as_u64().unwrap_or_default() == 0 {
        bail!("{namespace}/{name} has no tests: its chart has no object annotated helm.sh/hook: test");
    }
    let set = text(&service["set"]);
    let (at, set) = set.split_once('/').context("the hub names no ServiceSet of it")?;
    let away = answer["away"].as_str().map(str::to_owned);
    Ok(Wanted { set: (at.to_owned(), set.to_owned()), service: (namespace, name), away })
}

fn pair(service: &Value) -> [String; 2] {
    ["namespace", "name"].map(|field| text(&service[field]))
}

/// Waits for the result: whether it passed, and what the edge says.
async fn result(
    sets: &Api<ServiceSet>,
    set: &str,
    (namespace, name): &(String, String),
    order: &str,
) -> Result<(bool, String)> {
    let mut events = watch_object(sets.clone(), set).boxed();
    while let Some(event) = events.next().await {
        // The watch goes on by itself when the API is away for a moment.
        let Ok(object) = event else { continue };
        let Some(object) = object else { bail!("ServiceSet {set} was deleted") };
        let services = object.status.map(|status| status.services).unwrap_or_default();
        let own = services.iter().find(|one| one.namespace == *namespace && one.name == *name);
        let said = own.and_then(|one| one.failure_message.clone()).unwrap_or_default();
        if let Some(passed) = outcome(&said, order) {
            return Ok((passed, said));
        }
    }
    bail!("the management cluster does not answer any more")
}

/// What a service's message says of an order, if it does.
fn outcome(said: &str, order: &str) -> Option<bool> {
    let rest = &said[said.find(&format!("test \"{order}\" "))?..];
    let rest = rest.rsplit_once(&format!("\"{order}\" ")).map(|(_, rest)| rest)?;
    if rest.starts_with("passed") { Some(true) } else { rest.starts_with("failed").then_some(false) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_has_tests_and_is_there_can_be_tested() {
        let service = |name: &str, tests: u64| json!({"set": "kcm-system/e1-0a", "namespace": "shop", "name": name, "objects": 3, "tests": tests});
        let answer = |services: Value| json!({"target": "Edge kcm-system/e1", "services": services});
        let told = |services: Value| wanted(&answer(services), "web").unwrap_err().to_string();
        let found = wanted(&answer(json!([service("web", 1)])), "web").unwrap();
        assert_eq!(found.set, ("kcm-system".to_owned(), "e1-0a".to_owned()));
        assert_eq!(found.service, ("shop".to_owned(), "web".to_owned()));
        assert!(told(json!([service("web", 0)])).contains("shop/web has no tests"));
        assert!(told(json!([])).contains("there is no service web on Edge kcm-system/e1"));
        assert!(
            told(json!([{"namespace": "shop", "name": "web", "problem": "x"}]))
                .contains("there is no service")
        );
        assert!(told(json!([service("web", 1), service("other", 1)])).contains("shop/web, shop/other"));
    }

    #[test]
    fn a_result_is_that_of_the_order_and_of_no_other() {
        let order = "shop/web 2026";
        assert_eq!(outcome("test \"shop/web 2026\" passed: 1 hooks", order), Some(true));
        assert_eq!(
            outcome("well; test \"shop/web 2026\" failed: Job shop/probe did not end", order),
            Some(false)
        );
        for other in ["", "test \"shop/web 2025\" passed: 1 hooks", "test \"shop/web 2026\" is"] {
            assert_eq!(outcome(other, order), None, "{other}");
        }
    }
}
