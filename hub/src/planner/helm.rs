//! Charts that need what the engine lacks, rendered by a `helm` binary where one is configured.
//!
//! Beside the deciding task, since a process takes its time: the first question starts it, the answer is announced and
//! whoever asked decides again. A run is bounded in time, memory, output and files, has no network where the system
//! lets (see [`child`]), and works in a folder of its own with an empty environment; few run at once.
//!
//! # Why everything it prints is kept
//! Nobody can tell whether a chart asked Helm for randomness or the clock. So what it printed is kept in Secrets beside
//! the ServiceSet ([`Seeds::keep`]): a release stays the same until its inputs change, also after a restart, which then
//! costs no process either.

use std::collections::HashSet;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use child::{Bounds, ChildError};
use lru::LruCache;
use process::Process;
use protocol::id::Digest;
use serde_json::Value;
use source::Content;
use tokio::sync::Semaphore;

use super::bundle::Bundle;
use super::rendering::{Fallback, Seeds, Unrendered};
use super::{manifests, release_key};
use crate::cache::{Cache, Key, Kind};

/// What one run may consume. Go reserves far more addresses than it uses.
const BOUNDS: Bounds = Bounds {
    time: Duration::from_secs(60),
    memory_bytes: 4 << 30,
    file_bytes: 256 << 20,
    output_bytes: 32 << 20,
    network: false,
};
/// Runs at once: a small chart costs 45 ms of processor time, a large one seconds.
const RUNS_MAX: usize = 2;
/// Answers that are remembered, and their bytes.
const REMEMBERED: (usize, usize) = (4096, 64 << 20);
/// After this a run that failed for no fault of the chart is tried again.
const AGAIN: Duration = Duration::from_secs(30);

/// A `helm` binary and what it rendered. Clones share the content.
#[derive(Clone)]
pub struct Helm(Arc<Shared>);

struct Shared {
    binary: PathBuf,
    folder: PathBuf,
    cache: Cache,
    process: Process,
    permits: Semaphore,
    answers: Mutex<Answers>,
    ends: [AtomicU64; 3],
}

/// How a run ended: the names of [`ENDS`] in order.
#[derive(Debug, Clone, Copy)]
enum End {
    Rendered,
    Refused,
    Failed,
}

const ENDS: [&str; 3] = ["rendered", "refused", "failed"];

struct Answers {
    running: HashSet<Digest>,
    known: LruCache<Digest, Answer>,
    bytes: usize,
}

type Answer = Result<Arc<Bundle>, String>;

/// What a run printed, and for which input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Printed {
    /// Over everything that went in.
    pub digest: Digest,
    /// Manifests, as `helm template` prints them.
    pub text: String,
}

/// One run.
pub struct Job {
    /// Over everything that goes in.
    pub digest: Digest,
    /// Why the engine does not do it.
    pub why: String,
    /// The chart: an archive, or its files.
    pub chart: Content,
    /// Namespace and name of the set whose Secrets keep what is printed.
    pub set: (String, String),
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

impl Job {
    fn bundle(&self, text: &str) -> Answer {
        let bundle = manifests::printed(text, &self.labels)?;
        Ok(Arc::new(Bundle { by_helm: Some(self.why.as_str().into()), ..bundle }))
    }

    fn release(&self) -> String {
        release_key(&self.namespace, &self.name)
    }
}

impl Helm {
    /// A binary that works below `folder`; what an earlier hub left there is removed.
    pub fn new(binary: PathBuf, folder: PathBuf, cache: Cache, process: &Process) -> Self {
        let _ = std::fs::remove_dir_all(&folder);
        let count = NonZeroUsize::new(REMEMBERED.0).unwrap_or(NonZeroUsize::MIN);
        let answers = Answers { running: HashSet::new(), known: LruCache::new(count), bytes: 0 };
        let helm = Self(Arc::new(Shared {
            binary,
            folder,
            cache,
            process: process.clone(),
            permits: Semaphore::new(RUNS_MAX),
            answers: Mutex::new(answers),
            ends: Default::default(),
        }));
        let told = Arc::downgrade(&helm.0);
        process.metrics.source(move |gathering| {
            let Some(shared) = told.upgrade() else { return };
            for (name, count) in ENDS.iter().zip(&shared.ends) {
                let help = "Runs of the helm binary for charts that need what the engine lacks, by outcome.";
                let count = count.load(Ordering::Relaxed) as f64;
                gathering.counter("skein_hub_helm_runs_total", help, &[("outcome", name)], count);
            }
            let running = shared.answers().running.len() as f64;
            gathering.gauge("skein_hub_helm_runs", "Runs of the helm binary under way.", &[], running);
        });
        helm
    }

