//! `skein diff`: how what is live differs from what is wanted.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::explain::{ask, asked};
use super::{Asking, text};

/// What to compare.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// clusterdeployment/NAME or edge/NAME; and a service of it: NAME, NAMESPACE.NAME or NAMESPACE/NAME
    #[arg(required_unless_present = "file", conflicts_with = "file", num_args = 1..=3, value_name = "SUBJECT [SERVICE]")]
    words: Vec<String>,
    /// Compare what is planned with what it would be with these MultiClusterServices and ClusterDeployments; - for
    /// standard input
    #[arg(short, long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Namespace of the object; needed only where several have one of that name
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// Asks and shows.
pub(crate) async fn show(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = arguments.asking.url(state)?;
    if let Some(file) = &arguments.file {
        let answer = would(&url, file).await?;
        return arguments.asking.show(&answer, would_told);
    }
    let subject = asked(&arguments.words)?;
    let answer = ask(&url, "diff", &subject, arguments.namespace.as_deref()).await?;
    arguments.asking.show(&answer, told)
}

/// Asks what the objects of a file would change.
async fn would(url: &str, file: &Path) -> Result<Value> {
    let yaml = match file.to_str() {
        Some("-") => std::io::read_to_string(std::io::stdin()).context("failed to read standard input")?,
        _ => std::fs::read_to_string(file).with_context(|| format!("failed to read {}", file.display()))?,
    };
    let documents: Vec<Value> =
        serde_saphyr::from_multiple(&yaml).map_err(|error| anyhow::anyhow!("{}: {error}", file.display()))?;
    let documents: Vec<_> = documents.into_iter().filter(|document| !document.is_null()).collect();
    let answer = reqwest::Client::new()
        .post(format!("{url}/api/v1/diff"))
        .header("content-type", "application/json")
        .body(serde_json::to_vec(&documents)?)
        .send()
        .await
        .with_context(|| format!("the hub at {url} does not answer"))?;
    let status = answer.status();
    let answer: Value = answer.json().await.context("the hub's answer is not JSON")?;
    if !status.is_success() {
        bail!("{}", text(&answer["message"]));
    }
    Ok(answer)
}

/// For a person: targets, their services that would be others, and how.
fn would_told(answer: &Value) -> String {
    let mut out = String::new();
    let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let (targets, notes) = (list(&answer["targets"]), list(&answer["notes"]));
    let changed = targets.iter().filter(|target| !list(&target["services"]).is_empty());
    let mut count = 0;
    for target in changed {
        count += 1;
        let _ = writeln!(out, "{}", text(&target["target"]));
        for service in list(&target["services"]) {
            let field = |name: &str| text(&service[name]);
            let (before, version) = (field("before"), field("version"));
            let step = if before.is_empty() || before == version {
                version
            } else {
                format!("{before} to {version}")
            };
            let _ = writeln!(
                out,
                "  {}/{} {}: {step}",
                field("namespace"),
                field("name"),
                field("change").to_lowercase()
            );
            if !field("problem").is_empty() {
                let _ = writeln!(out, "    {}", field("problem"));
            }
            for object in list(&service["objects"]) {
                let mark = match object["change"].as_str() {
                    Some("Created") => "+",
                    Some("Deleted") => "-",
                    _ => "~",
                };
                let _ = writeln!(out, "    {mark} {}", text(&object["object"]));
                for field in list(&object["fields"]) {
                    let value = |name: &str| match (&field["hidden"], field[name].as_str()) {
                        (Value::Bool(true), _) => "(hidden)".to_owned(),
                        (_, Some(value)) => value.to_owned(),
                        (_, None) => "nothing".to_owned(),
                    };
                    let _ = writeln!(
                        out,
                        "        {}: {} to {}",
                        text(&field["path"]),
                        value("before"),
                        value("after")
                    );
                }
            }
        }
    }
    for note in notes {
        let _ = writeln!(out, "note: {}", text(&note));
    }
    let more = answer["leftOut"].as_u64().unwrap_or(0);
    let same = targets.len() - count;
    let _ = writeln!(out, "{count} targets would change, {same} stay as they are");
    if more > 0 {
        let _ = writeln!(out, "{more} more are concerned and were not rendered");
    }
    out
}

/// Target, how fresh the answer is, and what nobody can find.
pub(super) fn head(answer: &Value) -> String {
    let field = |name: &str| text(&answer[name]);
    let mut out = field("target");
    if answer["live"] == true {
        let newest = text(&answer["plan"]["generation"]);
        let at = field("atPlan");
        let newer = if at == newest || newest.is_empty() {
            String::new()
        } else {
            format!("; plan {newest} is the newest, and not there yet")
        };
        let _ = write!(out, ", plan {at}, seen {}{newer}", field("seen"));
    } else {
        let seen = field("seen");
        let known =
            if seen.is_empty() { "nothing is known".to_owned() } else { format!("last known, of {seen}") };
        let _ = write!(out, ": {}; {known}", field("because"));
    }
    if answer["named"] == false {
        out.push_str("\nthe service is not asked for there; `skein explain` tells why");
    }
    out.push('\n');
    out
}

