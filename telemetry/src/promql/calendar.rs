//! Numbers of the calendar from seconds since the epoch, UTC.

use crate::promql::function::DateFunction;

const DAY: i64 = 86_400;

pub(super) fn apply(function: DateFunction, seconds: f64) -> f64 {
    if seconds.is_nan() || seconds.abs() > 1e14 {
        return f64::NAN;
    }
    let seconds = seconds.trunc() as i64;
    let days = seconds.div_euclid(DAY);
    let of_day = seconds.rem_euclid(DAY);
    let (year, month, day) = civil(days);
    let number = match function {
        DateFunction::Year => year,
        DateFunction::Month => month,
        DateFunction::DayOfMonth => day,
        // 1 January 1970 was a Thursday.
        DateFunction::DayOfWeek => (days + 4).rem_euclid(7),
        DateFunction::DayOfYear => days - days_before(year, 1) + 1,
        DateFunction::DaysInMonth => {
            let (next_year, next_month) = if month == 12 { (year + 1, 1) } else { (year, month + 1) };
            days_before(next_year, next_month) - days_before(year, month)
        }
        DateFunction::Hour => of_day / 3600,
        DateFunction::Minute => of_day / 60 % 60,
    };
    number as f64
}

/// Year, month and day of a day counted from 1 January 1970, in the Gregorian calendar.
fn civil(days: i64) -> (i64, i64, i64) {
    // Eras of 400 years that begin on 1 March, so that the leap day is the last of its year.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    (year_of_era + era * 400 + i64::from(month <= 2), month, day)
}

/// Days from 1 January 1970 to the first of a month.
fn days_before(year: i64, month: i64) -> i64 {
    let year = year - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let march_month = if month > 2 { month - 3 } else { month + 9 };
    let of_year = (153 * march_month + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_days() {
        // 2024-02-29 13:45:10, a Thursday; 1969-12-31 23:59:59, a Wednesday.
        let numbers = |seconds| {
            [
                DateFunction::Year,
                DateFunction::Month,
                DateFunction::DayOfMonth,
                DateFunction::DayOfWeek,
                DateFunction::DayOfYear,
                DateFunction::DaysInMonth,
                DateFunction::Hour,
                DateFunction::Minute,
            ]
            .map(|function| apply(function, seconds))
        };
        assert_eq!(numbers(1_709_214_310.0), [2024.0, 2.0, 29.0, 4.0, 60.0, 29.0, 13.0, 45.0]);
        assert_eq!(numbers(-1.0), [1969.0, 12.0, 31.0, 3.0, 365.0, 31.0, 23.0, 59.0]);
        assert!(numbers(f64::NAN)[0].is_nan());
    }
}
