//! A rotation of the root and of the plan-signing key while a region is cut off and an edge is off, with a hub that dies in
//! every phase: nobody loses its plan, nothing is retired before everybody has acknowledged, and the edge that was off for
//! all of it returns by itself.

use std::time::Duration;

use hub::authority::{Missing, RotationStatus};
use identity::{Clock as _, Entropy as _};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::{Api, Patch, PatchParams};
use link::Profile;
use link::network::simulated::Conditions;
use serde_json::json;

use super::pace;
use super::world::{Ills, NAMESPACE, REGIONS, World, region_address, region_of};

/// No story takes longer, in virtual time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(6 * 3600);
/// Within this, in seconds, what is due happens.
const SOON: u32 = 900;
/// For so long, in seconds, nothing may happen that is not due.
const WHILE: f64 = 240.0;

/// Runs the story of a seed. Returns how long it was, in virtual time.
pub(crate) async fn run(seed: u64) -> Result<Duration, String> {
    let mut world = World::new(seed, 6, Profile::near()).await;
    world.renews = true;
    let waiting = world.waiting.clone();
    pace::told(waiting, story(world)).await
}

async fn story(mut world: World) -> Result<(), String> {
    let latency = Duration::from_millis(1 + world.entropy.below(40));
    world.network.set_conditions(Conditions { latency, ..Conditions::default() });
    world.keep_authority().await;
    world.start_hub().await;
    for region in 0..REGIONS.len() {
        world.start_region(region).await;
    }
    for index in 0..world.edges.len() {
        world.start_edge(index, Ills::default());
    }
    until(&world, "every edge has its plan", |world, _| world.unsettled().is_none()).await?;

    // One edge goes off for all of it, one region is cut off as it begins.
    let off = usize::try_from(world.entropy.below(6)).unwrap();
    let home = region_of(world.edges[off].number);
    let cut = (home + 1) % REGIONS.len();
    world.crash_edge(off).await;
    world.network.isolate(region_address(cut));
    ask(&world, "rotate both 1").await;
    until(&world, "new keys are introduced", |_, status| status.phase == "Introduced").await?;
    let old = world.authority.trust().roots[0].clone();
    restart_hub(&mut world).await;
    let off_name = format!("edge-{}", world.edges[off].number);
    let others = |status: &RotationStatus| {
        let of_cut = |one: &Missing| one.region == REGIONS[cut];
        status.waiting_for.iter().filter(|one| !of_cut(one)).map(|one| one.name.clone()).collect::<Vec<_>>()
    };
    until(&world, "only the edge that is off and the region that is cut off are waited for", |_, status| {
        let region = |one: &Missing| one.kind == "Region" && one.name == REGIONS[cut];
        status.phase == "Introduced"
            && status.waiting_for.iter().any(region)
            && others(status) == [off_name.clone()]
    })
    .await?;
    world.pass(WHILE).await;
    expect(&world, "Introduced").await?;

    // The region is back: it and its edges acknowledge. The edge that is off is not waited for.
    world.network.rejoin(region_address(cut));
    until(&world, "the edge that is off is waited for alone", |_, status| {
        names(status) == [off_name.clone()]
    })
    .await?;
    ask(&world, "force 2 2").await;
    until(&world, "the new keys are in use", |_, status| status.phase == "Changed").await?;
    restart_hub(&mut world).await;
    until(&world, "all others have certificates by the new root", |_, status| {
        status.phase == "Changed" && names(status) == [off_name.clone()]
    })
    .await?;

    ask(&world, "retire 3").await;
    world.pass(WHILE).await;
    expect(&world, "Changed").await?;
    ask(&world, "force 3 4").await;
    until(&world, "the old keys are retired", |_, status| status.phase == "Steady").await?;
    restart_hub(&mut world).await;
    if world.authority.trust().roots.contains(&old) || world.authority.trust().sequence != 4 {
        return Err(format!("the old root is trusted still: bundle {}", world.authority.trust().sequence));
    }

    begin_anew(&mut world).await?;
    all_follow(&world, off)?;
    let model = world.end().await;
    let model = model.lock().unwrap();
    model.verdict()
}

/// Everybody begins anew, the edge that was off among them.
async fn begin_anew(world: &mut World) -> Result<(), String> {
    for region in 0..REGIONS.len() {
        world.crash_region(region).await;
        world.start_region(region).await;
    }
    for index in 0..world.edges.len() {
        world.crash_edge(index).await;
        world.edges[index].version += 1;
        world.publish(index);
        world.start_edge(index, Ills::default());
    }
    until(world, "all edges are linked and have their plans by the new key", |world, _| {
        world.unsettled().is_none()
    })
    .await
}

/// Everybody trusts the newest bundle alone, and has a certificate by it.
fn all_follow(world: &World, off: usize) -> Result<(), String> {
    for place in &world.edges {
        let identity = place.keys.identity();
        if identity.trust != world.authority.trust() || identity.is_of_other_root() {
            return Err(format!("edge {} does not follow: bundle {}", place.number, identity.trust.sequence));
        }
    }
    if world.edges[off].keys.identity().returns == 0 {
        return Err("the edge that was off has not returned".to_owned());
    }
    Ok(())
}

async fn restart_hub(world: &mut World) {
    world.crash_hub().await;
    world.start_hub().await;
}

fn names(status: &RotationStatus) -> Vec<String> {
    status.waiting_for.iter().map(|one| one.name.clone()).collect()
}

fn maps(world: &World) -> Api<ConfigMap> {
    Api::namespaced(world.client(), NAMESPACE)
}

async fn ask(world: &World, what: &str) {
    let patch = json!({"metadata": {"annotations": {"skein.dev/rotation": what}}});
    maps(world).patch("skein-trust", &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
}

async fn status(world: &World) -> RotationStatus {
    let map = maps(world).get_opt("skein-trust").await.unwrap();
    let text = map.and_then(|map| map.data?.remove("rotation"));
    text.map(|text| serde_json::from_str(&text).unwrap()).unwrap_or_default()
}

async fn expect(world: &World, phase: &str) -> Result<(), String> {
    let status = status(world).await;
    if status.phase == phase { Ok(()) } else { Err(format!("expected {phase}: {status:?}")) }
}

async fn until(
    world: &World,
    what: &str,
    holds: impl Fn(&World, &RotationStatus) -> bool,
) -> Result<(), String> {
    for _ in 0..SOON {
        if holds(world, &status(world).await) {
            return Ok(());
        }
        world.pass(1.0).await;
    }
    let at = world.clock.now();
    Err(format!("never, until {at}: {what}: {:?}, {:?}", world.unsettled(), status(world).await))
}
