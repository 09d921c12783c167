//! What the owner of a device or of a child cluster allows: holds and vetoes with a reason and a deadline, and weekly
//! maintenance windows. It goes before whatever comes from above, and needs no link.
//!
//! What runs is kept and repaired all the same; only what is new waits.

use std::fmt;
use std::str::FromStr;

use jiff::civil::{Date, Time, Weekday};
use jiff::tz::{Offset, TimeZone};
use jiff::{Timestamp, ToSpan as _};
use protocol::UnixMillis;
use protocol::plan::UnitId;
use serde::{Deserialize, Serialize};

/// Most holds, and most windows.
const ENTRIES_MAX: usize = 256;

/// What the owner of a cluster allows. Its text form is JSON.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct Local {
    /// What waits until its owner lets it go.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub holds: Vec<LocalHold>,
    /// When anything new may be begun; at any time unless given.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub windows: Option<Windows>,
}

/// Something that waits.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default, deny_unknown_fields)]
pub struct LocalHold {
    /// Only releases of this namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Only releases of this name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// Why, for whoever asks.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// When it ends by itself.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
}

/// Weekly maintenance windows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Windows {
    /// A name of the time zone database such as `Europe/Berlin`, `UTC`, or an offset such as `+02:00`.
    pub zone: String,
    /// The windows; with none of them nothing new is ever begun.
    pub weekly: Vec<Window>,
}

/// A window such as `Mon-Fri 22:00-05:00`; one that ends before it begins ends on the next day.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Window {
    days: Vec<Weekday>,
    from: Time,
    /// Midnight is the end of the day.
    to: Time,
    text: String,
}

/// Whether windows are open.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Opening {
    /// Now.
    Open,
    /// Next then, in milliseconds since 1970.
    At(UnixMillis),
    /// Never.
    Never,
}

impl Local {
    /// Reads the text form.
    ///
    /// # Errors
    /// What is wrong with it, and what is accepted.
    pub fn parse(text: &str) -> Result<Self, String> {
        let local: Self = serde_json::from_str(text).map_err(|error| error.to_string())?;
        local.check()?;
        Ok(local)
    }

    /// Whether it can be obeyed.
    ///
    /// # Errors
    /// What is wrong with it, and what is accepted.
    pub fn check(&self) -> Result<(), String> {
        if self.holds.len() > ENTRIES_MAX {
            return Err(format!(
                "holds has {} entries, at most {ENTRIES_MAX} are accepted",
                self.holds.len()
            ));
        }
        let Some(windows) = &self.windows else { return Ok(()) };
        if windows.weekly.len() > ENTRIES_MAX {
            let count = windows.weekly.len();
            return Err(format!("windows.weekly has {count} entries, at most {ENTRIES_MAX} are accepted"));
        }
        zone(&windows.zone).map(|_| ())
    }

    /// The hold that a release is under now.
    pub(crate) fn hold_of(&self, id: &UnitId, now: UnixMillis) -> Option<&LocalHold> {
        let matches = |hold: &&LocalHold| {
            hold.namespace.as_ref().is_none_or(|namespace| *namespace == id.namespace)
                && hold.service.as_ref().is_none_or(|service| *service == id.name)
                && hold.until.is_none_or(|until| millis(until) > now)
        };
        // The one that lasts longest decides.
        self.holds.iter().filter(matches).max_by_key(|hold| hold.until.map_or(u64::MAX, millis))
    }
}

impl Windows {
    /// Whether they are open, at this moment.
    ///
    /// # Errors
    /// When the time zone is not known.
    pub fn opening(&self, now: UnixMillis) -> Result<Opening, String> {
        let zone = zone(&self.zone)?;
        let Ok(at) = Timestamp::from_millisecond(i64::try_from(now).unwrap_or(i64::MAX)) else {
            return Ok(Opening::Never);
        };
        let today = at.to_zoned(zone.clone()).date();
        let mut next: Option<Timestamp> = None;
        // A window that began yesterday may be open still; every one comes again within a week.
        for ahead in -1..=8i64 {
            let Ok(date) = today.checked_add(ahead.days()) else { continue };
            for window in self.weekly.iter().filter(|window| window.days.contains(&date.weekday())) {
                let Some((from, to)) = window.on(date, &zone) else { continue };
                if from <= at && at < to {
                    return Ok(Opening::Open);
                }
                if from > at && next.is_none_or(|next| from < next) {
                    next = Some(from);
                }
            }
        }
        Ok(next.map_or(Opening::Never, |next| Opening::At(millis(next))))
    }
}

