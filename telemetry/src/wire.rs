//! A batch of series on the wire and in the spool: columns, then zstd.
//!
//! ```text
//! byte     version, 1
//! varint   size of the body, uncompressed
//! zstd     body:
//!   strings   count, lengths, bytes          every label name and value once
//!   shapes    count, each: names             which label names go together
//!   series    count, shape of each, then per shape and label one column of values
//!   times     count, each: length, times     series scraped together share one entry
//!             index of each series' times
//!   values    per series, exact              decimals as integers, else XOR with the previous
//! ```
//!
//! Every count is checked against [`Limits`] before anything is allocated for it; no input panics.

use std::collections::HashMap;

use bytes::Bytes;

use crate::column::{self, ColumnError, Order, Reader};
use crate::{Batch, Labels, Millis, Sample, Series};

const VERSION: u8 = 1;
const LEVEL: i32 = 3;
/// Most series in a part.
const PART_SERIES_MAX: usize = 50_000;
/// Most samples in a part.
const PART_SAMPLES_MAX: usize = 1_000_000;

/// What a batch may not exceed.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Bytes of the body, uncompressed.
    pub bytes_max: usize,
    /// Series.
    pub series_max: usize,
    /// Samples.
    pub samples_max: usize,
    /// Labels of one series.
    pub labels_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { bytes_max: 32 << 20, series_max: 250_000, samples_max: 4_000_000, labels_max: 128 }
    }
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// Written by a later program.
    #[error("batch has version {0}, this program reads version {VERSION}")]
    Version(u8),
    /// More than [`Limits`] allow.
    #[error("batch has {what} over the limit of {limit}")]
    Limit {
        /// Of what.
        what: &'static str,
        /// How many are allowed.
        limit: usize,
    },
    /// Not a zstd frame of the announced size.
    #[error("failed to decompress the batch's body: {0}")]
    Decompress(String),
    /// A part of the body is wrong.
    #[error("batch's {part} {why}")]
    Body {
        /// Which part.
        part: &'static str,
        /// In what way.
        why: String,
    },
}

/// Encodes a batch. The same batch gives the same bytes.
pub fn encode(batch: &Batch) -> Bytes {
    encode_series(&batch.series)
}

/// A part of a batch, encoded, and what is in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Part {
    /// The encoded batch.
    pub payload: Bytes,
    /// Samples in it.
    pub points: usize,
    /// Time of the oldest sample.
    pub first: Millis,
    /// Time of the newest sample.
    pub last: Millis,
}

/// Encodes a batch as parts of at most so many bytes each, which also stay inside the default [`Limits`]. Series
/// without samples are left out. A single sample that is bigger on its own is a part nevertheless.
pub fn encode_within(batch: &Batch, bytes_max: usize) -> Vec<Part> {
    let mut parts = Vec::new();
    split_series(&batch.series, bytes_max, &mut parts);
    parts
}

fn split_series(series: &[Series], bytes_max: usize, parts: &mut Vec<Part>) {
    let points: usize = series.iter().map(|series| series.samples.len()).sum();
    let times = || series.iter().flat_map(|series| series.samples.iter().map(|sample| sample.at));
    let (Some(first), Some(last)) = (times().min(), times().max()) else { return };
    if series.len() <= PART_SERIES_MAX && points <= PART_SAMPLES_MAX {
        let payload = encode_series(series);
        if payload.len() <= bytes_max || points == 1 {
            parts.push(Part { payload, points, first, last });
            return;
        }
    }
    if let [one] = series {
        let (left, right) = one.samples.split_at(points / 2);
        for samples in [left, right] {
            let half = Series { labels: one.labels.clone(), samples: samples.to_vec() };
            split_series(&[half], bytes_max, parts);
        }
    } else {
        let (left, right) = series.split_at(series.len() / 2);
        split_series(left, bytes_max, parts);
        split_series(right, bytes_max, parts);
    }
}

fn encode_series(series: &[Series]) -> Bytes {
    let body = Encoder::default().body(series);
    let mut out = vec![VERSION];
    column::put_varint(&mut out, body.len() as u64);
    match zstd::bulk::compress(&body, LEVEL) {
        Ok(compressed) => out.extend_from_slice(&compressed),
        // zstd only refuses when memory is out; an empty frame is then refused by the reader, not misread.
        Err(_) => out.truncate(1),
    }
    out.into()
}

