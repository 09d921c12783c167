//! Charts that need what the engine lacks, rendered by a `helm` binary where one is configured.
//!
//! Beside the deciding task, since a process takes its time: the first question starts it, the answer is announced and
//! whoever asked decides again. Bounded in time and output. What Helm draws at random is remembered while the hub runs.

use std::collections::HashMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use process::Process;
use protocol::id::Digest;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::bundle::Bundle;
use super::rendering::{Unrendered, from_manifests};
use crate::cache::{Cache, Key, Kind};

/// Longest run, and largest output in bytes.
const RUN_MAX: Duration = Duration::from_secs(60);
const OUTPUT_BYTES_MAX: u64 = 32 << 20;

/// A `helm` binary and what it rendered.
pub struct Helm {
    /// The binary.
    pub binary: PathBuf,
    /// The folder where archives are kept by digest.
    pub archives: PathBuf,
    /// Where answers are announced.
    pub cache: Cache,
    /// Who owns the runs.
    pub process: Process,
    /// What was asked for: nothing while it runs.
    pub answers: Answers,
}

/// What each run gave, by the digest of what was asked; nothing while it runs.
type Answers = Arc<Mutex<HashMap<Digest, Option<Result<Arc<Bundle>, String>>>>>;

/// One run.
pub struct Job {
    /// SHA-256 of the archive in hexadecimal.
    pub archive: String,
    /// Name of the release.
    pub name: String,
    /// Namespace of the release.
    pub namespace: String,
    /// The values.
    pub values: Value,
    /// Version of the cluster's API server, where it is known.
    pub kubernetes_version: Option<String>,
    /// Labels that every object gets.
    pub labels: Vec<(String, String)>,
    /// Leave out the objects of `crds/`.
    pub skip_crds: bool,
    /// Do not hold values against `values.schema.json`.
    pub skip_schema_validation: bool,
}

impl Helm {
    /// The answer; an error that says to wait while there is none.
    ///
    /// # Errors
    /// What Helm says, or that it runs.
    pub fn ask(&self, digest: Digest, job: impl FnOnce() -> Job) -> Result<Arc<Bundle>, Unrendered> {
        let key = Key::new(Kind::FetchedChart, "helm", &digest.to_string());
        let mut answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        match answers.get(&digest) {
            Some(Some(answer)) => return answer.clone().map_err(Unrendered::failed),
            Some(None) => {}
            None => {
                answers.insert(digest, None);
                self.start(digest, key.clone(), job());
            }
        }
        Err(Unrendered {
            message: "helm is rendering the chart".to_owned(),
            waits_for: Some(key),
            unsupported: false,
        })
    }

    fn start(&self, digest: Digest, key: Key, job: Job) {
        let (binary, archives) = (self.binary.clone(), self.archives.clone());
        let (answers, cache, cancel) =
            (self.answers.clone(), self.cache.clone(), self.process.cancel.clone());
        self.process.tasks.spawn(async move {
            let run = tokio::time::timeout(RUN_MAX, run(binary, archives, job));
            let Some(outcome) = cancel.run_until_cancelled(run).await else { return };
            let answer = match outcome {
                Ok(answer) => answer.map(Arc::new),
                Err(_) => Err(format!("helm did not finish within {} s", RUN_MAX.as_secs())),
            };
            answers.lock().unwrap_or_else(PoisonError::into_inner).insert(digest, Some(answer));
            cache.announce(key);
        });
    }
}

