//! Cases, abbreviations and wrapping: the text functions that know about words.

use crate::template::value::Text;

/// The one letter that a case change yields, or the letter itself where it would yield several.
fn single(letter: char, mut changed: impl Iterator<Item = char>) -> char {
    match (changed.next(), changed.next()) {
        (Some(one), None) => one,
        _ => letter,
    }
}

/// goutils looks at bytes: where there is a space at all, every other byte becomes a letter of Latin-1.
pub(crate) fn without_spaces(text: &Text) -> Text {
    let space = |byte: &u8| matches!(byte, b'\t'..=b'\r' | b' ' | 0x85 | 0xA0);
    if !text.bytes().iter().any(space) {
        return text.clone();
    }
    let kept = text.bytes().iter().filter(|byte| !space(byte));
    Text::from(kept.map(|byte| char::from(*byte)).collect::<String>())
}

/// Go's `strings.ToUpper`: letter by letter.
pub(crate) fn upper(text: &str) -> String {
    text.chars().map(|letter| single(letter, letter.to_uppercase())).collect()
}

/// Go's `strings.ToLower`: letter by letter.
pub(crate) fn lower(text: &str) -> String {
    text.chars().map(|letter| single(letter, letter.to_lowercase())).collect()
}

/// Go's `unicode.ToTitle`: digraphs have a form of their own, Georgian letters have none.
fn titled(letter: char) -> char {
    match letter {
        '\u{1c4}'..='\u{1c6}' => '\u{1c5}',
        '\u{1c7}'..='\u{1c9}' => '\u{1c8}',
        '\u{1ca}'..='\u{1cc}' => '\u{1cb}',
        '\u{1f1}'..='\u{1f3}' => '\u{1f2}',
        '\u{10d0}'..='\u{10ff}' => letter,
        _ => single(letter, letter.to_uppercase()),
    }
}

/// Go's `strings.Title`: a letter after a non-letter is capitalised.
pub(crate) fn title(text: &str) -> String {
    let mut previous = ' ';
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_separator(previous) {
            out.push(titled(letter));
        } else {
            out.push(letter);
        }
        previous = letter;
    }
    out
}

fn is_separator(letter: char) -> bool {
    if letter.is_ascii() {
        return !(letter.is_ascii_alphanumeric() || letter == '_');
    }
    !letter.is_alphanumeric() && letter.is_whitespace()
}

fn map_word_starts(text: &str, change: impl Fn(char) -> String) -> String {
    let mut start = true;
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if letter.is_whitespace() {
            start = true;
            out.push(letter);
        } else if start {
            start = false;
            out.push_str(&change(letter));
        } else {
            out.push(letter);
        }
    }
    out
}

/// Lowers the first letter of each word.
pub(crate) fn uncapitalize(text: &str) -> String {
    map_word_starts(text, |letter| letter.to_lowercase().collect())
}

/// The first letters of the words.
pub(crate) fn initials(text: &[u8]) -> String {
    // goutils takes every byte for a letter.
    let is_gap = |byte: &u8| char::from(*byte).is_whitespace();
    text.split(is_gap).filter_map(<[u8]>::first).map(|byte| char::from(*byte)).collect()
}

/// Upper becomes lower; lower becomes upper, or title case at a word's start.
pub(crate) fn swap_case(text: &str) -> String {
    let mut start = true;
    let mut swap = |letter: char| {
        let swapped = match letter {
            _ if letter.is_uppercase() => single(letter, letter.to_lowercase()),
            _ if start => titled(letter),
            _ => single(letter, letter.to_uppercase()),
        };
        start = letter.is_whitespace();
        swapped
    };
    text.chars().map(&mut swap).collect()
}

/// Shortens to `width` letters with `...`, optionally also at the front from `offset`.
pub(crate) fn abbreviate(text: &[u8], offset: i64, width: i64) -> Vec<u8> {
    let length = i64::try_from(text.len()).unwrap_or(i64::MAX);
    if width < 4 || (offset > 0 && width < 7) || length <= width {
        return text.to_vec();
    }
    let offset = offset.min(length);
    let kept = width - 3;
    // The subtraction may wrap around there, too.
    let offset = if length.wrapping_sub(offset) < kept { length - kept } else { offset };
    let slice = |from: i64, to: i64| -> &[u8] {
        let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to.min(length)).unwrap_or(0));
        text.get(from..to).unwrap_or_default()
    };
    if offset <= 4 {
        return [slice(0, kept), b"..."].concat();
    }
    if offset + kept < length {
        return [b"...", abbreviate(slice(offset, length), 0, kept).as_slice()].concat();
    }
    [b"...", slice(length - kept, length)].concat()
}

/// Breaks lines at spaces so that they fit `width`; `long` also breaks words that do not fit.
pub(crate) fn wrap(text: &[u8], width: i64, newline: &str, long: bool) -> Vec<u8> {
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let newline = if newline.is_empty() { "\n" } else { newline };
    let mut out = Vec::new();
    let mut rest = text;
    while rest.len() > width {
        if let [b' ', behind @ ..] = rest {
            rest = behind;
            continue;
        }
        let space = |from: usize| rest.iter().skip(from).position(|byte| *byte == b' ').map(|at| at + from);
        let last_space = rest.iter().take(width + 1).rposition(|byte| *byte == b' ');
        let (end, next) = match last_space.or_else(|| if long { None } else { space(width) }) {
            Some(end) => (end, end + 1),
            None if long => (width, width),
            None => break,
        };
        let (line, _) = rest.split_at(end);
        out.extend_from_slice(line);
        out.extend_from_slice(newline.as_bytes());
        rest = rest.get(next..).unwrap_or_default();
    }
    out.extend_from_slice(rest);
    out
}

pub(super) fn is_connector(letter: char) -> bool {
    matches!(letter, '-' | '_') || letter.is_whitespace()
}

/// `PascalCase`, as xstrings writes it: connectors between words go (those at the ends and repeated ones stay), the
/// first letter of a word is upper, and a run of capitals at its start becomes lower (`GO_PATH` is `GoPath`).
pub(crate) fn pascal(text: &str) -> String {
    let upper = |letter: char| letter.to_uppercase().next().unwrap_or(letter);
    let lower = |letter: char| letter.to_lowercase().next().unwrap_or(letter);
    let trimmed = text.trim_start_matches(is_connector);
    let mut out = text[..text.len() - trimmed.len()].to_owned();
    let mut letters = trimmed.chars();
    let Some(first) = letters.next() else {
        // Of connectors alone the last one comes out twice.
        out.extend(text.chars().last());
        return out;
    };
    let mut capitals = first.is_uppercase();
    let mut before = upper(first);
    for letter in letters {
        let mut letter = letter;
        match (is_connector(letter), is_connector(before)) {
            (true, true) => out.push(before),
            (_, true) => {
                capitals = letter.is_uppercase();
                letter = upper(letter);
            }
            (_, false) => {
                if capitals {
                    if letter.is_uppercase() {
                        letter = lower(letter);
                    } else {
                        capitals = false;
                    }
                }
                out.push(before);
            }
        }
        before = letter;
    }
    out.push(before);
    out
}
