//! The scanner's hand on the text: characters, line breaks, and what may follow what.

use super::read::YamlError;
use super::scan::Scanner;

impl<'t> Scanner<'t> {
    /// A byte ahead; zero behind the end (the reader refuses zeros in the text).
    pub(super) fn byte(&self, ahead: usize) -> u8 {
        self.text.as_bytes().get(self.position + ahead).copied().unwrap_or(0)
    }

    /// `\r`, `\n`, NEL, LS, PS.
    pub(super) fn is_break(&self, ahead: usize) -> bool {
        match self.byte(ahead) {
            b'\r' | b'\n' => true,
            0xC2 => self.byte(ahead + 1) == 0x85,
            0xE2 => self.byte(ahead + 1) == 0x80 && matches!(self.byte(ahead + 2), 0xA8 | 0xA9),
            _ => false,
        }
    }

    pub(super) fn is_blank(&self) -> bool {
        matches!(self.byte(0), b' ' | b'\t')
    }

    pub(super) fn is_break_or_end(&self, ahead: usize) -> bool {
        self.byte(ahead) == 0 || self.is_break(ahead)
    }

    pub(super) fn is_blank_or_end(&self, ahead: usize) -> bool {
        matches!(self.byte(ahead), b' ' | b'\t') || self.is_break_or_end(ahead)
    }

    pub(super) fn is_word(&self) -> bool {
        matches!(self.byte(0), b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'_' | b'-')
    }

    /// Bytes of the character here.
    fn width(&self) -> usize {
        match self.byte(0) {
            0..=0x7F => 1,
            0x80..=0xDF => 2,
            0xE0..=0xEF => 3,
            0xF0..=0xFF => 4,
        }
    }

    /// Passes one character that is no line break.
    pub(super) fn skip(&mut self) {
        if self.position < self.text.len() {
            self.position += self.width();
        }
        self.mark.index += 1;
        self.mark.column += 1;
    }

    /// Passes a line break, `\r\n` as one.
    pub(super) fn skip_line(&mut self) {
        let two = self.byte(0) == b'\r' && self.byte(1) == b'\n';
        self.position += if two { 2 } else { self.width() };
        self.mark.index += if two { 2 } else { 1 };
        self.mark.column = 0;
        self.mark.line += 1;
    }

    /// Takes one character.
    pub(super) fn read(&mut self, into: &mut String) {
        let start = self.position;
        self.skip();
        into.push_str(self.text.get(start..self.position).unwrap_or_default());
    }

    /// Takes a line break: all but LS and PS become `\n`.
    pub(super) fn read_line(&mut self, into: &mut String) {
        let start = self.position;
        let separator = self.byte(0) == 0xE2;
        if !self.is_break(0) {
            return;
        }
        self.skip_line();
        if separator {
            into.push_str(self.text.get(start..self.position).unwrap_or_default());
        } else {
            into.push('\n');
        }
    }

    /// Passes the ASCII characters here that `goes_on` wants, all at once; a line break must not be among them.
    pub(super) fn pass_run(&mut self, goes_on: impl Fn(u8) -> bool) {
        let rest = self.text.as_bytes().get(self.position..).unwrap_or_default();
        let count = rest.iter().position(|byte| !byte.is_ascii() || !goes_on(*byte)).unwrap_or(rest.len());
        self.position += count;
        self.mark.index += count;
        self.mark.column += count;
    }

    /// Passes what is left of the line.
    pub(super) fn pass_line(&mut self) {
        loop {
            self.pass_run(|byte| !matches!(byte, b'\r' | b'\n' | 0));
            if self.is_break_or_end(0) {
                return;
            }
            self.skip();
        }
    }

    /// Takes characters up to a line break or the end.
    pub(super) fn read_to_break(&mut self, into: &mut String) {
        let start = self.position;
        self.pass_line();
        into.push_str(self.text.get(start..self.position).unwrap_or_default());
    }

    pub(super) fn skip_blanks(&mut self) {
        while self.is_blank() {
            self.skip();
        }
    }

    /// Passes what may stand behind the head of a directive or a block: blanks, a comment, the end of the line.
    pub(super) fn rest_of_line(&mut self) -> Result<(), YamlError> {
        self.skip_blanks();
        self.comment();
        if !self.is_break_or_end(0) {
            return Err(self.error("did not find expected comment or line break"));
        }
        if self.is_break(0) {
            self.skip_line();
        }
        Ok(())
    }

    /// Passes a comment, when one begins here.
    pub(super) fn comment(&mut self) {
        if self.byte(0) == b'#' {
            self.pass_line();
        }
    }
}
