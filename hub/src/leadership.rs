//! Who leads: one replica, by a Lease, alone. The number of times the lease changed hands is the term of all
//! plans made under it.
//!
//! # Why
//! Plans are ordered by (term, counter). The counter lives in memory, so each start of a leader needs a term of
//! its own: a replica that finds its own name in the lease (it was killed and came back) takes it at once,
//! and counts one transition more. A replica that cannot renew in time ends its process: whoever led cannot go on
//! leading beside the next one, and below nothing depends on a leader (invariant 3).
//!
//! Whether a lease is renewed, those who stand by see by its changes and measure with a clock of their own: what the
//! leader's clock says counts for nothing, so replicas whose clocks differ do not take the lease from each other.

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use process::Process;
use tokio::sync::watch;
use tokio::time::Instant;

/// Name of the lease.
const LEASE: &str = "skein-hub";
/// A lease that was not seen to be renewed for this long is free.
const DURATION: Duration = Duration::from_secs(15);
/// How often the leader renews.
const RENEWAL: Duration = Duration::from_secs(4);
/// How often the others look.
const LOOK: Duration = Duration::from_secs(1);
/// A leader that could not renew for this long gives up, before anybody else may begin.
const GIVE_UP: Duration = Duration::from_secs(11);

/// Why leadership ended or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// The process was told to end while it stood by.
    #[error("told to end while standing by")]
    Ended,
}

