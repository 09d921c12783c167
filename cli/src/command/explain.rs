//! `skein explain`: what the services of a cluster are made of, and why they are not newer.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::Output;
use crate::hub_api;
use crate::state_dir::StateDir;

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// clusterdeployment/NAME, edge/NAME or serviceset/NAME
    #[arg(value_parser = subject)]
    subject: (String, String),
    /// Only the services of this name
    service: Option<String>,
    /// Namespace of the object; kcm-system for edges and default for the others if not given
    #[arg(short, long)]
    namespace: Option<String>,
    /// The hub's HTTP address
    #[arg(long, value_name = "URL", env = "SKEIN_HUB")]
    hub: Option<String>,
    /// How to show the answer
    #[arg(short, long, value_enum, default_value_t)]
    output: Output,
}

/// Kind, as the hub names it, and name.
fn subject(text: &str) -> Result<(String, String), String> {
    let accepted = "clusterdeployment/NAME, edge/NAME and serviceset/NAME are accepted";
    let (kind, name) = text.split_once('/').ok_or_else(|| format!("\"{text}\" names no kind: {accepted}"))?;
    let kind = match kind.to_lowercase().as_str() {
        "clusterdeployment" | "clusterdeployments" | "cluster" | "cld" => "clusterdeployment",
        "edge" | "edges" => "edge",
        "serviceset" | "servicesets" => "serviceset",
        other => return Err(format!("kind \"{other}\" is not known: {accepted}")),
    };
    if name.is_empty() || name.contains('/') {
        return Err(format!("\"{name}\" is no name of an object"));
    }
    Ok((kind.to_owned(), name.to_owned()))
}

/// Asks and shows.
pub(crate) async fn show(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = hub_api::hub_url(arguments.hub.as_deref(), StateDir::find(state).ok().as_ref())?;
    let (kind, name) = arguments.subject;
    let usual = if kind == "edge" { "kcm-system" } else { "default" };
    let namespace = arguments.namespace.as_deref().unwrap_or(usual);
    let answer = reqwest::get(format!("{url}/api/v1/explain/{kind}/{namespace}/{name}"));
    let answer = answer.await.with_context(|| format!("the hub at {url} does not answer"))?;
    let status = answer.status();
    let mut answer: Value = answer.json().await.context("the hub's answer is not JSON")?;
    if !status.is_success() {
        bail!("{}", text(&answer["message"]));
    }
    if let (Some(wanted), Some(services)) = (&arguments.service, answer["services"].as_array_mut()) {
        let names: Vec<_> = services.iter().map(|service| text(&service["name"])).collect();
        services.retain(|service| service["name"] == **wanted);
        if services.is_empty() {
            bail!(
                "there is no service \"{wanted}\" in {kind} {namespace}/{name}; it has {}",
                names.join(", ")
            );
        }
    }
    match arguments.output {
        Output::Json => super::print(&serde_json::to_string_pretty(&answer)?),
        Output::Table => super::print(&told(&answer)),
    }
    Ok(())
}

/// For a person: a paragraph for the target, and one for each service.
fn told(answer: &Value) -> String {
    let mut out = Lines::default();
    out.head(&text(&answer["target"]));
    out.line("region", &text(&answer["region"]));
    if let Some(plan) = answer["plan"].as_object() {
        let applied = plan.get("applied").map_or_else(|| "none yet".to_owned(), text);
        let (generation, since) = (text(&plan["generation"]), text(&plan["issuedAt"]));
        out.line("plan", &format!("{generation} of {since}, carried out: {applied}"));
    }
    out.line("held", &text(&answer["held"]));
    for service in answer["services"].as_array().into_iter().flatten() {
        out.service(service);
    }
    let watched: Vec<_> = answer["watched"].as_array().into_iter().flatten().map(text).collect();
    if !watched.is_empty() {
        out.head("Renders again when one of these changes");
        watched.iter().for_each(|one| out.line("", one));
    }
    out.0
}

#[derive(Default)]
struct Lines(String);

impl Lines {
    fn head(&mut self, text: &str) {
        let gap = if self.0.is_empty() { "" } else { "\n" };
        let _ = writeln!(self.0, "{gap}{text}");
    }

    fn line(&mut self, name: &str, text: &str) {
        if !text.is_empty() {
            let _ = writeln!(self.0, "  {name:<10} {text}");
        }
    }

