//! Sealed content: opened to be applied, sealed on disk, and nothing of it told.

use bytes::Bytes;
use protocol::id::Digest;
use protocol::plan::DriftMode;
use protocol::report::UnitState;
use protocol::sealed::MAGIC;
use serde_json::{Value, json};

use super::{MAPS, Planned, World, config_map, entry};

/// Seals as the tests' opener opens: with every bit turned over.
fn seal(content: &[u8]) -> Bytes {
    MAGIC.iter().copied().chain(content.iter().map(|byte| !byte)).collect()
}

/// What the engine of the tests opens sealed content with.
pub(super) fn open(sealed: &[u8]) -> Result<Vec<u8>, String> {
    let content: Vec<u8> = sealed.strip_prefix(MAGIC).unwrap_or_default().iter().map(|byte| !byte).collect();
    content.starts_with(b"{").then_some(content).ok_or_else(|| "it is sealed to another key".to_owned())
}

/// A unit whose objects are all sealed.
fn sealed(name: &str, objects: &[Value]) -> Planned {
    let mut planned = Planned::new(name, objects.to_vec());
    for (at, object) in objects.iter().enumerate() {
        let blob = seal(&entry(object).1);
        planned.unit.objects[at].digest = Digest::of(&blob);
        planned.blobs[at] = blob;
    }
    planned
}

fn secret(name: &str, password: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": password}})
}

#[tokio::test]
async fn sealed_objects_are_applied_and_repaired_and_stay_sealed_on_disk() {
    let world = World::new().await;
    let mut running = world.start().await;
    let objects = [secret("login", "correct horse battery"), config_map("conf", "correct horse battery")];
    running.carry_out(world.plan(vec![sealed("web", &objects)])).await;
    running.until_state("web", UnitState::Deployed).await;
    world.edit(&format!("{MAPS}/conf"), json!({"data": {"key": "wrong"}})).await;
    running.until("one repair", |running| running.units["web"].drift_repairs == 1).await;
    let map = world.get(&format!("{MAPS}/conf")).await.unwrap();
    assert_eq!(map["data"]["key"], "correct horse battery");
    running.kill().await;
    for file in std::fs::read_dir(world.folder.path()).unwrap() {
        let bytes = std::fs::read(file.unwrap().path()).unwrap();
        let found = bytes.windows(20).any(|part| part == b"correct horse batter");
        assert!(!found, "the state file holds the content of a Secret");
    }
    // Another engine goes on from what is on disk.
    let mut running = world.start().await;
    world.delete(&format!("{MAPS}/conf")).await;
    running
        .until("it is put back", |running| {
            running
                .units
                .get("web")
                .is_some_and(|unit| unit.state == UnitState::Deployed && unit.drift_repairs > 0)
        })
        .await;
    assert!(world.get(&format!("{MAPS}/conf")).await.is_some());
}

#[tokio::test]
async fn what_does_not_open_harms_only_its_unit_and_says_why() {
    let world = World::new().await;
    let mut running = world.start().await;
    let mut foreign = sealed("foreign", &[config_map("a", "1")]);
    let blob: Bytes = [MAGIC, &b"sealed to somebody else"[..]].concat().into();
    foreign.unit.objects[0].digest = Digest::of(&blob);
    foreign.blobs[0] = blob;
    running.offer(world.plan(vec![foreign, sealed("web", &[config_map("b", "1")])])).await;
    running.until_state("web", UnitState::Deployed).await;
    running
        .until("the reason is told", |running| {
            let unit = running.units.get("foreign");
            unit.is_some_and(|unit| {
                format!("{unit:?}").contains("does not open: it is sealed to another key")
            })
        })
        .await;
    assert!(world.get(&format!("{MAPS}/a")).await.is_none());
}

#[tokio::test]
async fn drift_that_is_only_reported_tells_no_value_of_sealed_content() {
    let world = World::new().await;
    let mut running = world.start().await;
    let unit = sealed("web", &[config_map("conf", "correct horse battery")]);
    running.carry_out(world.plan(vec![unit.with(|unit| unit.drift = DriftMode::Report)])).await;
    running.until_state("web", UnitState::Deployed).await;
    world.edit(&format!("{MAPS}/conf"), json!({"data": {"key": "another secret"}})).await;
    running
        .until("drift is told", |running| {
            running.units["web"].objects.iter().any(|one| !one.message.is_empty())
        })
        .await;
    let told = format!("{:?}", running.units);
    assert!(!told.contains("correct horse") && !told.contains("another secret"), "{told}");
}
