//! The numbers of templates.

/// A number as Go's templates read it: an integer where it is one, else a float; with an `i` behind it, a complex one.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Number {
    Int(i64),
    Float(f64),
    Complex(f64, f64),
}

/// Parses a literal: a number, an imaginary one, or a sum of both. What is too large for a float is none.
pub(crate) fn literal(text: &str) -> Option<Number> {
    let fits = |number: &Number| match number {
        Number::Int(_) => true,
        Number::Float(value) => value.is_finite(),
        Number::Complex(real, imaginary) => real.is_finite() && imaginary.is_finite(),
    };
    written(text).filter(fits)
}

fn written(text: &str) -> Option<Number> {
    let Some(body) = text.strip_suffix('i') else { return number(text) };
    // The sign of the second part is none that belongs to an exponent.
    let bytes = body.as_bytes();
    let sign = (1..bytes.len()).rev().find(|at| {
        let hexadecimal = body[..*at].to_ascii_lowercase().contains("0x");
        let exponent = if hexadecimal { b'p' } else { b'e' };
        matches!(bytes[*at], b'+' | b'-') && bytes[at - 1].to_ascii_lowercase() != exponent
    });
    let (real, imaginary) = body.split_at(sign.unwrap_or(0));
    let part = |text: &str| {
        let digits = text.trim_start_matches(['+', '-']).to_ascii_lowercase();
        if digits.starts_with("0x") {
            return match number(text)? {
                Number::Float(value) => Some(value),
                _ => None,
            };
        }
        let decimal = digits.bytes().all(|byte| byte.is_ascii_digit() || b".e+-".contains(&byte));
        if decimal { text.parse().ok() } else { None }
    };
    Some(Number::Complex(if real.is_empty() { 0.0 } else { part(real)? }, part(imaginary)?))
}

/// Parses Go number syntax: decimal, `0x`, `0o`, `0b`, leading-zero octal, underscores, floats.
pub(crate) fn number(text: &str) -> Option<Number> {
    let (negative, digits) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if !separates(digits) {
        return None;
    }
    let plain = digits.replace('_', "");
    let lower = plain.to_ascii_lowercase();
    if let Some((mantissa, exponent)) = lower.strip_prefix("0x").and_then(|rest| rest.split_once('p')) {
        let value = hexadecimal(mantissa, exponent)?;
        return Some(Number::Float(if negative { -value } else { value }));
    }
    let radix = |prefix: &str, base: u32| {
        lower.strip_prefix(prefix).map(|rest| i128::from_str_radix(rest, base).ok())
    };
    let integer = if let Some(parsed) = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2))
    {
        Some(parsed?)
    } else if plain.len() > 1 && plain.starts_with('0') && plain.bytes().all(|byte| byte.is_ascii_digit()) {
        Some(i128::from_str_radix(&plain[1..], 8).ok()?)
    } else if !plain.is_empty() && plain.bytes().all(|byte| byte.is_ascii_digit()) {
        plain.parse::<i128>().ok()
    } else {
        None
    };
    if let Some(value) = integer {
        return i64::try_from(if negative { -value } else { value }).ok().map(Number::Int);
    }
    let shape =
        plain.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    if !shape || !plain.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let value: f64 = plain.parse().ok()?;
    Some(Number::Float(if negative { -value } else { value }))
}

/// Whether every underscore stands between digits, or behind the letter of a base.
fn separates(digits: &str) -> bool {
    let lower = digits.to_ascii_lowercase();
    let body = ["0x", "0o", "0b"].iter().find_map(|base| lower.strip_prefix(base));
    let mut before = if body.is_some() { '0' } else { ' ' };
    for letter in body.unwrap_or(&lower).chars() {
        if (letter == '_') && before != '0' || before == '_' && !letter.is_ascii_hexdigit() {
            return false;
        }
        before = if letter.is_ascii_hexdigit() { '0' } else { letter };
    }
    before != '_'
}

/// A float in base 16, as Go writes it: digits, perhaps a point, and an exponent of two.
#[allow(clippy::cast_precision_loss)] // as Go rounds it
fn hexadecimal(mantissa: &str, exponent: &str) -> Option<f64> {
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = u64::from_str_radix(&format!("{whole}{fraction}"), 16).ok()?;
    let places = i32::try_from(fraction.len()).ok()? * 4;
    let exponent = exponent.parse::<i32>().ok()?.checked_sub(places)?;
    Some(digits as f64 * 2_f64.powi(exponent))
}
