//! Times and durations. The clock is the caller's, the zones are those of the bundled database, and "local" time is UTC:
//! a render must not depend on the machine it runs on.

use std::rc::Rc;

use super::calendar::{Instant, Zone, format};
use super::durations::{self, SECOND};
use super::parsed_time::parse;
use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::value::{Text, Value};

pub(super) static TABLE: &[Row] = &[
    exact("now", 0, |env, _| Ok(time(env.now()))),
    exact("date", 2, |env, args| Ok(in_zone(env, &args.string(0)?, &args.any(1), "Local"))),
    exact("dateInZone", 3, date_in_zone),
    exact("date_in_zone", 3, date_in_zone),
    exact("htmlDate", 1, |env, args| Ok(in_zone(env, &Text::from(DATE), &args.any(0), "Local"))),
    exact("htmlDateInZone", 2, |env, args| Ok(in_zone(env, &Text::from(DATE), &args.any(0), &args.utf8(1)?))),
    exact("dateModify", 2, |_, args| modify(args, false)),
    exact("date_modify", 2, |_, args| modify(args, false)),
    exact("mustDateModify", 2, |_, args| modify(args, true)),
    exact("must_date_modify", 2, |_, args| modify(args, true)),
    exact("ago", 1, |env, args| {
        let then = instant(env, &args.any(0));
        let age = since(env, &then);
        // To the second, halves away from zero.
        let half = SECOND / 2 * age.signum();
        Ok(Value::text(&durations::text(age.saturating_add(half) / SECOND * SECOND)))
    }),
    exact("duration", 1, |_, args| {
        let seconds = match args.any(0) {
            Value::Str(text) => text.lossy().parse().unwrap_or(0),
            Value::Int64(number) => number,
            _ => 0,
        };
        // What does not fit 64 bits of nanoseconds wraps around, as in Go.
        Ok(Value::text(&durations::text(i64::wrapping_mul(seconds, SECOND))))
    }),
    exact("durationRound", 1, |env, args| {
        let nanoseconds = match args.any(0) {
            Value::Str(text) => durations::parse(&text.lossy()).unwrap_or(0),
            Value::Int64(number) => number,
            Value::Object(object) => match object.instant() {
                Some(then) => since(env, &then),
                None => 0,
            },
            _ => 0,
        };
        Ok(Value::text(&durations::rounded(nanoseconds)))
    }),
    exact("toDate", 2, |_, args| {
        let (layout, text) = (args.string(0)?, args.string(1)?);
        Ok(time(parse(layout.bytes(), text.bytes()).unwrap_or_else(|_| Instant::utc(ZERO_TIME))))
    }),
    exact("mustToDate", 2, |_, args| {
        let (layout, text) = (args.string(0)?, args.string(1)?);
        parse(layout.bytes(), text.bytes()).map(time).map_err(Fault::Message)
    }),
    exact("unixEpoch", 1, |_, args| match seconds_of(&args.any(0)) {
        Some(seconds) => Ok(Value::text(&seconds.to_string())),
        None => {
            let got = args.any(0).type_name();
            Err(Fault::Type(format!("wrong type for value; expected time.Time; got {got}")))
        }
    }),
];

/// The layout of a date as HTML has it.
const DATE: &str = "2006-01-02";

/// Year 1, Go's zero time, in seconds since 1970.
pub(super) const ZERO_TIME: i64 = -62_135_596_800;

pub(super) fn time(instant: Instant) -> Value {
    Value::Object(Rc::new(instant))
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
    let found = match value {
        Value::Object(object) => object.instant(),
        Value::Int(seconds) | Value::Int64(seconds) => Some(Instant::local(*seconds, 0)),
        _ => None,
    };
    found.unwrap_or_else(|| env.now())
}

/// Nanoseconds that have passed; what does not fit is the longest time there is.
fn since(env: &mut Env<'_>, then: &Instant) -> i64 {
    env.now().nanoseconds_after(then)
}

/// The instant in the zone of that name; an unknown zone is UTC, as in sprig.
fn in_zone(env: &mut Env<'_>, pattern: &Text, value: &Value, zone: &str) -> Value {
    let instant = instant(env, value);
    let zone = match zone {
        "" | "UTC" => Zone::utc(),
        "Local" => Zone::local(),
        name => Zone::named(name, instant.seconds),
    };
    Value::Str(Text::from(format(pattern.bytes(), &Instant { zone, ..instant })))
}

fn date_in_zone(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    Ok(in_zone(env, &args.string(0)?, &args.any(1), &args.utf8(2)?))
}

fn modify(args: Args<'_>, strict: bool) -> Answer {
    let (text, value) = (args.utf8(0)?, args.any(1));
    let Value::Object(object) = &value else { return Ok(value) };
    let Some(instant) = object.instant() else { return Ok(value) };
    match durations::parse(&text) {
        Ok(added) => Ok(time(instant.plus(added))),
        Err(problem) if strict => Err(Fault::Message(problem)),
        Err(_) => Ok(value),
    }
}
