//! Go's `fmt` of one value: a verb with flags, width and precision, the complaints about verbs that do not fit, and
//! Go's own syntax (`%#v`).

use std::rc::Rc;

use super::floats::{binary, exponent_form, general_form, hexadecimal, shortest, with_point};
use super::object::Object;
use super::print::bytes_of;
use super::quote::{quote, quote_letter};
use super::value::{Dict, DictKind, List, ListKind, Value};

/// How deep a value is printed; only a map that contains itself goes this deep.
const DEPTH: usize = 200;

/// Bytes after which printing a value stops; the render's own bound is charged with what was written.
const BYTES: usize = 64 * 1024 * 1024;

/// Where things lie in memory, as far as a template can see.
const ADDRESS: i64 = 0xc0_0000_0000;

/// Flags, width and precision.
#[derive(Clone, Debug, Default)]
pub(super) struct Spec {
    pub minus: bool,
    pub plus: bool,
    pub sharp: bool,
    pub space: bool,
    pub zero: bool,
    pub width: Option<usize>,
    pub precision: Option<usize>,
    /// `%#v`: in Go's syntax.
    pub syntax: bool,
    /// `%+v`: with the names of fields.
    pub names: bool,
    /// Inside a complaint no method is asked for a text.
    complains: bool,
}

/// Appends what the verb makes of an argument.
pub(super) fn format(out: &mut Vec<u8>, value: &Value, verb: char, spec: &Spec) {
    match (value, verb) {
        (Value::Nil | Value::Null, 'T' | 'v') => pad(out, b"<nil>", spec),
        (_, 'T') => string(out, value, value.type_name().as_bytes(), 's', spec),
        (Value::Nil | Value::Null, _) => out.extend(format!("%!{verb}(<nil>)").into_bytes()),
        _ => any(out, value, verb, spec, DEPTH),
    }
}

/// A value, perhaps inside another.
fn any(out: &mut Vec<u8>, value: &Value, verb: char, spec: &Spec, depth: usize) {
    if depth == 0 || out.len() > BYTES {
        out.extend_from_slice(b"...");
        return;
    }
    match value {
        // Inside a list or map; no flag says anything about it.
        Value::Nil | Value::Null if spec.syntax => out.extend_from_slice(b"interface {}(nil)"),
        Value::Nil | Value::Null => out.extend_from_slice(b"<nil>"),
        Value::Bool(flag) => match verb {
            't' | 'v' => pad(out, if *flag { b"true" } else { b"false" }, spec),
            _ => complaint(out, value, verb, spec),
        },
        Value::Int(number) | Value::Int64(number) => integer(out, value, *number, verb, spec),
        Value::Float(number) => float(out, value, *number, verb, spec),
        Value::Str(text) => string(out, value, text.bytes(), verb, spec),
        Value::List(list) => items(out, list, verb, spec, depth),
        Value::Dict(dict) => entries(out, dict, verb, spec, depth),
        Value::Object(object) => structure(out, object, verb, spec, depth),
    }
}

fn items(out: &mut Vec<u8>, list: &List, verb: char, spec: &Spec, depth: usize) {
    let value = Value::List(list.clone());
    if list.kind() == ListKind::Bytes && matches!(verb, 's' | 'x' | 'X' | 'q' | 'v' | 'd') {
        return bytes(out, &bytes_of(&value), verb, spec);
    }
    if spec.syntax && matches!(list.kind(), ListKind::NoStrings | ListKind::Nothing) {
        return out.extend(format!("{}(nil)", value.type_name()).into_bytes());
    }
    sequence(out, value.type_name(), list.items(), verb, spec, depth);
}

fn sequence(out: &mut Vec<u8>, name: &str, items: &[Value], verb: char, spec: &Spec, depth: usize) {
    let (open, between, close) =
        if spec.syntax { (format!("{name}{{"), &b", "[..], b'}') } else { ("[".to_owned(), &b" "[..], b']') };
    out.extend(open.into_bytes());
    for (at, item) in items.iter().enumerate() {
        if out.len() > BYTES {
            break;
        }
        if at > 0 {
            out.extend_from_slice(between);
        }
        any(out, item, verb, spec, depth - 1);
    }
    out.push(close);
}

/// A `[]byte`: numbers, or the text that the bytes are.
fn bytes(out: &mut Vec<u8>, bytes: &[u8], verb: char, spec: &Spec) {
    if !matches!(verb, 'v' | 'd') {
        let text = Value::text("");
        return string(out, &text, bytes, verb, spec);
    }
    let (open, between, close) = if spec.syntax { ("[]byte{", ", ", "}") } else { ("[", " ", "]") };
    let mut texts = Vec::with_capacity(bytes.len());
    for byte in bytes {
        let mut text = Vec::new();
        if spec.syntax {
            pad(&mut text, format!("{byte:#x}").as_bytes(), spec);
        } else {
            integer(&mut text, &Value::Nil, i64::from(*byte), verb, spec);
        }
        texts.push(text);
    }
    out.extend_from_slice(open.as_bytes());
    out.extend(texts.join(between.as_bytes()));
    out.extend_from_slice(close.as_bytes());
}

