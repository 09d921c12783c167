//! `snakecase` and `kebabcase`, as xstrings makes them.

use std::sync::OnceLock;

use regex::Regex;

use super::words::is_connector;
use crate::template::value::lossy;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum WordKind {
    Number,
    /// Begins with a capital: `First`, `HTTP`.
    Upper,
    /// Begins small.
    Lower,
    Connector,
    Punctuation,
    Other,
}

fn kind_of(letter: char) -> WordKind {
    match letter {
        _ if is_connector(letter) => WordKind::Connector,
        _ if letter.is_numeric() => WordKind::Number,
        _ if letter.is_uppercase() => WordKind::Upper,
        _ if letter.is_alphabetic() => WordKind::Lower,
        _ if is_punctuation(letter) => WordKind::Punctuation,
        _ => WordKind::Other,
    }
}

/// Go's `unicode.IsPunct`.
fn is_punctuation(letter: char) -> bool {
    static BEYOND_ASCII: OnceLock<Option<Regex>> = OnceLock::new();
    if letter.is_ascii() {
        return letter.is_ascii_punctuation() && !"$+<=>^`|~".contains(letter);
    }
    let known = BEYOND_ASCII.get_or_init(|| Regex::new(r"^\p{P}$").ok());
    known.as_ref().is_some_and(|known| known.is_match(letter.encode_utf8(&mut [0; 4])))
}

/// A letter with the bytes that it stands for: those that are no letters belong to the next one, or at the end to the
/// last one.
#[derive(Clone, Debug)]
struct Letter {
    letter: char,
    bytes: Vec<u8>,
}

fn letters(text: &[u8]) -> Vec<Letter> {
    let mut out: Vec<Letter> = Vec::new();
    let mut broken: Vec<u8> = Vec::new();
    let encoded = |letter: char| letter.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
    for chunk in text.utf8_chunks() {
        for letter in chunk.valid().chars() {
            broken.extend(encoded(letter));
            if letter != char::REPLACEMENT_CHARACTER {
                out.push(Letter { letter, bytes: std::mem::take(&mut broken) });
            }
        }
        broken.extend(chunk.invalid());
    }
    match out.last_mut() {
        Some(last) => last.bytes.extend(broken),
        None if broken.is_empty() => {}
        None => out.push(Letter { letter: char::REPLACEMENT_CHARACTER, bytes: broken }),
    }
    out
}

type Word = (WordKind, Vec<u8>);

/// Cuts a text into words: `HTTPServer2` is `HTTP`, `Server`, `2`.
fn cut(text: &[u8]) -> Vec<Word> {
    let letters = letters(text);
    let mut out = Vec::new();
    let mut at = 0;
    while let Some(first) = letters.get(at) {
        let kind = kind_of(first.letter);
        let run = |from: usize, kinds: WordKind| {
            letters[from..].iter().take_while(|one| kind_of(one.letter) == kinds).count()
        };
        let length = match kind {
            WordKind::Upper => match run(at, WordKind::Upper) {
                1 => 1 + run(at + 1, WordKind::Lower),
                // The last capital of a run begins the next word: `HTTPStatus` is `HTTP` and `Status`.
                capitals if run(at + capitals, WordKind::Lower) > 0 => capitals - 1,
                capitals => capitals,
            },
            // Connectors among them belong to them, as punctuation that they are.
            WordKind::Punctuation => {
                letters[at..].iter().take_while(|one| is_punctuation(one.letter)).count()
            }
            same => run(at, same),
        };
        let bytes = letters[at..at + length].iter().flat_map(|one| one.bytes.iter().copied());
        out.push((kind, bytes.collect()));
        at += length;
    }
    out
}

/// `snake_case` or `kebab-case`. A number belongs to the word before it (`bld4_floor`) unless small letters follow
/// (`http_2xx`).
pub(crate) fn delimited(text: &[u8], connector: char) -> Vec<u8> {
    let words = cut(text);
    let kind = |at: usize| words.get(at).map(|(kind, _)| *kind);
    let separates = |at: usize| !matches!(kind(at), None | Some(WordKind::Connector | WordKind::Punctuation));
    let mut out = Vec::new();
    let mark = connector.encode_utf8(&mut [0; 4]).as_bytes().to_vec();
    let mut at = 0;
    while let Some((word_kind, word)) = words.get(at) {
        at += 1;
        match word_kind {
            WordKind::Connector => out.extend(lowered(word, connector)),
            WordKind::Punctuation => out.extend(word),
            WordKind::Number => {
                out.extend(word);
                at = with_number(&words, at, &mut out);
                if separates(at) {
                    out.extend(&mark);
                }
            }
            WordKind::Upper | WordKind::Lower | WordKind::Other => {
                let is_upper = *word_kind == WordKind::Upper;
                out.extend(if is_upper { lowered(word, connector) } else { word.clone() });
                if kind(at) != Some(WordKind::Number) {
                    if separates(at) {
                        out.extend(&mark);
                    }
                    continue;
                }
                let followed = kind(at + 1) == Some(WordKind::Lower);
                if followed {
                    out.extend(&mark);
                }
                out.extend(&words[at].1);
                at += 1;
                if followed {
                    at = with_number(&words, at, &mut out);
                }
                if separates(at) {
                    out.extend(&mark);
                }
            }
        }
    }
    out
}

/// Small letters and numbers that follow a number stay with it.
fn with_number(words: &[Word], mut at: usize, out: &mut Vec<u8>) -> usize {
    while let Some((WordKind::Lower | WordKind::Number, word)) = words.get(at) {
        out.extend(word);
        at += 1;
    }
    at
}

/// Capitals become small, connectors the one that is asked for, and bytes that are no letters U+FFFD each.
fn lowered(word: &[u8], connector: char) -> Vec<u8> {
    let changed = |letter: char| match letter {
        _ if is_connector(letter) => connector,
        _ if letter.is_uppercase() => letter.to_lowercase().next().unwrap_or(letter),
        _ => letter,
    };
    lossy(word).chars().map(changed).collect::<String>().into_bytes()
}
