//! Slash-separated paths, as Go's `path` handles them.

use super::{Row, exact};
use crate::template::value::Value;

pub(super) static TABLE: &[Row] = &[
    exact("base", 1, |_, args| Ok(Value::text(&base(&args.utf8(0)?)))),
    exact("dir", 1, |_, args| Ok(Value::text(&dir(&args.utf8(0)?)))),
    exact("clean", 1, |_, args| Ok(Value::text(&clean(&args.utf8(0)?)))),
    exact("ext", 1, |_, args| Ok(Value::text(&extension(&args.utf8(0)?)))),
    exact("isAbs", 1, |_, args| Ok(Value::Bool(args.utf8(0)?.starts_with('/')))),
    exact("osBase", 1, |_, args| Ok(Value::text(&base(&args.utf8(0)?)))),
    exact("osDir", 1, |_, args| Ok(Value::text(&dir(&args.utf8(0)?)))),
    exact("osClean", 1, |_, args| Ok(Value::text(&clean(&args.utf8(0)?)))),
    exact("osExt", 1, |_, args| Ok(Value::text(&extension(&args.utf8(0)?)))),
    exact("osIsAbs", 1, |_, args| Ok(Value::Bool(args.utf8(0)?.starts_with('/')))),
];

/// The last element; `.` for nothing, `/` for slashes alone.
pub(crate) fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".into();
    }
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return "/".into();
    }
    trimmed.rsplit('/').next().unwrap_or(trimmed).to_owned()
}

fn dir(path: &str) -> String {
    clean(path.rfind('/').map_or("", |at| &path[..=at]))
}

fn extension(path: &str) -> String {
    let name = path.rsplit('/').next().unwrap_or(path);
    name.rfind('.').map_or_else(String::new, |at| name[at..].to_owned())
}

/// The shortest equivalent path.
pub(crate) fn clean(path: &str) -> String {
    let rooted = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => {
                parts.pop();
            }
            ".." if rooted => {}
            _ => parts.push(part),
        }
    }
    let joined = parts.join("/");
    match (rooted, joined.is_empty()) {
        (true, _) => format!("/{joined}"),
        (false, true) => ".".into(),
        (false, false) => joined,
    }
}