/// Decodes what [`encode`] made, within limits.
///
/// # Errors
/// [`WireError`] when the bytes are anything else or too much.
pub fn decode(bytes: &[u8], limits: &Limits) -> Result<Batch, WireError> {
    let mut reader = Reader(bytes);
    let version = reader.byte().map_err(of("header"))?;
    if version != VERSION {
        return Err(WireError::Version(version));
    }
    let over = |what, limit| move |_: ColumnError| WireError::Limit { what, limit };
    let size = reader.count(limits.bytes_max).map_err(over("bytes", limits.bytes_max))?;
    let body =
        zstd::bulk::decompress(reader.0, size).map_err(|error| WireError::Decompress(error.to_string()))?;
    if body.len() != size {
        return Err(WireError::Decompress(format!("{} bytes instead of {size}", body.len())));
    }
    let mut reader = Reader(&body);
    let batch = Decoder { reader: &mut reader, limits }.body()?;
    if reader.0.is_empty() { Ok(batch) } else { Err(of("end")(ColumnError::TooMany)) }
}

fn of(part: &'static str) -> impl Fn(ColumnError) -> WireError {
    move |why| WireError::Body { part, why: why.to_string() }
}

#[derive(Default)]
struct Encoder<'a> {
    strings: Vec<&'a str>,
    string_index: HashMap<&'a str, i64>,
    shapes: Vec<Vec<i64>>,
    shape_index: HashMap<Vec<i64>, i64>,
    times: Vec<Vec<i64>>,
    times_index: HashMap<Vec<i64>, i64>,
}

impl<'a> Encoder<'a> {
    fn string(&mut self, text: &'a str) -> i64 {
        let next = self.strings.len() as i64;
        let index = *self.string_index.entry(text).or_insert(next);
        if index == next {
            self.strings.push(text);
        }
        index
    }

    fn body(mut self, all: &'a [Series]) -> Vec<u8> {
        let mut shape_of = Vec::with_capacity(all.len());
        let mut columns: Vec<Vec<Vec<i64>>> = Vec::new();
        let mut times_of = Vec::with_capacity(all.len());
        for series in all {
            let names: Vec<i64> = series.labels.iter().map(|(name, _)| self.string(name)).collect();
            let next = self.shapes.len() as i64;
            let shape = *self.shape_index.entry(names).or_insert_with_key(|names| {
                self.shapes.push(names.clone());
                columns.push(vec![Vec::new(); names.len()]);
                next
            });
            shape_of.push(shape);
            for (position, (_, value)) in series.labels.iter().enumerate() {
                let value = self.string(value);
                columns[shape as usize][position].push(value);
            }
            let times: Vec<i64> = series.samples.iter().map(|sample| sample.at).collect();
            let next = self.times.len() as i64;
            let index = *self.times_index.entry(times).or_insert_with_key(|times| {
                self.times.push(times.clone());
                next
            });
            times_of.push(index);
        }
        let mut out = Vec::new();
        self.put_strings(&mut out);
        column::put_varint(&mut out, self.shapes.len() as u64);
        for names in &self.shapes {
            column::put_varint(&mut out, names.len() as u64);
            column::put_integers(&mut out, names, Order::First);
        }
        column::put_varint(&mut out, all.len() as u64);
        column::put_integers(&mut out, &shape_of, Order::First);
        columns.iter().flatten().for_each(|values| column::put_integers(&mut out, values, Order::First));
        column::put_varint(&mut out, self.times.len() as u64);
        for times in &self.times {
            column::put_varint(&mut out, times.len() as u64);
            column::put_integers(&mut out, times, Order::Second);
        }
        column::put_integers(&mut out, &times_of, Order::First);
        for series in all {
            let values: Vec<f64> = series.samples.iter().map(|sample| sample.value).collect();
            column::put_numbers(&mut out, &values);
        }
        out
    }

    fn put_strings(&self, out: &mut Vec<u8>) {
        column::put_varint(out, self.strings.len() as u64);
        self.strings.iter().for_each(|text| column::put_varint(out, text.len() as u64));
        self.strings.iter().for_each(|text| out.extend_from_slice(text.as_bytes()));
    }
}

struct Decoder<'a, 'b> {
    reader: &'a mut Reader<'b>,
    limits: &'a Limits,
}

impl Decoder<'_, '_> {
    fn body(mut self) -> Result<Batch, WireError> {
        let strings = self.strings()?;
        let shapes = self.shapes(strings.len())?;
        let labels = self.labels(&strings, &shapes)?;
        let times = self.times()?;
        let times_of =
            column::integers(self.reader, labels.len(), Order::First).map_err(of("index of times"))?;
        let mut samples_left = self.limits.samples_max;
        let mut series = Vec::with_capacity(labels.len());
        for (labels, index) in labels.into_iter().zip(times_of) {
            let times = pick(&times, index, "index of times")?;
            samples_left = samples_left
                .checked_sub(times.len())
                .ok_or(WireError::Limit { what: "samples", limit: self.limits.samples_max })?;
            let values = column::numbers(self.reader, times.len()).map_err(of("values"))?;
            let samples = times.iter().zip(values).map(|(at, value)| Sample { at: *at, value }).collect();
            series.push(Series { labels, samples });
        }
        Ok(Batch { series })
    }

