//! ClusterDeployments.

use api::k0rdent::{ClusterTemplate, Management};
use serde_json::{Value, json};

use super::{Stage, cluster, services, text, typed};
use crate::admission::review::{Operation, Verdict};

#[test]
fn a_cluster_deployment_is_refused_with_k0rdents_words() {
    let table: Vec<(Value, &str)> = vec![
        (json!({}), ""),
        (
            json!({"template": "gone"}),
            "the ClusterDeployment is invalid: ClusterTemplate.k0rdent.mirantis.com \"gone\" not found",
        ),
        (
            json!({"template": "broken"}),
            "the ClusterDeployment is invalid: the ClusterTemplate team/broken is invalid with the error: no chart",
        ),
        (
            json!({"credential": "gone"}),
            "the ClusterDeployment is invalid: failed to get Credential team/gone referred in the ClusterDeployment team/ours: Credential.k0rdent.mirantis.com \"gone\" not found",
        ),
        (
            json!({"credential": "unready"}),
            "the ClusterDeployment is invalid: the Credential team/unready is not Ready",
        ),
        (
            json!({"credential": "empty"}),
            "the ClusterDeployment is invalid: the Credential team/empty does not have identityRef",
        ),
        (
            json!({"credential": "secret"}),
            "the ClusterDeployment is invalid: provider infrastructure-aws does not support ClusterIdentity Kind Secret from the Credential team/secret",
        ),
        (
            services(
                &json!([{"name": "a", "template": "web"}, {"name": "b", "template": "web", "templateChain": "web", "dependsOn": [{"name": "a"}]}]),
            ),
            "",
        ),
        (
            services(&json!([{"name": "a", "template": "gone"}])),
            "the ClusterDeployment is invalid: some services have invalid templates\nfailed to get ServiceTemplate team/gone: ServiceTemplate.k0rdent.mirantis.com \"gone\" not found",
        ),
        (
            services(&json!([{"name": "a", "template": "bad"}])),
            "the ClusterDeployment is invalid: some services have invalid templates\nthe ServiceTemplate team/bad is invalid with the error: no chart",
        ),
        (
            services(&json!([{"name": "a", "template": "web", "templateChain": "faulty"}])),
            "the ClusterDeployment is invalid: some services have invalid templates\nthe ServiceTemplateChain team/faulty is invalid with the error: no way",
        ),
        (
            services(&json!([{"name": "a", "template": "web", "templateChain": "gone"}])),
            "the ClusterDeployment is invalid: some services have invalid templates\nfailed to get ServiceTemplateChain team/gone: ServiceTemplateChain.k0rdent.mirantis.com \"gone\" not found",
        ),
        (
            services(&json!([{"name": "a", "template": "web", "dependsOn": [{"name": "b"}]}])),
            "the ClusterDeployment is invalid: some services have invalid dependencies\nfailed service dependency validation: dependency default/b of service default/a is not defined as a service",
        ),
        (
            services(&json!([{"name": "a", "template": "web", "dependsOn": [{"name": "a"}]}])),
            "the ClusterDeployment is invalid: some services have invalid dependencies\nfailed service dependency cycle validation: dependency cycle detected at default/a",
        ),
        (
            services(&json!([{"name": "A_b", "template": "web"}])),
            "the ClusterDeployment is invalid: some services have invalid dependencies\nservice name \"A_b\" is not a DNS-1123 label: at most 63 of a-z, 0-9 and '-' are accepted, with a letter or digit at both ends",
        ),
        (
            services(&json!([{"name": "a", "template": "new"}])),
            "the ClusterDeployment is invalid: failed to validate k8s compatibility: k8s version v1.31.2 of the ClusterTemplate team/aws-1 does not satisfy k8s constraint >= 1.33 from the ServiceTemplate team/new referred in the ClusterDeployment team/ours",
        ),
    ];
    let stage = Stage::new();
    for (change, refused) in table {
        assert_eq!(text(&stage.create(&cluster(&change))), refused, "{change}");
    }
    let unlisted = services(&json!([{"name": "a", "template": "bad", "templateChain": "web"}]));
    let refused = text(&stage.create(&cluster(&unlisted)));
    assert!(
        refused.ends_with("the ServiceTemplateChain team/web does not support ServiceTemplate team/bad"),
        "{refused}"
    );
    let old = stage.create(&cluster(&services(&json!([{"name": "a", "template": "new"}]))));
    assert_eq!(old.warnings, ["Failed to validate k8s version compatibility with ServiceTemplates"]);
}

