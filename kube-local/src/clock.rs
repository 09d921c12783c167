//! Time as Kubernetes writes it: RFC 3339 in whole seconds, microseconds for leases and events, and the
//! shortened ages of tables.

use jiff::{Timestamp, Unit};

/// Now, in whole seconds, as `metav1.Time` is written.
pub(crate) fn now() -> String {
    seconds(Timestamp::now())
}

/// A moment in whole seconds.
pub(crate) fn seconds(moment: Timestamp) -> String {
    match moment.round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor)) {
        Ok(rounded) => rounded.to_string(),
        Err(_) => moment.to_string(),
    }
}

/// The age of a timestamp as tables show it (`5s`, `3m20s`, `2d3h`), or `<unknown>`.
pub(crate) fn age(timestamp: &str, now: Timestamp) -> String {
    match timestamp.parse::<Timestamp>() {
        Ok(then) => human_duration(now.as_second() - then.as_second()),
        Err(_) => "<unknown>".to_owned(),
    }
}

/// Seconds in the form of apimachinery's `HumanDuration`: two figures at most, coarser as it grows.
pub(crate) fn human_duration(seconds: i64) -> String {
    const MINUTE: i64 = 60;
    const HOUR: i64 = 60 * MINUTE;
    const DAY: i64 = 24 * HOUR;
    let pair = |big: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 { format!("{big}{unit}") } else { format!("{big}{unit}{small}{small_unit}") }
    };
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 => "0s".to_owned(),
        0..120 => format!("{seconds}s"),
        120..600 => pair(seconds / MINUTE, "m", seconds % MINUTE, "s"),
        600..10_800 => format!("{}m", seconds / MINUTE),
        10_800..28_800 => pair(seconds / HOUR, "h", seconds % HOUR / MINUTE, "m"),
        28_800..172_800 => format!("{}h", seconds / HOUR),
        172_800..691_200 => pair(seconds / DAY, "d", seconds % DAY / HOUR, "h"),
        691_200..63_072_000 => format!("{}d", seconds / DAY),
        63_072_000..252_288_000 => pair(seconds / (365 * DAY), "y", seconds % (365 * DAY) / DAY, "d"),
        _ => format!("{}y", seconds / (365 * DAY)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let table = [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (200, "3m20s"),
            (600, "10m"),
            (10_799, "179m"),
            (11_000, "3h3m"),
            (86_400, "24h"),
            (172_800, "2d"),
            (180_000, "2d2h"),
            (8 * 86_400, "8d"),
            (800 * 86_400, "2y70d"),
            (3000 * 86_400, "8y"),
            (-5, "<invalid>"),
        ];
        for (seconds, expected) in table {
            assert_eq!(human_duration(seconds), expected, "{seconds} s");
        }
    }
}