    /// A count of things that take at least a byte each.
    fn count(&mut self, what: &'static str, limit: usize) -> Result<usize, WireError> {
        self.reader.count(limit).map_err(|error| match error {
            ColumnError::TooMany => WireError::Limit { what, limit },
            ColumnError::Truncated | ColumnError::Overflow | ColumnError::Encoding => of(what)(error),
        })
    }

    fn strings(&mut self) -> Result<Vec<String>, WireError> {
        let limit = self.reader.0.len();
        let count = self.count("strings", limit)?;
        let lengths: Vec<usize> =
            (0..count).map(|_| self.count("length of strings", limit)).collect::<Result<_, _>>()?;
        lengths
            .into_iter()
            .map(|length| {
                let bytes = self.reader.take(length).map_err(of("strings"))?;
                std::str::from_utf8(bytes)
                    .map(str::to_owned)
                    .map_err(|error| WireError::Body { part: "strings", why: error.to_string() })
            })
            .collect()
    }

    fn shapes(&mut self, strings: usize) -> Result<Vec<Vec<i64>>, WireError> {
        let count = self.count("shapes", self.reader.0.len().min(self.limits.series_max))?;
        (0..count)
            .map(|_| {
                let names = self.count("labels", self.limits.labels_max)?;
                let names = column::integers(self.reader, names, Order::First).map_err(of("shapes"))?;
                let known = names.iter().all(|name| usize::try_from(*name).is_ok_and(|name| name < strings));
                if known { Ok(names) } else { Err(of("shapes")(ColumnError::TooMany)) }
            })
            .collect()
    }

    fn labels(&mut self, strings: &[String], shapes: &[Vec<i64>]) -> Result<Vec<Labels>, WireError> {
        let count = self.count("series", self.limits.series_max)?;
        let shape_of = column::integers(self.reader, count, Order::First).map_err(of("series"))?;
        let mut members = vec![0usize; shapes.len()];
        for shape in &shape_of {
            let at = usize::try_from(*shape).ok().filter(|shape| *shape < shapes.len());
            members[at.ok_or_else(|| of("series")(ColumnError::TooMany))?] += 1;
        }
        let mut columns = Vec::with_capacity(shapes.len());
        for (names, members) in shapes.iter().zip(members) {
            let of_shape: Vec<_> = names
                .iter()
                .map(|_| column::integers(self.reader, members, Order::First).map(Vec::into_iter))
                .collect::<Result<_, _>>()
                .map_err(of("labels"))?;
            columns.push(of_shape);
        }
        let mut labels = Vec::with_capacity(count);
        let mut pairs: Vec<(&str, &str)> = Vec::new();
        for shape in shape_of {
            let shape = shape as usize;
            pairs.clear();
            for (name, values) in shapes[shape].iter().zip(&mut columns[shape]) {
                let value = values.next().ok_or_else(|| of("labels")(ColumnError::Truncated))?;
                pairs.push((&strings[*name as usize], pick(strings, value, "labels")?));
            }
            labels.push(Labels::from_pairs(pairs.iter().copied()));
        }
        Ok(labels)
    }

    fn times(&mut self) -> Result<Vec<Vec<i64>>, WireError> {
        let count = self.count("times", self.limits.series_max)?;
        let mut left = self.limits.samples_max;
        (0..count)
            .map(|_| {
                let length = self.count("samples", left)?;
                left -= length;
                column::integers(self.reader, length, Order::Second).map_err(of("times"))
            })
            .collect()
    }
}

