//! The JSON of Prometheus' HTTP API (`/api/v1/query` and its neighbours).

use serde_json::{Value as Json, json};

use crate::promql::{Error, Grid, Value, is_present};
use crate::{Labels, Millis, Sample, number};

/// Prometheus' word for what went wrong, and the HTTP status that goes with it.
pub fn error_type(error: &Error) -> (&'static str, u16) {
    match error {
        Error::Parse(_) => ("bad_data", 400),
        Error::Execution(_) => ("execution", 422),
        Error::Timeout(_) => ("timeout", 503),
        Error::Internal(_) => ("internal", 500),
    }
}

/// The body of an error.
pub fn error_body(error: &Error) -> Json {
    let (kind, _) = error_type(error);
    json!({"status": "error", "errorType": kind, "error": error.to_string()})
}

/// The body of a success; `warnings` only when there are some.
pub fn success_body(data: Json, warnings: &[String]) -> Json {
    if warnings.is_empty() {
        json!({"status": "success", "data": data})
    } else {
        json!({"status": "success", "data": data, "warnings": warnings})
    }
}

/// The data of an instant query.
pub fn instant_data(value: &Value, at: Millis) -> Json {
    match value {
        Value::Scalar(values) => {
            let value = values.first().copied().unwrap_or(f64::NAN);
            json!({"resultType": "scalar", "result": pair(at, value)})
        }
        Value::Text(text) => json!({"resultType": "string", "result": [time(at), text]}),
        Value::Vector(series) => {
            let result: Vec<Json> = series
                .iter()
                .filter_map(|series| {
                    let value = series.values.first().copied().filter(|value| is_present(*value))?;
                    Some(json!({"metric": series.labels, "value": pair(at, value)}))
                })
                .collect();
            json!({"resultType": "vector", "result": result})
        }
        Value::Samples(series) => {
            let result: Vec<Json> = series
                .iter()
                .map(|series| matrix_row(&series.labels, series.samples.iter().copied()))
                .collect();
            json!({"resultType": "matrix", "result": result})
        }
    }
}

/// The data of a range query.
pub fn range_data(value: &Value, grid: Grid) -> Json {
    let samples = |values: &[f64]| {
        grid.times()
            .zip(values.to_vec())
            .filter(|(_, value)| is_present(*value))
            .map(|(at, value)| Sample { at, value })
            .collect::<Vec<_>>()
    };
    let result: Vec<Json> = match value {
        Value::Scalar(values) => vec![matrix_row(&Labels::empty(), samples(values).into_iter())],
        Value::Text(_) => Vec::new(),
        Value::Vector(series) => series
            .iter()
            .map(|series| (&series.labels, samples(&series.values)))
            .filter(|(_, samples)| !samples.is_empty())
            .map(|(labels, samples)| matrix_row(labels, samples.into_iter()))
            .collect(),
        Value::Samples(series) => {
            series.iter().map(|series| matrix_row(&series.labels, series.samples.iter().copied())).collect()
        }
    };
    json!({"resultType": "matrix", "result": result})
}

fn matrix_row(labels: &Labels, samples: impl Iterator<Item = Sample>) -> Json {
    let values: Vec<Json> = samples.map(|sample| pair(sample.at, sample.value)).collect();
    json!({"metric": labels, "values": values})
}

fn pair(at: Millis, value: f64) -> Json {
    json!([time(at), number::format(value)])
}

/// Seconds: an integer where it is one.
fn time(at: Millis) -> Json {
    if at % 1000 == 0 { json!(at / 1000) } else { json!(at as f64 / 1000.0) }
}

/// Reads a `time`, `start` or `end` parameter: seconds or RFC 3339.
///
/// # Errors
/// [`Error::Parse`] with Prometheus' message.
pub fn parse_time(name: &str, text: &str) -> Result<Millis, Error> {
    let wrong = || {
        Error::Parse(format!("invalid parameter \"{name}\": cannot parse \"{text}\" to a valid timestamp"))
    };
    if let Some(seconds) = number::parse(text) {
        let millis = (seconds * 1000.0).round();
        return if millis.abs() < 9.0e15 { Ok(millis as Millis) } else { Err(wrong()) };
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| wrong())?;
    Ok(time.as_millisecond())
}

