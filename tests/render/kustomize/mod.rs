//! Kustomizations from a seed, built by us and by the real kustomize: the same objects in the same order, or refused
//! by both.

mod layers;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use render::{Limits, kustomize, parse_yaml_documents};
use serde_json::Value;

use crate::generator::Random;
use crate::helm;

/// The files of a case by path.
pub(crate) type Tree = BTreeMap<String, String>;

/// Builds `count` random overlays; answers what differs, as text.
pub(crate) fn differences(seed: u64, count: usize) -> Vec<String> {
    let binary = binary();
    let mut random = Random::new(seed);
    let trees: Vec<Tree> = (0..count).map(|_| layers::tree(&mut random)).collect();
    let built = trees.iter().filter(|tree| ours(tree).is_ok()).count();
    assert!(built * 3 > count, "only {built} of {count} overlays can be built: the rest shows little");
    trees
        .iter()
        .filter_map(|tree| difference(&binary, tree))
        .map(|(tree, what)| shown(&tree, &what))
        .collect()
}

fn binary() -> PathBuf {
    skein_tests::parts::require_parts().expect("the real parts").join("kustomize")
}

fn shown(tree: &Tree, what: &str) -> String {
    let files: Vec<String> = tree.iter().map(|(path, text)| format!("-- {path} --\n{text}")).collect();
    format!("{}\n{what}\n", files.join(""))
}

type Built = Result<Vec<Value>, String>;

fn ours(tree: &Tree) -> Built {
    let files = tree.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())).collect();
    kustomize::build(&files, "overlay", &Limits::default()).map_err(|error| error.to_string())
}

fn theirs(binary: &Path, tree: &Tree) -> Built {
    let folder = tempfile::tempdir().expect("a folder for the overlay");
    let files: Vec<(String, Vec<u8>)> =
        tree.iter().map(|(path, text)| (path.clone(), text.clone().into_bytes())).collect();
    crate::generator::write(folder.path(), &files);
    let output = helm::bounded(binary)
        .arg("build")
        .arg(folder.path().join("overlay"))
        .env("HOME", folder.path())
        .env("PATH", "/nonexistent")
        .output()
        .expect("kustomize runs");
    if !output.status.success() {
        return Err(helm::reason(&String::from_utf8_lossy(&output.stderr)));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(parse_yaml_documents(&text, &Limits::default()).expect("kustomize prints objects"))
}

/// What differs, with the smallest tree found on which it does.
fn difference(binary: &Path, tree: &Tree) -> Option<(Tree, String)> {
    let compare = |tree: &Tree| match (ours(tree), theirs(binary, tree)) {
        (Ok(ours), Ok(theirs)) if ours == theirs => None,
        (Err(_), Err(_)) => None,
        (Ok(ours), Ok(theirs)) => {
            let first = ours.iter().zip(&theirs).find(|(ours, theirs)| ours != theirs);
            let first = first.map(|(ours, theirs)| format!("ours: {ours}\nreal: {theirs}"));
            Some(format!("{} and {} objects\n{}", ours.len(), theirs.len(), first.unwrap_or_default()))
        }
        (Ok(_), Err(theirs)) => Some(format!("not refused: {theirs}")),
        (Err(ours), Ok(_)) => Some(format!("refused: {ours}")),
    };
    let mut what = compare(tree)?;
    let kind = |what: &str| what.split(' ').next().map(str::to_owned);
    let mut tree = tree.clone();
    'smaller: loop {
        for candidate in layers::smaller(&tree) {
            if let Some(other) = compare(&candidate).filter(|other| {
                // A refusal of another kind is another difference.
                what.starts_with(|letter: char| letter.is_ascii_digit()) || kind(other) == kind(&what)
            }) {
                (tree, what) = (candidate, other);
                continue 'smaller;
            }
        }
        return Some((tree, what));
    }
}
