//! Signatures that cosign made with a key, verified without any service: the simple-signing payload in the tag
//! `sha256-<digest>.sig` (cosign 1 and 2), and the Sigstore bundle with a DSSE envelope that refers to the artifact
//! (cosign 3).
//!
//! # Why keys only
//! A keyless signature proves an identity only together with a certificate authority, a transparency log and a fresh
//! root of trust, all of which live in the internet. Where a source demands one, it is refused with that reason, never
//! accepted unchecked.

use std::collections::BTreeMap;

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P521_SHA256_ASN1,
    ECDSA_P521_SHA512_ASN1, ED25519, RSA_PKCS1_2048_8192_SHA256, UnparsedPublicKey, VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::StatusCode;
use rustls_pki_types::SubjectPublicKeyInfoDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;

use crate::error::SourceError;
use crate::registry::{LayerEntry, Repository};

const SIMPLE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle";
/// Signatures of one artifact that are looked at.
const SIGNATURES_MAX: usize = 50;

#[derive(Deserialize)]
struct Payload {
    critical: Critical,
}

#[derive(Deserialize)]
struct Critical {
    image: Image,
}

#[derive(Deserialize)]
struct Image {
    #[serde(rename = "docker-manifest-digest")]
    digest: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bundle {
    dsse_envelope: Option<Envelope>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    payload: String,
    payload_type: String,
    #[serde(default)]
    signatures: Vec<Signature>,
}

#[derive(Deserialize)]
struct Signature {
    sig: String,
}

#[derive(Deserialize)]
struct Statement {
    #[serde(default)]
    subject: Vec<Subject>,
}

#[derive(Deserialize)]
struct Subject {
    #[serde(default)]
    digest: BTreeMap<String, String>,
}

/// A public key and the ways in which it may sign.
struct Key(&'static [&'static dyn VerificationAlgorithm], Vec<u8>);

impl Key {
    fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        self.0.iter().any(|way| UnparsedPublicKey::new(*way, &self.1).verify(message, signature).is_ok())
    }
}

/// Makes sure that one of the keys signed this manifest.
pub(crate) async fn verify(
    repository: &mut Repository<'_>,
    keys: &BTreeMap<String, String>,
    digest: &str,
) -> Result<(), SourceError> {
    let url = repository.at("manifests", digest);
    let refused = |detail: String| SourceError::Signature { url: url.clone(), detail };
    let keys = read(keys).map_err(refused)?;
    let mut seen = 0;
    for layer in simple_signatures(repository, digest).await? {
        seen += 1;
        let Some(signature) = layer.annotations.get(SIGNATURE).and_then(|text| STANDARD.decode(text).ok())
        else {
            continue;
        };
        let payload = repository.blob(&layer).await?;
        let signed = keys.iter().any(|key| key.verifies(&payload, &signature));
        if signed && names_simple(&payload, digest) {
            return Ok(());
        }
    }
    for entry in bundles(repository, digest).await? {
        seen += 1;
        let (body, _) = repository.manifest(&entry.digest).await?;
        for layer in repository.read(&entry.digest, &body)?.layers.iter().take(SIGNATURES_MAX) {
            let content = repository.blob(layer).await?;
            if bundle_holds(&content, &keys, digest) {
                return Ok(());
            }
        }
    }
    Err(refused(match seen {
        0 => "it has no cosign signature: sign it with \"cosign sign --key\"".to_owned(),
        _ => "none of its signatures was made with the keys of verify.secretRef for this content".to_owned(),
    }))
}

