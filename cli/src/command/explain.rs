//! `skein explain`: what the services of a cluster are made of, and why they are not newer.

use std::fmt::Write as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::{Asking, text};

/// What to explain.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// clusterdeployment/NAME, edge/NAME or serviceset/NAME; and a service of it: NAME, NAMESPACE.NAME or
    /// NAMESPACE/NAME. `service/NAME on edge/NAME` is understood as well
    #[arg(required = true, num_args = 1..=3, value_name = "SUBJECT [SERVICE]")]
    words: Vec<String>,
    /// Namespace of the object; needed only where several have one of that name
    #[arg(short, long)]
    namespace: Option<String>,
    #[command(flatten)]
    asking: Asking,
}

/// What is asked about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Subject {
    /// The kind, as the hub names it.
    pub kind: String,
    /// The object's name.
    pub name: String,
    /// The service, if one is named.
    pub service: Option<String>,
}

/// Reads `edge/Y SERVICE`, `SERVICE on edge/Y` and what lies between.
pub(super) fn asked(words: &[String]) -> Result<Subject> {
    let mut rest: Vec<&str> = words.iter().map(String::as_str).filter(|word| *word != "on").collect();
    let service = |word: &str| word.strip_prefix("service/").map_or_else(|| word.to_owned(), str::to_owned);
    let at = rest.iter().position(|word| subject(word).is_ok());
    let Some(at) = at else {
        // The one that looks most like a subject says what is wrong.
        let word = rest.iter().find(|word| !word.starts_with("service/")).or(rest.first());
        bail!(
            "{}",
            word.map_or_else(|| "name an object".to_owned(), |word| subject(word).err().unwrap_or_default())
        );
    };
    let (kind, name) = subject(rest.remove(at)).map_err(anyhow::Error::msg)?;
    if let [first, second, ..] = rest.as_slice() {
        bail!("one service at a time: both \"{first}\" and \"{second}\" are named");
    }
    Ok(Subject { kind, name, service: rest.first().map(|word| service(word)) })
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

/// Asks the hub about a subject.
///
/// # Errors
/// When the hub does not answer, or says that there is no such object.
pub(super) async fn ask(url: &str, path: &str, subject: &Subject, namespace: Option<&str>) -> Result<Value> {
    let Subject { kind, name, service } = subject;
    let usual = if kind == "serviceset" { "default" } else { "-" };
    let namespace = namespace.unwrap_or(usual);
    let query =
        service.as_ref().map(|service| super::query::form_urlencoded(&[("service", service.clone())]));
    let mark = if query.is_some() { "?" } else { "" };
    let query = query.unwrap_or_default();
    let answer = reqwest::get(format!("{url}/api/v1/{path}/{kind}/{namespace}/{name}{mark}{query}"));
    let answer = answer.await.with_context(|| format!("the hub at {url} does not answer"))?;
    let status = answer.status();
    let answer: Value = answer.json().await.context("the hub's answer is not JSON")?;
    if !status.is_success() {
        bail!("{}", text(&answer["message"]));
    }
    Ok(answer)
}

/// Asks and shows.
pub(crate) async fn show(state: Option<PathBuf>, arguments: Arguments) -> Result<()> {
    let url = arguments.asking.url(state)?;
    let subject = asked(&arguments.words)?;
    let answer = ask(&url, "explain", &subject, arguments.namespace.as_deref()).await?;
    arguments.asking.show(&answer, |answer| match &subject.service {
        Some(wanted) => page(answer, wanted),
        None => told(answer),
    })
}

/// For a person who asks why one service is not there: the answer first, then its way, then what it is made of.
fn page(answer: &Value, wanted: &str) -> String {
    let mut out = Lines::default();
    let target = text(&answer["target"]);
    let services = answer["services"].as_array().map(Vec::as_slice).unwrap_or_default();
    let absent = answer["absent"].as_array().map(Vec::as_slice).unwrap_or_default();
    if services.is_empty() && absent.is_empty() {
        out.head(&format!("service {wanted} is not on {target}"));
        out.line("because", "no ClusterDeployment and no MultiClusterService names it");
        out.line("cure", "add it to spec.serviceSpec.services of one of them; `skein explain` without a service lists what is there");
    }
    for service in services {
        out.service(service);
        out.way(service);
    }
    for one in absent {
        let name = [text(&one["namespace"]), text(&one["name"])].join("/");
        let name = if name == "/" { wanted.to_owned() } else { name };
        out.head(&format!("service {name} is named by {}, and not for {target}", text(&one["owner"])));
        out.line("because", &text(&one["because"]));
        out.line("cure", &text(&one["cure"]));
    }
    out.0
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

    /// What happened to a service, and what must happen.
    fn way(&mut self, service: &Value) {
        let steps = service["way"].as_array().map(Vec::as_slice).unwrap_or_default();
        let stuck = steps.iter().find(|step| step["standing"] != "done");
        self.head("its way");
        for step in steps {
            let standing = match step["standing"].as_str().unwrap_or_default() {
                "done" => "ok",
                "waiting" => "WAITS",
                "wrong" => "WRONG",
                _ => "?",
            };
            let _ = writeln!(self.0, "  {standing:<5}  {:<11} {}", text(&step["step"]), text(&step["text"]));
        }
        for object in service["unsettled"].as_array().into_iter().flatten() {
            let field = |name: &str| text(&object[name]);
            let colon = if field("message").is_empty() { "" } else { ": " };
            let (name, health, since) = (field("object"), field("health"), field("since"));
            let _ = writeln!(self.0, "         {name} is {health} since {since}{colon}{}", field("message"));
        }
        match stuck {
            None => self.line("so", "it is there, as new as it should be"),
            Some(step) => {
                self.line("so", &text(&step["text"]));
                self.line("cure", &text(&step["cure"]));
            }
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
    fn a_service_is_named_before_or_behind_its_target() {
        let of = |words: &str| asked(&words.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let expected = |service: Option<&str>| Subject {
            kind: "edge".to_owned(),
            name: "e1".to_owned(),
            service: service.map(str::to_owned),
        };
        assert_eq!(of("edge/e1").unwrap(), expected(None));
        for words in [
            "edge/e1 shop.web",
            "edge/e1 service/shop.web",
            "shop.web on edge/e1",
            "service/shop.web edge/e1",
        ] {
            assert_eq!(of(words).unwrap(), expected(Some("shop.web")), "{words}");
        }
        assert_eq!(of("edge/e1 shop/web").unwrap(), expected(Some("shop/web")));
        assert!(of("edge/e1 a b").unwrap_err().to_string().contains("one service at a time"));
        assert!(of("service/a on pod/b").unwrap_err().to_string().contains("\"pod\" is not known"));
    }

    #[test]
    fn the_page_of_a_service_says_where_it_is_stuck_and_what_helps() {
        let step = |step, standing, text, cure: Option<&str>| json!({"step": step, "standing": standing, "text": text, "cure": cure});
        let answer = json!({"target": "Edge kcm-system/e1", "absent": [
                {"owner": "MultiClusterService n", "namespace": "d", "name": "web",
                 "because": "its clusterSelector does not match Edge kcm-system/e1: label \"a\" is absent and must be \"1\"",
                 "cure": "label Edge kcm-system/e1"}],
            "services": [{"set": "kcm-system/s", "owner": "MultiClusterService m", "namespace": "d", "name": "web",
                "way": [step("asked", "done", "MultiClusterService m selects it", None),
                    step("link", "unknown", "the edge is away since T", Some("look at the device"))],
                "unsettled": [{"object": "Pod d/web", "health": "Failed", "message": "OOMKilled", "since": "T"}]}]});
        let expected = "d/web
  asked by   MultiClusterService m (set kcm-system/s)

its way
  ok     asked       MultiClusterService m selects it
  ?      link        the edge is away since T
         Pod d/web is Failed since T: OOMKilled
  so         the edge is away since T
  cure       look at the device

service d/web is named by MultiClusterService n, and not for Edge kcm-system/e1
  because    its clusterSelector does not match Edge kcm-system/e1: label \"a\" is absent and must be \"1\"
  cure       label Edge kcm-system/e1
";
        assert_eq!(page(&answer, "web"), expected);
        assert!(
            page(&json!({"target": "Edge a/b"}), "web")
                .contains("no ClusterDeployment and no MultiClusterService names it")
        );
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
