//! Go's `time.Time` as templates meet it: its methods, and what it prints as.

use std::rc::Rc;

use super::Answer;
use super::calendar::{Instant, MONTHS, Place, WEEKDAYS, Zone, days_from_civil, format, layout, quoted};
use super::dates::{ZERO_TIME, time};
use super::durations::{DURATION, SECOND};
use crate::template::args::Args;
use crate::template::fault::Fault;
use crate::template::named::{Kind, UNSIGNED, named};
use crate::template::object::Object;
use crate::template::print::bytes_of;
use crate::template::value::{Text, Value};

/// The layout of RFC 3339 with as many digits of a second as there are.
const RFC_3339: &str = "2006-01-02T15:04:05.999999999Z07:00";

/// A name by its number; what has none shows the number.
fn of<const N: usize>(names: [&str; N], kind: &str, number: i64, first: i64) -> String {
    let known = usize::try_from(number - first).ok().and_then(|at| names.get(at));
    known.map_or_else(|| format!("%!{kind}({number})"), |name| (*name).to_owned())
}

static MONTH: Kind = Kind {
    name: "time.Month",
    kind: "int",
    text: Some(|number| of(MONTHS, "Month", number, 1)),
    method: |_, _| None,
};

static WEEKDAY: Kind = Kind {
    name: "time.Weekday",
    kind: "int",
    text: Some(|number| of(WEEKDAYS, "Weekday", number, 0)),
    method: |_, _| None,
};

impl Instant {
    fn total(&self) -> i128 {
        i128::from(self.seconds) * i128::from(SECOND) + i128::from(self.nanoseconds)
    }

    fn at(&self, total: i128) -> Self {
        let seconds = i64::try_from(total.div_euclid(SECOND.into())).unwrap_or(self.seconds);
        let nanoseconds = u32::try_from(total.rem_euclid(SECOND.into())).unwrap_or(0);
        Self { seconds, nanoseconds, zone: self.zone.clone() }
    }

    /// So many nanoseconds later.
    pub(super) fn plus(&self, nanoseconds: i64) -> Self {
        self.at(self.total() + i128::from(nanoseconds))
    }

    /// How much later than the other it is; what does not fit is the longest time there is.
    pub(super) fn nanoseconds_after(&self, other: &Self) -> i64 {
        let difference = self.total() - other.total();
        i64::try_from(difference).unwrap_or(if difference < 0 { i64::MIN } else { i64::MAX })
    }

    /// Rounded to a multiple of a duration since year 1: down, or with `half` to the nearest one.
    fn rounded(&self, to: i64, half: bool) -> Self {
        if to <= 0 {
            return self.clone();
        }
        let to = i128::from(to);
        let rest = (self.total() - i128::from(ZERO_TIME) * i128::from(SECOND)).rem_euclid(to);
        let up = half && rest * 2 >= to;
        self.at(self.total() - rest + if up { to } else { 0 })
    }

    fn plus_date(&self, args: Args<'_>) -> Answer {
        let parts = self.civil();
        let (years, months, days) = (args.int(0)?, args.int(1)?, args.int(2)?);
        let month = (parts.month - 1).saturating_add(months);
        let year = parts.year.saturating_add(years).saturating_add(month.div_euclid(12));
        let bounded = year.clamp(-292_000_000_000, 292_000_000_000);
        let start = days_from_civil(bounded, month.rem_euclid(12) + 1, 1) + parts.day - 1;
        let clock = self.seconds.saturating_add(self.zone.offset).rem_euclid(86_400);
        let seconds =
            start.saturating_add(days).saturating_mul(86_400).saturating_add(clock - self.zone.offset);
        Ok(time(Self { seconds, ..self.clone() }))
    }

    /// RFC 3339, where it can say it.
    fn strict(&self) -> Option<String> {
        let year = self.civil().year;
        let told = (0..=9999).contains(&year) && self.zone.offset.abs() < 24 * 3600;
        told.then(|| layout(RFC_3339, self))
    }

