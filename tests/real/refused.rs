//! Services that cannot fit: what the child's API server refuses, and by which rule, is told of the service that it
//! concerns; the others are deployed.

use std::fmt::Write as _;

use anyhow::{Result, ensure};
use skein_tests::process::output;
use skein_tests::wait;

use crate::fleet::{Fleet, PATIENCE, SYSTEM, until};
use crate::kubelet::Kubelet;
use crate::webhook::Refusing;

/// What the agent may do: nothing with ServiceAccounts, and it may not watch PodDisruptionBudgets.
const RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: edge}
rules:
- {apiGroups: [""], resources: [namespaces, configmaps, secrets, nodes, pods, events], verbs: ["*"]}
- {apiGroups: [apps], resources: [deployments], verbs: ["*"]}
- {apiGroups: [policy], resources: [poddisruptionbudgets], verbs: [get, create, patch, delete]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: edge}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: edge}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: edge}]
"#;

/// What it lacks for one of the services.
const MORE_RIGHTS: &str = r#"
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRole
metadata: {name: accounts}
rules: [{apiGroups: [""], resources: [serviceaccounts], verbs: ["*"]}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: accounts}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: accounts}
subjects: [{apiGroup: rbac.authorization.k8s.io, kind: User, name: edge}]
"#;

/// Whoever runs the child set these.
const RULES: &str = r#"
apiVersion: v1
kind: Namespace
metadata: {name: crowded}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: no-room, namespace: crowded}
spec: {hard: {pods: "0"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: full}
---
apiVersion: v1
kind: ResourceQuota
metadata: {name: no-secrets, namespace: full}
spec: {hard: {count/secrets: "0"}}
---
apiVersion: v1
kind: Namespace
metadata: {name: thrifty}
---
apiVersion: v1
kind: LimitRange
metadata: {name: small, namespace: thrifty}
spec: {limits: [{type: Container, max: {cpu: 100m}}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicy
metadata: {name: no-notes}
spec:
  matchConstraints:
    resourceRules: [{apiGroups: [""], apiVersions: [v1], operations: [CREATE, UPDATE], resources: [configmaps]}]
  validations: [{expression: "!has(object.data) || !('note' in object.data)", message: notes are not allowed here}]
---
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingAdmissionPolicyBinding
metadata: {name: no-notes}
spec: {policyName: no-notes, validationActions: [Deny]}
"#;

/// Name and namespace of each service, its manifest, and words of what is told of it.
const SERVICES: [(&str, &str, &str, &[&str]); 9] = [
    // The first is told while the others are still tried: it is given what it lacks.
    (
        ACCOUNT,
        "robots",
        "{apiVersion: v1, kind: ServiceAccount, metadata: {name: robot}}",
        &["ServiceAccount robots/robot", "User \"edge\" cannot", "\"serviceaccounts\""],
    ),
    (
        "unseen",
        "unseen",
        "{apiVersion: policy/v1, kind: PodDisruptionBudget, metadata: {name: one}, spec: {maxUnavailable: 1}}",
        &["PodDisruptionBudget.policy unseen/one", "cannot be watched", "cannot list resource"],
    ),
    (
        "guarded",
        "guarded",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: guarded}}",
        &["ConfigMap guarded/guarded", "no.example.com", "ask the owner first"],
    ),
    (
        "unguarded",
        "unguarded",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: unguarded}}",
        &["ConfigMap unguarded/unguarded", "failed calling webhook", "gone.example.com"],
    ),
    ("pods", "crowded", WORKLOAD, &["Deployment.apps crowded/web", "exceeded quota: no-room"]),
    (
        "limits",
        "thrifty",
        WORKLOAD,
        &["Deployment.apps thrifty/web", "maximum cpu usage per Container is 100m"],
    ),
    (
        "secrets",
        "full",
        "{apiVersion: v1, kind: Secret, metadata: {name: key}}",
        &["key", "exceeded quota: no-secrets"],
    ),
    (
        "notes",
        "noted",
        "{apiVersion: v1, kind: ConfigMap, metadata: {name: noted}, data: {note: a}}",
        &["noted", "ValidatingAdmissionPolicy 'no-notes'", "notes are not allowed here"],
    ),
    (
        "unknown",
        "unknown",
        "{apiVersion: example.com/v1, kind: Widget, metadata: {name: one}}",
        &["Widget", "example.com/v1"],
    ),
];

const ACCOUNT: &str = "account";

const WORKLOAD: &str = "{apiVersion: apps/v1, kind: Deployment, metadata: {name: web}, spec: {selector: {matchLabels: {app: web}}, \
     template: {metadata: {labels: {app: web}}, spec: {containers: [{name: web, image: web, \
     resources: {limits: {cpu: 1}}}]}}}}";

