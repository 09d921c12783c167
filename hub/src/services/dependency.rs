//! Dependencies between services of one `serviceSpec`, and between MultiClusterServices: everything named must be
//! there, and nothing may wait for itself. Messages are k0rdent's.

use std::collections::{BTreeMap, BTreeSet};

use api::k0rdent::Service;

/// What k0rdent takes for an absent namespace.
pub const DEFAULT_NAMESPACE: &str = "default";

/// Namespace and name of a service on its cluster.
pub type ServiceName = (String, String);

/// The name of a service.
pub fn name_of(service: &Service) -> ServiceName {
    let namespace = if service.namespace.is_empty() { DEFAULT_NAMESPACE } else { &service.namespace };
    (namespace.to_owned(), service.name.clone())
}

/// The services that a service waits for.
pub fn dependencies_of(service: &Service) -> Vec<ServiceName> {
    let namespace = |given: &Option<String>| {
        given.clone().filter(|given| !given.is_empty()).unwrap_or_else(|| DEFAULT_NAMESPACE.to_owned())
    };
    service.depends_on.iter().map(|one| (namespace(&one.namespace), one.name.clone())).collect()
}

/// Checks the dependencies of the services of one `serviceSpec`.
///
/// # Errors
/// k0rdent's message: what is not defined, or where the cycle is.
pub fn check_services(services: &[Service]) -> Result<(), String> {
    let graph: BTreeMap<_, _> = services
        .iter()
        .map(|service| (text(&name_of(service)), dependencies_of(service).iter().map(text).collect()))
        .collect();
    let missing = missing(&graph);
    if !missing.is_empty() {
        let list: Vec<_> = missing
            .iter()
            .map(|(of, dependency)| {
                format!("dependency {dependency} of service {of} is not defined as a service")
            })
            .collect();
        return Err(format!("failed service dependency validation: {}", list.join("\n")));
    }
    match cycle(&graph) {
        Some(at) => {
            Err(format!("failed service dependency cycle validation: dependency cycle detected at {at}"))
        }
        None => Ok(()),
    }
}

/// Checks the dependencies of one MultiClusterService among all: `graph` holds what each waits for.
///
/// # Errors
/// k0rdent's message.
pub fn check_multi_cluster_services(name: &str, graph: &BTreeMap<String, Vec<String>>) -> Result<(), String> {
    let missing: Vec<_> = graph
        .get(name)
        .into_iter()
        .flatten()
        .filter(|dependency| !graph.contains_key(*dependency))
        .map(|dependency| format!("dependency {dependency} of {name} is not defined"))
        .collect();
    if !missing.is_empty() {
        return Err(format!("failed MCS dependency validation: {}", missing.join("\n")));
    }
    let reachable = reachable(name, graph);
    let part: BTreeMap<_, _> = graph
        .iter()
        .filter(|(one, _)| reachable.contains(*one))
        .map(|(one, on)| (one.clone(), on.clone()))
        .collect();
    match cycle(&part) {
        Some(at) => Err(format!("failed MCS dependency cycle validation: dependency cycle detected at {at}")),
        None => Ok(()),
    }
}

fn text((namespace, name): &ServiceName) -> String {
    format!("{namespace}/{name}")
}

fn missing(graph: &BTreeMap<String, Vec<String>>) -> Vec<(&str, &str)> {
    graph
        .iter()
        .flat_map(|(of, on)| on.iter().map(move |dependency| (of.as_str(), dependency.as_str())))
        .filter(|(_, dependency)| !graph.contains_key(*dependency))
        .collect()
}

fn reachable(from: &str, graph: &BTreeMap<String, Vec<String>>) -> BTreeSet<String> {
    let mut seen = BTreeSet::new();
    let mut next = vec![from.to_owned()];
    while let Some(one) = next.pop() {
        if seen.insert(one.clone()) {
            next.extend(graph.get(&one).into_iter().flatten().cloned());
        }
    }
    seen
}

/// A node of a cycle: the first that is left when all nodes without open dependencies are taken away.
fn cycle(graph: &BTreeMap<String, Vec<String>>) -> Option<&str> {
    let mut left: BTreeSet<_> = graph.keys().collect();
    loop {
        let free: Vec<_> =
            left.iter().copied().filter(|one| graph[*one].iter().all(|on| !left.contains(on))).collect();
        if free.is_empty() {
            break;
        }
        for one in free {
            left.remove(one);
        }
    }
    // Nodes that only lead into a cycle are left as well; walk until one comes twice.
    let mut at = left.first().copied()?;
    let mut seen = BTreeSet::new();
    while seen.insert(at) {
        at = graph[at].iter().find_map(|on| left.get(on).copied())?;
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::*;
    use api::k0rdent::ServiceDependsOn;

    fn service(name: &str, on: &[&str]) -> Service {
        let depends_on =
            on.iter().map(|name| ServiceDependsOn { name: (*name).into(), namespace: None }).collect();
        Service { name: name.into(), depends_on, ..Service::default() }
    }

    #[test]
    fn what_is_named_must_be_defined_and_must_not_wait_for_itself() {
        let check = |services: &[Service]| check_services(services).err().unwrap_or_default();
        assert_eq!(check(&[service("a", &["b"]), service("b", &[])]), "");
        assert_eq!(
            check(&[service("a", &["c"])]),
            "failed service dependency validation: dependency default/c of service default/a is not defined as a service"
        );
        assert_eq!(
            check(&[service("a", &["b"]), service("b", &["c"]), service("c", &["b"])]),
            "failed service dependency cycle validation: dependency cycle detected at default/b"
        );
        assert!(check(&[service("a", &["a"])]).ends_with("detected at default/a"));
    }

    #[test]
    fn a_multi_cluster_service_answers_for_what_it_reaches_only() {
        let graph = |pairs: &[(&str, &[&str])]| -> BTreeMap<String, Vec<String>> {
            pairs
                .iter()
                .map(|(one, on)| ((*one).into(), on.iter().map(|on| (*on).into()).collect()))
                .collect()
        };
        let all = graph(&[("a", &["b"]), ("b", &[]), ("x", &["y"]), ("y", &["x"]), ("z", &["gone"])]);
        assert_eq!(check_multi_cluster_services("a", &all), Ok(()));
        assert!(check_multi_cluster_services("x", &all).unwrap_err().ends_with("cycle detected at x"));
        assert_eq!(
            check_multi_cluster_services("z", &all).unwrap_err(),
            "failed MCS dependency validation: dependency gone of z is not defined"
        );
    }
}
