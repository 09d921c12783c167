//! Go's `fmt.Sprintf` over template values: verbs, flags, width, precision, argument indexes, and the `%!` complaints.

use super::fault::Fault;
use super::print::{bytes_of, display, shortest};
use super::quote::quote;
use super::value::{ListKind, Value};

/// Widest field; Go refuses more than a million.
const WIDTH_MAXIMUM: i64 = 1_000_000;

#[derive(Clone, Debug, Default)]
struct Spec {
    minus: bool,
    plus: bool,
    sharp: bool,
    /// Whether the value is shown in a complaint.
    complains: bool,
    space: bool,
    zero: bool,
    width: Option<usize>,
    precision: Option<usize>,
}

/// `fmt.Sprintf(format, arguments...)`.
pub(crate) fn sprintf(
    format: &[u8],
    arguments: &[Value],
    bytes_left: u64,
    bytes_maximum: u64,
) -> Result<Vec<u8>, Fault> {
    let mut printer =
        Printer { format, at: 0, arguments, next: 0, reordered: false, good_index: true, out: Vec::new() };
    while let Some(step) = printer.format.get(printer.at..).filter(|rest| !rest.is_empty()) {
        let literal = step.iter().position(|byte| *byte == b'%').unwrap_or(step.len());
        printer.out.extend_from_slice(&step[..literal]);
        printer.at += literal;
        if printer.at < printer.format.len() {
            printer.at += 1;
            printer.directive();
        }
        if printer.out.len() as u64 > bytes_left {
            return Err(Fault::Limit { name: "output_bytes", maximum: bytes_maximum });
        }
    }
    printer.extra();
    Ok(printer.out)
}

struct Printer<'a> {
    format: &'a [u8],
    at: usize,
    arguments: &'a [Value],
    next: usize,
    reordered: bool,
    good_index: bool,
    out: Vec<u8>,
}

impl Printer<'_> {
    fn peek(&self) -> Option<u8> {
        self.format.get(self.at).copied()
    }

    fn number(&mut self) -> Option<usize> {
        let start = self.at;
        let mut value = 0_i64;
        while let Some(digit) = self.peek().filter(u8::is_ascii_digit) {
            value = (value * 10 + i64::from(digit - b'0')).min(WIDTH_MAXIMUM + 1);
            self.at += 1;
        }
        if value > WIDTH_MAXIMUM {
            // Go gives up on the rest of the format.
            self.at = self.format.len();
            return None;
        }
        (self.at > start).then_some(usize::try_from(value).unwrap_or(0))
    }

    /// An argument index; whether there was one that can be read.
    fn index(&mut self) -> bool {
        if self.peek() != Some(b'[') {
            return false;
        }
        let rest = &self.format[self.at..];
        let Some(end) = rest.iter().position(|byte| *byte == b']') else {
            self.good_index = false;
            self.reordered = true;
            self.at += 1;
            return false;
        };
        let number = std::str::from_utf8(&rest[1..end]).ok().and_then(|text| text.parse::<usize>().ok());
        self.at += end + 1;
        self.reordered = true;
        match number {
            Some(number) if number >= 1 && number <= self.arguments.len() => self.next = number - 1,
            _ => self.good_index = false,
        }
        number.is_some()
    }

    fn star(&mut self) -> Option<i64> {
        self.at += 1;
        let value = match self.arguments.get(self.next) {
            Some(Value::Int(value) | Value::Int64(value)) if value.abs() <= WIDTH_MAXIMUM => Some(*value),
            _ => None,
        };
        self.next += 1;
        value
    }

    fn directive(&mut self) {
        let mut spec = Spec::default();
        self.good_index = true;
        while let Some(flag) = self.peek() {
            match flag {
                b'#' => spec.sharp = true,
                b'0' => spec.zero = true,
                b'+' => spec.plus = true,
                b'-' => spec.minus = true,
                b' ' => spec.space = true,
                _ => break,
            }
            self.at += 1;
        }
        let mut after_index = self.index();
        if self.peek() == Some(b'*') {
            after_index = false;
            match self.star() {
                Some(width) => {
                    spec.minus |= width < 0;
                    spec.width = usize::try_from(width.abs()).ok();
                }
                None => self.out.extend_from_slice(b"%!(BADWIDTH)"),
            }
        } else {
            spec.width = self.number();
            // An index stands behind the width, not before it.
            self.good_index &= !(after_index && spec.width.is_some());
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.good_index &= !after_index;
            after_index = self.index();
            if self.peek() == Some(b'*') {
                after_index = false;
                match self.star().and_then(|precision| usize::try_from(precision).ok()) {
                    Some(precision) => spec.precision = Some(precision),
                    None => self.out.extend_from_slice(b"%!(BADPREC)"),
                }
            } else {
                spec.precision = Some(self.number().unwrap_or(0));
            }
        }
        if !after_index {
            self.index();
        }
        // Under %v the plus asks for field names, not for signs.
        spec.plus &= self.peek() != Some(b'v');
        self.verb(&spec);
    }

    fn verb(&mut self, spec: &Spec) {
        let Some(chunk) = self.format[self.at..].utf8_chunks().next() else {
            self.out.extend_from_slice(b"%!(NOVERB)");
            return;
        };
        let (verb, width) =
            chunk.valid().chars().next().map_or(('\u{FFFD}', 1), |verb| (verb, verb.len_utf8()));
        self.at += width;
        if verb == '%' {
            self.out.push(b'%');
        } else if !self.good_index {
            self.out.extend_from_slice(format!("%!{verb}(BADINDEX)").as_bytes());
        } else if let Some(argument) = self.arguments.get(self.next) {
            self.next += 1;
            let text = formatted(argument, verb, spec, 200);
            self.out.extend_from_slice(&text);
        } else {
            self.out.extend_from_slice(format!("%!{verb}(MISSING)").as_bytes());
        }
    }

    fn extra(&mut self) {
        if self.reordered || self.next >= self.arguments.len() {
            return;
        }
        self.out.extend_from_slice(b"%!(EXTRA ");
        for (at, argument) in self.arguments[self.next..].iter().enumerate() {
            if at > 0 {
                self.out.extend_from_slice(b", ");
            }
            self.out.extend_from_slice(argument.clone().settled().type_name().as_bytes());
            if !argument.is_nil() {
                self.out.push(b'=');
                self.out.extend_from_slice(&display(argument));
            }
        }
        self.out.push(b')');
    }
}