fn pick<'a, T>(from: &'a [T], index: i64, part: &'static str) -> Result<&'a T, WireError> {
    usize::try_from(index)
        .ok()
        .and_then(|index| from.get(index))
        .ok_or_else(|| of(part)(ColumnError::TooMany))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn scrape(series: usize, samples: i64) -> Batch {
        let series = (0..series)
            .map(|index| Series {
                labels: Labels::from_pairs([
                    ("__name__", "container_cpu_usage_seconds_total"),
                    ("namespace", ["shop", "billing", "kube-system"][index % 3]),
                    ("pod", &format!("pod-{}", index / 4)),
                    ("container", &format!("c{}", index % 4)),
                ]),
                samples: (0..samples)
                    .map(|at| {
                        Sample::new(1_700_000_000_000 + at * 15_000, (index as i64 * 100 + at * 3) as f64)
                    })
                    .collect(),
            })
            .collect();
        Batch { series }
    }

    #[test]
    fn a_scrape_of_ten_samples_each_takes_under_a_byte_per_point() {
        let batch = scrape(1000, 10);
        let bytes = encode(&batch);
        assert_eq!(decode(&bytes, &Limits::default()), Ok(batch));
        assert!(bytes.len() < 10_000, "{} bytes", bytes.len());
    }

    #[test]
    fn parts_keep_to_their_size_and_lose_nothing() {
        let batch = scrape(300, 5);
        let parts = encode_within(&batch, 600);
        assert!(parts.len() > 2 && parts.iter().all(|part| part.payload.len() <= 600));
        let back: Vec<Series> =
            parts.iter().flat_map(|part| decode(&part.payload, &Limits::default()).unwrap().series).collect();
        assert_eq!(back, batch.series);
        assert_eq!(parts.iter().map(|part| part.points).sum::<usize>(), batch.points());
        let mut one = scrape(1, 400);
        one.series[0].samples.iter_mut().for_each(|sample| sample.value = (sample.value + 2.0).sqrt());
        assert!(encode_within(&one, 150).len() > 1, "a single long series is cut in time");
        assert_eq!(encode_within(&Batch::default(), 10), []);
        assert_eq!(encode_within(&scrape(1, 1), 10).len(), 1);
    }

    #[test]
    fn limits_are_named() {
        let bytes = encode(&scrape(10, 3));
        let limits = |series_max, samples_max| Limits { series_max, samples_max, ..Limits::default() };
        let message = |limits| decode(&bytes, &limits).unwrap_err().to_string();
        assert_eq!(message(limits(9, 100)), "batch has series over the limit of 9");
        assert_eq!(message(limits(10, 29)), "batch has samples over the limit of 29");
        let small = Limits { bytes_max: 10, ..Limits::default() };
        assert_eq!(message(small), "batch has bytes over the limit of 10");
    }

    #[test]
    fn the_same_batch_gives_the_same_bytes() {
        assert_eq!(encode(&scrape(20, 2)), encode(&scrape(20, 2)));
    }

    /// What version 1 wrote must stay readable; a change here needs a new version.
    #[test]
    fn golden_bytes() {
        let batch = Batch {
            series: vec![
                Series {
                    labels: Labels::from_pairs([("__name__", "up"), ("job", "a")]),
                    samples: vec![Sample::new(1_000, 1.0), Sample::new(16_000, 0.25)],
                },
                Series {
                    labels: Labels::from_pairs([("__name__", "up"), ("job", "b")]),
                    samples: vec![Sample::new(1_000, f64::NAN), Sample::new(16_000, 1e300)],
                },
            ],
        };
        let golden = "014228b52ffd20421102000508030201015f5f6e616d655f5f6a6f6275706162010204000202040000040400040602010204d00fe0da010400000204c801950108867ff88001cfe43c8800759c";
        let bytes = encode(&batch);
        let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(text, golden);
        let committed: Vec<u8> = (0..golden.len() / 2)
            .map(|at| u8::from_str_radix(&golden[2 * at..2 * at + 2], 16).unwrap())
            .collect();
        assert_eq!(decode(&committed, &Limits::default()), Ok(batch));
    }

    fn batches() -> impl Strategy<Value = Batch> {
        let labels = prop::collection::btree_map("[a-c]{1,2}", "[a-z]{1,3}", 0..4);
        let samples = prop::collection::vec((any::<i64>(), any::<u64>()), 0..6);
        prop::collection::vec((labels, samples), 0..8).prop_map(|series| Batch {
            series: series
                .into_iter()
                .map(|(labels, samples)| Series {
                    labels: labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
                    samples: samples
                        .into_iter()
                        .map(|(at, bits)| Sample::new(at, f64::from_bits(bits)))
                        .collect(),
                })
                .collect(),
        })
    }

    proptest! {
        #[test]
        fn a_batch_reads_back(batch in batches()) {
            prop_assert_eq!(decode(&encode(&batch), &Limits::default()), Ok(batch));
        }

        #[test]
        fn a_perturbed_batch_never_panics(batch in batches(), at: prop::sample::Index, with: u8) {
            let mut bytes = encode(&batch).to_vec();
            let at = at.index(bytes.len());
            bytes[at] = with;
            let _ = decode(&bytes, &Limits::default());
        }

        #[test]
        fn a_perturbed_body_never_panics(batch in batches(), at: prop::sample::Index, with: u8, cut: prop::sample::Index) {
            let mut body = Encoder::default().body(&batch.series);
            let at = at.index(body.len());
            body[at] = with;
            body.truncate(cut.index(body.len() + 1));
            let limits = Limits::default();
            let _ = Decoder { reader: &mut Reader(&body), limits: &limits }.body();
        }
    }
}
