//! Version constraints as Helm reads them (Masterminds/semver): `1.2.3`, `^1.2`, `~1`, `1.x`, `>=1.0 <2.0`,
//! `1.2 - 2.0`, alternatives with `||`. A pre-release matches only a constraint that names one.

use std::cmp::Ordering;

use semver::Version;

/// A constraint, as alternatives of comparisons that must all hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint(Vec<Vec<Comparison>>);

#[derive(Debug, Clone, PartialEq, Eq)]
struct Comparison {
    operator: Operator,
    version: Version,
    /// Parts that were given: 0 for `*`, 1 for `1`, 2 for `1.2`, 3 for `1.2.3`.
    parts: usize,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    GreaterOrEqual,
    Less,
    LessOrEqual,
    Tilde,
    Caret,
}

/// Not a constraint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "version \"{0}\" is neither a semantic version nor a range of them, such as \"1.2.3\", \"^1.2\" or \">=1.0.0 <2.0.0\""
)]
pub struct ConstraintError(pub String);

impl Constraint {
    /// Reads a constraint; empty means `*`.
    ///
    /// # Errors
    /// [`ConstraintError`] with the whole text.
    pub fn parse(text: &str) -> Result<Self, ConstraintError> {
        let wrong = || ConstraintError(text.to_owned());
        let mut alternatives = Vec::new();
        for alternative in text.split("||") {
            alternatives.push(all_of(alternative).ok_or_else(wrong)?);
        }
        Ok(Self(alternatives))
    }

    /// Whether a version satisfies the constraint.
    pub fn matches(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            let pre_release = all.iter().any(|one| !one.version.pre.is_empty());
            (version.pre.is_empty() || pre_release) && all.iter().all(|one| one.matches(version))
        })
    }
}

/// A version, also with a leading `v` and with parts left out.
pub fn lenient(text: &str) -> Option<Version> {
    parse(text).map(|(version, _)| version)
}

fn all_of(text: &str) -> Option<Vec<Comparison>> {
    if let Some((from, to)) = text.split_once(" - ") {
        let from = comparison(&format!(">={}", from.trim()))?;
        return Some(vec![from, comparison(&format!("<={}", to.trim()))?]);
    }
    let mut comparisons = Vec::new();
    let mut operator = String::new();
    for word in text.split([' ', ',']).filter(|word| !word.is_empty()) {
        operator.push_str(word);
        // An operator may stand apart from its version.
        if word.chars().all(|one| "=!<>~^".contains(one)) {
            continue;
        }
        comparisons.push(comparison(&std::mem::take(&mut operator))?);
    }
    if !operator.is_empty() {
        return None;
    }
    if comparisons.is_empty() {
        comparisons.push(comparison("*")?);
    }
    Some(comparisons)
}

fn comparison(text: &str) -> Option<Comparison> {
    let at = text.find(|one| !"=!<>~^".contains(one))?;
    let operator = match &text[..at] {
        "" | "=" | "==" => Operator::Equal,
        "!=" => Operator::NotEqual,
        ">" => Operator::Greater,
        ">=" | "=>" => Operator::GreaterOrEqual,
        "<" => Operator::Less,
        "<=" | "=<" => Operator::LessOrEqual,
        "~" | "~>" => Operator::Tilde,
        "^" => Operator::Caret,
        _ => return None,
    };
    let (version, parts) = parse(&text[at..])?;
    Some(Comparison { operator, version, parts })
}

fn parse(text: &str) -> Option<(Version, usize)> {
    let text = text.trim().trim_start_matches('v');
    let end = text.find(['-', '+']).unwrap_or(text.len());
    let (core, rest) = text.split_at(end);
    let mut numbers = [0_u64; 3];
    let mut parts = 0;
    for (index, part) in core.split('.').enumerate() {
        if matches!(part, "x" | "X" | "*") {
            break;
        }
        *numbers.get_mut(index)? = part.parse().ok()?;
        parts = index + 1;
    }
    let [major, minor, patch] = numbers;
    Version::parse(&format!("{major}.{minor}.{patch}{rest}")).ok().map(|version| (version, parts))
}

impl Comparison {
    fn matches(&self, version: &Version) -> bool {
        if self.parts == 0 {
            return self.operator != Operator::NotEqual;
        }
        let order = version.cmp_precedence(&self.version);
        let in_range = order != Ordering::Less && version.cmp_precedence(&self.next()) == Ordering::Less;
        match self.operator {
            Operator::Equal if self.parts < 3 => in_range,
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual if self.parts < 3 => !in_range,
            Operator::NotEqual => order != Ordering::Equal,
            Operator::Greater if self.parts < 3 => version.cmp_precedence(&self.next()) != Ordering::Less,
            Operator::Greater => order == Ordering::Greater,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::Less => order == Ordering::Less,
            Operator::LessOrEqual if self.parts < 3 => version.cmp_precedence(&self.next()) == Ordering::Less,
            Operator::LessOrEqual => order != Ordering::Greater,
            Operator::Tilde | Operator::Caret => in_range,
        }
    }

    /// The first version that is not in the range any more.
    fn next(&self) -> Version {
        let Version { major, minor, patch, .. } = self.version;
        match (self.operator, self.parts) {
            (_, 1) => Version::new(major + 1, 0, 0),
            (Operator::Caret, _) if major > 0 => Version::new(major + 1, 0, 0),
            (Operator::Caret, 3) if minor == 0 => Version::new(0, 0, patch + 1),
            (_, _) => Version::new(major, minor + 1, 0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn constraints_match_as_helm_says() {
        let table = [
            ("", "1.2.3", true),
            ("*", "0.0.1", true),
            ("*", "1.0.0-rc.1", false),
            ("1.2.3", "1.2.3", true),
            ("1.2.3", "1.2.4", false),
            ("v1.2.3", "1.2.3", true),
            ("1.2", "1.2.9", true),
            ("1.x", "1.9.0", true),
            ("1.x", "2.0.0", false),
            ("^1.2.3", "1.9.0", true),
            ("^1.2.3", "2.0.0", false),
            ("^0.2.3", "0.2.9", true),
            ("^0.2.3", "0.3.0", false),
            ("^0.0.3", "0.0.4", false),
            ("~1.2.3", "1.2.9", true),
            ("~1.2.3", "1.3.0", false),
            ("~1", "1.9.9", true),
            (">=1.0.0 <2.0.0", "1.5.0", true),
            (">= 1.0.0, < 2.0.0", "2.0.0", false),
            (">1.2", "1.2.9", false),
            (">1.2", "1.3.0", true),
            ("1.2 - 1.4", "1.4.7", true),
            ("1.0.0 || 3.0.0", "3.0.0", true),
            ("!=1.0.0", "1.0.1", true),
            (">=1.0.0-0", "1.1.0-rc.1", true),
            ("1.0.0-rc.1", "1.0.0-rc.1", true),
        ];
        for (constraint, version, expected) in table {
            let matches = Constraint::parse(constraint).unwrap().matches(&lenient(version).unwrap());
            assert_eq!(matches, expected, "{version} in {constraint:?}");
        }
    }

    #[test]
    fn what_is_no_constraint_is_refused_with_the_text() {
        for text in ["latest", ">>1", "1.2.3.4", ">=", "1.a"] {
            assert!(Constraint::parse(text).unwrap_err().to_string().contains(text));
        }
    }
}
