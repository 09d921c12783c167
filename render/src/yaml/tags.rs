//! Directives, anchors and tags: what stands before a document or a node.

use super::read::YamlError;
use super::scan::{Kind, Scanner};

impl Scanner<'_> {
    pub(super) fn scan_directive(&mut self) -> Result<(), YamlError> {
        let start = self.mark;
        self.skip();
        let name = self.word();
        if name.is_empty() {
            return Err(self.error("could not find expected directive name"));
        }
        if !self.is_blank_or_end(0) {
            return Err(self.error("found unexpected non-alphabetical character"));
        }
        let kind = match name.as_str() {
            "YAML" => {
                self.skip_blanks();
                let major = self.version_number()?;
                if self.byte(0) != b'.' {
                    return Err(self.error("did not find expected digit or '.' character"));
                }
                self.skip();
                Kind::Version((major, self.version_number()?) == (1, 1))
            }
            "TAG" => self.tag_directive()?,
            _ => return Err(self.error("found unknown directive name")),
        };
        self.rest_of_line()?;
        self.emit(kind, start);
        Ok(())
    }

    fn word(&mut self) -> String {
        let mut word = String::new();
        while self.is_word() {
            self.read(&mut word);
        }
        word
    }

    fn version_number(&mut self) -> Result<u8, YamlError> {
        let mut digits = String::new();
        while self.byte(0).is_ascii_digit() {
            if digits.len() == 2 {
                return Err(self.error("found extremely long version number"));
            }
            self.read(&mut digits);
        }
        digits.parse().map_err(|_| self.error("did not find expected version number"))
    }

    fn tag_directive<'t>(&mut self) -> Result<Kind<'t>, YamlError> {
        self.skip_blanks();
        let handle = self.tag_handle(true)?;
        if !self.is_blank() {
            return Err(self.error("did not find expected whitespace"));
        }
        self.skip_blanks();
        let prefix = self.tag_uri("")?;
        if !self.is_blank_or_end(0) {
            return Err(self.error("did not find expected whitespace or line break"));
        }
        Ok(Kind::TagDirective(handle, prefix))
    }

    pub(super) fn anchor(&mut self, alias: bool) -> Result<(), YamlError> {
        let start = self.mark;
        self.skip();
        let name = self.word();
        let ended = self.is_blank_or_end(0) || b"?:,]}%@`".contains(&self.byte(0));
        if name.is_empty() || !ended {
            return Err(self.error("did not find expected alphabetic or numeric character"));
        }
        self.emit(if alias { Kind::Alias(name) } else { Kind::Anchor(name) }, start);
        Ok(())
    }

    pub(super) fn tag(&mut self) -> Result<(), YamlError> {
        let start = self.mark;
        let (handle, suffix) = if self.byte(1) == b'<' {
            self.skip();
            self.skip();
            let suffix = self.tag_uri("")?;
            if self.byte(0) != b'>' {
                return Err(self.error("did not find the expected '>'"));
            }
            self.skip();
            (String::new(), suffix)
        } else {
            let handle = self.tag_handle(false)?;
            if handle.len() > 1 && handle.ends_with('!') {
                let suffix = self.tag_uri("")?;
                (handle, suffix)
            } else {
                let suffix = self.tag_uri(&handle)?;
                // A lone `!` is a tag without a handle.
                if suffix.is_empty() { (suffix, "!".to_owned()) } else { ("!".to_owned(), suffix) }
            }
        };
        if !self.is_blank_or_end(0) {
            return Err(self.error("did not find expected whitespace or line break"));
        }
        self.emit(Kind::Tag(handle, suffix), start);
        Ok(())
    }

    fn tag_handle(&mut self, directive: bool) -> Result<String, YamlError> {
        if self.byte(0) != b'!' {
            return Err(self.error("did not find expected '!'"));
        }
        let mut handle = String::new();
        self.read(&mut handle);
        handle.push_str(&self.word());
        if self.byte(0) == b'!' {
            self.read(&mut handle);
        } else if directive && handle != "!" {
            return Err(self.error("did not find expected '!'"));
        }
        Ok(handle)
    }

    /// The rest of a tag, behind what of it looked like a handle.
    fn tag_uri(&mut self, head: &str) -> Result<String, YamlError> {
        let mut uri = head.strip_prefix('!').unwrap_or(head).to_owned().into_bytes();
        let mut found = !head.is_empty();
        loop {
            match self.byte(0) {
                b'%' => self.escapes(&mut uri)?,
                byte if self.is_word() || b";/?:@&=+$,.!~*'()[]".contains(&byte) => {
                    uri.push(byte);
                    self.skip();
                }
                _ => break,
            }
            found = true;
        }
        if !found {
            return Err(self.error("did not find expected tag URI"));
        }
        Ok(String::from_utf8_lossy(&uri).into_owned())
    }

    /// One character written as `%` and digits, byte by byte.
    fn escapes(&mut self, uri: &mut Vec<u8>) -> Result<(), YamlError> {
        let mut left = 0;
        let mut first = true;
        while first || left > 0 {
            let digits = self.text.get(self.position + 1..self.position + 3).unwrap_or_default();
            let octet = u8::from_str_radix(digits, 16).ok().filter(|_| self.byte(0) == b'%');
            let Some(octet) = octet.filter(|_| !digits.starts_with('+')) else {
                return Err(self.error("did not find URI escaped octet"));
            };
            if first {
                left = match octet {
                    0x00..=0x7F => 1,
                    0xC0..=0xDF => 2,
                    0xE0..=0xEF => 3,
                    0xF0..=0xF7 => 4,
                    _ => return Err(self.error("found an incorrect leading UTF-8 octet")),
                };
            } else if octet & 0xC0 != 0x80 {
                return Err(self.error("found an incorrect trailing UTF-8 octet"));
            }
            first = false;
            uri.push(octet);
            (0..3).for_each(|_| self.skip());
            left -= 1;
        }
        Ok(())
    }
}
