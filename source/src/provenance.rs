//! Helm's provenance files: a signed text beside a packed chart that says which digest the archive has (Helm's
//! documentation, "Helm provenance and integrity").

use std::collections::BTreeMap;

use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::error::SourceError;
use crate::open_pgp::{Keyring, signed_text};

/// The media type of a provenance file among the layers of a chart in a registry.
pub(crate) const LAYER: &str = "application/vnd.cncf.helm.chart.provenance.v1.prov";

/// The second document of the signed text.
#[derive(Deserialize)]
struct Sums {
    #[serde(default)]
    files: BTreeMap<String, String>,
}

/// The first document of the signed text.
#[derive(Deserialize, Default)]
struct Metadata {
    #[serde(default)]
    name: String,
    #[serde(default)]
    version: String,
}

/// A chart that was fetched, and what it was asked for as.
pub(crate) struct Packed<'a> {
    pub(crate) chart: &'a str,
    pub(crate) version: &'a str,
    pub(crate) content: &'a [u8],
    /// Where it came from, for a person.
    pub(crate) url: &'a str,
}

/// Makes sure that one of the keys signed this chart, under this name and version; `now` is in seconds since 1970.
pub(crate) fn verify(
    packed: &Packed<'_>,
    provenance: &[u8],
    keys: &BTreeMap<String, Vec<u8>>,
    now: u64,
) -> Result<(), SourceError> {
    let refused = |detail: String| SourceError::Signature { url: crate::url::shown(packed.url), detail };
    let mut keyring = Keyring::default();
    for (name, bytes) in keys {
        keyring.add(bytes).map_err(|why| refused(format!("key \"{name}\" of the keyring: {why}")))?;
    }
    let text = signed_text(provenance, &keyring, now)
        .map_err(|why| refused(format!("the provenance file: {why}")))?;
    let (first, second) = text
        .split_once("\n...\n")
        .ok_or_else(|| refused("the provenance file has no second document with files".to_owned()))?;
    let wrong = |error: serde_saphyr::Error| refused(format!("the provenance file: {error}"));
    let metadata: Metadata = serde_saphyr::from_str(first).map_err(wrong)?;
    let sums: Sums = serde_saphyr::from_str(second).map_err(wrong)?;
    // Another chart of the same signer, or another version, is not what was asked for.
    if metadata.name != packed.chart || metadata.version != packed.version {
        return Err(refused(format!(
            "the provenance file is for {} {}, expected is {} {}",
            metadata.name, metadata.version, packed.chart, packed.version
        )));
    }
    let digest = format!("sha256:{}", hex::encode(Sha256::digest(packed.content)));
    let file = format!("{}-{}.tgz", packed.chart, packed.version);
    match sums.files.get(&file) {
        Some(signed) if *signed == digest => Ok(()),
        Some(signed) => Err(refused(format!(
            "the provenance file says \"{file}\" has {signed}, but it has {digest}: it was altered after it was signed"
        ))),
        None => Err(refused(format!("the provenance file does not name \"{file}\""))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(name: &str) -> Vec<u8> {
        std::fs::read(format!("{}/tests/data/open_pgp/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    }

    fn outcome(chart: &str, version: &str, content: &[u8], keys: &str) -> Result<(), String> {
        let keys = BTreeMap::from([("pubring".to_owned(), data(keys))]);
        let packed = Packed { chart, version, content, url: "https://h/web-1.2.0.tgz" };
        verify(&packed, &data("helm-rsa.prov"), &keys, 1_795_290_000).map_err(|error| error.to_string())
    }

    #[test]
    fn a_chart_that_helm_signed_is_accepted_as_what_it_is_only() {
        let chart = data("helm-rsa.tgz");
        assert_eq!(outcome("web", "1.2.0", &chart, "keys.asc"), Ok(()));
        let why = |result: Result<(), String>| result.unwrap_err();
        assert!(
            why(outcome("web", "1.3.0", &chart, "keys.asc")).contains("for web 1.2.0, expected is web 1.3.0")
        );
        assert!(why(outcome("db", "1.2.0", &chart, "keys.asc")).contains("expected is db 1.2.0"));
        assert!(why(outcome("web", "1.2.0", b"other", "keys.asc")).contains("altered after it was signed"));
        assert!(why(outcome("web", "1.2.0", &chart, "keys.gpg")).contains("not in the keyring"));
        assert!(why(outcome("web", "1.2.0", &chart, "rsa.asc")).contains("key \"pubring\" of the keyring"));
    }
}