fn formatted(value: &Value, verb: char, spec: &Spec, depth: usize) -> Vec<u8> {
    if depth == 0 {
        return b"...".to_vec();
    }
    match verb {
        'T' => return pad(value.clone().settled().type_name().as_bytes().to_vec(), spec, false),
        'v' if spec.sharp && !spec.complains => return go_syntax(value, depth),
        _ => {}
    }
    match value {
        Value::Nil | Value::Null if verb == 'v' => pad(b"<nil>".to_vec(), spec, false),
        Value::Nil | Value::Null => format!("%!{verb}(<nil>)").into_bytes(),
        Value::Bool(flag) => match verb {
            't' | 'v' => pad(flag.to_string().into_bytes(), spec, false),
            _ => complaint(value, verb, spec),
        },
        Value::Int(number) | Value::Int64(number) => integer(value, *number, verb, spec),
        Value::Float(number) => float(value, *number, verb, spec),
        Value::Str(text) => string(value, text.bytes(), verb, spec),
        Value::List(list) if list.kind() == ListKind::Bytes && matches!(verb, 's' | 'x' | 'X' | 'q') => {
            string(value, &bytes_of(value), verb, spec)
        }
        Value::List(list) => {
            let mut out = b"[".to_vec();
            for (at, item) in list.items().iter().enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                out.extend(element(item, verb, spec, depth));
            }
            out.push(b']');
            out
        }
        Value::Dict(dict) => {
            let mut out = b"map[".to_vec();
            for (at, (key, item)) in dict.entries().iter().enumerate() {
                if at > 0 {
                    out.push(b' ');
                }
                out.extend(formatted(&Value::text(key), verb, spec, depth - 1));
                out.push(b':');
                out.extend(element(item, verb, spec, depth));
            }
            out.push(b']');
            out
        }
        Value::Object(object) => match verb {
            'v' | 's' => string(value, object.print().as_bytes(), 's', spec),
            'q' => string(value, object.print().as_bytes(), 'q', spec),
            _ => complaint(value, verb, spec),
        },
    }
}

