//! Which files of a tree are not looked at, by Flux' rules: what version control, continuous integration and pictures
//! leave behind, unless the source says otherwise; and whatever `.sourceignore` files in the tree name.

use std::path::Path;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

use crate::artifact::Tree;
use crate::error::SourceError;

/// Files of version control are never content.
const ALWAYS: &str = ".git/\n.gitignore\n.gitmodules\n.gitattributes\n";
/// What is left out unless the source has rules of its own (Flux' documentation, "Excluding files").
const USUALLY: &str = "*.jpg\n*.jpeg\n*.gif\n*.png\n*.wmv\n*.flv\n*.tar.gz\n*.zip\n\
.github/\n.circleci/\n.travis.yml\n.gitlab-ci.yml\nappveyor.yml\n.drone.yml\ncloudbuild.yaml\n\
codeship-services.yml\ncodeship-steps.yml\n\
**/.goreleaser.yml\n**/.goreleaser.yaml\n**/.goreleaser.brew.yml\n**/.sops.yaml\n**/.flux.yaml\n";
const FILE: &str = ".sourceignore";
/// Longest set of rules, in bytes.
const RULES_BYTES_MAX: usize = 256 << 10;

/// Takes out what is to be ignored.
pub(crate) fn remove(tree: &mut Tree, own: Option<&str>) -> Result<(), SourceError> {
    let mut rules = vec![built("", ALWAYS, "the rules of version control")?];
    rules.push(built("", own.unwrap_or(USUALLY), "spec.ignore")?);
    for (path, bytes) in tree.iter() {
        let Some(folder) =
            path.strip_suffix(FILE).filter(|folder| folder.is_empty() || folder.ends_with('/'))
        else {
            continue;
        };
        let text = String::from_utf8_lossy(bytes);
        rules.push(built(folder.trim_end_matches('/'), &text, path)?);
    }
    tree.retain(|path, _| {
        // The last set of rules that says something decides.
        let mut keep = true;
        for (folder, matcher) in &rules {
            let inside = if folder.is_empty() {
                Some(path.as_str())
            } else {
                path.strip_prefix(folder.as_str()).and_then(|rest| rest.strip_prefix('/'))
            };
            let Some(inside) = inside else { continue };
            let found = matcher.matched_path_or_any_parents(Path::new(inside), false);
            if found.is_ignore() {
                keep = false;
            } else if found.is_whitelist() {
                keep = true;
            }
        }
        keep && !(path == FILE || path.ends_with("/.sourceignore"))
    });
    Ok(())
}

fn built(folder: &str, text: &str, origin: &str) -> Result<(String, Gitignore), SourceError> {
    let wrong = |line: usize, why: &str| SourceError::Refused {
        detail: format!("{origin}: line {line} is no rule of the kind .gitignore has: {why}"),
    };
    if text.len() > RULES_BYTES_MAX {
        return Err(SourceError::TooLarge {
            what: origin.to_owned(),
            limit: RULES_BYTES_MAX as u64,
            unit: "bytes",
        });
    }
    let mut builder = GitignoreBuilder::new("");
    for (index, line) in text.lines().enumerate() {
        builder.add_line(None, line).map_err(|error| wrong(index + 1, &error.to_string()))?;
    }
    let matcher = builder.build().map_err(|error| wrong(0, &error.to_string()))?;
    Ok((folder.to_owned(), matcher))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kept(paths: &[(&str, &str)], own: Option<&str>) -> Vec<String> {
        let mut tree: Tree =
            paths.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        remove(&mut tree, own).unwrap();
        tree.into_keys().collect()
    }

    #[test]
    fn the_usual_leftovers_are_left_out() {
        let paths = [
            (".git/config", ""),
            (".github/w.yml", ""),
            ("a.yaml", ""),
            ("img/a.png", ""),
            (".gitignore", ""),
        ];
        assert_eq!(kept(&paths, None), ["a.yaml"]);
        assert_eq!(kept(&paths, Some("")), [".github/w.yml", "a.yaml", "img/a.png"]);
    }

    #[test]
    fn own_rules_and_files_in_the_tree_are_obeyed() {
        let paths = [
            ("deploy/a.yaml", ""),
            ("deploy/b.yaml", ""),
            ("docs/x.md", ""),
            ("web/.sourceignore", "*.txt\n!keep.txt\n/gen/\n"),
            ("web/a.txt", ""),
            ("web/keep.txt", ""),
            ("web/gen/z.yaml", ""),
            ("web/sub/gen/z.yaml", ""),
        ];
        let kept = kept(&paths, Some("/*\n!/deploy\n!/web\ndeploy/b.yaml"));
        assert_eq!(kept, ["deploy/a.yaml", "web/keep.txt", "web/sub/gen/z.yaml"]);
    }
}
