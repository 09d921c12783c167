//! Which series a query means: matchers on labels.

use std::fmt;
use std::sync::Arc;

use regex::Regex;

use crate::Labels;
use crate::labels::METRIC_NAME;

/// Largest compiled regular expression, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// How a label's value is compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum MatchKind {
    /// `=`
    Equal,
    /// `!=`
    NotEqual,
    /// `=~`, anchored at both ends
    Regex,
    /// `!~`, anchored at both ends
    NotRegex,
}

impl MatchKind {
    /// PromQL's operator.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Equal => "=",
            Self::NotEqual => "!=",
            Self::Regex => "=~",
            Self::NotRegex => "!~",
        }
    }
}

/// A condition on one label; a label that is not there has the empty value.
#[derive(Clone)]
pub struct Matcher {
    name: Arc<str>,
    kind: MatchKind,
    value: Arc<str>,
    regex: Option<Regex>,
}

/// A regular expression that is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("regular expression \"{pattern}\" of label \"{name}\" is not valid: {why}")]
pub struct MatcherError {
    name: String,
    pattern: String,
    why: String,
}

impl Matcher {
    /// A condition.
    ///
    /// # Errors
    /// [`MatcherError`] when the value has to be a regular expression and is none, or is too big a one.
    pub fn new(name: &str, kind: MatchKind, value: &str) -> Result<Self, MatcherError> {
        let regex = match kind {
            MatchKind::Equal | MatchKind::NotEqual => None,
            MatchKind::Regex | MatchKind::NotRegex => Some(compile(value).map_err(|error| MatcherError {
                name: name.to_owned(),
                pattern: value.to_owned(),
                why: error.to_string().lines().last().unwrap_or_default().trim().to_owned(),
            })?),
        };
        Ok(Self { name: Arc::from(name), kind, value: Arc::from(value), regex })
    }

    /// `name="value"`.
    pub fn equal(name: &str, value: &str) -> Self {
        Self { name: Arc::from(name), kind: MatchKind::Equal, value: Arc::from(value), regex: None }
    }

    /// The label.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// How it is compared.
    pub fn kind(&self) -> MatchKind {
        self.kind
    }

    /// With what.
    pub fn value(&self) -> &str {
        &self.value
    }

    /// Whether a value meets the condition.
    pub fn matches(&self, value: &str) -> bool {
        match (self.kind, &self.regex) {
            (MatchKind::Equal, _) => value == &*self.value,
            (MatchKind::NotEqual, _) => value != &*self.value,
            (MatchKind::Regex, Some(regex)) => regex.is_match(value),
            (MatchKind::NotRegex, Some(regex)) => !regex.is_match(value),
            (MatchKind::Regex | MatchKind::NotRegex, None) => false,
        }
    }

    /// Whether a series without the label meets the condition.
    pub fn matches_empty(&self) -> bool {
        self.matches("")
    }
}

/// Anchored, and `.` matches everything, as in Prometheus.
fn compile(pattern: &str) -> Result<Regex, regex::Error> {
    let build = |pattern: &str| {
        regex::RegexBuilder::new(&format!("^(?s:{pattern})$"))
            .size_limit(REGEX_BYTES_MAX)
            .dfa_size_limit(REGEX_BYTES_MAX)
            .build()
    };
    // Go takes a brace that begins no repetition literally, Rust refuses it.
    build(pattern).or_else(|error| {
        let escaped = escape_braces(pattern);
        if escaped == pattern { Err(error) } else { build(&escaped) }
    })
}

/// Escapes every `{` that does not begin `{n}`, `{n,}` or `{n,m}`.
fn escape_braces(pattern: &str) -> String {
    let mut escaped = String::with_capacity(pattern.len() + 4);
    let mut rest = pattern;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '\\' => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
            _ => next.len_utf8(),
        };
        if next == '{' {
            let inside = rest[1..].split('}').next().unwrap_or_default();
            let mut bounds = inside.splitn(2, ',');
            let first = bounds.next().unwrap_or_default();
            let second = bounds.next().unwrap_or_default();
            let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
            if first.is_empty() || !digits(first) || !digits(second) {
                escaped.push('\\');
            }
        }
        escaped.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    escaped
}

/// The text decides: the compiled form follows from it.
impl PartialEq for Matcher {
    fn eq(&self, other: &Self) -> bool {
        (&self.name, self.kind, &self.value) == (&other.name, other.kind, &other.value)
    }
}

impl Eq for Matcher {}

impl fmt::Debug for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// As in PromQL.
impl fmt::Display for Matcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}{}", quoted_name(&self.name), self.kind.as_str(), quote(&self.value))
    }
}

/// A label's name, in quotes when it is not of the classic form.
pub(crate) fn quoted_name(name: &str) -> String {
    let classic = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && !name.is_empty();
    if classic { name.to_owned() } else { quote(name) }
}

/// A text in double quotes with the escapes that PromQL reads.
pub(crate) fn quote(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push('"');
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            other => quoted.push(other),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether a series meets all conditions.
pub fn matches_all(matchers: &[Matcher], labels: &Labels) -> bool {
    matchers.iter().all(|matcher| matcher.matches(labels.get(matcher.name())))
}

/// The metric's name when the matchers fix it.
pub fn fixed_metric(matchers: &[Matcher]) -> Option<&str> {
    matchers
        .iter()
        .find(|matcher| matcher.name() == METRIC_NAME && matcher.kind() == MatchKind::Equal)
        .map(Matcher::value)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matcher(kind: MatchKind, value: &str) -> Matcher {
        Matcher::new("job", kind, value).unwrap()
    }

    #[test]
    fn regular_expressions_are_anchored_and_span_lines() {
        assert!(matcher(MatchKind::Regex, "a|bc").matches("bc"));
        assert!(!matcher(MatchKind::Regex, "a|bc").matches("abc"));
        assert!(matcher(MatchKind::Regex, "a.c").matches("a\nc"));
        assert!(matcher(MatchKind::NotRegex, "a.*").matches("b"));
        assert!(matcher(MatchKind::Regex, "a{b}").matches("a{b}"));
        assert!(matcher(MatchKind::Regex, "a{2}").matches("aa"));
    }

    #[test]
    fn a_missing_label_is_an_empty_value() {
        assert!(matcher(MatchKind::Equal, "").matches_empty());
        assert!(matcher(MatchKind::NotEqual, "a").matches_empty());
        assert!(!matcher(MatchKind::Regex, ".+").matches_empty());
    }

    #[test]
    fn a_bad_expression_names_label_and_pattern() {
        let error = Matcher::new("job", MatchKind::Regex, "a(").unwrap_err().to_string();
        assert!(error.starts_with("regular expression \"a(\" of label \"job\" is not valid"), "{error}");
    }
}
