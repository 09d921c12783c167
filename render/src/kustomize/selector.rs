//! Selects objects by expressions over group, version, kind, name and namespace, and by labels and annotations.

use regex::Regex;

use super::identity::{Gvk, Id};
use super::resource::Resource;

/// What a selector says; empty parts select everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Selector {
    pub gvk: Gvk,
    pub name: String,
    pub namespace: String,
    pub labels: String,
    pub annotations: String,
}

/// A selector ready for use.
pub(crate) struct Compiled {
    parts: [Option<Regex>; 5],
    labels: Vec<Requirement>,
    annotations: Vec<Requirement>,
}

impl Selector {
    /// # Errors
    /// When an expression or a label selector is malformed.
    pub(crate) fn compile(&self) -> Result<Compiled, String> {
        let part = |text: &str| match text {
            "" => Ok(None),
            text => Regex::new(&format!("^(?:{text})$"))
                .map(Some)
                .map_err(|error| format!("the expression \"{text}\" of a selector is malformed: {error}")),
        };
        Ok(Compiled {
            parts: [
                part(&self.gvk.group)?,
                part(&self.gvk.version)?,
                part(&self.gvk.kind)?,
                part(&self.name)?,
                part(&self.namespace)?,
            ],
            labels: requirements(&self.labels)?,
            annotations: requirements(&self.annotations)?,
        })
    }

    /// Whether it says nothing of group, version, kind, name and namespace.
    pub(crate) fn names_nothing(&self) -> bool {
        self.gvk == Gvk::default() && self.name.is_empty() && self.namespace.is_empty()
    }
}

impl Compiled {
    fn fits(&self, at: usize, text: &str) -> bool {
        self.parts[at].as_ref().is_none_or(|expression| expression.is_match(text))
    }

    pub(crate) fn matches_gvk(&self, gvk: &Gvk) -> bool {
        self.fits(0, &gvk.group) && self.fits(1, &gvk.version) && self.fits(2, &gvk.kind)
    }

    pub(crate) fn matches_name(&self, name: &str) -> bool {
        self.fits(3, name)
    }

    pub(crate) fn matches_namespace(&self, namespace: &str) -> bool {
        self.fits(4, namespace)
    }

    pub(crate) fn matches_id(&self, id: &Id) -> bool {
        self.matches_gvk(&id.gvk) && self.matches_name(&id.name) && self.matches_namespace(&id.namespace)
    }

    /// Whether labels and annotations fit.
    pub(crate) fn matches_labels(&self, resource: &Resource) -> bool {
        if self.labels.is_empty() && self.annotations.is_empty() {
            return true;
        }
        let [labels, annotations] = ["labels", "annotations"].map(|field| resource.meta_texts(field));
        self.matches_texts(&|field, key| {
            let texts = if field == "labels" { &labels } else { &annotations };
            texts.iter().find(|(known, _)| known == key).map(|(_, value)| value.clone())
        })
    }

    /// Whether labels and annotations fit, given the text of a key in either field.
    pub(crate) fn matches_texts(&self, text: &dyn Fn(&str, &str) -> Option<String>) -> bool {
        let fits = |requirements: &[Requirement], field: &str| {
            requirements.iter().all(|one| one.fits(text(field, &one.key).as_deref()))
        };
        fits(&self.labels, "labels") && fits(&self.annotations, "annotations")
    }
}

/// One part of a label selector.
struct Requirement {
    key: String,
    test: Test,
}

enum Test {
    Exists,
    Missing,
    In(Vec<String>),
    NotIn(Vec<String>),
    Above(i64),
    Below(i64),
}

impl Requirement {
    fn fits(&self, value: Option<&str>) -> bool {
        let number = value.and_then(|value| value.parse::<i64>().ok());
        match &self.test {
            Test::Exists => value.is_some(),
            Test::Missing => value.is_none(),
            Test::In(values) => value.is_some_and(|value| values.iter().any(|known| known == value)),
            Test::NotIn(values) => value.is_none_or(|value| !values.iter().any(|known| known == value)),
            Test::Above(limit) => number.is_some_and(|number| number > *limit),
            Test::Below(limit) => number.is_some_and(|number| number < *limit),
        }
    }
}

/// Parses a selector as Kubernetes writes them: `a=b, c!=d, e in (f,g), h notin (i), j, !k, l>1`.
fn requirements(text: &str) -> Result<Vec<Requirement>, String> {
    let mut found = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (one, after) =
            requirement(rest).ok_or_else(|| format!("the label selector \"{text}\" is malformed"))?;
        check_key(&one.key)
            .map_err(|reason| format!("the label selector \"{text}\" is malformed: {reason}"))?;
        found.push(one);
        rest = match after.trim_start().strip_prefix(',') {
            Some(after) if !after.trim().is_empty() => after.trim_start(),
            None if after.trim().is_empty() => "",
            _ => return Err(format!("the label selector \"{text}\" is malformed near \"{after}\"")),
        };
    }
    Ok(found)
}

fn check_key(key: &str) -> Result<(), String> {
    let name = key.rsplit_once('/').map_or(key, |(_, name)| name);
    let edge = |letter: Option<char>| letter.is_some_and(|letter| letter.is_ascii_alphanumeric());
    let inner = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '-' | '_' | '.');
    let fits =
        name.len() <= 63 && edge(name.chars().next()) && edge(name.chars().last()) && name.chars().all(inner);
    if fits { Ok(()) } else { Err(format!("\"{key}\" is no name of a label")) }
}

fn word(text: &str) -> (&str, &str) {
    let end =
        text.find(|letter: char| letter.is_whitespace() || "=!<>,()".contains(letter)).unwrap_or(text.len());
    (&text[..end], text[end..].trim_start())
}

fn requirement(text: &str) -> Option<(Requirement, &str)> {
    if let Some(rest) = text.strip_prefix('!') {
        let (key, rest) = word(rest.trim_start());
        return (!key.is_empty()).then(|| (Requirement { key: key.to_owned(), test: Test::Missing }, rest));
    }
    let (key, rest) = word(text);
    if key.is_empty() {
        return None;
    }
    let made = |test: Test, rest| Some((Requirement { key: key.to_owned(), test }, rest));
    if rest.is_empty() || rest.starts_with(',') {
        return made(Test::Exists, rest);
    }
    for (sign, equal) in [("==", true), ("!=", false), ("=", true)] {
        if let Some(after) = rest.strip_prefix(sign) {
            let (value, after) = word(after.trim_start());
            let values = vec![value.to_owned()];
            return made(if equal { Test::In(values) } else { Test::NotIn(values) }, after);
        }
    }
    for (sign, above) in [('>', true), ('<', false)] {
        if let Some(after) = rest.strip_prefix(sign) {
            let (value, after) = word(after.trim_start());
            let limit = value.parse().ok()?;
            return made(if above { Test::Above(limit) } else { Test::Below(limit) }, after);
        }
    }
    let (operator, after) = word(rest);
    let (values, after) = after.strip_prefix('(')?.split_once(')')?;
    let values = values.split(',').map(|value| value.trim().to_owned()).collect();
    match operator {
        "in" => made(Test::In(values), after),
        "notin" => made(Test::NotIn(values), after),
        _ => None,
    }
}
