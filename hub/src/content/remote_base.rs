//! Addresses of remote bases in kustomizations, as kustomize writes them: a repository, a folder in it after `//`, and
//! a query (`ref` or `version`, `submodules`); or one manifest behind a URL.

use source::{Git, GitReference, Origin, RemoteFile};

/// A remote base: where it is, and which folder of it is meant.
#[derive(Debug, PartialEq)]
pub struct RemoteBase {
    /// Where it is.
    pub origin: Origin,
    /// The folder; of a single manifest its name.
    pub path: String,
}

/// Whether an entry of a kustomization names something elsewhere.
pub fn is_remote(entry: &str) -> bool {
    let user = || {
        let (user, rest) = entry.split_once('@')?;
        let plain = |text: &str| text.chars().all(|one| one.is_ascii_alphanumeric() || "-_.".contains(one));
        Some(!user.is_empty() && plain(user) && rest.contains(':'))
    };
    entry.contains("://")
        || ["git::", "gh:", "github.com/", "github.com:"].iter().any(|start| entry.starts_with(start))
        || user().unwrap_or(false)
}

/// Reads an address.
///
/// # Errors
/// What is not understood, and what would be.
pub fn read(entry: &str) -> Result<RemoteBase, String> {
    let wrong = || {
        format!(
            "\"{entry}\" is not understood as a remote base: expected https://host/repository.git//folder?ref=tag, or ssh://"
        )
    };
    let text = entry.strip_prefix("git::").unwrap_or(entry);
    let (address, query) = text.split_once('?').unwrap_or((text, ""));
    let manifest = [".yaml", ".yml", ".json"].iter().any(|ending| address.ends_with(ending));
    let web = address.starts_with("https://") || address.starts_with("http://");
    if web && manifest && !address.contains(".git/") && !address[8..].contains("//") {
        let name = address.rsplit('/').next().unwrap_or_default().to_owned();
        let file = RemoteFile { url: text.to_owned(), ..RemoteFile::default() };
        return Ok(RemoteBase { origin: Origin::RemoteFile(file), path: name });
    }
    let address = with_scheme(address).ok_or_else(wrong)?;
    let (scheme, rest) = address.split_once("://").ok_or_else(wrong)?;
    let (host, path) = rest.split_once('/').ok_or_else(wrong)?;
    let (repository, folder) = divided(host, path);
    if host.is_empty() || repository.is_empty() || source::plain_folder(&folder).is_none() {
        return Err(wrong());
    }
    let mut reference = GitReference::Name("HEAD".to_owned());
    let mut submodules = true;
    for (name, value) in query.split('&').filter_map(|pair| pair.split_once('=')) {
        match name {
            "ref" | "version" => reference = named(value),
            "submodules" => submodules = value == "true" || value == "1",
            // Ours has a timeout of its own.
            _ => {}
        }
    }
    let url = format!("{scheme}://{host}/{repository}");
    let git = Git { url, reference, folders: Vec::new(), submodules };
    Ok(RemoteBase { origin: Origin::Git(git), path: folder })
}

/// The address with the protocol that is meant.
fn with_scheme(address: &str) -> Option<String> {
    if let Some(rest) = address.strip_prefix("gh:") {
        return Some(format!("https://github.com/{rest}"));
    }
    if let Some(rest) = address.strip_prefix("github.com/").or_else(|| address.strip_prefix("github.com:")) {
        return Some(format!("https://github.com/{rest}"));
    }
    if ["https://", "http://", "ssh://"].iter().any(|scheme| address.starts_with(scheme)) {
        return Some(address.to_owned());
    }
    if address.contains("://") {
        return None;
    }
    // As scp has it: user@host:path.
    let (host, path) = address.split_once(':')?;
    Some(format!("ssh://{host}/{}", path.trim_start_matches('/')))
}

/// The repository and the folder in it.
fn divided(host: &str, path: &str) -> (String, String) {
    if let Some((repository, folder)) = path.split_once("//") {
        return (repository.to_owned(), folder.to_owned());
    }
    if let Some(at) = path.find(".git/") {
        return (path[..at + 4].to_owned(), path[at + 5..].to_owned());
    }
    if host.ends_with("github.com") && !path.ends_with(".git") {
        let mut parts = path.splitn(3, '/');
        let (owner, name) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        return (format!("{owner}/{name}"), parts.next().unwrap_or_default().to_owned());
    }
    (path.trim_end_matches('/').to_owned(), String::new())
}

fn named(text: &str) -> GitReference {
    if text.len() == 40 && text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return GitReference::Commit { commit: text.to_owned(), branch: None };
    }
    if text.starts_with("refs/") {
        return GitReference::Name(text.to_owned());
    }
    GitReference::Any(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_as_kustomize_writes_them() {
        let any = |name: &str| GitReference::Any(name.to_owned());
        let head = || GitReference::Name("HEAD".to_owned());
        for (entry, url, reference, path) in [
            (
                "https://h.example/team/app.git//base/eu?ref=v1",
                "https://h.example/team/app.git",
                any("v1"),
                "base/eu",
            ),
            ("https://h.example/team/app.git/base", "https://h.example/team/app.git", head(), "base"),
            ("github.com/team/app/base?ref=main", "https://github.com/team/app", any("main"), "base"),
            ("git@h.example:team/app//base", "ssh://git@h.example/team/app", head(), "base"),
            ("ssh://git@h.example/team/app.git", "ssh://git@h.example/team/app.git", head(), ""),
            ("git::https://h.example/app//x?version=v2", "https://h.example/app", any("v2"), "x"),
        ] {
            assert!(is_remote(entry), "{entry}");
            let base = read(entry).unwrap();
            let Origin::Git(git) = &base.origin else { panic!("{entry}") };
            assert_eq!(
                (git.url.as_str(), &git.reference, base.path.as_str()),
                (url, &reference, path),
                "{entry}"
            );
        }
        let file = read("https://h.example/x/all.yaml").unwrap();
        assert_eq!(file.path, "all.yaml");
        assert!(matches!(file.origin, Origin::RemoteFile(_)));
        for wrong in
            ["ftp://h.example/x", "https://h.example", "https://h.example/app//../../x", "file:///etc"]
        {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        for local in ["../base", "map.yaml", "a/b", "x@y", "./a:b"] {
            assert!(!is_remote(local), "{local}");
        }
    }
}
