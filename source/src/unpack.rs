//! Archives and lists of files from outside, made into trees: every path is checked, links are followed only inside,
//! sizes and counts are limited while they grow, and nothing is ever written to a disk under a name from outside.

use std::collections::BTreeMap;
use std::io::Read;

use crate::artifact::Tree;
use crate::error::SourceError;
use crate::limits::Limits;
use crate::url::shown;

/// Links that lead to links.
const LINK_DEPTH_MAX: usize = 16;

/// What comes from outside, while it is checked.
pub(crate) struct Entries {
    origin: String,
    limits: Limits,
    files: Tree,
    links: BTreeMap<String, String>,
    bytes: usize,
}

impl Entries {
    pub(crate) fn new(origin: &str, limits: &Limits) -> Self {
        Self { origin: shown(origin), limits: *limits, files: Tree::new(), links: BTreeMap::new(), bytes: 0 }
    }

    /// Makes sure that a file of this size may come, before memory is taken for it.
    pub(crate) fn admit(&mut self, path: &str, size: u64) -> Result<(), SourceError> {
        let too_large =
            |what: String, limit: usize, unit| Err(SourceError::TooLarge { what, limit: limit as u64, unit });
        if size > self.limits.file_bytes_max as u64 {
            let what = format!("file \"{path}\" of \"{}\"", self.origin);
            return too_large(what, self.limits.file_bytes_max, "bytes");
        }
        self.bytes = self.bytes.saturating_add(usize::try_from(size).unwrap_or(usize::MAX));
        if self.bytes > self.limits.tree_bytes_max {
            return too_large(format!("\"{}\", unpacked,", self.origin), self.limits.tree_bytes_max, "bytes");
        }
        if self.files.len() + self.links.len() >= self.limits.tree_files_max {
            return too_large(format!("\"{}\"", self.origin), self.limits.tree_files_max, "files");
        }
        Ok(())
    }

    /// Takes a file that was admitted.
    pub(crate) fn file(&mut self, path: &str, bytes: Vec<u8>) -> Result<(), SourceError> {
        let path = self.checked(path)?;
        self.links.remove(&path);
        self.files.insert(path, bytes);
        Ok(())
    }

    /// Takes a link.
    pub(crate) fn link(&mut self, path: &str, target: &str) -> Result<(), SourceError> {
        self.admit(path, 0)?;
        let checked = self.checked(path)?;
        let inside = resolved(&checked, target)
            .ok_or_else(|| self.refused(path, &format!("it is a link that leads out, to \"{target}\"")))?;
        self.files.remove(&checked);
        self.links.insert(checked, inside);
        Ok(())
    }

    /// Refuses a part.
    pub(crate) fn refused(&self, path: &str, reason: &str) -> SourceError {
        let path: String = path.chars().take(200).collect();
        SourceError::Unsafe { url: self.origin.clone(), path, reason: reason.to_owned() }
    }

    /// The path as it is kept.
    fn checked(&self, path: &str) -> Result<String, SourceError> {
        if path.len() > self.limits.path_bytes_max {
            return Err(self.refused(path, "the path is too long"));
        }
        if path.starts_with('/') || path.contains('\\') || path.get(1..2) == Some(":") {
            return Err(self.refused(path, "the path is absolute or holds a backslash"));
        }
        if path.contains('\0') {
            return Err(self.refused(path, "the path holds a zero byte"));
        }
        let mut parts = Vec::new();
        for part in path.split('/') {
            match part {
                "" | "." => {}
                ".." => return Err(self.refused(path, "the path leads out")),
                part => parts.push(part),
            }
        }
        if parts.is_empty() {
            return Err(self.refused(path, "the path is empty"));
        }
        Ok(parts.join("/"))
    }

    /// All files; links to files and folders inside become what they lead to, links to nothing are left out.
    pub(crate) fn into_tree(mut self) -> Result<Tree, SourceError> {
        let links = std::mem::take(&mut self.links);
        let mut linked = Vec::new();
        for link in links.keys() {
            let Some(target) = self.followed(link, &links)? else { continue };
            if let Some(bytes) = self.files.get(&target) {
                linked.push((link.clone(), bytes.clone()));
                continue;
            }
            let prefix = format!("{target}/");
            if link.starts_with(&prefix) {
                return Err(self.refused(link, "it is a link to a folder around it"));
            }
            let below = self.files.range(prefix.clone()..).take_while(|(path, _)| path.starts_with(&prefix));
            linked.extend(
                below.map(|(path, bytes)| (format!("{link}/{}", &path[prefix.len()..]), bytes.clone())),
            );
            if linked.len() > self.limits.tree_files_max {
                return Err(self.refused(link, "links multiply the files beyond the limit"));
            }
        }
        for (path, bytes) in linked {
            self.admit(&path, bytes.len() as u64)?;
            self.files.insert(path, bytes);
        }
        Ok(self.files)
    }

