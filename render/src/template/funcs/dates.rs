//! Times and durations. The clock is the caller's; "local" time is UTC, and so is every zone that is not one of its
//! names: a render must not depend on the machine it runs on.

use std::rc::Rc;

use super::{Answer, Function, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::object::Object;
use crate::template::value::Value;

pub(super) static TABLE: &[Function] = &[
    exact("now", 0, |env, _| Ok(time(env.now()))),
    exact("date", 2, |env, args| Ok(Value::text(&layout(&args.utf8(0)?, instant(env, &args.any(1)))))),
    exact("dateInZone", 3, in_zone),
    exact("date_in_zone", 3, in_zone),
    exact("htmlDate", 1, |env, args| Ok(Value::text(&layout("2006-01-02", instant(env, &args.any(0)))))),
    exact("htmlDateInZone", 2, |env, args| {
        Ok(Value::text(&layout("2006-01-02", instant(env, &args.any(0)))))
    }),
    exact("dateModify", 2, |_, args| modify(args, false)),
    exact("date_modify", 2, |_, args| modify(args, false)),
    exact("mustDateModify", 2, |_, args| modify(args, true)),
    exact("must_date_modify", 2, |_, args| modify(args, true)),
    exact("ago", 1, |env, args| {
        let age = env.now().saturating_sub(instant(env, &args.any(0)));
        Ok(Value::text(&duration(age)))
    }),
    exact("duration", 1, |_, args| {
        let seconds = match args.any(0) {
            Value::Str(text) => text.lossy().parse().unwrap_or(0),
            Value::Int64(number) => number,
            _ => 0,
        };
        Ok(Value::text(&duration(seconds)))
    }),
    exact("durationRound", 1, |env, args| {
        let nanoseconds = match args.any(0) {
            Value::Str(text) => parse_duration(&text.lossy()).unwrap_or(0),
            Value::Int64(number) => i128::from(number),
            other => match seconds_of(&other) {
                Some(then) if matches!(other, Value::Object(_)) => i128::from(env.now() - then) * NANOSECONDS,
                _ => 0,
            },
        };
        Ok(Value::text(&rounded(nanoseconds)))
    }),
    exact("toDate", 2, |_, args| Ok(time(parse_layout(&args.utf8(0)?, &args.utf8(1)?).unwrap_or(ZERO_TIME)))),
    exact("mustToDate", 2, |_, args| {
        let (pattern, text) = (args.utf8(0)?, args.utf8(1)?);
        parse_layout(&pattern, &text).map(time).ok_or_else(|| {
            Fault::message(format!("parsing time {text:?} as {pattern:?}: cannot parse {text:?}"))
        })
    }),
    exact("unixEpoch", 1, |_, args| match seconds_of(&args.any(0)) {
        Some(seconds) => Ok(Value::text(&seconds.to_string())),
        None => {
            let got = args.any(0).type_name();
            Err(Fault::Type(format!("wrong type for value; expected time.Time; got {got}")))
        }
    }),
];

const NANOSECONDS: i128 = 1_000_000_000;

/// Year 1, Go's zero time, in seconds since 1970.
const ZERO_TIME: i64 = -62_135_596_800;

/// A `time.Time` in UTC.
#[derive(Debug)]
struct Time(i64);

fn time(seconds: i64) -> Value {
    Value::Object(Rc::new(Time(seconds)))
}

impl Object for Time {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Answer> {
        let parts = Civil::of(self.0);
        let int = |number: i64| Ok(Value::Int(number));
        let args = Args(arguments);
        Some(match name {
            "Unix" => Ok(Value::Int64(self.0)),
            "UnixMilli" => Ok(Value::Int64(self.0.saturating_mul(1000))),
            "UnixNano" => Ok(Value::Int64(self.0.saturating_mul(1_000_000_000))),
            "Year" => int(parts.year),
            "Day" => int(parts.day),
            "Hour" => int(parts.hour),
            "Minute" => int(parts.minute),
            "Second" => int(parts.second),
            "Nanosecond" => int(0),
            "YearDay" => int(parts.year_day),
            "Month" => Ok(Value::text(MONTHS[usize::try_from(parts.month - 1).unwrap_or(0)])),
            "Weekday" => Ok(Value::text(WEEKDAYS[usize::try_from(parts.weekday).unwrap_or(0)])),
            "UTC" | "Local" => Ok(time(self.0)),
            "String" => Ok(Value::text(&self.print())),
            "IsZero" => Ok(Value::Bool(self.0 == ZERO_TIME)),
            "Format" => args.utf8(0).map(|pattern| Value::text(&layout(&pattern, self.0))),
            "AddDate" => (|| {
                let (years, months, days) = (args.int(0)?, args.int(1)?, args.int(2)?);
                let month = parts.month - 1 + months;
                let (year, month) = (parts.year + years + month.div_euclid(12), month.rem_euclid(12) + 1);
                let start = days_from_civil(year, month, 1) + parts.day - 1 + days;
                Ok(time(start * 86_400 + self.0.rem_euclid(86_400)))
            })(),
            _ => return None,
        })
    }

    fn print(&self) -> String {
        layout("2006-01-02 15:04:05 -0700 MST", self.0)
    }

    fn data(&self) -> Value {
        Value::text(&layout("2006-01-02T15:04:05Z07:00", self.0))
    }

    fn unix_seconds(&self) -> Option<i64> {
        Some(self.0)
    }
}

const MONTHS: [&str; 12] = [
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

const WEEKDAYS: [&str; 7] = ["Sunday", "Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday"];

/// An instant as calendar fields in UTC.
struct Civil {
    year: i64,
    month: i64,
    day: i64,
    hour: i64,
    minute: i64,
    second: i64,
    weekday: i64,
    year_day: i64,
}

/// Days since 1970 of a date of the Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
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

fn next_element(pattern: &str) -> Option<(usize, &'static str)> {
    (0..pattern.len()).filter(|at| pattern.is_char_boundary(*at)).find_map(|at| {
        let rest = &pattern[at..];
        let element = ELEMENTS.iter().find(|element| rest.starts_with(**element))?;
        Some((at, *element))
    })
}

/// Go's `Time.Format` for an instant in UTC.
fn layout(pattern: &str, seconds: i64) -> String {
    let time = Civil::of(seconds);
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
            "2006" => format!("{:04}", time.year),
            "06" => format!("{:02}", time.year.rem_euclid(100)),
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
            "MST" => "UTC".to_owned(),
            zone if zone.starts_with('Z') => "Z".to_owned(),
            "-07:00:00" => "+00:00:00".to_owned(),
            "-07:00" => "+00:00".to_owned(),
            "-070000" => "+000000".to_owned(),
            "-07" => "+00".to_owned(),
            _ => "+0000".to_owned(),
        });
    }
    out.push_str(rest);
    out
}

