//! Go's `time.Duration`: its text, how it is read, and rounding.

use crate::template::named::{Kind, named};
use crate::template::value::Value;

/// Nanoseconds of a second.
pub(crate) const SECOND: i64 = 1_000_000_000;

/// `time.Duration`, nanoseconds.
pub(crate) static DURATION: Kind = Kind { name: "time.Duration", kind: "int64", text: Some(text), method };

#[allow(clippy::cast_precision_loss)] // Go's conversion loses it, too
fn method(nanoseconds: i64, name: &str) -> Option<Value> {
    let parts = |unit: i64| {
        let (whole, rest) = (nanoseconds / unit, nanoseconds % unit);
        Value::Float(whole as f64 + rest as f64 / unit as f64)
    };
    Some(match name {
        "Hours" => parts(3600 * SECOND),
        "Minutes" => parts(60 * SECOND),
        "Seconds" => parts(SECOND),
        "Milliseconds" => Value::Int64(nanoseconds / 1_000_000),
        "Microseconds" => Value::Int64(nanoseconds / 1_000),
        "Nanoseconds" => Value::Int64(nanoseconds),
        "Abs" => named(nanoseconds.saturating_abs(), &DURATION),
        _ => return None,
    })
}

/// Go's `Duration.String`.
pub(crate) fn text(nanoseconds: i64) -> String {
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    let small = |unit: u64, name: &str| {
        let fraction = format!("{:0width$}", size % unit, width = unit.ilog10() as usize);
        let fraction = fraction.trim_end_matches('0');
        let point = if fraction.is_empty() || unit == 1 { String::new() } else { format!(".{fraction}") };
        format!("{sign}{}{point}{name}", size / unit)
    };
    match size {
        0 => return "0s".to_owned(),
        1..1_000 => return small(1, "ns"),
        1_000..1_000_000 => return small(1_000, "µs"),
        1_000_000..1_000_000_000 => return small(1_000_000, "ms"),
        _ => {}
    }
    let (size, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    let part = format!(".{rest:09}");
    let part = part.trim_end_matches('0').trim_end_matches('.');
    match (size / 3600, size / 60 % 60, size % 60) {
        (0, 0, seconds) => format!("{sign}{seconds}{part}s"),
        (0, minutes, seconds) => format!("{sign}{minutes}m{seconds}{part}s"),
        (hours, minutes, seconds) => format!("{sign}{hours}h{minutes}m{seconds}{part}s"),
    }
}

/// Go's `time.ParseDuration`, in nanoseconds.
///
/// # Errors
/// Go's words.
pub(crate) fn parse(whole: &str) -> Result<i64, String> {
    let quoted = |text: &str| super::calendar::quoted(text.as_bytes());
    let invalid = || format!("time: invalid duration {}", quoted(whole));
    let (negative, mut rest) = match whole.strip_prefix(['-', '+']) {
        Some(rest) => (whole.starts_with('-'), rest),
        None => (false, whole),
    };
    if rest == "0" {
        return Ok(0);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let mut total = 0_u64;
    while !rest.is_empty() {
        let (amount, behind) = rest.split_at(digits(rest));
        let (fraction, behind) = match behind.strip_prefix('.') {
            Some(after) => after.split_at(digits(after)),
            None => ("", behind),
        };
        if amount.is_empty() && fraction.is_empty() {
            return Err(invalid());
        }
        let end =
            behind.find(|letter: char| letter == '.' || letter.is_ascii_digit()).unwrap_or(behind.len());
        let (name, behind) = behind.split_at(end);
        let unit: u64 = match name {
            "" => return Err(format!("time: missing unit in duration {}", quoted(whole))),
            "ns" => 1,
            "us" | "µs" | "μs" => 1_000,
            "ms" => 1_000_000,
            "s" => 1_000_000_000,
            "m" => 60_000_000_000,
            "h" => 3_600_000_000_000,
            _ => return Err(format!("time: unknown unit {} in duration {}", quoted(name), quoted(whole))),
        };
        let amount = if amount.is_empty() { 0 } else { amount.parse::<u64>().map_err(|_| invalid())? };
        let product = amount.checked_mul(unit).filter(|size| *size <= 1 << 63).ok_or_else(invalid)?;
        let sum = product.checked_add(part_of(fraction, unit)).and_then(|size| size.checked_add(total));
        total = sum.filter(|size| *size <= 1 << 63).ok_or_else(invalid)?;
        rest = behind;
    }
    if negative {
        return Ok(0_i64.wrapping_sub_unsigned(total));
    }
    i64::try_from(total).map_err(|_| invalid())
}

/// The digits behind the point, in nanoseconds.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as Go rounds it
fn part_of(fraction: &str, unit: u64) -> u64 {
    let (mut value, mut scale) = (0_u64, 1.0_f64);
    for digit in fraction.bytes() {
        // What goes beyond 63 bits is dropped.
        let next = value.checked_mul(10).and_then(|value| value.checked_add(u64::from(digit - b'0')));
        let Some(next) = next.filter(|value| *value <= 1 << 63) else { break };
        value = next;
        scale *= 10.0;
    }
    (value as f64 * (unit as f64 / scale)) as u64
}

/// sprig's `durationRound`: the largest unit alone.
pub(crate) fn rounded(nanoseconds: i64) -> String {
    let seconds = nanoseconds.unsigned_abs() / SECOND.unsigned_abs();
    let exact = nanoseconds.unsigned_abs().is_multiple_of(SECOND.unsigned_abs());
    let units = [(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    for (size, name) in units {
        if seconds > size || (seconds == size && !exact) {
            return format!("{}{name}", seconds / size);
        }
    }
    "0s".to_owned()
}