    fn service(&mut self, service: &Value) {
        let field = |name: &str| text(&service[name]);
        self.head(&format!("{}/{}", field("namespace"), field("name")));
        self.line("asked by", &format!("{} (set {})", field("owner"), field("set")));
        self.line("problem", &field("problem"));
        let source = &service["source"];
        let part = |name: &str| text(&source[name]);
        let at = |word: &str, text: String| if text.is_empty() { text } else { format!("{word}{text}") };
        let told =
            format!("{}{}{}", part("name"), at(" at ", part("revision")), at(", sha256:", part("digest")));
        self.line("source", &told);
        self.line("failing", &part("failing"));
        let Some(origin) = service["origin"].as_object() else { return };
        let source = &origin["source"];
        let part = |name: &str| text(&source[name]);
        let content = format!("{} {} {}", part("kind"), part("version"), part("digest"));
        self.line("template", &part("template"));
        self.line("content", content.trim_end());
        self.line("stale", &part("stale"));
        for document in origin["documents"].as_array().into_iter().flatten() {
            let mut notes = vec![format!("{} bytes", document["bytes"])];
            notes.extend((document["template"] == true).then(|| "templates expanded".to_owned()));
            notes.extend((document["secret"] == true).then(|| "secret".to_owned()));
            self.line("values", &format!("{} ({})", text(&document["name"]), notes.join(", ")));
        }
        for object in origin["objects"].as_array().into_iter().flatten() {
            let (namespace, slash) = match text(&object["namespace"]) {
                none if none.is_empty() => (none, ""),
                some => (some, "/"),
            };
            let parts: Vec<_> = object["parts"].as_array().into_iter().flatten().map(text).collect();
            let (kind, name) = (text(&object["kind"]), text(&object["name"]));
            let mut line = format!("{kind} {namespace}{slash}{name}");
            match text(&object["version"]) {
                none if none.is_empty() => {}
                version => line.push_str(&format!(" at version {version}")),
            }
            if !parts.is_empty() {
                line.push_str(&format!(", of it {}", parts.join(", ")));
            }
            self.line("read", &line);
        }
        let random =
            if service["random"] == true { "; randomness or clock kept from its first render" } else { "" };
        let at = at(" at ", field("renderedAt"));
        self.line("rendered", &format!("by {}{at}{random}", field("renderedBy")));
        self.line("because", &field("because"));
        let (objects, hooks, sealed) = (&service["objects"], &service["hooks"], &service["sealed"]);
        self.line("objects", &format!("{objects}, hooks {hooks}, sealed {sealed}"));
        self.line("hash", &field("hash"));
    }
}

/// A text, or nothing.
fn text(value: &Value) -> String {
    match value {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other @ (Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_)) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn subjects_are_named_as_kubectl_names_them() {
        let named = |kind: &str| Ok((kind.to_owned(), "a".to_owned()));
        assert_eq!(subject("ClusterDeployment/a"), named("clusterdeployment"));
        assert_eq!(subject("cld/a"), named("clusterdeployment"));
        assert_eq!(subject("edges/a"), named("edge"));
        assert!(subject("a").unwrap_err().contains("names no kind"));
        assert!(subject("pod/a").unwrap_err().contains("\"pod\" is not known"));
        assert!(subject("edge/").is_err() && subject("edge/a/b").is_err());
    }

    #[test]
    fn a_service_is_told_with_everything_that_went_in() {
        let answer = json!({"target": "Edge kcm-system/e1", "region": "eu",
            "plan": {"generation": "1.2", "issuedAt": "2026-11-21T10:00:00Z"},
            "services": [
                {"set": "kcm-system/s", "owner": "MultiClusterService m", "namespace": "d", "name": "web",
                 "source": {"name": "GitRepository/apps", "revision": "main@sha1:0f", "digest": "ee",
                    "failing": "401 (since 2026-11-21T09:00:00Z)"}, "origin": {
                    "source": {"template": "web", "kind": "chart", "version": "1.0", "digest": "sha256:ab"},
                    "documents": [{"name": "Secret d/p key \"v\"", "bytes": 9, "template": true, "secret": true}],
                    "objects": [{"kind": "Secret", "namespace": "d", "name": "x", "version": "7", "parts": ["spec"]}]},
                 "renderedBy": "helm", "because": "web/templates/a.yaml:3: it lacks x", "random": true,
                 "renderedAt": "2026-11-21T09:59:00Z", "objects": 3, "hooks": 0, "sealed": 3, "hash": "cd"},
                {"set": "kcm-system/s", "owner": "MultiClusterService m", "namespace": "d", "name": "old",
                 "problem": "chart not found"}],
            "watched": ["ConfigMap d/conf, of it data", "source GitRepository/apps of d"]});
        let expected = "Edge kcm-system/e1
  region     eu
  plan       1.2 of 2026-11-21T10:00:00Z, carried out: none yet

d/web
  asked by   MultiClusterService m (set kcm-system/s)
  source     GitRepository/apps at main@sha1:0f, sha256:ee
  failing    401 (since 2026-11-21T09:00:00Z)
  template   web
  content    chart 1.0 sha256:ab
  values     Secret d/p key \"v\" (9 bytes, templates expanded, secret)
  read       Secret d/x at version 7, of it spec
  rendered   by helm at 2026-11-21T09:59:00Z; randomness or clock kept from its first render
  because    web/templates/a.yaml:3: it lacks x
  objects    3, hooks 0, sealed 3
  hash       cd

d/old
  asked by   MultiClusterService m (set kcm-system/s)
  problem    chart not found

Renders again when one of these changes
             ConfigMap d/conf, of it data
             source GitRepository/apps of d
";
        assert_eq!(told(&answer), expected);
    }
}
