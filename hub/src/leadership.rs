//! Who leads: one replica, by a Lease, alone. The number of times the lease changed hands is the term of all
//! plans made under it.
//!
//! # Why
//! Plans are ordered by (term, counter). The counter lives in memory, so each start of a leader needs a term of
//! its own: a replica that finds its own name in the lease (it was killed and came back) takes it at once,
//! and counts one transition more. A replica that cannot renew in time ends its process: whoever led cannot go on
//! leading beside the next one, and below nothing depends on a leader (invariant 3).

use std::time::Duration;

use k8s_openapi::api::coordination::v1::{Lease, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::api::{Api, ObjectMeta, PostParams};
use process::Process;

/// Name of the lease.
const LEASE: &str = "skein-hub";
/// A lease that was not renewed for this long is free.
const DURATION: Duration = Duration::from_secs(15);
/// How often the leader renews, and how often the others look.
const RENEWAL: Duration = Duration::from_secs(4);
/// A leader that could not renew for this long gives up, before anybody else may begin.
const GIVE_UP: Duration = Duration::from_secs(11);

/// Why leadership ended or cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum LeadershipError {
    /// The process was told to end while it stood by.
    #[error("told to end while standing by")]
    Ended,
}

/// Stands by until this replica leads, keeps leading in the background, and returns the term.
///
/// # Errors
/// [`LeadershipError::Ended`] when the process ends first.
pub async fn lead(
    client: &kube::Client,
    namespace: &str,
    replica: &str,
    process: &Process,
) -> Result<u64, LeadershipError> {
    let leases = Api::<Lease>::namespaced(client.clone(), namespace);
    let mut waiting_for = String::new();
    loop {
        match take(&leases, replica).await {
            Ok(Taken::Ours(lease)) => {
                let term = term(&lease);
                tracing::info!(term, "leading");
                process.tasks.spawn(keep(leases, *lease, process.clone()));
                return Ok(term);
            }
            Ok(Taken::Others(holder)) if holder != waiting_for => {
                tracing::info!(holder, "standing by");
                waiting_for = holder;
            }
            Ok(Taken::Others(_)) => {}
            Err(error) => tracing::warn!(%error, "failed to look at the lease"),
        }
        tokio::select! {
            () = process.cancel.cancelled() => return Err(LeadershipError::Ended),
            () = tokio::time::sleep(RENEWAL) => {}
        }
    }
}

enum Taken {
    Ours(Box<Lease>),
    Others(String),
}

async fn take(leases: &Api<Lease>, replica: &str) -> kube::Result<Taken> {
    let now = jiff::Timestamp::now();
    let Some(mut lease) = leases.get_opt(LEASE).await? else {
        let lease = Lease {
            metadata: ObjectMeta { name: Some(LEASE.to_owned()), ..ObjectMeta::default() },
            spec: Some(held(LeaseSpec::default(), replica, now)),
        };
        return leases.create(&PostParams::default(), &lease).await.map(Box::new).map(Taken::Ours);
    };
    let spec = lease.spec.take().unwrap_or_default();
    match free(&spec, replica, now) {
        Ok(()) => lease.spec = Some(held(spec, replica, now)),
        Err(holder) => return Ok(Taken::Others(holder)),
    }
    // The resource version makes sure that of two replicas one wins.
    leases.replace(LEASE, &PostParams::default(), &lease).await.map(Box::new).map(Taken::Ours)
}

/// Whether a replica may take the lease now; else who holds it.
fn free(spec: &LeaseSpec, replica: &str, now: jiff::Timestamp) -> Result<(), String> {
    let holder = spec.holder_identity.as_deref().unwrap_or_default();
    let seconds = spec.lease_duration_seconds.map_or(DURATION.as_secs().cast_signed(), i64::from);
    let renewed = spec.renew_time.as_ref().map(|time| time.0);
    let expired = renewed.is_none_or(|time| now.duration_since(time).as_secs() >= seconds);
    if holder.is_empty() || holder == replica || expired { Ok(()) } else { Err(holder.to_owned()) }
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
    let mut renewed = tokio::time::Instant::now();
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
                renewed = tokio::time::Instant::now();
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

    #[test]
    fn a_lease_is_free_to_its_holder_to_nobody_else_and_to_all_once_it_expired() {
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(free(&spec("a", "2026-01-01T00:00:00Z"), "a", now), Ok(()));
        assert_eq!(free(&spec("a", "2026-01-01T00:00:00Z"), "b", now), Err("a".to_owned()));
        assert_eq!(free(&spec("a", "2025-12-31T23:59:55Z"), "b", now), Ok(()));
        assert_eq!(free(&LeaseSpec::default(), "b", now), Ok(()));
    }

    #[test]
    fn every_taking_is_a_new_term() {
        let now = "2026-01-01T00:00:10Z".parse().unwrap();
        assert_eq!(held(spec("a", "2026-01-01T00:00:00Z"), "a", now).lease_transitions, Some(5));
        assert_eq!(held(LeaseSpec::default(), "a", now).lease_transitions, Some(1));
    }
}
