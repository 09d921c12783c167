//! Strings, numbers, truths and dates of a document.
//!
//! What a value is, is decided by its letters up to the first one that cannot belong to it; whether it is a good one
//! is looked at behind that, so that the words of a refusal are those of Helm's library.

use std::rc::Rc;

use super::LOCAL;
use super::cursor::{Cursor, END, Problem, is_line_end};
use crate::template::funcs::calendar::Zone;
use crate::template::funcs::parsed_time;
use crate::template::quote::{quote, quote_letter};
use crate::template::value::Value;

type Read<T> = Result<T, Problem>;

/// The text of a string with `"` behind its first quote.
pub(super) fn basic(cursor: &mut Cursor<'_>) -> Read<String> {
    let start = cursor.at;
    loop {
        match cursor.next()? {
            END => return Err(cursor.problem("unexpected EOF; expected '\"'")),
            letter if is_line_end(letter) => return Err(newline(cursor)),
            '\\' => escape(cursor, start)?,
            '"' => break,
            _ => {}
        }
    }
    let text = cursor.since(start);
    resolved(&text[..text.len() - 1], cursor.line)
}

/// The text of a string with `'` behind its first quote.
pub(super) fn raw(cursor: &mut Cursor<'_>) -> Read<String> {
    let start = cursor.at;
    loop {
        match cursor.next()? {
            END => return Err(cursor.problem("unexpected EOF; expected \"'\"")),
            letter if is_line_end(letter) => return Err(newline(cursor)),
            '\'' => break,
            _ => {}
        }
    }
    let text = cursor.since(start);
    Ok(text[..text.len() - 1].to_owned())
}

fn newline(cursor: &Cursor<'_>) -> Problem {
    cursor.problem_before("strings cannot contain newlines")
}

/// The text of a string of several lines behind its first three quotes.
pub(super) fn lines(cursor: &mut Cursor<'_>, mark: char) -> Read<String> {
    let (start, basic) = (cursor.at, mark == '"');
    let marks = |count: usize| mark.to_string().repeat(count);
    let within = if basic { '\'' } else { '"' };
    loop {
        match cursor.next()? {
            END => {
                return Err(cursor.problem(format!("unexpected EOF; expected {within}{}{within}", marks(3))));
            }
            '\\' if basic && !is_line_end(cursor.next()?) => {
                cursor.back();
                escape(cursor, start)?;
            }
            letter if letter == mark && cursor.accept(mark)? => {
                if !cursor.accept(mark)? {
                    cursor.back();
                    continue;
                }
                if cursor.peek()? != mark {
                    break;
                }
                // Two quotes may stand before the three that end it, and no more.
                let text = cursor.since(start);
                if text.ends_with(&marks(5)) && !(basic && text.ends_with("\\\"\"\"\"\"")) {
                    return Err(cursor.problem(format!("unexpected {within}{}{within}", marks(6))));
                }
                cursor.back();
                cursor.back();
            }
            _ => {}
        }
    }
    let text = cursor.since(start);
    let text = &text[..text.len() - 3];
    let text = text.strip_prefix('\n').or_else(|| text.strip_prefix("\r\n")).unwrap_or(text);
    if basic { resolved(&joined(text), cursor.line) } else { Ok(text.to_owned()) }
}

/// Reads what follows a backslash.
fn escape(cursor: &mut Cursor<'_>, start: usize) -> Read<()> {
    let (count, name) = match cursor.next()? {
        'e' | 'b' | 't' | 'n' | 'f' | 'r' | '"' | '\\' | ' ' | '\t' => return Ok(()),
        'x' => (2, "two hexadecimal digits after '\\x'"),
        'u' => (4, "four hexadecimal digits after '\\u'"),
        'U' => (8, "eight hexadecimal digits after '\\U'"),
        other => return Err(cursor.problem_of_letter(format!("invalid escape in string '\\{other}'"))),
    };
    for _ in 0..count {
        if !cursor.next()?.is_ascii_hexdigit() {
            let found = quote(cursor.since(start).as_bytes());
            return Err(cursor.problem(format!("expected {name}, but got {found} instead")));
        }
    }
    Ok(())
}

/// The text without its escaped line ends and the blanks behind them.
fn joined(text: &str) -> String {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        let behind = &rest[at + 1..];
        let next = behind.trim_start_matches([' ', '\t', '\r', '\n']);
        if behind[..behind.len() - next.len()].contains('\n') {
            rest = next;
            continue;
        }
        let kept = if behind.starts_with('\\') { 2 } else { 1 };
        out.push_str(&rest[at..at + kept]);
        rest = &rest[at + kept..];
    }
    out + rest
}

