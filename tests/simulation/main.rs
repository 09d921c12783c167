#![cfg(test)]
//! The whole mesh in virtual time, from a seed: one hub, two regions, their edges, and a network that misbehaves.
//!
//! ```text
//!             hub: link server, plans, federation               10.0.0.1
//!              |                    |
//!      region eu: whole agent   region us: whole agent          10.0.0.2, .3
//!         |   |                     |   |
//!        edges: real uplink and plan verification, a small      10.0.1.n
//!        disk and executor of their own
//!
//!        region evil: alters plans, swaps them                  10.0.0.9, one edge, every fourth seed
//! ```
//! - [`world`]: starts, ends and breaks the parts
//! - [`keys`]: who the edges are; every third was off for a year and has to return first
//! - [`edge`]: an edge with a disk that outlives it; [`plans`]: what plans are made of
//! - [`model`]: what must be true, whatever happens
//! - [`script`]: what happens, drawn from the seed; [`malice`]: a region that cheats
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
//! `SKEIN_SEED=17 cargo test -p skein-tests --test simulation` runs one seed, `SKEIN_SEEDS=20` as many;
//! otherwise 200 run. A failure names its seed.
//!
//! # What a seed fixes
//! Faults, changes, telemetry, their times and what the network does to a datagram. The regions write to real
//! SQLite files by threads of their own, as always; how long that takes is not virtual. So that virtual time does
//! not run away from these threads, it advances in small steps with a short real pause each. Two runs of a seed
//! therefore have the same story, not the same packets. A part that crashes here loses its tasks and its memory,
//! and nobody hears a goodbye from it; power loss under SQLite is not simulated.

mod edge;
mod keys;
mod malice;
mod model;
mod plans;
mod script;
mod world;

use std::panic::AssertUnwindSafe;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use link::network::simulated::runtime;

/// Seeds of a usual run.
const SEEDS: u64 = 200;
/// No seed takes longer, in virtual time.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Longest step of virtual time.
const STEP: Duration = Duration::from_millis(20);
/// Real time that threads have for every step of virtual time.
const PAUSE: Duration = Duration::from_micros(50);

/// Lets threads keep up with virtual time.
async fn pace() {
    loop {
        tokio::time::sleep(STEP).await;
        std::thread::sleep(PAUSE);
    }
}

/// Runs a seed; what went wrong, if anything did.
fn run(seed: u64) -> Result<(), String> {
    let story = || {
        runtime().unwrap().block_on(async {
            tokio::select! {
                told = tokio::time::timeout(PATIENCE, script::run(seed)) => {
                    told.unwrap_or_else(|_| Err("it does not end".to_owned()))
                }
                () = pace() => Ok(()),
            }
        })
    };
    std::panic::catch_unwind(AssertUnwindSafe(story)).unwrap_or_else(|cause| {
        let text = cause.downcast_ref::<String>().cloned();
        Err(text.or_else(|| cause.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap_or_default())
    })
}

fn number(name: &str) -> Option<u64> {
    let text = std::env::var(name).ok()?;
    Some(text.parse().unwrap_or_else(|_| panic!("{name}={text} is not a number")))
}

#[test]
fn whatever_the_network_and_the_machines_do_the_invariants_hold() {
    let seeds = match number("SKEIN_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("SKEIN_SEEDS").unwrap_or(SEEDS),
    };
    let threads = if seeds.end - seeds.start == 1 { 1 } else { 4 };
    let (next, failures) = (AtomicU64::new(seeds.start), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds.end {
                        return;
                    }
                    if let Err(reason) = run(seed) {
                        failures.lock().unwrap().push((seed, reason));
                    }
                }
            });
        }
    });
    let failures = failures.into_inner().unwrap();
    let told: Vec<_> = failures
        .iter()
        .map(|(seed, reason)| {
            let again = "cargo test -p skein-tests --test simulation";
            format!("seed {seed}: {reason}\n  again: SKEIN_SEED={seed} {again}")
        })
        .collect();
    assert!(told.is_empty(), "{} of {} seeds fail\n{}", told.len(), seeds.end - seeds.start, told.join("\n"));
}