impl fmt::Display for Windows {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let weekly: Vec<&str> = self.weekly.iter().map(|window| window.text.as_str()).collect();
        write!(f, "{} {}", weekly.join(", "), self.zone)
    }
}

impl Window {
    fn on(&self, date: Date, zone: &TimeZone) -> Option<(Timestamp, Timestamp)> {
        let end = if self.to <= self.from { date.tomorrow().ok()? } else { date };
        let at =
            |date: Date, time: Time| Some(date.to_datetime(time).to_zoned(zone.clone()).ok()?.timestamp());
        Some((at(date, self.from)?, at(end, self.to)?))
    }
}

impl FromStr for Window {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = |what: &str| {
            format!("window \"{text}\": {what}; accepted is DAYS HH:MM-HH:MM as in \"Mon-Fri 22:00-05:00\"")
        };
        let text = text.trim();
        let (days, hours) = text.split_once(' ').ok_or_else(|| wrong("it has no days or no hours"))?;
        let (from, to) = hours.trim().split_once('-').ok_or_else(|| wrong("it has no end"))?;
        let hour = |text: &str| {
            let (hour, minute) = text.trim().split_once(':')?;
            let (hour, minute) = (hour.parse().ok()?, minute.parse().ok()?);
            if (hour, minute) == (24, 0) {
                Some(Time::midnight())
            } else {
                Time::new(hour, minute, 0, 0).ok()
            }
        };
        let time = |text: &str| hour(text).ok_or_else(|| wrong(&format!("\"{text}\" is no time of day")));
        let mut found = Vec::new();
        for part in days.split(',') {
            let day = |name: &str| weekday(name).ok_or_else(|| wrong(&format!("\"{name}\" is no day")));
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            if first == "*" || first.eq_ignore_ascii_case("daily") {
                found.extend(Weekday::Monday.cycle_forward().take(7));
                continue;
            }
            let (first, last) = (day(first)?, day(last)?);
            found.extend(first.cycle_forward().take(usize::from(first.until(last).unsigned_abs()) + 1));
        }
        Ok(Self { days: found, from: time(from)?, to: time(to)?, text: text.to_owned() })
    }
}

