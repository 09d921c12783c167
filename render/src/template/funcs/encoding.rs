//! Base64, base32, and JSON as sprig and Helm offer them.

use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};

use super::{Answer, Row, exact, json_errors};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::json::{Layout, encode, from_json};
use crate::template::value::{Text, Value};

pub(super) static TABLE: &[Row] = &[
    exact("b64enc", 1, |_, args| Ok(Value::text(&base64_encode(args.string(0)?.bytes())))),
    exact("b64dec", 1, |_, args| {
        Ok(match base64_decode(args.string(0)?.bytes()) {
            Ok(bytes) => Value::Str(Text::from(bytes)),
            Err(problem) => Value::text(&problem),
        })
    }),
    exact("b32enc", 1, |_, args| Ok(Value::text(&base32_encode(args.string(0)?.bytes())))),
    exact("b32dec", 1, |_, args| {
        Ok(match base32_decode(args.string(0)?.bytes()) {
            Ok(bytes) => Value::Str(Text::from(bytes)),
            Err(at) => Value::text(&format!("illegal base32 data at input byte {at}")),
        })
    }),
    exact("toJson", 1, |_, args| Ok(swallowed(args, Layout { html: true, pretty: false }))),
    exact("mustToJson", 1, |_, args| strict(args, Layout { html: true, pretty: false })),
    exact("toPrettyJson", 1, |_, args| Ok(swallowed(args, Layout { html: true, pretty: true }))),
    exact("mustToPrettyJson", 1, |_, args| strict(args, Layout { html: true, pretty: true })),
    exact("toRawJson", 1, |_, args| strict(args, Layout { html: false, pretty: false })),
    exact("mustToRawJson", 1, |_, args| strict(args, Layout { html: false, pretty: false })),
    exact("mustFromJson", 1, must_from_json),
];

