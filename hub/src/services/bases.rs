//! Remote bases of kustomizations: fetched like any other source, and laid beside what refers to them, so that what is
//! built is one tree. Only where the hub was told to allow them.
//!
//! # Why credentials are found by the host's name
//! A kustomization may name any host, and its author need not be who owns the credentials. So a base gets those of the
//! Secret that is named after its host (`remote-base-HOST`, or `remote-base-HOST-PORT`, beside the template, with the keys
//! that Flux' GitRepository reads): no other host can be given them, and never in clear.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use source::{Artifact, Origin, Source, Tree};

use super::template::{Lack, Sight, waiting};
use crate::cache::Kind;
use crate::content::remote_base::{self, is_remote};
use crate::content::{Failure, KUSTOMIZATIONS, Kustomization, Name, State, key};

/// Remote bases of one kustomization, those of its bases included.
const BASES_MAX: usize = 64;
/// Folders of one kustomization that are looked through.
const FOLDERS_MAX: usize = 1000;
const FIELDS: [&str; 3] = ["resources", "bases", "components"];

/// A kustomization while its remote bases are laid beside it: what there is to read, without a copy of any tree.
struct Grafting {
    own: Arc<Tree>,
    /// Trees of bases, by the folder that they are to lie in.
    laid: Vec<(String, Arc<Tree>)>,
    /// Kustomizations that name what lies beside them now.
    rewritten: Tree,
    folders: Vec<String>,
    digest: Sha256,
    bases: usize,
    failure: Option<Failure>,
}

impl Grafting {
    fn file(&self, path: &str) -> Option<&Vec<u8>> {
        let laid = || {
            self.laid
                .iter()
                .find_map(|(place, tree)| tree.get(path.strip_prefix(place.as_str())?.strip_prefix('/')?))
        };
        self.rewritten.get(path).or_else(|| self.own.get(path)).or_else(laid)
    }

    /// One tree of all that was read.
    fn whole(&self) -> Tree {
        let mut files = Tree::clone(&self.own);
        for (place, tree) in &self.laid {
            files.extend(tree.iter().map(|(inside, bytes)| (joined(place, inside), bytes.clone())));
        }
        files.extend(self.rewritten.clone());
        files
    }
}

