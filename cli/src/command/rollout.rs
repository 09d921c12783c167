//! `skein rollout`: how far the services of a MultiClusterService have come over the fleet, and what to do about it.
//!
//! What a person says is an annotation, so that `spec` stays as Git has it; the hub carries each value out once.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use api::k0rdent::MultiClusterService;
use api::names::annotation;
use api::skein::{RolloutPhase, RolloutStatus};
use futures::StreamExt;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::watch_object;
use kube::{Client, ResourceExt};
use serde_json::json;

use super::Output;
use crate::hub_api;
use crate::state_dir::StateDir;

/// How long the hub may take to carry out what it is told.
const PATIENCE: Duration = Duration::from_secs(10);

/// What to do with rollouts.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Show how far rollouts are
    Status(Status),
    /// Give nobody anything from now on
    Pause(Named),
    /// Go on; after an abort: begin the revision again
    Resume(Named),
    /// Give the revision up, and go back to the last completed one where onAbort says so
    Abort(Named),
    /// End the wave's soak or gate, and wait no more for clusters that are away
    Promote(Named),
}

/// Which to show.
#[derive(Debug, clap::Args)]
pub(crate) struct Status {
    /// The MultiClusterService; all that have a rollout if not given
    name: Option<String>,
    /// Follow it until it is completed (exit code 0) or given up (1)
    #[arg(short, long, requires = "name")]
    watch: bool,
    /// The management cluster [default: that of the mesh on this machine, else what kubectl would use]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How to show it
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
    /// The same as --output json
    #[arg(long)]
    json: bool,
}

