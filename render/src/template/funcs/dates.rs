//! Times and durations. The clock is the caller's, the zones are those of the bundled database, and "local" time is UTC:
//! a render must not depend on the machine it runs on.

use std::rc::Rc;

use super::calendar::{Instant, MONTHS, WEEKDAYS, Zone, days_from_civil, layout, parse};
use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::object::Object;
use crate::template::value::Value;

pub(super) static TABLE: &[Row] = &[
    exact("now", 0, |env, _| Ok(time(Instant::utc(env.now())))),
    exact("date", 2, |env, args| Ok(in_zone(env, &args.utf8(0)?, &args.any(1), "Local"))),
    exact("dateInZone", 3, date_in_zone),
    exact("date_in_zone", 3, date_in_zone),
    exact("htmlDate", 1, |env, args| Ok(in_zone(env, "2006-01-02", &args.any(0), "Local"))),
    exact("htmlDateInZone", 2, |env, args| Ok(in_zone(env, "2006-01-02", &args.any(0), &args.utf8(1)?))),
    exact("dateModify", 2, |_, args| modify(args, false)),
    exact("date_modify", 2, |_, args| modify(args, false)),
    exact("mustDateModify", 2, |_, args| modify(args, true)),
    exact("must_date_modify", 2, |_, args| modify(args, true)),
    exact("ago", 1, |env, args| {
        let age = env.now().saturating_sub(instant(env, &args.any(0)).seconds);
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
    exact("toDate", 2, |_, args| {
        Ok(time(parse(&args.utf8(0)?, &args.utf8(1)?).unwrap_or_else(|_| Instant::utc(ZERO_TIME))))
    }),
    exact("mustToDate", 2, |_, args| parse(&args.utf8(0)?, &args.utf8(1)?).map(time).map_err(Fault::Message)),
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

fn time(instant: Instant) -> Value {
    Value::Object(Rc::new(instant))
}

impl Object for Instant {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Answer> {
        let parts = self.civil();
        let int = |number: i64| Ok(Value::Int(number));
        let args = Args(arguments);
        Some(match name {
            "Unix" => Ok(Value::Int64(self.seconds)),
            "UnixMilli" => {
                Ok(Value::Int64(self.seconds.saturating_mul(1000) + i64::from(self.nanoseconds / 1_000_000)))
            }
            "UnixNano" => Ok(Value::Int64(
                self.seconds.saturating_mul(1_000_000_000).saturating_add(self.nanoseconds.into()),
            )),
            "Year" => int(parts.year),
            "Day" => int(parts.day),
            "Hour" => int(parts.hour),
            "Minute" => int(parts.minute),
            "Second" => int(parts.second),
            "Nanosecond" => int(self.nanoseconds.into()),
            "YearDay" => int(parts.year_day),
            "Month" => Ok(Value::text(MONTHS[usize::try_from(parts.month - 1).unwrap_or(0)])),
            "Weekday" => Ok(Value::text(WEEKDAYS[usize::try_from(parts.weekday).unwrap_or(0)])),
            "UTC" | "Local" => Ok(time(Self { zone: Zone::utc(), ..self.clone() })),
            "String" => Ok(Value::text(&self.print())),
            "Location" => Ok(Value::text(&self.zone.name)),
            "IsZero" => Ok(Value::Bool(self.seconds == ZERO_TIME)),
            "Format" => args.utf8(0).map(|pattern| Value::text(&layout(&pattern, self))),
            "AddDate" => (|| {
                let (years, months, days) = (args.int(0)?, args.int(1)?, args.int(2)?);
                let month = parts.month - 1 + months;
                let (year, month) = (parts.year + years + month.div_euclid(12), month.rem_euclid(12) + 1);
                let start = days_from_civil(year, month, 1) + parts.day - 1 + days;
                let clock = self.seconds.saturating_add(self.zone.offset).rem_euclid(86_400);
                Ok(time(Self { seconds: start * 86_400 + clock - self.zone.offset, ..self.clone() }))
            })(),
            _ => return None,
        })
    }

    fn print(&self) -> String {
        layout("2006-01-02 15:04:05.999999999 -0700 MST", self)
    }

    fn data(&self) -> Value {
        Value::text(&layout("2006-01-02T15:04:05.999999999Z07:00", self))
    }

    fn instant(&self) -> Option<Instant> {
        Some(self.clone())
    }
}

fn seconds_of(value: &Value) -> Option<i64> {
    match value {
        Value::Object(object) => object.instant().map(|instant| instant.seconds),
        Value::Int(number) | Value::Int64(number) => Some(*number),
        _ => None,
    }
}

/// The instant a value means to sprig: what is not a time is now.
fn instant(env: &mut Env<'_>, value: &Value) -> Instant {
    match value {
        Value::Object(object) => object.instant(),
        _ => seconds_of(value).map(Instant::utc),
    }
    .unwrap_or_else(|| Instant::utc(env.now()))
}

/// The instant in the zone of that name; an unknown zone is UTC, as in sprig.
fn in_zone(env: &mut Env<'_>, pattern: &str, value: &Value, zone: &str) -> Value {
    let instant = instant(env, value);
    let zone = match zone {
        "" | "UTC" | "Local" => Zone::utc(),
        name => Zone::named(name, instant.seconds),
    };
    Value::text(&layout(pattern, &Instant { zone, ..instant }))
}

fn date_in_zone(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    Ok(in_zone(env, &args.utf8(0)?, &args.any(1), &args.utf8(2)?))
}

fn modify(args: Args<'_>, strict: bool) -> Answer {
    let (text, value) = (args.utf8(0)?, args.any(1));
    let Value::Object(object) = &value else { return Ok(value) };
    let Some(instant) = object.instant() else { return Ok(value) };
    match parse_duration(&text) {
        Some(added) => {
            let total = i128::from(instant.seconds) * NANOSECONDS + i128::from(instant.nanoseconds) + added;
            let seconds = i64::try_from(total.div_euclid(NANOSECONDS)).unwrap_or(instant.seconds);
            let nanoseconds = u32::try_from(total.rem_euclid(NANOSECONDS)).unwrap_or(0);
            Ok(time(Instant { seconds, nanoseconds, ..instant }))
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

/// Go's `Duration.String` of whole seconds; what does not fit 64 bits of nanoseconds wraps around, as there.
fn duration(seconds: i64) -> String {
    let nanoseconds = seconds.wrapping_mul(1_000_000_000);
    let sign = if nanoseconds < 0 { "-" } else { "" };
    let size = nanoseconds.unsigned_abs();
    let (size, rest) = (size / 1_000_000_000, size % 1_000_000_000);
    let part = format!(".{rest:09}");
    let part = part.trim_end_matches('0').trim_end_matches('.');
    match (size / 3600, size / 60 % 60, size % 60) {
        (0, 0, seconds) => format!("{sign}{seconds}{part}s"),
        (0, minutes, seconds) => format!("{sign}{minutes}m{seconds}{part}s"),
        (hours, minutes, seconds) => format!("{sign}{hours}h{minutes}m{seconds}{part}s"),
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
