//! `skein approve`: devices that wait until a person lets them in.
//!
//! The answer is a field of the device's Edge (`spec.approved`, or `spec.revoked` for no), so whoever may edit that may
//! give it with kubectl as well.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Result, bail};
use api::conditions::{find, kind};
use api::skein::Edge;
use kube::ResourceExt as _;
use kube::api::{Api, ListParams, Patch, PatchParams};
use serde_json::{Value, json};

use crate::hub_api;
use crate::state_dir::StateDir;

/// Most attempts at an Edge that others change at the same time.
const ROUNDS: usize = 5;

/// Who is to be let in, or not.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Show who waits
    #[arg(long, conflicts_with_all = ["names", "deny", "fingerprint"])]
    list: bool,
    /// The Edges to let in, as --list shows them: NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "list", value_name = "NAME")]
    names: Vec<String>,
    /// Refuse them instead; `skein approve NAME` lets them in after all
    #[arg(long)]
    deny: bool,
    /// Only if the device's key has this fingerprint, or one that begins so (8 hexadecimal digits at least)
    #[arg(long, value_name = "SHA256", value_parser = fingerprint)]
    fingerprint: Option<String>,
    /// The management cluster [default: that of the mesh on this machine, else what kubectl would use]
    #[arg(long, value_name = "FILE")]
    kubeconfig: Option<PathBuf>,
}

/// Does it.
pub(crate) async fn run(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let state = StateDir::find(state).ok();
    let client = hub_api::management(arguments.kubeconfig.as_deref(), state.as_ref()).await?;
    let all = Api::<Edge>::all(client.clone()).list(&ListParams::default()).await?.items;
    if arguments.list {
        super::print(table(&all).trim_end());
        return Ok(());
    }
    // Nobody is let in when one of the names is wrong.
    let named: Vec<&Edge> = arguments.names.iter().map(|name| named(&all, name)).collect::<Result<_>>()?;
    for edge in named {
        decide(&client, edge, &arguments).await?;
    }
    Ok(())
}

/// The Edge of that name, in whichever namespace.
fn named<'a>(all: &'a [Edge], name: &str) -> Result<&'a Edge> {
    let is_it = |edge: &&Edge| match name.split_once('/') {
        Some((namespace, name)) => edge.namespace().as_deref() == Some(namespace) && edge.name_any() == name,
        None => edge.name_any() == name,
    };
    let found: Vec<&Edge> = all.iter().filter(is_it).collect();
    match found[..] {
        [edge] => Ok(edge),
        [] => bail!("there is no Edge \"{name}\": `skein approve --list` shows who waits"),
        _ => {
            let places: Vec<_> = found.iter().map(|edge| path(edge)).collect();
            bail!("Edge \"{name}\" is in several namespaces, name one of {}", places.join(", "))
        }
    }
}

async fn decide(client: &kube::Client, edge: &Edge, arguments: &Arguments) -> Result<()> {
    let edges = Api::<Edge>::namespaced(client.clone(), &edge.namespace().unwrap_or_default());
    let name = edge.name_any();
    for _ in 0..ROUNDS {
        let edge = edges.get(&name).await?;
        let Some(patch) = patch(&edge, arguments.deny, arguments.fingerprint.as_deref())? else {
            super::print(&format!("{} is {} already", path(&edge), word(arguments.deny)));
            return Ok(());
        };
        match edges.patch(&name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(_) => {
                let key = shown(&edge);
                super::print(&format!("{} is {}: key SHA256:{key}", path(&edge), word(arguments.deny)));
                return Ok(());
            }
            // It may be another device's by now: it is looked at again.
            Err(kube::Error::Api(status)) if status.is_conflict() => {}
            Err(error) => return Err(error.into()),
        }
    }
    bail!("Edge \"{name}\" is changed by others all the time")
}

/// What is to be written so that the device is let in, or not; nothing when it is so. Valid for the Edge as it was read.
fn patch(edge: &Edge, deny: bool, fingerprint: Option<&str>) -> Result<Option<Value>> {
    if edge.spec.approved.is_none() {
        bail!(
            "nobody has to be asked about {}: it was let in by its token; spec.revoked: true ends that",
            path(edge)
        );
    }
    if let Some(expected) = fingerprint
        && !shown(edge).starts_with(expected)
    {
        bail!("the device of {} has the key SHA256:{}, not {expected}", path(edge), shown(edge));
    }
    let (approved, revoked) = (Some(!deny), deny);
    if edge.spec.approved == approved && edge.spec.revoked == revoked {
        return Ok(None);
    }
    let version = edge.resource_version();
    Ok(Some(json!({
        "metadata": {"resourceVersion": version}, "spec": {"approved": approved, "revoked": revoked},
    })))
}

