//! Numbers as text, the way Prometheus writes and reads them.

/// As Prometheus' JSON has it: shortest decimal that reads back the same, exponent below 1e-6 and from 1e21.
pub fn format(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "+Inf" } else { "-Inf" }.to_owned();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((mantissa, exponent)) => {
                let (sign, digits) =
                    exponent.strip_prefix('-').map_or(("+", exponent), |digits| ("-", digits));
                format!("{mantissa}e{sign}{digits:0>2}")
            }
            None => text,
        };
    }
    format!("{value}")
}

/// Reads a number as Go does: decimal, exponent, hexadecimal integers, `Inf`, `NaN`.
pub fn parse(text: &str) -> Option<f64> {
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let sign = if text.starts_with('-') { -1.0 } else { 1.0 };
    match unsigned.to_ascii_lowercase().as_str() {
        "inf" | "infinity" => return Some(sign * f64::INFINITY),
        "nan" => return Some(f64::NAN),
        lower => {
            if let Some(digits) = lower.strip_prefix("0x") {
                return u64::from_str_radix(digits, 16).ok().map(|value| sign * value as f64);
            }
        }
    }
    if !unsigned.starts_with(|c: char| c.is_ascii_digit() || c == '.') {
        return None;
    }
    text.parse().ok()
}

/// A time in milliseconds as Prometheus' JSON has it: seconds with up to three decimals.
pub fn format_seconds(at: crate::Millis) -> String {
    let (sign, at) = if at < 0 { ("-", at.unsigned_abs()) } else { ("", at.unsigned_abs()) };
    let (seconds, millis) = (at / 1000, at % 1000);
    if millis == 0 {
        return format!("{sign}{seconds}");
    }
    format!("{sign}{seconds}.{millis:03}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_as_prometheus_writes_them() {
        let table = [
            (0.0, "0"),
            (-0.0, "-0"),
            (1.0, "1"),
            (0.1, "0.1"),
            (1e6, "1000000"),
            (1e20, "100000000000000000000"),
            (1e21, "1e+21"),
            (1.5e-7, "1.5e-07"),
            (1e-6, "0.000001"),
            (1.25e300, "1.25e+300"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "+Inf"),
            (f64::NEG_INFINITY, "-Inf"),
        ];
        for (value, text) in table {
            assert_eq!(format(value), text);
        }
    }

    #[test]
    fn numbers_are_read_as_go_reads_them() {
        assert_eq!(parse("+Inf"), Some(f64::INFINITY));
        assert_eq!(parse("-inf"), Some(f64::NEG_INFINITY));
        assert_eq!(parse("0x1F"), Some(31.0));
        assert_eq!(parse("-1.5e3"), Some(-1500.0));
        assert!(parse("NaN").is_some_and(f64::is_nan));
        assert_eq!(parse("1s"), None);
        assert_eq!(parse(""), None);
    }

    #[test]
    fn times_keep_their_milliseconds() {
        assert_eq!(format_seconds(1_500), "1.500");
        assert_eq!(format_seconds(-20), "-0.020");
        assert_eq!(format_seconds(1_435_781_451_000), "1435781451");
        assert_eq!(format_seconds(i64::MIN), "-9223372036854775.808");
    }
}