/// Which one.
#[derive(Debug, clap::Args)]
pub(crate) struct Named {
    /// The MultiClusterService
    name: String,
    /// The management cluster [default: that of the mesh on this machine, else what kubectl would use]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Does it.
pub(crate) async fn run(state: Option<PathBuf>, command: Command) -> Result<()> {
    let (verb, named) = match command {
        Command::Status(arguments) => return show(state, arguments).await,
        Command::Pause(named) => ("pause", named),
        Command::Resume(named) => ("resume", named),
        Command::Abort(named) => ("abort", named),
        Command::Promote(named) => ("promote", named),
    };
    let api = services(state, named.kubeconfig.as_deref()).await?;
    tell(&api, verb, &named.name).await
}

async fn services(
    state: Option<PathBuf>,
    kubeconfig: Option<&std::path::Path>,
) -> Result<Api<MultiClusterService>> {
    let state = StateDir::find(state).ok();
    let client: Client = hub_api::management(kubeconfig, state.as_ref()).await?;
    Ok(Api::all(client))
}

async fn find(api: &Api<MultiClusterService>, name: &str) -> Result<MultiClusterService> {
    let found = api.get_opt(name).await.context("the management cluster does not answer")?;
    let Some(service) = found else {
        bail!("multiclusterservices.k0rdent.mirantis.com \"{name}\" not found");
    };
    if service.spec.rollout.is_none() {
        bail!(
            "multiclusterservices.k0rdent.mirantis.com \"{name}\" has no rollout: without spec.rollout every cluster gets changes at once"
        );
    }
    Ok(service)
}

async fn tell(api: &Api<MultiClusterService>, verb: &str, name: &str) -> Result<()> {
    let service = find(api, name).await?;
    let status = service.status.and_then(|status| status.rollout).unwrap_or_default();
    if let Some(refusal) = refusal(verb, &status) {
        bail!("multiclusterservices.k0rdent.mirantis.com \"{name}\": {refusal}");
    }
    let said = format!("{verb} {}", jiff::Timestamp::now());
    let patch = json!({"metadata": {"annotations": {annotation::ROLLOUT: said}}});
    api.patch(name, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("the management cluster refused the annotation {}", annotation::ROLLOUT))?;
    let done =
        kube::runtime::wait::await_condition(api.clone(), name, |object: Option<&MultiClusterService>| {
            let rollout = object.and_then(|object| object.status.as_ref()?.rollout.as_ref());
            rollout.is_some_and(|rollout| rollout.handled.as_ref() == Some(&said))
        });
    let past = match verb {
        "pause" => "paused",
        "resume" => "resumed",
        "abort" => "aborted",
        _ => "promoted",
    };
    match tokio::time::timeout(PATIENCE, done).await {
        Ok(Ok(_)) => super::print(&format!("multiclusterservice.k0rdent.mirantis.com/{name} {past}")),
        Ok(Err(error)) => return Err(error).context("the management cluster does not answer any more"),
        Err(_) => bail!(
            "the hub has not carried \"{verb}\" out within {} s; it does as soon as it runs, for the annotation {} says so",
            PATIENCE.as_secs(),
            annotation::ROLLOUT
        ),
    }
    Ok(())
}

/// Why something makes no sense now.
fn refusal(verb: &str, status: &RolloutStatus) -> Option<String> {
    let phase = status.phase;
    let fits = match verb {
        "pause" => phase != RolloutPhase::Paused,
        "resume" => matches!(phase, RolloutPhase::Paused | RolloutPhase::Aborted),
        "abort" | "promote" => {
            !matches!(phase, RolloutPhase::Completed | RolloutPhase::Aborted | RolloutPhase::RollingBack)
        }
        _ => true,
    };
    (!fits).then(|| {
        format!("the rollout of revision {} is {phase:?}: there is nothing to {verb}", status.revision)
    })
}

async fn show(state: Option<PathBuf>, arguments: Status) -> Result<()> {
    let api = services(state, arguments.kubeconfig.as_deref()).await?;
    let json = arguments.json || arguments.output == Output::Json;
    if let (true, Some(name)) = (arguments.watch, &arguments.name) {
        return follow(&api, name, json).await;
    }
    let found = match &arguments.name {
        Some(name) => vec![find(&api, name).await?],
        None => {
            let all =
                api.list(&Default::default()).await.context("the management cluster does not answer")?;
            all.items.into_iter().filter(|service| service.spec.rollout.is_some()).collect()
        }
    };
    if json {
        let rows: Vec<_> = found.iter().map(as_json).collect();
        let shown = if arguments.name.is_some() { json!(rows[0]) } else { json!(rows) };
        super::print(&serde_json::to_string_pretty(&shown)?);
    } else if found.is_empty() {
        super::print("no MultiClusterService has a rollout");
    } else {
        super::print(&table(&found));
    }
    Ok(())
}

/// Shows every change until it is over.
async fn follow(api: &Api<MultiClusterService>, name: &str, json: bool) -> Result<()> {
    find(api, name).await?;
    let mut events = watch_object(api.clone(), name).boxed();
    let mut last = None;
    while let Some(event) = events.next().await {
        // The watch goes on by itself when the API is away for a moment.
        let Ok(object) = event else { continue };
        let Some(service) = object else {
            bail!("multiclusterservices.k0rdent.mirantis.com \"{name}\" was deleted")
        };
        let Some(status) = service.status.as_ref().and_then(|status| status.rollout.clone()) else {
            continue;
        };
        if last.as_ref() != Some(&status) {
            super::print(&if json { as_json(&service).to_string() } else { line(&status) });
        }
        match status.phase {
            RolloutPhase::Completed => return Ok(()),
            RolloutPhase::Aborted => bail!("revision {} was given up: {}", status.revision, status.message),
            RolloutPhase::Progressing
            | RolloutPhase::Paused
            | RolloutPhase::Soaking
            | RolloutPhase::WaitingForGate
            | RolloutPhase::RollingBack => last = Some(status),
        }
    }
    bail!("the management cluster does not answer any more")
}

/// The status with the name. Scripts rely on it.
fn as_json(service: &MultiClusterService) -> serde_json::Value {
    let status = service.status.as_ref().and_then(|status| status.rollout.clone()).unwrap_or_default();
    let mut shown = json!(status);
    shown["name"] = json!(service.name_any());
    shown
}

fn line(status: &RolloutStatus) -> String {
    format!("{:?} {}: {}", status.phase, status.revision, status.message)
}

fn table(found: &[MultiClusterService]) -> String {
    let header =
        ["NAME", "REVISION", "PHASE", "WAVE", "READY", "UPDATED", "FAILED", "AWAY", "WAITING", "MESSAGE"];
    let mut table = super::table(&header);
    for service in found {
        let status = service.status.as_ref().and_then(|status| status.rollout.clone()).unwrap_or_default();
        let wave = match status.waves {
            0 => "-".to_owned(),
            waves => format!("{} ({}/{waves})", status.wave, status.wave_number),
        };
        table.add_row([
            service.name_any(),
            status.revision.clone(),
            format!("{:?}", status.phase),
            wave,
            format!("{}/{}", status.ready, status.total),
            status.updated.to_string(),
            status.failed.to_string(),
            status.away.to_string(),
            status.waiting.to_string(),
            status.message.clone(),
        ]);
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_no_sense_is_refused_and_says_what_the_rollout_is_at() {
        let at = |phase| RolloutStatus { phase, revision: "r1".into(), ..RolloutStatus::default() };
        assert_eq!(
            refusal("promote", &at(RolloutPhase::Completed)).unwrap(),
            "the rollout of revision r1 is Completed: there is nothing to promote"
        );
        assert!(refusal("resume", &at(RolloutPhase::Progressing)).is_some());
        for (verb, phase) in [
            ("resume", RolloutPhase::Aborted),
            ("resume", RolloutPhase::Paused),
            ("pause", RolloutPhase::Completed),
            ("abort", RolloutPhase::Soaking),
            ("promote", RolloutPhase::WaitingForGate),
        ] {
            assert_eq!(refusal(verb, &at(phase)), None, "{verb}");
        }
    }

    #[test]
    fn a_rollout_is_shown_with_its_wave_and_counts() {
        let service: MultiClusterService = serde_json::from_value(json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "MultiClusterService",
            "metadata": {"name": "web"}, "spec": {"rollout": {}},
            "status": {"rollout": {
                "phase": "Soaking", "revision": "0123456789", "wave": "canary", "waveNumber": 1, "waves": 2,
                "ready": 3, "total": 9, "updated": 3, "waiting": 6, "message": "all is well",
            }},
        }))
        .unwrap();
        let text = table(std::slice::from_ref(&service));
        for part in ["canary (1/2)", "3/9", "Soaking", "all is well"] {
            assert!(text.contains(part), "{text}");
        }
        assert_eq!(as_json(&service)["name"], "web");
    }
}
