//! What the generator speaks: Helm's functions with the kinds of their arguments, and expressions of each kind.
//!
//! A kind is one letter: `s` text, `i` int, `n` small int, `o` anything a number can be made of, `b` truth, `l` list,
//! `t` list of texts, `d` map, `a` anything, `v` version, `c` version range, `r` regular expression, `p` its
//! replacement, `g` short text, `k` key, `L` date layout, `T` date text, `N` time, `D` duration text, `z` zone, `u` URL,
//! `h` path, `y` YAML, `j` JSON, `m` TOML, `6` base64, `2` base32, `K` kind, `Y` type, `F` format, `e` template text,
//! `W` date layout that tells no less than days, `Q` seconds, `E` seconds or what is no time, `w` what is no time, `A` anything that
//! is no text and no time.

use std::collections::BTreeMap;
use std::sync::OnceLock;

/// A function: its name, the kinds of its arguments, the kind of its answer.
pub(crate) struct Function {
    pub name: &'static str,
    pub arguments: &'static str,
    pub answer: char,
}

/// The functions whose answer follows from their arguments alone.
pub(crate) fn functions() -> &'static [Function] {
    static FUNCTIONS: OnceLock<Vec<Function>> = OnceLock::new();
    FUNCTIONS.get_or_init(|| {
        let rows = include_str!("functions.txt").lines().filter(|line| !line.starts_with('#'));
        rows.map(|row| {
            let mut columns = row.split(' ');
            let mut next = || columns.next().expect("a row has three columns");
            let (name, arguments, answer) = (next(), next(), next());
            let answer = answer.chars().next().expect("a kind is a letter");
            Function { name, arguments: if arguments == "-" { "" } else { arguments }, answer }
        })
        .collect()
    })
}

/// Literals, paths and tamed expressions of a kind; never empty.
pub(crate) fn leaves(kind: char) -> &'static [&'static str] {
    static LEAVES: OnceLock<BTreeMap<char, Vec<&'static str>>> = OnceLock::new();
    let leaves = LEAVES.get_or_init(|| {
        let mut leaves: BTreeMap<char, Vec<&str>> = BTreeMap::new();
        for text in [include_str!("leaves.txt"), include_str!("tamed.txt")] {
            let mut kind = 'a';
            for line in text.lines().filter(|line| !line.starts_with('#')) {
                match line.as_bytes() {
                    [b'[', letter, b']'] => kind = char::from(*letter),
                    _ => leaves.entry(kind).or_default().push(line),
                }
            }
        }
        leaves
    });
    leaves.get(&kind).map_or(&["nil"], Vec::as_slice)
}

/// Fields and methods of what a function answers.
pub(crate) fn fields(kind: char) -> &'static [(&'static str, char)] {
    match kind {
        'V' => &[("Major", 'o'), ("Minor", 'o'), ("Patch", 'o'), ("Prerelease", 's'), ("Original", 's')],
        'U' => &[("host", 's'), ("path", 's'), ("query", 's'), ("userinfo", 's'), ("hostname", 's')],
        'N' => &[
            ("Year", 'i'),
            ("Unix", 'o'),
            ("UnixNano", 'o'),
            ("Weekday", 'a'),
            ("Month", 'a'),
            ("YearDay", 'i'),
            ("Day", 'i'),
            ("IsDST", 'b'),
            ("MarshalText", 'a'),
            ("MarshalBinary", 'a'),
            ("Location", 'a'),
            ("UTC", 'N'),
            ("Local", 'N'),
            ("IsZero", 'b'),
        ],
        'd' => &[("a", 'a'), ("name", 'a'), ("b", 'a'), ("deep", 'a'), ("missing", 'a')],
        _ => &[],
    }
}

/// `values.yaml` of the generated chart.
pub(crate) const VALUES: &str = include_str!("values.yaml");