impl Sight<'_> {
    /// The kustomization with its remote bases beside it, and why there is nothing newer of one of them.
    pub(super) fn with_bases(
        &self,
        namespace: &str,
        wanted: Kustomization,
    ) -> Result<(Kustomization, Option<Failure>), Lack> {
        let root = source::plain_folder(&wanted.path);
        let (true, Some(root)) = (self.sources.allows_remote_bases(), root) else {
            return Ok((wanted, None));
        };
        let mut grafting = Grafting {
            own: wanted.files.clone(),
            laid: Vec::new(),
            rewritten: Tree::new(),
            folders: vec![root],
            digest: Sha256::new_with_prefix(&wanted.digest),
            bases: 0,
            failure: None,
        };
        let mut seen = BTreeSet::new();
        while let Some(folder) = grafting.folders.pop() {
            if seen.insert(folder.clone()) && seen.len() <= FOLDERS_MAX {
                self.graft(namespace, &wanted.origin, &folder, &mut grafting)?;
            }
        }
        if grafting.bases == 0 {
            return Ok((wanted, None));
        }
        let digest = hex::encode(grafting.digest.clone().finalize());
        // What all of it hangs on is in the digest, so many decisions share one copy.
        let files = self
            .sources
            .files_by_key(&format!("bases {digest} {}", wanted.path), || Ok(Arc::new(grafting.whole())));
        let files = files.map_err(Lack::Invalid)?;
        Ok((Kustomization { files, digest, ..wanted }, grafting.failure))
    }

    /// Takes the remote bases of one folder.
    fn graft(
        &self,
        namespace: &str,
        origin: &str,
        folder: &str,
        grafting: &mut Grafting,
    ) -> Result<(), Lack> {
        let path = KUSTOMIZATIONS.iter().map(|name| joined(folder, name));
        let Some(path) = path.into_iter().find(|path| grafting.file(path).is_some()) else {
            return Ok(());
        };
        let text = grafting.file(&path).and_then(|bytes| std::str::from_utf8(bytes).ok());
        // What cannot be read says so when it is built.
        let Some(Ok(mut fields)) = text.map(render::parse_values) else { return Ok(()) };
        let mut changed = false;
        for entry in FIELDS.iter().flat_map(|field| entries(&fields, field)).collect::<Vec<_>>() {
            if !is_remote(&entry) {
                let inner = source::plain_folder(&joined(folder, &entry));
                grafting.folders.extend(inner.filter(|path| grafting.file(path).is_none()));
                continue;
            }
            let told = |why: String| Lack::Invalid(format!("{origin}: {path}: {why}"));
            grafting.bases += 1;
            if grafting.bases > BASES_MAX {
                return Err(told(format!("it has more than {BASES_MAX} remote bases")));
            }
            let base = remote_base::read(&entry).map_err(told)?;
            let (artifact, failure) = self.base(namespace, &base.origin, &told)?;
            grafting.failure = grafting.failure.take().or(failure);
            grafting.digest.update(&artifact.digest);
            let tree = artifact.tree(&source::Limits::default()).map_err(|error| told(error.to_string()))?;
            let short = artifact.digest.get(..16).unwrap_or_default();
            // A file may be in or below the folder that names it only, a folder anywhere in the tree.
            let (place, target) = if matches!(base.origin, Origin::RemoteFile(_)) {
                let name = tree.keys().next().cloned().unwrap_or_default();
                (joined(folder, &format!(".remote-{short}")), format!(".remote-{short}/{name}"))
            } else {
                let up = "../".repeat(folder.split('/').filter(|part| !part.is_empty()).count());
                let place = format!(".remote-{short}");
                let inner = source::plain_folder(&joined(&place, &base.path));
                grafting.folders.extend(inner);
                let target = format!("{up}{}", joined(&place, &base.path));
                (place, target)
            };
            grafting.laid.push((place, tree));
            replace(&mut fields, &entry, target.trim_end_matches('/'));
            changed = true;
        }
        if changed {
            let text = serde_json::to_vec(&fields).map_err(|error| Lack::Invalid(error.to_string()))?;
            grafting.rewritten.insert(path, text);
        }
        Ok(())
    }

    fn base(
        &self,
        namespace: &str,
        origin: &Origin,
        told: &impl Fn(String) -> Lack,
    ) -> Result<(Arc<Artifact>, Option<Failure>), Lack> {
        let mut source = Source::new(origin.clone());
        if let Some(secret) = secret_of(origin) {
            let access = self.describer(namespace).lent(&secret).map_err(told)?;
            source.access = access.unwrap_or_default();
        }
        let short = hex::encode(Sha256::digest(format!("{origin:?}")));
        let name = format!("base/{}#{}", origin.address(), short.get(..12).unwrap_or_default());
        let name = Name { namespace: namespace.to_owned(), name };
        let at = key(&name);
        self.view.note(Kind::FetchedChart, &at.namespace, &at.name);
        let State { artifact, failure } = self.sources.ask(&name, &Ok(source));
        match (artifact, failure) {
            (Some(artifact), failure) => Ok((artifact, failure)),
            (None, Some(failure)) => Err(told(failure.message)),
            (None, None) => Err(waiting(&name)),
        }
    }
}

/// Under which name a Secret has credentials for a base; nothing for one that is asked in clear.
fn secret_of(origin: &Origin) -> Option<String> {
    let address = origin.address();
    let (scheme, rest) = address.split_once("://")?;
    if !matches!(scheme, "https" | "ssh") {
        return None;
    }
    let host = rest.split('/').next().unwrap_or_default();
    let plain = |one: char| one.is_ascii_alphanumeric() || one == '.' || one == '-';
    let host = host.to_ascii_lowercase().replace(':', "-");
    (!host.is_empty() && host.chars().all(plain)).then(|| format!("remote-base-{host}"))
}

fn entries(fields: &Value, field: &str) -> Vec<String> {
    let list = fields[field].as_array().into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

fn replace(fields: &mut Value, entry: &str, target: &str) {
    for field in FIELDS {
        let list = fields.get_mut(field).and_then(Value::as_array_mut);
        for one in list.into_iter().flatten().filter(|one| **one == json!(entry)) {
            *one = json!(target);
        }
    }
}

fn joined(folder: &str, name: &str) -> String {
    if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_named_after_the_host_and_never_for_an_address_in_clear() {
        let secret = |entry: &str| secret_of(&remote_base::read(entry).unwrap().origin);
        let some = |name: &str| Some(name.to_owned());
        assert_eq!(secret("https://Git.example/team/app.git//base?ref=v1"), some("remote-base-git.example"));
        assert_eq!(secret("https://git.example:8443/app.git"), some("remote-base-git.example-8443"));
        assert_eq!(secret("git@git.example:team/app//base"), some("remote-base-git.example"));
        assert_eq!(secret("https://me@evil.example/git.example/app.git"), some("remote-base-evil.example"));
        assert_eq!(secret("https://git.example/all.yaml"), some("remote-base-git.example"));
        assert_eq!(secret("http://git.example/app.git"), None);
    }
}
