//! Measurements, printed: `cargo test -p state --release measure -- --ignored --nocapture`.

use std::time::Instant;

use super::{Planned, World, config_map};

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

#[tokio::test]
#[ignore = "measurement"]
async fn measure_change_to_applied_and_memory_of_a_thousand_objects() {
    let world = World::new().await;
    let mut running = world.start().await;
    let units = |changed: &str| {
        (0..20)
            .map(|unit| {
                let objects = (0..50)
                    .map(|object| {
                        let value = if unit == 7 && object == 7 { changed } else { "same" };
                        config_map(&format!("c-{unit}-{object}"), value)
                    })
                    .collect();
                Planned::new(&format!("u{unit}"), objects)
            })
            .collect()
    };
    println!("start {} KiB", resident_kib());
    let began = Instant::now();
    running.carry_out(world.plan(units("0"))).await;
    println!("1,000 objects installed in {:?}, {} KiB", began.elapsed(), resident_kib());
    let mut times = Vec::new();
    for round in 1..=200 {
        let (plan, mut blobs) = world.plan(units(&round.to_string()));
        let changed = running.handle().offer(plan.clone(), vec![blobs.remove(0)]).await;
        let crate::Offered::Missing(missing) = changed else { panic!("{changed:?}") };
        assert_eq!(missing.len(), 1);
        blobs.retain(|blob| missing.contains(&blob.digest));
        let began = Instant::now();
        let stored = running.handle().blobs(blobs).await;
        assert!(matches!(stored, crate::Offered::Stored(_)));
        let stored_after = began.elapsed();
        let head = running.handle().head().unwrap().generation;
        running.until("applied", |running| running.last.applied == Some(head)).await;
        times.push((began.elapsed(), stored_after));
    }
    times.sort_unstable();
    println!("changed -> applied and told: p50 {:?} p99 {:?}", times[100], times[197]);
    println!("{} KiB", resident_kib());
    running.kill().await;
    let began = Instant::now();
    let mut running = world.start().await;
    running.until("nodes", |running| running.last.cluster.as_ref().is_some_and(|c| c.nodes_total == 1)).await;
    println!("restarted in {:?}, {} KiB", began.elapsed(), resident_kib());
}