    /// Where a link leads in the end; links that are parts of the way count too.
    fn followed(&self, link: &str, links: &BTreeMap<String, String>) -> Result<Option<String>, SourceError> {
        let mut at = link.to_owned();
        for _ in 0..LINK_DEPTH_MAX {
            let step = links.iter().find_map(|(from, to)| {
                let rest = at.strip_prefix(from.as_str())?;
                (rest.is_empty() || rest.starts_with('/')).then(|| format!("{to}{rest}"))
            });
            match step {
                Some(next) => at = next.trim_start_matches('/').to_owned(),
                None => return Ok(Some(at)),
            }
        }
        Err(self.refused(link, "it is a link that leads in a circle"))
    }
}

/// Where a link in a folder leads, as a path inside; `None` when it leads out.
fn resolved(link: &str, target: &str) -> Option<String> {
    if target.starts_with('/') || target.contains('\\') || target.contains('\0') {
        return None;
    }
    let mut parts: Vec<&str> = link.split('/').collect();
    parts.pop();
    for part in target.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

/// The tree of an archive (`.tar`, `.tar.gz`); any other file is a tree of one.
pub(crate) fn tree(bytes: &[u8], name: &str, limits: &Limits) -> Result<Tree, SourceError> {
    if is_gzip(bytes) || is_tar(bytes) {
        return entries(bytes, name, limits)?.into_tree();
    }
    let mut entries = Entries::new(name, limits);
    let file = name.rsplit('/').next().filter(|file| !file.is_empty()).unwrap_or("file.yaml");
    entries.admit(file, bytes.len() as u64)?;
    entries.file(file, bytes.to_vec())?;
    entries.into_tree()
}

/// The entries of an archive.
pub(crate) fn entries(bytes: &[u8], name: &str, limits: &Limits) -> Result<Entries, SourceError> {
    // What a bomb unpacks to is read no further than the limit, headers and padding included.
    let allowance = (limits.tree_files_max as u64).saturating_mul(2048);
    let limit = (limits.tree_bytes_max as u64).saturating_add(allowance).saturating_add(1 << 20);
    if is_gzip(bytes) {
        let reader = flate2::read::MultiGzDecoder::new(bytes).take(limit);
        return from_tar(reader, name, limits, limit);
    }
    if !is_tar(bytes) {
        return Err(SourceError::Malformed {
            url: shown(name),
            detail: "it is neither a gzip archive nor a tar archive".to_owned(),
        });
    }
    from_tar(bytes.take(limit), name, limits, limit)
}

pub(crate) fn is_gzip(bytes: &[u8]) -> bool {
    bytes.starts_with(&[0x1f, 0x8b])
}

fn is_tar(bytes: &[u8]) -> bool {
    bytes.get(257..262) == Some(b"ustar")
}

fn from_tar(
    reader: std::io::Take<impl Read>,
    name: &str,
    limits: &Limits,
    limit: u64,
) -> Result<Entries, SourceError> {
    let malformed =
        |error: std::io::Error| SourceError::Malformed { url: shown(name), detail: damaged(&error) };
    let mut all = Entries::new(name, limits);
    let mut archive = tar::Archive::new(reader);
    let mut count = 0_usize;
    for entry in archive.entries().map_err(malformed)? {
        let mut entry = entry.map_err(malformed)?;
        count += 1;
        if count > limits.tree_files_max.saturating_mul(2) {
            return Err(SourceError::TooLarge {
                what: format!("\"{}\"", shown(name)),
                limit: limits.tree_files_max as u64,
                unit: "files",
            });
        }
        let kind = entry.header().entry_type();
        let path = String::from_utf8(entry.path_bytes().into_owned()).map_err(|error| {
            all.refused(&String::from_utf8_lossy(error.as_bytes()), "the path is not UTF-8")
        })?;
        if kind.is_file() || kind.is_contiguous() || kind.is_gnu_sparse() {
            let size = entry.size();
            all.admit(&path, size)?;
            let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default());
            (&mut entry).take(size).read_to_end(&mut bytes).map_err(malformed)?;
            all.file(&path, bytes)?;
        } else if kind.is_symlink() || kind.is_hard_link() {
            let target = entry.link_name_bytes().unwrap_or_default().into_owned();
            let target = String::from_utf8_lossy(&target).into_owned();
            // A hard link names a path of the archive, a symbolic one a path beside itself.
            if kind.is_hard_link() {
                let depth = path.trim_start_matches("./").matches('/').count();
                all.link(&path, &format!("{}{target}", "../".repeat(depth)))?;
            } else {
                all.link(&path, &target)?;
            }
        } else if kind.is_character_special() || kind.is_block_special() || kind.is_fifo() {
            return Err(all.refused(&path, "it is a device or a pipe"));
        } else if kind.is_dir() && (path.split('/').any(|part| part == "..") || path.starts_with('/')) {
            return Err(all.refused(&path, "the path leads out"));
        }
    }
    let rest = archive.into_inner();
    if rest.limit() == 0 {
        return Err(SourceError::TooLarge {
            what: format!("\"{}\", unpacked,", shown(name)),
            limit,
            unit: "bytes",
        });
    }
    Ok(all)
}