// Its webhook and its kubelet go on while the test waits for kubectl.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "real parts: tests/run"]
async fn what_the_api_server_refuses_is_told_of_the_service_that_it_concerns() -> Result<()> {
    let fleet = Fleet::start_limited(RIGHTS).await?;
    let _kubelet = Kubelet::start(fleet.child.client().await?);
    let webhook = Refusing::start("ask the owner first").await?;
    let set = |name: &str, manifest: &str| {
        let file = fleet.folder.path().join(name);
        std::fs::write(&file, manifest)?;
        output(fleet.child.kubectl().args(["apply", "--server-side", "-f"]).arg(&file))
    };
    set("rules.yaml", &format!("{RULES}---\n{}", webhooks(&webhook)))?;
    let attempt = ["create", "configmap", "probe", "--from-literal=note=a", "--dry-run=server"];
    wait::until("the policy is in force", PATIENCE, || {
        let tried = output(fleet.child.kubectl().args(attempt));
        async move { Ok(tried.is_err().then_some(())) }
    })
    .await?;
    fleet.apply(&services()?)?;
    let told = |service: &str, field: &str| -> Result<String> {
        let mut path = String::new();
        write!(path, "jsonpath={{.items[*].status.services[?(@.name==\"{service}\")].{field}}}")?;
        output(fleet.management.kubectl().args(["get", "serviceset", "-n", SYSTEM, "-o", &path]))
    };
    for (service, _, _, words) in SERVICES {
        for word in words {
            let what = format!("{service} is refused because of \"{word}\"");
            let said = wait::until(&what, PATIENCE, || {
                let message = told(service, "failureMessage");
                async move { Ok(message?.contains(word).then_some(())) }
            });
            if let Err(error) = said.await {
                return Err(error.context(told(service, "failureMessage")?));
            }
        }
        ensure!(told(service, "state")? != "Deployed", "{service} is told as deployed");
        if service == ACCOUNT {
            set("more.yaml", MORE_RIGHTS)?;
        }
    }
    let events = ["get", "events", "-n", "noted", "--field-selector", "reason=ApplyRefused"];
    until(&fleet.child, "whoever works there is told why", &events, "notes are not allowed here").await?;
    let fine = ["get", "configmap", "fine", "-n", "fine", "-o", "jsonpath={.data.a}"];
    until(&fleet.child, "the service that fits is there", &fine, "b").await?;
    ensure!(told("fine", "state")? == "Deployed", "the service that fits is not told as deployed");
    wait::until("the service whose right was given is deployed", PATIENCE, || {
        let state = told(ACCOUNT, "state");
        async move { Ok((state? == "Deployed").then_some(())) }
    })
    .await
}

/// One webhook that denies, and one that is not there, each for a namespace.
fn webhooks(refusing: &Refusing) -> String {
    let webhook = |name: &str, namespace: &str, client: &str| {
        format!(
            "- name: {name}\n  clientConfig: {client}\n  failurePolicy: Fail\n  sideEffects: None\n  \
             admissionReviewVersions: [v1]\n  \
             namespaceSelector: {{matchLabels: {{kubernetes.io/metadata.name: {namespace}}}}}\n  \
             rules: [{{apiGroups: [\"\"], apiVersions: [v1], operations: [CREATE], resources: [configmaps]}}]\n"
        )
    };
    let Refusing { url, authority, .. } = refusing;
    let (no, gone) = (
        webhook("no.example.com", "guarded", &format!("{{url: \"{url}\", caBundle: {authority}}}")),
        webhook("gone.example.com", "unguarded", "{url: \"https://127.0.0.1:1/\"}"),
    );
    format!(
        "apiVersion: admissionregistration.k8s.io/v1\nkind: ValidatingWebhookConfiguration\n\
         metadata: {{name: owner}}\nwebhooks:\n{no}{gone}"
    )
}

/// All of them, and one that fits, as one MultiClusterService.
fn services() -> Result<String> {
    let fine = ("fine", "fine", "{apiVersion: v1, kind: ConfigMap, metadata: {name: fine}, data: {a: b}}");
    let refused = SERVICES.iter().map(|(name, namespace, manifest, _)| (*name, *namespace, *manifest));
    let (mut text, mut list) = (String::new(), String::new());
    for (name, namespace, manifest) in refused.chain([fine]) {
        write!(
            text,
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {{name: {name}, namespace: {SYSTEM}}}\ndata:\n  all.yaml: |\n    {manifest}\n---\n\
             apiVersion: k0rdent.mirantis.com/v1beta1\nkind: ServiceTemplate\nmetadata: {{name: {name}, namespace: {SYSTEM}}}\n\
             spec: {{resources: {{deploymentType: Remote, localSourceRef: {{kind: ConfigMap, name: {name}}}}}}}\n---\n"
        )?;
        writeln!(list, "    - {{template: {name}, name: {name}, namespace: {namespace}}}")?;
    }
    write!(
        text,
        "apiVersion: k0rdent.mirantis.com/v1beta1\nkind: MultiClusterService\nmetadata: {{name: fitting}}\nspec:\n  \
         clusterSelector: {{matchLabels: {{site: berlin}}}}\n  serviceSpec:\n    services:\n{list}"
    )?;
    Ok(text)
}
