//! The committed corpora once more, and what they become when bytes of them change: the reduced form of
//! `tests/run fuzz`, which searches with libFuzzer.
//!
//! `SKEIN_BLESS=1` writes the first inputs of each corpus anew, `seed-*`: golden frames and what one mesh makes.
#![cfg(test)]

mod seeds;
mod targets;

use std::path::{Path, PathBuf};
use std::sync::Once;

use targets::{TARGETS, Target};

/// A request's body that says it is gzip: changed bytes rarely get past its checksum, so there is nothing to search.
fn otlp_gzip(bytes: &[u8]) {
    match edge_agent::intake::http::unpacked(bytes) {
        Ok(body) => {
            assert!(body.len() <= edge_agent::intake::REQUEST_BYTES_MAX);
            targets::measurements::otlp_protobuf(&body);
        }
        Err(error) => assert!(error.contains("the body "), "{error}"),
    }
}

/// All that is tried here.
fn all() -> impl Iterator<Item = (&'static str, Target)> {
    let gzip: Target = otlp_gzip;
    TARGETS.into_iter().chain([("otlp-gzip", gzip)])
}

/// What is made of each input.
const VARIANTS: usize = 60;
/// Longer inputs are tried as they are.
const VARIED_BYTES_MAX: usize = 8 * 1024;

fn corpora() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpora")
}

/// The inputs of a corpus by name.
fn corpus(name: &str) -> Vec<(String, Vec<u8>)> {
    static BLESSED: Once = Once::new();
    BLESSED.call_once(|| {
        if std::env::var_os("SKEIN_BLESS").is_some() {
            seeds::write(&corpora());
        }
    });
    let folder = corpora().join(name);
    let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let mut inputs: Vec<(String, Vec<u8>)> = entries
        .map(|entry| {
            let path = entry.expect("a corpus can be read").path();
            let name = path.file_name().expect("a file has a name").to_string_lossy().into_owned();
            (name, std::fs::read(&path).expect("an input can be read"))
        })
        .collect();
    inputs.sort();
    inputs
}

/// A small generator: the same inputs in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or_default() % bound.max(1)
    }

    /// The bytes with a few changes: flipped bits, other numbers, pieces that are missing, doubled or of another input.
    fn changed(&mut self, bytes: &[u8], other: &[u8]) -> Vec<u8> {
        const NUMBERS: [u8; 6] = [0, 1, 0x7f, 0x80, 0xfe, 0xff];
        let mut out = bytes.to_vec();
        for _ in 0..=self.below(3) {
            let at = self.below(out.len());
            let end = (at + self.below(16)).min(out.len());
            match (self.below(6), out.get_mut(at)) {
                (0, Some(byte)) => *byte ^= 1 << self.below(8),
                (1, Some(byte)) => *byte = NUMBERS[self.below(NUMBERS.len())],
                (2, _) => out.truncate(at),
                (3, _) => drop(out.drain(at..end)),
                (4, _) => {
                    let piece = out[at..end].to_vec();
                    out.splice(at..at, piece);
                }
                _ => {
                    let from = self.below(other.len());
                    let until = (from + self.below(64)).min(other.len());
                    out.splice(at..end, other[from..until].iter().copied());
                }
            }
        }
        out
    }
}

/// A file of an input that failed, for a debugger and for the corpus.
fn kept(name: &str, bytes: &[u8]) -> PathBuf {
    let path = std::env::temp_dir().join(format!("skein-fuzz-{name}-{}", std::process::id()));
    std::fs::write(&path, bytes).expect("a file for what was found");
    path
}

fn tried(name: &str, target: Target, what: &str, bytes: &[u8]) {
    if std::panic::catch_unwind(|| target(bytes)).is_err() {
        let path = kept(name, bytes);
        panic!("target \"{name}\" fails with {what}; the input is {}", path.display());
    }
}

#[test]
fn corpora_and_what_they_become_break_no_promise() {
    let mut random = Random(20_261_122);
    for (name, target) in all() {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "the corpus of \"{name}\" is empty");
        for (file, bytes) in &inputs {
            tried(name, target, file, bytes);
            if bytes.len() > VARIED_BYTES_MAX {
                continue;
            }
            for number in 0..VARIANTS {
                let other = &inputs[random.below(inputs.len())].1;
                let changed = random.changed(bytes, other);
                tried(name, target, &format!("change {number} of {file}"), &changed);
            }
        }
    }
}

#[test]
fn every_corpus_has_a_target_and_stays_small() {
    let mut total = 0;
    for entry in std::fs::read_dir(corpora()).expect("the corpora are there") {
        let name = entry.expect("they can be read").file_name().to_string_lossy().into_owned();
        assert!(all().any(|(target, _)| target == name), "the corpus \"{name}\" has no target");
        total += corpus(&name).iter().map(|(_, bytes)| bytes.len()).sum::<usize>();
    }
    assert!(total < 2 << 20, "the corpora have {total} bytes: leave out what reaches no code of its own");
}

#[test]
fn seeds_are_what_their_targets_take() {
    for (name, file, bytes) in seeds::all() {
        let committed = corpus(name).into_iter().find(|(found, _)| *found == file);
        assert!(
            committed.is_some_and(|(_, committed)| committed == bytes),
            "{name}/{file} differs: SKEIN_BLESS=1 cargo test -p skein-tests --test fuzz writes it anew"
        );
    }
}
