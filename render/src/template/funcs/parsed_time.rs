//! Go's `time.Parse`: an instant read by a layout.

use super::calendar::{
    Civil, Instant, MONTHS, WEEKDAYS, Zone, as_bytes, as_letters, days_from_civil, next_element, quoted,
};

/// Why an element could not be read.
enum Trouble {
    Bad,
    Range(&'static str),
}

/// What is read so far.
#[derive(Default)]
struct Read {
    year: i64,
    month: Option<i64>,
    day: Option<i64>,
    year_day: Option<i64>,
    clock: (i64, i64, i64),
    nanoseconds: u32,
    afternoon: Option<bool>,
    offset: Option<i64>,
    zone: Option<String>,
    /// `Z` or `UTC` were read.
    is_utc: bool,
}

/// The bytes of a sign and at most 23 hours, if they begin the text.
fn signed_hours(text: &str) -> usize {
    let digits = text.bytes().skip(1).take_while(u8::is_ascii_digit).count();
    let hours = text.get(1..=digits).and_then(|digits| digits.parse::<u32>().ok());
    match hours.filter(|hours| text.starts_with(['+', '-']) && *hours <= 23) {
        Some(_) => 1 + digits,
        None => 0,
    }
}

/// Go's `time.Parse`.
///
/// # Errors
/// Go's words.
pub(crate) fn parse(pattern: &[u8], text: &[u8]) -> Result<Instant, String> {
    let (pattern, text) = (as_letters(pattern), as_letters(text));
    let (pattern, text) = (pattern.as_str(), text.as_str());
    let quoted = |text: &str| quoted(&as_bytes(text));
    let failed = |element: &str, left: &str| {
        let (whole, by) = (quoted(text), quoted(pattern));
        format!("parsing time {whole} as {by}: cannot parse {} as {}", quoted(left), quoted(element))
    };
    let beyond = |what: &str| format!("parsing time {}: {what} out of range", quoted(text));
    let mut read = Read::default();
    let (mut rest, mut left) = (pattern, text);
    loop {
        let next = next_element(rest);
        let prefix = next.map_or(rest, |(at, _)| &rest[..at]);
        left = skip(left, prefix).map_err(|left| failed(prefix, left))?;
        let Some((at, element)) = next else {
            if !left.is_empty() {
                return Err(format!("parsing time {}: extra text: {}", quoted(text), quoted(left)));
            }
            break;
        };
        rest = &rest[at + element.len()..];
        let hold = left;
        read.element(element, rest, &mut left).map_err(|trouble| match trouble {
            Trouble::Bad => failed(element, hold),
            Trouble::Range(what) => beyond(what),
        })?;
    }
    read.finish().map_err(beyond)
}

/// The text behind a literal part of the layout; a space stands for any number of them.
fn skip<'t>(mut value: &'t str, mut prefix: &str) -> Result<&'t str, &'t str> {
    while let Some(letter) = prefix.chars().next() {
        if letter == ' ' {
            if !value.is_empty() && !value.starts_with(' ') {
                return Err(value);
            }
            prefix = prefix.trim_start_matches(' ');
            value = value.trim_start_matches(' ');
            continue;
        }
        value = value.strip_prefix(letter).ok_or(value)?;
        prefix = &prefix[letter.len_utf8()..];
    }
    Ok(value)
}

fn exactly(left: &mut &str, count: usize) -> Result<i64, Trouble> {
    let digits = left.get(..count).filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()));
    let value = digits.and_then(|digits| digits.parse().ok()).ok_or(Trouble::Bad)?;
    *left = &left[count..];
    Ok(value)
}

/// Two digits, or one where that is allowed.
fn number(left: &mut &str, two: bool) -> Result<i64, Trouble> {
    let digit = |at: usize| left.as_bytes().get(at).is_some_and(u8::is_ascii_digit);
    match (digit(0), digit(1)) {
        (true, true) => exactly(left, 2),
        (true, false) if !two => exactly(left, 1),
        _ => Err(Trouble::Bad),
    }
}

