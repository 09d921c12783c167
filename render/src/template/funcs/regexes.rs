//! Regular expressions. Go's syntax (RE2) and the `regex` crate's differ in a few places, which are translated.

use std::ops::Range;
use std::rc::Rc;

use regex::bytes::{Regex, RegexBuilder};

use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::value::{List, ListKind, Text, Value};

pub(super) static TABLE: &[Row] = &[
    exact("regexMatch", 2, |env, args| {
        let text = args.string(0).and_then(|_| args.string(1))?;
        Ok(Value::Bool(compile(env, args).is_ok_and(|regex| regex.is_match(Subject::new(text).letters()))))
    }),
    exact("mustRegexMatch", 2, |env, args| {
        let text = args.string(1)?;
        Ok(Value::Bool(compile(env, args)?.is_match(Subject::new(text).letters())))
    }),
    exact("regexFind", 2, |env, args| must_compile(env, args).and_then(|regex| find(&regex, args))),
    exact("mustRegexFind", 2, |env, args| compile(env, args).and_then(|regex| find(&regex, args))),
    exact("regexFindAll", 3, |env, args| {
        let regex = must_compile(env, args)?;
        find_all(env, &regex, args)
    }),
    exact("mustRegexFindAll", 3, |env, args| {
        let regex = compile(env, args)?;
        find_all(env, &regex, args)
    }),
    exact("regexReplaceAll", 3, |env, args| {
        let regex = must_compile(env, args)?;
        replace(env, &regex, args, false)
    }),
    exact("mustRegexReplaceAll", 3, |env, args| {
        let regex = compile(env, args)?;
        replace(env, &regex, args, false)
    }),
    exact("regexReplaceAllLiteral", 3, |env, args| {
        let regex = must_compile(env, args)?;
        replace(env, &regex, args, true)
    }),
    exact("mustRegexReplaceAllLiteral", 3, |env, args| {
        let regex = compile(env, args)?;
        replace(env, &regex, args, true)
    }),
    exact("regexSplit", 3, |env, args| must_compile(env, args).and_then(|regex| split(&regex, args))),
    exact("mustRegexSplit", 3, |env, args| compile(env, args).and_then(|regex| split(&regex, args))),
    exact("regexQuoteMeta", 1, |_, args| Ok(Value::Str(Text::from(quote_meta(args.string(0)?.bytes()))))),
];

/// Size of a compiled expression, in bytes.
const SIZE: usize = 8 * 1024 * 1024;

/// Go's `regexp.MustCompile`, whose complaint repeats the expression.
fn must_compile(env: &mut Env<'_>, args: Args<'_>) -> Result<Rc<Regex>, Fault> {
    compile(env, args).map_err(|fault| match fault {
        Fault::Message(reason) => {
            let source = args.string(0).map_or_else(|_| Vec::new(), |text| text.bytes().to_vec());
            let plain = std::str::from_utf8(&source).ok().filter(|source| {
                source.chars().all(|letter| !letter.is_control() && letter != '`' || letter == '\t')
            });
            let shown = match plain {
                Some(source) => format!("`{source}`"),
                None => crate::template::quote::quote(&source),
            };
            Fault::Message(format!("regexp: Compile({shown}): {reason}"))
        }
        other => other,
    })
}

/// Go's words for what is wrong with an expression.
fn complaint(source: &str, problem: &str) -> String {
    let lines: Vec<&str> = problem.lines().collect();
    let reason = lines.last().copied().unwrap_or_default().trim_start_matches("error: ");
    // The library marks the place with carets under the expression.
    let marked = lines.windows(2).find_map(|pair| {
        let from = pair[1].find('^')?;
        let carets = pair[1][from..].chars().take_while(|letter| *letter == '^').count();
        Some(pair[0].chars().skip(from).take(carets).collect::<String>())
    });
    let marked = marked.unwrap_or_else(|| source.to_owned());
    let look = ["(?<=", "(?<!", "(?=", "(?!"].into_iter().find_map(|open| {
        let at = source.find(open)?;
        Some(&source[at..at + 3])
    });
    match (reason, look) {
        (reason, Some(open)) if reason.starts_with("look-around") => {
            format!("invalid or unsupported Perl syntax: `{open}`")
        }
        ("unclosed group", _) => format!("missing closing ): `{source}`"),
        ("unopened group", _) => format!("unexpected ): `{source}`"),
        ("unclosed character class", _) => {
            format!("missing closing ]: `{}`", source.find('[').map_or(source, |at| &source[at..]))
        }
        ("repetition operator missing expression", _) => {
            format!("missing argument to repetition operator: `{marked}`")
        }
        ("incomplete escape sequence, reached end of pattern prematurely", _) => {
            "trailing backslash at end of expression: ``".to_owned()
        }
        (reason, _) if reason.contains("escape sequence") || reason.contains("backreference") => {
            format!("invalid escape sequence: `{marked}`")
        }
        (reason, _) if reason.starts_with("invalid character class range") => {
            format!("invalid character class range: `{marked}`")
        }
        (reason, _) => format!("{reason}: `{source}`"),
    }
}

