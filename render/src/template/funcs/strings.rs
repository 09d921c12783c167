//! sprig's text functions. Text is bytes, as in Go: `trunc` and `substr` cut between bytes, not letters.

use super::delimited::delimited;
use super::words;
use super::{Answer, Row, exact, variadic};
use crate::template::args::{Args, as_list};
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::print::{display, strval};
use crate::template::quote::quote;
use crate::template::value::{Dict, DictKind, ListKind, Text, Value};

pub(super) static TABLE: &[Row] = &[
    exact("abbrev", 2, |_, args| {
        let (width, text) = (args.int(0)?, args.string(1)?);
        Ok(Value::Str(Text::from(words::abbreviate(text.bytes(), 0, width))))
    }),
    exact("abbrevboth", 3, |_, args| {
        let (left, right, text) = (args.int(0)?, args.int(1)?, args.string(2)?);
        Ok(Value::Str(Text::from(words::abbreviate(text.bytes(), left, right))))
    }),
    exact("trunc", 2, |_, args| Ok(truncate(args.int(0)?, &args.string(1)?))),
    exact("trim", 1, |_, args| {
        let text = args.string(0)?;
        Ok(match std::str::from_utf8(text.bytes()) {
            Ok(letters) => Value::text(letters.trim()),
            Err(_) => Value::Str(Text::from(text.bytes().trim_ascii())),
        })
    }),
    exact("upper", 1, |_, args| Ok(Value::text(&words::upper(&args.utf8(0)?)))),
    exact("lower", 1, |_, args| Ok(Value::text(&words::lower(&args.utf8(0)?)))),
    exact("title", 1, |_, args| Ok(Value::text(&words::title(&args.utf8(0)?)))),
    exact("untitle", 1, |_, args| Ok(Value::text(&words::uncapitalize(&args.utf8(0)?)))),
    exact("substr", 3, |_, args| substring(args.int(0)?, args.int(1)?, &args.string(2)?)),
    exact("repeat", 2, |env, args| {
        let (count, text) = (args.int(0)?, args.string(1)?);
        let count = usize::try_from(count).map_err(|_| Fault::message("strings: negative Repeat count"))?;
        env.charge(text.bytes().len().saturating_mul(count))?;
        Ok(Value::Str(Text::from(text.bytes().repeat(count))))
    }),
    exact("trimAll", 2, |_, args| Ok(trim_all(&args.string(0)?, &args.string(1)?))),
    exact("trimall", 2, |_, args| Ok(trim_all(&args.string(0)?, &args.string(1)?))),
    exact("trimSuffix", 2, |_, args| {
        let (suffix, text) = (args.string(0)?, args.string(1)?);
        Ok(Value::Str(Text::from(text.bytes().strip_suffix(suffix.bytes()).unwrap_or(text.bytes()))))
    }),
    exact("trimPrefix", 2, |_, args| {
        let (prefix, text) = (args.string(0)?, args.string(1)?);
        Ok(Value::Str(Text::from(text.bytes().strip_prefix(prefix.bytes()).unwrap_or(text.bytes()))))
    }),
    exact("nospace", 1, |_, args| Ok(Value::Str(words::without_spaces(&args.string(0)?)))),
    exact("initials", 1, |_, args| Ok(Value::text(&words::initials(args.string(0)?.bytes())))),
    exact("swapcase", 1, |_, args| Ok(Value::text(&words::swap_case(&args.utf8(0)?)))),
    exact("snakecase", 1, |_, args| Ok(Value::Str(Text::from(delimited(args.string(0)?.bytes(), '_'))))),
    exact("kebabcase", 1, |_, args| Ok(Value::Str(Text::from(delimited(args.string(0)?.bytes(), '-'))))),
    exact("camelcase", 1, |_, args| Ok(Value::text(&words::pascal(&args.utf8(0)?)))),
    exact("wrap", 2, |_, args| {
        Ok(Value::Str(Text::from(words::wrap(args.string(1)?.bytes(), args.int(0)?, "\n", false))))
    }),
    exact("wrapWith", 3, |_, args| {
        Ok(Value::Str(Text::from(words::wrap(args.string(2)?.bytes(), args.int(0)?, &args.utf8(1)?, true))))
    }),
    exact("contains", 2, |_, args| {
        let (part, text) = (args.string(0)?, args.string(1)?);
        Ok(Value::Bool(find(text.bytes(), part.bytes()).is_some()))
    }),
    exact("hasPrefix", 2, |_, args| {
        Ok(Value::Bool(args.string(1)?.bytes().starts_with(args.string(0)?.bytes())))
    }),
    exact("hasSuffix", 2, |_, args| {
        Ok(Value::Bool(args.string(1)?.bytes().ends_with(args.string(0)?.bytes())))
    }),
    variadic("quote", 0, |_, args| Ok(joined(args, |value| quote(strval(value).bytes()).into_bytes()))),
    variadic("squote", 0, |_, args| {
        Ok(joined(args, |value| [b"'", display(value).as_slice(), b"'"].concat()))
    }),
    variadic("cat", 0, |_, args| Ok(joined(args, display))),
    exact("indent", 2, |env, args| Ok(Value::Str(Text::from(indent(env, args.int(0)?, &args.string(1)?)?)))),
    exact("nindent", 2, |env, args| {
        let mut out = b"\n".to_vec();
        out.extend(indent(env, args.int(0)?, &args.string(1)?)?);
        Ok(Value::Str(Text::from(out)))
    }),
    exact("replace", 3, |env, args| {
        let (old, new, text) = (args.string(0)?, args.string(1)?, args.string(2)?);
        replace(env, old.bytes(), new.bytes(), text.bytes())
    }),
    exact("plural", 3, |_, args| {
        let (one, many, count) = (args.string(0)?, args.string(1)?, args.int(2)?);
        Ok(Value::Str(if count == 1 { one } else { many }))
    }),
    exact("toString", 1, |_, args| Ok(Value::Str(strval(&args.any(0))))),
    exact("toStrings", 1, |_, args| {
        let value = args.any(0);
        Ok(if is_no_strings(&value) { value } else { Value::strings(strings_of(&value)) })
    }),
    exact("join", 2, |_, args| {
        let separator = args.string(0)?;
        let parts = strings_of(&args.any(1));
        let parts: Vec<&[u8]> = parts.iter().map(Text::bytes).collect();
        Ok(Value::Str(Text::from(parts.join(separator.bytes()))))
    }),
    exact("split", 2, |_, args| Ok(numbered(split(&args.string(0)?, &args.string(1)?, None)))),
    exact("splitn", 3, |_, args| {
        let limit = args.int(1)?;
        Ok(numbered(split(&args.string(0)?, &args.string(2)?, usize::try_from(limit).ok())))
    }),
    exact("splitList", 2, |_, args| Ok(Value::strings(split(&args.string(0)?, &args.string(1)?, None)))),
    exact("sortAlpha", 1, |_, args| {
        let value = args.any(0);
        if is_no_strings(&value) {
            return Ok(value);
        }
        if as_list(&value).is_none() {
            return Ok(Value::strings([strval(&value)]));
        }
        let mut parts = strings_of(&value);
        parts.sort();
        Ok(Value::strings(parts))
    }),
];

