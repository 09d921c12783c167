//! What a plain scalar means in YAML 1.1 as go-yaml v2 resolves it. The reader decides types with it, the writer
//! decides what must be quoted.

/// The type of a plain scalar and its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Scalar {
    Null,
    Bool(bool),
    Int(i64),
    Unsigned(u64),
    Float(f64),
    /// A date; read as text, quoted when a text looks like one.
    Timestamp,
    Merge,
    Text,
}

/// Resolves a plain scalar.
pub(crate) fn resolve(text: &str) -> Scalar {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => return Scalar::Null,
        "y" | "Y" | "yes" | "Yes" | "YES" | "true" | "True" | "TRUE" | "on" | "On" | "ON" => {
            return Scalar::Bool(true);
        }
        "n" | "N" | "no" | "No" | "NO" | "false" | "False" | "FALSE" | "off" | "Off" | "OFF" => {
            return Scalar::Bool(false);
        }
        ".nan" | ".NaN" | ".NAN" => return Scalar::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Scalar::Float(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Scalar::Float(f64::NEG_INFINITY),
        "<<" => return Scalar::Merge,
        _ => {}
    }
    match text.as_bytes().first() {
        Some(b'.') => parse_float(&without_separators(text)).map_or(Scalar::Text, Scalar::Float),
        Some(b'+' | b'-' | b'0'..=b'9') => number(text),
        _ => Scalar::Text,
    }
}

/// The text without the underscores that stand between digits.
fn without_separators(text: &str) -> String {
    let bytes = text.as_bytes();
    let digit = |at: Option<usize>| at.and_then(|at| bytes.get(at)).is_some_and(u8::is_ascii_digit);
    let separates = |at: usize| digit(at.checked_sub(1)) && digit(Some(at + 1));
    text.char_indices()
        .filter(|(at, letter)| *letter != '_' || !separates(*at))
        .map(|(_, letter)| letter)
        .collect()
}

fn number(text: &str) -> Scalar {
    if is_timestamp(text) {
        return Scalar::Timestamp;
    }
    let plain = text.replace('_', "");
    if let Some(value) = parse_integer(&plain) {
        return value;
    }
    if looks_like_float(&plain) {
        return parse_float(&plain).map_or(Scalar::Text, Scalar::Float);
    }
    // A sign behind the base is not forbidden there.
    if let Some(signed) = plain.strip_prefix("0b").filter(|digits| digits.starts_with(['+', '-'])) {
        let digits = signed.trim_start_matches('+').replacen('-', "-0b", 1);
        let digits = if signed.starts_with('+') { format!("0b{digits}") } else { digits };
        return parse_integer(&digits).unwrap_or(Scalar::Text);
    }
    Scalar::Text
}

/// Go's `strconv.ParseInt(text, 0, 64)`, then `ParseUint`.
pub(crate) fn parse_integer(text: &str) -> Option<Scalar> {
    let (negative, signed, digits) = match text.as_bytes().first()? {
        b'-' => (true, true, &text[1..]),
        b'+' => (false, true, &text[1..]),
        _ => (false, false, text),
    };
    let lower = digits.to_ascii_lowercase();
    let (base, body) = if let Some(body) = lower.strip_prefix("0x") {
        (16, body)
    } else if let Some(body) = lower.strip_prefix("0o") {
        (8, body)
    } else if let Some(body) = lower.strip_prefix("0b") {
        (2, body)
    } else if lower.len() > 1 && lower.starts_with('0') {
        (8, &lower[1..])
    } else {
        (10, lower.as_str())
    };
    if body.is_empty() || !body.chars().all(|digit| digit.is_digit(base)) {
        return None;
    }
    let magnitude = i128::from_str_radix(body, base).ok()?;
    let value = if negative { -magnitude } else { magnitude };
    if let Ok(value) = i64::try_from(value) {
        return Some(Scalar::Int(value));
    }
    if signed {
        return None;
    }
    u64::try_from(value).ok().map(Scalar::Unsigned)
}