fn compile(env: &mut Env<'_>, args: Args<'_>) -> Result<Rc<Regex>, Fault> {
    let given = args.string(0)?;
    if let Err(problem) = std::str::from_utf8(given.bytes()) {
        let rest = String::from_utf8_lossy(&given.bytes()[problem.valid_up_to()..]);
        return Err(Fault::message(format!("error parsing regexp: invalid UTF-8: `{rest}`")));
    }
    let source = args.utf8(0)?;
    if let Some(known) = env.regexes.get(&source) {
        return Ok(Rc::clone(known));
    }
    if let Some(count) = repeat_beyond_limit(&source) {
        let reason = format!("error parsing regexp: invalid repeat count: `{count}`");
        return Err(Fault::message(reason));
    }
    let built = RegexBuilder::new(&translate(&source)).size_limit(SIZE).nest_limit(200).build();
    let regex = built.map_err(|problem| {
        Fault::message(format!("error parsing regexp: {}", complaint(&source, &problem.to_string())))
    })?;
    let regex = Rc::new(regex);
    env.regexes.insert(source, Rc::clone(&regex));
    Ok(regex)
}

/// The first `{n}` or `{n,m}` beyond Go's bound of 1,000 repeats.
fn repeat_beyond_limit(source: &str) -> Option<&str> {
    const REPEATS: u32 = 1_000;
    source.match_indices('{').find_map(|(start, _)| {
        let end = start + source[start..].find('}')?;
        let inside = &source[start + 1..end];
        let numbers: Vec<&str> = inside.splitn(2, ',').collect();
        let is_count = |text: &&str| text.bytes().all(|byte| byte.is_ascii_digit());
        if numbers[0].is_empty() || !numbers.iter().all(is_count) {
            return None;
        }
        let large = |text: &&str| !text.is_empty() && text.parse::<u32>().is_ok_and(|count| count > REPEATS);
        numbers.iter().any(large).then_some(&source[start..=end])
    })
}

/// Rewrites what Go reads differently: ASCII classes, lone braces, brackets and set operators inside classes.
fn translate(source: &str) -> String {
    let letters: Vec<char> = source.chars().collect();
    let mut out = String::with_capacity(source.len() + 16);
    let mut at = 0;
    let mut class = None;
    while let Some(letter) = letters.get(at).copied() {
        let next = letters.get(at + 1).copied();
        let inside = class.is_some();
        match (letter, next) {
            ('\\', Some('Q')) if !inside => {
                at += 2;
                while at < letters.len() && !(letters[at] == '\\' && letters.get(at + 1) == Some(&'E')) {
                    out.push_str(&regex::escape(&letters[at].to_string()));
                    at += 1;
                }
                at += 2;
                continue;
            }
            ('\\', Some(code)) => {
                out.push_str(&escape(code, inside));
                at += 2;
                if matches!(code, 'p' | 'P' | 'x')
                    && letters.get(at) == Some(&'{')
                    && let Some(end) = letters[at..].iter().position(|letter| *letter == '}')
                {
                    out.extend(&letters[at..=at + end]);
                    at += end + 1;
                }
                continue;
            }
            ('[', Some(':')) if inside => match letters[at..].iter().position(|letter| *letter == ']') {
                Some(end) => {
                    out.extend(&letters[at..=at + end]);
                    at += end + 1;
                    continue;
                }
                None => out.push_str("\\["),
            },
            ('[', _) if inside => out.push_str("\\["),
            ('&' | '~', _) if inside => {
                out.push('\\');
                out.push(letter);
            }
            ('-', Some('-')) if inside => out.push_str("\\-"),
            ('[', _) => {
                class = Some(at);
                out.push('[');
                if next == Some('^') {
                    out.push('^');
                    at += 1;
                }
                if letters.get(at + 1) == Some(&']') {
                    out.push_str("\\]");
                    at += 1;
                }
            }
            (']', _) if inside => {
                class = None;
                out.push(']');
            }
            ('{', _) if !inside && !is_repetition(&letters[at..]) => out.push_str("\\{"),
            ('}', _) if !inside && !closes_repetition(&letters, at) => out.push_str("\\}"),
            _ => out.push(letter),
        }
        at += 1;
    }
    out
}