impl TryFrom<String> for Window {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl From<Window> for String {
    fn from(window: Window) -> Self {
        window.text
    }
}

fn weekday(name: &str) -> Option<Weekday> {
    let name = name.trim().to_ascii_lowercase();
    if name.len() < 3 {
        return None;
    }
    let names = ["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"];
    let at = names.iter().position(|whole| whole.starts_with(&name))?;
    Weekday::from_monday_zero_offset(i8::try_from(at).ok()?).ok()
}

fn zone(name: &str) -> Result<TimeZone, String> {
    let fixed = || {
        let (sign, rest) = match name.split_at_checked(1)? {
            ("+", rest) => (1, rest),
            ("-", rest) => (-1, rest),
            _ => return None,
        };
        let (hours, minutes) = rest.split_once(':')?;
        let (hours, minutes): (i32, i32) = (hours.parse().ok()?, minutes.parse().ok()?);
        let seconds = sign * (hours * 3600 + minutes * 60);
        Offset::from_seconds(seconds).ok().map(TimeZone::fixed)
    };
    fixed().or_else(|| TimeZone::get(name).ok()).ok_or_else(|| {
        format!(
            "time zone \"{name}\" is not known here; accepted is a name such as \"Europe/Berlin\", if this machine has \
             the time zone database, or an offset such as \"+02:00\""
        )
    })
}

fn millis(at: Timestamp) -> UnixMillis {
    u64::try_from(at.as_millisecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> UnixMillis {
        millis(text.parse().unwrap())
    }

    fn windows(zone: &str, weekly: &[&str]) -> Windows {
        let weekly = weekly.iter().map(|text| text.parse().unwrap()).collect();
        Windows { zone: zone.into(), weekly }
    }

    #[test]
    fn windows_open_and_close_by_the_clock_of_their_zone() {
        let nights = windows("+01:00", &["Mon-Fri 22:00-05:00"]);
        // 2026-11-23 is a Monday.
        let table = [
            ("2026-11-23T20:59:59Z", Opening::At(at("2026-11-23T21:00:00Z"))),
            ("2026-11-23T21:00:00Z", Opening::Open),
            ("2026-11-24T03:59:59Z", Opening::Open),
            ("2026-11-24T04:00:00Z", Opening::At(at("2026-11-24T21:00:00Z"))),
            // Friday's window ends on Saturday, and the next one is on Monday.
            ("2026-11-28T03:00:00Z", Opening::Open),
            ("2026-11-28T04:00:00Z", Opening::At(at("2026-11-30T21:00:00Z"))),
        ];
        for (now, wanted) in table {
            assert_eq!(nights.opening(at(now)).unwrap(), wanted, "{now}");
        }
        assert_eq!(windows("UTC", &[]).opening(0).unwrap(), Opening::Never);
        assert_eq!(windows("UTC", &["daily 00:00-24:00"]).opening(12_345).unwrap(), Opening::Open);
        // Around the end of a year of weeks, Sat-Mon wraps.
        let wrapped = windows("UTC", &["Sat-Mon 10:00-11:00"]);
        assert_eq!(wrapped.opening(at("2026-11-23T10:30:00Z")).unwrap(), Opening::Open);
        assert_eq!(
            wrapped.opening(at("2026-11-24T10:30:00Z")).unwrap(),
            Opening::At(at("2026-11-28T10:00:00Z"))
        );
    }

    #[test]
    fn a_zone_with_summer_time_moves_its_windows() {
        let Ok(_) = zone("Europe/Berlin") else { return };
        let early = windows("Europe/Berlin", &["Sun 02:30-04:00"]);
        // In winter UTC+1, in summer UTC+2.
        assert_eq!(early.opening(at("2026-01-11T01:31:00Z")).unwrap(), Opening::Open);
        assert_eq!(early.opening(at("2026-07-12T00:31:00Z")).unwrap(), Opening::Open);
        // On 2026-03-29 there is no 02:30; the window begins with the hour that there is.
        assert_eq!(early.opening(at("2026-03-29T01:31:00Z")).unwrap(), Opening::Open);
    }

    #[test]
    fn what_is_wrong_is_named_with_what_is_accepted() {
        let table = [
            (r#"{"windows": {"zone": "Mars/Base", "weekly": []}}"#, "time zone \"Mars/Base\" is not known"),
            (r#"{"windows": {"zone": "UTC", "weekly": ["Mon"]}}"#, "no days or no hours"),
            (r#"{"windows": {"zone": "UTC", "weekly": ["Foo 10:00-11:00"]}}"#, "\"Foo\" is no day"),
            (r#"{"windows": {"zone": "UTC", "weekly": ["Mon 25:00-11:00"]}}"#, "\"25:00\" is no time of day"),
            (r#"{"hold": true}"#, "unknown field"),
            ("", "EOF"),
        ];
        for (text, part) in table {
            let error = Local::parse(text).unwrap_err();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn a_hold_is_for_what_it_names_and_ends_by_itself() {
        let local = Local::parse(
            r#"{"holds": [{"namespace": "shop", "reason": "a", "until": "1970-01-01T00:00:10Z"},
                {"namespace": "shop", "service": "web", "reason": "b"}]}"#,
        );
        let local = local.unwrap();
        assert_eq!(Local::parse(&serde_json::to_string(&local).unwrap()), Ok(local.clone()));
        let id = |namespace: &str, name: &str| UnitId {
            set_namespace: String::new(),
            set_name: String::new(),
            namespace: namespace.into(),
            name: name.into(),
        };
        let reason = |id: &UnitId, now| local.hold_of(id, now).map(|hold| hold.reason.as_str());
        assert_eq!(reason(&id("shop", "web"), 0), Some("b"));
        assert_eq!(reason(&id("shop", "api"), 9_999), Some("a"));
        assert_eq!(reason(&id("shop", "api"), 10_000), None);
        assert_eq!(reason(&id("tools", "web"), 0), None);
    }
}
