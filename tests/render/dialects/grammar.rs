//! Random documents in the dialects of YAML that people write, and in some that nobody should.

use crate::generator::Random;

/// Texts without quotes: numbers, truths, dates, and letters that mean something elsewhere.
const PLAIN: &[&str] = &[
    "word",
    "two words",
    "true",
    "True",
    "yes",
    "Yes",
    "YES",
    "on",
    "off",
    "n",
    "y",
    "no",
    "null",
    "Null",
    "~",
    "",
    "0",
    "-0",
    "+1",
    "-1",
    "12",
    "012",
    "0o14",
    "0x1F",
    "0XfF",
    "0b101",
    "-0b1",
    "0b-1",
    "1_000",
    "_1",
    "1__0",
    "1_",
    "1e3",
    "1E+3",
    "1e-7",
    "1.",
    ".5",
    "-.5",
    "+.5",
    "1.50",
    "1.0",
    "-0.0",
    "1e21",
    "1e17",
    "123456789012345678",
    "12345678901234567890",
    "9223372036854775808",
    "-9223372036854775809",
    "18446744073709551616",
    "1e400",
    ".inf",
    "-.INF",
    "+.Inf",
    ".nan",
    ".NaN",
    "0.1",
    "3.14159265358979",
    "1.5e3_0",
    "0x",
    "08",
    "09.5",
    "1e",
    "e3",
    "0.1.2",
    "2001-01-01",
    "2001-1-1",
    "2001-13-01",
    "2001-01-01T10:20:30Z",
    "2001-01-01 10:20:30",
    "2001-01-01t1:2:3.5+02:00",
    "12:30",
    "190:20:30",
    "1:2",
    "a b  c",
    "a#b",
    "a #b",
    "a:b",
    "a: b",
    "a:",
    ":a",
    ": a",
    "-a",
    "- a",
    "--",
    "---x",
    "?a",
    "? a",
    "@x",
    "`x",
    "%x",
    "<<",
    "=",
    "é☃",
    "😀",
    "a\tb",
    "a,b",
    "a, b",
    "[a",
    "a]",
    "{a",
    "a}",
    "it's",
    "say \"x\"",
    "back\\slash",
    "!",
    "&",
    "*",
    "a\u{a0}b",
    ".",
    "...x",
    "1,000",
    "0777",
];

// The separators U+2028 and U+2029 are left out: Helm's writer breaks lines at them, ours escapes them; both read back
// as the same text.

/// Texts in quotes, as they stand there.
const QUOTED: &[&str] = &[
    "''",
    "\"\"",
    "'a'",
    "\"a\"",
    "'it''s'",
    "'a\\nb'",
    "\"a\\nb\"",
    "\"tab\\there\"",
    "\"\\x41\\u00e9\\U0001F600\"",
    "\"\\/\"",
    "\"\\e\\0\\a\\b\\v\\f\\r\"",
    "\"\\N\\_\"",
    "\"\\q\"",
    "\"\\ud83d\"",
    "\"\\x4\"",
    "\"\\u12\"",
    "'1'",
    "\"true\"",
    "'null'",
    "\"a\\\n  b\"",
    "'a\n  b'",
    "\"a\n\n  b\"",
    "'a\nb'",
    "\"a\n b\"",
    "\"a  \n  \n\tb\"",
    "'a\n\n\n  b  c'",
    "\"open",
    "'open",
    "\"a\" b",
    "'a'b",
    "\"a: b\"",
    "'# no'",
    "\"\\\"\"",
    "\"a \\\n\n  b\"",
    "\"\\ x\"",
    "\"\\\tx\"",
    "'\\'",
    "\"{{ x }}\"",
    "'é☃'",
    "\"a\n---\nb\"",
    "\" lead and trail \"",
    "'  '",
    "\"a\u{85}b\"",
    "\"\\U00110000\"",
    "\"x\\\r\n y\"",
    "'a\r\n  b'",
];

const TAGS: &[&str] = &[
    "!!str",
    "!!int",
    "!!float",
    "!!bool",
    "!!null",
    "!!binary",
    "!!timestamp",
    "!!map",
    "!!seq",
    "!!set",
    "!!merge",
    "!local",
    "!",
    "!<tag:yaml.org,2002:str>",
    "!<!x>",
    "!e!x",
    "!!",
    "!!int,",
    "!%41",
    "!!omap",
    "!a:b",
    "!<x",
];

const KEYS: &[&str] = &[
    "a",
    "b",
    "c",
    "name",
    "key with spaces",
    "\"quoted\"",
    "'single'",
    "1",
    "1.5",
    "true",
    "null",
    "~",
    "2001-01-01",
    "0x10",
    "yes",
    "on",
    "é",
    "<<",
    "a.b",
    "a-b",
    "-k",
    "\"\"",
    "1e3",
    "18446744073709551615",
    "0.1",
    ".inf",
    "k#v",
    "*x",
    "!!str 1",
    "&k key",
];

const ANCHORS: &[&str] = &["x", "y", "z-1", "a_b"];