fn entries(out: &mut Vec<u8>, dict: &Dict, verb: char, spec: &Spec, depth: usize) {
    let name = Value::Dict(dict.clone()).type_name();
    if spec.syntax && matches!(dict.kind(), DictKind::Nothing | DictKind::NoStrings) {
        return out.extend(format!("{name}(nil)").into_bytes());
    }
    let (open, between, close) = if spec.syntax {
        (format!("{name}{{"), &b", "[..], b'}')
    } else {
        ("map[".to_owned(), &b" "[..], b']')
    };
    out.extend(open.into_bytes());
    for (at, (key, item)) in dict.entries().iter().enumerate() {
        if out.len() > BYTES {
            break;
        }
        if at > 0 {
            out.extend_from_slice(between);
        }
        any(out, &Value::text(key), verb, spec, depth);
        out.push(b':');
        match item {
            // Go has bytes there.
            Value::Str(text) if dict.kind() == DictKind::Files => {
                let list = text.bytes().iter().map(|byte| Value::Int((*byte).into())).collect();
                items(out, &List::new(list, ListKind::Bytes), verb, spec, depth);
            }
            item => any(out, item, verb, spec, depth - 1),
        }
    }
    out.push(close);
}

/// A struct, a pointer to one, or a named type: by its own text where the verb asks for one, else by what it is made of.
fn structure(out: &mut Vec<u8>, object: &Rc<dyn Object>, verb: char, spec: &Spec, depth: usize) {
    if spec.syntax
        && !spec.complains
        && let Some(text) = object.syntax()
    {
        return out.extend(text.into_bytes());
    }
    if !spec.syntax
        && !spec.complains
        && matches!(verb, 'v' | 's' | 'x' | 'X' | 'q')
        && let Some(text) = object.text()
    {
        return string(out, &Value::text(&text), text.as_bytes(), verb, spec);
    }
    if let Some(number) = object.number() {
        let value = Value::Int(number);
        return match verb {
            'v' | 'd' | 'b' | 'o' | 'O' | 'x' | 'X' | 'c' | 'q' | 'U' => {
                integer(out, &value, number, verb, spec);
            }
            _ => bad_verb(out, object.type_name(), &value, verb, spec),
        };
    }
    if let Some((real, imaginary)) = object.complex() {
        return complex(out, (real, imaginary), verb, spec);
    }
    if let Some(items) = object.items() {
        return sequence(out, object.type_name(), &items, verb, spec, depth);
    }
    let pointer = object.kind_name() == "ptr";
    if pointer && depth < DEPTH {
        // An address, which is another one in every run; that of nothing is zero.
        let nothing = object.fields().is_empty();
        let address = if nothing { 0 } else { ADDRESS };
        return match verb {
            'b' | 'd' | 'o' | 'x' | 'X' => integer(out, &Value::Nil, address, verb, spec),
            'v' if nothing && spec.syntax => {
                out.extend(format!("({})(nil)", object.type_name()).into_bytes())
            }
            'v' if nothing => pad(out, b"<nil>", spec),
            'v' | 'p' => out.extend(format!("{ADDRESS:#x}").into_bytes()),
            _ => bad_verb(out, object.type_name(), &Value::Object(Rc::clone(object)), verb, spec),
        };
    }
    if pointer {
        out.push(b'&');
    }
    if spec.syntax {
        out.extend_from_slice(object.type_name().trim_start_matches('*').as_bytes());
    }
    out.push(b'{');
    for (at, (name, field)) in object.fields().iter().enumerate() {
        if at > 0 {
            out.extend_from_slice(if spec.syntax { b", " } else { b" " });
        }
        if spec.syntax || spec.names {
            out.extend(format!("{name}:").into_bytes());
        }
        any(out, field, verb, spec, depth - 1);
    }
    out.push(b'}');
}

/// `%!d(string=x)`: the verb does not fit, the value prints with the same flags.
fn complaint(out: &mut Vec<u8>, value: &Value, verb: char, spec: &Spec) {
    bad_verb(out, value.type_name(), value, verb, spec);
}

fn bad_verb(out: &mut Vec<u8>, name: &str, value: &Value, verb: char, spec: &Spec) {
    out.extend(format!("%!{verb}({name}=").into_bytes());
    let spec = Spec { complains: true, ..spec.clone() };
    any(out, value, 'v', &spec, DEPTH);
    out.push(b')');
}

