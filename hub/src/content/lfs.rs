//! Pointers of Git LFS: files whose content is elsewhere. The hub fetches what is in the repository only, so who needs
//! such a file is told, and who does not is not bothered (pictures are what LFS is for).

use source::Tree;

/// How every pointer begins (Git LFS specification).
const BEGIN: &[u8] = b"version https://git-lfs.github.com/spec/";

/// The first file that content is made of and that is only a pointer: why it is no use.
pub fn pointer(files: &Tree) -> Option<String> {
    let used = |path: &str| {
        let ending = path.rsplit('.').next().unwrap_or_default();
        matches!(ending, "yaml" | "yml" | "json" | "tpl" | "tgz")
    };
    let (path, _) = files.iter().find(|(path, bytes)| used(path) && bytes.starts_with(BEGIN))?;
    Some(format!(
        "\"{path}\" is a pointer of Git LFS, its content is not in the repository: keep manifests, values and charts \
         out of LFS (git lfs untrack)"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_in_place_of_content_is_named_and_a_picture_is_not() {
        let pointer_text = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n".to_vec();
        let picture = Tree::from([("logo.svg".to_owned(), pointer_text.clone())]);
        assert_eq!(pointer(&picture), None);
        let values =
            Tree::from([("env/eu.yaml".to_owned(), pointer_text), ("a.yaml".to_owned(), b"a: 1".to_vec())]);
        assert!(pointer(&values).unwrap().starts_with("\"env/eu.yaml\" is a pointer of Git LFS"));
    }
}
