//! What a benchmark found: a row of its table, and a line that a script can collect.
#![allow(clippy::print_stdout, reason = "a benchmark prints its table")]

use std::process::ExitCode;

use serde_json::json;

/// What a figure is held against.
#[derive(Debug, Clone, Copy)]
pub enum Aim {
    /// Nothing: the figure explains others.
    None,
    /// At most this.
    AtMost(f64),
    /// At least this.
    AtLeast(f64),
}

/// The table of one benchmark.
#[derive(Debug)]
pub struct Table {
    bench: &'static str,
}

impl Table {
    /// Prints the head of the table.
    #[must_use]
    pub fn new(bench: &'static str, title: &str) -> Self {
        println!("\n{title}\n{:<52} {:>12} {:<8} {:>10}", "measure", "value", "unit", "aim");
        Self { bench }
    }

    /// Prints a row, and its line `BENCH {"bench","measure","value","unit","aim","holds"}`.
    pub fn row(&self, measure: &str, value: f64, unit: &str, aim: Aim) {
        let (text, holds) = match aim {
            Aim::None => (None, None),
            Aim::AtMost(most) => (Some(format!("<= {most}")), Some(value <= most)),
            Aim::AtLeast(least) => (Some(format!(">= {least}")), Some(value >= least)),
        };
        println!("{measure:<52} {value:>12.2} {unit:<8} {:>10}", text.as_deref().unwrap_or_default());
        let line = json!({"bench": self.bench, "measure": measure, "value": value, "unit": unit,
            "aim": text, "holds": holds});
        println!("BENCH {line}");
    }
}

/// How a benchmark ends: when it failed, it tells why.
#[expect(clippy::print_stderr, reason = "a benchmark tells why it failed")]
pub fn ended(result: anyhow::Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The value below which this share of the values lies; zero for none.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let index = ((values.len() as f64 * share).ceil() as usize).clamp(1, values.len().max(1)) - 1;
    values.get(index).copied().unwrap_or_default()
}

/// What the kernel counts of a process.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    /// Resident memory, in bytes.
    pub resident_bytes: f64,
    /// The most it ever was, in bytes.
    pub peak_bytes: f64,
    /// The part of it that is no file: heap and stacks.
    pub anonymous_bytes: f64,
    /// Processor time, user and system, in seconds.
    pub processor_seconds: f64,
}

impl Usage {
    /// Of a process now; zeros for one that is gone, and where there is no `/proc`.
    #[must_use]
    pub fn of(pid: u32) -> Self {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
        let status = read("status");
        let bytes = |name: &str| {
            let kib = status.lines().find_map(|line| line.strip_prefix(name)?.split_whitespace().next());
            kib.and_then(|kib| kib.parse::<f64>().ok()).unwrap_or_default() * 1_024.0
        };
        // User and system time are the 14th and 15th field; the name before them may hold blanks.
        let ticks: f64 = read("stat").rsplit_once(") ").map_or(0.0, |(_, rest)| {
            rest.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
        });
        Self {
            resident_bytes: bytes("VmRSS:"),
            peak_bytes: bytes("VmHWM:"),
            anonymous_bytes: bytes("RssAnon:"),
            processor_seconds: ticks / rustix::param::clock_ticks_per_second() as f64,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_one_of_the_values() {
        let mut values = [4.0, 1.0, 3.0, 2.0];
        assert!((quantile(&mut values, 0.5) - 2.0).abs() < f64::EPSILON);
        assert!((quantile(&mut values, 0.99) - 4.0).abs() < f64::EPSILON);
        assert!(quantile(&mut [], 0.5).abs() < f64::EPSILON);
    }

    #[test]
    fn this_process_uses_memory() {
        let usage = Usage::of(std::process::id());
        assert!(usage.resident_bytes >= usage.anonymous_bytes && usage.anonymous_bytes > 0.0);
    }
}