#[test]
fn providers_must_be_there_with_the_contracts_that_a_template_needs() {
    let mut stage = Stage::new();
    let told = |stage: &Stage| stage.create(&cluster(&json!({})));
    let status = |providers: Value, contract: &str| {
        typed::<Management>(json!({"metadata": {"name": "kcm"}, "spec": {"release": "r"}, "status": {
            "availableProviders": providers, "capiContracts": {"infrastructure-aws": {"v1beta1": contract}},
        }}))
    };
    stage.others.management = Some(status(json!(["infrastructure-aws"]), "v1beta2"));
    let prefix = "the ClusterDeployment is invalid: failed to validate required providers: incompatible providers in ClusterDeployment team/ours: ";
    let refused = told(&stage);
    assert_eq!(
        text(&refused),
        format!(
            "{prefix}one or more required providers are not deployed yet: [bootstrap-k0sproject-k0smotron]"
        )
    );
    assert_eq!(refused.warnings, ["Failed to validate required providers"]);
    let both = json!(["infrastructure-aws", "bootstrap-k0sproject-k0smotron"]);
    stage.others.management = Some(status(both, "v1beta1"));
    assert_eq!(
        text(&told(&stage)),
        format!(
            "{prefix}one or more required provider contract versions does not satisfy deployed: [infrastructure-aws requires v1beta2]"
        )
    );
    // Nobody says what there is.
    stage.others.management = None;
    assert_eq!(text(&told(&stage)), "");
    stage.others.provider_interfaces[0].metadata.labels = None;
    assert_eq!(
        text(&told(&stage)),
        "the ClusterDeployment is invalid: unsupported infrastructure provider infrastructure-aws"
    );
    for (providers, refused) in [
        (
            json!([]),
            "the ClusterDeployment is invalid: no providers have been found in the ClusterTemplate team/aws-1",
        ),
        (
            json!(["bootstrap-x"]),
            "the ClusterDeployment is invalid: no infrastructure providers have been found in the ClusterTemplate team/aws-1",
        ),
        (
            json!(["infrastructure-internal"]),
            "the ClusterDeployment is invalid: provider infrastructure-internal does not support ClusterIdentity Kind AWSClusterStaticIdentity from the Credential team/cred",
        ),
    ] {
        let mut template =
            ClusterTemplate::clone(&stage.cache.cluster_templates.get("team", "aws-1").unwrap());
        template.status.as_mut().unwrap().providers = typed(providers);
        stage.cache.put(template);
        assert_eq!(text(&told(&stage)), refused);
    }
}

#[test]
fn an_update_is_judged_by_what_it_changes() {
    let stage = Stage::new();
    let update = |old: &Value, new: &Value| stage.ask(Operation::Update, &cluster(old), &cluster(new));
    assert_eq!(update(&json!({}), &json!({"template": "aws-2"})), Verdict::default());
    let refused = update(&json!({}), &json!({"template": "aws-9"}));
    assert_eq!(text(&refused), "cluster upgrade is forbidden");
    assert_eq!(
        refused.warnings,
        ["Cluster can't be upgraded from aws-1 to aws-9. This upgrade sequence is not allowed"]
    );
    let renamed = update(&json!({}), &json!({"template": "other"}));
    assert_eq!(text(&renamed), "");
    assert_eq!(
        renamed.warnings,
        [
            "Helm chart name changed from \"aws\" to \"eks\": Flux will uninstall the existing release and reinstall it as a new release, which may cause service disruption or resource recreation"
        ]
    );
    let source =
        "the ClusterDeployment is invalid: spec.dataSource cannot be added or removed after creation";
    assert_eq!(text(&update(&json!({}), &json!({"dataSource": "d"}))), source);
    assert_eq!(text(&update(&json!({"dataSource": "d"}), &json!({}))), source);
    assert_eq!(text(&update(&json!({"dataSource": "d"}), &json!({"dataSource": "e"}))), "");
    // What is not changed is not judged anew.
    assert_eq!(text(&update(&json!({"credential": "unready"}), &json!({"credential": "unready"}))), "");
    assert!(text(&update(&json!({}), &json!({"credential": "unready"}))).ends_with("is not Ready"));
    let wrong = services(&json!([{"name": "a", "template": "gone"}]));
    assert_eq!(text(&update(&wrong, &wrong)), "");
    assert!(text(&update(&json!({}), &wrong)).contains("some services have invalid templates"));
    // What is leaving may lose its finalizers, whatever else is wrong with it.
    let mut leaving = cluster(&json!({"template": "gone"}));
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    assert_eq!(text(&stage.ask(Operation::Update, &cluster(&json!({})), &leaving)), "");
}
