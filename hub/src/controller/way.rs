//! The way of one service from the object that asks for it to the objects on the cluster, step by step.

use api::k0rdent::{DeploymentState, Service, ServiceState, SyncMode};
use api::skein::{Hold, LinkState};
use protocol::UnixMillis;
use protocol::id::Generation;
use protocol::report::{ObjectHealth, UnitReport, UnitState};
use protocol::version::{self, Lacks, Speaks};

use super::since;
use crate::explain::{ObjectTold, SourceTold, Standing, Step};
use crate::services::claim::Owner;
use crate::services::dependency::{ServiceName, dependencies_of};
use crate::services::resolve::{ServicePlan, SetPlan};

/// What a way is told from.
pub(super) struct Facts<'a> {
    /// The target, as text.
    pub target: &'a str,
    /// The set that the service belongs to.
    pub set: &'a SetPlan,
    /// The service.
    pub service: &'a ServicePlan,
    /// The service as its owner names it, if the owner is there still.
    pub declared: Option<&'a Service>,
    /// Whether the owner's selector matches the target.
    pub selected: bool,
    /// Owners of the other sets that name the same release, with their priorities.
    pub rivals: Vec<(String, i32)>,
    /// How far the rollout of its owner is with the target, if there is one.
    pub turn: Option<Step>,
    /// The MultiClusterServices that come first and are not deployed, and the states of the target's services.
    pub blocked_by: Option<String>,
    /// The states of all services of the target.
    pub states: &'a [ServiceState],
    /// Where its template's content comes from.
    pub source: Option<&'a SourceTold>,
    /// Why the target's plan is held back.
    pub held: Option<&'a str>,
    /// The pause that the edge's object asks for.
    pub pause: Option<&'a Hold>,
    /// The newest plan: its generation, and when it was published.
    pub plan: Option<(Generation, UnixMillis)>,
    /// Whether the plan has the service.
    pub in_plan: bool,
    /// Whether the target has an agent.
    pub agent: bool,
    /// The link to the agent, and since when it is so.
    pub link: (LinkState, Option<UnixMillis>),
    /// When the agent was heard last; 0 if it never was.
    pub heard: UnixMillis,
    /// The plan that the agent has stored, and the one it has carried out.
    pub at: (Option<Generation>, Option<Generation>),
    /// What the agent speaks.
    pub speaks: Option<Speaks>,
    /// What the agent reported of the service.
    pub report: Option<&'a UnitReport>,
}

/// The steps, in order; the first that is not done is the one that matters.
pub(super) fn way(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = vec![asked(facts)];
    steps.extend(won(facts));
    steps.extend(facts.turn.clone());
    steps.extend(in_force(facts));
    steps.push(rendered(facts));
    steps.extend(after(facts));
    steps.extend(planned(facts));
    steps.push(linked(facts));
    steps.extend(delivered(facts));
    steps.push(deployed(facts));
    steps.extend(lacking(facts));
    steps
}

/// The objects that are not as they should be.
pub(super) fn unsettled(report: &UnitReport) -> Vec<ObjectTold> {
    let told = report.objects.iter().map(|object| ObjectTold {
        object: object.key.to_string(),
        health: format!("{:?}", object.health),
        message: object.message.clone(),
        since: since(object.since),
    });
    told.collect()
}

pub(super) fn done(step: &'static str, text: impl Into<String>) -> Step {
    Step { step, standing: Standing::Done, text: text.into(), cure: None }
}

pub(super) fn open(
    step: &'static str,
    standing: Standing,
    text: impl Into<String>,
    cure: impl Into<String>,
) -> Step {
    Step { step, standing, text: text.into(), cure: Some(cure.into()) }
}

fn named((namespace, name): &ServiceName) -> String {
    format!("{namespace}/{name}")
}

fn asked(facts: &Facts<'_>) -> Step {
    let priority = facts.set.carrying.priority;
    let text = match &facts.set.owner {
        Owner::ClusterDeployment => format!("{} names it itself, priority {priority}", facts.target),
        Owner::MultiClusterService(name) if facts.selected => {
            format!("MultiClusterService {name} selects {}, priority {priority}", facts.target)
        }
        Owner::MultiClusterService(name) => format!(
            "MultiClusterService {name} does not select {} any more; keepServicesOnSelectorMismatch keeps it",
            facts.target
        ),
    };
    done("asked", text)
}

/// Who has the release, where several name it.
fn won(facts: &Facts<'_>) -> Option<Step> {
    let problem = facts.service.problem.as_ref().filter(|problem| problem.withdraw);
    if let Some(problem) = problem {
        let cure = format!(
            "give {} a higher spec.serviceSpec priority, or take the release from the other",
            owner(facts)
        );
        return Some(open("release", Standing::Wrong, problem.message.clone(), cure));
    }
    let rivals: Vec<_> =
        facts.rivals.iter().map(|(name, priority)| format!("{name} (priority {priority})")).collect();
    (!rivals.is_empty()).then(|| done("release", format!("it has the release before {}", rivals.join(", "))))
}

