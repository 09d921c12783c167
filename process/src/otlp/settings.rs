//! Where own telemetry goes, read from the variables of the OpenTelemetry specification.
//!
//! What the exporters of `opentelemetry-otlp` read by themselves (headers, compression, timeouts of traces and
//! logs, the sampler, resource attributes) is left to them; what is read here is what decides whether a signal
//! is exported at all, and what our own metrics and queues need.
//! Source: the OpenTelemetry specification, "Environment Variable Specification" and "OTLP Exporter Configuration".

use std::time::Duration;

/// One kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    /// Spans.
    Traces,
    /// Log lines.
    Logs,
    /// The program's own metrics.
    Metrics,
}

impl Signal {
    /// Its name in paths and labels.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Logs => "logs",
            Self::Metrics => "metrics",
        }
    }
}

/// How a queue is emptied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batching {
    /// Items that may wait; what comes beyond is dropped and counted.
    pub(crate) queue_max: usize,
    /// Items sent at once.
    pub(crate) batch_max: usize,
    /// How long the first item of a batch waits for others.
    pub(crate) delay: Duration,
}

/// What was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Settings {
    /// Where spans go, if anywhere.
    pub(crate) traces: Option<String>,
    /// Where log records go, if anywhere.
    pub(crate) logs: Option<String>,
    /// Where metrics go, if anywhere.
    pub(crate) metrics: Option<String>,
    /// How often metrics are sent.
    pub(crate) metrics_interval: Duration,
    /// How long one sending of metrics may take.
    pub(crate) metrics_timeout: Duration,
    /// Headers of requests that carry metrics.
    pub(crate) metrics_headers: Vec<(String, String)>,
    /// Whether metrics are compressed.
    pub(crate) metrics_gzip: bool,
    /// Settings that are not understood, each with what would be.
    pub(crate) problems: Vec<String>,
}

impl Settings {
    /// Reads settings; `endpoint` is the command line's and stands for all signals that have no address of their own.
    pub(crate) fn read(endpoint: Option<&str>, variable: impl Fn(&str) -> Option<String>) -> Self {
        let variable =
            |name: &str| variable(name).map(|text| text.trim().to_owned()).filter(|v| !v.is_empty());
        let mut settings = Self::default();
        if variable("OTEL_SDK_DISABLED").is_some_and(|text| text.eq_ignore_ascii_case("true")) {
            return settings;
        }
        let base = endpoint.filter(|text| !text.is_empty()).map(str::to_owned);
        let base = base.or_else(|| variable("OTEL_EXPORTER_OTLP_ENDPOINT"));
        for signal in [Signal::Traces, Signal::Logs, Signal::Metrics] {
            let address = address(signal, base.as_deref(), &variable, &mut settings.problems);
            match signal {
                Signal::Traces => settings.traces = address,
                Signal::Logs => settings.logs = address,
                Signal::Metrics => settings.metrics = address,
            }
        }
        let of_metrics = |name: &str| {
            variable(&format!("OTEL_EXPORTER_OTLP_METRICS_{name}"))
                .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{name}")))
        };
        settings.metrics_headers = of_metrics("HEADERS").map(|text| headers(&text)).unwrap_or_default();
        settings.metrics_gzip = of_metrics("COMPRESSION").is_some_and(|text| text == "gzip");
        let problems = &mut settings.problems;
        let timeout = of_metrics("TIMEOUT");
        settings.metrics_timeout = milliseconds("OTEL_EXPORTER_OTLP_TIMEOUT", timeout, 10_000, problems);
        let interval = variable("OTEL_METRIC_EXPORT_INTERVAL");
        settings.metrics_interval = milliseconds("OTEL_METRIC_EXPORT_INTERVAL", interval, 15_000, problems);
        settings
    }

    /// Whether anything is exported.
    pub(crate) fn any(&self) -> bool {
        self.traces.is_some() || self.logs.is_some() || self.metrics.is_some()
    }
}

impl Batching {
    /// The queue of a signal: `OTEL_BSP_*` for spans, `OTEL_BLRP_*` for log records.
    pub(crate) fn read(signal: Signal, variable: impl Fn(&str) -> Option<String>) -> Self {
        let (prefix, delay) =
            if signal == Signal::Traces { ("OTEL_BSP", 5_000) } else { ("OTEL_BLRP", 1_000) };
        let number = |name: &str, default: u64| {
            let text = variable(&format!("{prefix}_{name}"));
            text.and_then(|text| text.trim().parse::<u64>().ok())
                .filter(|number| *number > 0)
                .unwrap_or(default)
        };
        let size =
            |name, default| usize::try_from(number(name, default)).unwrap_or(usize::MAX).min(QUEUE_MAX);
        let queue_max = size("MAX_QUEUE_SIZE", 2_048);
        let batch_max = size("MAX_EXPORT_BATCH_SIZE", 512).min(queue_max);
        Self { queue_max, batch_max, delay: Duration::from_millis(number("SCHEDULE_DELAY", delay)) }
    }
}

/// Most items a queue may be told to hold: a bound is a bound.
const QUEUE_MAX: usize = 65_536;