fn escape(code: char, inside: bool) -> String {
    let body = match code {
        'd' => "0-9",
        'w' => "0-9A-Za-z_",
        's' => "\\t\\n\\x0C\\r ",
        'D' if !inside => return "[^0-9]".into(),
        'W' if !inside => return "[^0-9A-Za-z_]".into(),
        'S' if !inside => return "[^\\t\\n\\x0C\\r ]".into(),
        'b' if !inside => return "(?-u:\\b)".into(),
        'B' if !inside => return "(?-u:\\B)".into(),
        '<' | '>' => return code.to_string(),
        _ => return format!("\\{code}"),
    };
    if inside { body.to_owned() } else { format!("[{body}]") }
}

/// `{n}`, `{n,}` or `{n,m}` at the start.
fn is_repetition(rest: &[char]) -> bool {
    let Some(end) = rest.iter().position(|letter| *letter == '}') else {
        return false;
    };
    let inner: String = rest[1..end].iter().collect();
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    match inner.split_once(',') {
        Some((least, most)) => digits(least) && (most.is_empty() || digits(most)),
        None => digits(&inner),
    }
}

fn closes_repetition(letters: &[char], at: usize) -> bool {
    let open = letters[..at].iter().rposition(|letter| *letter == '{');
    let closed = letters[..at].iter().rposition(|letter| *letter == '}');
    open.is_some_and(|open| closed.is_none_or(|closed| closed < open) && is_repetition(&letters[open..]))
}

/// A text as Go's regular expressions read it: a byte that is no letter is U+FFFD to them.
struct Subject {
    text: Text,
    /// The letters, where some of the text are none, and the byte of the text at which each byte of them stands.
    letters: Option<(Vec<u8>, Vec<usize>)>,
}

impl Subject {
    fn new(text: Text) -> Self {
        if std::str::from_utf8(text.bytes()).is_ok() {
            return Self { text, letters: None };
        }
        let (mut letters, mut places) = (Vec::new(), Vec::new());
        let mut at = 0;
        for chunk in text.bytes().utf8_chunks() {
            letters.extend_from_slice(chunk.valid().as_bytes());
            places.extend(at..at + chunk.valid().len());
            at += chunk.valid().len();
            for _ in chunk.invalid() {
                letters.extend_from_slice("\u{FFFD}".as_bytes());
                places.extend([at; 3]);
                at += 1;
            }
        }
        places.push(at);
        Self { text, letters: Some((letters, places)) }
    }

    fn bytes(&self) -> &[u8] {
        self.text.bytes()
    }

    fn letters(&self) -> &[u8] {
        self.letters.as_ref().map_or(self.text.bytes(), |(letters, _)| letters)
    }

    fn place(&self, at: usize) -> usize {
        self.letters.as_ref().map_or(at, |(_, places)| places[at])
    }

    /// Whether a match may stand there: Go never looks inside a letter.
    fn is_whole(&self, found: &regex::bytes::Match<'_>) -> bool {
        let inside = self.letters().get(found.start()).is_some_and(|byte| byte & 0xC0 == 0x80);
        !(found.is_empty() && inside)
    }

    /// The matches, as ranges of bytes of the text.
    fn matches(&self, regex: &Regex) -> impl Iterator<Item = Range<usize>> {
        let whole = regex.find_iter(self.letters()).filter(|found| self.is_whole(found));
        whole.map(|found| self.place(found.start())..self.place(found.end()))
    }
}

fn find(regex: &Regex, args: Args<'_>) -> Answer {
    let subject = Subject::new(args.string(1)?);
    let found =
        regex.find(subject.letters()).map(|found| subject.place(found.start())..subject.place(found.end()));
    Ok(Value::Str(Text::from(&subject.bytes()[found.unwrap_or(0..0)])))
}