/// For a person: a line for each field that differs.
fn told(answer: &Value) -> String {
    let mut out = head(answer);
    let mut same = 0;
    let live = answer["live"] == true;
    for service in answer["services"].as_array().into_iter().flatten() {
        let field = |name: &str| text(&service[name]);
        same += service["same"].as_u64().unwrap_or(0);
        let objects = service["objects"].as_array().map(Vec::as_slice).unwrap_or_default();
        if objects.is_empty() && live {
            continue;
        }
        let _ = write!(out, "\n{}/{} version {}", field("namespace"), field("name"), field("version"));
        if !live {
            let _ = write!(out, ": {} since {} {}", field("state"), field("since"), field("message"));
        }
        out.push('\n');
        for object in objects {
            let name = text(&object["object"]);
            let _ = match text(&object["finding"]).as_str() {
                "Missing" => writeln!(out, "- {name} is not there"),
                "Differs" => writeln!(out, "~ {name}"),
                _ => writeln!(out, "? {name}: {}", text(&object["message"])),
            };
            for line in object["lines"].as_array().into_iter().flatten() {
                let path = text(&line["path"]);
                let _ = match (line["live"].as_str(), line["desired"].as_str()) {
                    (Some(live), Some(desired)) => writeln!(out, "    {path}: {live} instead of {desired}"),
                    (None, Some(desired)) => writeln!(out, "    {path}: missing, {desired} desired"),
                    _ => writeln!(out, "    {path}: differs (hidden)"),
                };
            }
        }
    }
    if live {
        let _ = writeln!(out, "\n{same} objects are as desired");
    }
    if let Some(more) = answer["leftOut"].as_u64().filter(|more| *more > 0) {
        let _ = writeln!(out, "{more} more did not fit the answer: name a service");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_field_that_differs_is_a_line_and_secrets_are_hidden() {
        let answer = json!({"target": "Edge kcm-system/e1", "plan": {"generation": "1.8"}, "live": true, "atPlan": "1.7",
            "seen": "T", "leftOut": 1, "services": [
                {"namespace": "shop", "name": "web", "version": "1.0", "same": 4, "objects": [
                    {"object": "Deployment.apps web", "finding": "Differs", "lines": [
                        {"path": ".spec.replicas", "live": "5", "desired": "3"},
                        {"path": ".spec.paused", "live": null, "desired": "true"}]},
                    {"object": "Secret login", "finding": "Differs", "lines": [{"path": ".data.password"}]},
                    {"object": "Service web", "finding": "Missing", "lines": []},
                    {"object": "Route web", "finding": "Unknown", "message": "not served", "lines": []}]},
                {"namespace": "shop", "name": "db", "version": "1.0", "same": 2, "objects": []}]});
        let expected = "Edge kcm-system/e1, plan 1.7, seen T; plan 1.8 is the newest, and not there yet

shop/web version 1.0
~ Deployment.apps web
    .spec.replicas: 5 instead of 3
    .spec.paused: missing, true desired
~ Secret login
    .data.password: differs (hidden)
- Service web is not there
? Route web: not served

6 objects are as desired
1 more did not fit the answer: name a service
";
        assert_eq!(told(&answer), expected);
    }

    #[test]
    fn what_would_change_is_told_by_target_service_object_and_field() {
        let field = json!({"path": ".spec.replicas", "before": "1", "after": "3", "hidden": false});
        let secret = json!({"path": ".data.a", "hidden": true});
        let answer = json!({"targets": [{"target": "Edge a/e1", "services": [
                {"namespace": "shop", "name": "web", "change": "Changed", "version": "1.1", "before": "1.0", "objects": [
                    {"object": "Deployment.apps web", "change": "Changed", "fields": [field]},
                    {"object": "Secret login", "change": "Changed", "fields": [secret]},
                    {"object": "Service web", "change": "Deleted", "fields": []}]},
                {"namespace": "shop", "name": "db", "change": "Refused", "version": "2.0", "problem": "no", "objects": []}]},
            {"target": "Edge a/e2", "services": []}], "leftOut": 3, "notes": []});
        let expected = "Edge a/e1
  shop/web changed: 1.0 to 1.1
    ~ Deployment.apps web
        .spec.replicas: 1 to 3
    ~ Secret login
        .data.a: (hidden) to (hidden)
    - Service web
  shop/db refused: 2.0
    no
1 targets would change, 1 stay as they are
3 more are concerned and were not rendered
";
        assert_eq!(would_told(&answer), expected);
    }

    #[test]
    fn an_edge_that_is_away_is_told_as_such_with_what_was_known_last() {
        let answer = json!({"target": "Edge a/e1", "live": false, "because": "the edge is away since T1", "seen": "T2",
            "services": [{"namespace": "shop", "name": "web", "version": "1.0", "state": "Failed", "since": "T3",
                "message": "no", "objects": []}]});
        assert_eq!(
            told(&answer),
            "Edge a/e1: the edge is away since T1; last known, of T2\n\nshop/web version 1.0: Failed since T3 no\n"
        );
    }
}
