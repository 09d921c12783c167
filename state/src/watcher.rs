//! One watch per kind in use: list in pages, then follow; resume where it broke, list again when that is
//! too long ago.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::{AsyncBufRead, AsyncBufReadExt};
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::sync::{Notify, mpsc};
use tokio::time::Instant;

use crate::api::{Api, ApiError, Failure};
use crate::backoff;
use crate::board::{Board, Sight};
use crate::live::Live;
use crate::object::{ObjectId, Resource};

/// Longest line of a watch: an object at etcd's limit, as JSON.
const LINE_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A watch that ends sooner than this counts as failed.
const SHORT_WATCH: Duration = Duration::from_secs(1);
const BACKOFF_BASE: Duration = Duration::from_millis(100);
const BACKOFF_CAP: Duration = Duration::from_secs(30);
/// Refusals in a row (about two seconds) after which that is told: an API server that has just started refuses for a
/// moment what it will allow.
const REFUSALS_TOLD: u32 = 5;

/// What a watch reports.
#[derive(Debug)]
pub(crate) enum Seen {
    /// The object is like this now.
    Live(Box<Live>),
    /// It is gone, or lost our label.
    Gone(Box<Live>),
    /// The list is complete: of this kind these objects exist, at this version.
    Listed { names: BTreeSet<(String, String)>, version: u64 },
    /// The API server does not answer.
    Lost(String),
    /// The API server does not allow to watch the kind, for this reason; none when it does again.
    Unwatched(Option<String>),
}

/// A watch's report with the kind it is about.
#[derive(Debug)]
pub(crate) struct Sighting {
    pub(crate) resource: Arc<Resource>,
    pub(crate) seen: Seen,
}

/// A watch of one kind.
pub(crate) struct Watcher {
    pub(crate) api: Api,
    pub(crate) resource: Arc<Resource>,
    /// Watch all objects of the kind, not only those with our label.
    pub(crate) all: bool,
    pub(crate) board: Arc<Board>,
    pub(crate) sightings: mpsc::Sender<Sighting>,
    /// The API server answers again: do not wait any longer.
    pub(crate) wake: Arc<Notify>,
    /// That the kind may not be watched was told.
    pub(crate) refused: bool,
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type")]
    kind: String,
    #[serde(borrow)]
    object: &'a RawValue,
}

#[derive(Deserialize)]
struct Problem {
    #[serde(default)]
    code: u16,
    #[serde(default)]
    message: String,
}

/// Why a watch ended.
enum End {
    /// The engine is gone.
    Closed,
    /// Resume from the last version.
    Resume,
    /// List again.
    Relist,
    /// It failed.
    Failed(ApiError),
}

impl Watcher {
    /// Watches until the engine is gone.
    pub(crate) async fn run(mut self) {
        let mut version: Option<String> = None;
        let mut failures = 0u32;
        loop {
            let end = match version.as_mut() {
                None => match self.list().await {
                    Ok(Some(listed)) => {
                        version = Some(listed);
                        End::Resume
                    }
                    Ok(None) => End::Closed,
                    Err(error) => End::Failed(error),
                },
                Some(from) => {
                    let began = Instant::now();
                    match self.follow(from).await {
                        // A server that ends watches at once is not asked again at once.
                        End::Resume if began.elapsed() < SHORT_WATCH => End::Failed(ApiError {
                            failure: Failure::Busy,
                            text: "the watch ended at once".to_owned(),
                        }),
                        end @ (End::Closed | End::Resume | End::Relist | End::Failed(_)) => end,
                    }
                }
            };
            match end {
                End::Closed => return,
                End::Resume => failures = 0,
                End::Relist => version = None,
                End::Failed(error) => {
                    let unreachable = error.failure == Failure::Unreachable;
                    tracing::debug!(kind = self.resource.kind, %error, "a watch failed");
                    let refused =
                        error.failure == Failure::Refused && failures >= REFUSALS_TOLD && !self.refused;
                    self.refused |= refused;
                    let seen = match () {
                        () if unreachable => Some(Seen::Lost(error.text)),
                        () if refused => Some(Seen::Unwatched(Some(error.text))),
                        () => None,
                    };
                    if let Some(seen) = seen
                        && !self.tell(seen).await
                    {
                        return;
                    }
                    let wait = backoff::delay(BACKOFF_BASE, BACKOFF_CAP, failures, &self.resource.path());
                    failures += 1;
                    tokio::select! {
                        () = tokio::time::sleep(wait) => {}
                        () = self.wake.notified() => {}
                    }
                }
            }
        }
    }