/// Appends a text, padded to the width, which counts characters.
fn pad(out: &mut Vec<u8>, text: &[u8], spec: &Spec) {
    padded(out, text, spec, false);
}

/// As [`pad`]; zeros stand behind the sign of a number.
fn padded(out: &mut Vec<u8>, text: &[u8], spec: &Spec, number: bool) {
    let missing = spec.width.map_or(0, |width| {
        let count: usize =
            text.utf8_chunks().map(|chunk| chunk.valid().chars().count() + chunk.invalid().len()).sum();
        width.saturating_sub(count)
    });
    if missing == 0 {
        out.extend_from_slice(text);
    } else if spec.minus {
        out.extend_from_slice(text);
        out.extend(std::iter::repeat_n(b' ', missing));
    } else if spec.zero {
        let signed = number && text.first().is_some_and(|sign| matches!(sign, b'+' | b'-' | b' '));
        let (sign, digits) = text.split_at(usize::from(signed));
        out.extend_from_slice(sign);
        out.extend(std::iter::repeat_n(b'0', missing));
        out.extend_from_slice(digits);
    } else {
        out.extend(std::iter::repeat_n(b' ', missing));
        out.extend_from_slice(text);
    }
}

fn integer(out: &mut Vec<u8>, value: &Value, number: i64, verb: char, spec: &Spec) {
    let magnitude = number.unsigned_abs();
    let (prefix, digits) = match verb {
        'v' | 'd' => ("", magnitude.to_string()),
        'b' => (if spec.sharp { "0b" } else { "" }, format!("{magnitude:b}")),
        'o' => ("", format!("{magnitude:o}")),
        'O' => ("0o", format!("{magnitude:o}")),
        'x' => (if spec.sharp { "0x" } else { "" }, format!("{magnitude:x}")),
        'X' => (if spec.sharp { "0X" } else { "" }, format!("{magnitude:X}")),
        'c' | 'q' | 'U' => {
            let letter = u32::try_from(number).ok().and_then(char::from_u32).unwrap_or('\u{FFFD}');
            let text = match verb {
                'c' => letter.to_string(),
                'q' if spec.plus => plain_letters(&quote_letter(letter)),
                'q' => quote_letter(letter),
                _ => unicode(number.cast_unsigned(), spec),
            };
            return pad(out, text.as_bytes(), &Spec { zero: spec.zero && verb != 'U', ..spec.clone() });
        }
        _ => return complaint(out, value, verb, spec),
    };
    if number == 0 && spec.precision == Some(0) {
        // Nothing but padding.
        return pad(out, b"", &Spec { zero: false, ..spec.clone() });
    }
    let least = match (spec.precision, spec.width) {
        (Some(precision), _) => precision,
        // Zeros are digits here: a prefix comes on top of the width, a sign does not.
        (None, Some(width)) if spec.zero && !spec.minus => {
            width.saturating_sub(usize::from(number < 0 || spec.plus || spec.space))
        }
        (None, _) => 0,
    };
    let zeros = "0".repeat(least.saturating_sub(digits.len()));
    let leads = zeros.starts_with('0') || digits.starts_with('0');
    let prefix = match verb {
        'o' if spec.sharp && !leads => "0",
        'O' if spec.sharp && !leads => "0o0",
        _ => prefix,
    };
    let sign = sign_of(number < 0, spec);
    let spec = Spec { zero: false, ..spec.clone() };
    padded(out, format!("{sign}{prefix}{zeros}{digits}").as_bytes(), &spec, true);
}

/// `%U`: at least four digits, and with the sharp flag the letter itself.
fn unicode(code: u64, spec: &Spec) -> String {
    let digits = spec.precision.unwrap_or(0).max(4);
    let letter = u32::try_from(code).ok().and_then(char::from_u32);
    match letter.filter(|letter| spec.sharp && quote_letter(*letter) == format!("'{letter}'")) {
        Some(letter) => format!("U+{code:0digits$X} '{letter}'"),
        None => format!("U+{code:0digits$X}"),
    }
}

fn sign_of(negative: bool, spec: &Spec) -> &'static str {
    match (negative, spec.plus, spec.space) {
        (true, ..) => "-",
        (false, true, _) => "+",
        (false, false, true) => " ",
        (false, false, false) => "",
    }
}