async fn run(binary: PathBuf, archives: PathBuf, job: Job) -> Result<Bundle, String> {
    let failed =
        |what: &str, error: std::io::Error| format!("failed to {what} \"{}\": {error}", binary.display());
    let mut command = tokio::process::Command::new(&binary);
    command.arg("template").arg(&job.name).arg(archives.join(format!("{}.tgz", job.archive)));
    command.arg("--namespace").arg(&job.namespace).args(["--values", "-"]);
    if !job.skip_crds {
        command.arg("--include-crds");
    }
    if job.skip_schema_validation {
        command.arg("--skip-schema-validation");
    }
    if let Some(version) = &job.kubernetes_version {
        command.arg("--kube-version").arg(version);
    }
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let mut child = command.spawn().map_err(|error| failed("run", error))?;
    let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    let values = job.values.to_string();
    let feed = async {
        if let Some(mut stdin) = stdin {
            stdin.write_all(values.as_bytes()).await?;
        }
        Ok::<_, std::io::Error>(())
    };
    let (fed, out, complaint) = tokio::join!(feed, all_of(stdout), all_of(stderr));
    let (text, complaint) = (
        out.map_err(|error| failed("read from", error))?,
        complaint.map_err(|error| failed("read from", error))?,
    );
    let status = child.wait().await.map_err(|error| failed("wait for", error))?;
    if !status.success() {
        return Err(format!("helm: {}", complaint.trim()));
    }
    fed.map_err(|error| failed("write to", error))?;
    if text.len() as u64 >= OUTPUT_BYTES_MAX {
        return Err(format!("helm's output exceeds the limit of {OUTPUT_BYTES_MAX} bytes"));
    }
    from_manifests(&text, &job.labels)
}

async fn all_of(pipe: Option<impl AsyncReadExt + Unpin>) -> std::io::Result<String> {
    let mut bytes = Vec::new();
    if let Some(pipe) = pipe {
        pipe.take(OUTPUT_BYTES_MAX).read_to_end(&mut bytes).await?;
    }
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::plan::{HookDeletion, HookEvent};
    use serde_json::json;

    fn helm() -> Helm {
        Helm {
            binary: concat!(env!("CARGO_MANIFEST_DIR"), "/tests/support/helm").into(),
            archives: "/charts".into(),
            cache: Cache::default(),
            process: Process::embedded(),
            answers: Arc::default(),
        }
    }

    fn job(name: &str) -> Job {
        Job {
            archive: "00ff".to_owned(),
            name: name.to_owned(),
            namespace: "shop".to_owned(),
            values: json!({"a": 1}),
            kubernetes_version: Some("v1.36.3".to_owned()),
            labels: vec![("who".to_owned(), "me".to_owned())],
            skip_crds: false,
            skip_schema_validation: true,
        }
    }

    async fn answer(helm: &Helm, name: &str) -> Result<Arc<Bundle>, Unrendered> {
        let mut changes = helm.cache.subscribe();
        let digest = Digest::of(name.as_bytes());
        let waiting = helm.ask(digest, || job(name)).unwrap_err();
        assert!(waiting.waits_for.is_some());
        let announced = tokio::time::timeout(Duration::from_secs(20), changes.next()).await.unwrap();
        assert_eq!(announced.first().map(|change| &change.key), waiting.waits_for.as_ref());
        helm.ask(digest, || job(name))
    }

    #[tokio::test]
    async fn helm_is_asked_once_and_its_answer_is_announced() {
        let bundle = answer(&helm(), "web").await.unwrap();
        let content: Value = serde_json::from_slice(&bundle.objects[0].content).unwrap();
        assert_eq!(content["metadata"]["labels"]["who"], "me");
        assert_eq!(content["data"]["values"], r#"{"a":1}"#);
        assert_eq!(
            content["data"]["arguments"],
            "template web /charts/00ff.tgz --namespace shop --values - --include-crds --skip-schema-validation --kube-version v1.36.3"
        );
        let hook = &bundle.hooks[0].entry;
        assert_eq!(hook.events, [HookEvent::PreInstall, HookEvent::PostUpgrade]);
        assert_eq!((hook.weight, hook.deletion.as_slice()), (3, &[HookDeletion::BeforeCreation][..]));
    }

    #[tokio::test]
    async fn what_helm_refuses_is_said_in_its_words() {
        let error = answer(&helm(), "refused").await.unwrap_err();
        assert_eq!(error.message, "helm: Error: execution error at (x/templates/x.yaml:1:3): no");
        let missing = Helm { binary: "/nowhere/helm".into(), ..helm() };
        let error = answer(&missing, "web").await.unwrap_err();
        assert!(error.message.starts_with("failed to run \"/nowhere/helm\""), "{}", error.message);
    }
}
