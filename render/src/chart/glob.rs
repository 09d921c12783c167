//! File patterns of `.Files.Glob`: `*` and `?` stay inside a folder, `**` crosses folders, `{a,b}` and `[a-z]` choose.

use regex::Regex;

/// A compiled pattern; one that makes no sense matches everything, as in Helm.
pub(crate) struct Glob(Option<Regex>);

impl Glob {
    pub(crate) fn new(pattern: &str) -> Self {
        Self(translate(pattern).and_then(|source| Regex::new(&source).ok()))
    }

    pub(crate) fn matches(&self, path: &str) -> bool {
        self.0.as_ref().is_none_or(|regex| regex.is_match(path))
    }
}

fn translate(pattern: &str) -> Option<String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut out = String::from("(?s)^");
    let mut groups = 0_usize;
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        at += 1;
        match letter {
            '*' => {
                let deep = letters.get(at) == Some(&'*');
                while letters.get(at) == Some(&'*') {
                    at += 1;
                }
                out.push_str(if deep { ".*" } else { "[^/]*" });
            }
            '?' => out.push_str("[^/]"),
            '{' => {
                groups += 1;
                out.push_str("(?:");
            }
            '}' if groups > 0 => {
                groups -= 1;
                out.push(')');
            }
            ',' if groups > 0 => out.push('|'),
            '[' => {
                let end = at + letters[at..].iter().position(|letter| *letter == ']')?;
                let negated = letters.get(at) == Some(&'!');
                let body: String = letters[at + usize::from(negated)..end].iter().collect();
                out.push_str(if negated { "[^" } else { "[" });
                out.push_str(
                    &body.replace('\\', "\\\\").replace('[', "\\[").replace('^', "\\^").replace('&', "\\&"),
                );
                out.push(']');
                at = end + 1;
            }
            '\\' => {
                out.push_str(&regex::escape(&letters.get(at)?.to_string()));
                at += 1;
            }
            other => out.push_str(&regex::escape(&other.to_string())),
        }
    }
    out.push('$');
    (groups == 0).then_some(out)
}
