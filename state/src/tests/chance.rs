//! Random plans, edits, deletions and kills, from a seed, against the simplest model there is: what the last
//! plan says is what the cluster has.
//!
//! A failure prints its seed; `SKEIN_STATE_SEED=<seed>` runs that one alone, `SKEIN_STATE_SEEDS=<n>` that many.

use std::collections::BTreeMap;

use protocol::id::Digest;
use protocol::report::UnitState;
use serde_json::{Value, json};

use super::{MAPS, Planned, World, config_map, unit_id};

const SEEDS: u64 = 30;
const STEPS: u64 = 14;
const NAMES: [&str; 5] = ["a", "b", "c", "d", "e"];
const UNITS: [&str; 3] = ["one", "two", "three"];

/// Numbers from a seed.
struct Chance {
    seed: u64,
    drawn: u64,
}

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.drawn += 1;
        let digest = Digest::of(format!("{}/{}", self.seed, self.drawn).as_bytes());
        u64::from_be_bytes(digest.0[..8].try_into().unwrap()) % limit
    }
}

/// Which unit has which objects with which value.
type Model = BTreeMap<&'static str, BTreeMap<&'static str, u64>>;

fn draw(chance: &mut Chance) -> Model {
    let mut model = Model::new();
    for name in NAMES {
        // Each object in one unit or none: it may move, vanish or change.
        let unit = chance.below(UNITS.len() as u64 + 1) as usize;
        if let Some(unit) = UNITS.get(unit) {
            model.entry(unit).or_default().insert(name, chance.below(3));
        }
    }
    model
}

fn planned(model: &Model) -> Vec<Planned> {
    let mut before: Option<&str> = None;
    model
        .iter()
        .map(|(unit, objects)| {
            let objects = objects.iter().map(|(name, value)| config_map(name, &value.to_string())).collect();
            let depends = before.replace(unit).into_iter().map(unit_id).collect();
            Planned::new(unit, objects).with(|unit| unit.depends_on = depends)
        })
        .collect()
}

/// What the cluster has of ours: value and unit by name.
async fn actual(world: &World) -> BTreeMap<String, (String, String)> {
    let list = world.get(MAPS).await.unwrap_or_default();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let items = list["items"].as_array().cloned().unwrap_or_default();
    items
        .iter()
        .filter(|item| item["metadata"]["name"] != "kube-root-ca.crt")
        .map(|item| {
            let unit = text(&item["metadata"]["annotations"]["skein.dev/unit"]);
            (text(&item["metadata"]["name"]), (text(&item["data"]["key"]), unit))
        })
        .collect()
}

fn wanted(model: &Model) -> BTreeMap<String, (String, String)> {
    let entry = |unit: &str, name: &str, value: u64| {
        (name.to_owned(), (value.to_string(), unit_id(unit).to_string()))
    };
    model
        .iter()
        .flat_map(|(unit, objects)| objects.iter().map(|(name, value)| entry(unit, name, *value)))
        .collect()
}

async fn play(seed: u64) {
    let mut chance = Chance { seed, drawn: 0 };
    let world = World::new().await;
    let mut running = world.start().await;
    let mut model = Model::new();
    let mut history = Vec::new();
    let mut generation = None;
    for _ in 0..STEPS {
        let path = format!("{MAPS}/{}", NAMES[chance.below(5) as usize]);
        match chance.below(6) {
            0 | 1 => {
                model = draw(&mut chance);
                world.wire.note(&mut history, format!("plan {model:?}"));
                generation = Some(running.offer(world.plan(planned(&model))).await);
            }
            2 if world.get(&path).await.is_some() => {
                world.wire.note(&mut history, format!("edit {path}"));
                world.try_edit(&path, json!({"data": {"key": "edited"}})).await;
            }
            3 if world.get(&path).await.is_some() => {
                world.wire.note(&mut history, format!("delete {path}"));
                world.try_delete(&path).await;
            }
            4 => {
                world.wire.note(&mut history, "kill".to_owned());
                running.kill().await;
                running = world.start().await;
            }
            _ => {
                for _ in 0..chance.below(200) {
                    tokio::task::yield_now().await;
                }
            }
        }
    }
    let Some(generation) = generation else { return };
    let mut state = BTreeMap::new();
    for _ in 0..2_000 {
        running.drain(&mut state);
        let settled = running.handle().applied() == Some(generation)
            && model.keys().all(|unit| state.get(*unit) == Some(&UnitState::Deployed));
        if settled && actual(&world).await == wanted(&model) {
            running.kill().await;
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
    let full = running.handle().full_report().await;
    panic!(
        "seed {seed}\n{}\n{:#?}\nwanted {:?}\nactual {:?}\n{state:?}\n{full:#?}",
        history.join("\n"),
        world.wire.writes(),
        wanted(&model),
        actual(&world).await
    );
}

#[tokio::test]
async fn whatever_happens_the_cluster_ends_up_as_the_last_plan_says() {
    if let Ok(seed) = std::env::var("SKEIN_STATE_SEED") {
        return play(seed.parse().unwrap()).await;
    }
    let seeds = std::env::var("SKEIN_STATE_SEEDS").map_or(SEEDS, |seeds| seeds.parse().unwrap());
    for seed in 0..seeds {
        play(seed).await;
    }
}
