//! The whole mesh in virtual time, from a seed: one hub, three regions, their edges, and a network that misbehaves.
//!
//! ```text
//!             hub: link server, plans, federation               10.0.0.1
//!              |                    |
//!      region eu: whole agent   regions us, ap: whole agents    10.0.0.2, .3, .4
//!         |   |                     |   |
//!        edges: real uplink and plan verification, a small      10.0.1.n
//!        disk and executor of their own
//!
//!        region evil: alters plans, swaps them                  10.0.0.9, one edge, every fourth seed
//! ```
//! - [`world`]: starts, ends and breaks the parts
//! - [`keys`]: who the edges are; every fourth was off for a year and has to return first
//! - [`edge`]: an edge with a disk that outlives it; [`skein_tests::plans`]: what plans are made of
//! - [`model`]: what must be true, whatever happens
//! - [`outage`]: a hub that is away for longer than certificates live
//! - [`rotating`]: new roots and plan-signing keys
//! - [`moving`]: edges that change their region, and regions that are lost
//! - [`script`]: what happens, drawn from the seed; [`malice`]: a region that cheats; [`pace`]: virtual beside real time
//!
//! # What happens
//! Loss, also in bursts, duplication, reordering; paths that are cut, in one direction too, thin behind a deep queue, or
//! swallow long datagrams; routers that forget an edge; clocks that are set; readers that are slow; parts that die at any
//! moment and are away for seconds, in stories of hours for hours.
//!
//! # Invariants of the design that are asserted
//! - 2: an edge's stored generation only grows, and what it acts on was stored before
//! - 4: no edge acts on anything that the hub did not sign for it, whatever its region offers
//! - 5: each item of telemetry is once in its region's store; what was acknowledged is there
//! - 6: what an edge dropped is counted by gaps in its region's store
//! - 7: a plan goes down and its receipt up while bulk telemetry fills a thin line
//! - 10: an answer of the federation names the region that is cut off
//! - an edge whose certificate has expired comes back by itself, once, and is not taken for a copy of itself
//! - and in the end everything holds the newest plan and no outbox has anything left
//!
//! # One command per seed
//! `cargo run --release -p skein-tests --bin simulate -- --seeds 1000 --hours 24 [--from SEED]` runs stories of a day each;
//! without `--hours` they are the short ones that `cargo test -p skein-tests --bin simulate` runs, 200 of them. It prints
//! how fast virtual time passes, and the first seed that fails with the command that runs it again. `--outage` tells of a
//! hub that is away for longer than certificates live, `--moving` of edges that change their region, `--rotating` of keys that are
//! replaced.
//!
//! # What a seed fixes
//! Faults, changes, telemetry, their times and what the network does to a datagram. The regions write to real
//! SQLite files by threads of their own, as always; how long that takes is not virtual, so virtual time stands still while
//! somebody waits for them. When exactly they are done is not drawn from the seed: two runs of it have the same story, not
//! the same packets. A part that crashes here loses its tasks and its memory,
//! and nobody hears a goodbye from it; power loss under SQLite is not simulated.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a story ends at the first thing that is not as it should be"
)]
#![allow(clippy::print_stdout, reason = "a program for a terminal")]

mod edge;
mod keys;
mod malice;
mod model;
mod moving;
mod outage;
mod pace;
mod rotating;
mod script;
mod world;

use std::ops::Range;
use std::panic::AssertUnwindSafe;
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use clap::Parser;
use link::network::simulated::runtime;
use script::Size;
use skein_tests::measure::{Aim, Table};

/// As the programs have it whose parts run here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// No story takes longer than its time and this, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Runs the whole mesh in virtual time, story after story, until one fails.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many stories.
    #[arg(long, default_value_t = 200)]
    seeds: u64,
    /// The seed of the first one.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// How many hours each tells of, above 0 and at most 8,760; without it, less than a minute of trouble.
    #[arg(long, value_parser = hours)]
    hours: Option<Duration>,
    /// Tell of a hub that is away for longer than certificates live, instead of trouble of every kind.
    #[arg(long, conflicts_with_all = ["hours", "edges"])]
    outage: bool,
    /// Tell of edges that change their region, and of a region that is lost, instead of trouble of every kind.
    #[arg(long, conflicts_with_all = ["hours", "edges", "outage"])]
    moving: bool,
    /// Tell of a rotation of all keys, instead of trouble of every kind.
    #[arg(long, conflicts_with_all = ["hours", "edges", "outage", "moving"])]
    rotating: bool,
    /// How many edges each has; without it, 2 to 20, by the seed.
    #[arg(long, value_parser = clap::value_parser!(u8).range(1..=90))]
    edges: Option<u8>,
    /// Stories that are told at a time; without it, one for each processor.
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    at_once: Option<u16>,
}

fn hours(text: &str) -> Result<Duration, String> {
    let hours: f64 = text.parse().map_err(|_| format!("{text:?} is no number"))?;
    if !(hours > 0.0 && hours <= 8_760.0) {
        return Err(format!("{text} is not above 0 and at most 8760"));
    }
    Ok(Duration::from_secs_f64(hours * 3600.0))
}