/// Headers of block texts.
const HEADERS: &[&str] = &[
    "|",
    "|-",
    "|+",
    ">",
    ">-",
    ">+",
    "|2",
    ">1",
    "|2-",
    "|-2",
    ">+1",
    "| # comment",
    "|  ",
    "|0",
    "|x",
    ">-  # c",
    "|10",
    "|+-",
    "|9",
    ">4",
];

const LINES: &[&str] = &[
    "text",
    "  indented",
    "",
    " ",
    "more text # no comment",
    "\ttab",
    "- dash",
    "key: value",
    "   ",
    "é",
    "trailing  ",
    "---",
    "...",
    "# hash",
    "'quote",
    "\\n",
    "   deep",
    "\t",
];

/// What is put into a text by accident.
const ACCIDENTS: &[&str] = &[
    " ", "\t", "\n", "\n\n", "-", "- ", ":", ": ", "#", " #", "'", "\"", "[", "]", "{", "}", ",", "&x ",
    "*x", "!", "|", ">", "%", "@", "?", "? ", "\r\n", "\r", "---\n", "...\n", "\u{feff}", "\u{7}",
];

/// Writes one document.
pub(super) struct Grammar<'r> {
    random: &'r mut Random,
    /// Width of an indentation.
    width: usize,
    anchors: usize,
}

impl<'r> Grammar<'r> {
    /// A document; one in four is damaged somewhere.
    pub(super) fn document(random: &'r mut Random) -> String {
        let width = 1 + random.below(4);
        let mut grammar = Self { random, width, anchors: 0 };
        let mut text = String::new();
        if grammar.random.chance(8) {
            text.push_str(grammar.random.pick::<&str>(&[
                "---\n",
                "%YAML 1.1\n---\n",
                "%YAML 1.2\n---\n",
                "# top\n",
                "\n\n",
                "--- # c\n",
                "%TAG !e! tag:e.org,1:\n---\n",
                "...\n",
                "--- ",
                "%FOO bar\n---\n",
            ]));
        }
        if grammar.random.chance(85) {
            text.push_str(&grammar.mapping(0, 3));
        } else {
            let node = grammar.node(0, 3);
            text.push_str(node.trim_start());
        }
        if !text.ends_with('\n') && grammar.random.chance(80) {
            text.push('\n');
        }
        if grammar.random.chance(6) {
            text.push_str(grammar.random.pick::<&str>(&[
                "---\n",
                "---\nb: 2\n",
                "...\n",
                "...\nx\n",
                "# end",
                "--- x\n",
                "\n\n \n",
                "\t\n",
            ]));
        }
        if grammar.random.chance(5) {
            text = text.replace('\n', "\r\n");
        }
        if grammar.random.chance(3) {
            text.insert(0, '\u{feff}');
        }
        if grammar.random.chance(25) {
            for _ in 0..=grammar.random.below(2) {
                text = grammar.damaged(&text);
            }
        }
        text
    }

    fn damaged(&mut self, text: &str) -> String {
        let letters: Vec<char> = text.chars().collect();
        let at = self.random.below(letters.len() + 1);
        let (before, behind) = letters.split_at(at);
        let mut out: String = before.iter().collect();
        if self.random.chance(60) {
            out.push_str(self.random.pick::<&str>(ACCIDENTS));
            out.extend(behind);
        } else {
            out.extend(behind.iter().skip(1 + self.random.below(3)));
        }
        out
    }

    fn indent(&self, depth: usize) -> String {
        " ".repeat(depth * self.width)
    }

    fn mapping(&mut self, depth: usize, left: usize) -> String {
        let mut text = String::new();
        for _ in 0..=self.random.below(4) {
            text.push_str(&self.indent(depth));
            if self.random.chance(5) {
                text.push_str(&self.merge());
                continue;
            }
            let key = self.key();
            let node = self.node(depth, left);
            let space = if self.random.chance(4) { *self.random.pick(&[" ", "\t", ""]) } else { "" };
            match self.random.below(25) {
                0 => text.push_str(&format!("? {key}\n{}:{node}", self.indent(depth))),
                _ => text.push_str(&format!("{key}{space}:{node}")),
            }
            self.end_line(&mut text);
        }
        text
    }

    fn key(&mut self) -> String {
        let known = if self.random.chance(70) { 4 } else { KEYS.len() };
        let key = KEYS[self.random.below(known)].to_owned();
        if self.random.chance(40) { format!("{key}{}", self.random.below(9)) } else { key }
    }

    fn merge(&mut self) -> String {
        let name = self.anchor();
        let other = self.anchor();
        match self.random.below(8) {
            0 => "<<: {m: 1}\n".to_owned(),
            1 => format!("<<: [*{name}, *{other}]\n"),
            2 => "<<: 1\n".to_owned(),
            3 => format!("<<: [*{name}, {{a: 9}}, 3]\n"),
            4 => format!("\"<<\": *{name}\n"),
            _ => format!("<<: *{name}\n"),
        }
    }