fn float(out: &mut Vec<u8>, value: &Value, number: f64, verb: char, spec: &Spec) {
    let magnitude = number.abs();
    let digits = match (verb, spec.precision) {
        ('f' | 'F', precision) => format!("{magnitude:.*}", precision.unwrap_or(6)),
        ('e' | 'E', precision) => exponent_form(magnitude, precision.unwrap_or(6)),
        ('g' | 'G' | 'v', None) => shortest(magnitude, 'g'),
        ('g' | 'G' | 'v', Some(precision)) => general_form(magnitude, precision.max(1)),
        ('x' | 'X' | 'b', _) if !number.is_finite() => String::new(),
        ('x' | 'X', precision) => hexadecimal(magnitude, precision),
        ('b', _) => binary(magnitude),
        _ => return complaint(out, value, verb, spec),
    };
    if !number.is_finite() {
        let text = shortest(number, 'g');
        let text = if spec.plus { text } else { text.trim_start_matches('+').to_owned() };
        let text = if number.is_infinite() && number > 0.0 { "+Inf".to_owned() } else { text };
        return pad(out, text.as_bytes(), &Spec { zero: false, ..spec.clone() });
    }
    let digits = if spec.sharp && verb != 'b' { with_point(&digits, verb, spec.precision) } else { digits };
    let digits = if matches!(verb, 'E' | 'G' | 'X') { digits.to_uppercase() } else { digits };
    let sign = sign_of(number.is_sign_negative(), spec);
    padded(out, format!("{sign}{digits}").as_bytes(), spec, true);
}

/// `(1+2i)`: both parts by the verb, the second one with its sign.
fn complex(out: &mut Vec<u8>, (real, imaginary): (f64, f64), verb: char, spec: &Spec) {
    if !matches!(verb, 'v' | 'b' | 'g' | 'G' | 'x' | 'X' | 'f' | 'F' | 'e' | 'E') {
        out.extend(format!("%!{verb}(complex128=").into_bytes());
        complex(out, (real, imaginary), 'v', spec);
        return out.push(b')');
    }
    let parts = Value::Nil;
    out.push(b'(');
    float(out, &parts, real, verb, spec);
    float(out, &parts, imaginary, verb, &Spec { plus: true, ..spec.clone() });
    out.extend_from_slice(b"i)");
}

fn string(out: &mut Vec<u8>, value: &Value, bytes: &[u8], verb: char, spec: &Spec) {
    let cut = match spec.precision {
        Some(precision) if matches!(verb, 's' | 'v' | 'q') => first_letters(bytes, precision),
        _ => bytes,
    };
    match verb {
        'v' if spec.syntax => pad(out, quote(cut).as_bytes(), spec),
        's' | 'v' => pad(out, cut, spec),
        'q' if spec.sharp && can_stand_in_backquotes(cut) => pad(out, &[b"`", cut, b"`"].concat(), spec),
        'q' if spec.plus => pad(out, plain_letters(&quote(cut)).as_bytes(), spec),
        'q' => pad(out, quote(cut).as_bytes(), spec),
        'x' | 'X' => {
            let bytes = &bytes[..bytes.len().min(spec.precision.unwrap_or(usize::MAX))];
            let prefix = match (spec.sharp && !bytes.is_empty(), verb) {
                (false, _) => "",
                (true, 'x') => "0x",
                (true, _) => "0X",
            };
            let separator = if spec.space { format!(" {prefix}") } else { String::new() };
            let digits: Vec<String> = bytes
                .iter()
                .map(|byte| if verb == 'x' { format!("{byte:02x}") } else { format!("{byte:02X}") })
                .collect();
            pad(out, format!("{prefix}{}", digits.join(&separator)).as_bytes(), spec);
        }
        _ => complaint(out, value, verb, spec),
    }
}

/// The bytes of the first letters; a byte that is part of none counts as one.
fn first_letters(bytes: &[u8], count: usize) -> &[u8] {
    let mut left = count;
    let mut end = 0;
    for chunk in bytes.utf8_chunks() {
        let valid: usize = chunk.valid().chars().take(left).map(char::len_utf8).sum();
        end += valid;
        left -= chunk.valid().chars().count().min(left);
        let rest = chunk.invalid().len().min(left);
        end += rest;
        left -= rest;
        if left == 0 {
            break;
        }
    }
    &bytes[..end]
}

/// Whether a raw string literal of one line can hold it.
fn can_stand_in_backquotes(bytes: &[u8]) -> bool {
    let fits = |letter: char| {
        letter == '\t' || !(u32::from(letter) < 0x20 || matches!(letter, '`' | '\u{7f}' | '\u{feff}'))
    };
    std::str::from_utf8(bytes).is_ok_and(|text| text.chars().all(fits))
}

/// A quoted text in ASCII.
fn plain_letters(quoted: &str) -> String {
    let escaped = |letter: char| match u32::from(letter) {
        0..0x80 => letter.to_string(),
        code @ 0x80..0x10000 => format!("\\u{code:04x}"),
        code => format!("\\U{code:08x}"),
    };
    quoted.chars().map(escaped).collect()
}