/// Without the letters of the set at both ends. A byte that is no letter stays what it is, and counts as U+FFFD.
fn trim_all(set: &Text, text: &Text) -> Value {
    let (set, all) = (letters(set.bytes()), letters(text.bytes()));
    let is_cut = |letter: &&(char, usize)| set.iter().any(|(cut, _)| *cut == letter.0);
    let size = |cut: &mut dyn Iterator<Item = &(char, usize)>| cut.map(|(_, size)| size).sum::<usize>();
    let from = size(&mut all.iter().take_while(is_cut));
    let to = text.bytes().len() - size(&mut all.iter().rev().take_while(is_cut));
    Value::Str(Text::from(text.bytes().get(from..to).unwrap_or_default()))
}

/// The letters of a text as Go reads them, with their sizes in bytes.
fn letters(bytes: &[u8]) -> Vec<(char, usize)> {
    let chunk = |chunk: std::str::Utf8Chunk<'_>| {
        let broken = chunk.invalid().iter().map(|_| (char::REPLACEMENT_CHARACTER, 1));
        chunk.valid().chars().map(|letter| (letter, letter.len_utf8())).chain(broken).collect::<Vec<_>>()
    };
    bytes.utf8_chunks().flat_map(chunk).collect()
}

fn truncate(count: i64, text: &Text) -> Value {
    let bytes = text.bytes();
    let size = usize::try_from(count.unsigned_abs()).unwrap_or(usize::MAX);
    let cut = match (count < 0, size < bytes.len()) {
        (_, false) => bytes,
        (true, true) => &bytes[bytes.len() - size..],
        (false, true) => &bytes[..size],
    };
    Value::Str(Text::from(cut))
}

