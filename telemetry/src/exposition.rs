//! The Prometheus text format (0.0.4), written for `/metrics` and read when scraping.

use std::fmt::Write as _;

use crate::labels::METRIC_NAME;
use crate::{Batch, Labels, Millis, Sample, Series, number};

/// The content type of the format.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// What kind of metric a family is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Buckets, sum and count.
    Histogram,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// Writes families in the order given.
#[derive(Debug, Default)]
pub struct Writer(String);

impl Writer {
    /// Nothing yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// A family of samples: labels and value each.
    pub fn family<'a>(
        &mut self,
        name: &str,
        kind: Kind,
        help: &str,
        samples: impl IntoIterator<Item = (&'a [(&'a str, &'a str)], f64)>,
    ) -> &mut Self {
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        let _ = writeln!(self.0, "# HELP {name} {help}\n# TYPE {name} {}", kind.as_str());
        for (labels, value) in samples {
            self.sample(name, labels.iter().copied(), value);
        }
        self
    }

    /// A family of one sample without labels.
    pub fn single(&mut self, name: &str, kind: Kind, help: &str, value: f64) -> &mut Self {
        self.family(name, kind, help, [(&[][..], value)])
    }

    fn sample<'a>(&mut self, name: &str, labels: impl Iterator<Item = (&'a str, &'a str)>, value: f64) {
        self.0.push_str(name);
        let mut separator = '{';
        for (name, value) in labels {
            let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
            let _ = write!(self.0, "{separator}{name}=\"{value}\"");
            separator = ',';
        }
        if separator == ',' {
            self.0.push('}');
        }
        let _ = writeln!(self.0, " {}", number::format(value));
    }

    /// The text.
    pub fn finish(self) -> String {
        self.0
    }
}

/// A line that is not of the format.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the metrics is wrong at \"{near}\": {why}")]
pub struct ParseError {
    line: usize,
    near: String,
    why: &'static str,
}

/// Reads a text; samples without a time get `now`. Series keep their order, equal ones are merged.
///
/// # Errors
/// [`ParseError`] at the first wrong line: a scrape is all or nothing, as in Prometheus.
pub fn parse(text: &str, now: Millis) -> Result<Batch, ParseError> {
    let mut index: std::collections::HashMap<Labels, usize> = std::collections::HashMap::new();
    let mut series: Vec<Series> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let mut cursor = Cursor { rest: line };
        let (labels, sample) = cursor.line(now).map_err(|why| ParseError {
            line: number + 1,
            near: cursor.rest.chars().take(40).collect(),
            why,
        })?;
        let at = *index.entry(labels.clone()).or_insert_with(|| {
            series.push(Series { labels, samples: Vec::new() });
            series.len() - 1
        });
        series[at].samples.push(sample);
    }
    for series in &mut series {
        series.samples.sort_by_key(|sample| sample.at);
        series.samples.dedup_by_key(|sample| sample.at);
    }
    Ok(Batch { series })
}

struct Cursor<'a> {
    rest: &'a str,
}

impl<'a> Cursor<'a> {
    fn line(&mut self, now: Millis) -> Result<(Labels, Sample), &'static str> {
        let name = self.name(|c| c.is_ascii_alphanumeric() || c == '_' || c == ':')?;
        let mut pairs: Vec<(&str, String)> = vec![(METRIC_NAME, name.to_owned())];
        self.space();
        if self.eat('{') {
            loop {
                self.space();
                if self.eat('}') {
                    break;
                }
                let label = self.name(|c| c.is_ascii_alphanumeric() || c == '_')?;
                self.space();
                if !self.eat('=') {
                    return Err("expected = after a label's name");
                }
                self.space();
                pairs.push((label, self.quoted()?));
                self.space();
                if !self.eat(',') && !self.rest.starts_with('}') {
                    return Err("expected , or } after a label");
                }
            }
        }
        let mut words = self.rest.split_whitespace();
        let value = words.next().and_then(number::parse).ok_or("expected a value")?;
        let at = match words.next() {
            Some(time) => time.parse().map_err(|_| "expected a time in milliseconds")?,
            None => now,
        };
        if words.next().is_some() {
            return Err("expected the end of the line");
        }
        let labels = pairs.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Ok((labels, Sample { at, value }))
    }

    fn name(&mut self, allowed: impl Fn(char) -> bool) -> Result<&'a str, &'static str> {
        let end = self.rest.find(|c| !allowed(c)).unwrap_or(self.rest.len());
        let (name, rest) = self.rest.split_at(end);
        if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
            return Err("expected a name");
        }
        self.rest = rest;
        Ok(name)
    }

    fn quoted(&mut self) -> Result<String, &'static str> {
        if !self.eat('"') {
            return Err("expected a value in quotes");
        }
        let mut value = String::new();
        let mut chars = self.rest.char_indices();
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.rest = &self.rest[at + 1..];
                    return Ok(value);
                }
                '\\' => match chars.next() {
                    Some((_, 'n')) => value.push('\n'),
                    Some((_, escaped @ ('"' | '\\'))) => value.push(escaped),
                    Some((_, other)) => value.extend(['\\', other]),
                    None => break,
                },
                other => value.push(other),
            }
        }
        Err("a quoted value does not end")
    }

    fn eat(&mut self, c: char) -> bool {
        match self.rest.strip_prefix(c) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn space(&mut self) {
        self.rest = self.rest.trim_start();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_written_is_read() {
        let mut writer = Writer::new();
        writer.single("skein_up", Kind::Gauge, "Whether it is\nup.", 1.0);
        let labels: &[(&str, &str)] = &[("class", "a\"b\\c\nd"), ("x", "")];
        writer.family("skein_items_total", Kind::Counter, "Items.", [(labels, 1.5e300)]);
        let text = writer.finish();
        assert!(text.starts_with("# HELP skein_up Whether it is\\nup.\n# TYPE skein_up gauge\nskein_up 1\n"));
        let batch = parse(&text, 7).unwrap();
        assert_eq!(batch.series[1].labels.get("class"), "a\"b\\c\nd");
        assert_eq!(batch.series[1].samples, [Sample::new(7, 1.5e300)]);
    }

    #[test]
    fn spaces_times_and_comments_are_accepted() {
        let text = "# a comment\n  x { a = \"1\" , } +Inf 1500 \n\ny NaN\n";
        let batch = parse(text, 9).unwrap();
        assert_eq!(batch.series[0].samples, [Sample::new(1500, f64::INFINITY)]);
        assert_eq!(batch.series[1].labels.metric(), "y");
    }

    #[test]
    fn a_wrong_line_is_named() {
        let message = |text: &str| parse(text, 0).unwrap_err().to_string();
        assert_eq!(
            message("x 1\ny{a=1} 2"),
            "line 2 of the metrics is wrong at \"1} 2\": expected a value in quotes"
        );
        assert!(message("x").contains("expected a value"));
        assert!(message("x{a=\"b} 1").contains("does not end"));
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "\\PC*") {
            let _ = parse(&text, 0);
        }
    }
}