/// Go's `time.Parse` for the numeric elements and names, as an instant.
fn parse_layout(pattern: &str, text: &str) -> Option<i64> {
    let (mut year, mut month, mut day) = (1_i64, 1_i64, 1_i64);
    let (mut hour, mut minute, mut second, mut offset) = (0_i64, 0_i64, 0_i64, 0_i64);
    let mut afternoon = None;
    let (mut rest, mut left) = (pattern, text);
    let number = |left: &mut &str, least: usize, most: usize| -> Option<i64> {
        let count = left.bytes().take(most).take_while(u8::is_ascii_digit).count();
        let value = left.get(..count).filter(|_| count >= least)?.parse().ok()?;
        *left = &left[count..];
        Some(value)
    };
    let name = |left: &mut &str, names: &[&str], length: Option<usize>| -> Option<usize> {
        let at = names.iter().position(|name| left.starts_with(&name[..length.unwrap_or(name.len())]))?;
        *left = &left[length.unwrap_or(names[at].len())..];
        Some(at)
    };
    while let Some((at, element)) = next_element(rest) {
        left = left.strip_prefix(&rest[..at])?;
        rest = &rest[at + element.len()..];
        match element {
            "2006" => year = number(&mut left, 4, 4)?,
            "06" => {
                year = number(&mut left, 2, 2)
                    .map(|short| if short >= 69 { 1900 + short } else { 2000 + short })?
            }
            "01" => month = number(&mut left, 2, 2)?,
            "1" => month = number(&mut left, 1, 2)?,
            "January" => month = i64::try_from(name(&mut left, &MONTHS, None)?).ok()? + 1,
            "Jan" => month = i64::try_from(name(&mut left, &MONTHS, Some(3))?).ok()? + 1,
            "Monday" => {
                name(&mut left, &WEEKDAYS, None)?;
            }
            "Mon" => {
                name(&mut left, &WEEKDAYS, Some(3))?;
            }
            "02" => day = number(&mut left, 2, 2)?,
            "_2" | "2" => {
                left = left.trim_start_matches(' ');
                day = number(&mut left, 1, 2)?;
            }
            "15" | "03" => hour = number(&mut left, 2, 2)?,
            "3" => hour = number(&mut left, 1, 2)?,
            "04" => minute = number(&mut left, 2, 2)?,
            "4" => minute = number(&mut left, 1, 2)?,
            "05" | "5" => {
                second = number(&mut left, element.len(), 2)?;
                if let Some(fraction) = left.strip_prefix('.').filter(|_| !rest.starts_with('.')) {
                    left = fraction.trim_start_matches(|c: char| c.is_ascii_digit());
                }
            }
            "PM" | "pm" => afternoon = Some(name(&mut left, &["AM", "PM", "am", "pm"], None)? % 2 == 1),
            "MST" => left = left.trim_start_matches(|c: char| c.is_ascii_uppercase()),
            _ => {
                if element.starts_with('Z') && left.starts_with('Z') {
                    left = &left[1..];
                    continue;
                }
                let sign = if left.starts_with('-') { -1 } else { 1 };
                left = left.strip_prefix(['+', '-'])?;
                let hours = number(&mut left, 2, 2)?;
                left = left.strip_prefix(':').unwrap_or(left);
                offset = sign * (hours * 3600 + number(&mut left, 2, 2).unwrap_or(0) * 60);
            }
        }
    }
    if left != rest
        || !(1..=12).contains(&month)
        || !(1..=31).contains(&day)
        || hour > 23
        || minute > 59
        || second > 59
    {
        return None;
    }
    let hour = match afternoon {
        Some(true) if hour < 12 => hour + 12,
        Some(false) if hour == 12 => 0,
        _ => hour,
    };
    Some(days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second - offset)
}

