//! Go's `fmt.Sprintf` over template values: verbs, flags, width, precision, argument indexes, and the `%!` complaints.

use super::fault::Fault;
use super::print::display;
use super::value::Value;
use super::verbs::{Spec, format};

/// Widest field; Go refuses more than a million.
const WIDTH_MAXIMUM: i64 = 1_000_000;

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
            Some(Value::Int(value) | Value::Int64(value)) => Some(*value),
            // An integer with a type of its own.
            Some(Value::Object(object)) => object.number(),
            _ => None,
        };
        let value = value.filter(|value| value.abs() <= WIDTH_MAXIMUM);
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
        // Under %v the plus asks for the names of fields, not for signs, and the sharp sign for Go's syntax.
        if self.peek() == Some(b'v') {
            spec.names = std::mem::take(&mut spec.plus);
            spec.syntax = std::mem::take(&mut spec.sharp);
        }
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
            format(&mut self.out, argument, verb, spec);
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