    /// The answer to what was asked before; nothing when it never was, or was forgotten.
    pub fn known(&self, digest: &Digest) -> Option<Result<Arc<Bundle>, Unrendered>> {
        let answer = self.0.answers().known.get(digest).cloned()?;
        // A run that failed for no fault of the chart is tried again, and that is announced.
        let waits_for = Some(key(digest));
        Some(answer.map_err(|message| Unrendered { waits_for, ..Unrendered::failed(message) }))
    }

    /// The answer; an error that says to wait while there is none.
    ///
    /// # Errors
    /// What Helm says, or that it runs.
    pub fn ask(&self, job: Job, seeds: &Arc<dyn Seeds>) -> Result<Arc<Bundle>, Unrendered> {
        if let Some(answer) = self.known(&job.digest) {
            return answer;
        }
        let set = (job.set.0.as_str(), job.set.1.as_str());
        let printed = seeds.printed(set, &job.release()).filter(|printed| printed.digest == job.digest);
        if let Some(Ok(bundle)) = printed.map(|printed| job.bundle(&printed.text)) {
            self.0.answers().keep(job.digest, Ok(bundle.clone()));
            return Ok(bundle);
        }
        let key = key(&job.digest);
        if self.0.answers().running.insert(job.digest) {
            self.start(key.clone(), job, seeds.clone());
        }
        Err(Unrendered {
            message: "helm is rendering the chart".to_owned(),
            failed: false,
            waits_for: Some(key),
            fallback: Fallback::No,
        })
    }

    fn start(&self, key: Key, job: Job, seeds: Arc<dyn Seeds>) {
        let (helm, cancel) = (self.clone(), self.0.process.cancel.clone());
        self.0.process.tasks.spawn(async move {
            let whole = async {
                let (answer, end) = helm.0.answer(&job, &*seeds).await;
                if let Err(why) = &answer {
                    tracing::warn!(release = job.name, namespace = job.namespace, %why, "helm rendered nothing");
                }
                helm.0.ends[end as usize].fetch_add(1, Ordering::Relaxed);
                helm.0.answers().ended(job.digest, answer);
                helm.0.cache.announce(key.clone());
                if matches!(end, End::Failed) {
                    tokio::time::sleep(AGAIN).await;
                    helm.0.answers().forget(&job.digest);
                    helm.0.cache.announce(key);
                }
            };
            cancel.run_until_cancelled(whole).await;
        });
    }
}

impl Shared {
    fn answers(&self) -> std::sync::MutexGuard<'_, Answers> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn answer(&self, job: &Job, seeds: &dyn Seeds) -> (Answer, End) {
        let Ok(_permit) = self.permits.acquire().await else {
            return (Err("the hub ends".to_owned()), End::Failed);
        };
        let text = match self.run(job).await {
            Ok(Ok(text)) => text,
            Ok(Err(refusal)) => return (Err(refusal), End::Refused),
            Err(failure) => {
                let binary = self.binary.display();
                return (Err(format!("helm (\"{binary}\") cannot be run: {failure}")), End::Failed);
            }
        };
        let answer = job.bundle(&text);
        let end = if answer.is_ok() { End::Rendered } else { End::Refused };
        if answer.is_ok() {
            let printed = Printed { digest: job.digest, text };
            seeds.keep((&job.set.0, &job.set.1), &job.release(), &printed);
        }
        (answer, end)
    }