/// Standard base64 with padding.
pub(crate) fn base64_encode(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Standard base64; line breaks are ignored, as Go does. The error is Go's text, with the byte Go names.
pub(crate) fn base64_decode(text: &[u8]) -> Result<Vec<u8>, String> {
    let clean: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    match first_bad_byte(text) {
        Some(at) => Err(format!("illegal base64 data at input byte {at}")),
        None => LENIENT.decode(&clean).map_err(|problem| problem.to_string()),
    }
}

/// Padded base64 whose last letter may carry unused bits, as Go's default encoding allows.
const LENIENT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Where Go stops reading, if it does.
fn first_bad_byte(text: &[u8]) -> Option<usize> {
    let solid =
        |from: usize| (from..text.len()).find(|at| !matches!(text[*at], b'\r' | b'\n')).unwrap_or(text.len());
    let mut in_group = 0;
    let mut at = 0;
    while at < text.len() {
        match text[at] {
            b'\r' | b'\n' => {}
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'+' | b'/' => in_group = (in_group + 1) % 4,
            b'=' if in_group >= 2 => {
                let mut next = solid(at + 1);
                if in_group == 2 {
                    if next == text.len() {
                        return Some(text.len());
                    }
                    if text[next] != b'=' {
                        return Some(next - 1);
                    }
                    next = solid(next + 1);
                }
                return (next < text.len()).then_some(next);
            }
            _ => return Some(at),
        }
        at += 1;
    }
    (in_group > 0).then(|| text.len() - in_group)
}

const BASE32: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

fn base32_encode(bytes: &[u8]) -> String {
    let mut out = String::new();
    for chunk in bytes.chunks(5) {
        let mut word = [0_u8; 8];
        word[3..3 + chunk.len()].copy_from_slice(chunk);
        let word = u64::from_be_bytes(word);
        let digits = (chunk.len() * 8).div_ceil(5);
        for at in 0..8 {
            let index = usize::try_from((word >> (35 - at * 5)) & 31).unwrap_or(0);
            out.push(if at < digits { char::from(BASE32[index]) } else { '=' });
        }
    }
    out
}

fn base32_decode(text: &[u8]) -> Result<Vec<u8>, usize> {
    let clean: Vec<u8> = text.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
    let mut out = Vec::new();
    let known = |byte: &u8| BASE32.contains(byte) || *byte == b'=';
    if let Some(at) = clean.iter().position(|byte| !known(byte)) {
        return Err(at);
    }
    if !clean.len().is_multiple_of(8) {
        return Err(clean.len() / 8 * 8);
    }
    for (group, chunk) in clean.chunks(8).enumerate() {
        let mut word = 0_u64;
        let used = chunk.iter().position(|byte| *byte == b'=').unwrap_or(8);
        for (at, byte) in chunk.iter().enumerate() {
            let digit = if at < used { BASE32.iter().position(|known| known == byte) } else { Some(0) };
            word = (word << 5) | digit.ok_or(group * 8 + at)? as u64;
        }
        out.extend_from_slice(&word.to_be_bytes()[3..3 + used * 5 / 8]);
    }
    Ok(out)
}

/// Helm's form: what cannot be encoded is the empty text.
fn swallowed(args: Args<'_>, layout: Layout) -> Value {
    Value::Str(Text::from(encode(&args.any(0), layout).unwrap_or_default()))
}

fn strict(args: Args<'_>, layout: Layout) -> Answer {
    encode(&args.any(0), layout).map(|text| Value::Str(Text::from(text))).map_err(Fault::Message)
}

fn must_from_json(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let (value, problem) = parse(&args.string(0)?).map_err(Fault::Message)?;
    problem.map_or(Ok(value), |problem| Err(Fault::Message(problem)))
}

/// JSON text as a value, or `encoding/json`'s complaint. A number that no float holds is a complaint beside the rest of
/// the value, in which it is null.
pub(crate) fn parse(text: &Text) -> Result<(Value, Option<String>), String> {
    if let Some(complaint) = json_errors::complaint(text.bytes()) {
        return Err(complaint);
    }
    let text = text.lossy();
    let text = whole_letters(&text);
    let read = |text: &str| serde_json::from_str::<serde_json::Value>(text);
    let (parsed, problem) = match read(&text) {
        Ok(value) => (value, None),
        Err(problem) => match without_large_numbers(&text) {
            Some((text, number)) => {
                let problem = format!("json: cannot unmarshal number {number} into Go value of type float64");
                (read(&text).map_err(|problem| problem.to_string())?, Some(problem))
            }
            None => return Err(problem.to_string()),
        },
    };
    Ok((from_json(&parsed).settled(), problem))
}

/// The text with a null for each number that no float holds, and the first of them.
fn without_large_numbers(text: &str) -> Option<(String, String)> {
    let (mut out, mut first) = (String::with_capacity(text.len()), None);
    let mut rest = text;
    while let Some(letter) = rest.chars().next() {
        let length = match letter {
            '"' => text_length(rest),
            '-' | '0'..='9' => rest
                .find(|letter: char| !(letter.is_ascii_digit() || "+-.eE".contains(letter)))
                .unwrap_or(rest.len()),
            _ => letter.len_utf8(),
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        let large = letter != '"' && token.parse::<f64>().is_ok_and(f64::is_infinite);
        if large {
            first.get_or_insert_with(|| token.to_owned());
        }
        out.push_str(if large { "null" } else { token });
    }
    first.map(|first| (out, first))
}

/// Bytes of the quoted text at the start.
fn text_length(text: &str) -> usize {
    let mut escaped = false;
    let end = text.bytes().skip(1).position(|byte| {
        let ends = byte == b'"' && !escaped;
        escaped = byte == b'\\' && !escaped;
        ends
    });
    end.map_or(text.len(), |end| end + 2)
}

/// Go reads half of a surrogate pair as U+FFFD, where other readers refuse it.
fn whole_letters(text: &str) -> std::borrow::Cow<'_, str> {
    if !text.contains("\\ud") && !text.contains("\\uD") {
        return text.into();
    }
    let code = |rest: &str| {
        let digits = rest.strip_prefix("\\u")?.get(..4)?;
        u32::from_str_radix(digits, 16).ok()
    };
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let taken = match (code(rest), rest.get(6..).and_then(code)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => 12,
            (Some(0xD800..=0xDFFF), _) => {
                out.push_str("\\ufffd");
                rest = &rest[6..];
                continue;
            }
            // The escaped letter goes with its backslash.
            _ => 1 + rest[1..].chars().next().map_or(0, char::len_utf8),
        };
        out.push_str(&rest[..taken]);
        rest = &rest[taken..];
    }
    out.push_str(rest);
    out.into()
}
