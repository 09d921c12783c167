//! A tree of a Git repository: which commit, then exactly that commit, then its files out of the object store. Nothing
//! is ever checked out, so no path, link, filter or hook of the repository touches the disk.
//!
//! # Why the `git` program
//! A library would bring a second HTTP client and a second TLS stack, and would run the `ssh` program all the same. The
//! program speaks every dialect that servers speak, and as a child process it is bounded from outside: time, memory,
//! file size, an empty environment, no configuration but what is given here. Where it is missing, the message says so.

mod program;
mod reference;
mod signed;

use std::collections::BTreeMap;

use reqwest::Url;

use crate::access::Access;
use crate::error::SourceError;
use crate::fetch::{Fetcher, Known, Outcome, Payload, Raw};
use crate::origin::{Git, GitReference, Source};
use crate::unpack::Entries;
use crate::url::{self, shown};
use program::Program;

const SCHEMES: &[&str] = &["https", "http", "ssh"];
/// Submodules inside submodules.
const SUBMODULE_DEPTH_MAX: usize = 5;

/// Looks which commit is meant, and fetches its tree when it is another one.
pub(crate) async fn fetch(
    fetcher: &Fetcher,
    origin: &Git,
    source: &Source,
    known: Option<&Known>,
) -> Result<Outcome, SourceError> {
    let access = &source.access;
    let at = url::of(&origin.url, SCHEMES)?;
    let _permit = fetcher.http.permit(&at).await;
    let program = Program::prepare(fetcher, &at, access).await?;
    let found = reference::find(&program, &origin.reference).await?;
    if found.commit.as_deref().is_some_and(|commit| Known::is(known, &origin_marker(origin, commit))) {
        return Ok(Outcome::Unchanged);
    }
    let commit = program.fetch(&found, &origin.reference).await?;
    signed::verify(&program, &commit, &source.verification, fetcher.now()).await?;
    let mut entries = Entries::new(&origin.url, &fetcher.limits);
    let modules = files(&program, &commit, "", &origin.folders, &mut entries).await?;
    if origin.submodules {
        let mut budget = fetcher.limits.git_submodules_max;
        let parent = Parent { url: at, access: access.clone(), commit: commit.clone(), path: String::new() };
        submodules(fetcher, &program, &parent, modules, &mut entries, &mut budget, 1).await?;
    }
    let revision = match &origin.reference {
        GitReference::Commit { branch: Some(branch), .. } => format!("{branch}@sha1:{commit}"),
        GitReference::Commit { branch: None, .. } => format!("sha1:{commit}"),
        GitReference::Branch(_)
        | GitReference::Tag(_)
        | GitReference::Range(_)
        | GitReference::Name(_)
        | GitReference::Any(_) => {
            format!("{}@sha1:{commit}", found.shown)
        }
    };
    let marker = Some(origin_marker(origin, &commit));
    Ok(Outcome::New(Box::new(Payload { revision, marker, content: Raw::Entries(entries) })))
}

/// What the content hangs on: the commit, and which part of it is wanted.
fn origin_marker(origin: &Git, commit: &str) -> String {
    format!("{commit} {:?} {}", origin.folders, origin.submodules)
}

