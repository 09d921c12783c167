//! Go's `fmt`: how values print with `%v`, and the verbs of `printf`, their complaints included.

use super::value::{DictKind, ListKind, Text, Value};

/// How deep a value is printed; only a map that contains itself goes this deep.
const PRINT_DEPTH: usize = 200;

/// Bytes after which printing a value stops; the render's own bound is charged with what was written.
const PRINT_BYTES: usize = 64 * 1024 * 1024;

/// The text of a value under `%v`, as an action prints it.
pub(crate) fn display(value: &Value) -> Vec<u8> {
    let mut out = Vec::new();
    verb_v(&mut out, value, PRINT_DEPTH);
    out
}

/// What an action writes: like [`display`], with `<no value>` for nothing.
pub(crate) fn action_output(value: &Value) -> Vec<u8> {
    match value {
        Value::Nil | Value::Null => b"<no value>".to_vec(),
        Value::Object(object) => object.print().into_bytes(),
        _ => display(value),
    }
}

/// sprig's `strval`.
pub(crate) fn strval(value: &Value) -> Text {
    match value {
        Value::Str(text) => text.clone(),
        Value::List(list) if list.kind() == ListKind::Bytes => Text::from(bytes_of(value)),
        Value::Nil
        | Value::Null
        | Value::Bool(_)
        | Value::Int(_)
        | Value::Int64(_)
        | Value::Float(_)
        | Value::List(_)
        | Value::Dict(_)
        | Value::Object(_) => Text::from(display(value)),
    }
}

/// The bytes of a `[]byte`.
pub(crate) fn bytes_of(value: &Value) -> Vec<u8> {
    let Value::List(list) = value else {
        return Vec::new();
    };
    let byte = |item: &Value| match item {
        Value::Int(byte) => u8::try_from(*byte).unwrap_or_default(),
        _ => 0,
    };
    list.items().iter().map(byte).collect()
}

fn verb_v(out: &mut Vec<u8>, value: &Value, depth: usize) {
    if depth == 0 || out.len() > PRINT_BYTES {
        out.extend_from_slice(b"...");
        return;
    }
    match value {
        Value::Nil | Value::Null => out.extend_from_slice(b"<nil>"),
        Value::Bool(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Int(value) | Value::Int64(value) => out.extend_from_slice(value.to_string().as_bytes()),
        Value::Float(value) => out.extend_from_slice(shortest(*value, 'g').as_bytes()),
        Value::Str(text) => out.extend_from_slice(text.bytes()),
        Value::List(list) => {
            out.push(b'[');
            for (at, item) in list.items().iter().enumerate() {
                if out.len() > PRINT_BYTES {
                    break;
                }
                if at > 0 {
                    out.push(b' ');
                }
                verb_v(out, item, depth - 1);
            }
            out.push(b']');
        }
        Value::Dict(dict) => {
            out.extend_from_slice(b"map[");
            for (at, (key, item)) in dict.entries().iter().enumerate() {
                if out.len() > PRINT_BYTES {
                    break;
                }
                if at > 0 {
                    out.push(b' ');
                }
                out.extend_from_slice(key.as_bytes());
                out.push(b':');
                match item {
                    // Go has bytes there.
                    Value::Str(text) if dict.kind() == DictKind::Files => {
                        let bytes: Vec<String> = text.bytes().iter().map(u8::to_string).collect();
                        out.extend(format!("[{}]", bytes.join(" ")).into_bytes());
                    }
                    item => verb_v(out, item, depth - 1),
                }
            }
            out.push(b']');
        }
        Value::Object(object) => out.extend_from_slice(object.print_nested().as_bytes()),
    }
}

/// Shortest digits and the decimal exponent of a finite float: `d.ddd * 10^exponent`.
fn digits_of(value: f64) -> (String, i32) {
    let text = format!("{:e}", value.abs());
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    (mantissa.replace('.', ""), exponent.parse().unwrap_or(0))
}

/// Go's `strconv.FormatFloat(value, format, -1, 64)` for `e`, `f` and `g`.
pub(crate) fn shortest(value: f64, format: char) -> String {
    if value.is_nan() {
        return "NaN".into();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf".into() } else { "-Inf".into() };
    }
    let (digits, exponent) = digits_of(value);
    let sign = if value.is_sign_negative() { "-" } else { "" };
    let scientific = match format {
        'e' => true,
        'f' => false,
        _ => !(-4..6).contains(&exponent),
    };
    if scientific {
        let (first, rest) = digits.split_at(1);
        let point = if rest.is_empty() { "" } else { "." };
        let mark = if exponent < 0 { '-' } else { '+' };
        return format!("{sign}{first}{point}{rest}e{mark}{:02}", exponent.abs());
    }
    format!("{sign}{}", positional(&digits, exponent))
}

fn positional(digits: &str, exponent: i32) -> String {
    if exponent < 0 {
        let zeros = usize::try_from(-exponent - 1).unwrap_or(0);
        return format!("0.{}{digits}", "0".repeat(zeros));
    }
    let whole = usize::try_from(exponent).unwrap_or(0) + 1;
    if digits.len() <= whole {
        return format!("{digits}{}", "0".repeat(whole - digits.len()));
    }
    format!("{}.{}", &digits[..whole], &digits[whole..])
}
