//! `.helmignore`: which files of a chart folder are not part of the chart.

use regex::Regex;

/// The rules of one chart folder.
pub(crate) struct Rules(Vec<Rule>);

struct Rule {
    pattern: Regex,
    negated: bool,
    folders_only: bool,
    whole_path: bool,
}

impl Rules {
    /// Reads the rules; hidden files of `templates/` are always ignored. A line that makes no sense is an error.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        lines.chain(["templates/.?*"]).map(Rule::parse).collect::<Result<_, _>>().map(Self)
    }

    /// Whether a file is ignored, itself or by a folder above it.
    pub(crate) fn ignores(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        folders.chain([(path, false)]).any(|(path, folder)| self.hits(path, folder))
    }

    fn hits(&self, path: &str, folder: bool) -> bool {
        for rule in &self.0 {
            let name = if rule.whole_path { path } else { path.rsplit('/').next().unwrap_or(path) };
            let matched = rule.pattern.is_match(name);
            if rule.negated {
                if rule.folders_only && !folder {
                    return true;
                }
                if !matched {
                    return true;
                }
                continue;
            }
            if rule.folders_only && !folder {
                continue;
            }
            if matched {
                return true;
            }
        }
        false
    }
}

impl Rule {
    fn parse(line: &str) -> Result<Self, String> {
        if line.contains("**") {
            return Err("double-star (**) syntax is not supported".to_owned());
        }
        let (negated, body) = line.strip_prefix('!').map_or((false, line), |body| (true, body));
        let (folders_only, body) = body.strip_suffix('/').map_or((false, body), |body| (true, body));
        let (rooted, body) = body.strip_prefix('/').map_or((false, body), |body| (true, body));
        let pattern = translate(body).and_then(|source| Regex::new(&source).ok());
        let pattern = pattern.ok_or_else(|| format!("syntax error in pattern {line:?}"))?;
        Ok(Self { pattern, negated, folders_only, whole_path: rooted || body.contains('/') })
    }
}

/// Go's `filepath.Match` as a regular expression.
pub(crate) fn translate(pattern: &str) -> Option<String> {
    let letters: Vec<char> = pattern.chars().collect();
    let mut out = String::from("(?s)^");
    let mut at = 0;
    while let Some(letter) = letters.get(at).copied() {
        at += 1;
        match letter {
            '*' => out.push_str("[^/]*"),
            '?' => out.push_str("[^/]"),
            '[' => {
                let end = at + letters[at..].iter().position(|letter| *letter == ']')?;
                let body: String = letters[at..end].iter().collect();
                out.push_str(&format!("[{}]", body.replace('[', "\\[").replace('&', "\\&")));
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
    Some(out)
}
