//! Following one chart: fetch, settle, wait for the interval or for another repository, again. Failures back off with
//! full jitter; charts of one repository share its index for a few seconds.

use std::collections::HashMap;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lru::LruCache;
use reqwest::Client;
use tokio::sync::watch;
use tokio::time::Instant;

use super::archives::Archives;
use super::http::{self, FetchError};
use super::repository::{self, Index};
use super::{Archive, ChartRequest, FetchedChart, Repository, Sources, oci};

/// How long an index serves all charts of a repository.
const INDEX_SHARED: Duration = Duration::from_secs(3);
/// First and longest wait after a failure.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(300));
/// Bytes of archives whose charts stay read, besides those in use.
const READ_BYTES_MAX: u64 = 128 << 20;
/// No interval is shorter.
const INTERVAL_MIN: Duration = Duration::from_secs(10);

/// What all followed charts share.
pub(super) struct Follower {
    client: Client,
    archives: Archives,
    indexes: Mutex<HashMap<String, Arc<Shelf>>>,
    read: Mutex<Read>,
}

type Shelf = tokio::sync::Mutex<Option<(Instant, Arc<Index>)>>;

/// Charts that were read, newest use first, bounded by the bytes of their archives.
struct Read {
    charts: LruCache<String, Arc<FetchedChart>>,
    bytes: u64,
}

impl Follower {
    pub(super) fn new(state: PathBuf) -> Result<Self, FetchError> {
        let count = NonZeroUsize::new(4096).unwrap_or(NonZeroUsize::MIN);
        Ok(Self {
            client: http::client()?,
            archives: Archives::new(state.join("charts")),
            indexes: Mutex::default(),
            read: Mutex::new(Read { charts: LruCache::new(count), bytes: 0 }),
        })
    }

    /// The chart as it was before the hub restarted.
    pub(super) fn kept(&self, request: &ChartRequest, repository: &Repository) -> Option<Arc<FetchedChart>> {
        let archive = self.archives.load(request, repository)?;
        self.read(request, &archive).ok()
    }

    async fn fetch(
        &self,
        request: &ChartRequest,
        from: &Repository,
    ) -> Result<Arc<FetchedChart>, FetchError> {
        let ChartRequest { chart, version, .. } = request;
        let archive = if from.url.starts_with("oci://") {
            oci::fetch(&self.client, from, chart, version).await?
        } else {
            let index = self.index(from).await?;
            repository::fetch(&self.client, from, &index, chart, version).await?
        };
        let chart = self.read(request, &archive)?;
        self.archives.store(request, from, &archive);
        Ok(chart)
    }

    fn read(&self, request: &ChartRequest, archive: &Archive) -> Result<Arc<FetchedChart>, FetchError> {
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(chart) = read.charts.get(&archive.digest) {
            return Ok(chart.clone());
        }
        let chart =
            render::Chart::from_archive(&archive.content, &render::Limits::default()).map_err(|error| {
                FetchError::Chart {
                    chart: request.chart.clone(),
                    version: archive.version.clone(),
                    detail: error.to_string(),
                }
            })?;
        let bytes = archive.content.len() as u64;
        let fetched = Arc::new(FetchedChart {
            version: archive.version.clone(),
            digest: archive.digest.clone(),
            bytes,
            chart,
        });
        read.bytes += bytes;
        if let Some((_, old)) = read.charts.push(archive.digest.clone(), fetched.clone()) {
            read.bytes = read.bytes.saturating_sub(old.bytes);
        }
        while read.bytes > READ_BYTES_MAX {
            let Some((_, old)) = read.charts.pop_lru() else { break };
            read.bytes = read.bytes.saturating_sub(old.bytes);
        }
        Ok(fetched)
    }

    async fn index(&self, repository: &Repository) -> Result<Arc<Index>, FetchError> {
        let name = format!("{}\n{:?}", repository.url, repository.credentials);
        let shelf = {
            let mut indexes = self.indexes.lock().unwrap_or_else(PoisonError::into_inner);
            indexes.entry(name).or_default().clone()
        };
        let mut shelf = shelf.lock().await;
        if let Some((at, index)) = &*shelf
            && at.elapsed() < INDEX_SHARED
        {
            return Ok(index.clone());
        }
        let index = Arc::new(repository::index(&self.client, repository).await?);
        *shelf = Some((Instant::now(), index.clone()));
        Ok(index)
    }
}

/// Follows a chart until nobody can ask for it any more.
pub(super) async fn follow(sources: &Sources, request: &ChartRequest, mut from: watch::Receiver<Repository>) {
    let mut failures = 0_u32;
    loop {
        let repository = from.borrow_and_update().clone();
        let outcome = sources.0.follower.fetch(request, &repository).await;
        failures = if outcome.is_ok() { 0 } else { failures.saturating_add(1) };
        sources.settle(request, outcome);
        let wait =
            if failures == 0 { repository.interval.max(INTERVAL_MIN) } else { backoff(failures, entropy()) };
        let changed = tokio::time::timeout(wait, from.changed()).await;
        if let Ok(Err(_)) = changed {
            return;
        }
        if changed.is_ok() {
            failures = 0;
        }
    }
}

/// Full jitter over a doubling bound; `entropy` is uniform over all of `u64`.
fn backoff(failures: u32, entropy: u64) -> Duration {
    let (first, longest) = BACKOFF;
    let bound = first.saturating_mul(1 << failures.min(16)).min(longest);
    let share = (entropy >> 11) as f64 / (1_u64 << 53) as f64;
    first.mul_f64(0.5) + bound.mul_f64(share)
}

fn entropy() -> u64 {
    getrandom::u64().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_a_bound_and_are_never_zero() {
        assert!(backoff(1, 0) >= Duration::from_millis(250));
        assert!(backoff(1, u64::MAX) <= Duration::from_millis(1250));
        assert!(backoff(40, u64::MAX) <= Duration::from_secs(301));
    }
}
