//! Keys and tables of a document.
//!
//! # Why
//! Which tables may be opened again, and by what, is where readers of TOML differ. Helm's library remembers two things
//! by the written name of a key: that the table was only implied by a longer name, and that an array was written there.
//! Both are kept here in the same way, and asked in the same order, because a chart is refused or not by them.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;

use super::cursor::{Cursor, END, Problem, is_blank, is_line_end};
use super::{key, scalars};
use crate::template::quote::{quote, quote_letter};
use crate::template::stack;
use crate::template::value::{Dict, List, ListKind, Value};

/// Tables and arrays within each other.
const DEPTH_MAX: usize = 250;

type Read<T> = Result<T, Problem>;

/// What stands at a key: a table is one of those that are kept, because a later line may add to it.
#[derive(Clone)]
enum Item {
    Plain(Value),
    Array(Rc<Vec<Item>>),
    Table(usize),
    Tables(Vec<usize>),
}

struct Document<'t> {
    cursor: Cursor<'t>,
    /// The first one is the document.
    tables: Vec<BTreeMap<String, Item>>,
    /// The table that is being read, from the top.
    context: Vec<String>,
    /// The key whose value is being read.
    current: String,
    /// The line of the key that was read last.
    place: usize,
    arrays: BTreeSet<String>,
    implied: BTreeSet<String>,
    depth: usize,
}

/// The document as a map.
///
/// # Errors
/// What is wrong with it, in the words of Helm's library.
pub(super) fn read(document: &[u8]) -> Result<Value, String> {
    let marks: [&[u8]; 3] = [b"\xff\xfe", b"\xfe\xff", b"\xef\xbb\xbf"];
    let document = marks.iter().find_map(|mark| document.strip_prefix(*mark)).unwrap_or(document);
    if document.iter().take(6).any(|byte| *byte == 0) {
        let words = "files cannot contain NULL bytes; probably using UTF-16; TOML files must be UTF-8";
        return Err(format!("toml: line 1: {words}"));
    }
    let mut document = Document {
        cursor: Cursor::new(document),
        tables: vec![BTreeMap::new()],
        context: Vec::new(),
        current: String::new(),
        place: 0,
        arrays: BTreeSet::new(),
        implied: BTreeSet::new(),
        depth: 0,
    };
    match document.lines() {
        Ok(()) => Ok(document.table(0)),
        Err(problem) => Err(document.told(&problem)),
    }
}

/// A key as it is written.
fn name(parts: &[String]) -> String {
    parts.iter().map(|part| key(part)).collect::<Vec<_>>().join(".")
}

fn unexpected(letter: char) -> String {
    if letter == END { "end of file".to_owned() } else { format!("'{letter}'") }
}

