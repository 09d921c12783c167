//! Every decoder and parser that meets a peer, as a function of bytes that may be anything.
//!
//! A target panics when what it reads of them breaks a promise: what was read writes the same again, what was not signed
//! is not believed, what is issued has the names that policy gives and no others. `main.rs` replays the committed corpora
//! and what they become when bytes of them change; `libfuzzer/` searches.

mod identities;
pub(crate) mod measurements;
mod messages;
mod tunnels;

pub(crate) use identities::MESH;

/// Tries bytes.
pub(crate) type Target = fn(&[u8]);

/// All targets by name; the corpus of each is the folder of that name.
pub(crate) const TARGETS: [(&str, Target); 25] = [
    ("batch", measurements::batch),
    ("blob", messages::blob),
    ("bodies", messages::bodies),
    ("capsules", tunnels::capsules),
    ("certificate", identities::certificate),
    ("chunk", measurements::chunk),
    ("csr", identities::csr),
    ("exposition", measurements::exposition),
    ("frames", messages::frames),
    ("grant", identities::grant),
    ("issuer", identities::issuer),
    ("join", identities::join),
    ("ledger", measurements::ledger),
    ("otlp-json", measurements::otlp_json),
    ("otlp-protobuf", measurements::otlp_protobuf),
    ("promql", measurements::promql),
    ("proxy", tunnels::proxy),
    ("query", measurements::query),
    ("recover", identities::recover),
    ("sealed", identities::sealed),
    ("session", messages::session),
    ("signed", identities::signed),
    ("token", identities::token),
    ("trust", identities::trust),
    ("upgrade", tunnels::upgrade),
];

/// The first byte chooses, the rest is what is read.
fn chosen(bytes: &[u8]) -> Option<(usize, &[u8])> {
    bytes.split_first().map(|(first, rest)| (usize::from(*first), rest))
}