fn substring(start: i64, end: i64, text: &Text) -> Answer {
    let bytes = text.bytes();
    let length = i64::try_from(bytes.len()).unwrap_or(i64::MAX);
    let (from, to, beyond) = match (start < 0, end < 0 || end > length) {
        (true, _) if end < 0 => (0, end, format!("[:{end}]")),
        (true, _) => (0, end, format!("[:{end}] with length {length}")),
        (false, true) => (start, length, format!("[{start}:{length}]")),
        (false, false) => (start, end, format!("[{start}:{end}]")),
    };
    let range = usize::try_from(from).ok().zip(usize::try_from(to).ok());
    range
        .and_then(|(from, to)| bytes.get(from..to))
        .map(|part| Value::Str(Text::from(part)))
        .ok_or_else(|| Fault::message(format!("runtime error: slice bounds out of range {beyond}")))
}

/// The arguments that are not nil, each as text, with spaces between.
fn joined(args: Args<'_>, show: impl Fn(&Value) -> Vec<u8>) -> Value {
    let shown: Vec<Vec<u8>> = args.0.iter().filter(|value| !value.is_nil()).map(show).collect();
    Value::Str(Text::from(shown.join(b" ".as_slice())))
}

/// Every line after `spaces` spaces, the first included.
fn indent(env: &mut Env<'_>, spaces: i64, text: &Text) -> Result<Vec<u8>, Fault> {
    let spaces = usize::try_from(spaces).map_err(|_| Fault::message("strings: negative Repeat count"))?;
    let lines = text.bytes().iter().filter(|byte| **byte == b'\n').count() + 1;
    env.charge(spaces.saturating_mul(lines))?;
    let pad = vec![b' '; spaces];
    let mut out = Vec::with_capacity(text.bytes().len() + spaces * lines);
    for (at, line) in text.bytes().split(|byte| *byte == b'\n').enumerate() {
        if at > 0 {
            out.push(b'\n');
        }
        out.extend_from_slice(&pad);
        out.extend_from_slice(line);
    }
    Ok(out)
}

/// Where `part` starts in `text`.
pub(crate) fn find(text: &[u8], part: &[u8]) -> Option<usize> {
    if part.is_empty() {
        return Some(0);
    }
    text.windows(part.len()).position(|window| window == part)
}

fn replace(env: &mut Env<'_>, old: &[u8], new: &[u8], text: &[u8]) -> Answer {
    if old.is_empty() {
        env.charge(new.len().saturating_mul(text.len() + 1))?;
        let text = String::from_utf8_lossy(text);
        return Ok(Value::text(&text.replace("", &String::from_utf8_lossy(new))));
    }
    if new.len() > old.len() {
        env.charge((text.len() / old.len()).saturating_mul(new.len()))?;
    }
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = find(rest, old) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(new);
        rest = &rest[at + old.len()..];
    }
    out.extend_from_slice(rest);
    Ok(Value::Str(Text::from(out)))
}

/// Whether it is a list of texts that was never made, which stays what it is.
fn is_no_strings(value: &Value) -> bool {
    matches!(value, Value::List(list) if list.kind() == ListKind::NoStrings)
}

/// sprig's `strslice`: any value as a list of texts, nils left out.
pub(crate) fn strings_of(value: &Value) -> Vec<Text> {
    match as_list(value) {
        Some(list) => list.items().iter().filter(|item| !item.is_nil()).map(strval).collect(),
        None if value.is_nil() => Vec::new(),
        None => vec![strval(value)],
    }
}

fn split(separator: &Text, text: &Text, limit: Option<usize>) -> Vec<Text> {
    let (separator, mut rest) = (separator.bytes(), text.bytes());
    let limit = limit.unwrap_or(usize::MAX);
    if limit == 0 {
        return Vec::new();
    }
    let mut parts = Vec::new();
    if separator.is_empty() {
        let letters: Vec<char> = text.lossy().chars().collect();
        let whole = letters.len().min(limit.saturating_sub(1));
        let single = if letters.len() <= limit { letters.len() } else { whole };
        parts.extend(letters[..single].iter().map(|letter| Text::from(letter.to_string())));
        if single < letters.len() {
            parts.push(Text::from(letters[single..].iter().collect::<String>()));
        }
        return parts;
    }
    while parts.len() + 1 < limit {
        let Some(at) = find(rest, separator) else { break };
        parts.push(Text::from(&rest[..at]));
        rest = &rest[at + separator.len()..];
    }
    parts.push(Text::from(rest));
    parts
}

/// `_0`, `_1`, ... as sprig's `split` names the parts.
fn numbered(parts: Vec<Text>) -> Value {
    let entries = parts
        .into_iter()
        .enumerate()
        .map(|(at, part)| (std::rc::Rc::from(format!("_{at}")), Value::Str(part)));
    Value::Dict(Dict::new(DictKind::Strings, entries.collect()))
}