fn owner(facts: &Facts<'_>) -> String {
    match &facts.set.owner {
        Owner::ClusterDeployment => facts.target.to_owned(),
        Owner::MultiClusterService(name) => format!("MultiClusterService {name}"),
    }
}

/// What keeps it from being carried out as usual.
fn in_force(facts: &Facts<'_>) -> Vec<Step> {
    let (namespace, name) = &facts.set.set;
    let mut steps = Vec::new();
    if facts.set.paused {
        let cure = format!(
            "kubectl annotate serviceset -n {namespace} {name} {}-",
            api::names::annotation::SERVICE_SET_PAUSED
        );
        let text = format!("ServiceSet {namespace}/{name} is paused: it stays what it is");
        steps.push(open("paused", Standing::Waiting, text, cure));
    }
    if facts.set.carrying.sync_mode == SyncMode::DryRun {
        let cure = format!("set another syncMode in {}", owner(facts));
        let text = "syncMode is DryRun: nothing is written, only told";
        steps.push(open("dry run", Standing::Waiting, text, cure));
    }
    if facts.declared.is_some_and(|service| service.disable) {
        steps.push(done("disabled", "it is disabled, and stays what it is where it is already"));
    }
    steps
}

fn rendered(facts: &Facts<'_>) -> Step {
    let service = facts.service;
    let Some(problem) = service.problem.as_ref().filter(|problem| !problem.withdraw) else {
        return match &service.built {
            Some(built) => {
                let unit = built.unit();
                done(
                    "rendered",
                    format!(
                        "version {} of template {}: {} objects and {} hooks at {}",
                        service.version,
                        service.template,
                        unit.objects.len(),
                        unit.hooks.len(),
                        since(built.since)
                    ),
                )
            }
            None => {
                open("rendered", Standing::Waiting, "it is not rendered: another one has the release", "")
            }
        };
    };
    let kept = match &service.built {
        Some(built) => format!("; version {} stays until then", built.version),
        None => String::new(),
    };
    let fetch = facts.source.and_then(|source| source.failing.as_ref().map(|why| (source, why)));
    let text = match fetch {
        Some((source, why)) if !problem.message.contains(why.as_str()) => {
            format!("{}{kept} (source {}: {why})", problem.message, source.name)
        }
        Some(_) | None => format!("{}{kept}", problem.message),
    };
    let standing = if problem.failed { Standing::Wrong } else { Standing::Waiting };
    let cure = if problem.failed {
        "correct what the message names; it is rendered again by itself"
    } else {
        "nothing, if that comes; the message says what is waited for"
    };
    open("rendered", standing, text, cure)
}

/// What comes first.
fn after(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    let wanted = facts.declared.map(dependencies_of).unwrap_or_default();
    for name in wanted {
        let state = facts.states.iter().find(|one| (&one.namespace, &one.name) == (&name.0, &name.1));
        let text = named(&name);
        steps.push(match state {
            Some(state) if state.state == DeploymentState::Deployed => {
                done("after", format!("{text} is deployed"))
            }
            Some(state) => {
                let message = state.failure_message.as_deref().unwrap_or_default();
                let colon = if message.is_empty() { "" } else { ": " };
                let cure = format!("explain service {text} of the same target");
                open("after", Standing::Waiting, format!("{text} is {:?}{colon}{message}", state.state), cure)
            }
            None => {
                let cure = format!("add {text} to the target, or take it from dependsOn");
                open("after", Standing::Wrong, format!("there is no {text} on the target"), cure)
            }
        });
    }
    if let Some(by) = &facts.blocked_by {
        let text = format!("MultiClusterService {by} comes first and is not deployed on the target");
        steps.push(open(
            "after",
            Standing::Waiting,
            text,
            format!("see the services of MultiClusterService {by}"),
        ));
    }
    steps
}

fn planned(facts: &Facts<'_>) -> Vec<Step> {
    let mut steps = Vec::new();
    if let Some(held) = facts.held {
        let cure = "correct the service that the message names; nothing is removed meanwhile";
        steps.push(open("plan", Standing::Wrong, held, cure));
    }
    match facts.plan {
        None if !facts.agent => {
            let text = "the target has no agent yet, so there is nobody to have a plan";
            steps.push(open(
                "plan",
                Standing::Waiting,
                text,
                "wait for the cluster, or enrol its edge agent",
            ));
        }
        None => steps.push(open("plan", Standing::Waiting, "no plan is published yet", "")),
        Some((generation, at)) if facts.in_plan => {
            steps.push(done("plan", format!("in plan {generation}, published {}", since(at))));
        }
        Some((generation, at)) => {
            let text = format!("plan {generation}, published {}, is without it", since(at));
            steps.push(open("plan", Standing::Waiting, text, "the steps above say why"));
        }
    }
    steps
}