fn find_all(env: &mut Env<'_>, regex: &Regex, args: Args<'_>) -> Answer {
    let (subject, count) = (Subject::new(args.string(1)?), args.int(2)?);
    let count = usize::try_from(count).unwrap_or(usize::MAX);
    env.charge(subject.bytes().len().saturating_mul(2))?;
    let found = subject.matches(regex).take(count);
    let found: Vec<Text> = found.map(|range| Text::from(&subject.bytes()[range])).collect();
    if found.is_empty() {
        return Ok(Value::List(List::new(Vec::new(), ListKind::NoStrings)));
    }
    Ok(Value::strings(found))
}

fn replace(env: &mut Env<'_>, regex: &Regex, args: Args<'_>, literal: bool) -> Answer {
    let (subject, with) = (Subject::new(args.string(1)?), args.string(2)?);
    let bytes = subject.bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut from = 0;
    for found in regex.captures_iter(subject.letters()) {
        let Some(whole) = found.get(0).filter(|whole| subject.is_whole(whole)) else { continue };
        out.extend_from_slice(&bytes[from..subject.place(whole.start())]);
        let before = out.len();
        if literal {
            out.extend_from_slice(with.bytes());
        } else {
            let group = |found: Option<regex::bytes::Match<'_>>| {
                let range = found.map(|group| subject.place(group.start())..subject.place(group.end()));
                range.map_or(&b""[..], |range| &bytes[range])
            };
            // A group's number has no zero before it.
            let number = |name: &str| name.parse().ok().filter(|_| !name.starts_with('0') || name == "0");
            expand(with.bytes(), &mut out, |name| match number(name) {
                Some(number) => group(found.get(number)),
                None => group(found.name(name)),
            });
        }
        env.charge(out.len() - before)?;
        from = subject.place(whole.end());
    }
    out.extend_from_slice(&bytes[from..]);
    Ok(Value::Str(Text::from(out)))
}

/// Go's `Expand`: `$name`, as long as it can be, `${name}` and `$$`; any other dollar stands for itself.
fn expand<'t>(template: &[u8], out: &mut Vec<u8>, group: impl Fn(&str) -> &'t [u8]) {
    let mut rest = template;
    while let Some(at) = rest.iter().position(|byte| *byte == b'$') {
        out.extend_from_slice(&rest[..at]);
        rest = &rest[at + 1..];
        if let Some(after) = rest.strip_prefix(b"$") {
            out.push(b'$');
            rest = after;
            continue;
        }
        let braced = rest.strip_prefix(b"{");
        let inner = braced.unwrap_or(rest);
        let letters = inner.utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let length = letters
            .find(|letter: char| !(letter.is_alphanumeric() || letter == '_'))
            .unwrap_or(letters.len());
        let (name, behind) = (&letters[..length], &inner[length..]);
        let behind = if braced.is_some() { behind.strip_prefix(b"}") } else { Some(behind) };
        match behind.filter(|_| !name.is_empty()) {
            Some(behind) => {
                out.extend_from_slice(group(name));
                rest = behind;
            }
            None => out.push(b'$'),
        }
    }
    out.extend_from_slice(rest);
}

fn split(regex: &Regex, args: Args<'_>) -> Answer {
    let (subject, limit) = (Subject::new(args.string(1)?), args.int(2)?);
    if limit == 0 {
        return Ok(Value::List(List::new(Vec::new(), ListKind::NoStrings)));
    }
    let (bytes, limit) = (subject.bytes(), usize::try_from(limit).unwrap_or(usize::MAX));
    if !args.utf8(0)?.is_empty() && bytes.is_empty() {
        return Ok(Value::strings([""]));
    }
    let mut parts: Vec<Text> = Vec::new();
    let (mut begin, mut end) = (0, 0);
    for found in subject.matches(regex) {
        if parts.len() + 1 == limit {
            break;
        }
        end = found.start;
        if found.end != 0 {
            parts.push(Text::from(&bytes[begin..end]));
        }
        begin = found.end;
    }
    if end != bytes.len() {
        parts.push(Text::from(&bytes[begin..]));
    }
    Ok(Value::strings(parts))
}

fn quote_meta(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    for byte in text {
        if br"\.+*?()|[]{}^$".contains(byte) {
            out.push(b'\\');
        }
        out.push(*byte);
    }
    out
}