/// The text with its escapes resolved.
fn resolved(text: &str, line: usize) -> Read<String> {
    let (mut out, mut rest) = (String::with_capacity(text.len()), text);
    while let Some((before, behind)) = rest.split_once('\\') {
        out.push_str(before);
        let code = behind.chars().next().unwrap_or('\\');
        rest = &behind[code.len_utf8().min(behind.len())..];
        let count = match code {
            'x' => 2,
            'u' => 4,
            'U' => 8,
            ' ' | '\t' => return Err(Problem::new(line, format!("invalid escape: '\\{code}'"))),
            _ => 0,
        };
        if count == 0 {
            out.push(match code {
                'b' => '\u{8}',
                't' => '\t',
                'n' => '\n',
                'f' => '\u{c}',
                'r' => '\r',
                'e' => '\u{1b}',
                other => other,
            });
            continue;
        }
        let (digits, after) = rest.split_at(count);
        rest = after;
        let letter = u32::from_str_radix(digits, 16).ok().and_then(char::from_u32);
        let wrong = || Problem::new(line, format!("Escaped character '\\u{digits}' is not valid UTF-8."));
        out.push(letter.ok_or_else(wrong)?);
    }
    Ok(out + rest)
}

/// A truth.
pub(super) fn truth(cursor: &mut Cursor<'_>) -> Read<Value> {
    let start = cursor.at;
    cursor.skip(char::is_alphabetic)?;
    match cursor.since(start) {
        "true" => Ok(Value::Bool(true)),
        "false" => Ok(Value::Bool(false)),
        other => Err(cursor.problem(format!("expected value but found {} instead", quote(other.as_bytes())))),
    }
}

/// What begins with `i` or `n`, which was read: a number that is none, or nothing.
pub(super) fn odd_number(cursor: &mut Cursor<'_>) -> Read<Option<Value>> {
    let start = cursor.at - 1;
    let found =
        (cursor.accept('n')? && cursor.accept('f')?) || (cursor.accept('a')? && cursor.accept('n')?);
    if found { float(cursor.since(start), cursor.line).map(Some) } else { Ok(None) }
}

/// A number behind its sign.
pub(super) fn signed(cursor: &mut Cursor<'_>) -> Read<Value> {
    let start = cursor.at - 1;
    let letter = cursor.next()?;
    match letter {
        'i' | 'n' => {
            let rest = if letter == 'i' { ['n', 'f'] } else { ['a', 'n'] };
            if !cursor.accept(rest[0])? || !cursor.accept(rest[1])? {
                return Err(cursor.problem(format!("invalid float: '{}'", cursor.since(start))));
            }
            return float(cursor.since(start), cursor.line);
        }
        '0' => {
            let next = cursor.peek()?;
            if matches!(next, 'b' | 'o' | 'x') {
                let number = cursor.since(start);
                let words = format!("cannot use sign with non-decimal numbers: '{number}{next}'");
                return Err(cursor.problem(words));
            }
        }
        '.' => return Err(cursor.problem("floats must start with a digit, not '.'")),
        _ => {}
    }
    if !letter.is_ascii_digit() {
        return Err(cursor.problem(format!("expected a digit but got {}", quote_letter(letter))));
    }
    decimal(cursor, start)
}

/// What begins with a digit.
pub(super) fn number_or_date(cursor: &mut Cursor<'_>) -> Read<Value> {
    let start = cursor.at;
    if cursor.accept('0')? {
        match cursor.next()? {
            '_' => return decimal(cursor, start),
            '.' | 'e' | 'E' => return fraction(cursor, start),
            'b' => return radix(cursor, start, 2, "a binary"),
            'o' => return radix(cursor, start, 8, "an octal"),
            'x' => return radix(cursor, start, 16, "a hexadecimal"),
            letter if letter.is_ascii_digit() => {}
            _ => {
                cursor.back();
                return integer(cursor.since(start), cursor.line);
            }
        }
    }
    cursor.skip(|letter| letter.is_ascii_digit())?;
    match cursor.next()? {
        '-' | ':' => {
            let belongs = |letter: char| letter.is_ascii_digit() || "-:Tt .Zz+".contains(letter);
            cursor.skip(belongs)?;
            date(cursor.since(start).trim(), cursor.line)
        }
        '_' => decimal(cursor, start),
        '.' | 'e' | 'E' => fraction(cursor, start),
        _ => {
            cursor.back();
            integer(cursor.since(start), cursor.line)
        }
    }
}

fn decimal(cursor: &mut Cursor<'_>, start: usize) -> Read<Value> {
    cursor.skip(|letter| letter.is_ascii_digit() || letter == '_')?;
    if matches!(cursor.next()?, '.' | 'e' | 'E') {
        return fraction(cursor, start);
    }
    cursor.back();
    integer(cursor.since(start), cursor.line)
}

fn fraction(cursor: &mut Cursor<'_>, start: usize) -> Read<Value> {
    cursor.skip(|letter| letter.is_ascii_digit() || "_.-+eE".contains(letter))?;
    float(cursor.since(start), cursor.line)
}

