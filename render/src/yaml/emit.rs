//! Writes JSON values as YAML the way `sigs.k8s.io/yaml` does: block style, keys in go-yaml's natural order, lists not
//! indented under their key, plain scalars where they read back as text, literal blocks for several lines. Trees of
//! other kinds say what they are as [`Shape`]s.

use std::borrow::Cow;
use std::cmp::Ordering;

use serde_json::Value;

use super::resolve::{self, is_base60, resolve};
use crate::template::floats::shortest;
use crate::template::stack;

/// Longest key that stands before a colon; a longer one needs `?`.
const SIMPLE_KEY_BYTES: usize = 128;

/// What the writer sees of a node.
pub(crate) enum Shape<'t, T> {
    Scalar(Scalar<'t>),
    List(&'t [T]),
    /// Entries in the order in which they are written.
    Map(Vec<(Scalar<'t>, &'t T)>),
}

/// A value that is no list and no map.
pub(crate) enum Scalar<'t> {
    /// A text, in the style it needs.
    Text(&'t str),
    /// Base64 of bytes that are no text.
    Binary(&'t str),
    /// Anything else, as it stands there.
    Written(Cow<'t, str>),
}

/// Something that can be written as YAML.
pub(crate) trait Tree: Sized {
    fn shape(&self) -> Shape<'_, Self>;
}

impl Tree for Value {
    fn shape(&self) -> Shape<'_, Self> {
        Shape::Scalar(match self {
            Self::Array(items) => return Shape::List(items),
            Self::Object(entries) => {
                let entries = entries.iter().map(|(key, value)| (key.as_str(), value)).collect();
                let sorted = in_natural_order(entries).into_iter();
                return Shape::Map(sorted.map(|(key, value)| (Scalar::Text(key), value)).collect());
            }
            Self::String(text) => Scalar::Text(text),
            Self::Null => Scalar::Written("null".into()),
            Self::Bool(flag) => Scalar::Written(if *flag { "true" } else { "false" }.into()),
            Self::Number(number) => Scalar::Written(match (number.as_i64(), number.as_u64()) {
                (Some(value), _) => value.to_string().into(),
                (None, Some(value)) => value.to_string().into(),
                (None, None) => shortest(number.as_f64().unwrap_or_default(), 'g').into(),
            }),
        })
    }
}

/// The value as one YAML document, ending in a newline.
pub(crate) fn to_yaml(value: &Value) -> String {
    emit(value, false)
}

/// Like [`to_yaml`] of any tree, with lists indented under their key and long lines left whole (`toYamlPretty`).
pub(crate) fn to_yaml_pretty<T: Tree>(tree: &T) -> String {
    emit(tree, true)
}

fn emit<T: Tree>(tree: &T, indent_lists: bool) -> String {
    let mut writer = Writer { out: String::new(), indent_lists };
    match tree.shape() {
        Shape::List(items) if !items.is_empty() => writer.sequence(items, 0, true),
        Shape::Map(entries) if !entries.is_empty() => writer.mapping(&entries, 0, true),
        other => writer.leaf(&other, 2),
    }
    if !writer.out.ends_with('\n') {
        writer.out.push('\n');
    }
    writer.out
}

struct Writer {
    out: String,
    indent_lists: bool,
}

impl Writer {
    /// Where the next character goes, for the folding of long lines; the pretty form does not fold.
    fn column(&self) -> Option<usize> {
        let line = self.out.rfind('\n').map_or(self.out.as_str(), |at| &self.out[at + 1..]);
        (!self.indent_lists).then(|| line.chars().count())
    }

    fn line(&mut self, indent: usize) {
        if !self.out.is_empty() && !self.out.ends_with('\n') {
            self.out.push('\n');
        }
        self.out.extend(std::iter::repeat_n(' ', indent));
    }

    /// Entries at `indent`; `inline` leaves the first on the current line.
    fn mapping<T: Tree>(&mut self, entries: &[(Scalar<'_>, &T)], indent: usize, inline: bool) {
        for (position, (key, value)) in entries.iter().enumerate() {
            if position > 0 || !inline {
                self.line(indent);
            }
            let simple = key.is_simple();
            if simple {
                key.write(&mut self.out, 0, None);
            } else {
                self.out.push_str("? ");
                let column = self.column();
                key.write(&mut self.out, indent + 2, column);
                self.line(indent);
            }
            self.out.push(':');
            self.value(*value, indent, simple);
        }
    }

    fn sequence<T: Tree>(&mut self, items: &[T], indent: usize, inline: bool) {
        for (position, item) in items.iter().enumerate() {
            if position > 0 || !inline {
                self.line(indent);
            }
            self.out.push('-');
            self.value(item, indent, false);
        }
    }

    /// A value after `:` or `-` whose mapping or list stands at `indent`.
    fn value<T: Tree>(&mut self, value: &T, indent: usize, in_mapping: bool) {
        stack::grow(|| match value.shape() {
            Shape::List(items) if !items.is_empty() && in_mapping => {
                let deeper = if self.indent_lists { indent + 2 } else { indent };
                self.sequence(items, deeper, false);
            }
            Shape::List(items) if !items.is_empty() => {
                self.out.push(' ');
                self.sequence(items, indent + 2, true);
            }
            Shape::Map(entries) if !entries.is_empty() && in_mapping => {
                self.mapping(&entries, indent + 2, false)
            }
            Shape::Map(entries) if !entries.is_empty() => {
                self.out.push(' ');
                self.mapping(&entries, indent + 2, true);
            }
            other => {
                self.out.push(' ');
                self.leaf(&other, indent + 2);
            }
        });
    }

    /// What has nothing inside.
    fn leaf<T>(&mut self, shape: &Shape<'_, T>, indent: usize) {
        match shape {
            Shape::List(_) => self.out.push_str("[]"),
            Shape::Map(_) => self.out.push_str("{}"),
            Shape::Scalar(scalar) => {
                let column = self.column();
                scalar.write(&mut self.out, indent, column);
            }
        }
    }
}

impl Scalar<'_> {
    /// Whether it can stand before a colon.
    fn is_simple(&self) -> bool {
        let (Self::Text(text) | Self::Binary(text)) = self else { return true };
        !has_break(text) && text.len() <= SIMPLE_KEY_BYTES
    }

    fn write(&self, out: &mut String, indent: usize, column: Option<usize>) {
        match self {
            Self::Text(string) => out.push_str(&text(string, indent, column)),
            Self::Binary(lines) if lines.contains('\n') => {
                out.push_str("!!binary ");
                out.push_str(&literal(lines, indent));
            }
            Self::Binary(line) => out.extend(["!!binary ", line]),
            Self::Written(written) => out.push_str(written),
        }
    }
}

fn is_break(letter: char) -> bool {
    matches!(letter, '\r' | '\n' | '\u{85}' | '\u{2028}' | '\u{2029}')
}

fn has_break(text: &str) -> bool {
    text.contains(is_break)
}

/// libyaml's printable characters: no tab, nothing beyond the basic plane.
fn is_printable(letter: char) -> bool {
    matches!(letter, '\n' | ' '..='~' | '\u{A0}'..='\u{D7FF}' | '\u{E000}'..='\u{FEFE}' | '\u{FF00}'..='\u{FFFD}')
}

/// What libyaml's analysis allows for a text.
struct Analysis {
    plain: bool,
    single: bool,
    block: bool,
}

fn analyse(text: &str) -> Analysis {
    let simple = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'/');
    if text.as_bytes().first().is_some_and(u8::is_ascii_alphanumeric) && text.bytes().all(simple) {
        return Analysis { plain: true, single: true, block: true };
    }
    let letters: Vec<char> = text.chars().collect();
    let blank = |at: usize| letters.get(at).is_none_or(|c| matches!(c, ' ' | '\t'));
    let mut indicators = text.starts_with("---") || text.starts_with("...");
    let (mut breaks, mut special, mut break_space, mut space_break) = (false, false, false, false);
    let (mut previous_space, mut previous_break, mut preceded_by_blank) = (false, false, true);
    for (at, letter) in letters.iter().copied().enumerate() {
        let followed_by_blank = blank(at + 1);
        indicators |= match (at, letter) {
            (
                0,
                '#' | ',' | '[' | ']' | '{' | '}' | '&' | '*' | '!' | '|' | '>' | '\'' | '"' | '%' | '@'
                | '`',
            ) => true,
            (0, '?' | ':' | '-') => followed_by_blank,
            (_, ':') => followed_by_blank,
            (_, '#') => preceded_by_blank,
            _ => false,
        };
        special |= !is_printable(letter);
        if letter == ' ' {
            break_space |= previous_break;
            (previous_space, previous_break) = (true, false);
        } else if is_break(letter) {
            breaks = true;
            space_break |= previous_space;
            (previous_space, previous_break) = (false, true);
        } else {
            (previous_space, previous_break) = (false, false);
        }
        preceded_by_blank = matches!(letter, ' ' | '\t') || is_break(letter);
    }
    let edge = |letter: Option<&char>| letter.is_some_and(|letter| *letter == ' ' || is_break(*letter));
    let edges = edge(letters.first()) || edge(letters.last());
    Analysis {
        plain: !(edges || break_space || space_break || special || breaks || indicators),
        single: !(break_space || space_break || special),
        block: !(text.is_empty() || text.ends_with(' ') || space_break || special),
    }
}

/// A text in the style it needs. It may continue on a line at `indent` when it starts at a `column`; a key stays on
/// one line.
fn text(text: &str, indent: usize, column: Option<usize>) -> String {
    let analysis = analyse(text);
    let line = Line { column, indent };
    if text.contains('\n') {
        let literal_fits = analysis.block && (column.is_some() || indent > 0);
        return if literal_fits { literal(text, indent) } else { line.double_quoted(text) };
    }
    let reads_as_text =
        matches!(resolve(text), resolve::Scalar::Text | resolve::Scalar::Merge) && !is_base60(text);
    if !reads_as_text {
        return line.double_quoted(text);
    }
    if analysis.plain {
        return line.plain(text);
    }
    if analysis.single {
        return line.single_quoted(text);
    }
    line.double_quoted(text)
}

/// Column after which a line is folded at the next space.
const WIDTH: usize = 80;

/// The line that a text is written on.
struct Line {
    column: Option<usize>,
    indent: usize,
}

impl Line {
    /// Writes `piece` and moves the column.
    fn put(&mut self, out: &mut String, piece: &str) {
        out.push_str(piece);
        if let Some(column) = &mut self.column {
            *column += piece.chars().count();
        }
    }

    fn fold(&mut self, out: &mut String) {
        out.push('\n');
        out.extend(std::iter::repeat_n(' ', self.indent));
        self.column = Some(self.indent);
    }

    fn is_full(&self) -> bool {
        self.column.is_some_and(|column| column > WIDTH)
    }

    fn plain(mut self, text: &str) -> String {
        if self.column.is_none_or(|column| column + text.len() <= WIDTH) {
            return text.to_owned();
        }
        let mut out = String::new();
        let mut letters = text.chars().peekable();
        let mut after_space = false;
        while let Some(letter) = letters.next() {
            if letter == ' ' && !after_space && self.is_full() && letters.peek() != Some(&' ') {
                self.fold(&mut out);
            } else {
                self.put(&mut out, letter.encode_utf8(&mut [0; 4]));
            }
            after_space = letter == ' ';
        }
        out
    }

    fn single_quoted(mut self, text: &str) -> String {
        let mut out = String::new();
        self.put(&mut out, "'");
        let mut letters = text.chars().enumerate().peekable();
        let (mut after_space, mut after_break) = (false, false);
        while let Some((at, letter)) = letters.next() {
            let next = letters.peek().map(|(_, next)| *next);
            // Of the breaks only those that are no line feeds come here.
            if is_break(letter) {
                out.push(letter);
                after_break = true;
                continue;
            }
            if std::mem::take(&mut after_break) {
                out.extend(std::iter::repeat_n(' ', self.indent));
                self.column = self.column.map(|_| self.indent);
            }
            if letter == ' '
                && !after_space
                && at > 0
                && self.is_full()
                && next.is_some_and(|next| next != ' ')
            {
                self.fold(&mut out);
            } else if letter == '\'' {
                self.put(&mut out, "''");
            } else {
                self.put(&mut out, letter.encode_utf8(&mut [0; 4]));
            }
            after_space = letter == ' ';
        }
        self.put(&mut out, "'");
        out
    }

    fn double_quoted(mut self, text: &str) -> String {
        let marked = text.starts_with('\u{FEFF}');
        let mut out = String::new();
        self.put(&mut out, "\"");
        let mut letters = text.chars().enumerate().peekable();
        let mut after_space = false;
        while let Some((at, letter)) = letters.next() {
            let next = letters.peek().map(|(_, next)| *next);
            if !marked && letter == ' ' && !after_space && at > 0 && self.is_full() && next.is_some() {
                self.fold(&mut out);
                if next == Some(' ') {
                    self.put(&mut out, "\\");
                }
            } else {
                // libyaml escapes every character of a text that begins with a byte order mark.
                let piece = if marked && is_printable(letter) && !"\"\\".contains(letter) {
                    code_escape(letter)
                } else {
                    escaped(letter)
                };
                self.put(&mut out, &piece);
            }
            after_space = letter == ' ';
        }
        self.put(&mut out, "\"");
        out
    }
}

fn literal(text: &str, indent: usize) -> String {
    let mut out = String::from("|");
    if text.starts_with(|letter| letter == ' ' || is_break(letter)) {
        out.push('2');
    }
    let mut last = text.chars().rev();
    match (last.next().is_some_and(is_break), last.next().is_none_or(is_break)) {
        (false, _) => out.push('-'),
        (true, true) => out.push('+'),
        (true, false) => {}
    }
    out.push('\n');
    for line in text.split_inclusive(is_break) {
        if !line.starts_with(is_break) {
            out.extend(std::iter::repeat_n(' ', indent));
        }
        out.push_str(line);
    }
    out
}

/// A character inside double quotes.
fn escaped(letter: char) -> String {
    let short = match letter {
        '"' => "\\\"",
        '\\' => "\\\\",
        '\0' => "\\0",
        '\u{7}' => "\\a",
        '\u{8}' => "\\b",
        '\t' => "\\t",
        '\n' => "\\n",
        '\u{b}' => "\\v",
        '\u{c}' => "\\f",
        '\r' => "\\r",
        '\u{1b}' => "\\e",
        '\u{85}' => "\\N",
        '\u{2028}' => "\\L",
        '\u{2029}' => "\\P",
        _ if is_printable(letter) => return letter.to_string(),
        _ => "",
    };
    if !short.is_empty() {
        return short.to_owned();
    }
    code_escape(letter)
}

fn code_escape(letter: char) -> String {
    match u32::from(letter) {
        code @ 0..=0xFF => format!("\\x{code:02X}"),
        code @ 0x100..=0xFFFF => format!("\\u{code:04X}"),
        code => format!("\\U{code:08X}"),
    }
}

/// The keys in go-yaml's order, by a merge of our own: that order is not transitive for every set of keys (`a0b`, `a_`
/// and digits beside signs make cycles), and the standard library's sort may panic then.
pub(crate) fn in_natural_order<K: AsRef<str>, V>(mut entries: Vec<(K, V)>) -> Vec<(K, V)> {
    if entries.len() < 2 {
        return entries;
    }
    let right = in_natural_order(entries.split_off(entries.len() / 2));
    let left = in_natural_order(entries);
    let mut out = Vec::with_capacity(left.len() + right.len());
    let (mut left, mut right) = (left.into_iter().peekable(), right.into_iter().peekable());
    while let (Some(a), Some(b)) = (left.peek(), right.peek()) {
        let greater = natural_order(a.0.as_ref(), b.0.as_ref()) == Ordering::Greater;
        out.extend(if greater { right.next() } else { left.next() });
    }
    out.extend(left);
    out.extend(right);
    out
}

/// go-yaml's order of keys: letters by code point, runs of digits by their number, other signs before letters.
pub(crate) fn natural_order(left: &str, right: &str) -> Ordering {
    if left.is_ascii() && right.is_ascii() {
        return order(left.as_bytes(), right.as_bytes(), char::from);
    }
    let (a, b): (Vec<char>, Vec<char>) = (left.chars().collect(), right.chars().collect());
    order(&a, &b, |letter| letter)
}

fn order<T: Copy + Ord>(a: &[T], b: &[T], letter: fn(T) -> char) -> Ordering {
    let Some(at) = a.iter().zip(b).position(|(a, b)| a != b) else {
        return a.len().cmp(&b.len());
    };
    match (letter(a[at]).is_alphabetic(), letter(b[at]).is_alphabetic()) {
        (true, true) => return a[at].cmp(&b[at]),
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let within_number = (letter(a[at]) == '0' || letter(b[at]) == '0')
        && a[..at]
            .iter()
            .rev()
            .map(|one| letter(*one))
            .take_while(char::is_ascii_digit)
            .any(|digit| digit != '0');
    let lead = i64::from(within_number);
    let (an, ai) = run(&a[at..], lead, letter);
    let (bn, bi) = run(&b[at..], lead, letter);
    an.cmp(&bn).then(ai.cmp(&bi)).then(a[at].cmp(&b[at]))
}

/// The number that begins here, behind `lead`, and its length. Go counts in 64 bits, and what is larger wraps around.
fn run<T: Copy>(letters: &[T], lead: i64, letter: fn(T) -> char) -> (i64, usize) {
    let digits = letters.iter().map_while(|one| letter(*one).to_digit(10));
    digits.fold((lead, 0), |(value, count), digit| {
        (value.wrapping_mul(10).wrapping_add(i64::from(digit)), count + 1)
    })
}