/// An element of a list or map: a nil among them prints `<nil>` under every verb.
fn element(value: &Value, verb: char, spec: &Spec, depth: usize) -> Vec<u8> {
    if value.is_nil() { pad(b"<nil>".to_vec(), spec, false) } else { formatted(value, verb, spec, depth - 1) }
}

/// `%!d(string=x)`: the verb does not fit, the value prints with the same flags.
fn complaint(value: &Value, verb: char, spec: &Spec) -> Vec<u8> {
    let mut out = format!("%!{verb}({}=", value.type_name()).into_bytes();
    // The flags stay, but the value is not asked for in Go's syntax.
    let spec = Spec { complains: true, ..spec.clone() };
    out.extend(formatted(value, 'v', &spec, 200));
    out.push(b')');
    out
}

/// Pads to the width, counted in characters.
fn pad(text: Vec<u8>, spec: &Spec, number: bool) -> Vec<u8> {
    let count = String::from_utf8_lossy(&text).chars().count();
    let Some(missing) = spec.width.and_then(|width| width.checked_sub(count)).filter(|missing| *missing > 0)
    else {
        return text;
    };
    if spec.minus {
        return [text, vec![b' '; missing]].concat();
    }
    if spec.zero {
        let signed = number && text.first().is_some_and(|sign| matches!(sign, b'+' | b'-' | b' '));
        let (sign, digits) = text.split_at(usize::from(signed));
        return [sign, &vec![b'0'; missing], digits].concat();
    }
    [vec![b' '; missing], text].concat()
}

fn integer(value: &Value, number: i64, verb: char, spec: &Spec) -> Vec<u8> {
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
                'q' if spec.plus => plain_letters(&super::quote::quote_letter(letter)),
                'q' => super::quote::quote_letter(letter),
                _ => unicode(magnitude, spec),
            };
            return pad(text.into_bytes(), &Spec { zero: false, ..spec.clone() }, false);
        }
        'e' | 'E' | 'f' | 'F' | 'g' | 'G' | 's' | 't' => return complaint(value, verb, spec),
        _ => return complaint(value, verb, spec),
    };
    if number == 0 && spec.precision == Some(0) {
        // Nothing but padding.
        return pad(Vec::new(), &Spec { zero: false, ..spec.clone() }, false);
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
    pad(format!("{sign}{prefix}{zeros}{digits}").into_bytes(), &spec, true)
}

