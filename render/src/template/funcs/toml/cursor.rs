//! The letters of a document, one after the other: where they stand, and which of them no document may hold.
//!
//! What is said of a mistake names the line of the letter that was read last, and the line before where that letter is
//! a line's end: so does the library of Helm.

/// What is read behind the last letter. No document holds it.
pub(super) const END: char = '\0';

/// What is wrong, and in which line.
pub(super) struct Problem {
    pub line: usize,
    pub words: String,
}

impl Problem {
    pub(super) fn new(line: usize, words: impl Into<String>) -> Self {
        Self { line, words: words.into() }
    }
}

/// A place in a document.
pub(super) struct Cursor<'t> {
    /// The document up to the first byte that is no text.
    text: &'t str,
    /// That byte.
    odd: Option<u8>,
    pub at: usize,
    pub line: usize,
    ended: bool,
}

impl<'t> Cursor<'t> {
    pub(super) fn new(document: &'t [u8]) -> Self {
        let chunk = document.utf8_chunks().next();
        let text = chunk.as_ref().map_or("", |chunk| chunk.valid());
        let odd = chunk.and_then(|chunk| chunk.invalid().first().copied());
        Self { text, odd, at: 0, line: 1, ended: false }
    }

    /// The next letter, or [`END`].
    pub(super) fn next(&mut self) -> Result<char, Problem> {
        let mut letters = self.text[self.at..].chars();
        let Some(letter) = letters.next() else {
            if let Some(odd) = self.odd {
                return Err(Problem::new(self.line, format!("invalid UTF-8 byte: 0x{odd:02x}")));
            }
            self.ended = true;
            return Ok(END);
        };
        self.line += usize::from(letter == '\n');
        let control = letter.is_ascii_control() && !matches!(letter, '\t' | '\r' | '\n');
        if control || (letter == '\r' && letters.next() != Some('\n')) {
            let code = u32::from(letter);
            let words = format!("TOML files cannot contain control characters: '0x{code:02x}'");
            return Err(Problem::new(self.line, words));
        }
        self.at += letter.len_utf8();
        Ok(letter)
    }

    /// Takes the last letter back.
    pub(super) fn back(&mut self) {
        if std::mem::take(&mut self.ended) {
            return;
        }
        if let Some(letter) = self.text[..self.at].chars().next_back() {
            self.at -= letter.len_utf8();
            self.line -= usize::from(letter == '\n');
        }
    }

    pub(super) fn peek(&mut self) -> Result<char, Problem> {
        let letter = self.next()?;
        self.back();
        Ok(letter)
    }

    /// Reads the letter if it comes next.
    pub(super) fn accept(&mut self, letter: char) -> Result<bool, Problem> {
        let found = self.next()? == letter;
        if !found {
            self.back();
        }
        Ok(found)
    }

    /// Reads letters as long as they are wanted.
    pub(super) fn skip(&mut self, wanted: impl Fn(char) -> bool) -> Result<(), Problem> {
        while wanted(self.next()?) {}
        self.back();
        Ok(())
    }

    pub(super) fn skip_blanks(&mut self) -> Result<(), Problem> {
        self.skip(is_blank)
    }

    /// Reads a comment up to the end of its line.
    pub(super) fn skip_comment(&mut self) -> Result<(), Problem> {
        self.skip(|letter| !is_line_end(letter) && letter != END)
    }

    /// The text from a place to here.
    pub(super) fn since(&self, start: usize) -> &'t str {
        &self.text[start..self.at]
    }

    /// What is wrong here.
    pub(super) fn problem(&self, words: impl Into<String>) -> Problem {
        let behind_line = self.ended && self.text[..self.at].ends_with('\n');
        Problem::new(self.line - usize::from(behind_line), words)
    }

    /// What is wrong in the line that has just ended.
    pub(super) fn problem_before(&self, words: impl Into<String>) -> Problem {
        Problem::new(self.line - 1, words)
    }

    /// What is wrong with the last letter; of an end, the line before is named.
    pub(super) fn problem_of_letter(&self, words: impl Into<String>) -> Problem {
        Problem::new(self.line - usize::from(self.ended), words)
    }
}

pub(super) fn is_blank(letter: char) -> bool {
    matches!(letter, ' ' | '\t')
}

pub(super) fn is_line_end(letter: char) -> bool {
    matches!(letter, '\n' | '\r')
}