fn linked(facts: &Facts<'_>) -> Step {
    let heard = match facts.heard {
        0 => "never heard since the hub started".to_owned(),
        at => format!("last heard {}", since(at)),
    };
    let at = |at: Option<UnixMillis>| at.map(|at| format!(" since {}", since(at))).unwrap_or_default();
    match facts.link {
        (LinkState::Up, when) => done("link", format!("the edge is linked{}, {heard}", at(when))),
        (LinkState::Down, when) => open(
            "link",
            Standing::Unknown,
            format!("the edge is away{}, {heard}: all below is the last known", at(when)),
            "look at the device and its network; it goes on with the plan it has, and catches up by itself",
        ),
        (LinkState::Unknown, when) => open(
            "link",
            Standing::Unknown,
            format!("its region is away{}, {heard}: all below is the last known", at(when)),
            "look at the region's agent; the edge goes on with the plan it has",
        ),
    }
}

/// What the agent does not do for the service because it is of an earlier version.
fn lacking(facts: &Facts<'_>) -> Option<Step> {
    let speaks = facts.speaks?;
    let lacking = version::asked(&facts.service.built.as_ref()?.unit()).without(speaks.features);
    let text = || format!("the agent speaks protocol {speaks}; without {}", Lacks::of(lacking));
    let cure = format!("install version {} or newer on the edge", env!("CARGO_PKG_VERSION"));
    (!lacking.is_empty()).then(|| open("version", Standing::Wrong, text(), cure))
}

fn delivered(facts: &Facts<'_>) -> Vec<Step> {
    let Some((generation, _)) = facts.plan else { return Vec::new() };
    let (stored, applied) = facts.at;
    let mut steps = Vec::new();
    let step = |name, at: Option<Generation>, verb: &str| match at {
        Some(at) if at >= generation => done(name, format!("plan {at} is {verb}")),
        Some(at) => open(name, Standing::Waiting, format!("plan {at} is {verb}, {generation} is not"), ""),
        None => open(name, Standing::Unknown, format!("it is not known which plan is {verb}"), ""),
    };
    steps.push(step("stored", stored, "stored on the edge"));
    if let Some(hold) = facts.pause {
        let until =
            hold.until.as_ref().map_or_else(|| "it is lifted".to_owned(), |until| until.0.to_string());
        let reason = hold.reason.as_deref().unwrap_or("no reason given");
        let cure = "take spec.hold from the Edge";
        steps.push(open("hold", Standing::Waiting, format!("new plans wait until {until}: {reason}"), cure));
    }
    steps.push(step("carried out", applied, "carried out"));
    steps
}

fn deployed(facts: &Facts<'_>) -> Step {
    let Some(report) = facts.report else {
        return open(
            "cluster",
            Standing::Unknown,
            "the edge has reported nothing of it",
            "the steps above say why",
        );
    };
    let (ready, total) = (report.objects_ready, report.objects_total);
    let repairs = match report.drift_repairs {
        0 => String::new(),
        count => format!(", drift repaired {count} times"),
    };
    let colon = if report.message.is_empty() { "" } else { ": " };
    let what = format!(
        "version {} of {} is {} since {}, {ready} of {total} objects are well{repairs}{colon}{}",
        report.version,
        report.template,
        report.state.as_str(),
        since(report.since),
        report.message
    );
    let good = match report.deployed_hash {
        Some(hash) if report.state != UnitState::Deployed => {
            format!("; last good: {}", &hash.to_string()[..12.min(hash.to_string().len())])
        }
        Some(_) => String::new(),
        None => "; it never was well".to_owned(),
    };
    let newest = facts.service.built.as_ref().is_none_or(|built| report.deployed_hash == Some(built.hash));
    match report.state {
        UnitState::Deployed if newest => done("cluster", what),
        UnitState::Deployed => open(
            "cluster",
            Standing::Waiting,
            format!("{what}; that is not the newest"),
            "the steps above say why",
        ),
        UnitState::Failed => open("cluster", Standing::Wrong, format!("{what}{good}"), cure_of(report)),
        UnitState::Pending | UnitState::Provisioning | UnitState::Deleting | UnitState::Deleted => {
            open("cluster", Standing::Waiting, format!("{what}{good}"), cure_of(report))
        }
    }
}

/// What helps, as far as the objects show.
fn cure_of(report: &UnitReport) -> String {
    let worst = report.objects.iter().min_by_key(|object| match object.health {
        ObjectHealth::Refused => 0,
        ObjectHealth::Failed => 1,
        ObjectHealth::NotFound => 2,
        ObjectHealth::InProgress => 3,
        ObjectHealth::Terminating => 4,
        ObjectHealth::Current => 5,
    });
    let Some(object) = worst else {
        return "the message says what; a changed version or values begin anew".to_owned();
    };
    match object.health {
        ObjectHealth::Refused => format!(
            "{} is refused by the API server: change the values that it comes from, or give the agent the right",
            object.key
        ),
        ObjectHealth::Failed | ObjectHealth::InProgress => {
            let namespace = match object.key.namespace.as_str() {
                "" => &report.id.namespace,
                some => some,
            };
            format!(
                "on the cluster: kubectl describe {} -n {namespace} {}",
                object.key.kind.to_lowercase(),
                object.key.name
            )
        }
        ObjectHealth::NotFound | ObjectHealth::Terminating | ObjectHealth::Current => {
            format!("{} is made, or its end waited for, by itself", object.key)
        }
    }
}