fn damaged(error: &std::io::Error) -> String {
    format!("the archive is damaged: {error}")
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A packed archive of these entries.
    pub(crate) fn packed(entries: &[(&str, tar::EntryType, &str)]) -> Vec<u8> {
        let encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        let mut archive = tar::Builder::new(encoder);
        for (path, kind, content) in entries {
            let mut header = tar::Header::new_ustar();
            header.set_entry_type(*kind);
            header.set_mode(0o644);
            // Written by hand: the library itself would refuse the names that are tried here.
            header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
            if kind.is_symlink() || kind.is_hard_link() {
                header.as_mut_bytes()[157..157 + content.len()].copy_from_slice(content.as_bytes());
                header.set_size(0);
                header.set_cksum();
                archive.append(&header, std::io::empty()).unwrap();
            } else {
                header.set_size(content.len() as u64);
                header.set_cksum();
                archive.append(&header, content.as_bytes()).unwrap();
            }
        }
        archive.into_inner().unwrap().finish().unwrap()
    }

    fn unpacked(entries: &[(&str, tar::EntryType, &str)], limits: &Limits) -> Result<Tree, String> {
        tree(&packed(entries), "a.tgz", limits).map_err(|error| error.to_string())
    }

    use tar::EntryType::{Block, Fifo, Link, Regular, Symlink};

    #[test]
    fn what_leads_out_is_refused_with_its_name() {
        for (path, kind, content, why) in [
            ("../x", Regular, "", "leads out"),
            ("a/../../x", Regular, "", "leads out"),
            ("/etc/passwd", Regular, "", "absolute"),
            ("C:\\x", Regular, "", "absolute"),
            ("a\\..\\x", Regular, "", "backslash"),
            ("a/link", Symlink, "../../etc/passwd", "leads out"),
            ("link", Symlink, "/etc/passwd", "leads out"),
            ("link", Link, "../x", "leads out"),
            ("dev", Block, "", "device"),
            ("pipe", Fifo, "", "device or a pipe"),
        ] {
            let error = unpacked(&[(path, kind, content)], &Limits::default()).unwrap_err();
            assert!(error.contains(why) && error.contains("a.tgz"), "{path}: {error}");
        }
    }

    #[test]
    fn links_inside_become_what_they_lead_to() {
        let entries = [
            ("base/x.yaml", Regular, "x"),
            ("overlay/base", Symlink, "../base"),
            ("copy.yaml", Symlink, "overlay/base/x.yaml"),
            ("hard.yaml", Link, "base/x.yaml"),
            ("nowhere", Symlink, "missing"),
        ];
        let tree = unpacked(&entries, &Limits::default()).unwrap();
        let names: Vec<_> = tree.keys().map(String::as_str).collect();
        assert_eq!(names, ["base/x.yaml", "copy.yaml", "hard.yaml", "overlay/base/x.yaml"]);
        let circle = [("a", Symlink, "b"), ("b", Symlink, "a")];
        assert!(unpacked(&circle, &Limits::default()).unwrap_err().contains("circle"));
        let own = [("a/x", Regular, "x"), ("a/b", Symlink, ".")];
        assert!(unpacked(&own, &Limits::default()).unwrap_err().contains("a folder around it"));
    }

    #[test]
    fn bombs_are_refused_before_they_unfold() {
        let limits =
            Limits { file_bytes_max: 1000, tree_bytes_max: 2000, tree_files_max: 4, ..Limits::default() };
        let large = "x".repeat(1001);
        let error = unpacked(&[("a", Regular, &large)], &limits).unwrap_err();
        assert!(error.contains("1000 bytes"), "{error}");
        let some = "x".repeat(900);
        let files: Vec<_> = ["a", "b", "c"].map(|name| (name, Regular, some.as_str())).to_vec();
        let error = unpacked(&files, &limits).unwrap_err();
        assert!(error.contains("2000 bytes"), "{error}");
        let many: Vec<_> = ["a", "b", "c", "d", "e"].map(|name| (name, Regular, "")).to_vec();
        assert!(unpacked(&many, &limits).unwrap_err().contains("4 files"));
        // Links that copy one file often count as often.
        let copies =
            [("a", Regular, some.as_str()), ("b", Symlink, "a"), ("c", Symlink, "a"), ("d", Symlink, "a")];
        assert!(unpacked(&copies, &limits).is_err());
        // A long run of zeros behind the end of the archive is no way around the limit.
        let mut plain = vec![0_u8; 1024];
        plain.resize(64 << 20, 0);
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        std::io::Write::write_all(&mut encoder, &plain).unwrap();
        let _ = tree(&encoder.finish().unwrap(), "zeros", &limits);
    }

    #[test]
    fn what_is_no_archive_is_one_file_or_told() {
        assert_eq!(
            tree(b"a: 1", "http://h/x/a.yaml", &Limits::default()).unwrap().keys().next().unwrap(),
            "a.yaml"
        );
        assert!(entries(b"<html>", "http://h/a", &Limits::default()).is_err());
        let mut cut = packed(&[("a", Regular, "some content that is long enough to be cut somewhere")]);
        cut.truncate(cut.len() / 2);
        assert!(tree(&cut, "a.tgz", &Limits::default()).unwrap_err().to_string().contains("damaged"));
    }
}