impl Document<'_> {
    fn told(&self, problem: &Problem) -> String {
        let Problem { line, words } = problem;
        let last = match (self.current.as_str(), self.context.as_slice()) {
            ("", context) => name(context),
            (current, []) => current.to_owned(),
            (current, context) => format!("{}.{current}", name(context)),
        };
        if last.is_empty() {
            return format!("toml: line {line}: {words}");
        }
        format!("toml: line {line} (last key {}): {words}", quote(last.as_bytes()))
    }

    /// What is wrong with the key that was read last.
    fn refused(&self, words: String) -> Problem {
        Problem::new(self.place, words)
    }

    fn lines(&mut self) -> Read<()> {
        loop {
            match self.cursor.next()? {
                END => return Ok(()),
                '#' => self.cursor.skip_comment()?,
                '[' => {
                    self.header()?;
                    self.line_end()?;
                }
                letter if is_blank(letter) || is_line_end(letter) => {}
                _ => {
                    self.cursor.back();
                    self.entry()?;
                    self.line_end()?;
                }
            }
        }
    }

    fn line_end(&mut self) -> Read<()> {
        self.cursor.skip_blanks()?;
        match self.cursor.next()? {
            '#' => self.cursor.skip_comment(),
            END => {
                self.cursor.back();
                Ok(())
            }
            letter if is_line_end(letter) => Ok(()),
            letter => Err(self.cursor.problem(format!(
                "expected a top-level item to end with a newline, comment, or EOF, but got {} instead",
                quote_letter(letter)
            ))),
        }
    }

    /// A part of a key.
    fn part(&mut self, is_first: bool) -> Read<String> {
        let part = match self.cursor.peek()? {
            mark @ ('"' | '\'') => {
                self.cursor.next()?;
                let read = if mark == '"' { scalars::basic } else { scalars::raw };
                read(&mut self.cursor)?
            }
            _ => {
                let start = self.cursor.at;
                self.cursor.skip(|letter| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-'))?;
                self.cursor.since(start).to_owned()
            }
        };
        if is_first {
            self.place = self.cursor.line;
        }
        Ok(part)
    }

    /// The name of a table behind its first bracket.
    fn header(&mut self) -> Read<()> {
        let is_array = self.cursor.accept('[')?;
        let mut key = Vec::new();
        loop {
            self.cursor.skip_blanks()?;
            match self.cursor.peek()? {
                ']' | END => {
                    let words = "unexpected end of table name (table names cannot be empty)";
                    return Err(self.cursor.problem(words));
                }
                '.' => {
                    let words = "unexpected table separator (table names cannot be empty)";
                    return Err(self.cursor.problem(words));
                }
                _ => key.push(self.part(key.is_empty())?),
            }
            self.cursor.skip_blanks()?;
            match self.cursor.next()? {
                '.' => {}
                ']' => break,
                letter => {
                    let words = "expected '.' or ']' to end table name, but got";
                    return Err(self.cursor.problem(format!("{words} {} instead", quote_letter(letter))));
                }
            }
        }
        if is_array {
            let letter = self.cursor.next()?;
            if letter != ']' {
                let words = "expected end of table array name delimiter ']', but got";
                return Err(self.cursor.problem(format!("{words} {} instead", quote_letter(letter))));
            }
        }
        self.open(&key, is_array)?;
        self.note("", false);
        Ok(())
    }

    /// The parts of a key and the `=` behind it.
    fn key(&mut self) -> Read<Vec<String>> {
        let mut key = Vec::new();
        self.cursor.skip_blanks()?;
        match self.cursor.peek()? {
            '=' | END => return Err(self.cursor.problem("unexpected '=': key name appears blank")),
            '.' => return Err(self.cursor.problem("unexpected '.': keys cannot start with a '.'")),
            _ => {}
        }
        loop {
            self.cursor.skip_blanks()?;
            match self.cursor.peek()? {
                '=' | END => return Err(self.cursor.problem("unexpected '='")),
                '.' => return Err(self.cursor.problem("unexpected '.'")),
                _ => key.push(self.part(key.is_empty())?),
            }
            self.cursor.skip_blanks()?;
            match self.cursor.next()? {
                '.' => {}
                '=' => return Ok(key),
                END => return Err(self.cursor.problem("unexpected EOF; expected key separator '='")),
                letter => {
                    let words = format!("expected '.' or '=', but got {} instead", quote_letter(letter));
                    return Err(if letter == '\n' {
                        self.cursor.problem_before(words)
                    } else {
                        self.cursor.problem(words)
                    });
                }
            }
        }
    }

    /// A key and its value; answers the parts of the key before its last one, and the value.
    fn pair(&mut self) -> Read<(Vec<String>, Item)> {
        let mut parents = self.key()?;
        self.current = parents.pop().unwrap_or_default();
        for part in &parents {
            let mut key = self.context.clone();
            key.push(part.clone());
            self.implied.insert(name(&key));
            self.open(&key, false)?;
        }
        let value = stack::grow(|| self.value(false))?;
        let current = self.current.clone();
        self.put(&current, value.clone())?;
        self.note(&current, matches!(value, Item::Array(_)));
        Ok((parents, value))
    }

    fn entry(&mut self) -> Read<()> {
        let outer = self.context.clone();
        self.pair()?;
        self.context = outer;
        self.current.clear();
        Ok(())
    }

    fn value(&mut self, in_array: bool) -> Read<Item> {
        self.cursor.skip_blanks()?;
        let cursor = &mut self.cursor;
        let letter = cursor.next()?;
        let plain = match letter {
            '[' => return self.array(),
            '{' => return self.inline(in_array),
            '"' | '\'' => Value::text(&Self::string(cursor, letter)?),
            '.' => return Err(cursor.problem("floats must start with a digit, not '.'")),
            '-' | '+' => scalars::signed(cursor)?,
            END => return Err(cursor.problem("unexpected EOF; expected value")),
            '0'..='9' => {
                cursor.back();
                scalars::number_or_date(cursor)?
            }
            _ => {
                let number = if matches!(letter, 'i' | 'n') { scalars::odd_number(cursor)? } else { None };
                match number {
                    Some(number) => number,
                    None if letter.is_alphabetic() => {
                        cursor.back();
                        scalars::truth(cursor)?
                    }
                    None => {
                        let words = format!("expected value but found {} instead", quote_letter(letter));
                        let problem =
                            if letter == '\n' { cursor.problem_before(words) } else { cursor.problem(words) };
                        return Err(problem);
                    }
                }
            }
        };
        Ok(Item::Plain(plain))
    }

    fn string(cursor: &mut Cursor<'_>, mark: char) -> Read<String> {
        if cursor.accept(mark)? {
            if cursor.accept(mark)? {
                return scalars::lines(cursor, mark);
            }
            cursor.back();
        }
        if mark == '"' { scalars::basic(cursor) } else { scalars::raw(cursor) }
    }

    /// One level deeper.
    fn deeper(&mut self) -> Read<()> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(self.cursor.problem(format!("tables and arrays nest deeper than {DEPTH_MAX}")));
        }
        Ok(())
    }

    fn array(&mut self) -> Read<Item> {
        self.deeper()?;
        let current = self.current.clone();
        self.note(&current, true);
        let mut items = Vec::new();
        let mut wants_comma = false;
        loop {
            match self.cursor.next()? {
                letter if is_blank(letter) || is_line_end(letter) => {}
                '#' => self.cursor.skip_comment()?,
                ']' => break,
                ',' if wants_comma => wants_comma = false,
                ',' => return Err(self.cursor.problem("unexpected comma")),
                letter if wants_comma => {
                    let words = "expected a comma (',') or array terminator (']'), but got";
                    return Err(self.cursor.problem(format!("{words} {}", unexpected(letter))));
                }
                _ => {
                    self.cursor.back();
                    items.push(stack::grow(|| self.value(true))?);
                    wants_comma = true;
                }
            }
        }
        self.depth -= 1;
        Ok(Item::Array(Rc::new(items)))
    }

    /// A table in braces. It is kept twice, as in Helm's library: in the document, which decides what later lines may
    /// add, and by itself, which is what an array holds.
    fn inline(&mut self, in_array: bool) -> Read<Item> {
        self.deeper()?;
        let (outer, outer_key) = (self.context.clone(), std::mem::take(&mut self.current));
        let mut context = outer.clone();
        context.push(outer_key.clone());
        self.context.clone_from(&context);
        self.implied.insert(name(&context));
        self.open(&context, in_array)?;
        let table = self.made();
        let mut wants_comma = false;
        loop {
            match self.cursor.next()? {
                letter if is_blank(letter) || is_line_end(letter) => {}
                '#' => self.cursor.skip_comment()?,
                '}' => break,
                ',' if wants_comma => {
                    self.cursor.skip_blanks()?;
                    // Behind a comma that is the last one another one may stand.
                    wants_comma = self.cursor.peek()? == '}';
                }
                ',' => return Err(self.cursor.problem("unexpected comma")),
                letter if wants_comma => {
                    let words = "expected a comma or an inline table terminator '}', but got";
                    return Err(self.cursor.problem(format!("{words} {} instead", unexpected(letter))));
                }
                _ => {
                    self.cursor.back();
                    let (parents, value) = self.pair()?;
                    let inner = self.within(table, &parents)?;
                    self.tables[inner].insert(self.current.clone(), value);
                    self.context.clone_from(&context);
                    wants_comma = true;
                }
            }
        }
        (self.context, self.current) = (outer, outer_key);
        self.depth -= 1;
        Ok(Item::Table(table))
    }

    /// The table at a key below another one, made where there is none.
    fn within(&mut self, table: usize, parents: &[String]) -> Read<usize> {
        let mut inner = table;
        for part in parents {
            inner = match self.tables[inner].get(part) {
                Some(Item::Table(found)) => *found,
                None => {
                    let made = self.made();
                    self.tables[inner].insert(part.clone(), Item::Table(made));
                    made
                }
                Some(Item::Plain(_) | Item::Array(_) | Item::Tables(_)) => {
                    let table = quote(name(&self.context).as_bytes());
                    return Err(self.refused(format!("{table} is not a table")));
                }
            };
        }
        Ok(inner)
    }

    /// A new table.
    fn made(&mut self) -> usize {
        self.tables.push(BTreeMap::new());
        self.tables.len() - 1
    }

    /// Makes a table the one that is being read, and those above it where there are none.
    fn open(&mut self, key: &[String], is_array: bool) -> Read<()> {
        if key.len() > DEPTH_MAX {
            return Err(self.refused(format!("a key has more than {DEPTH_MAX} parts")));
        }
        let Some((last, parents)) = key.split_last() else { return Ok(()) };
        let (mut table, mut path) = (0, Vec::with_capacity(key.len()));
        for part in parents {
            path.push(part.clone());
            table = match self.tables[table].get(part) {
                Some(Item::Tables(found)) => found.last().copied().unwrap_or(table),
                Some(Item::Table(found)) => *found,
                None => {
                    self.implied.insert(name(&path));
                    let made = self.made();
                    self.tables[table].insert(part.clone(), Item::Table(made));
                    made
                }
                Some(Item::Plain(_) | Item::Array(_)) => {
                    return Err(self.refused(format!("Key '{}' was already created as a hash.", name(&path))));
                }
            };
        }
        self.context = path;
        let made = self.made();
        if is_array {
            match self.tables[table].entry(last.clone()).or_insert_with(|| Item::Tables(Vec::new())) {
                Item::Tables(tables) => tables.push(made),
                Item::Plain(_) | Item::Array(_) | Item::Table(_) => {
                    let words = "was already created and cannot be used as an array.";
                    return Err(self.refused(format!("Key '{}' {words}", name(key))));
                }
            }
        } else {
            self.put(last, Item::Table(made))?;
        }
        self.context.push(last.clone());
        Ok(())
    }

    /// Puts a value at a key of the table that is being read.
    fn put(&mut self, key: &str, value: Item) -> Read<()> {
        let (mut table, mut path) = (0, Vec::with_capacity(self.context.len() + 1));
        for part in &self.context {
            path.push(part.clone());
            table = match self.tables[table].get(part) {
                Some(Item::Tables(found)) => found.last().copied().unwrap_or(table),
                Some(Item::Table(found)) => *found,
                Some(Item::Plain(_) | Item::Array(_)) | None => {
                    return Err(self.refused(format!("Key '{}' has already been defined.", name(&path))));
                }
            };
        }
        path.push(key.to_owned());
        let name = name(&path);
        if self.tables[table].contains_key(key) {
            // What was only implied may be said once; of a table, what it holds stays.
            if !self.implied.remove(&name) {
                return Err(self.refused(format!("Key '{name}' has already been defined.")));
            }
            if !self.arrays.contains(&name) {
                return Ok(());
            }
        }
        self.tables[table].insert(key.to_owned(), value);
        Ok(())
    }

    /// Remembers whether an array was written at a key of the table that is being read; without a key, at the table.
    fn note(&mut self, key: &str, is_array: bool) {
        let mut path = self.context.clone();
        if !key.is_empty() || path.is_empty() {
            path.push(key.to_owned());
        }
        let name = name(&path);
        if is_array {
            self.arrays.insert(name);
        } else {
            self.arrays.remove(&name);
        }
    }

    fn table(&self, at: usize) -> Value {
        let entries = self.tables[at].iter();
        let dict: Dict = entries.map(|(key, item)| (Rc::from(key.as_str()), self.finished(item))).collect();
        Value::Dict(dict)
    }

    fn finished(&self, item: &Item) -> Value {
        stack::grow(|| match item {
            Item::Plain(value) => value.clone(),
            Item::Array(items) => Value::list(items.iter().map(|item| self.finished(item)).collect()),
            Item::Table(at) => self.table(*at),
            Item::Tables(tables) => {
                let tables = tables.iter().map(|at| self.table(*at)).collect();
                Value::List(List::new(tables, ListKind::Dicts))
            }
        })
    }
}
