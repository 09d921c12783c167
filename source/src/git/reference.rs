//! Which commit a reference stands for.

use super::program::Program;
use crate::error::SourceError;
use crate::origin::GitReference;
use crate::version::{Constraint, lenient};

/// What the server says a reference is.
pub(super) struct Found {
    /// What to ask for: a full reference name, or a commit.
    pub(super) wanted: String,
    /// The commit, where it is known before it is fetched.
    pub(super) commit: Option<String>,
    /// How people call it.
    pub(super) shown: String,
}

/// Asks the server.
pub(super) async fn find(program: &Program<'_>, reference: &GitReference) -> Result<Found, SourceError> {
    match reference {
        GitReference::Branch(branch) => {
            named(program, &format!("refs/heads/{branch}"), branch, "branch").await
        }
        GitReference::Tag(tag) => named(program, &format!("refs/tags/{tag}"), tag, "tag").await,
        GitReference::Any(name) => {
            match named(program, &format!("refs/tags/{name}"), name, "tag or branch").await {
                Err(SourceError::Absent { .. }) => {
                    named(program, &format!("refs/heads/{name}"), name, "tag or branch").await
                }
                found => found,
            }
        }
        GitReference::Name(name) => named(program, name, name, "reference").await,
        GitReference::Range(range) => newest(program, range).await,
        GitReference::Commit { commit, .. } => {
            let digits = commit.len() == 40 || commit.len() == 64;
            if !digits || !commit.bytes().all(|byte| byte.is_ascii_hexdigit()) {
                let detail =
                    format!("ref.commit \"{commit}\" is not a commit: expected all 40 hexadecimal digits");
                return Err(SourceError::Prepare { detail });
            }
            let commit = commit.to_ascii_lowercase();
            Ok(Found { wanted: commit.clone(), commit: Some(commit.clone()), shown: commit })
        }
    }
}

async fn named(program: &Program<'_>, full: &str, name: &str, kind: &str) -> Result<Found, SourceError> {
    // A reference is an argument of git: it may not look like an option, nor hold what git itself refuses.
    let wrong = full.is_empty()
        || name.starts_with('-')
        || full.contains("..")
        || full.contains([' ', '~', '^', ':', '?', '*', '[', '\\'])
        || full.chars().any(char::is_control);
    if wrong {
        return Err(SourceError::Prepare { detail: format!("\"{name}\" is not the name of a {kind}") });
    }
    let references = program.references(&[full, &format!("{full}^{{}}")]).await?;
    // A tag with a message is an object of its own; what it stands for is listed with "^{}".
    let peeled = format!("{full}^{{}}");
    let commit = references
        .iter()
        .find(|(_, name)| *name == peeled)
        .or_else(|| references.iter().find(|(_, name)| name == full))
        .map(|(commit, _)| commit.clone());
    match commit {
        Some(commit) => Ok(Found { wanted: full.to_owned(), commit: Some(commit), shown: name.to_owned() }),
        None => Err(program.absent(&format!("{kind} \"{name}\""), String::new())),
    }
}

async fn newest(program: &Program<'_>, range: &str) -> Result<Found, SourceError> {
    let constraint = Constraint::parse(range).map_err(SourceError::Version)?;
    let references = program.references(&["refs/tags/*"]).await?;
    let mut versions: Vec<_> = references
        .iter()
        .filter_map(|(_, name)| {
            let tag = name.strip_prefix("refs/tags/").filter(|tag| !tag.ends_with("^{}"))?;
            Some((lenient(tag)?, tag))
        })
        .collect();
    versions.sort_by(|one, other| other.0.cmp(&one.0));
    match versions.iter().find(|(version, _)| constraint.matches(version)) {
        Some((_, tag)) => {
            let full = format!("refs/tags/{tag}");
            let peeled = format!("{full}^{{}}");
            let commit = references.iter().find(|(_, name)| *name == peeled);
            let commit = commit.or_else(|| references.iter().find(|(_, name)| *name == full));
            Ok(Found {
                commit: commit.map(|(commit, _)| commit.clone()),
                wanted: full,
                shown: (*tag).to_owned(),
            })
        }
        None => {
            let newest = versions.first().map(|(newest, _)| format!("; the newest is {newest}"));
            Err(program.absent(
                &format!("tag with a version that satisfies \"{range}\""),
                newest.unwrap_or_default(),
            ))
        }
    }
}
