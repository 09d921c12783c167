//! Constraints on versions as Masterminds/semver reads them: wildcards, hyphen ranges, `^`, `~`, and pre-releases
//! matched only by constraints that name one.

use std::cmp::Ordering;
use std::sync::OnceLock;

use regex::{Captures, Regex};

use super::semver::Version;
use crate::template::quote::quote;

/// A version with open parts; a bar counts as a digit, and is refused later.
const VERSION: &str = r"v?([0-9|xX*]+)(\.[0-9|xX*]+)?(\.[0-9|xX*]+)?(-[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?(?:\+[0-9A-Za-z-]+(?:\.[0-9A-Za-z-]+)*)?";
/// What may stand before one.
const OPERATOR: &str = "=>|=<|!=|>=|<=|~>|[=><~^]|";
/// White space in Go's expressions.
const SPACE: &str = r"[\t\n\f\r ]";

/// The expressions that take a constraint apart; `None` of one that is none, which the tests would show.
struct Grammar {
    /// `1.2 - 1.4`, with what surrounds it.
    hyphen: Option<Regex>,
    /// Comparisons that must all hold.
    all: Option<Regex>,
    /// One of them.
    one: Option<Regex>,
}

fn grammar() -> &'static Grammar {
    static GRAMMAR: OnceLock<Grammar> = OnceLock::new();
    GRAMMAR.get_or_init(|| {
        let (s, v, o) = (SPACE, VERSION, OPERATOR);
        let one = format!("(?:{o}){s}*(?:{v})");
        Grammar {
            hyphen: Regex::new(&format!("{s}*(?P<from>{v}){s}+-{s}+(?P<to>{v}){s}*")).ok(),
            all: Regex::new(&format!("^{s}*{one}{s}*(?:(?:{s}+|,{s}*){one}{s}*)*$")).ok(),
            one: Regex::new(&format!("({o}){s}*{v}")).ok(),
        }
    })
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Greater,
    Less,
    GreaterOrEqual,
    LessOrEqual,
    Tilde,
    Caret,
}

/// One comparison; the flags say which parts the text left open.
#[derive(Clone, Debug)]
struct Comparison {
    operator: Operator,
    version: Version,
    any: bool,
    minor_open: bool,
    patch_open: bool,
}

/// Alternatives (`||`) of comparisons that must all hold.
#[derive(Clone, Debug)]
pub(crate) struct Constraint(Vec<Vec<Comparison>>);

impl Constraint {
    /// Reads a constraint such as `>=1.20-0 <2 || ^3.1`.
    ///
    /// # Errors
    ///
    /// What is wrong with it, in the words of Masterminds/semver.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let spread = expand_hyphens(text);
        spread.split("||").map(comparisons).collect::<Result<Vec<_>, _>>().map(Self)
    }

    /// Whether a version satisfies it.
    pub(crate) fn matches(&self, version: &Version) -> bool {
        self.0.iter().any(|all| {
            let names_pre = all.iter().any(|one| !one.version.pre.is_empty());
            (version.pre.is_empty() || names_pre) && all.iter().all(|one| one.matches(version))
        })
    }
}

/// `1.2 - 1.4` becomes `>= 1.2, <= 1.4 `.
fn expand_hyphens(text: &str) -> String {
    let mut out = text.to_owned();
    let ranges = grammar().hyphen.iter().flat_map(|hyphen| hyphen.captures_iter(text));
    for range in ranges {
        out = out.replacen(&range[0], &format!(">= {}, <= {} ", &range["from"], &range["to"]), 1);
    }
    out
}

fn comparisons(text: &str) -> Result<Vec<Comparison>, String> {
    let Grammar { all: Some(all), one: Some(one), .. } = grammar() else {
        return Err("constraint parser error".to_owned());
    };
    if !all.is_match(text) {
        return Err(format!("improper constraint: {}", quote(text.as_bytes())));
    }
    let found = one.captures_iter(text).map(|found| Comparison::read(&found));
    found.collect::<Option<Vec<_>>>().ok_or_else(|| "constraint parser error".to_owned())
}

impl Comparison {
    /// Of an operator, the three numbers and the pre-release.
    fn read(found: &Captures<'_>) -> Option<Self> {
        let operator = match &found[1] {
            "" | "=" => Operator::Equal,
            "!=" => Operator::NotEqual,
            ">" => Operator::Greater,
            "<" => Operator::Less,
            ">=" | "=>" => Operator::GreaterOrEqual,
            "<=" | "=<" => Operator::LessOrEqual,
            "~" | "~>" => Operator::Tilde,
            _ => Operator::Caret,
        };
        let part = |at: usize| found.get(at).map_or("", |part| part.as_str());
        let open = |at: usize| matches!(part(at).trim_start_matches('.'), "" | "x" | "X" | "*");
        let any = open(2);
        let minor_open = any || open(3);
        let patch_open = minor_open || open(4);
        let number = |at: usize, open: bool| if open { "0" } else { part(at).trim_start_matches('.') };
        let numbers = [number(2, any), number(3, minor_open), number(4, patch_open)].join(".");
        let version = Version::parse(&(numbers + part(5)))?;
        Some(Self { operator, version, any, minor_open, patch_open })
    }

    fn matches(&self, version: &Version) -> bool {
        let order = version.compare(&self.version);
        match self.operator {
            Operator::Equal if self.patch_open => self.tilde(version),
            Operator::Equal => order == Ordering::Equal,
            Operator::NotEqual => self.differs(version, order),
            Operator::Greater => self.greater(version, order),
            Operator::Less => order == Ordering::Less,
            Operator::GreaterOrEqual => order != Ordering::Less,
            Operator::LessOrEqual => self.less_or_equal(version, order),
            Operator::Tilde => self.tilde(version),
            Operator::Caret => self.caret(version),
        }
    }

    fn differs(&self, version: &Version, order: Ordering) -> bool {
        if !self.patch_open {
            return order != Ordering::Equal;
        }
        !(self.any
            || (version.major == self.version.major
                && (self.minor_open || version.minor == self.version.minor)))
    }

    fn greater(&self, version: &Version, order: Ordering) -> bool {
        if !self.patch_open || self.any {
            return order == Ordering::Greater;
        }
        if version.major != self.version.major {
            return version.major > self.version.major;
        }
        !self.minor_open && version.minor > self.version.minor
    }

    fn less_or_equal(&self, version: &Version, order: Ordering) -> bool {
        if !self.patch_open {
            return order != Ordering::Greater;
        }
        if version.major != self.version.major {
            return version.major < self.version.major;
        }
        (self.minor_open && !self.any) || version.minor <= self.version.minor
    }

    fn tilde(&self, version: &Version) -> bool {
        let floor = (self.version.major, self.version.minor, self.version.patch);
        if version.compare(&self.version) == Ordering::Less {
            return false;
        }
        if floor == (0, 0, 0) && (self.any || !self.patch_open) {
            return true;
        }
        version.major == self.version.major && (self.minor_open || version.minor == self.version.minor)
    }

    fn caret(&self, version: &Version) -> bool {
        let floor = &self.version;
        if version.compare(floor) == Ordering::Less {
            return false;
        }
        if floor.major > 0 || (self.minor_open && !self.any) {
            return version.major == floor.major;
        }
        if version.major != 0 {
            return false;
        }
        if floor.minor > 0 || (self.patch_open && !self.any) {
            return version.minor == floor.minor;
        }
        version.minor == 0 && version.patch == floor.patch
    }
}
