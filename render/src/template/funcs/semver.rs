//! Semantic versions as Masterminds/semver reads them, loosely (`v1.2`).

use std::cmp::Ordering;
use std::rc::Rc;

use super::constraint::Constraint;
use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::fault::Fault;
use crate::template::named::{UNSIGNED, named};
use crate::template::object::Object;
use crate::template::value::Value;

pub(super) static TABLE: &[Row] = &[
    exact("semver", 1, |_, args| {
        let text = args.utf8(0)?;
        let version = Version::parse(&text).ok_or_else(|| invalid_version(&text))?;
        Ok(Value::Object(Rc::new(version)))
    }),
    exact("semverCompare", 2, |_, args| {
        let (constraint, version) = (args.utf8(0)?, args.utf8(1)?);
        let constraint = Constraint::parse(&constraint).map_err(Fault::Message)?;
        let version = Version::parse(&version).ok_or_else(|| invalid_version(&version))?;
        Ok(Value::Bool(constraint.matches(&version)))
    }),
];

fn invalid_version(text: &str) -> Fault {
    let pre = text.split('+').next().and_then(|text| Some(text.split_once('-')?.1));
    let has_zero = pre.is_some_and(|pre| identifiers(pre) && pre.split('.').any(starts_with_zero));
    Fault::message(if has_zero { "version segment starts with 0" } else { "invalid semantic version" })
}

/// Whether a part of a suffix is a number with a zero before it.
fn starts_with_zero(part: &str) -> bool {
    part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit())
}

/// A version; `original` keeps the text it was read from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    pub(super) major: u64,
    pub(super) minor: u64,
    pub(super) patch: u64,
    pub(super) pre: String,
    metadata: String,
    original: String,
    /// What its own methods answer is no pointer, and lacks the methods of one.
    is_value: bool,
}

fn identifiers(text: &str) -> bool {
    !text.is_empty()
        && text
            .split('.')
            .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-'))
}

impl Version {
    /// Reads `v1`, `1.2`, `1.2.3-rc.1+build`.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let (body, metadata) = match text.split_once('+') {
            Some((body, metadata)) => (body, identifiers(metadata).then_some(metadata)?),
            None => (text, ""),
        };
        let body = body.strip_prefix('v').unwrap_or(body);
        let (numbers, pre) = match body.split_once('-') {
            Some((numbers, pre)) => (numbers, identifiers(pre).then_some(pre)?),
            None => (body, ""),
        };
        if pre.split('.').any(starts_with_zero) {
            return None;
        }
        let mut parts = [0_u64; 3];
        for (count, part) in numbers.split('.').enumerate() {
            if part.is_empty() || !part.bytes().all(|byte| byte.is_ascii_digit()) {
                return None;
            }
            *parts.get_mut(count)? = part.parse().ok()?;
        }
        let [major, minor, patch] = parts;
        let version = Self::at(major, minor, patch);
        Some(Self { pre: pre.into(), metadata: metadata.into(), original: text.into(), ..version })
    }

    fn at(major: u64, minor: u64, patch: u64) -> Self {
        let (pre, metadata, original) = Default::default();
        Self { major, minor, patch, pre, metadata, original, is_value: false }
    }

    /// Another version made of this one, which keeps its leading letter.
    fn made(&self, version: Self) -> Value {
        let letter = if self.original.starts_with('v') { "v" } else { "" };
        let original = format!("{letter}{}", version.shown());
        Value::Object(Rc::new(Self { original, is_value: true, ..version }))
    }

    fn with_pre(&self, pre: &str) -> Answer {
        let leads = |part: &str| {
            part.len() > 1 && part.starts_with('0') && part.bytes().all(|byte| byte.is_ascii_digit())
        };
        match pre.split('.').find(|part| !identifiers(part) || leads(part)) {
            Some(part) if !pre.is_empty() && !identifiers(part) => {
                Err(Fault::Method("invalid prerelease string".to_owned()))
            }
            Some(_) if !pre.is_empty() => Err(Fault::Method("version segment starts with 0".to_owned())),
            _ => Ok(self.made(Self { pre: pre.to_owned(), ..self.clone() })),
        }
    }

    fn with_metadata(&self, metadata: &str) -> Answer {
        if !metadata.is_empty() && !identifiers(metadata) {
            return Err(Fault::Method("invalid metadata string".to_owned()));
        }
        Ok(self.made(Self { metadata: metadata.to_owned(), ..self.clone() }))
    }

    pub(super) fn compare(&self, other: &Self) -> Ordering {
        let numbers = |version: &Self| (version.major, version.minor, version.patch);
        numbers(self).cmp(&numbers(other)).then_with(|| compare_pre(&self.pre, &other.pre))
    }

    fn shown(&self) -> String {
        let mut out = format!("{}.{}.{}", self.major, self.minor, self.patch);
        if !self.pre.is_empty() {
            out.push_str(&format!("-{}", self.pre));
        }
        if !self.metadata.is_empty() {
            out.push_str(&format!("+{}", self.metadata));
        }
        out
    }
}

