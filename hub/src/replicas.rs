//! Which replicas of the hub there are, and where each listens.
//!
//! ```text
//!   Lease skein-hub             who leads (`leadership`)
//!   Lease skein-hub-1f0a93c2    replica "a", renewed every 10 s; annotation skein.dev/endpoints: hub-a.example.com:8443=10
//!   Lease skein-hub-77e20b5d    replica "b", ...
//! ```
//! Every replica keeps a Lease of its own, and reads those of the others. The leader signs what they tell as one list
//! ([`protocol::endpoints`]); those that stand by name the leader to whoever dials them.
//!
//! # Why clocks are not compared
//! A Lease counts as long as its time of renewal changes, by the clock of whoever reads it: a replica with a wrong clock is
//! no dead one. A Lease that is not renewed any more is deleted, unless it is renewed in that moment.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::ResourceExt as _;
use kube::api::{Api, DeleteParams, ListParams, ObjectMeta, Patch, PatchParams, Preconditions};
use process::Process;
use protocol::endpoints::{Endpoint, listed};
use protocol::id::Digest;
use tokio::sync::watch;
use tokio::time::Instant;

/// Begin of the names of replicas' Leases.
const PREFIX: &str = "skein-hub-";
/// Label of replicas' Leases.
const LABEL: &str = "skein.dev/hub-replica";
/// Annotation with a replica's endpoints, joined by commas.
const ENDPOINTS: &str = "skein.dev/endpoints";
/// How often a replica renews its Lease.
const RENEWAL: Duration = Duration::from_secs(10);
/// How often it reads those of the others.
const LOOK: Duration = Duration::from_secs(3);
/// A Lease that was not renewed for this long is of a dead replica.
const DURATION: Duration = Duration::from_secs(30);
/// Longest time for one call.
const PATIENCE: Duration = Duration::from_secs(5);

/// A replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Replica {
    /// Its name in the lease of the leader.
    pub name: String,
    /// Where regions reach it.
    pub endpoints: Vec<Endpoint>,
}

/// The replicas as this one sees them; the first is this one.
pub type Replicas = watch::Receiver<Vec<Replica>>;

/// What all replicas together tell, as a list has it.
pub fn union(replicas: &[Replica]) -> Vec<Endpoint> {
    listed(replicas.iter().flat_map(|replica| replica.endpoints.iter().cloned()))
}

/// Tells the others of this replica, and keeps looking who the others are, until the process ends.
pub async fn keep(client: &kube::Client, namespace: &str, own: Replica, process: &Process) -> Replicas {
    let mut keeper = Keeper {
        leases: Api::namespaced(client.clone(), namespace),
        name: format!("{PREFIX}{}", hex::encode(&Digest::of(own.name.as_bytes()).0[..4])),
        own: own.clone(),
        renewed: BTreeMap::new(),
    };
    keeper.renew().await;
    let known = watch::Sender::new(keeper.look().await.unwrap_or_else(|| vec![own]));
    let replicas = known.subscribe();
    let cancel = process.cancel.clone();
    process.tasks.spawn(async move {
        let mut renewal = tokio::time::interval_at(Instant::now() + RENEWAL, RENEWAL);
        let mut look = tokio::time::interval_at(Instant::now() + LOOK, LOOK);
        loop {
            tokio::select! {
                () = cancel.cancelled() => break,
                _ = renewal.tick() => keeper.renew().await,
                _ = look.tick() => if let Some(replicas) = keeper.look().await {
                    known.send_if_modified(|known| {
                        let changed = *known != replicas;
                        *known = replicas;
                        changed
                    });
                },
            }
        }
        // Whoever ends in order is not waited for.
        let parameters = DeleteParams::default();
        let gone = keeper.leases.delete(&keeper.name, &parameters);
        let _ = tokio::time::timeout(Duration::from_secs(1), gone).await;
    });
    replicas
}

struct Keeper {
    leases: Api<Lease>,
    /// Of this replica's Lease.
    name: String,
    own: Replica,
    /// What each Lease said of its renewal, and when that was first read.
    renewed: BTreeMap<String, (Option<MicroTime>, Instant)>,
}

impl Keeper {
    async fn renew(&self) {
        let endpoints: Vec<_> = self.own.endpoints.iter().map(Endpoint::to_string).collect();
        let lease = Lease {
            metadata: ObjectMeta {
                name: Some(self.name.clone()),
                labels: Some(BTreeMap::from([(LABEL.to_owned(), "true".to_owned())])),
                annotations: Some(BTreeMap::from([(ENDPOINTS.to_owned(), endpoints.join(","))])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(self.own.name.clone()),
                lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
                renew_time: Some(MicroTime(jiff::Timestamp::now())),
                ..LeaseSpec::default()
            }),
        };
        let (parameters, patch) = (PatchParams::apply("skein-hub-replica").force(), Patch::Apply(&lease));
        let renewal = self.leases.patch(&self.name, &parameters, &patch);
        match tokio::time::timeout(PATIENCE, renewal).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "failed to tell the other replicas of this one"),
            Err(_) => tracing::warn!("telling the other replicas of this one takes too long"),
        }
    }

    /// The replicas there are; nothing when that cannot be read.
    async fn look(&mut self) -> Option<Vec<Replica>> {
        let parameters = ListParams::default().labels(&format!("{LABEL}=true"));
        let leases = match tokio::time::timeout(PATIENCE, self.leases.list(&parameters)).await {
            Ok(Ok(leases)) => leases.items,
            Ok(Err(error)) => {
                tracing::warn!(%error, "failed to look for the other replicas");
                return None;
            }
            Err(_) => return None,
        };
        let (alive, dead) = sort(leases, &mut self.renewed, Instant::now());
        for lease in dead.iter().filter(|lease| lease.name_any() != self.name) {
            self.bury(lease).await;
        }
        let own = std::iter::once(self.own.clone());
        let others = alive.iter().filter(|lease| lease.name_any() != self.name).filter_map(told);
        Some(own.chain(others).collect())
    }

    /// Deletes the Lease of a dead replica as it was read.
    async fn bury(&self, lease: &Lease) {
        let preconditions =
            Preconditions { resource_version: lease.metadata.resource_version.clone(), uid: lease.uid() };
        let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
        let name = lease.name_any();
        match tokio::time::timeout(PATIENCE, self.leases.delete(&name, &parameters)).await {
            Ok(Ok(_)) => tracing::info!(lease = name, "a replica that is gone is not told of any more"),
            // Another replica deleted it, or it came back.
            Ok(Err(kube::Error::Api(status))) if status.is_not_found() || status.is_conflict() => {}
            Ok(Err(error)) => {
                tracing::warn!(%error, lease = name, "failed to delete the lease of a dead replica")
            }
            Err(_) => {}
        }
    }
}