/// Reads a `step` or `timeout` parameter: seconds or a duration such as `1m30s`.
///
/// # Errors
/// [`Error::Parse`] with Prometheus' message.
pub fn parse_duration(name: &str, text: &str) -> Result<Millis, Error> {
    let wrong =
        || Error::Parse(format!("invalid parameter \"{name}\": cannot parse \"{text}\" to a valid duration"));
    if let Some(seconds) = number::parse(text) {
        let millis = (seconds * 1000.0).round();
        return if millis.abs() < 9.0e15 { Ok(millis as Millis) } else { Err(wrong()) };
    }
    duration(text).ok_or_else(wrong)
}

/// A duration in Prometheus' form: units from large to small, each once.
pub fn duration(text: &str) -> Option<Millis> {
    const UNITS: [(&str, Millis); 7] = [
        ("y", 31_536_000_000),
        ("w", 604_800_000),
        ("d", 86_400_000),
        ("h", 3_600_000),
        ("m", 60_000),
        ("s", 1_000),
        ("ms", 1),
    ];
    let mut rest = text;
    let mut total: Millis = 0;
    let mut next_unit = 0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let count: Millis = rest[..digits].parse().ok()?;
        let word_end =
            rest[digits..].find(|c: char| c.is_ascii_digit()).map_or(rest.len(), |end| digits + end);
        let at = UNITS.iter().position(|(word, _)| *word == &rest[digits..word_end])?;
        if at < next_unit {
            return None;
        }
        next_unit = at + 1;
        total = total.checked_add(count.checked_mul(UNITS[at].1)?)?;
        rest = &rest[word_end..];
    }
    (!text.is_empty()).then_some(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::promql::{ABSENT, StepSeries};

    #[test]
    fn a_vector_and_a_matrix_have_prometheus_shape() {
        let labels = Labels::from_pairs([("__name__", "up"), ("job", "a")]);
        let vector = Value::Vector(vec![StepSeries { labels: labels.clone(), values: vec![1.0] }]);
        assert_eq!(
            success_body(instant_data(&vector, 1_435_781_451_781), &[]).to_string(),
            r#"{"data":{"result":[{"metric":{"__name__":"up","job":"a"},"value":[1435781451.781,"1"]}],"resultType":"vector"},"status":"success"}"#
        );
        let matrix = Value::Vector(vec![StepSeries { labels, values: vec![1.0, ABSENT, f64::NAN] }]);
        let grid = Grid { start: 0, end: 2000, step: 1000 };
        assert_eq!(
            success_body(range_data(&matrix, grid), &["w".to_owned()]).to_string(),
            r#"{"data":{"result":[{"metric":{"__name__":"up","job":"a"},"values":[[0,"1"],[2,"NaN"]]}],"resultType":"matrix"},"status":"success","warnings":["w"]}"#
        );
    }

    #[test]
    fn parameters_are_read_as_prometheus_reads_them() {
        assert_eq!(parse_time("time", "1435781451.781"), Ok(1_435_781_451_781));
        assert_eq!(parse_time("time", "2015-07-01T20:10:51.781Z"), Ok(1_435_781_451_781));
        assert_eq!(
            parse_time("time", "soon").unwrap_err().to_string(),
            "invalid parameter \"time\": cannot parse \"soon\" to a valid timestamp"
        );
        assert_eq!(parse_duration("step", "15"), Ok(15_000));
        assert_eq!(parse_duration("step", "1h30m"), Ok(5_400_000));
        assert_eq!(parse_duration("step", "1m500ms"), Ok(60_500));
        assert!(parse_duration("step", "1m1h").is_err());
        assert!(parse_duration("step", "99999999999y").is_err());
    }
}