fn seconds_of(value: &Value) -> Option<i64> {
    match value {
        Value::Object(object) => object.unix_seconds(),
        Value::Int(number) | Value::Int64(number) => Some(*number),
        _ => None,
    }
}

/// The instant a value means to sprig: what is not a time is now.
fn instant(env: &mut Env<'_>, value: &Value) -> i64 {
    seconds_of(value).unwrap_or_else(|| env.now())
}

fn in_zone(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let zone = args.utf8(2)?;
    if !matches!(zone.as_str(), "" | "UTC" | "Local" | "GMT" | "Etc/UTC" | "Etc/GMT" | "Zulu") {
        return Err(Fault::Unsupported(format!("dateInZone {zone:?}")));
    }
    Ok(Value::text(&layout(&args.utf8(0)?, instant(env, &args.any(1)))))
}

fn modify(args: Args<'_>, strict: bool) -> Answer {
    let (text, value) = (args.utf8(0)?, args.any(1));
    let Value::Object(object) = &value else {
        return Err(Fault::Type(format!(
            "wrong type for value; expected time.Time; got {}",
            value.type_name()
        )));
    };
    let Some(seconds) = object.unix_seconds() else {
        return Err(Fault::Type(format!(
            "wrong type for value; expected time.Time; got {}",
            value.type_name()
        )));
    };
    match parse_duration(&text) {
        Some(nanoseconds) => {
            Ok(time(seconds.saturating_add(i64::try_from(nanoseconds / NANOSECONDS).unwrap_or(0))))
        }
        None if strict => Err(Fault::message(format!("time: invalid duration {text:?}"))),
        None => Ok(value),
    }
}

/// Go's `time.ParseDuration`, in nanoseconds.
fn parse_duration(text: &str) -> Option<i128> {
    let (negative, mut rest) = match text.strip_prefix(['-', '+']) {
        Some(rest) => (text.starts_with('-'), rest),
        None => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    let mut total = 0.0_f64;
    if rest.is_empty() {
        return None;
    }
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let amount: f64 = rest[..end].parse().ok()?;
        let tail = &rest[end..];
        let unit_end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let unit = match &tail[..unit_end] {
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += amount * unit;
        rest = &tail[unit_end..];
    }
    #[allow(clippy::cast_possible_truncation)] // whole nanoseconds are asked for
    let nanoseconds = total as i128;
    Some(if negative { -nanoseconds } else { nanoseconds })
}

/// Go's `Duration.String` of whole seconds.
fn duration(seconds: i64) -> String {
    let sign = if seconds < 0 { "-" } else { "" };
    let size = seconds.unsigned_abs();
    match (size / 3600, size / 60 % 60, size % 60) {
        (0, 0, seconds) => format!("{sign}{seconds}s"),
        (0, minutes, seconds) => format!("{sign}{minutes}m{seconds}s"),
        (hours, minutes, seconds) => format!("{sign}{hours}h{minutes}m{seconds}s"),
    }
}

fn rounded(nanoseconds: i128) -> String {
    let seconds = nanoseconds.unsigned_abs() / NANOSECONDS.unsigned_abs();
    let exact = nanoseconds.unsigned_abs().is_multiple_of(NANOSECONDS.unsigned_abs());
    let units = [(31_536_000, "y"), (2_592_000, "mo"), (86_400, "d"), (3600, "h"), (60, "m"), (1, "s")];
    for (size, name) in units {
        if seconds > size || (seconds == size && !exact) {
            return format!("{}{name}", seconds / size);
        }
    }
    "0s".to_owned()
}