    /// What it prints, or in the inner result why it refuses the chart.
    async fn run(&self, job: &Job) -> Result<Result<String, String>, String> {
        let told =
            |error: std::io::Error| format!("failed to write below \"{}\": {error}", self.folder.display());
        std::fs::create_dir_all(&self.folder).map_err(told)?;
        let folder = tempfile::Builder::new().prefix("run-").tempdir_in(&self.folder).map_err(told)?;
        let chart = folder.path().join("chart.tgz");
        let chart = match &job.chart {
            Content::File { bytes, .. } => std::fs::write(&chart, bytes).map(|()| chart),
            Content::Tree(files) => laid_out(files, &folder.path().join("chart")),
        };
        let arguments = job.arguments(&chart.map_err(told)?);
        let mut command = child::command(&self.binary, arguments, folder.path(), &BOUNDS);
        for (name, below) in [
            ("HELM_CACHE_HOME", "cache"),
            ("HELM_CONFIG_HOME", "config"),
            ("HELM_DATA_HOME", "data"),
            ("HELM_PLUGINS", "plugins"),
        ] {
            command.env(name, folder.path().join(below));
        }
        // Where the system does not let the network be taken away, nothing answers there.
        let nowhere = "http://127.0.0.1:1";
        command.env("KUBECONFIG", "/dev/null").env("HTTP_PROXY", nowhere).env("HTTPS_PROXY", nowhere);
        let values = job.values.to_string();
        let ended = match child::exchange(command, values.as_bytes(), &BOUNDS).await {
            Ok(ended) => ended,
            Err(error @ ChildError::Output(_)) => return Ok(Err(format!("helm: {error}"))),
            Err(error) => return Err(error.to_string()),
        };
        match ended.code {
            Some(0) => Ok(Ok(String::from_utf8_lossy(&ended.output).into_owned())),
            // As a shell says it.
            Some(code @ (126 | 127)) => Err(format!("{} (code {code})", ended.words.trim())),
            Some(_) if ended.words.contains("Error: ") => Ok(Err(format!("helm: {}", said(&ended.words)))),
            Some(code) => Err(format!("it ended with code {code}: {}", said(&ended.words))),
            None => Ok(Err(format!(
                "helm was ended by a signal; it may take {} MiB and {} s: {}",
                BOUNDS.memory_bytes >> 20,
                BOUNDS.time.as_secs(),
                said(&ended.words)
            ))),
        }
    }
}

impl Job {
    fn arguments(&self, chart: &Path) -> Vec<std::ffi::OsString> {
        let mut all: Vec<std::ffi::OsString> = vec!["template".into(), (&self.name).into(), chart.into()];
        all.extend(["--namespace".into(), (&self.namespace).into(), "--values".into(), "-".into()]);
        all.extend((!self.skip_crds).then(|| "--include-crds".into()));
        all.extend(self.skip_schema_validation.then(|| "--skip-schema-validation".into()));
        if let Some(version) = &self.kubernetes_version {
            all.extend(["--kube-version".into(), version.into()]);
        }
        all
    }
}

/// Under which key an answer is announced.
fn key(digest: &Digest) -> Key {
    Key::new(Kind::FetchedChart, "helm", &digest.to_string())
}

impl Answers {
    fn ended(&mut self, digest: Digest, answer: Answer) {
        self.running.remove(&digest);
        self.keep(digest, answer);
    }

    fn keep(&mut self, digest: Digest, answer: Answer) {
        self.bytes += size(&answer);
        if let Some((_, old)) = self.known.push(digest, answer) {
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
        while self.bytes > REMEMBERED.1 && self.known.len() > 1 {
            let Some((_, old)) = self.known.pop_lru() else { break };
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
    }

    fn forget(&mut self, digest: &Digest) {
        if let Some(old) = self.known.pop(digest) {
            self.bytes = self.bytes.saturating_sub(size(&old));
        }
    }
}

fn size(answer: &Answer) -> usize {
    answer.as_ref().map_or_else(String::len, |bundle| bundle.size())
}

/// Writes the files of a chart; their paths were checked when they came.
fn laid_out(files: &source::Tree, folder: &Path) -> std::io::Result<PathBuf> {
    for (path, bytes) in files {
        let path = source::plain_folder(path).unwrap_or_default();
        let at = folder.join(path);
        if let Some(parent) = at.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(at, bytes)?;
    }
    Ok(folder.to_owned())
}

/// Helm's words without what it warns of before.
fn said(words: &str) -> &str {
    words.find("Error: ").map_or(words, |at| &words[at..]).trim()
}

#[cfg(test)]
mod tests;
