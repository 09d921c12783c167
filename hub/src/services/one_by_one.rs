//! `continueOnError: false`, where it is said: the services of a set are carried out one after the other, as they are
//! listed, and one that fails keeps those behind it from being begun.
//!
//! # Why only where it is said
//! In k0rdent it is what happens when nothing is said: Sveltos deploys the charts of a set in their order and stops at
//! the first that fails. Here a broken service harms only itself unless its owner wants it otherwise, so the key must be
//! there, in `provider.config`. (The deprecated field of the same name is always there: the API server fills it in.)
//!
//! # Why dependencies
//! What comes first must have come to its end on the cluster, which its edge sees, also while it is offline. That is what
//! a dependency is; who is in the way is told as for any other.

use std::collections::{BTreeMap, BTreeSet};

use api::k0rdent::Service;
use protocol::plan::UnitId;

use super::dependency::{ServiceName, dependencies_of, name_of};
use super::resolve::{Problem, ServicePlan};

/// Lets each service come after the one before it, and none behind one that has failed already. What `services` does not
/// list comes last, as it is.
pub(super) fn line_up(services: &[Service], plans: &mut [ServicePlan]) {
    let order = order(services);
    let place = |plan: &ServicePlan| order.get(&plan.name).copied().unwrap_or(order.len());
    let mut line: Vec<_> = plans.iter_mut().collect();
    line.sort_by_key(|plan| place(plan));
    let mut before: Option<UnitId> = None;
    let mut failed: Option<ServiceName> = None;
    for plan in line {
        // Who lost its release to another set is not carried out at all; `stopOnConflict` says what follows from that.
        if plan.problem.as_ref().is_some_and(|problem| problem.withdraw) {
            continue;
        }
        if let Some((namespace, name)) = &failed {
            plan.built = None;
            let message = format!(
                "is not begun, and what is there stays as it is: service {namespace}/{name} comes first and has failed, and continueOnError is false"
            );
            plan.problem.get_or_insert(Problem::pending(message));
            continue;
        }
        if plan.problem.as_ref().is_some_and(|problem| problem.failed) {
            failed = Some(plan.name.clone());
            continue;
        }
        if let (Some(built), Some(before)) = (&mut plan.built, &before) {
            built.come_after(before);
        }
        before = Some(plan.id.clone());
    }
}

/// The place of each service: as listed, but behind what it depends on. A cycle is told elsewhere; here it ends as listed.
fn order(services: &[Service]) -> BTreeMap<ServiceName, usize> {
    let listed: BTreeSet<_> = services.iter().map(name_of).collect();
    let mut order = BTreeMap::new();
    while order.len() < listed.len() {
        let free = |service: &&Service| {
            !order.contains_key(&name_of(service))
                && dependencies_of(service).iter().all(|on| order.contains_key(on) || !listed.contains(on))
        };
        let next = services.iter().find(free);
        let next = next.or_else(|| services.iter().find(|one| !order.contains_key(&name_of(one))));
        let Some(next) = next else { break };
        order.insert(name_of(next), order.len());
    }
    order
}

#[cfg(test)]
mod tests {
    use api::k0rdent::ServiceDependsOn;

    use super::*;

    #[test]
    fn services_come_as_listed_but_behind_what_they_depend_on() {
        let service = |name: &str, on: &[&str]| Service {
            name: name.to_owned(),
            depends_on: on
                .iter()
                .map(|name| ServiceDependsOn { name: (*name).to_owned(), namespace: None })
                .collect(),
            ..Service::default()
        };
        let names = |services: &[Service]| {
            let mut all: Vec<_> = order(services).into_iter().map(|((_, name), at)| (at, name)).collect();
            all.sort();
            all.into_iter().map(|(_, name)| name).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(names(&[service("z", &[]), service("a", &[]), service("m", &[])]), "z a m");
        assert_eq!(names(&[service("z", &["m"]), service("a", &[]), service("m", &[])]), "a m z");
        assert_eq!(names(&[service("a", &["b"]), service("b", &["a"]), service("c", &["gone"])]), "c a b");
        assert_eq!(names(&[service("a", &[]), service("a", &[])]), "a");
    }
}
