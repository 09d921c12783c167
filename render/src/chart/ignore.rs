//! `.helmignore`: which files of a chart folder are not part of the chart.

use regex::Regex;

use super::load::MARK;
use super::model::ChartError;
use super::pattern::compiled;

/// The rules of one chart folder.
pub struct IgnoreRules(Vec<Rule>);

struct Rule {
    pattern: Regex,
    negated: bool,
    folders_only: bool,
    whole_path: bool,
}

impl IgnoreRules {
    /// The file that holds them, in the root of the chart; those of subcharts do not count.
    pub const FILE: &str = ".helmignore";

    /// Reads the content of a `.helmignore`. Hidden files of `templates/` are ignored without it.
    ///
    /// # Errors
    /// When a line is no rule.
    pub fn parse(data: &[u8]) -> Result<Self, ChartError> {
        let text = String::from_utf8_lossy(data.strip_prefix(MARK).unwrap_or(data));
        let lines = text.lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with('#'));
        let rules = lines.chain(["templates/.?*"]).map(Rule::parse).collect::<Result<_, _>>();
        rules.map(Self).map_err(|reason| ChartError::File {
            chart: String::new(),
            file: Self::FILE.to_owned(),
            reason,
        })
    }

    /// Whether a file is ignored, itself or by a folder above it.
    #[must_use]
    pub fn ignores(&self, path: &str) -> bool {
        let folders = path.match_indices('/').map(|(at, _)| (&path[..at], true));
        folders.chain([(path, false)]).any(|(path, is_folder)| self.hits(path, is_folder))
    }

    /// Whether this very file or folder is ignored.
    #[must_use]
    pub fn hits(&self, path: &str, is_folder: bool) -> bool {
        for rule in &self.0 {
            let name = if rule.whole_path { path } else { path.rsplit('/').next().unwrap_or(path) };
            let matched = rule.pattern.is_match(name);
            if rule.negated {
                if rule.folders_only && !is_folder {
                    return true;
                }
                if !matched {
                    return true;
                }
                continue;
            }
            if rule.folders_only && !is_folder {
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
            return Err(format!(
                "double-star (**) syntax is not supported, found {line:?}; write a rule for each level"
            ));
        }
        let (negated, body) = line.strip_prefix('!').map_or((false, line), |body| (true, body));
        let (folders_only, body) = body.strip_suffix('/').map_or((false, body), |body| (true, body));
        let (rooted, body) = body.strip_prefix('/').map_or((false, body), |body| (true, body));
        let pattern = compiled(body).filter(|_| compiled(line).is_some());
        let pattern = pattern.ok_or_else(|| format!("syntax error in pattern {line:?}"))?;
        Ok(Self { pattern, negated, folders_only, whole_path: rooted || body.contains('/') })
    }
}