    async fn tell(&self, seen: Seen) -> bool {
        self.sightings.send(Sighting { resource: Arc::clone(&self.resource), seen }).await.is_ok()
    }

    async fn saw(&self, live: Live) -> bool {
        let id = self.resource.id(&live.metadata);
        self.board.saw(&id, || Sight::of(&self.resource, &live));
        self.tell(Seen::Live(Box::new(live))).await
    }

    /// Lists in pages; `None` when the engine is gone.
    async fn list(&self) -> Result<Option<String>, ApiError> {
        let mut names = BTreeSet::new();
        let mut next = String::new();
        loop {
            let page = self.api.list(&self.resource, self.all, &next).await?;
            for live in page.items {
                names.insert((live.metadata.namespace.clone(), live.metadata.name.clone()));
                if !self.saw(live).await {
                    return Ok(None);
                }
            }
            next = page.metadata.continuation;
            if next.is_empty() {
                let seen = |id: &ObjectId| names.contains(&(id.namespace.clone(), id.name.clone()));
                self.board.listed(&self.resource, &seen);
                let version = page.metadata.resource_version;
                let listed = Seen::Listed { names, version: version.parse().unwrap_or(0) };
                return Ok(self.tell(listed).await.then_some(version));
            }
        }
    }

    async fn follow(&mut self, version: &mut String) -> End {
        let stream = match self.api.watch(&self.resource, self.all, version).await {
            Ok(stream) => stream,
            Err(error) if error.failure == Failure::Gone => return End::Relist,
            Err(error) => return End::Failed(error),
        };
        if std::mem::take(&mut self.refused) && !self.tell(Seen::Unwatched(None)).await {
            return End::Closed;
        }
        let mut stream = std::pin::pin!(stream);
        let mut line = Vec::new();
        loop {
            line.clear();
            match read_line(&mut stream, &mut line).await {
                Ok(true) => {}
                Ok(false) => return End::Resume,
                Err(error) => {
                    tracing::debug!(kind = self.resource.kind, %error, "a watch broke off");
                    return End::Resume;
                }
            }
            if let Some(end) = self.event(&line, version).await {
                return end;
            }
        }
    }

    /// One event. A malformed one is left out: the next list repairs what it would have said.
    async fn event(&self, line: &[u8], version: &mut String) -> Option<End> {
        let envelope: Envelope<'_> = match serde_json::from_slice(line) {
            Ok(envelope) => envelope,
            Err(error) => {
                tracing::warn!(kind = self.resource.kind, %error, "an event of a watch was not understood");
                return Some(End::Relist);
            }
        };
        if envelope.kind == "ERROR" {
            let problem = serde_json::from_str::<Problem>(envelope.object.get()).ok();
            tracing::debug!(
                kind = self.resource.kind,
                message = problem.as_ref().map_or("", |problem| problem.message.as_str()),
                "a watch ended with an error"
            );
            return Some(match problem {
                Some(Problem { code: 500.., .. }) => End::Resume,
                Some(_) | None => End::Relist,
            });
        }
        let live: Live = match serde_json::from_str(envelope.object.get()) {
            Ok(live) => live,
            Err(error) => {
                tracing::warn!(kind = self.resource.kind, %error, "an object of a watch was not understood");
                return None;
            }
        };
        version.clone_from(&live.metadata.resource_version);
        let open = match envelope.kind.as_str() {
            "ADDED" | "MODIFIED" => self.saw(live).await,
            "DELETED" => {
                self.board.saw(&self.resource.id(&live.metadata), || Sight::Absent);
                self.tell(Seen::Gone(Box::new(live))).await
            }
            _ => true,
        };
        (!open).then_some(End::Closed)
    }
}

/// Reads one line; false at the end of the stream.
async fn read_line(
    stream: &mut (impl AsyncBufRead + Unpin),
    line: &mut Vec<u8>,
) -> Result<bool, std::io::Error> {
    loop {
        let available = stream.fill_buf().await?;
        if available.is_empty() {
            return Ok(false);
        }
        let end = available.iter().position(|byte| *byte == b'\n');
        let taken = end.map_or(available.len(), |at| at + 1);
        line.extend_from_slice(&available[..end.unwrap_or(taken)]);
        stream.consume_unpin(taken);
        if line.len() > LINE_BYTES_MAX {
            return Err(std::io::Error::other(format!("a line exceeds {LINE_BYTES_MAX} bytes")));
        }
        if end.is_some() {
            return Ok(true);
        }
    }
}