async fn simple_signatures(
    repository: &mut Repository<'_>,
    digest: &str,
) -> Result<Vec<LayerEntry>, SourceError> {
    let tag = format!("{}.sig", digest.replace(':', "-"));
    let body = match repository.manifest(&tag).await {
        Ok((body, _)) => body,
        Err(SourceError::Status { status: StatusCode::NOT_FOUND, .. }) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut layers = repository.read(&tag, &body)?.layers;
    layers.retain(|layer| layer.media_type == SIMPLE);
    layers.truncate(SIGNATURES_MAX);
    Ok(layers)
}

async fn bundles(repository: &mut Repository<'_>, digest: &str) -> Result<Vec<LayerEntry>, SourceError> {
    let mut entries = repository.referrers(digest).await?;
    entries.retain(|entry| entry.artifact_type.as_deref().is_some_and(|type_| type_.starts_with(BUNDLE)));
    entries.truncate(SIGNATURES_MAX);
    Ok(entries)
}

/// Whether the payload speaks of this manifest.
fn names_simple(payload: &[u8], digest: &str) -> bool {
    serde_json::from_slice::<Payload>(payload).is_ok_and(|payload| payload.critical.image.digest == digest)
}

/// Whether the bundle holds a statement of one of the keys about this manifest.
fn bundle_holds(content: &[u8], keys: &[Key], digest: &str) -> bool {
    let Ok(Bundle { dsse_envelope: Some(envelope) }) = serde_json::from_slice(content) else { return false };
    let Ok(payload) = STANDARD.decode(&envelope.payload) else { return false };
    // DSSE 1.0: lengths and texts of type and body.
    let mut message =
        format!("DSSEv1 {} {} {} ", envelope.payload_type.len(), envelope.payload_type, payload.len())
            .into_bytes();
    message.extend_from_slice(&payload);
    let signed = envelope.signatures.iter().take(SIGNATURES_MAX).any(|signature| {
        STANDARD
            .decode(&signature.sig)
            .is_ok_and(|bytes| keys.iter().any(|key| key.verifies(&message, &bytes)))
    });
    let subject = digest.strip_prefix("sha256:").unwrap_or(digest);
    signed
        && serde_json::from_slice::<Statement>(&payload).is_ok_and(|statement| {
            statement
                .subject
                .iter()
                .any(|one| one.digest.get("sha256").is_some_and(|sha256| sha256 == subject))
        })
}

/// Length of the public key of an RSA pair of 2048 bits: shorter ones are weaker.
const RSA_2048_BYTES: usize = 290;

/// The keys; which algorithm a key is for is tried, as the types of keys tell themselves apart.
fn read(keys: &BTreeMap<String, String>) -> Result<Vec<Key>, String> {
    if keys.is_empty() {
        return Err("the Secret of verify.secretRef holds no key: expected entries named *.pub".to_owned());
    }
    let mut read = Vec::new();
    for (name, pem) in keys {
        let der = SubjectPublicKeyInfoDer::from_pem_slice(pem.as_bytes()).map_err(|_| {
            format!("\"{name}\" is not a public key in PEM: expected \"-----BEGIN PUBLIC KEY-----\"")
        })?;
        let der = der.as_ref();
        let algorithm = algorithm(der).ok_or_else(|| {
            format!(
                "\"{name}\" is {}: expected an ECDSA key on P-256, P-384 or P-521, an RSA key of 2048 to 8192 bits or \
                 an Ed25519 key",
                unusable(der)
            )
        })?;
        read.push(Key(algorithm, der.to_vec()));
    }
    Ok(read)
}

/// By the object identifiers inside (RFC 5480, 8017, 8410). cosign 1 and 2 hash with SHA-256 whatever the curve is,
/// cosign 3 with the hash of the curve's own strength.
fn algorithm(der: &[u8]) -> Option<&'static [&'static dyn VerificationAlgorithm]> {
    const P256: &[u8] = &[0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07];
    const P384: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x22];
    const P521: &[u8] = &[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x23];
    const RSA: &[u8] = &[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01];
    const ED25519_OID: &[u8] = &[0x06, 0x03, 0x2b, 0x65, 0x70];
    let head = der.get(..der.len().min(40))?;
    let holds = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
    if holds(P256) {
        Some(&[&ECDSA_P256_SHA256_ASN1])
    } else if holds(P384) {
        Some(&[&ECDSA_P384_SHA384_ASN1, &ECDSA_P384_SHA256_ASN1])
    } else if holds(P521) {
        Some(&[&ECDSA_P521_SHA512_ASN1, &ECDSA_P521_SHA256_ASN1])
    } else if holds(RSA) && der.len() >= RSA_2048_BYTES {
        Some(&[&RSA_PKCS1_2048_8192_SHA256])
    } else if holds(ED25519_OID) {
        Some(&[&ED25519])
    } else {
        None
    }
}

