//! Some samples of one series as few bytes: what a store keeps in memory.

use crate::Sample;
use crate::column::{self, Order, Reader};

/// Most samples in a chunk.
pub const SAMPLES_MAX: usize = 65_536;

/// Why bytes are not a chunk.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("chunk of {size} bytes {why}")]
pub struct ChunkError {
    size: usize,
    why: String,
}

/// Encodes samples; at most [`SAMPLES_MAX`] of them, the rest is left out.
pub fn encode(samples: &[Sample]) -> Box<[u8]> {
    let samples = &samples[..samples.len().min(SAMPLES_MAX)];
    let mut out = Vec::with_capacity(8 + samples.len() * 2);
    column::put_varint(&mut out, samples.len() as u64);
    let times: Vec<i64> = samples.iter().map(|sample| sample.at).collect();
    column::put_integers(&mut out, &times, Order::Second);
    let values: Vec<f64> = samples.iter().map(|sample| sample.value).collect();
    column::put_numbers(&mut out, &values);
    out.into_boxed_slice()
}

/// Decodes what [`encode`] made.
///
/// # Errors
/// [`ChunkError`] when the bytes are anything else.
pub fn decode(bytes: &[u8]) -> Result<Vec<Sample>, ChunkError> {
    let wrong = |why: column::ColumnError| ChunkError { size: bytes.len(), why: why.to_string() };
    let mut reader = Reader(bytes);
    let count = reader.count(SAMPLES_MAX).map_err(wrong)?;
    let times = column::integers(&mut reader, count, Order::Second).map_err(wrong)?;
    let values = column::numbers(&mut reader, count).map_err(wrong)?;
    if !reader.0.is_empty() {
        return Err(ChunkError { size: bytes.len(), why: "has bytes after its end".to_owned() });
    }
    Ok(times.into_iter().zip(values).map(|(at, value)| Sample { at, value }).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_chunk_reads_back(samples in prop::collection::vec((any::<i64>(), any::<u64>()), 0..80)) {
            let samples: Vec<Sample> =
                samples.into_iter().map(|(at, bits)| Sample::new(at, f64::from_bits(bits))).collect();
            prop_assert_eq!(decode(&encode(&samples)).unwrap(), samples);
        }

        #[test]
        fn garbage_is_an_error_not_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            let _ = decode(&bytes);
        }
    }
}
