//! Signatures of commits and annotated tags: where they stand, and what they are made over (git's documentation,
//! "gitformat-signature").

use crate::error::SourceError;
use crate::git::program::Program;
use crate::open_pgp::{Keyring, detached};
use crate::origin::Verification;

const BEGIN: &str = "-----BEGIN PGP SIGNATURE-----";

/// Makes sure that the commit, the tag that was fetched, or both are signed; `now` is in seconds since 1970.
pub(super) async fn verify(
    program: &Program<'_>,
    commit: &str,
    verification: &[Verification],
    now: u64,
) -> Result<(), SourceError> {
    for one in verification {
        let Verification::Git { keys, commit: of_commit, tag: of_tag } = one else { continue };
        let mut keyring = Keyring::default();
        for (name, bytes) in keys {
            let told = |why| program.unsigned(&format!("key \"{name}\" of verify.secretRef: {why}"));
            keyring.add(bytes).map_err(told)?;
        }
        if *of_commit {
            let object = program.object("commit", commit).await?;
            let told = |why: String| program.unsigned(&format!("commit {commit}: {why}"));
            let (payload, signature) = commit_parts(&object).map_err(told)?;
            detached(&signature, &payload, &keyring, now).map_err(told)?;
        }
        if *of_tag {
            let object = program.object("tag", "FETCH_HEAD").await;
            let object = object.map_err(|_| {
                program.unsigned("verify.mode demands a signed tag: ref must name an annotated tag, by tag, semver or name")
            })?;
            let told = |why: String| program.unsigned(&format!("the tag: {why}"));
            let (payload, signature) = tag_parts(&object).map_err(told)?;
            detached(signature, payload, &keyring, now).map_err(told)?;
        }
    }
    Ok(())
}

/// Where a line of a commit belongs.
#[derive(Clone, Copy)]
enum Inside {
    Payload,
    Signature,
    /// A signature for another hash, and no part of what is signed either.
    Other,
}

/// A commit without its signature, and the signature: a header whose further lines begin with a blank.
fn commit_parts(object: &[u8]) -> Result<(Vec<u8>, String), String> {
    let (mut payload, mut signature) = (Vec::with_capacity(object.len()), String::new());
    let (mut headers, mut inside) = (true, Inside::Payload);
    for line in object.split_inclusive(|byte| *byte == b'\n') {
        let text = std::str::from_utf8(line).unwrap_or_default();
        headers = headers && line != b"\n";
        let continued = headers && line.starts_with(b" ");
        if headers && text.starts_with("gpgsig ") {
            inside = Inside::Signature;
        } else if headers && text.starts_with("gpgsig-sha256 ") {
            inside = Inside::Other;
        } else if !continued {
            inside = Inside::Payload;
        }
        match inside {
            Inside::Payload => payload.extend_from_slice(line),
            Inside::Signature => {
                signature.push_str(text.strip_prefix("gpgsig ").or(text.get(1..)).unwrap_or_default());
            }
            Inside::Other => {}
        }
    }
    if signature.is_empty() {
        return Err("it is not signed".to_owned());
    }
    Ok((payload, signature))
}

/// A tag without its signature, which stands at its end.
fn tag_parts(object: &[u8]) -> Result<(&[u8], &str), String> {
    let text = std::str::from_utf8(object).map_err(|_| "it is not UTF-8".to_owned())?;
    let at = text.rfind(&format!("\n{BEGIN}")).ok_or_else(|| "it is not signed".to_owned())?;
    Ok((&object[..=at], &text[at + 1..]))
}
