//! A program's own metrics: counters and gauges, gathered for `/metrics`, for OTLP and, at an edge, for the spool.
//!
//! Names are `skein_<noun>_<unit>[_total]`. What a part of the program already counts is read at gathering time
//! by a source (see [`Registry::source`]), so that nothing is counted twice.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows while the program runs.
    Counter,
    /// Goes up and down.
    Gauge,
}

/// All samples of one name.
#[derive(Debug, Clone, PartialEq)]
pub struct Family {
    /// The metric's name.
    pub name: String,
    /// What it means.
    pub help: String,
    /// What it is.
    pub kind: Kind,
    /// Labels and value, in order of labels.
    pub samples: Vec<(Vec<(String, String)>, f64)>,
}

/// What a source adds to a gathering.
#[derive(Debug, Default)]
pub struct Gathering(BTreeMap<String, Family>);

impl Gathering {
    /// Adds a sample of a counter.
    pub fn counter(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(Kind::Counter, name, help, labels, value);
    }

    /// Adds a sample of a gauge.
    pub fn gauge(&mut self, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        self.sample(Kind::Gauge, name, help, labels, value);
    }

    fn sample(&mut self, kind: Kind, name: &str, help: &str, labels: &[(&str, &str)], value: f64) {
        let family = self.0.entry(name.to_owned()).or_insert_with(|| Family {
            name: name.to_owned(),
            help: help.to_owned(),
            kind,
            samples: Vec::new(),
        });
        let labels = labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        family.samples.push((labels, value));
    }
}

type Source = Box<dyn Fn(&mut Gathering) + Send + Sync>;

/// The metrics of one program.
#[derive(Clone, Default)]
pub struct Registry(Arc<Mutex<Vec<Source>>>);

/// A number that only grows.
#[derive(Debug, Clone, Default)]
pub struct Counter(Arc<AtomicU64>);

impl Counter {
    /// Adds one.
    pub fn increment(&self) {
        self.add(1);
    }

    /// Adds a number.
    pub fn add(&self, count: u64) {
        self.0.fetch_add(count, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn count(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

impl Registry {
    /// A new counter without labels.
    pub fn counter(&self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        let read = counter.clone();
        self.source(move |gathering| gathering.counter(name, help, &[], read.count() as f64));
        counter
    }

    /// A part of the program that is read when metrics are gathered.
    pub fn source(&self, source: impl Fn(&mut Gathering) + Send + Sync + 'static) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push(Box::new(source));
    }

    /// Lets go of all sources, and so of whatever they hold; at the end of a program.
    pub fn clear(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }

    /// Everything, by name.
    pub fn gather(&self) -> Vec<Family> {
        let mut gathering = Gathering::default();
        process(&mut gathering);
        for source in self.0.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            source(&mut gathering);
        }
        gathering
            .0
            .into_values()
            .map(|mut family| {
                family.samples.sort_by(|one, other| one.0.cmp(&other.0));
                family
            })
            .collect()
    }
}

/// Families in Prometheus' text exposition format 0.0.4.
pub fn exposition(families: &[Family]) -> String {
    let mut text = String::new();
    for Family { name, help, kind, samples } in families {
        let kind = match kind {
            Kind::Counter => "counter",
            Kind::Gauge => "gauge",
        };
        let help = help.replace('\\', "\\\\").replace('\n', "\\n");
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
        for (labels, value) in samples {
            text.push_str(name);
            for (index, (label, value)) in labels.iter().enumerate() {
                let value = value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n");
                let _ = write!(text, "{}{label}=\"{value}\"", if index == 0 { '{' } else { ',' });
            }
            text.push_str(if labels.is_empty() { "" } else { "}" });
            let _ = writeln!(text, " {value}");
        }
    }
    text
}

/// Memory and processor time of this process, from the kernel's accounting; left out where it cannot be read.
fn process(gathering: &mut Gathering) {
    if let Some(bytes) =
        std::fs::read_to_string("/proc/self/status").ok().and_then(|status| resident(&status))
    {
        gathering.gauge("process_resident_memory_bytes", "Resident memory of the process.", &[], bytes);
    }
    if let Some(seconds) = std::fs::read_to_string("/proc/self/stat").ok().and_then(|stat| processor(&stat)) {
        gathering.counter("process_cpu_seconds_total", "Processor time of the process.", &[], seconds);
    }
}

fn resident(status: &str) -> Option<f64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<f64>().ok().map(|kib| kib * 1024.0)
}

/// User and system time are the 14th and 15th field; the second field may contain blanks, so count after its bracket.
fn processor(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(") ")?.1.split(' ').skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / rustix::param::clock_ticks_per_second() as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exposition_escapes_what_prometheus_would_misread() {
        let mut gathering = Gathering::default();
        gathering.gauge("skein_units", "Units.\nBy state.", &[("state", "a\"b\\c"), ("zone", "x")], 2.5);
        gathering.counter("skein_applies_total", "Applies.", &[], 3.0);
        let families: Vec<_> = gathering.0.into_values().collect();
        assert_eq!(
            exposition(&families),
            "# HELP skein_applies_total Applies.\n# TYPE skein_applies_total counter\nskein_applies_total 3\n\
             # HELP skein_units Units.\\nBy state.\n# TYPE skein_units gauge\n\
             skein_units{state=\"a\\\"b\\\\c\",zone=\"x\"} 2.5\n"
        );
    }

    #[test]
    fn kernel_accounting_is_read() {
        assert_eq!(resident("Name:\tx\nVmRSS:\t    2048 kB\n"), Some(2_097_152.0));
        let stat = "7 (a) b) S 1 1 1 0 -1 4194560 1 2 3 4 150 50 0 0 20 0 1";
        assert_eq!(processor(stat), Some(200.0 / rustix::param::clock_ticks_per_second() as f64));
    }

    #[test]
    fn counters_show_what_was_counted() {
        let registry = Registry::default();
        registry.counter("skein_things_total", "Things.").add(2);
        assert!(exposition(&registry.gather()).contains("\nskein_things_total 2\n"));
    }
}
