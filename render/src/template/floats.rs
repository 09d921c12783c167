//! The digits of floats as Go writes them: shortest, with a precision, with a point, in base two and sixteen.

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

/// The sharp flag: always a point, and zeros up to the precision (six digits where none is given).
pub(super) fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
    let wanted = if matches!(verb, 'v' | 'g' | 'G' | 'x') { precision.unwrap_or(6) } else { 0 };
    let marks: &[char] = if matches!(verb, 'x' | 'X') { &['p'] } else { &['e'] };
    let (number, tail) = text.split_at(text.find(marks).unwrap_or(text.len()));
    let digits = number.bytes().filter(|byte| *byte != b'.').skip_while(|byte| *byte == b'0').count();
    let hexadecimal = usize::from(matches!(verb, 'x' | 'X'));
    let zero = usize::from(number == "0" && !number.contains('.'));
    // Go counts the `x` of `0x` among the digits.
    let digits =
        if hexadecimal == 1 { number.bytes().skip(1).filter(|byte| *byte != b'.').count() } else { digits };
    let point = if number.contains('.') { "" } else { "." };
    format!("{number}{point}{}{tail}", "0".repeat(wanted.saturating_sub(digits + zero)))
}

/// The fraction's 52 bits with the leading one, and the exponent of two of its last bit.
fn parts_of(magnitude: f64) -> (u64, i64) {
    let bits = magnitude.to_bits();
    let fraction = bits & ((1 << 52) - 1);
    match i64::try_from((bits >> 52) & 0x7ff).unwrap_or(0) {
        0 => (fraction, -1074),
        exponent => (fraction | 1 << 52, exponent - 1075),
    }
}

/// `%b`: mantissa and exponent of two, both decimal.
pub(super) fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts_of(magnitude);
    format!("{mantissa}p{exponent:+}")
}

/// `%x`: one digit before the point.
pub(super) fn hexadecimal(magnitude: f64, precision: Option<usize>) -> String {
    let (mut mantissa, mut exponent) = parts_of(magnitude);
    if mantissa == 0 {
        exponent = 0;
    } else {
        while mantissa < 1 << 52 {
            mantissa <<= 1;
            exponent -= 1;
        }
        exponent += 52;
    }
    if let Some(precision) = precision.filter(|precision| *precision < 13) {
        // Half to even, at the last digit that is kept.
        let cut = u32::try_from(52 - 4 * precision).unwrap_or(52);
        let (kept, rest, half) = (mantissa >> cut, mantissa & ((1 << cut) - 1), 1_u64 << (cut - 1));
        let up = rest > half || (rest == half && kept & 1 == 1);
        mantissa = (kept + u64::from(up)) << cut;
        if mantissa >= 1 << 53 {
            mantissa >>= 1;
            exponent += 1;
        }
    }
    let digits = format!("{:013x}", mantissa & ((1 << 52) - 1));
    let digits = match precision {
        None => digits.trim_end_matches('0').to_owned(),
        Some(precision) => format!("{digits:0<precision$}")[..precision].to_owned(),
    };
    let point = if digits.is_empty() { "" } else { "." };
    let sign = if exponent < 0 { '-' } else { '+' };
    format!("0x{}{point}{digits}p{sign}{:02}", mantissa >> 52, exponent.abs())
}

/// `d.dddde+XX` with a fixed number of decimals.
pub(super) fn exponent_form(magnitude: f64, precision: usize) -> String {
    let text = format!("{magnitude:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%.Ng`: N significant digits, trailing zeros dropped, scientific outside `-4..N`.
pub(super) fn general_form(magnitude: f64, precision: usize) -> String {
    let text = exponent_form(magnitude, precision - 1);
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| {
        if text.contains('.') {
            text.trim_end_matches('0').trim_end_matches('.').to_owned()
        } else {
            text.to_owned()
        }
    };
    let limit = i32::try_from(precision).unwrap_or(i32::MAX);
    if power < -4 || power >= limit {
        return format!("{}e{exponent}", trim(mantissa));
    }
    let decimals = usize::try_from(limit - 1 - power).unwrap_or(0);
    trim(&format!("{magnitude:.decimals$}"))
}