/// Leases of replicas that live, in the order of their names, and of those that do not.
fn sort(
    leases: Vec<Lease>,
    renewed: &mut BTreeMap<String, (Option<MicroTime>, Instant)>,
    now: Instant,
) -> (Vec<Lease>, Vec<Lease>) {
    let before = std::mem::take(renewed);
    for lease in &leases {
        let (name, told) = (lease.name_any(), lease.spec.as_ref().and_then(|spec| spec.renew_time.clone()));
        let since = before.get(&name).filter(|(known, _)| *known == told).map_or(now, |(_, since)| *since);
        renewed.insert(name, (told, since));
    }
    let lives =
        |lease: &Lease| renewed.get(&lease.name_any()).is_some_and(|(_, since)| now - *since < DURATION);
    let (mut alive, dead): (Vec<_>, Vec<_>) = leases.into_iter().partition(lives);
    alive.sort_by_key(Lease::name_any);
    (alive, dead)
}

/// What a Lease tells of its replica; what is no endpoint is left out.
fn told(lease: &Lease) -> Option<Replica> {
    let name = lease.spec.as_ref()?.holder_identity.clone()?;
    let texts = lease.annotations().get(ENDPOINTS)?.split(',');
    let read = |text: &str| {
        let read: Result<Endpoint, _> = text.parse();
        read.inspect_err(
            |error| tracing::warn!(%error, replica = name, "an endpoint of a replica is left out"),
        )
        .ok()
    };
    let endpoints = texts.filter(|text| !text.is_empty()).filter_map(read).collect();
    Some(Replica { name, endpoints })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(name: &str, renewed: &str, endpoints: &str) -> Lease {
        Lease {
            metadata: ObjectMeta {
                name: Some(format!("{PREFIX}{name}")),
                annotations: Some(BTreeMap::from([(ENDPOINTS.to_owned(), endpoints.to_owned())])),
                ..ObjectMeta::default()
            },
            spec: Some(LeaseSpec {
                holder_identity: Some(name.to_owned()),
                renew_time: Some(MicroTime(renewed.parse().unwrap())),
                ..LeaseSpec::default()
            }),
        }
    }

    fn names(leases: &[Lease]) -> Vec<String> {
        leases.iter().map(Lease::name_any).collect()
    }

    #[test]
    fn a_replica_lives_as_long_as_its_lease_is_renewed_whatever_its_clock_says() {
        let mut renewed = BTreeMap::new();
        let began = Instant::now();
        // One is a year late, one stopped long ago, and one just now.
        let (late, stopped) = ("2025-01-01T00:00:00Z", "2026-01-01T00:00:00Z");
        let leases = vec![lease("b", stopped, ""), lease("a", late, "")];
        let (alive, dead) = sort(leases.clone(), &mut renewed, began);
        assert_eq!(
            (names(&alive), dead.len()),
            (vec!["skein-hub-a".to_owned(), "skein-hub-b".to_owned()], 0)
        );
        let leases = vec![lease("b", stopped, ""), lease("a", "2025-01-01T00:00:10Z", "")];
        let (alive, dead) = sort(leases.clone(), &mut renewed, began + DURATION);
        assert_eq!(
            (names(&alive), names(&dead)),
            (vec!["skein-hub-a".to_owned()], vec!["skein-hub-b".to_owned()])
        );
        // It comes back.
        let leases = vec![lease("b", "2026-01-01T00:00:31Z", ""), leases[1].clone()];
        let (alive, dead) = sort(leases, &mut renewed, began + DURATION + LOOK);
        assert_eq!((alive.len(), dead.len()), (2, 0));
    }

    #[test]
    fn what_replicas_tell_is_one_list() {
        let replicas: Vec<_> = [
            lease("a", "2026-01-01T00:00:00Z", "hub.example:8443=20,a.example:8443"),
            lease("b", "2026-01-01T00:00:00Z", "b.example:8443,nonsense,hub.example:8443=5"),
            lease("c", "2026-01-01T00:00:00Z", ""),
        ]
        .iter()
        .filter_map(told)
        .collect();
        assert_eq!(replicas.len(), 3);
        let told: Vec<_> = union(&replicas).iter().map(Endpoint::to_string).collect();
        assert_eq!(told, ["hub.example:8443=5", "a.example:8443=10", "b.example:8443=10"]);
    }
}
