//! Blobs: content addressed by BLAKE3, sent as the difference to what the receiver has.
//!
//! The previous version of an object serves as zstd dictionary, so a one-field change costs some tens of
//! bytes. Only the digest of what comes out is trusted, never the frame. Both sides hold base and result in
//! memory, so sizes are checked against a limit first.

use bytes::Bytes;

use crate::id::Digest;
use crate::message::BlobPart;
use crate::plan::PlanBody;

/// Fast enough to compress a plan inside a millisecond; higher levels gain a few per cent on JSON.
const LEVEL: i32 = 3;

/// Why a blob cannot be opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BlobError {
    /// Larger than it may be.
    #[error("blob {digest} of {size} bytes exceeds the limit of {limit}")]
    TooLarge {
        /// Which blob.
        digest: Digest,
        /// Its size.
        size: u32,
        /// What is allowed.
        limit: usize,
    },
    /// It is a difference and the base was not given.
    #[error("blob {digest} is a difference to {base}, which is not here")]
    BaseMissing {
        /// Which blob.
        digest: Digest,
        /// What it differs from.
        base: Digest,
    },
    /// The zstd frame is broken, or its base is another one.
    #[error("blob {digest} does not decompress: {detail}")]
    Decompress {
        /// Which blob.
        digest: Digest,
        /// What zstd says.
        detail: String,
    },
    /// What came out is something else.
    #[error("blob {digest} decompresses to {got}")]
    Mismatch {
        /// Which blob.
        digest: Digest,
        /// What came out.
        got: Digest,
    },
}

impl BlobPart {
    /// The content, compressed; against `base` when the receiver is known to have that blob.
    pub fn make(content: &[u8], base: Option<(Digest, &[u8])>) -> Self {
        let dictionary = base.map_or(&[][..], |(_, bytes)| bytes);
        // Fails only when memory runs out: the output buffer has the size that zstd asks for.
        let compressed = zstd::bulk::Compressor::with_dictionary(LEVEL, dictionary)
            .and_then(|mut compressor| compressor.compress(content))
            .expect("compressing into a buffer of sufficient size succeeds");
        Self {
            digest: Digest::of(content),
            base: base.map(|(digest, _)| digest),
            size: u32::try_from(content.len()).unwrap_or(u32::MAX),
            compressed: Bytes::from(compressed),
        }
    }

    /// The content, verified.
    ///
    /// # Errors
    /// [`BlobError`]; nothing is decompressed when the announced size exceeds `limit` bytes.
    pub fn open(&self, base: Option<&[u8]>, limit: usize) -> Result<Bytes, BlobError> {
        let digest = self.digest;
        let size = usize::try_from(self.size).unwrap_or(usize::MAX);
        if size > limit {
            return Err(BlobError::TooLarge { digest, size: self.size, limit });
        }
        let dictionary = match (self.base, base) {
            (None, _) => &[][..],
            (Some(_), Some(bytes)) => bytes,
            (Some(base), None) => return Err(BlobError::BaseMissing { digest, base }),
        };
        let content = zstd::bulk::Decompressor::with_dictionary(dictionary)
            .and_then(|mut decompressor| decompressor.decompress(&self.compressed, size))
            .map_err(|error| BlobError::Decompress { digest, detail: error.to_string() })?;
        let got = Digest::of(&content);
        if got == digest && content.len() == size {
            Ok(Bytes::from(content))
        } else {
            Err(BlobError::Mismatch { digest, got })
        }
    }
}

impl PlanBody {
    /// The body's bytes; its digest is `Digest::of` these.
    pub fn encode(&self) -> Bytes {
        crate::codec::encode(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(replicas: u32) -> Vec<u8> {
        let lines: Vec<String> = (0..100).map(|n| format!(r#""key-{n}":"{:x}""#, n * 7_919 + 13)).collect();
        format!("{{\"replicas\":{replicas},{}}}", lines.join(",")).into_bytes()
    }

    #[test]
    fn a_small_change_to_a_known_object_travels_in_under_a_hundred_bytes() {
        let (old, new) = (object(1), object(2));
        let part = BlobPart::make(&new, Some((Digest::of(&old), &old)));
        assert!(part.compressed.len() < 100, "{} bytes", part.compressed.len());
        assert_eq!(part.open(Some(&old), 100_000).unwrap(), new);
    }

    #[test]
    fn a_whole_blob_needs_no_base_and_ignores_one() {
        let part = BlobPart::make(&object(1), None);
        assert_eq!(part.open(Some(b"unrelated"), 100_000).unwrap(), object(1));
        let empty = BlobPart::make(b"", None);
        assert_eq!(empty.open(None, 0).unwrap(), Bytes::new());
    }

    #[test]
    fn a_difference_to_something_else_is_refused() {
        let (old, new) = (object(1), object(2));
        let part = BlobPart::make(&new, Some((Digest::of(&old), &old)));
        assert!(matches!(part.open(None, 100_000), Err(BlobError::BaseMissing { .. })));
        assert!(part.open(Some(&object(3)[..50]), 100_000).is_err());
    }

    #[test]
    fn a_size_beyond_the_limit_or_a_lie_about_it_is_refused() {
        let mut part = BlobPart::make(&object(1), None);
        assert!(matches!(part.open(None, 10), Err(BlobError::TooLarge { .. })));
        part.size -= 1;
        assert!(part.open(None, 100_000).is_err());
        part.size += 2;
        assert!(matches!(part.open(None, 100_000), Err(BlobError::Mismatch { .. })));
    }

    #[test]
    fn altered_content_is_refused() {
        let mut part = BlobPart::make(&object(1), None);
        part.digest.0[0] ^= 1;
        assert!(matches!(part.open(None, 100_000), Err(BlobError::Mismatch { .. })));
    }
}
