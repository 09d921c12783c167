//! `skein ca rotate`: a new root for all certificates, or a new key for plans, step by step and without a gap.
//!
//! What a person says is an annotation of the ConfigMap in which trust is published; the hub carries it out and says in the
//! same ConfigMap how far it is.

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use api::names::{TRUST_CONFIG_MAP, annotation};
use hub::authority::{Missing, RotationStatus};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use serde_json::json;

use super::token::SYSTEM_NAMESPACE;
use super::{Output, table};
use crate::hub_api;
use crate::state_dir::StateDir;

/// How long the hub may take to carry out what it is told.
const PATIENCE: Duration = Duration::from_secs(15);

/// What to do with the authority.
#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Replace the root or the plan-signing key: introduce the new one, change over once all agents have stored it, and
    /// retire the old one
    Rotate(Rotate),
}

/// Which step.
#[derive(Debug, clap::Args)]
pub(crate) struct Rotate {
    /// What to replace
    #[arg(long, value_enum, default_value_t, conflicts_with_all = ["status", "retire", "force"])]
    what: What,
    /// Show how far the rotation is, and which agents have not acknowledged
    #[arg(long, conflicts_with_all = ["retire", "force"])]
    status: bool,
    /// Retire the old key, once all agents have acknowledged and have certificates by the new root
    #[arg(long)]
    retire: bool,
    /// Take the next step although agents have not acknowledged; those are named
    #[arg(long)]
    force: bool,
    /// The management cluster [default: that of the mesh on this machine, else what kubectl would use]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
    /// How to show the status
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
enum What {
    /// The root of all certificates
    #[default]
    Root,
    /// The key that signs plans
    PlanKey,
    /// Both
    Both,
}

/// Does it.
pub(crate) async fn run(state: Option<PathBuf>, command: Command) -> Result<()> {
    let Command::Rotate(arguments) = command;
    let state = StateDir::find(state).ok();
    let client = hub_api::management(arguments.kubeconfig.as_deref(), state.as_ref()).await?;
    let maps = Api::<ConfigMap>::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let before = status(&maps).await?;
    if arguments.status {
        super::print(&match arguments.output {
            Output::Json => serde_json::to_string_pretty(&before)?,
            Output::Table => told(&before),
        });
        return Ok(());
    }
    let now = jiff::Timestamp::now();
    let asked = match (arguments.retire, arguments.force) {
        (false, false) => {
            if before.phase != "Steady" {
                bail!(
                    "a rotation is under way, in phase \"{}\": --status shows whom it waits for, --retire completes it",
                    before.phase
                );
            }
            let what = match arguments.what {
                What::Root => "root",
                What::PlanKey => "plan-key",
                What::Both => "both",
            };
            format!("rotate {what} {now}")
        }
        (retire, force) => {
            if let Some(refusal) = refusal(&before, retire, force) {
                bail!("{refusal}");
            }
            if force { format!("force {} {now}", before.sequence) } else { format!("retire {now}") }
        }
    };
    if arguments.force && !before.waiting_for.is_empty() {
        super::print(&format!(
            "without waiting for {} agent(s), who have to return by themselves, or to join again where their program is too old:\n{}",
            before.missing,
            listed(&before.waiting_for)
        ));
    }
    ask(&client, &maps, &asked).await
}

/// Why a step is not asked for now.
fn refusal(status: &RotationStatus, retire: bool, force: bool) -> Option<String> {
    match (status.phase.as_str(), retire, force) {
        ("Steady", _, _) => Some("no rotation is under way: `skein ca rotate` begins one".to_owned()),
        ("Introduced", true, _) => Some(format!(
            "the new key is not in use yet, {} agent(s) have not stored it: --status names them",
            status.missing
        )),
        ("Changed", true, false) if status.missing > 0 => Some(format!(
            "the old key is not retired: {} agent(s) would be cut off. With --force they are\n{}",
            status.missing,
            listed(&status.waiting_for)
        )),
        _ => None,
    }
}

async fn status(maps: &Api<ConfigMap>) -> Result<RotationStatus> {
    let found = maps.get(TRUST_CONFIG_MAP).await.with_context(|| {
        format!(
            "failed to read ConfigMap {SYSTEM_NAMESPACE}/{TRUST_CONFIG_MAP}; the hub writes it when it starts"
        )
    })?;
    let text = found.data.unwrap_or_default().remove("rotation").with_context(|| {
        format!(
            "ConfigMap {SYSTEM_NAMESPACE}/{TRUST_CONFIG_MAP} does not say how far a rotation is: is the hub too old, or not running?"
        )
    })?;
    serde_json::from_str(&text).with_context(|| {
        format!("\"rotation\" in ConfigMap {SYSTEM_NAMESPACE}/{TRUST_CONFIG_MAP} is malformed")
    })
}

/// Asks the hub, and waits until it has heard.
async fn ask(client: &Client, maps: &Api<ConfigMap>, asked: &str) -> Result<()> {
    let patch = json!({"metadata": {"annotations": {annotation::ROTATION: asked}}});
    maps.patch(TRUST_CONFIG_MAP, &PatchParams::default(), &Patch::Merge(patch))
        .await
        .with_context(|| format!("the management cluster refused the annotation {}", annotation::ROTATION))?;
    let watched = Api::<ConfigMap>::namespaced(client.clone(), SYSTEM_NAMESPACE);
    let heard =
        kube::runtime::wait::await_condition(watched, TRUST_CONFIG_MAP, |object: Option<&ConfigMap>| {
            let text = object.and_then(|object| object.data.as_ref()?.get("rotation"));
            let status = text.and_then(|text| serde_json::from_str::<RotationStatus>(text).ok());
            status.is_some_and(|status| status.asked == asked)
        });
    match tokio::time::timeout(PATIENCE, heard).await {
        Ok(Ok(_)) => {}
        Ok(Err(error)) => return Err(error).context("the management cluster does not answer any more"),
        Err(_) => bail!(
            "the hub has not answered within {} s; it carries out \"{asked}\" as soon as it runs",
            PATIENCE.as_secs()
        ),
    }
    let after = status(maps).await?;
    if !after.refused.is_empty() {
        bail!("{}", after.refused);
    }
    super::print(&told(&after));
    Ok(())
}

/// The status for a person.
fn told(status: &RotationStatus) -> String {
    let replaces = status.replaces.join(" and ");
    let mut text = match status.phase.as_str() {
        "Introduced" => format!(
            "Introduced: a new {replaces} is trusted (trust bundle {}); it is used once all agents have stored it.\n",
            status.sequence
        ),
        "Changed" => format!(
            "Changed: the new {replaces} is in use (trust bundle {}); `skein ca rotate --retire` ends the old one.\n",
            status.sequence
        ),
        _ => format!("Steady: no rotation is under way (trust bundle {}).\n", status.sequence),
    };
    if !status.refused.is_empty() {
        text.push_str(&format!("Refused: {}\n", status.refused));
    }
    if status.missing > 0 {
        text.push_str(&format!("{} agent(s) have not acknowledged:\n", status.missing));
        text.push_str(&listed(&status.waiting_for));
        let more = status.missing.saturating_sub(status.waiting_for.len());
        if more > 0 {
            text.push_str(&format!("\nand {more} more\n"));
        }
    } else if status.phase != "Steady" {
        text.push_str("All agents have acknowledged.\n");
    }
    text
}

fn listed(missing: &[Missing]) -> String {
    let mut table = table(&["KIND", "NAME", "REGION", "LAST SEEN", "WHY"]);
    for Missing { kind, namespace, name, region, last_seen, why } in missing {
        let name = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        let seen = if last_seen.is_empty() { "-" } else { last_seen };
        table.add_row([kind, name.as_str(), region, seen, why]);
    }
    table.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(phase: &str, missing: usize) -> RotationStatus {
        let one = Missing {
            kind: "Edge".to_owned(),
            namespace: "kcm-system".to_owned(),
            name: "store-7".to_owned(),
            region: "eu".to_owned(),
            last_seen: "2026-01-01T00:00:00Z".to_owned(),
            why: "keeps trust bundle 1, not 2".to_owned(),
        };
        RotationStatus {
            phase: phase.to_owned(),
            sequence: 2,
            replaces: vec!["root".to_owned()],
            missing,
            waiting_for: vec![one; missing.min(1)],
            ..RotationStatus::default()
        }
    }

    #[test]
    fn retiring_too_early_is_refused_and_names_who_would_be_cut_off() {
        let refused = |phase, missing, retire, force| refusal(&status(phase, missing), retire, force);
        assert!(refused("Steady", 0, true, false).unwrap().contains("no rotation is under way"));
        assert!(refused("Introduced", 3, true, false).unwrap().contains("3 agent(s)"));
        let cut = refused("Changed", 1, true, false).unwrap();
        assert!(cut.contains("kcm-system/store-7") && cut.contains("keeps trust bundle 1"), "{cut}");
        assert_eq!(refused("Changed", 1, true, true), None);
        assert_eq!(refused("Changed", 0, true, false), None);
        assert_eq!(refused("Introduced", 3, false, true), None);
    }

    #[test]
    fn the_status_names_the_phase_and_whom_it_waits_for() {
        let text = told(&status("Introduced", 4));
        assert!(
            text.contains("4 agent(s)") && text.contains("store-7") && text.contains("and 3 more"),
            "{text}"
        );
        assert!(told(&status("Changed", 0)).contains("All agents have acknowledged"));
    }
}
