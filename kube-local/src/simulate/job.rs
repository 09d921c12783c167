//! A Job: pods until enough of them succeeded.

use std::time::Duration;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::event::{Notice, record};
use super::{Workloads, conditions, pod, set_condition, set_count, template};
use crate::error::ApiError;
use crate::object::{self, integer, set, text};
use crate::storage::ObjectKey;
use crate::timers::Timers;

const SOURCE: &str = "job-controller";

/// Creates pods, counts the ones that ended, and keeps the status.
pub(super) fn reconcile(workloads: &mut Workloads, job: &Value, timers: &mut Timers) -> Result<(), ApiError> {
    let pods_kind = workloads.kind("v1", "Pod")?;
    if conditions(job).iter().any(|one| one["type"] == "Complete" && one["status"] == "True") {
        return expire(workloads, job, timers);
    }
    let pods = workloads.owned(job, "pods");
    let succeeded = pods.iter().filter(|one| text(one, &["status", "phase"]) == Some("Succeeded")).count();
    let mut active: Vec<&Value> =
        pods.iter().filter(|one| !pod::finished(one) && !object::deleting(one)).collect();
    let size =
        |path: &[&str], default: i64| usize::try_from(integer(job, path).unwrap_or(default)).unwrap_or(0);
    let completions = size(&["spec", "completions"], 1);
    let suspended = job["spec"]["suspend"] == true;
    let wanted = if suspended {
        0
    } else {
        size(&["spec", "parallelism"], 1).min(completions.saturating_sub(succeeded))
    };
    let mut created = Vec::new();
    while active.len() + created.len() < wanted {
        let name = format!("{}-", object::name(job));
        let made = workloads.create(&pods_kind, template::pod(job, &name, &[]))?;
        let message = format!("Created pod: {}", object::name(&made));
        record(
            workloads,
            job,
            Notice { kind: "Normal", reason: "SuccessfulCreate", source: SOURCE },
            &message,
        );
        created.push(made);
    }
    while active.len() > wanted {
        if let Some(surplus) = active.pop() {
            workloads.delete(&pods_kind, surplus)?;
        }
    }
    let done = succeeded >= completions && !suspended;
    if done {
        record(
            workloads,
            job,
            Notice { kind: "Normal", reason: "Completed", source: SOURCE },
            "Job completed",
        );
    }
    let ready = active.iter().filter(|one| pod::ready(one)).count();
    let running = active.len() + created.len();
    keep_status(workloads, job, &Counts { running, ready, succeeded, done, suspended })
}

struct Counts {
    running: usize,
    ready: usize,
    succeeded: usize,
    done: bool,
    suspended: bool,
}

fn keep_status(workloads: &Workloads, job: &Value, counts: &Counts) -> Result<(), ApiError> {
    let kind = workloads.kind("batch/v1", "Job")?;
    workloads.modify(&kind, job, |live| {
        let now = crate::clock::now();
        let mut list = conditions(live);
        let mut status = live["status"].clone();
        if !counts.suspended {
            object::set_default(&mut status, &["startTime"], json!(now));
        }
        if counts.done {
            let message = "Reached expected number of succeeded pods";
            set_condition(&mut list, "SuccessCriteriaMet", true, "CompletionsReached", message);
            set_condition(&mut list, "Complete", true, "CompletionsReached", message);
            object::set_default(&mut status, &["completionTime"], json!(now));
        }
        let was_suspended = list.iter().any(|one| one["type"] == "Suspended");
        if counts.suspended {
            set_condition(&mut list, "Suspended", true, "JobSuspended", "Job suspended");
        } else if was_suspended {
            set_condition(&mut list, "Suspended", false, "JobResumed", "Job resumed");
        }
        set_count(&mut status, "active", counts.running);
        set_count(&mut status, "succeeded", counts.succeeded);
        set(&mut status, &["ready"], json!(counts.ready));
        set(&mut status, &["uncountedTerminatedPods"], json!({}));
        if !list.is_empty() {
            set(&mut status, &["conditions"], json!(list));
        }
        set(live, &["status"], status);
    })
}

/// Deletes a completed job when its `ttlSecondsAfterFinished` is over.
fn expire(workloads: &Workloads, job: &Value, timers: &mut Timers) -> Result<(), ApiError> {
    let Some(seconds) = integer(job, &["spec", "ttlSecondsAfterFinished"]) else { return Ok(()) };
    let ended = text(job, &["status", "completionTime"]).and_then(|text| text.parse::<Timestamp>().ok());
    let waited = ended.map_or(0, |ended| Timestamp::now().as_second() - ended.as_second());
    let kind = workloads.kind("batch/v1", "Job")?;
    if waited >= seconds {
        return workloads.delete(&kind, job);
    }
    let left = Duration::from_secs(u64::try_from(seconds - waited).unwrap_or(0));
    timers.after(left, (kind.resource.clone(), ObjectKey::of(job)));
    Ok(())
}
