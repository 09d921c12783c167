//! A series in memory: compressed chunks and a short open head.

use std::sync::Arc;

use telemetry::{Labels, Millis, Sample, chunk};

/// Samples in the head before they are compressed.
const HEAD_MAX: usize = 16;
/// Samples in a chunk before a new one is begun.
const CHUNK_MAX: usize = 240;

/// Compressed samples, oldest first.
#[derive(Debug, Clone)]
struct Chunk {
    first: Millis,
    last: Millis,
    count: usize,
    bytes: Arc<[u8]>,
}

/// A series.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) labels: Labels,
    pub(super) is_cost: bool,
    /// In the order they were closed; where times overlap, the later wins.
    chunks: Vec<Chunk>,
    /// In order of time, each time once.
    head: Vec<Sample>,
}

/// What a query needs of a series, taken quickly and read without a lock.
pub(super) struct Cut {
    pub(super) labels: Labels,
    chunks: Vec<Chunk>,
    head: Vec<Sample>,
}

impl Stored {
    pub(super) fn new(labels: Labels, is_cost: bool) -> Self {
        Self { labels, is_cost, chunks: Vec::new(), head: Vec::new() }
    }

    /// Adds a sample; of two at one time the later given wins.
    pub(super) fn add(&mut self, sample: Sample) {
        match self.head.last() {
            Some(last) if sample.at <= last.at => {
                match self.head.binary_search_by_key(&sample.at, |held| held.at) {
                    Ok(at) => self.head[at] = sample,
                    Err(at) => self.head.insert(at, sample),
                }
            }
            Some(_) | None => self.head.push(sample),
        }
        if self.head.len() >= HEAD_MAX {
            self.close_head();
        }
    }

    /// Compresses the head, into the last chunk where that has room and ends before.
    fn close_head(&mut self) {
        let mut samples = Vec::new();
        let fits = |chunk: &Chunk| {
            chunk.count + self.head.len() <= CHUNK_MAX
                && self.head.first().is_some_and(|first| chunk.last < first.at)
        };
        if self.chunks.last().is_some_and(fits)
            && let Some(last) = self.chunks.pop()
        {
            // What was encoded here decodes; a chunk that does not would be lost either way.
            samples = chunk::decode(&last.bytes).unwrap_or_default();
        }
        samples.append(&mut self.head);
        if let (Some(first), Some(last)) = (samples.first(), samples.last()) {
            self.chunks.push(Chunk {
                first: first.at,
                last: last.at,
                count: samples.len(),
                bytes: Arc::from(chunk::encode(&samples)),
            });
        }
    }

    /// Whether there may be a sample after one time and not after another.
    pub(super) fn overlaps(&self, after: Millis, through: Millis) -> bool {
        self.chunks.iter().any(|chunk| chunk.last > after && chunk.first <= through)
            || self.head.iter().any(|sample| sample.at > after && sample.at <= through)
    }

    /// What is needed to read those times.
    pub(super) fn cut(&self, after: Millis, through: Millis) -> Cut {
        let chunks = self
            .chunks
            .iter()
            .filter(|chunk| chunk.last > after && chunk.first <= through)
            .cloned()
            .collect();
        let from = self.head.partition_point(|sample| sample.at <= after);
        let to = self.head.partition_point(|sample| sample.at <= through);
        Cut { labels: self.labels.clone(), chunks, head: self.head[from..to.max(from)].to_vec() }
    }

    /// Forgets what is not after a time, by whole chunks; whether anything is left.
    pub(super) fn forget(&mut self, through: Millis) -> bool {
        self.chunks.retain(|chunk| chunk.last > through);
        if self.head.first().is_some_and(|first| first.at <= through) {
            self.head.retain(|sample| sample.at > through);
        }
        !(self.chunks.is_empty() && self.head.is_empty())
    }

    /// Bytes it takes, roughly.
    pub(super) fn size(&self) -> usize {
        let chunks: usize = self.chunks.iter().map(|chunk| chunk.bytes.len() + 56).sum();
        chunks + self.head.capacity() * 16 + 2 * self.labels.size() + 160
    }
}

impl Cut {
    /// The samples of those times in order, each time once.
    pub(super) fn samples(&self, after: Millis, through: Millis) -> Vec<Sample> {
        let mut samples: Vec<Sample> = Vec::new();
        let mut ordered = true;
        let inside = |sample: &Sample| sample.at > after && sample.at <= through;
        for chunk in &self.chunks {
            let decoded = chunk::decode(&chunk.bytes).unwrap_or_default();
            ordered &= samples.last().zip(decoded.first()).is_none_or(|(last, first)| last.at < first.at);
            samples.extend(decoded.into_iter().filter(inside));
        }
        ordered &= samples.last().zip(self.head.first()).is_none_or(|(last, first)| last.at < first.at);
        samples.extend_from_slice(&self.head);
        if !ordered {
            samples.sort_by_key(|sample| sample.at);
            // The sort is stable: of equal times the last is the one that was given last.
            samples.reverse();
            samples.dedup_by_key(|sample| sample.at);
            samples.reverse();
        }
        samples
    }
}
