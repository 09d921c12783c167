//! Edges that change their region: by an edit of their objects, linked, away, and while the hub begins anew; and because
//! their region is lost, until it is back. Telemetry goes on all the time: no item is lost, and none is in a store twice.

use std::time::Duration;

use bytes::Bytes;
use identity::{Clock as _, Entropy as _};
use link::Profile;
use link::network::simulated::Conditions;
use protocol::telemetry::TelemetryClass;

use super::pace;
use super::world::{Ills, REGIONS, World, region_of};

/// No story takes longer, in virtual time.
pub(crate) const PATIENCE: Duration = Duration::from_secs(3600);
/// Within this, in seconds, everything agrees once nothing disturbs any more.
const PEACE: f64 = 120.0;
/// From the word that a region is lost to the last status of its edges, in seconds.
const FAIL_OVER: f64 = 10.0;
/// Time between two looks, in seconds.
const LOOK: f64 = 0.25;
/// Regions, by their places in [`REGIONS`].
const EU: usize = 0;
const US: usize = 1;
const AP: usize = 2;

struct Story {
    world: World,
    items: u64,
}

/// Runs the story of a seed. Returns how long it was, in virtual time.
pub(crate) async fn run(seed: u64) -> Result<Duration, String> {
    let mut world = World::new(seed, 12, Profile::near()).await;
    world.renews = true;
    let waiting = world.waiting.clone();
    let mut story = Story { world, items: 0 };
    let told = async {
        story.happen().await?;
        let model = story.world.end().await;
        let model = model.lock().unwrap();
        model.verdict()
    };
    pace::told(waiting, told).await
}

impl Story {
    async fn happen(&mut self) -> Result<(), String> {
        let latency = Duration::from_millis(1 + self.world.entropy.below(40));
        self.world.network.set_conditions(Conditions { latency, ..Conditions::default() });
        self.world.set_standby(US, false);
        self.world.start_hub().await;
        for region in 0..REGIONS.len() {
            self.world.start_region(region).await;
        }
        for index in 0..self.world.edges.len() {
            self.world.start_edge(index, Ills::default());
        }
        self.until("every edge of eu knows what stands in for it", PEACE, |world| {
            settled(world)?;
            let mut of_eu = world.edges.iter().filter(|place| world.home(place.number) == EU);
            let unaware = of_eu.find(|place| place.keys.identity().placed.elsewhere.is_empty());
            unaware.map_or(Ok(()), |place| Err(format!("edge {} does not", place.number)))
        })
        .await?;
        self.edits().await?;
        self.fail_over().await?;
        self.world.check_returns().await
    }

    /// Objects are edited while edges are linked, away, and while the hub begins anew.
    async fn edits(&mut self) -> Result<(), String> {
        let of_eu: Vec<_> = (0..self.world.edges.len())
            .filter(|index| region_of(self.world.edges[*index].number) == EU)
            .collect();
        let [linked, away, late, ..] = of_eu[..] else {
            return Err("the story has too few edges".to_owned());
        };
        self.world.move_edge(linked, AP);
        self.until("a linked edge changes its region", PEACE, settled).await?;

        self.world.crash_edge(away).await;
        self.world.move_edge(away, US);
        self.edit(away);
        self.world.pass(5.0).await;
        self.world.start_edge(away, Ills::default());
        self.until("an edge that was away hears of it", PEACE, settled).await?;

        // The hub dies with the edit, and its objects are all that it has afterwards; then somebody thinks better of it.
        self.world.crash_hub().await;
        self.world.move_edge(late, AP);
        self.world.start_hub().await;
        self.until("the hub that begins anew moves it", PEACE, settled).await?;
        self.world.move_edge(late, EU);
        self.until("it is back", PEACE, settled).await
    }

    /// The region `eu` is lost, declared so, and comes back.
    async fn fail_over(&mut self) -> Result<(), String> {
        self.world.crash_region(EU).await;
        self.until("the edges of eu find what stands in", PEACE, |world| {
            linked(world, |home| if home == EU { US } else { home })
        })
        .await?;
        self.world.set_standby(US, true);
        (0..self.world.edges.len()).for_each(|index| self.edit(index));
        self.until("what stands in serves them", FAIL_OVER, settled).await?;
        // It returns, and nobody goes back before somebody says so.
        self.world.start_region(EU).await;
        self.world.pass(30.0).await;
        settled(&self.world)?;
        self.world.set_standby(US, false);
        self.until("they are home again", PEACE, settled).await
    }

    /// An edge is to have something else.
    fn edit(&mut self, index: usize) {
        self.world.edges[index].version += 1;
        self.world.publish(index);
    }

    /// Waits while every edge has news all the time.
    async fn until(
        &mut self,
        what: &str,
        seconds: f64,
        holds: impl Fn(&World) -> Result<(), String>,
    ) -> Result<(), String> {
        let begun = tokio::time::Instant::now();
        loop {
            self.world.model.lock().unwrap().verdict()?;
            let held = holds(&self.world);
            match held {
                Ok(()) => return Ok(()),
                Err(reason) if begun.elapsed().as_secs_f64() > seconds => {
                    return Err(format!("not within {seconds} s: {what}: {reason}"));
                }
                Err(_) => {}
            }
            let now = self.world.clock.now();
            for place in &self.world.edges {
                self.items += 1;
                let payload = Bytes::from(self.items.to_be_bytes().to_vec());
                let mut disk = place.disk.lock().unwrap();
                if disk.waiting() < 40 {
                    disk.push(TelemetryClass::Logs, payload, now);
                }
            }
            self.world.pass(LOOK).await;
        }
    }
}

/// Whether every edge is linked to the region that serves it, and the hub has its status.
fn settled(world: &World) -> Result<(), String> {
    let lost = world.standby.as_ref().is_some_and(|standby| standby.active);
    linked(world, |home| if lost && home == EU { US } else { home })?;
    world.unsettled().map_or(Ok(()), Err)
}

fn linked(world: &World, serving: impl Fn(usize) -> usize) -> Result<(), String> {
    for place in &world.edges {
        let wanted = REGIONS[serving(world.home(place.number))];
        let state = place.link.as_ref().map(link::UplinkHandle::state);
        let state = state.ok_or_else(|| format!("edge {} does not run", place.number))?;
        let region = state.region.as_ref().map(ToString::to_string).unwrap_or_default();
        if !state.up || region != wanted {
            return Err(format!(
                "edge {} is linked to \"{region}\" ({}), not to \"{wanted}\": {}",
                place.number, state.up, state.reason
            ));
        }
    }
    Ok(())
}