fn compare_pre(left: &str, right: &str) -> Ordering {
    match (left.is_empty(), right.is_empty()) {
        (true, true) => return Ordering::Equal,
        (true, false) => return Ordering::Greater,
        (false, true) => return Ordering::Less,
        (false, false) => {}
    }
    let (mut a, mut b) = (left.split('.'), right.split('.'));
    loop {
        let order = match (a.next(), b.next()) {
            (None, None) => return Ordering::Equal,
            (None, Some(_)) => return Ordering::Less,
            (Some(_), None) => return Ordering::Greater,
            (Some(a), Some(b)) => match (a.parse::<u64>(), b.parse::<u64>()) {
                (Ok(a), Ok(b)) => a.cmp(&b),
                (Ok(_), Err(_)) => Ordering::Less,
                (Err(_), Ok(_)) => Ordering::Greater,
                (Err(_), Err(_)) => a.cmp(b),
            },
        };
        if order != Ordering::Equal {
            return order;
        }
    }
}

fn number(value: u64) -> Value {
    named(i64::try_from(value).unwrap_or(i64::MAX), &UNSIGNED)
}

impl Object for Version {
    fn type_name(&self) -> &'static str {
        if self.is_value { "semver.Version" } else { "*semver.Version" }
    }

    fn kind_name(&self) -> &'static str {
        if self.is_value { "struct" } else { "ptr" }
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Answer> {
        let other = || match Args(arguments).any(0) {
            Value::Object(object) => {
                let text = object.print();
                Version::parse(&text).ok_or_else(|| invalid_version(&text))
            }
            _ => Err(Fault::Method(
                "runtime error: invalid memory address or nil pointer dereference".to_owned(),
            )),
        };
        let compared =
            |check: fn(Ordering) -> bool| other().map(|other| Value::Bool(check(self.compare(&other))));
        let next = |major: u64, minor: u64, patch: u64| Ok(self.made(Self::at(major, minor, patch)));
        self.parameters(name)?;
        Some(match name {
            "Major" => Ok(number(self.major)),
            "Minor" => Ok(number(self.minor)),
            "Patch" => Ok(number(self.patch)),
            "Prerelease" => Ok(Value::text(&self.pre)),
            "Metadata" => Ok(Value::text(&self.metadata)),
            "Original" => Ok(Value::text(&self.original)),
            "String" => Ok(Value::text(&self.shown())),
            "Compare" => other().map(|other| Value::Int(self.compare(&other) as i64)),
            "Equal" => compared(|order| order == Ordering::Equal),
            "LessThan" => compared(|order| order == Ordering::Less),
            "LessThanEqual" => compared(|order| order != Ordering::Greater),
            "GreaterThan" => compared(|order| order == Ordering::Greater),
            "GreaterThanEqual" => compared(|order| order != Ordering::Less),
            "IncMajor" => next(self.major + 1, 0, 0),
            "IncMinor" => next(self.major, self.minor + 1, 0),
            "IncPatch" if !self.pre.is_empty() => next(self.major, self.minor, self.patch),
            "IncPatch" => next(self.major, self.minor, self.patch + 1),
            "SetPrerelease" => Args(arguments).utf8(0).and_then(|pre| self.with_pre(&pre)),
            "SetMetadata" => Args(arguments).utf8(0).and_then(|metadata| self.with_metadata(&metadata)),
            "Value" => Ok(Value::text(&self.shown())),
            "MarshalText" => Ok(Value::bytes(self.shown().as_bytes())),
            "MarshalJSON" => Ok(Value::bytes(format!("\"{}\"", self.shown()).as_bytes())),
            _ => return None,
        })
    }

    fn parameters(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "Major" | "Minor" | "Patch" | "Prerelease" | "Metadata" | "String" | "IncMajor" | "IncMinor"
            | "IncPatch" | "Value" | "MarshalText" | "MarshalJSON" => "",
            "SetPrerelease" | "SetMetadata" => "s",
            "Original" if !self.is_value => "",
            "Compare" | "Equal" | "LessThan" | "LessThanEqual" | "GreaterThan" | "GreaterThanEqual"
                if !self.is_value =>
            {
                "v"
            }
            _ => return None,
        })
    }

    /// The fields are hidden from what copies them.
    fn copied(&self) -> Option<Value> {
        let zero = Self::at(0, 0, 0);
        Some(Value::Object(Rc::new(Self { original: String::new(), ..zero })))
    }

    fn print(&self) -> String {
        self.shown()
    }

    fn text(&self) -> Option<String> {
        Some(self.shown())
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let [major, minor, patch] = [self.major, self.minor, self.patch].map(number);
        let texts = [("pre", &self.pre), ("metadata", &self.metadata), ("original", &self.original)];
        let numbers = [("major", major), ("minor", minor), ("patch", patch)];
        numbers.into_iter().chain(texts.map(|(name, text)| (name, Value::text(text)))).collect()
    }

    fn data(&self) -> Value {
        Value::text(&self.shown())
    }
}
