//! `kill -9` of hub, region and edge at random moments while objects change: everything converges, no telemetry that
//! was acknowledged to its sender is lost, nothing takes effect twice.

use anyhow::{Context, Result};
use skein_tests::mesh::Mesh;

use crate::transcript::FIRST_CLUSTER;

/// Rounds of killing; `SKEIN_KILL_ROUNDS` overrides.
const ROUNDS: u64 = 50;

/// A sequence that is the same for the same seed (xorshift64*).
struct Sequence(u64);

impl Sequence {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % bound
    }
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

/// The example with another title: what the services are to show in this round.
fn titled(round: u64) -> String {
    FIRST_CLUSTER.replace("title: Shop 1", &format!("title: Round {round}"))
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn killing_any_part_at_any_moment_loses_nothing() -> Result<()> {
    let seed = number("SKEIN_SEED", 20_261_121);
    let rounds = number("SKEIN_KILL_ROUNDS", ROUNDS);
    println!("seed {seed}, replay with SKEIN_SEED={seed}");
    let mut random = Sequence(seed | 1);
    let mesh = Mesh::start(&[]).await?;
    mesh.apply("hub", &titled(0))?;
    mesh.until("shop-1 shows round 0", |mesh| shows(mesh, 0)).await?;
    let otlp = mesh.edge("shop-1")?["otlp"]["http"].as_str().context("no OTLP address")?.to_owned();
    let parts = ["hub", "region/eu", "edge/shop-1"];
    let mut accepted = 0;
    for round in 1..=rounds {
        let part = parts[usize::try_from(random.below(3))?];
        // Before, between or after the change.
        let moment = random.below(3);
        if moment == 0 {
            kill(&mesh, part).await?;
        }
        let applied =
            mesh.until("the change is taken", |mesh| mesh.apply("hub", &titled(round)).map(|_| true));
        applied.await?;
        if moment == 1 {
            kill(&mesh, part).await?;
        }
        accepted += send(&otlp, round).await;
        if moment == 2 {
            kill(&mesh, part).await?;
        }
        if round % 5 == 0 || round == rounds {
            mesh.until(&format!("shop-1 shows round {round}, killed {part}"), |mesh| shows(mesh, round))
                .await?;
        }
    }
    mesh.until("every acknowledged point is at the hub, once", |mesh| {
        let answer = mesh.skein(&["query", "count(skein_test_round)"])?;
        let counted = answer.lines().find_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
        Ok(counted.unwrap_or_default() == accepted)
    })
    .await?;
    assert!(accepted > rounds / 3, "only {accepted} of {rounds} points were accepted");
    assert_eq!(mesh.edge("shop-1")?["gaps"], 0);
    Ok(())
}

/// Kills a part once it runs again after the last time.
async fn kill(mesh: &Mesh, part: &str) -> Result<()> {
    mesh.until(&format!("{part} runs"), |mesh| mesh.kill(part).map(|()| true)).await
}

/// Whether the service runs on the child as of this round, and the hub says so.
fn shows(mesh: &Mesh, round: u64) -> Result<bool> {
    let map = mesh.kubectl("edge/shop-1", &["get", "configmap", "-n", "shop", "-o", "yaml"])?;
    let cluster = mesh.object("hub", &["clusterdeployment", "-n", "default", "shop-1"])?.unwrap_or_default();
    let ready = cluster["status"]["conditions"]
        .as_array()
        .is_some_and(|all| all.iter().any(|one| one["type"] == "Ready" && one["status"] == "True"));
    Ok(map.contains(&format!("Round {round}")) && ready)
}

/// Sends one point of a series of its own; 1 if the edge acknowledged it.
async fn send(otlp: &str, round: u64) -> u64 {
    let now = std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos());
    let body = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [{
        "name": "skein_test_round",
        "gauge": {"dataPoints": [{"asDouble": 1.0, "timeUnixNano": now.to_string(),
            "attributes": [{"key": "round", "value": {"stringValue": round.to_string()}}]}]},
    }]}]}]});
    let sent = reqwest::Client::new().post(format!("http://{otlp}/v1/metrics")).json(&body).send().await;
    u64::from(sent.is_ok_and(|answer| answer.status().is_success()))
}
