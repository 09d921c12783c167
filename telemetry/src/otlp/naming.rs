//! OTLP names to Prometheus names, by OpenTelemetry's "Prometheus and OpenMetrics compatibility".

/// What is measured, as far as the name depends on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// A value that goes up and down.
    Gauge,
    /// A sum that only goes up.
    Counter,
    /// Anything else.
    Other,
}

/// The metric's name: words joined by `_`, the unit as suffix, `_total` for counters, `_ratio` for gauges of
/// unit 1.
pub fn metric_name(name: &str, unit: &str, shape: Shape) -> String {
    let mut words: Vec<String> = name
        .split(|c: char| !c.is_ascii_alphanumeric() && c != ':')
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    let (main, per) = unit.split_once('/').unwrap_or((unit, ""));
    if let Some(main) = unit_word(main.trim()) {
        push_missing(&mut words, &main);
    }
    if let Some(per) = per_word(per.trim())
        && !words.contains(&per)
    {
        words.extend(["per".to_owned(), per]);
    }
    match shape {
        Shape::Counter => move_last(&mut words, "total"),
        Shape::Gauge if unit == "1" => move_last(&mut words, "ratio"),
        Shape::Gauge | Shape::Other => {}
    }
    let name = words.join("_");
    if name.is_empty() || name.starts_with(|first: char| first.is_ascii_digit()) {
        format!("_{name}")
    } else {
        name
    }
}

fn push_missing(words: &mut Vec<String>, word: &str) {
    if !words.iter().any(|found| found == word) {
        words.push(word.to_owned());
    }
}

fn move_last(words: &mut Vec<String>, last: &str) {
    words.retain(|word| word != last);
    words.push(last.to_owned());
}

/// The word for a UCUM unit; none for annotations in braces and for the unit 1.
fn unit_word(unit: &str) -> Option<String> {
    const WORDS: [(&str, &str); 29] = [
        ("d", "days"),
        ("h", "hours"),
        ("min", "minutes"),
        ("s", "seconds"),
        ("ms", "milliseconds"),
        ("us", "microseconds"),
        ("ns", "nanoseconds"),
        ("By", "bytes"),
        ("KiBy", "kibibytes"),
        ("MiBy", "mebibytes"),
        ("GiBy", "gibibytes"),
        ("TiBy", "tibibytes"),
        ("KBy", "kilobytes"),
        ("kBy", "kilobytes"),
        ("MBy", "megabytes"),
        ("GBy", "gigabytes"),
        ("TBy", "terabytes"),
        ("m", "meters"),
        ("V", "volts"),
        ("A", "amperes"),
        ("J", "joules"),
        ("W", "watts"),
        ("g", "grams"),
        ("Cel", "celsius"),
        ("Hz", "hertz"),
        ("%", "percent"),
        ("bit", "bits"),
        ("$", "dollars"),
        ("1", ""),
    ];
    let word = WORDS.iter().find(|(found, _)| *found == unit).map_or(unit, |(_, word)| word);
    clean(word)
}

/// The word for the unit after a slash.
fn per_word(unit: &str) -> Option<String> {
    const WORDS: [(&str, &str); 7] = [
        ("s", "second"),
        ("m", "minute"),
        ("h", "hour"),
        ("d", "day"),
        ("w", "week"),
        ("mo", "month"),
        ("y", "year"),
    ];
    clean(WORDS.iter().find(|(found, _)| *found == unit).map_or(unit, |(_, word)| word))
}

fn clean(word: &str) -> Option<String> {
    if word.contains(['{', '}']) {
        return None;
    }
    let kept: Vec<&str> =
        word.split(|c: char| !c.is_ascii_alphanumeric()).filter(|part| !part.is_empty()).collect();
    (!kept.is_empty()).then(|| kept.join("_"))
}

/// A label's name: letters, digits and `_`; a leading digit gets the prefix `key_`.
pub fn label_name(attribute: &str) -> String {
    let mut name: String =
        attribute.chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect();
    if name.starts_with(|first: char| first.is_ascii_digit()) {
        name.insert_str(0, "key_");
    }
    name
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_compatibility_specification() {
        let table = [
            ("http.server.request.duration", "s", Shape::Other, "http_server_request_duration_seconds"),
            ("system.network.io", "By", Shape::Counter, "system_network_io_bytes_total"),
            ("requests.total", "{request}", Shape::Counter, "requests_total"),
            ("system.cpu.utilization", "1", Shape::Gauge, "system_cpu_utilization_ratio"),
            ("queue.length", "1", Shape::Other, "queue_length"),
            ("disk.speed", "By/s", Shape::Gauge, "disk_speed_bytes_per_second"),
            ("job:rate:5m", "", Shape::Gauge, "job:rate:5m"),
            ("3xx.responses", "", Shape::Counter, "_3xx_responses_total"),
            ("uptime_seconds", "s", Shape::Gauge, "uptime_seconds"),
            ("a..b__c", "", Shape::Gauge, "a_b_c"),
            ("requests", "{request}/s", Shape::Gauge, "requests_per_second"),
            ("", "", Shape::Gauge, "_"),
        ];
        for (name, unit, shape, expected) in table {
            assert_eq!(metric_name(name, unit, shape), expected, "{name} {unit}");
        }
    }

    #[test]
    fn labels_are_letters_digits_and_underscores() {
        assert_eq!(label_name("http.request.method"), "http_request_method");
        assert_eq!(label_name("3d"), "key_3d");
        assert_eq!(label_name("ä"), "_");
    }
}
