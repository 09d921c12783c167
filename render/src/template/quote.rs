//! Go string literals: reading their escapes and writing `%q`.

/// Resolves the escapes of an interpreted string or character literal (without its quotes).
pub(crate) fn unquote(inner: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(inner.len());
    let mut rest = inner;
    while let Some(at) = rest.find('\\') {
        out.extend_from_slice(&rest.as_bytes()[..at]);
        let code = *rest.as_bytes().get(at + 1)?;
        let tail = rest.get(at + 2..)?;
        let digits = |count: usize, base: u32| {
            tail.get(..count)
                .filter(|text| text.chars().all(|c| c.is_digit(base)))
                .and_then(|text| u32::from_str_radix(text, base).ok())
        };
        rest = tail;
        match code {
            b'a' => out.push(7),
            b'b' => out.push(8),
            b'f' => out.push(12),
            b'n' => out.push(b'\n'),
            b'r' => out.push(b'\r'),
            b't' => out.push(b'\t'),
            b'v' => out.push(11),
            b'\\' | b'\'' | b'"' => out.push(code),
            b'x' => {
                out.push(u8::try_from(digits(2, 16)?).ok()?);
                rest = &tail[2..];
            }
            b'u' | b'U' => {
                let count = if code == b'u' { 4 } else { 8 };
                let letter = char::from_u32(digits(count, 16)?)?;
                out.extend_from_slice(letter.to_string().as_bytes());
                rest = &tail[count..];
            }
            b'0'..=b'7' => {
                let text = rest_from(inner, tail, 1).get(..3)?;
                out.push(u8::try_from(u32::from_str_radix(text, 8).ok()?).ok()?);
                rest = &tail[2..];
            }
            _ => return None,
        }
    }
    out.extend_from_slice(rest.as_bytes());
    Some(out)
}

/// The text that starts `back` bytes before `tail`, a suffix of `whole`.
fn rest_from<'t>(whole: &'t str, tail: &str, back: usize) -> &'t str {
    whole.get(whole.len() - tail.len() - back..).unwrap_or_default()
}

/// Go's `strconv.Quote`.
pub(crate) fn quote(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() + 2);
    out.push('"');
    for chunk in bytes.utf8_chunks() {
        for letter in chunk.valid().chars() {
            push_escaped(&mut out, letter);
        }
        for byte in chunk.invalid() {
            out.push_str(&format!("\\x{byte:02x}"));
        }
    }
    out.push('"');
    out
}

/// Go's `strconv.QuoteRune`.
pub(crate) fn quote_letter(letter: char) -> String {
    match letter {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        _ => {
            let mut out = String::from("'");
            push_escaped(&mut out, letter);
            out.push('\'');
            out
        }
    }
}

fn push_escaped(out: &mut String, letter: char) {
    match letter {
        '"' => out.push_str("\\\""),
        '\\' => out.push_str("\\\\"),
        '\u{7}' => out.push_str("\\a"),
        '\u{8}' => out.push_str("\\b"),
        '\u{c}' => out.push_str("\\f"),
        '\n' => out.push_str("\\n"),
        '\r' => out.push_str("\\r"),
        '\t' => out.push_str("\\t"),
        '\u{b}' => out.push_str("\\v"),
        ' '..='~' => out.push(letter),
        _ if is_printable(letter) => out.push(letter),
        _ if u32::from(letter) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(letter))),
        _ if u32::from(letter) < 0x10000 => out.push_str(&format!("\\u{:04x}", u32::from(letter))),
        _ => out.push_str(&format!("\\U{:08x}", u32::from(letter))),
    }
}

/// Go's `strconv.IsPrint`, close enough: no controls, no spaces but U+0020, no unassigned or private code points.
pub(crate) fn is_printable(letter: char) -> bool {
    let code = u32::from(letter);
    let hidden = letter.is_control()
        || letter.is_whitespace()
        || matches!(code, 0xAD | 0x200B..=0x200F | 0x2028..=0x202E | 0x2060..=0x206F | 0xFEFF | 0xE000..=0xF8FF | 0xFFF0..=0xFFFB)
        || code >= 0xE0000;
    !hidden
}
