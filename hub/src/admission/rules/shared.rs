//! AccessManagement, ClusterAuthentication and ClusterAuditPolicy.

use api::k0rdent::{AccessManagement, ClusterAuditPolicy, ClusterAuthentication, ClusterDeployment};

use super::super::review::{Request, Verdict};
use super::super::world::World;
use super::{named, parsed};

const LEVELS: [&str; 4] = ["None", "Metadata", "Request", "RequestResponse"];
const STAGES: [&str; 4] = ["RequestReceived", "ResponseStarted", "ResponseComplete", "Panic"];

pub(super) fn create_access(request: &Request, world: &World<'_>) -> Verdict {
    if world.others.access_managements > 0 {
        return Verdict::refuse("AccessManagement object already exists");
    }
    update_access(request, world)
}

pub(super) fn update_access(request: &Request, world: &World<'_>) -> Verdict {
    let object = match parsed::<AccessManagement>(&request.object) {
        Ok(object) => object,
        Err(refusal) => return refusal,
    };
    if object.metadata.deletion_timestamp.is_some() {
        return Verdict::default();
    }
    let mut wrong = Vec::new();
    for (i, rule) in object.spec.access_rules.iter().enumerate() {
        for (j, resource) in rule.resources.iter().enumerate() {
            let group = resource.api_group.clone().unwrap_or_default();
            let dot = if group.is_empty() { "" } else { "." };
            let kind = format!("{}{dot}{group}", resource.kind);
            let at = format!("accessRules[{i}].resources[{j}]");
            match world.others.scopes.get(&(group, resource.kind.clone())) {
                None => {
                    wrong.push(format!("{at}: failed to resolve {kind} (ensure the CRD is installed)"));
                }
                Some(false) => wrong.push(format!(
                    "{at}: {kind} is cluster-scoped and cannot be distributed into target namespaces by AccessManagement"
                )),
                Some(true) => {}
            }
        }
    }
    if wrong.is_empty() { Verdict::default() } else { Verdict::refuse(wrong.join("\n")) }
}

pub(super) fn delete_access(world: &World<'_>) -> Verdict {
    let management = world.others.management.as_ref();
    if management.is_some_and(|management| management.metadata.deletion_timestamp.is_none()) {
        return Verdict::refuse("AccessManagement deletion is forbidden");
    }
    Verdict::default()
}

/// What Kubernetes' own reading of the configuration would refuse, in its words as far as we know them.
pub(super) fn authentication(request: &Request) -> Verdict {
    let object = match parsed::<ClusterAuthentication>(&request.object) {
        Ok(object) => object,
        Err(refusal) => return refusal,
    };
    let Some(configuration) = &object.spec.authentication_configuration else { return Verdict::default() };
    let mut wrong = Vec::new();
    let mut urls = std::collections::BTreeSet::new();
    let jwt = serde_json::to_value(&configuration.jwt).unwrap_or_default();
    for (at, one) in jwt.as_array().into_iter().flatten().enumerate() {
        let text = |pointer: &str| one.pointer(pointer).and_then(|value| value.as_str()).unwrap_or_default();
        let url = text("/issuer/url");
        let place = format!("jwt[{at}]");
        match (url, url.strip_prefix("https://")) {
            ("", _) => wrong.push(format!("{place}.issuer.url: Required value: URL is required")),
            (_, None) => {
                wrong.push(format!("{place}.issuer.url: Invalid value: \"{url}\": URL scheme must be https"))
            }
            (_, Some(_)) if !urls.insert(url.to_owned()) => {
                wrong.push(format!("{place}.issuer.url: Duplicate value: \"{url}\""));
            }
            (_, Some(_)) => {}
        }
        let audiences = one.pointer("/issuer/audiences").and_then(|list| list.as_array());
        if audiences.is_none_or(Vec::is_empty) {
            wrong.push(format!(
                "{place}.issuer.audiences: Required value: at least one {place}.issuer.audiences is required"
            ));
        }
        let (claim, expression) =
            (text("/claimMappings/username/claim"), text("/claimMappings/username/expression"));
        match (claim.is_empty(), expression.is_empty()) {
            (true, true) => wrong.push(format!(
                "{place}.claimMappings.username: Required value: claim or expression is required"
            )),
            (false, false) => wrong.push(format!(
                "{place}.claimMappings.username: Invalid value: \"\": claim and expression can't both be set"
            )),
            (true, false) | (false, true) => {}
        }
    }
    if wrong.is_empty() {
        return Verdict::default();
    }
    let list = if wrong.len() == 1 { wrong.remove(0) } else { format!("[{}]", wrong.join(", ")) };
    Verdict::refuse(format!(
        "the ClusterAuthentication is invalid: invalid AuthenticationConfiguration provided: {list}"
    ))
}

/// What Kubernetes' own reading of the policy would refuse.
pub(super) fn audit_policy(request: &Request) -> Verdict {
    let object = match parsed::<ClusterAuditPolicy>(&request.object) {
        Ok(object) => object,
        Err(refusal) => return refusal,
    };
    let policy = &object.spec.policy;
    let mut wrong = Vec::new();
    let stages = |place: &str, list: &[String], wrong: &mut Vec<String>| {
        for (at, stage) in list.iter().enumerate().filter(|(_, stage)| !STAGES.contains(&stage.as_str())) {
            wrong.push(format!(
                "{place}omitStages[{at}]: Invalid value: \"{stage}\": allowed stages are {}",
                STAGES.join(",")
            ));
        }
    };
    stages("", &policy.omit_stages, &mut wrong);
    for (at, rule) in policy.rules.iter().enumerate() {
        let place = format!("rules[{at}].");
        if rule.level.is_empty() {
            wrong.push(format!("{place}level: Required value"));
        } else if !LEVELS.contains(&rule.level.as_str()) {
            let (given, all) = (&rule.level, LEVELS.map(|level| format!("\"{level}\"")).join(", "));
            wrong.push(format!("{place}level: Unsupported value: \"{given}\": supported values: {all}"));
        }
        stages(&place, &rule.omit_stages, &mut wrong);
        if !rule.non_resource_urls.is_empty() && (!rule.resources.is_empty() || !rule.namespaces.is_empty()) {
            wrong.push(format!(
                "{place}nonResourceURLs: Invalid value: rules cannot apply to both regular resources and non-resource URLs"
            ));
        }
    }
    if wrong.is_empty() {
        return Verdict::default();
    }
    let list = if wrong.len() == 1 { wrong.remove(0) } else { format!("[{}]", wrong.join(", ")) };
    Verdict::refuse(format!("invalid audit policy provided: {list}"))
}

pub(super) fn delete_authentication(request: &Request, world: &World<'_>) -> Verdict {
    unreferenced("ClusterAuthentication", request, world, |cluster| cluster.spec.cluster_auth.as_deref())
}

pub(super) fn delete_audit_policy(request: &Request, world: &World<'_>) -> Verdict {
    unreferenced("ClusterAuditPolicy", request, world, |cluster| cluster.spec.audit_policy.as_deref())
}

fn unreferenced(
    kind: &str,
    request: &Request,
    world: &World<'_>,
    names: impl Fn(&ClusterDeployment) -> Option<&str>,
) -> Verdict {
    let (namespace, name) = named(&request.old_object);
    let clusters = world.cache.cluster_deployments.in_namespace(&namespace);
    if clusters.iter().any(|cluster| names(cluster) == Some(&name)) {
        return Verdict::refuse(format!(
            "cannot delete {kind} {namespace}/{name}: it is still referenced by one or more ClusterDeployments"
        ));
    }
    Verdict::default()
}
