//! File patterns of `.helmignore` and `--show-only`: Go's `filepath.Match`.

use std::iter::Peekable;
use std::str::Chars;

use regex::Regex;

/// The pattern as a regular expression, if it is one to Go.
pub(crate) fn compiled(pattern: &str) -> Option<Regex> {
    Regex::new(&translate(pattern)?).ok()
}

fn translate(pattern: &str) -> Option<String> {
    let mut letters = pattern.chars().peekable();
    let mut out = String::from("(?s)^");
    while let Some(letter) = letters.next() {
        match letter {
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => out.push_str(&class(&mut letters)?),
            '\\' => out.push_str(&regex::escape(&letters.next()?.to_string())),
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push('$');
    Some(out)
}

/// What stands behind `[`: at least one letter or range; `]` and `-` only behind a backslash.
fn class(letters: &mut Peekable<Chars<'_>>) -> Option<String> {
    let negated = letters.next_if_eq(&'^').is_some();
    let mut ranges = String::new();
    let mut is_first = true;
    while is_first || letters.next_if_eq(&']').is_none() {
        is_first = false;
        let low = member(letters)?;
        let high = if letters.next_if_eq(&'-').is_some() { member(letters)? } else { low };
        if low <= high {
            ranges.push_str(&format!("\\x{{{:x}}}-\\x{{{:x}}}", u32::from(low), u32::from(high)));
        }
    }
    Some(match (negated, ranges.is_empty()) {
        (true, true) => ".".to_owned(),
        (false, true) => "[^\\s\\S]".to_owned(),
        (true, false) => format!("[^{ranges}]"),
        (false, false) => format!("[{ranges}]"),
    })
}

fn member(letters: &mut Peekable<Chars<'_>>) -> Option<char> {
    match letters.next()? {
        '-' | ']' => None,
        '\\' => letters.next(),
        other => Some(other),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use super::*;

    #[test]
    fn patterns_match_as_in_go() {
        let table = [
            ("*.txt", "a.txt", true),
            ("*.txt", "a/b.txt", false),
            ("?", "/", false),
            ("[^a]", "/", true),
            ("[!a]", "b", false),
            ("[!a]", "!", true),
            ("[a-c]", "b", true),
            ("[c-a]", "b", false),
            ("[^c-a]", "b", true),
            ("[\\-\\]]", "]", true),
            ("\\*", "*", true),
            ("[a*]", "*", true),
            ("", "", true),
        ];
        for (pattern, path, wanted) in table {
            assert_eq!(compiled(pattern).unwrap().is_match(path), wanted, "{pattern} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_to_go_is_none_here() {
        for pattern in ["[", "[]", "[]a]", "[-a]", "[a-]", "[a", "[^]", "a\\", "[\\", "[a-\\"] {
            assert!(compiled(pattern).is_none(), "{pattern}");
        }
    }
}