fn radix(cursor: &mut Cursor<'_>, start: usize, base: u32, name: &str) -> Read<Value> {
    let first = cursor.peek()?;
    if !first.is_digit(base) {
        return Err(cursor.problem(format!("not {name} number: '{}{first}'", cursor.since(start))));
    }
    cursor.skip(|letter| letter.is_digit(base) || letter == '_')?;
    integer(cursor.since(start), cursor.line)
}

fn integer(text: &str, line: usize) -> Read<Value> {
    let wrong = |why: &str| Problem::new(line, format!("Invalid integer {}: {why}", quote(text.as_bytes())));
    if !underscores_are_between(text) {
        return Err(wrong("underscores must be surrounded by digits"));
    }
    if leads_with_zero(text) {
        return Err(wrong("cannot have leading zeroes"));
    }
    let digits = text.replace('_', "");
    let (digits, base) = match digits.as_bytes() {
        [b'0', b'b', ..] => (&digits[2..], 2),
        [b'0', b'o', ..] => (&digits[2..], 8),
        [b'0', b'x', ..] => (&digits[2..], 16),
        _ => (digits.as_str(), 10),
    };
    let number = i64::from_str_radix(digits, base);
    number.map(Value::Int64).map_err(|_| Problem::new(line, format!("{text} is out of range for int64")))
}

fn float(text: &str, line: usize) -> Read<Value> {
    let quoted = || quote(text.as_bytes());
    let wrong = |why: &str| Problem::new(line, format!("Invalid float {}: {why}", quoted()));
    let mut parts = text.split(['.', 'e', 'E']).filter(|part| !part.is_empty());
    if !parts.clone().all(underscores_are_between) {
        return Err(wrong("underscores must be surrounded by digits"));
    }
    if parts.next().is_some_and(leads_with_zero) {
        return Err(wrong("cannot have leading zeroes"));
    }
    if text.split('.').skip(1).any(|after| !after.starts_with(|letter: char| letter.is_ascii_digit())) {
        return Err(wrong("'.' must be followed by one or more digits"));
    }
    let digits = text.replace('_', "");
    match digits.parse::<f64>() {
        Ok(number) if number.is_infinite() && !digits.ends_with("inf") => {
            Err(Problem::new(line, format!("{text} is out of range for float64")))
        }
        Ok(number) => Ok(Value::Float(number)),
        Err(_) => Err(Problem::new(line, format!("Invalid float value: {}", quoted()))),
    }
}

/// Whether every underscore stands behind a digit, and the last letter is one: of numbers that are none nothing is
/// asked.
fn underscores_are_between(text: &str) -> bool {
    if matches!(text, "nan" | "+nan" | "-nan" | "inf" | "+inf" | "-inf") {
        return true;
    }
    let mut digit = false;
    for letter in text.chars() {
        if letter == '_' && !digit {
            return false;
        }
        digit = letter.is_ascii_hexdigit();
    }
    digit
}

fn leads_with_zero(text: &str) -> bool {
    match text.as_bytes() {
        [b'0', second, ..] => !matches!(second, b'b' | b'o' | b'x'),
        [b'-' | b'+', b'0', _, ..] => true,
        _ => false,
    }
}

/// The layouts of dates and times, and which of the zones without an offset they lie in.
const LAYOUTS: [(&str, Option<usize>); 7] = [
    ("2006-01-02T15:04:05.999999999Z07:00", None),
    ("2006-01-02T15:04:05.999999999", Some(0)),
    ("2006-01-02", Some(1)),
    ("15:04:05.999999999", Some(2)),
    ("2006-01-02T15:04Z07:00", None),
    ("2006-01-02T15:04", Some(0)),
    ("15:04", Some(2)),
];

/// Go's time of a date, a time of day, or both. What has no offset lies in a zone that is named after what it has, and
/// a time of day in the year 0.
fn date(text: &str, line: usize) -> Read<Value> {
    let text = text.replace(['t', ' '], "T").replace('z', "Z");
    let wrong = || Problem::new(line, format!("invalid datetime: {}", quote(text.as_bytes())));
    for (layout, zone) in LAYOUTS {
        let Ok(mut moment) = parsed_time::parse(layout.as_bytes(), text.as_bytes()) else { continue };
        if lacks_a_digit(&text, layout) {
            return Err(wrong());
        }
        if let Some(zone) = zone {
            moment.zone = Zone::fixed(0, LOCAL[zone].0);
        }
        return Ok(Value::Object(Rc::new(moment)));
    }
    Err(wrong())
}

/// Whether a separator does not stand where the layout has it: hours may have one digit where Go reads times.
fn lacks_a_digit(text: &str, layout: &str) -> bool {
    let fixed = layout.bytes().take_while(|byte| !matches!(byte, b'.' | b'Z')).enumerate();
    fixed.filter(|(_, byte)| !byte.is_ascii_digit()).any(|(at, byte)| text.as_bytes().get(at) != Some(&byte))
}