    /// Why RFC 3339 cannot say it.
    pub(super) fn trouble(&self) -> &'static str {
        if (0..=9999).contains(&self.civil().year) {
            "timezone hour outside of range [0,23]"
        } else {
            "year outside of range [0,9999]"
        }
    }

    /// Methods without arguments.
    fn part(&self, name: &str) -> Option<Value> {
        let parts = self.civil();
        let thousands = |unit: u32, scale: i64| {
            Value::Int64(self.seconds.wrapping_mul(scale).wrapping_add((self.nanoseconds / unit).into()))
        };
        Some(match name {
            "Unix" => Value::Int64(self.seconds),
            "UnixMilli" => thousands(1_000_000, 1_000),
            "UnixMicro" => thousands(1_000, 1_000_000),
            "UnixNano" => thousands(1, SECOND),
            "Year" => Value::Int(parts.year),
            "Day" => Value::Int(parts.day),
            "Hour" => Value::Int(parts.hour),
            "Minute" => Value::Int(parts.minute),
            "Second" => Value::Int(parts.second),
            "Nanosecond" => Value::Int(self.nanoseconds.into()),
            "YearDay" => Value::Int(parts.year_day),
            "Month" => named(parts.month, &MONTH),
            "Weekday" => named(parts.weekday, &WEEKDAY),
            "UTC" => time(Self { zone: Zone::utc(), ..self.clone() }),
            "Local" => time(Self { zone: Zone::local(), ..self.clone() }),
            "String" => Value::text(&self.print()),
            "GoString" => Value::text(&self.go_syntax()),
            "Location" => Value::Object(Rc::new(Location(self.zone.clone()))),
            "IsZero" => Value::Bool(self.seconds == ZERO_TIME && self.nanoseconds == 0),
            // A template's times lie in UTC, or so many hours from it: zones with a summer stay inside functions.
            "IsDST" => Value::Bool(false),
            "MarshalBinary" | "GobEncode" => Value::bytes(&self.binary()),
            _ => return None,
        })
    }

    /// Go's binary form: a version, seconds since the year 1, nanoseconds, and minutes east of UTC.
    fn binary(&self) -> Vec<u8> {
        let minutes = if self.zone.place == Place::Utc { -1 } else { self.zone.offset / 60 };
        let rest = self.zone.offset % 60;
        let mut out = vec![if rest == 0 { 1 } else { 2 }];
        out.extend(self.seconds.wrapping_sub(ZERO_TIME).to_be_bytes());
        out.extend(self.nanoseconds.to_be_bytes());
        out.extend(i16::try_from(minutes).unwrap_or_default().to_be_bytes());
        out.extend(i8::try_from(rest).ok().filter(|rest| *rest != 0).map(i8::cast_unsigned));
        out
    }

    fn go_syntax(&self) -> String {
        let time = self.civil();
        let place = match self.zone.place {
            Place::Utc => "time.UTC".to_owned(),
            Place::Local => "time.Local".to_owned(),
            Place::Other => format!("time.Location({})", quoted(self.zone.name.as_bytes())),
        };
        format!(
            "time.Date({}, time.{}, {}, {}, {}, {}, {}, {place})",
            time.year,
            of(MONTHS, "Month", time.month, 1),
            time.day,
            time.hour,
            time.minute,
            time.second,
            self.nanoseconds
        )
    }
}

impl Object for Instant {
    fn type_name(&self) -> &'static str {
        "time.Time"
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Answer> {
        let parameters = self.parameters(name)?;
        if arguments.len() != parameters.len() {
            let (want, got) = (parameters.len(), arguments.len());
            return Some(Err(Fault::Type(format!("wrong number of args for {name}: want {want} got {got}"))));
        }
        let args = Args(arguments);
        let other = || match args.any(0) {
            Value::Object(object) => object.instant(),
            _ => None,
        };
        // Behind what is there already.
        let appended = |more: Vec<u8>| Ok(Value::bytes(&[bytes_of(&args.any(0)), more].concat()));
        let told = || {
            let refusal = || Fault::Method(format!("Time.{name}: {}", self.trouble()));
            self.strict().ok_or_else(refusal)
        };
        let duration = || args.any(0).whole().unwrap_or(0);
        let compared = |check: fn(i128, i128) -> bool| {
            Value::Bool(other().is_some_and(|other| check(self.total(), other.total())))
        };
        Some(match name {
            "Format" => args.string(0).map(|layout| Value::Str(Text::from(format(layout.bytes(), self)))),
            "AppendFormat" => args.string(1).and_then(|layout| appended(format(layout.bytes(), self))),
            "AppendText" => told().and_then(|text| appended(text.into_bytes())),
            "MarshalText" => told().map(|text| Value::bytes(text.as_bytes())),
            "MarshalJSON" => told().map(|text| Value::bytes(format!("\"{text}\"").as_bytes())),
            "AppendBinary" => appended(self.binary()),
            "In" => match args.any(0) {
                Value::Object(place) => place.zone().map(|zone| Ok(time(Self { zone, ..self.clone() })))?,
                _ => Err(Fault::Method("time: missing Location in call to Time.In".to_owned())),
            },
            "AddDate" => self.plus_date(args),
            "Add" => Ok(time(self.plus(duration()))),
            "Sub" => {
                let since = other().map_or(0, |other| self.nanoseconds_after(&other));
                Ok(named(since, &DURATION))
            }
            "Round" => Ok(time(self.rounded(duration(), true))),
            "Truncate" => Ok(time(self.rounded(duration(), false))),
            "After" => Ok(compared(|a, b| a > b)),
            "Before" => Ok(compared(|a, b| a < b)),
            "Equal" => Ok(compared(|a, b| a == b)),
            "Compare" => Ok(Value::Int(other().map_or(0, |other| self.total().cmp(&other.total()) as i64))),
            "Date" | "Clock" => {
                Err(Fault::message(format!("function {name} has 3 return values; should be 1 or 2")))
            }
            "Zone" | "ISOWeek" => Err(Fault::message(format!(
                "invalid function signature for {name}: second return value should be error; is int"
            ))),
            "ZoneBounds" => Err(Fault::message(
                "invalid function signature for ZoneBounds: second return value should be error; is time.Time",
            )),
            _ => self.part(name).map(Ok)?,
        })
    }

