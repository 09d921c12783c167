//! Cases, abbreviations and wrapping: the text functions that know about words.

/// Go's `strings.Title`: a letter after a non-letter is capitalised.
pub(crate) fn title(text: &str) -> String {
    let mut previous = ' ';
    let mut out = String::with_capacity(text.len());
    for letter in text.chars() {
        if is_separator(previous) {
            out.extend(letter.to_uppercase())
        } else {
            out.push(letter)
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
pub(crate) fn initials(text: &str) -> String {
    text.split_whitespace().filter_map(|word| word.chars().next()).collect()
}

/// Upper becomes lower; lower becomes upper, or title case at a word's start.
pub(crate) fn swap_case(text: &str) -> String {
    text.chars()
        .flat_map(|letter| {
            let swapped: String = if letter.is_uppercase() {
                letter.to_lowercase().collect()
            } else {
                letter.to_uppercase().collect()
            };
            swapped.chars().collect::<Vec<_>>()
        })
        .collect()
}

/// Shortens to `width` letters with `...`, optionally also at the front from `offset`.
pub(crate) fn abbreviate(text: &str, offset: i64, width: i64) -> String {
    let letters: Vec<char> = text.chars().collect();
    let length = i64::try_from(letters.len()).unwrap_or(i64::MAX);
    if width < 4 || (offset > 0 && width < 7) || length <= width {
        return text.to_owned();
    }
    let offset = offset.clamp(0, length);
    let offset = if length - offset < width - 3 { length - (width - 3) } else { offset };
    let slice = |from: i64, to: i64| -> String {
        let (from, to) = (usize::try_from(from).unwrap_or(0), usize::try_from(to.min(length)).unwrap_or(0));
        letters.get(from..to).unwrap_or_default().iter().collect()
    };
    if offset <= 4 {
        return format!("{}...", slice(0, width - 3));
    }
    if offset + width - 3 < length {
        let inner: String = slice(offset, length);
        return format!("...{}", abbreviate(&inner, 0, width - 3));
    }
    format!("...{}", slice(length - (width - 3), length))
}

/// Breaks lines at spaces so that they fit `width`; `long` also breaks words that do not fit.
pub(crate) fn wrap(text: &str, width: i64, newline: &str, long: bool) -> String {
    let width = usize::try_from(width).unwrap_or(1).max(1);
    let newline = if newline.is_empty() { "\n" } else { newline };
    let letters: Vec<char> = text.chars().collect();
    let mut out = String::new();
    let mut offset = 0;
    while letters.len().saturating_sub(offset) > width {
        if letters[offset] == ' ' {
            offset += 1;
            continue;
        }
        let last_space = (offset..=offset + width).rev().find(|at| letters.get(*at) == Some(&' '));
        let end = match last_space {
            Some(end) => end,
            None if long => {
                out.extend(&letters[offset..offset + width]);
                out.push_str(newline);
                offset += width;
                continue;
            }
            None => match (offset + width..letters.len()).find(|at| letters[*at] == ' ') {
                Some(end) => end,
                None => break,
            },
        };
        out.extend(&letters[offset..end]);
        out.push_str(newline);
        offset = end + 1;
    }
    out.extend(&letters[offset.min(letters.len())..]);
    out
}

/// Splits at separators and case changes: `HTTPServer2Port` is `HTTP`, `Server`, `2`, `Port`.
fn parts(text: &str) -> Vec<(bool, String)> {
    let letters: Vec<char> = text.chars().collect();
    let mut out: Vec<(bool, String)> = Vec::new();
    let mut word = String::new();
    let flush = |word: &mut String, out: &mut Vec<(bool, String)>| {
        if !word.is_empty() {
            out.push((true, std::mem::take(word)));
        }
    };
    for (at, letter) in letters.iter().copied().enumerate() {
        if matches!(letter, '_' | '-' | ' ') || letter.is_whitespace() {
            flush(&mut word, &mut out);
            out.push((false, letter.to_string()));
            continue;
        }
        let previous = at.checked_sub(1).and_then(|before| letters.get(before)).copied();
        let next = letters.get(at + 1).copied();
        let starts = previous.is_some_and(|previous| {
            let case =
                letter.is_uppercase() && (previous.is_lowercase() || next.is_some_and(char::is_lowercase));
            let number = letter.is_numeric() != previous.is_numeric() && previous.is_alphanumeric();
            case || (number && !letter.is_lowercase())
        });
        if starts {
            flush(&mut word, &mut out);
        }
        word.push(letter);
    }
    flush(&mut word, &mut out);
    out
}

/// `snake_case` or `kebab-case`.
pub(crate) fn delimited(text: &str, connector: char) -> String {
    let mut out = String::new();
    let mut previous_word = false;
    for (is_word, part) in parts(text) {
        if is_word {
            if previous_word {
                out.push(connector);
            }
            out.push_str(&part.to_lowercase());
        } else {
            out.push(connector);
        }
        previous_word = is_word;
    }
    out
}

/// `PascalCase`: separators go, the letter after one is capitalised.
pub(crate) fn pascal(text: &str) -> String {
    let connector = |letter: char| matches!(letter, '_' | '-' | ' ');
    let trimmed = text.trim_start_matches(connector);
    let mut out: String = text[..text.len() - trimmed.len()].to_owned();
    let mut upper = true;
    for letter in trimmed.chars() {
        if connector(letter) {
            upper = true;
        } else if upper {
            out.extend(letter.to_uppercase());
            upper = false;
        } else {
            out.push(letter);
        }
    }
    out
}
