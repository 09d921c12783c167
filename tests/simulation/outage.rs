//! A hub that is away for longer than certificates live: its regions renew their edges, and no edge loses its link for
//! the sake of a certificate, nor does it stay away when it or its region begins anew. Then the hub comes back.

use std::time::Duration;

use identity::{Clock as _, Entropy as _};
use link::Profile;
use link::network::simulated::Conditions;

use super::pace;
use super::world::{Ills, REGIONS, World, region_of};

/// No story takes longer, in virtual time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(12 * 3600);
/// In milliseconds.
const HOUR: u64 = 3_600_000;
/// In hours.
const DAY: u64 = 24;
/// Within this, in seconds, everything agrees once nothing disturbs any more.
const PEACE: u32 = 900;
/// Whoever is to renew does so within this, in seconds: an hour between two looks at the clock, and some tries.
const RENEWAL: f64 = 4_500.0;

/// Runs the story of a seed. Returns how long it was, in virtual time; the clocks are set on by nine days meanwhile.
pub(crate) async fn run(seed: u64) -> Result<Duration, String> {
    let mut world = World::new(seed, 6, Profile::near()).await;
    world.renews = true;
    let waiting = world.waiting.clone();
    pace::told(waiting, story(world)).await
}

async fn story(mut world: World) -> Result<(), String> {
    let latency = Duration::from_millis(1 + world.entropy.below(40));
    world.network.set_conditions(Conditions { latency, ..Conditions::default() });
    world.start_hub().await;
    for region in 0..REGIONS.len() {
        world.start_region(region).await;
    }
    for index in 0..world.edges.len() {
        world.start_edge(index, Ills::default());
    }
    until(&world, "the regions can renew alone and every edge has its plan", |world| {
        world.unsettled().is_none() && (0..REGIONS.len()).all(|region| can_renew(world, region))
    })
    .await?;

    let away = world.clock.now();
    world.crash_hub().await;
    // Past the latest half-life, with jitter, of what was issued before.
    later(&world, away, 4 * DAY + 12).await;
    for place in &world.edges {
        let identity = place.keys.identity();
        if identity.chain.len() != 2 || identity.not_after < world.clock.now() + 6 * DAY * HOUR {
            return Err(format!("edge {} was not renewed by its region", place.number));
        }
    }
    // The tables are too old now, everything that the hub issued before has expired.
    later(&world, away, 9 * DAY).await;
    for region in 0..REGIONS.len() {
        let renewals = renewals(&world, region);
        let edges = world.edges.iter().filter(|place| region_of(place.number) == region).count() as u64;
        if renewals.issued != edges || renewals.refused == 0 {
            return Err(format!("{edges} edges of region {region}: {renewals:?}"));
        }
    }
    all_up(&world)?;

    // Whoever begins anew links again, with what it has.
    let chosen = usize::try_from(world.entropy.below(REGIONS.len() as u64)).unwrap();
    world.crash_region(chosen).await;
    world.start_region(chosen).await;
    for index in 0..world.edges.len() {
        world.crash_edge(index).await;
        world.start_edge(index, Ills::default());
    }
    until(&world, "all edges are linked again without the hub", |world| all_up(world).is_ok()).await?;
    world.model.lock().unwrap().verdict()?;

    for index in 0..world.edges.len() {
        world.edges[index].version += 1;
    }
    world.start_hub().await;
    until(&world, "the hub has them all back", |world| world.unsettled().is_none()).await?;
    world.check_returns().await?;
    let model = world.end().await;
    let model = model.lock().unwrap();
    model.verdict()
}

/// The clock goes on to so many hours after that moment, and everybody has the time to notice.
async fn later(world: &World, from: u64, hours: u64) {
    let target = from + hours * HOUR;
    world.shift_clocks(target.saturating_sub(world.clock.now()).cast_signed());
    world.pass(RENEWAL).await;
}

async fn until(world: &World, what: &str, holds: impl Fn(&World) -> bool) -> Result<(), String> {
    for _ in 0..PEACE {
        if holds(world) {
            return Ok(());
        }
        world.pass(1.0).await;
    }
    let links = all_up(world);
    Err(format!("never: {what}: {:?}, {links:?}", world.unsettled()))
}

fn renewals(world: &World, region: usize) -> regional_agent::edges::register::Renewals {
    let (_, running) = world.regions[region].running.as_ref().expect("the region runs");
    running.edges.register().renewals()
}

fn can_renew(world: &World, region: usize) -> bool {
    let edges = world.edges.iter().filter(|place| region_of(place.number) == region).count() as u64;
    let renewals = renewals(world, region);
    renewals.table_edges == edges && renewals.issuer_not_after > 0
}

fn all_up(world: &World) -> Result<(), String> {
    for place in &world.edges {
        let state = place.link.as_ref().expect("it runs").state();
        if !state.up {
            return Err(format!("edge {} is away: {}", place.number, state.reason));
        }
    }
    Ok(())
}