    fn parameters(&self, name: &str) -> Option<&'static str> {
        Some(match name {
            "Format" => "s",
            "AddDate" => "iii",
            "Add" | "Round" | "Truncate" => "a",
            "Sub" | "After" | "Before" | "Equal" | "Compare" => "t",
            "AppendFormat" => "ys",
            "AppendText" | "AppendBinary" => "y",
            "In" => "p",
            "Date" | "Clock" | "Zone" | "ISOWeek" | "ZoneBounds" | "MarshalText" | "MarshalJSON" => "",
            _ => self.part(name).map(|_| "")?,
        })
    }

    fn print(&self) -> String {
        layout("2006-01-02 15:04:05.999999999 -0700 MST", self)
    }

    fn text(&self) -> Option<String> {
        Some(self.print())
    }

    fn syntax(&self) -> Option<String> {
        Some(self.go_syntax())
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let since_year_one = self.seconds.saturating_sub(ZERO_TIME);
        let place = match self.zone.place {
            // A pointer to nowhere.
            Place::Utc => Value::Int(0),
            Place::Local | Place::Other => Value::Object(Rc::new(Location(self.zone.clone()))),
        };
        vec![
            ("wall", named(self.nanoseconds.into(), &UNSIGNED)),
            ("ext", Value::Int64(since_year_one)),
            ("loc", place),
        ]
    }

    fn data(&self) -> Value {
        Value::text(&layout(RFC_3339, self))
    }

    fn refuses_json(&self) -> bool {
        self.strict().is_none()
    }

    fn json_refusal(&self) -> Option<String> {
        let trouble = self.trouble();
        Some(format!("json: error calling MarshalJSON for type time.Time: Time.MarshalJSON: {trouble}"))
    }

    fn instant(&self) -> Option<Instant> {
        Some(self.clone())
    }
}

/// A nil `*time.zone`.
#[derive(Debug)]
struct NoZone;

impl Object for NoZone {
    fn type_name(&self) -> &'static str {
        "*time.zone"
    }

    fn kind_name(&self) -> &'static str {
        "ptr"
    }

    fn print(&self) -> String {
        "<nil>".to_owned()
    }

    fn data(&self) -> Value {
        Value::Null
    }
}

/// A `*time.Location`.
#[derive(Debug)]
struct Location(Zone);

impl Object for Location {
    fn type_name(&self) -> &'static str {
        "*time.Location"
    }

    fn kind_name(&self) -> &'static str {
        "ptr"
    }

    fn call(&self, name: &str, _: &[Value]) -> Option<Answer> {
        (name == "String").then(|| Ok(Value::text(&self.print())))
    }

    fn parameters(&self, name: &str) -> Option<&'static str> {
        (name == "String").then_some("")
    }

    fn print(&self) -> String {
        match self.0.place {
            // What is local is called as the variable TZ says.
            Place::Utc | Place::Local => "UTC".to_owned(),
            Place::Other => self.0.name.to_string(),
        }
    }

    fn text(&self) -> Option<String> {
        Some(self.print())
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let list = || Value::list(Vec::new());
        vec![
            ("name", Value::text(&self.print())),
            ("zone", list()),
            ("tx", list()),
            ("extend", Value::text("")),
            ("cacheStart", Value::Int64(0)),
            ("cacheEnd", Value::Int64(0)),
            ("cacheZone", Value::Object(Rc::new(NoZone))),
        ]
    }

    fn zone(&self) -> Option<Zone> {
        Some(self.0.clone())
    }

    fn data(&self) -> Value {
        Value::Dict(crate::template::value::Dict::empty())
    }
}