    fn anchor(&mut self) -> &'static str {
        let known = self.anchors.clamp(1, ANCHORS.len());
        let known = if self.random.chance(90) { known } else { ANCHORS.len() };
        ANCHORS[self.random.below(known)]
    }

    fn end_line(&mut self, text: &mut String) {
        if text.ends_with('\n') {
            return;
        }
        match self.random.below(30) {
            0 => text.push_str(" # comment\n"),
            1 => text.push_str("  \n"),
            2 => text.push_str("\n\n"),
            3 => text.push_str("\n# comment\n"),
            4 => text.push_str("\t\n"),
            5 => text.push_str("\n   # deep comment\n"),
            _ => text.push('\n'),
        }
    }

    /// What stands behind a colon or a dash, with its leading space.
    fn node(&mut self, depth: usize, left: usize) -> String {
        let mut before = String::new();
        if self.random.chance(8) {
            before.push_str(" &");
            before.push_str(ANCHORS[self.anchors.min(ANCHORS.len() - 1)]);
            self.anchors += 1;
        }
        if self.random.chance(7) {
            let known = if self.random.chance(60) { 7 } else { TAGS.len() };
            before = format!("{before} {}", TAGS[self.random.below(known)]);
        }
        let body = match self.random.below(if left == 0 { 70 } else { 100 }) {
            0..40 => format!(" {}", self.random.pick(PLAIN)),
            40..52 => format!(" {}", self.random.pick(QUOTED)),
            52..56 => format!(" *{}", self.anchor()),
            56..62 => self.block_text(depth),
            62..66 => self.long_plain(depth),
            66..70 => format!(" {}", self.flow(left.min(2))),
            70..80 => format!(" {}", self.flow(left)),
            80..90 => format!("\n{}", self.mapping(depth + 1, left - 1)),
            _ => self.sequence(depth, left - 1),
        };
        before + &body
    }

    fn sequence(&mut self, depth: usize, left: usize) -> String {
        let depth = depth + self.random.below(2);
        let mut text = "\n".to_owned();
        for _ in 0..=self.random.below(3) {
            text.push_str(&self.indent(depth));
            text.push('-');
            if self.random.chance(25) {
                // A map that begins behind the dash.
                let map = self.mapping(depth + 1, left);
                let gap = " ".repeat(self.width.max(2) - 1);
                let aligned = if self.width == 1 { map.replace("\n ", "\n  ") } else { map };
                text.push_str(&gap);
                text.push_str(aligned.trim_start());
            } else {
                let node = self.node(depth, left);
                text.push_str(&node);
            }
            self.end_line(&mut text);
        }
        text
    }

    fn block_text(&mut self, depth: usize) -> String {
        let known = if self.random.chance(70) { 6 } else { HEADERS.len() };
        let mut text = format!(" {}\n", HEADERS[self.random.below(known)]);
        let indent = if self.random.chance(90) { self.indent(depth + 1) } else { self.indent(depth) };
        for _ in 0..self.random.below(5) {
            let line = self.random.pick(LINES);
            text.push_str(&format!("{}{line}\n", if line.is_empty() { "" } else { &indent }));
        }
        if self.random.chance(15) {
            text.push('\n');
        }
        text
    }

    fn long_plain(&mut self, depth: usize) -> String {
        let mut text = " first".to_owned();
        for _ in 0..=self.random.below(3) {
            let deeper = if self.random.chance(90) { depth + 1 } else { depth };
            let line = self.random.pick(&[
                "second",
                "third line",
                "",
                "# comment",
                "x: y",
                "- z",
                "\tt",
                "it's",
                "a #b",
            ]);
            text.push_str(&format!("\n{}{line}", self.indent(deeper)));
        }
        text
    }

    fn flow(&mut self, left: usize) -> String {
        let list = self.random.chance(50);
        let mut parts = Vec::new();
        for _ in 0..self.random.below(4) {
            let value = self.flow_value(left);
            parts.push(match self.random.below(20) {
                0 => format!("? {} : {value}", self.key()),
                1 => format!("{}:{value}", self.key()),
                2 => self.key(),
                3 => format!(": {value}"),
                4 => format!("\"k\":{value}"),
                5 => format!("{}: {value}", self.key()),
                6 => format!("\n  {value}"),
                7 => format!("# c\n {value}"),
                _ if list => value,
                _ => format!("{}: {value}", self.key()),
            });
        }
        let comma = if self.random.chance(90) {
            ", "
        } else {
            *self.random.pick(&[",", " ,", " ", ",,", ",\n", " , "])
        };
        let end = if self.random.chance(10) { ", " } else { "" };
        let inside = parts.join(comma) + end;
        if list { format!("[{inside}]") } else { format!("{{{inside}}}") }
    }

    fn flow_value(&mut self, left: usize) -> String {
        match self.random.below(if left == 0 { 80 } else { 100 }) {
            0..50 => (*self.random.pick(PLAIN)).to_owned(),
            50..66 => (*self.random.pick(QUOTED)).to_owned(),
            66..70 => format!("*{}", self.anchor()),
            70..75 => format!("{} 1", self.random.pick(TAGS)),
            75..80 => format!("&{} v", self.random.pick(ANCHORS)),
            _ => self.flow(left - 1),
        }
    }
}