fn looks_like_float(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let (mantissa, exponent) = match unsigned.find(['e', 'E']) {
        Some(at) => (&unsigned[..at], Some(&unsigned[at + 1..])),
        None => (unsigned, None),
    };
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let mantissa_fits = match mantissa.split_once('.') {
        Some(("", fraction)) => digits(fraction),
        Some((whole, fraction)) => digits(whole) && (fraction.is_empty() || digits(fraction)),
        None => digits(mantissa),
    };
    mantissa_fits
        && exponent.is_none_or(|exponent| digits(exponent.strip_prefix(['+', '-']).unwrap_or(exponent)))
}

fn parse_float(text: &str) -> Option<f64> {
    let shape =
        text.bytes().all(|byte| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-'));
    let value: f64 = if shape { text.parse().ok()? } else { return None };
    value.is_finite().then_some(value)
}

/// The date forms that go-yaml recognises: `2001-1-2`, and date and time with `T`, `t` or a space.
fn is_timestamp(text: &str) -> bool {
    let bytes = text.as_bytes();
    if bytes.len() < 8 || !bytes[..4].iter().all(u8::is_ascii_digit) || bytes[4] != b'-' {
        return false;
    }
    let Some((date, rest)) = split_date(text) else {
        return false;
    };
    if !date {
        return false;
    }
    match rest.as_bytes().first() {
        None => true,
        Some(b'T' | b't') => clock(&rest[1..]).is_some_and(zone),
        Some(b' ') => clock(&rest[1..]).is_some_and(str::is_empty),
        Some(_) => false,
    }
}

fn small(text: &str, least: u32, most: u32) -> Option<(u32, &str)> {
    let count = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    let value: u32 = text.get(..count)?.parse().ok()?;
    (least..=most).contains(&value).then(|| (value, &text[count..]))
}

fn split_date(text: &str) -> Option<(bool, &str)> {
    let year: u32 = text[..4].parse().ok()?;
    let (month, rest) = small(&text[5..], 1, 12)?;
    let (day, rest) = small(rest.strip_prefix('-')?, 1, 31)?;
    let leap = (year.is_multiple_of(4) && !year.is_multiple_of(100)) || year.is_multiple_of(400);
    let longest = match month {
        4 | 6 | 9 | 11 => 30,
        2 if leap => 29,
        2 => 28,
        _ => 31,
    };
    Some((day <= longest, rest))
}

fn clock(text: &str) -> Option<&str> {
    let (_, rest) = small(text, 0, 23)?;
    let (_, rest) = small(rest.strip_prefix(':')?, 0, 59)?;
    let (_, rest) = small(rest.strip_prefix(':')?, 0, 59)?;
    match rest.strip_prefix(['.', ',']) {
        Some(fraction) => {
            let count = fraction.bytes().take_while(u8::is_ascii_digit).count();
            (count > 0).then(|| &fraction[count..])
        }
        None => Some(rest),
    }
}

fn zone(text: &str) -> bool {
    if text == "Z" {
        return true;
    }
    let Some(rest) = text.strip_prefix(['+', '-']) else {
        return false;
    };
    let bytes = rest.as_bytes();
    bytes.len() == 5
        && bytes[2] == b':'
        && small(&rest[..2], 0, 24).is_some_and(|(_, rest)| rest.is_empty())
        && small(&rest[3..], 0, 60).is_some_and(|(_, rest)| rest.is_empty())
}

/// Whether a text has the base-60 form of YAML 1.1, which is always quoted on the way out.
pub(crate) fn is_base60(text: &str) -> bool {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let mut parts = unsigned.split(':');
    let first = parts.next().unwrap_or_default();
    let head = first.starts_with(|c: char| c.is_ascii_digit())
        && first.bytes().all(|b| b.is_ascii_digit() || b == b'_');
    let rest: Vec<&str> = parts.collect();
    let Some((last, middle)) = rest.split_last() else {
        return false;
    };
    let sixty = |part: &str| {
        let bytes = part.as_bytes();
        matches!(bytes.len(), 1 | 2)
            && bytes.iter().all(u8::is_ascii_digit)
            && (bytes.len() == 1 || bytes[0] <= b'5')
    };
    let (tail, fraction) = last.split_once('.').unwrap_or((last, ""));
    head && middle.iter().all(|part| sixty(part))
        && sixty(tail)
        && fraction.bytes().all(|b| b.is_ascii_digit() || b == b'_')
}