/// The full address of a signal: its own as it is, or the common one with the signal's path.
fn address(
    signal: Signal,
    base: Option<&str>,
    variable: &impl Fn(&str) -> Option<String>,
    problems: &mut Vec<String>,
) -> Option<String> {
    let upper = signal.name().to_uppercase();
    let own = variable(&format!("OTEL_EXPORTER_OTLP_{upper}_ENDPOINT"));
    let address = own.or_else(|| Some(format!("{}/v1/{}", base?.trim_end_matches('/'), signal.name())))?;
    let exporter = format!("OTEL_{upper}_EXPORTER");
    match variable(&exporter).as_deref() {
        None | Some("otlp") => {}
        Some("none") => return None,
        Some(other) => {
            problems.push(format!("{exporter} is \"{other}\"; known are \"otlp\" and \"none\""));
            return None;
        }
    }
    let specific = format!("OTEL_EXPORTER_OTLP_{upper}_PROTOCOL");
    let protocol = variable(&specific).or_else(|| variable("OTEL_EXPORTER_OTLP_PROTOCOL"));
    if let Some(protocol) = protocol.filter(|protocol| protocol != "http/protobuf") {
        problems.push(format!(
            "{} are to go by \"{protocol}\"; only \"http/protobuf\" is spoken (OTEL_EXPORTER_OTLP_PROTOCOL)",
            signal.name()
        ));
        return None;
    }
    if !address.starts_with("http://") && !address.starts_with("https://") {
        problems.push(format!(
            "the address of {} is \"{address}\"; it must begin with http:// or https://",
            signal.name()
        ));
        return None;
    }
    Some(address)
}

fn milliseconds(name: &str, text: Option<String>, default: u64, problems: &mut Vec<String>) -> Duration {
    let number = match text.as_deref().map(|text| (text, text.parse::<u64>())) {
        None => default,
        Some((_, Ok(number))) if number > 0 => number,
        Some((text, _)) => {
            problems.push(format!(
                "{name} is \"{text}\", not a number of milliseconds above 0; {default} is used"
            ));
            default
        }
    };
    Duration::from_millis(number)
}

/// `key=value` pairs divided by commas, values percent-encoded; what is no pair is left out.
fn headers(text: &str) -> Vec<(String, String)> {
    let pairs = text.split(',').filter_map(|pair| pair.split_once('='));
    pairs.map(|(key, value)| (key.trim().to_lowercase(), decoded(value.trim()))).collect()
}

fn decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let escape = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        match escape.filter(|_| *first == b'%').and_then(|hex| u8::from_str_radix(hex, 16).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[2..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(endpoint: Option<&str>, variables: &[(&str, &str)]) -> Settings {
        Settings::read(endpoint, |name| {
            variables.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn nothing_is_exported_unless_an_address_is_given() {
        assert!(!read(None, &[]).any());
        assert!(!read(None, &[("OTEL_EXPORTER_OTLP_ENDPOINT", " ")]).any());
        assert!(!read(Some("http://c:4318"), &[("OTEL_SDK_DISABLED", "TRUE")]).any());
    }

    #[test]
    fn a_common_address_gets_the_path_of_each_signal_and_a_specific_one_is_taken_as_it_is() {
        let settings =
            read(Some("http://c:4318/"), &[("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", "https://logs/in?x=1")]);
        assert_eq!(settings.traces.as_deref(), Some("http://c:4318/v1/traces"));
        assert_eq!(settings.logs.as_deref(), Some("https://logs/in?x=1"));
        assert_eq!(settings.metrics.as_deref(), Some("http://c:4318/v1/metrics"));
        assert_eq!(settings.problems, Vec::<String>::new());
    }

    #[test]
    fn one_signal_alone_can_be_asked_for_or_left_out() {
        let one = read(None, &[("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/v1/traces")]);
        assert!(one.traces.is_some() && one.logs.is_none() && one.metrics.is_none());
        let others = read(Some("http://c"), &[("OTEL_TRACES_EXPORTER", "none")]);
        assert!(others.traces.is_none() && others.logs.is_some() && others.metrics.is_some());
    }

    #[test]
    fn what_is_not_spoken_is_named_with_what_is() {
        let settings = read(Some("c:4318"), &[]);
        assert!(!settings.any());
        assert!(settings.problems[0].contains("must begin with http://"), "{:?}", settings.problems);
        let settings = read(Some("http://c"), &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")]);
        assert!(!settings.any());
        assert!(settings.problems[0].contains("only \"http/protobuf\" is spoken"), "{:?}", settings.problems);
        let settings = read(Some("http://c"), &[("OTEL_METRIC_EXPORT_INTERVAL", "soon")]);
        assert_eq!(settings.metrics_interval, Duration::from_secs(15));
        assert_eq!(settings.problems.len(), 1);
    }

    #[test]
    fn headers_are_pairs_with_encoded_values() {
        let settings =
            read(Some("http://c"), &[("OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%3Db%, x = 1,broken")]);
        let pair = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(settings.metrics_headers, [pair("api-key", "a=b%"), pair("x", "1")]);
    }

    #[test]
    fn queues_have_a_bound_whatever_is_asked_for() {
        let asked = |name: &str| name.ends_with("SIZE").then(|| "99999999999".to_owned());
        let batching = Batching::read(Signal::Logs, asked);
        assert_eq!((batching.queue_max, batching.batch_max), (QUEUE_MAX, QUEUE_MAX));
        let usual = Batching::read(Signal::Traces, |_| None);
        assert_eq!((usual.queue_max, usual.batch_max, usual.delay.as_secs()), (2_048, 512, 5));
    }
}