fn name(left: &mut &str, names: &[&str], length: Option<usize>) -> Result<i64, Trouble> {
    for (at, name) in names.iter().enumerate() {
        let name = &name[..length.unwrap_or(name.len())];
        if left.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)) {
            *left = &left[name.len()..];
            return i64::try_from(at).map_err(|_| Trouble::Bad);
        }
    }
    Err(Trouble::Bad)
}

fn within(value: i64, last: i64, what: &'static str) -> Result<i64, Trouble> {
    if (0..=last).contains(&value) { Ok(value) } else { Err(Trouble::Range(what)) }
}

impl Read {
    fn element(&mut self, element: &str, rest: &str, left: &mut &str) -> Result<(), Trouble> {
        match element {
            "2006" => self.year = exactly(left, 4)?,
            "06" => {
                let short = exactly(left, 2)?;
                self.year = if short >= 69 { 1900 + short } else { 2000 + short };
            }
            "01" | "1" => {
                let month = number(left, element == "01")?;
                if month == 0 {
                    return Err(Trouble::Range("month"));
                }
                self.month = Some(within(month, 12, "month")?);
            }
            "January" => self.month = Some(name(left, &MONTHS, None)? + 1),
            "Jan" => self.month = Some(name(left, &MONTHS, Some(3))? + 1),
            "Monday" => drop(name(left, &WEEKDAYS, None)?),
            "Mon" => drop(name(left, &WEEKDAYS, Some(3))?),
            "02" | "_2" | "2" => {
                if element == "_2" {
                    *left = left.strip_prefix(' ').unwrap_or(left);
                }
                self.day = Some(number(left, element == "02")?);
            }
            "002" | "__2" => {
                let spaces =
                    if element == "__2" { left.len() - left.trim_start_matches(' ').len() } else { 0 };
                *left = &left[spaces.min(2)..];
                self.year_day = Some(exactly(left, 3 - spaces.min(2))?);
            }
            "15" => self.clock.0 = within(number(left, false)?, 23, "hour")?,
            "03" | "3" => self.clock.0 = within(number(left, element == "03")?, 12, "hour")?,
            "04" | "4" => self.clock.1 = within(number(left, element == "04")?, 59, "minute")?,
            "05" | "5" => {
                self.clock.2 = within(number(left, element == "05")?, 59, "second")?;
                // A fraction may follow the seconds although the layout has none.
                let asked = next_element(rest).is_some_and(|(_, next)| next.starts_with(['.', ',']));
                if !asked && left.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
                    self.fraction(left, usize::MAX)?;
                }
            }
            "PM" | "pm" => {
                let (after, before) = if element == "PM" { ("PM", "AM") } else { ("pm", "am") };
                self.afternoon = Some(match left.get(..2) {
                    Some(text) if text == after => true,
                    Some(text) if text == before => false,
                    _ => return Err(Trouble::Bad),
                });
                *left = &left[2..];
            }
            "MST" => self.zone_name(left)?,
            element if element.starts_with(['.', ',']) => {
                let wanted = element.len() - 1;
                if element.ends_with('0') {
                    let count = left.bytes().skip(1).take_while(u8::is_ascii_digit).count();
                    if !left.starts_with(['.', ',']) || count < wanted {
                        return Err(Trouble::Bad);
                    }
                    self.fraction(left, wanted)?;
                } else if left.as_bytes().get(1).is_some_and(u8::is_ascii_digit) {
                    self.fraction(left, usize::MAX)?;
                }
            }
            element => self.zone_offset(element, left)?,
        }
        Ok(())
    }

    /// A point or comma and digits; without them nothing is read.
    fn fraction(&mut self, left: &mut &str, most: usize) -> Result<(), Trouble> {
        let Some(after) = left.strip_prefix(['.', ',']) else { return Ok(()) };
        let count = after.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let digits = format!("{:0<9}", &after[..count]);
        self.nanoseconds = digits[..9].parse().map_err(|_| Trouble::Bad)?;
        *left = &after[count..];
        Ok(())
    }

    fn zone_name(&mut self, left: &mut &str) -> Result<(), Trouble> {
        if let Some(after) = left.strip_prefix("UTC") {
            self.is_utc = true;
            *left = after;
            return Ok(());
        }
        let capitals = left.bytes().take_while(u8::is_ascii_uppercase).count();
        let start = &left[..capitals];
        let length = match capitals {
            _ if left.starts_with("ChST") || left.starts_with("MeST") => 4,
            _ if left.starts_with("GMT") => 3 + signed_hours(&left[3..]),
            0 if left.len() > 2 => signed_hours(left),
            3 => 3,
            4 if start.ends_with('T') || start == "WITA" => 4,
            5 if start.ends_with('T') => 5,
            _ => 0,
        };
        if length == 0 {
            return Err(Trouble::Bad);
        }
        let (name, after) = left.split_at(length);
        self.zone = Some(name.to_owned());
        *left = after;
        Ok(())
    }

    fn zone_offset(&mut self, element: &str, left: &mut &str) -> Result<(), Trouble> {
        if element.starts_with('Z')
            && let Some(after) = left.strip_prefix('Z')
        {
            self.is_utc = true;
            *left = after;
            return Ok(());
        }
        let sign = match left.as_bytes().first() {
            Some(b'+') => 1,
            Some(b'-') => -1,
            _ => return Err(Trouble::Bad),
        };
        let colon = element.contains(':');
        let parts = element.bytes().filter(u8::is_ascii_digit).count() / 2;
        let mut after = &left[1..];
        let mut values = [0; 3];
        for (at, value) in values.iter_mut().enumerate().take(parts) {
            if at > 0 && colon {
                after = after.strip_prefix(':').ok_or(Trouble::Bad)?;
            }
            *value = exactly(&mut after, 2)?;
        }
        within(values[0], 24, "time zone offset hour")?;
        within(values[1], 60, "time zone offset minute")?;
        within(values[2], 60, "time zone offset second")?;
        self.offset = Some(sign * (values[0] * 3600 + values[1] * 60 + values[2]));
        *left = after;
        Ok(())
    }

    fn finish(self) -> Result<Instant, &'static str> {
        let leap = self.year % 4 == 0 && (self.year % 100 != 0 || self.year % 400 == 0);
        let lengths = [31, if leap { 29 } else { 28 }, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let (mut month, mut day) = (self.month.unwrap_or(1), self.day.unwrap_or(1));
        if let Some(year_day) = self.year_day {
            if !(1..=365 + i64::from(leap)).contains(&year_day) {
                return Err("day-of-year");
            }
            let date = Civil::of((days_from_civil(self.year, 1, 1) + year_day - 1) * 86_400);
            if self.month.is_some_and(|month| month != date.month)
                || self.day.is_some_and(|day| day != date.day)
            {
                return Err("day-of-year does not match month or day");
            }
            (month, day) = (date.month, date.day);
        }
        let length = usize::try_from(month - 1).ok().and_then(|at| lengths.get(at)).copied().unwrap_or(31);
        if !(1..=length).contains(&day) {
            return Err("day");
        }
        let (hour, minute, second) = self.clock;
        let hour = match self.afternoon {
            Some(true) if hour < 12 => hour + 12,
            Some(false) if hour == 12 => 0,
            _ => hour,
        };
        let local = days_from_civil(self.year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
        let zone = match (self.offset, self.zone) {
            _ if self.is_utc => Zone::utc(),
            (None | Some(0), None) => Zone::local(),
            (Some(offset), name) => Zone::fixed(offset, &name.unwrap_or_default()),
            // A name alone says nothing about the clock, but that of `GMT+3` is believed.
            (None, Some(name)) => {
                let hours = name.strip_prefix("GMT").and_then(|hours| hours.parse::<i64>().ok());
                let zone = Zone::fixed(hours.unwrap_or(0) * 3600, &name);
                return Ok(Instant { seconds: local, nanoseconds: self.nanoseconds, zone });
            }
        };
        Ok(Instant { seconds: local - zone.offset, nanoseconds: self.nanoseconds, zone })
    }
}