/// Stands by until this replica leads, keeps leading in the background, and returns the term. Meanwhile `leader` is told the
/// name of the one that leads.
///
/// # Errors
/// [`LeadershipError::Ended`] when the process ends first.
pub async fn lead(
    client: &kube::Client,
    namespace: &str,
    replica: &str,
    leader: &watch::Sender<String>,
    process: &Process,
) -> Result<u64, LeadershipError> {
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let mut waiting_for = String::new();
    let mut seen = None;
    loop {
        match take(&leases, replica, &mut seen).await {
            Ok(Taken::Ours(lease)) => {
                let term = term(&lease);
                tracing::info!(term, "leading");
                process.tasks.spawn(keep(leases, *lease, process.clone()));
                return Ok(term);
            }
            Ok(Taken::Others(holder)) if holder != waiting_for => {
                tracing::info!(holder, "standing by");
                leader.send_replace(holder.clone());
                waiting_for = holder;
            }
            Ok(Taken::Others(_)) => {}
            Err(error) => tracing::warn!(%error, "failed to look at the lease"),
        }
        tokio::select! {
            () = process.cancel.cancelled() => return Err(LeadershipError::Ended),
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

enum Taken {
    Ours(Box<Lease>),
    Others(String),
}

/// A lease as it was, and since when.
type Seen = (LeaseSpec, Instant);

async fn take(leases: &Api<Lease>, replica: &str, seen: &mut Option<Seen>) -> kube::Result<Taken> {
    let now = jiff::Timestamp::now();
    let Some(mut lease) = leases.get_opt(LEASE).await? else {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
            spec: Some(held(LeaseSpec::default(), replica, now)),
        };
        return leases.create(&PostParams::default(), &lease).await.map(Box::new).map(Taken::Ours);
    };
    let spec = lease.spec.take().unwrap_or_default();
    if let Err(holder) = free(&spec, replica, seen) {
        return Ok(Taken::Others(holder));
    }
    lease.spec = Some(held(spec, replica, now));
    // The resource version makes sure that of two replicas one wins.
    leases.replace(LEASE, &PostParams::default(), &lease).await.map(Box::new).map(Taken::Ours)
}

/// Whether a replica may take the lease now; else who holds it. `seen` is what it saw before.
fn free(spec: &LeaseSpec, replica: &str, seen: &mut Option<Seen>) -> Result<(), String> {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    if holder.is_empty() || holder == replica {
        return Ok(());
    }
    let lasts = spec.lease_duration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
    let lasts = lasts.map_or(DURATION, Duration::from_secs);
    match seen {
        Some((before, since)) if before == spec => {
            if since.elapsed() >= lasts {
                Ok(())
            } else {
                Err(holder.to_owned())
            }
        }
        _ => {
            *seen = Some((spec.clone(), Instant::now()));
            Err(holder.to_owned())
        }
    }
}

fn held(spec: LeaseSpec, replica: &str, now: jiff::Timestamp) -> LeaseSpec {
    LeaseSpec {
        holder_identity: Some(replica.to_owned()),
        lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
        acquire_time: Some(MicroTime(now)),
        renew_time: Some(MicroTime(now)),
        lease_transitions: Some(spec.lease_transitions.unwrap_or_default() + 1),
        ..spec
    }
}

fn term(lease: &Lease) -> u64 {
    let transitions = lease.spec.as_ref().and_then(|spec| spec.lease_transitions).unwrap_or_default();
    u64::try_from(transitions).unwrap_or_default()
}

/// Renews until the process ends; ends the process when the lease is lost.
async fn keep(leases: Api<Lease>, mut lease: Lease, process: Process) {
    let mut renewed = Instant::now();
    loop {
        tokio::select! {
            () = process.cancel.cancelled() => break,
            () = tokio::time::sleep(RENEWAL) => {}
        }
        if let Some(spec) = lease.spec.as_mut() {
            spec.renew_time = Some(MicroTime(jiff::Timestamp::now()));
        }
        match tokio::time::timeout(RENEWAL, leases.replace(LEASE, &PostParams::default(), &lease)).await {
            Ok(Ok(fresh)) => {
                lease = fresh;
                renewed = Instant::now();
            }
            Ok(Err(kube::Error::Api(status))) if status.is_conflict() => {
                tracing::error!("another replica leads; this one ends");
                process.cancel.cancel();
                return;
            }
            Ok(Err(error)) => tracing::warn!(%error, "failed to renew the lease"),
            Err(_) => tracing::warn!("renewing the lease takes too long"),
        }
        if renewed.elapsed() > GIVE_UP {
            tracing::error!("the lease could not be renewed in time; this replica ends");
            process.cancel.cancel();
            return;
        }
    }
    // An orderly end frees the lease, so that the next replica need not wait.
    if let Some(spec) = lease.spec.as_mut() {
        spec.holder_identity = None;
        spec.renew_time = None;
    }
    let parameters = PostParams::default();
    let release = leases.replace(LEASE, &parameters, &lease);
    let _ = tokio::time::timeout(Duration::from_secs(1), release).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(holder: &str, renewed: &str) -> LeaseSpec {
        LeaseSpec {
            holder_identity: Some(holder.to_owned()),
            lease_duration_seconds: Some(15),
            renew_time: Some(MicroTime(renewed.parse().unwrap())),
            lease_transitions: Some(4),
            ..LeaseSpec::default()
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_free_to_its_holder_and_to_others_once_it_was_not_renewed_for_long_enough() {
        // Whatever the leader's clock says: a year ago, or in a year.
        for year in ["2025", "2027"] {
            let renewed = |second: u8| spec("a", &format!("{year}-01-01T00:00:{second:02}Z"));
            let (ours, others) = (&mut None, &mut None);
            assert_eq!(free(&renewed(0), "a", ours), Ok(()));
            for second in 0..20 {
                assert_eq!(free(&renewed(second), "b", others), Err("a".to_owned()));
                tokio::time::advance(Duration::from_secs(14)).await;
                assert_eq!(free(&renewed(second), "b", others), Err("a".to_owned()));
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(free(&renewed(19), "b", others), Ok(()));
        }
        assert_eq!(free(&LeaseSpec::default(), "b", &mut None), Ok(()));
    }

    #[test]
    fn every_taking_is_a_new_term() {
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(held(spec("a", "2026-01-01T00:00:00Z"), "a", now).lease_transitions, Some(5));
        assert_eq!(held(LeaseSpec::default(), "a", now).lease_transitions, Some(1));
    }
}