/// Takes the files of a commit; returns its submodules by path, with their commits.
async fn files(
    program: &Program<'_>,
    commit: &str,
    prefix: &str,
    folders: &[String],
    entries: &mut Entries,
) -> Result<BTreeMap<String, String>, SourceError> {
    let listing = program.list(commit, folders).await?;
    let mut modules = BTreeMap::new();
    let mut wanted = Vec::new();
    for record in listing.split(|byte| *byte == 0).filter(|record| !record.is_empty()) {
        let text = std::str::from_utf8(record)
            .map_err(|_| entries.refused(&String::from_utf8_lossy(record), "the path is not UTF-8"))?;
        let (head, path) =
            text.split_once('\t').ok_or_else(|| program.failed("git lists what cannot be read"))?;
        let mut head = head.split_ascii_whitespace();
        let (mode, id) = (head.next().unwrap_or_default(), head.nth(1).unwrap_or_default());
        let path = format!("{prefix}{path}");
        match mode {
            "160000" => {
                modules.insert(path, id.to_owned());
            }
            mode => {
                let size = head.next().and_then(|size| size.parse().ok()).unwrap_or_default();
                entries.admit(&path, size)?;
                wanted.push((path, id.to_owned(), size, mode == "120000"));
            }
        }
    }
    let ids: Vec<_> = wanted.iter().map(|(_, id, size, _)| (id.as_str(), *size)).collect();
    let contents = program.contents(&ids).await?;
    for ((path, _, _, link), content) in wanted.into_iter().zip(contents) {
        if link {
            let target = String::from_utf8_lossy(&content).into_owned();
            entries.link(&path, &target)?;
        } else {
            entries.file(&path, content)?;
        }
    }
    Ok(modules)
}

/// The commit that submodules hang on.
struct Parent {
    url: Url,
    access: Access,
    commit: String,
    /// Ends with a slash unless it is empty.
    path: String,
}

/// Takes the files of submodules, and of theirs.
async fn submodules(
    fetcher: &Fetcher,
    program: &Program<'_>,
    parent: &Parent,
    modules: BTreeMap<String, String>,
    entries: &mut Entries,
    budget: &mut usize,
    depth: usize,
) -> Result<(), SourceError> {
    if modules.is_empty() {
        return Ok(());
    }
    if depth > SUBMODULE_DEPTH_MAX {
        return Err(program.failed(&format!("submodules are nested deeper than {SUBMODULE_DEPTH_MAX}")));
    }
    let addresses = program.module_addresses(&parent.commit).await?;
    for (path, commit) in modules {
        *budget = budget.checked_sub(1).ok_or_else(|| {
            program.failed(&format!("it has more than {} submodules", fetcher.limits.git_submodules_max))
        })?;
        let inside = path.strip_prefix(&parent.path).unwrap_or(&path);
        let address = addresses.get(inside).ok_or_else(|| {
            program.failed(&format!(".gitmodules has no url for the submodule \"{inside}\""))
        })?;
        let at = joined(&parent.url, address).ok_or_else(|| {
            program.failed(&format!(
                "the submodule \"{inside}\" has the address \"{}\": expected https://, http://, ssh:// or a path",
                shown(address)
            ))
        })?;
        let mut access = parent.access.clone();
        // Another host gets no credentials of this one.
        if url::host(&at) != url::host(&parent.url) {
            (access.credentials, access.ssh) = (None, None);
        }
        let program = Program::prepare(fetcher, &at, &access).await?;
        let reference = GitReference::Commit { commit: commit.clone(), branch: None };
        let found = reference::find(&program, &reference).await?;
        program.fetch(&found, &reference).await?;
        let prefix = format!("{path}/");
        let inner = files(&program, &commit, &prefix, &[], entries).await?;
        let parent = Parent { url: at, access: access.clone(), commit, path: prefix };
        Box::pin(submodules(fetcher, &program, &parent, inner, entries, budget, depth + 1)).await?;
    }
    Ok(())
}

/// The address of a submodule, which may be relative to its parent's.
fn joined(parent: &Url, address: &str) -> Option<Url> {
    if address.starts_with("./") || address.starts_with("../") {
        return url::folder(parent.clone()).join(address).ok();
    }
    url::of(address, SCHEMES).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_submodule_may_be_beside_its_parent() {
        let parent = Url::parse("https://h/team/app.git").unwrap();
        assert_eq!(joined(&parent, "../lib.git").unwrap().as_str(), "https://h/team/lib.git");
        assert_eq!(joined(&parent, "https://o/x").unwrap().as_str(), "https://o/x");
        for wrong in ["file:///etc", "/etc", "ext::sh -c x", "git@h:x"] {
            assert!(joined(&parent, wrong).is_none(), "{wrong}");
        }
    }
}
