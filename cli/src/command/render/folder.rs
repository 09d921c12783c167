//! The files of a chart folder, links followed as Helm follows them, without what its `.helmignore` names.
//!
//! # Why
//! Links may lead anywhere, also back up: a folder is entered only while no folder above it is the same one, and the
//! number of entries and bytes is bounded before anything is read. Helm runs into the kernel's count of links there.

use std::fs::Metadata;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use render::{IgnoreRules, Limits};

/// A folder to be read, and where those that it lies in really are, itself the last.
struct Pending {
    path: PathBuf,
    above: Vec<PathBuf>,
}

/// Everything in the folder as (path inside it, content), in the order of the paths.
///
/// # Errors
/// When something cannot be read, is neither a file nor a folder, or leads back to where it came from, and beyond the
/// limits of a chart.
pub(super) fn files(root: &Path, limits: &Limits) -> Result<Vec<(String, Vec<u8>)>> {
    let rules = rules(root, limits)?;
    let mut files = Vec::new();
    let (mut entries, mut total) = (0_usize, 0_u64);
    let mut pending = vec![Pending { path: root.to_owned(), above: vec![real(root)?] }];
    while let Some(folder) = pending.pop() {
        let listing = std::fs::read_dir(&folder.path)
            .with_context(|| format!("failed to read {}", folder.path.display()))?;
        for entry in listing {
            entries += 1;
            if entries > limits.chart_files {
                bail!("the chart has more files and folders than the maximum of {}", limits.chart_files);
            }
            let path = entry.with_context(|| format!("failed to read {}", folder.path.display()))?.path();
            // Follows links.
            let found =
                std::fs::metadata(&path).with_context(|| format!("failed to read {}", path.display()))?;
            let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
            if rules.hits(&name, found.is_dir()) {
                continue;
            }
            if found.is_dir() {
                pending.push(entered(path, &folder.above)?);
                continue;
            }
            total = total.saturating_add(checked(&path, &found, limits)?);
            if total > limits.chart_bytes {
                bail!("the chart is larger than the maximum size {}", limits.chart_bytes);
            }
            let content =
                std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
            files.push((name, content));
        }
    }
    files.sort();
    Ok(files)
}

/// What the folder's `.helmignore` says, if it has one.
fn rules(root: &Path, limits: &Limits) -> Result<IgnoreRules> {
    let path = root.join(IgnoreRules::FILE);
    let Ok(found) = std::fs::metadata(&path) else {
        return Ok(IgnoreRules::parse(&[])?);
    };
    checked(&path, &found, limits)?;
    let content = std::fs::read(&path).with_context(|| format!("failed to read {}", path.display()))?;
    Ok(IgnoreRules::parse(&content)?)
}

fn real(path: &Path) -> Result<PathBuf> {
    std::fs::canonicalize(path).with_context(|| format!("failed to read {}", path.display()))
}

fn entered(path: PathBuf, above: &[PathBuf]) -> Result<Pending> {
    let place = real(&path)?;
    if above.contains(&place) {
        bail!(
            "open {}: too many levels of symbolic links: it leads to {}, which it lies in",
            path.display(),
            place.display()
        );
    }
    let above = above.iter().cloned().chain([place]).collect();
    Ok(Pending { path, above })
}

/// The size of a file that may be read.
fn checked(path: &Path, found: &Metadata, limits: &Limits) -> Result<u64> {
    if !found.is_file() {
        let path = std::path::absolute(path)?;
        bail!("cannot load irregular file {} as it has file mode type bits set", path.display());
    }
    if found.len() > limits.chart_file_bytes {
        bail!(
            "chart file {:?} is larger than the maximum file size {}",
            path.file_name().unwrap_or_default(),
            limits.chart_file_bytes
        );
    }
    Ok(found.len())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn chart() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(folder.path().join("templates/sub")).unwrap();
        std::fs::write(folder.path().join("Chart.yaml"), "name: a\n").unwrap();
        std::fs::write(folder.path().join("templates/sub/a.yaml"), "a: 1\n").unwrap();
        folder
    }

    #[test]
    fn a_link_to_a_folder_beside_is_followed() {
        let folder = chart();
        symlink("sub", folder.path().join("templates/twin")).unwrap();
        symlink("../Chart.yaml", folder.path().join("templates/meta")).unwrap();
        let files = files(folder.path(), &Limits::default()).unwrap();
        let names: Vec<&str> = files.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(names, ["Chart.yaml", "templates/meta", "templates/sub/a.yaml", "templates/twin/a.yaml"]);
    }

    #[test]
    fn a_link_that_leads_back_is_refused_by_its_path() {
        for (target, link) in
            [("..", "templates/up"), (".", "templates/self"), ("../..", "templates/sub/top")]
        {
            let folder = chart();
            symlink(target, folder.path().join(link)).unwrap();
            let error = files(folder.path(), &Limits::default()).unwrap_err().to_string();
            assert!(error.contains(link) && error.contains("too many levels of symbolic links"), "{error}");
        }
    }

    #[test]
    fn two_folders_that_link_to_each_other_are_refused() {
        let folder = chart();
        std::fs::create_dir(folder.path().join("templates/other")).unwrap();
        symlink("../other", folder.path().join("templates/sub/to")).unwrap();
        symlink("../sub", folder.path().join("templates/other/fro")).unwrap();
        let error = files(folder.path(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("too many levels of symbolic links"), "{error}");
    }

    #[test]
    fn links_that_multiply_folders_end_at_the_bound() {
        let folder = chart();
        for level in 0..30 {
            let path = folder.path().join(format!("level{level}"));
            std::fs::create_dir(&path).unwrap();
            for side in ["left", "right"] {
                symlink(format!("../level{}", level + 1), path.join(side)).unwrap();
            }
        }
        std::fs::create_dir(folder.path().join("level30")).unwrap();
        let limits = Limits { chart_files: 500, ..Limits::default() };
        let error = files(folder.path(), &limits).unwrap_err().to_string();
        assert!(error.contains("the maximum of 500"), "{error}");
    }

    #[test]
    fn a_file_without_end_is_not_read() {
        let folder = chart();
        symlink("/dev/zero", folder.path().join("templates/endless")).unwrap();
        let error = files(folder.path(), &Limits::default()).unwrap_err().to_string();
        assert!(error.contains("irregular file"), "{error}");
    }
}