/// What a key is that no algorithm here is for (RFC 3279, 5480, 5639, 8410).
fn unusable(der: &[u8]) -> &'static str {
    let kinds: [(&[u8], &str); 8] = [
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x21], "a key on the curve P-224"),
        (&[0x06, 0x05, 0x2b, 0x81, 0x04, 0x00, 0x0a], "a key on the curve secp256k1"),
        (&[0x06, 0x09, 0x2b, 0x24, 0x03, 0x03, 0x02, 0x08, 0x01, 0x01], "a key on a Brainpool curve"),
        (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x02, 0x01], "a key on a curve that is not known here"),
        (&[0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 0x01, 0x01, 0x01], "an RSA key of too few bits"),
        (&[0x06, 0x07, 0x2a, 0x86, 0x48, 0xce, 0x38, 0x04, 0x01], "a DSA key"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x6e], "an X25519 key, which signs nothing"),
        (&[0x06, 0x03, 0x2b, 0x65, 0x71], "an Ed448 key"),
    ];
    let head = der.get(..der.len().min(40)).unwrap_or_default();
    let is = |oid: &[u8]| head.windows(oid.len()).any(|window| window == oid);
    kinds
        .into_iter()
        .find(|(oid, _)| is(oid))
        .map_or("a key of a kind that is not known here", |(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Public keys of kinds that sign nothing here, as OpenSSL writes them.
    const UNUSABLE: [(&str, &str); 5] = [
        (
            "a key on the curve P-224",
            "ME4wEAYHKoZIzj0CAQYFK4EEACEDOgAE8SLZKu2rDJ+1vXthb+dEIncX4wHV0ZWdOkl64FviB/9JBwNEWAkV1nTgSxXGTzSUymuQDaOQ8nY=",
        ),
        (
            "a key on the curve secp256k1",
            "MFYwEAYHKoZIzj0CAQYFK4EEAAoDQgAEuBtOXfvcRdMEa195U4R8swdQKhiXai+NMp57LELOFqGw0ahCtuQZrC/HtPszq5K7t+1pWIBy5QkENdHHD2xCYw==",
        ),
        (
            "a key on a Brainpool curve",
            "MFowFAYHKoZIzj0CAQYJKyQDAwIIAQEHA0IABHN6US6AFSGR6MqbJjlzKdZdkpgYVBtDSzG7UGhGuTFOAHxU+nEj4eCPFz5efdyCaYs3yQLJGleWkAmsR0dAc1k=",
        ),
        (
            "an RSA key of too few bits",
            "MIGfMA0GCSqGSIb3DQEBAQUAA4GNADCBiQKBgQChEM7QZx5cThWjn0KhmnoYqpHYW5beXBsEDTQ2kUwq9t8GJoSoqT130LrpYxNszXDRU88jYIZieveHJkZdBmFAbkzYdEOVMhlY2OlptDHA1IGrtQKOwrmwHPjocuMizglNRXqARX8n7x/3V/u7VpAuNk0carsY5bTAJfRK3e3A9QIDAQAB",
        ),
        (
            "an X25519 key, which signs nothing",
            "MCowBQYDK2VuAyEAMXc1sQJIL8+s90LUVqqaM6PEzqPEk0UObgiJzPuQKBU=",
        ),
    ];

    #[test]
    fn a_key_that_signs_nothing_here_is_told_what_it_is_and_what_is_accepted() {
        for (kind, key) in UNUSABLE {
            let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
            let refusal = read(&BTreeMap::from([("old.pub".to_owned(), pem)])).err().unwrap();
            assert!(refusal.starts_with(&format!("\"old.pub\" is {kind}: expected")), "{refusal}");
            assert!(refusal.contains("P-256, P-384 or P-521"), "{refusal}");
        }
    }

    #[test]
    fn a_key_is_read_by_what_it_says_of_itself() {
        use rcgen::SigningKey as _;
        for algorithm in [
            &rcgen::PKCS_ECDSA_P256_SHA256,
            &rcgen::PKCS_ECDSA_P384_SHA384,
            &rcgen::PKCS_ECDSA_P521_SHA512,
            &rcgen::PKCS_ED25519,
            &rcgen::PKCS_RSA_SHA256,
        ] {
            let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
            let keys = BTreeMap::from([("cosign.pub".to_owned(), pair.public_key_pem())]);
            let keys = read(&keys).unwrap();
            let signature = pair.sign(b"message").unwrap();
            assert!(keys[0].verifies(b"message", &signature), "{algorithm:?}");
            assert!(!keys[0].verifies(b"another", &signature), "{algorithm:?}");
        }
        let wrong = BTreeMap::from([("cosign.pub".to_owned(), "nonsense".to_owned())]);
        assert!(read(&wrong).err().unwrap().contains("\"cosign.pub\" is not a public key"));
        assert!(read(&BTreeMap::new()).err().unwrap().contains("*.pub"));
    }

    #[test]
    fn a_bundle_speaks_only_of_its_subject() {
        use rcgen::SigningKey as _;
        let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let keys = read(&BTreeMap::from([("k.pub".to_owned(), pair.public_key_pem())])).unwrap();
        let statement = r#"{"subject":[{"name":"x","digest":{"sha256":"aa"}}]}"#;
        let type_ = "application/vnd.in-toto+json";
        let message = format!("DSSEv1 {} {type_} {} {statement}", type_.len(), statement.len());
        let signature = pair.sign(message.as_bytes()).unwrap();
        let bundle = serde_json::json!({"dsseEnvelope": {
            "payload": STANDARD.encode(statement), "payloadType": type_,
            "signatures": [{"sig": STANDARD.encode(signature)}],
        }});
        let bundle = bundle.to_string();
        assert!(bundle_holds(bundle.as_bytes(), &keys, "sha256:aa"));
        assert!(!bundle_holds(bundle.as_bytes(), &keys, "sha256:bb"));
        let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
        let others = read(&BTreeMap::from([("k.pub".to_owned(), other.public_key_pem())])).unwrap();
        assert!(!bundle_holds(bundle.as_bytes(), &others, "sha256:aa"));
    }
}
