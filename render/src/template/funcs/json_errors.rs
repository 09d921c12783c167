//! What `encoding/json` says about a text that is no JSON: the byte at which its scanner stops, and what it was at.

/// The complaint, or nothing when the text is one JSON value.
pub(crate) fn complaint(text: &[u8]) -> Option<String> {
    let mut scan = Scan { text, at: 0 };
    scan.document().err().map(|stop| match stop {
        Some((byte, place)) => format!("invalid character {} {place}", quoted(byte)),
        None => "unexpected end of JSON input".to_owned(),
    })
}

/// Deepest nesting that is accepted, as in Go.
const DEPTH: usize = 10_000;

/// Where the scanner stopped: a byte, or the end of the text.
type Stop = Option<(u8, String)>;

fn quoted(byte: u8) -> String {
    match byte {
        b'\'' => "'\\''".to_owned(),
        b'"' => "'\"'".to_owned(),
        _ => {
            let text = super::super::quote::quote(char::from(byte).to_string().as_bytes());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

/// What is open around the scanner.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Open {
    Array,
    Object,
}

struct Scan<'t> {
    text: &'t [u8],
    at: usize,
}

impl Scan<'_> {
    fn solid(&mut self) -> Option<u8> {
        while let Some(b' ' | b'\t' | b'\r' | b'\n') = self.text.get(self.at) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn stop<T>(byte: Option<u8>, place: &str) -> Result<T, Stop> {
        Err(byte.map(|byte| (byte, place.to_owned())))
    }

    /// At the end of the text Go shows its scanner a space: what cannot be followed by one names it.
    fn inside<T>(byte: Option<u8>, place: &str) -> Result<T, Stop> {
        Self::stop(Some(byte.unwrap_or(b' ')), place)
    }

    fn document(&mut self) -> Result<(), Stop> {
        let mut open = Vec::new();
        loop {
            if self.opening(&mut open)? {
                continue;
            }
            // A value has ended: close what ends with it.
            loop {
                match (open.last(), self.solid()) {
                    (None, None) => return Ok(()),
                    (None, byte) => return Self::stop(byte, "after top-level value"),
                    (Some(_), Some(b',')) => break,
                    (Some(Open::Array), Some(b']')) | (Some(Open::Object), Some(b'}')) => {
                        open.pop();
                        self.at += 1;
                    }
                    (Some(Open::Array), byte) => return Self::stop(byte, "after array element"),
                    (Some(Open::Object), byte) => return Self::stop(byte, "after object key:value pair"),
                }
            }
            self.at += 1;
            if open.last() == Some(&Open::Object) {
                self.key()?;
            }
        }
    }

    /// Takes a scalar or an empty container, or opens one; whether a value must follow at once.
    fn opening(&mut self, open: &mut Vec<Open>) -> Result<bool, Stop> {
        let byte = self.solid();
        self.at += 1;
        match byte {
            Some(b'{' | b'[') if open.len() >= DEPTH => Self::stop(byte, "exceeded max depth"),
            Some(b'{') => {
                if self.solid() == Some(b'}') {
                    self.at += 1;
                    return Ok(false);
                }
                open.push(Open::Object);
                self.key()?;
                Ok(true)
            }
            Some(b'[') => {
                if self.solid() == Some(b']') {
                    self.at += 1;
                    return Ok(false);
                }
                open.push(Open::Array);
                Ok(true)
            }
            Some(b'"') => self.string().map(|()| false),
            Some(b'-' | b'0'..=b'9') => {
                self.at -= 1;
                self.number().map(|()| false)
            }
            Some(b't') => self.word("true").map(|()| false),
            Some(b'f') => self.word("false").map(|()| false),
            Some(b'n') => self.word("null").map(|()| false),
            byte => Self::stop(byte, "looking for beginning of value"),
        }
    }

    fn key(&mut self) -> Result<(), Stop> {
        match self.solid() {
            Some(b'"') => self.at += 1,
            byte => return Self::stop(byte, "looking for beginning of object key string"),
        }
        self.string()?;
        match self.solid() {
            Some(b':') => self.at += 1,
            byte => return Self::stop(byte, "after object key"),
        }
        Ok(())
    }

    fn word(&mut self, word: &str) -> Result<(), Stop> {
        for expected in &word.as_bytes()[1..] {
            let byte = self.text.get(self.at).copied();
            if byte != Some(*expected) {
                let place = format!("in literal {word} (expecting '{}')", char::from(*expected));
                return Self::inside(byte, &place);
            }
            self.at += 1;
        }
        Ok(())
    }

    fn string(&mut self) -> Result<(), Stop> {
        loop {
            let Some(byte) = self.text.get(self.at).copied() else { return Err(None) };
            self.at += 1;
            match byte {
                b'"' => return Ok(()),
                b'\\' => {
                    let code = self.text.get(self.at).copied();
                    self.at += 1;
                    match code {
                        Some(b'b' | b'f' | b'n' | b'r' | b't' | b'\\' | b'/' | b'"') => {}
                        Some(b'u') => self.hexadecimal()?,
                        code => return Self::inside(code, "in string escape code"),
                    }
                }
                0..=0x1f => return Self::stop(Some(byte), "in string literal"),
                _ => {}
            }
        }
    }

    fn hexadecimal(&mut self) -> Result<(), Stop> {
        for _ in 0..4 {
            match self.text.get(self.at).copied() {
                Some(byte) if byte.is_ascii_hexdigit() => self.at += 1,
                byte => return Self::inside(byte, "in \\u hexadecimal character escape"),
            }
        }
        Ok(())
    }

    fn digits(&mut self) {
        while self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            self.at += 1;
        }
    }

    fn digit(&mut self, place: &str) -> Result<(), Stop> {
        match self.text.get(self.at).copied() {
            Some(b'0'..=b'9') => Ok(()),
            byte => Self::inside(byte, place),
        }
    }

    fn number(&mut self) -> Result<(), Stop> {
        if self.text.get(self.at) == Some(&b'-') {
            self.at += 1;
            self.digit("in numeric literal")?;
        }
        if self.text.get(self.at) == Some(&b'0') {
            self.at += 1;
        } else {
            self.digits();
        }
        if self.text.get(self.at) == Some(&b'.') {
            self.at += 1;
            self.digit("after decimal point in numeric literal")?;
            self.digits();
        }
        if let Some(b'e' | b'E') = self.text.get(self.at) {
            self.at += 1;
            if let Some(b'+' | b'-') = self.text.get(self.at) {
                self.at += 1;
            }
            self.digit("in exponent of numeric literal")?;
            self.digits();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn complaints_are_those_of_go() {
        let cases = [
            ("tru", Some("invalid character ' ' in literal true (expecting 'e')")),
            ("01", Some("invalid character '1' after top-level value")),
            ("", Some("unexpected end of JSON input")),
            ("{\"a\":1 \"b\":2}", Some("invalid character '\"' after object key:value pair")),
            ("[1,]", Some("invalid character ']' looking for beginning of value")),
            ("{a: 1}", Some("invalid character 'a' looking for beginning of object key string")),
            ("[1", Some("unexpected end of JSON input")),
            ("\"\\x\"", Some("invalid character 'x' in string escape code")),
            ("-", Some("invalid character ' ' in numeric literal")),
            ("[{}, [], {\"a\": [1, -2.5e+3, \"x\\u00e9\", null]}]", None),
        ];
        for (text, expected) in cases {
            assert_eq!(complaint(text.as_bytes()).as_deref(), expected, "{text}");
        }
    }
}