/// Those who wait, one a line.
fn table(all: &[Edge]) -> String {
    let mut text = String::new();
    let mut waiting: Vec<_> = all.iter().filter(|edge| edge.spec.waits()).collect();
    waiting.sort_by_key(|edge| edge.creation_timestamp());
    if waiting.is_empty() {
        return "nobody waits for approval".to_owned();
    }
    for edge in waiting {
        let conditions = edge.status.as_ref().map(|status| status.conditions.as_slice()).unwrap_or_default();
        let why = find(conditions, kind::APPROVED).map(|approved| approved.message.as_str());
        let why = why.unwrap_or("the hub has not looked at it yet");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{}  region {}\n    {why}", path(edge), edge.spec.region);
    }
    text
}

fn path(edge: &Edge) -> String {
    format!("{}/{}", edge.namespace().unwrap_or_default(), edge.name_any())
}

/// The fingerprint of the device's key, as the hub shows it.
fn shown(edge: &Edge) -> String {
    edge.status.as_ref().and_then(|status| status.fingerprint.clone()).unwrap_or_else(|| "unknown".to_owned())
}

fn word(deny: bool) -> &'static str {
    if deny { "refused" } else { "approved" }
}

fn fingerprint(text: &str) -> Result<String, String> {
    let hex = text.strip_prefix("SHA256:").unwrap_or(text).to_lowercase();
    let digits = hex.bytes().all(|byte| byte.is_ascii_hexdigit());
    if digits && (8..=64).contains(&hex.len()) {
        Ok(hex)
    } else {
        Err(format!("fingerprint \"{text}\" is not 8 to 64 hexadecimal digits"))
    }
}

#[cfg(test)]
mod tests {
    use api::skein::{EdgeSpec, EdgeStatus};

    use super::*;

    fn edge(namespace: &str, name: &str, approved: Option<bool>) -> Edge {
        let mut edge = Edge::new(name, EdgeSpec { approved, region: "eu".to_owned(), ..EdgeSpec::default() });
        edge.metadata.namespace = Some(namespace.to_owned());
        edge.metadata.resource_version = Some("7".to_owned());
        edge.status = Some(EdgeStatus { fingerprint: Some("ab".repeat(32)), ..EdgeStatus::default() });
        edge
    }

    #[test]
    fn a_name_means_one_edge_or_says_which_there_are() {
        let all = [edge("a", "till", Some(false)), edge("b", "till", Some(false)), edge("b", "door", None)];
        assert_eq!(path(named(&all, "door").unwrap()), "b/door");
        assert_eq!(path(named(&all, "a/till").unwrap()), "a/till");
        let several = named(&all, "till").unwrap_err().to_string();
        assert!(several.contains("a/till, b/till"), "{several}");
        let none = named(&all, "a/door").unwrap_err().to_string();
        assert!(none.contains("\"a/door\"") && none.contains("--list"), "{none}");
    }

    #[test]
    fn an_answer_is_given_to_the_device_that_was_looked_at_and_to_one_that_waits() {
        let waits = edge("a", "till", Some(false));
        let written = |deny| patch(&waits, deny, None).unwrap().unwrap();
        assert_eq!(written(false)["spec"], json!({"approved": true, "revoked": false}));
        assert_eq!(written(true)["spec"], json!({"approved": false, "revoked": true}));
        assert_eq!(written(true)["metadata"]["resourceVersion"], "7");
        assert_eq!(patch(&edge("a", "till", Some(true)), false, None).unwrap(), None);
        assert!(patch(&waits, false, Some("abababab")).unwrap().is_some());
        let other = patch(&waits, false, Some("cdcdcdcd")).unwrap_err().to_string();
        assert!(other.contains(&"ab".repeat(32)) && other.contains("cdcdcdcd"), "{other}");
        let open = patch(&edge("a", "till", None), false, None).unwrap_err().to_string();
        assert!(open.contains("a/till") && open.contains("spec.revoked"), "{open}");
        for (text, fine) in [("SHA256:ABABABAB", true), ("abc", false), ("abababag", false)] {
            assert_eq!(fingerprint(text).is_ok(), fine, "{text}");
        }
    }

    #[test]
    fn the_list_has_those_who_wait_and_nobody_else() {
        let mut refused = edge("a", "no", Some(false));
        refused.spec.revoked = true;
        let all =
            [edge("a", "till", Some(false)), edge("a", "in", Some(true)), edge("a", "open", None), refused];
        let text = table(&all);
        assert_eq!(text.lines().count(), 2, "{text}");
        assert!(text.starts_with("a/till  region eu"), "{text}");
        assert_eq!(table(&all[1..]), "nobody waits for approval");
    }
}