/// `%U`: at least four digits, and with the sharp flag the letter itself.
fn unicode(code: u64, spec: &Spec) -> String {
    let digits = spec.precision.unwrap_or(0).max(4);
    let letter = u32::try_from(code).ok().and_then(char::from_u32);
    match letter.filter(|letter| spec.sharp && super::quote::quote_letter(*letter) == format!("'{letter}'")) {
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

fn float(value: &Value, number: f64, verb: char, spec: &Spec) -> Vec<u8> {
    let magnitude = number.abs();
    let digits = match (verb, spec.precision) {
        ('f' | 'F', precision) => format!("{magnitude:.*}", precision.unwrap_or(6)),
        ('e' | 'E', precision) => exponent_form(magnitude, precision.unwrap_or(6)),
        ('g' | 'G' | 'v', None) => shortest(magnitude, 'g'),
        ('g' | 'G' | 'v', Some(precision)) => general_form(magnitude, precision.max(1)),
        ('x' | 'X' | 'b', _) if !number.is_finite() => String::new(),
        ('x' | 'X', precision) => hexadecimal(magnitude, precision),
        ('b', _) => binary(magnitude),
        _ => return complaint(value, verb, spec),
    };
    if !number.is_finite() {
        let text = shortest(number, 'g');
        let text = if spec.plus { text } else { text.trim_start_matches('+').to_owned() };
        let text = if number.is_infinite() && number > 0.0 { "+Inf".to_owned() } else { text };
        return pad(text.into_bytes(), &Spec { zero: false, ..spec.clone() }, false);
    }
    let digits = if spec.sharp && verb != 'b' { with_point(&digits, verb, spec.precision) } else { digits };
    let digits = if matches!(verb, 'E' | 'G' | 'X') { digits.to_uppercase() } else { digits };
    let sign = sign_of(number.is_sign_negative(), spec);
    pad(format!("{sign}{digits}").into_bytes(), spec, true)
}

/// The sharp flag: always a point, and zeros up to the precision (six digits where none is given).
fn with_point(text: &str, verb: char, precision: Option<usize>) -> String {
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
fn binary(magnitude: f64) -> String {
    let (mantissa, exponent) = parts_of(magnitude);
    format!("{mantissa}p{exponent:+}")
}

/// `%x`: one digit before the point.
fn hexadecimal(magnitude: f64, precision: Option<usize>) -> String {
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
fn exponent_form(magnitude: f64, precision: usize) -> String {
    let text = format!("{magnitude:.precision$e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    format!("{mantissa}e{}{:02}", if exponent < 0 { '-' } else { '+' }, exponent.abs())
}

/// `%.Ng`: N significant digits, trailing zeros dropped, scientific outside `-4..N`.
fn general_form(magnitude: f64, precision: usize) -> String {
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

fn string(value: &Value, bytes: &[u8], verb: char, spec: &Spec) -> Vec<u8> {
    let cut: Vec<u8> = match spec.precision {
        Some(precision) if matches!(verb, 's' | 'v' | 'q') => {
            String::from_utf8_lossy(bytes).chars().take(precision).collect::<String>().into_bytes()
        }
        _ => bytes.to_vec(),
    };
    let text = match verb {
        's' | 'v' => cut,
        'q' if spec.sharp && !cut.contains(&b'`') => [b"`", cut.as_slice(), b"`"].concat(),
        'q' if spec.plus => plain_letters(&quote(&cut)).into_bytes(),
        'q' => quote(&cut).into_bytes(),
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
            format!("{prefix}{}", digits.join(&separator)).into_bytes()
        }
        _ => return complaint(value, verb, spec),
    };
    pad(text, spec, false)
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

/// `%#v`.
fn go_syntax(value: &Value, depth: usize) -> Vec<u8> {
    if depth == 0 {
        return b"...".to_vec();
    }
    let joined = |open: String, items: Vec<Vec<u8>>| {
        let mut out = open.into_bytes();
        out.extend(items.join(&b", "[..]));
        out.push(b'}');
        out
    };
    match value {
        Value::Nil => b"<nil>".to_vec(),
        Value::Null => b"interface {}(nil)".to_vec(),
        Value::Str(text) => quote(text.bytes()).into_bytes(),
        Value::Bool(_) | Value::Int(_) | Value::Int64(_) | Value::Float(_) | Value::Object(_) => {
            display(value)
        }
        Value::List(list) => {
            let items =
                list.items().iter().map(|item| go_syntax(&item.clone().element(), depth - 1)).collect();
            joined(format!("{}{{", value.type_name()), items)
        }
        Value::Dict(dict) => {
            let entry = |(key, item): &(std::rc::Rc<str>, Value)| {
                [
                    quote(key.as_bytes()).into_bytes(),
                    b":".to_vec(),
                    go_syntax(&item.clone().element(), depth - 1),
                ]
                .concat()
            };
            joined(format!("{}{{", value.type_name()), dict.entries().iter().map(entry).collect())
        }
    }
}

/// `fmt.Sprint`: a space between neighbours of which neither is a string.
pub(crate) fn sprint(arguments: &[Value]) -> Vec<u8> {
    let mut out = Vec::new();
    for (at, argument) in arguments.iter().enumerate() {
        let strings = |value: Option<&Value>| value.is_none_or(|value| matches!(value, Value::Str(_)));
        if at > 0 && !strings(arguments.get(at - 1)) && !strings(Some(argument)) {
            out.push(b' ');
        }
        out.extend(display(argument));
    }
    out
}

/// `fmt.Sprintln`.
pub(crate) fn sprintln(arguments: &[Value]) -> Vec<u8> {
    let mut out = arguments.iter().map(display).collect::<Vec<_>>().join(&b" "[..]);
    out.push(b'\n');
    out
}
