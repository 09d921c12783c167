//! OpenCost's `window` parameter.

use jiff::{Span, Timestamp, Zoned, civil, tz::TimeZone};

use crate::Millis;

/// Why a text is not a window.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "invalid window \"{0}\": accepted are durations (1h, 7d), today, yesterday, week, month, lastweek, lastmonth, and two times (RFC 3339 or Unix seconds) with a comma between"
)]
pub struct WindowError(String);

/// Start and end of a window, at the time `now`, in UTC.
///
/// # Errors
/// [`WindowError`] with what is accepted.
pub fn parse(text: &str, now: Millis) -> Result<(Millis, Millis), WindowError> {
    let wrong = || WindowError(text.to_owned());
    if let Some((start, end)) = text.split_once(',') {
        let time = |text: &str| crate::prometheus::parse_time("window", text.trim()).map_err(|_| wrong());
        let (start, end) = (time(start)?, time(end)?);
        return if start < end { Ok((start, end)) } else { Err(wrong()) };
    }
    if let Some(length) = crate::prometheus::duration(text).filter(|length| *length > 0) {
        return Ok((now.saturating_sub(length), now));
    }
    let zoned = Timestamp::from_millisecond(now).map_err(|_| wrong())?.to_zoned(TimeZone::UTC);
    named(text, &zoned, now).ok_or_else(wrong)
}

fn named(text: &str, now: &Zoned, now_millis: Millis) -> Option<(Millis, Millis)> {
    let midnight = now.date();
    let week = midnight.checked_sub(Span::new().days(now.weekday().to_sunday_zero_offset())).ok()?;
    let month = midnight.first_of_month();
    let start = |date: civil::Date| Some(date.to_zoned(TimeZone::UTC).ok()?.timestamp().as_millisecond());
    Some(match text {
        "today" => (start(midnight)?, now_millis),
        "yesterday" => (start(midnight.yesterday().ok()?)?, start(midnight)?),
        "week" => (start(week)?, now_millis),
        "lastweek" => (start(week.checked_sub(Span::new().days(7)).ok()?)?, start(week)?),
        "month" => (start(month)?, now_millis),
        "lastmonth" => (start(month.checked_sub(Span::new().months(1)).ok()?)?, start(month)?),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn windows_are_opencosts() {
        // 2024-03-06T12:00:00Z, a Wednesday.
        let now = 1_709_726_400_000;
        let day = 86_400_000;
        let midnight = now - day / 2;
        let table = [
            ("1h", (now - 3_600_000, now)),
            ("7d", (now - 7 * day, now)),
            ("today", (midnight, now)),
            ("yesterday", (midnight - day, midnight)),
            ("week", (midnight - 3 * day, now)),
            ("lastweek", (midnight - 10 * day, midnight - 3 * day)),
            ("month", (midnight - 5 * day, now)),
            ("lastmonth", (midnight - 34 * day, midnight - 5 * day)),
            ("2024-03-06T00:00:00Z,2024-03-06T01:00:00Z", (midnight, midnight + 3_600_000)),
            ("1709683200,1709686800", (midnight, midnight + 3_600_000)),
        ];
        for (text, expected) in table {
            assert_eq!(parse(text, now), Ok(expected), "{text}");
        }
        assert!(parse("soon", now).is_err());
        assert!(parse("5,1", now).is_err());
    }
}