/// Runs the story of a seed. Returns how long it was in virtual time, or what went wrong.
fn run(seed: u64, size: Size) -> Result<Duration, String> {
    if size.moving {
        return tell(moving::run(seed), moving::PATIENCE);
    }
    if size.rotating {
        return tell(rotating::run(seed), rotating::PATIENCE);
    }
    if size.outage {
        return tell(outage::run(seed), outage::PATIENCE);
    }
    tell(script::run(seed, size), size.time.unwrap_or_default() + PATIENCE)
}

/// Runs a story in virtual time.
fn tell(
    story: impl Future<Output = Result<Duration, String>>,
    patience: Duration,
) -> Result<Duration, String> {
    let story = || {
        runtime().unwrap().block_on(async {
            let told = tokio::time::timeout(patience, story).await;
            told.unwrap_or_else(|_| Err("it does not end".to_owned()))
        })
    };
    std::panic::catch_unwind(AssertUnwindSafe(story)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        Err(text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

/// What became of many stories.
struct Told {
    stories: u64,
    time: Duration,
    /// Seeds that failed, and why.
    failures: Vec<(u64, String)>,
}

/// Runs these seeds, some at a time; with `stops`, no other one begins once one has failed.
fn run_all(seeds: Range<u64>, size: Size, at_once: usize, stops: bool) -> Told {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let told = Mutex::new(Told { stories: 0, time: Duration::ZERO, failures: Vec::new() });
    let work = || {
        while !stop.load(Ordering::Relaxed) {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let ended = run(seed, size);
            let mut told = told.lock().unwrap();
            told.stories += 1;
            match ended {
                Ok(time) => told.time += time,
                Err(reason) => {
                    told.failures.push((seed, reason));
                    stop.store(stops, Ordering::Relaxed);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        (0..at_once).for_each(|_| {
            scope.spawn(work);
        });
    });
    let mut told = told.into_inner().unwrap();
    told.failures.sort();
    told
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let size = Size {
        outage: arguments.outage,
        moving: arguments.moving,
        rotating: arguments.rotating,
        time: arguments.hours,
        edges: arguments.edges,
    };
    let processors = std::thread::available_parallelism().map_or(1, std::num::NonZeroUsize::get);
    let at_once = arguments.at_once.map_or(processors, usize::from);
    let begun = Instant::now();
    let end = arguments.from.saturating_add(arguments.seeds);
    let told = run_all(arguments.from..end, size, at_once, true);
    let seconds = begun.elapsed().as_secs_f64();
    let table = Table::new("simulate", "the mesh in virtual time");
    table.row("stories", told.stories as f64, "", Aim::None);
    table.row("seeds per second", told.stories as f64 / seconds, "1/s", Aim::None);
    table.row("simulated hours", told.time.as_secs_f64() / 3600.0, "h", Aim::None);
    table.row(
        "simulated seconds per second",
        told.time.as_secs_f64() / seconds,
        "s/s",
        Aim::AtLeast(1_000.0),
    );
    let Some((seed, reason)) = told.failures.first() else { return ExitCode::SUCCESS };
    let mut again = format!("cargo run --release -p skein-tests --bin simulate -- --seeds 1 --from {seed}");
    if arguments.outage {
        again += " --outage";
    }
    if arguments.moving {
        again += " --moving";
    }
    if arguments.rotating {
        again += " --rotating";
    }
    if let Some(time) = arguments.hours {
        again += &format!(" --hours {}", time.as_secs_f64() / 3600.0);
    }
    if let Some(edges) = arguments.edges {
        again += &format!(" --edges {edges}");
    }
    println!("\nseed {seed} fails: {reason}\n  again: {again}");
    ExitCode::FAILURE
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seeds of a usual run.
    const SEEDS: u64 = 200;

    #[test]
    fn whatever_the_network_and_the_machines_do_the_invariants_hold() {
        let told = run_all(0..SEEDS, Size::default(), 4, false);
        let texts: Vec<_> = told
            .failures
            .iter()
            .map(|(seed, reason)| {
                let again = "cargo run --release -p skein-tests --bin simulate -- --seeds 1 --from";
                format!("seed {seed}: {reason}\n  again: {again} {seed}")
            })
            .collect();
        assert!(texts.is_empty(), "{} of {SEEDS} seeds fail\n{}", texts.len(), texts.join("\n"));
    }

    #[test]
    fn a_hub_that_is_away_for_longer_than_certificates_live_costs_no_edge_its_link() {
        let told = run_all(0..2, Size { outage: true, ..Size::default() }, 2, false);
        assert_eq!(told.failures, []);
    }

    #[test]
    fn edges_change_their_region_without_a_gap_and_a_lost_region_is_stood_in_for() {
        let told = run_all(0..6, Size { moving: true, ..Size::default() }, 2, false);
        assert_eq!(told.failures, []);
    }

    #[test]
    fn keys_are_rotated_with_a_region_cut_off_an_edge_away_and_a_hub_that_dies_in_every_phase() {
        let told = run_all(0..4, Size { rotating: true, ..Size::default() }, 2, false);
        assert_eq!(told.failures, []);
    }

    #[test]
    fn hours_that_make_no_story_are_refused_with_what_is_accepted() {
        assert_eq!(hours("0.5").unwrap(), Duration::from_secs(1800));
        for (text, word) in
            [("-1", "above 0"), ("0", "above 0"), ("1e9", "8760"), ("NaN", "above 0"), ("x", "no number")]
        {
            let refused = hours(text).unwrap_err();
            assert!(refused.contains(word) && refused.contains(text), "{refused}");
        }
    }
}
