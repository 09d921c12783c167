//! Chains, what is shared, what is filled in, and the wire.

use serde_json::{Value, json};

use super::{Stage, cluster, object, request, text};
use crate::admission::configuration::{Told, mutating, validating};
use crate::admission::review::{Operation, Verdict, answer, read};
use crate::admission::server::Place;
use crate::admission::{certificate, defaults};

#[test]
fn a_chain_stays_inside_itself_and_names_what_is_there() {
    let stage = Stage::new();
    let chain = |kind: &str, supported: Value| {
        object(kind, "c", &json!({"supportedTemplates": supported}), &Value::Null)
    };
    assert_eq!(stage.create(&chain("ClusterTemplateChain", json!([{"name": "aws-1"}]))), Verdict::default());
    let refused = stage.create(&chain(
        "ServiceTemplateChain",
        json!([{"name": "web", "availableUpgrades": [{"name": "no"}, {"name": "web", "version": "1"}]}]),
    ));
    assert_eq!(text(&refused), "the template chain spec is invalid");
    assert_eq!(
        refused.warnings,
        [
            "template no is allowed for upgrade but is not present in the list of '.spec.supportedTemplates'",
            "template web has mixed version/no-version available upgrades: either all or none should have version set",
        ]
    );
    let missing = chain("ServiceTemplateChain", json!([{"name": "web"}, {"name": "no"}]));
    assert_eq!(text(&stage.create(&missing)), "spec.supportedTemplates[1].name: Not found: \"no\"");
    let mut managed = missing;
    managed["metadata"]["labels"] = json!({"k0rdent.mirantis.com/managed": "true"});
    assert_eq!(stage.create(&managed), Verdict::default());
}

#[test]
fn what_is_shared_is_of_kinds_that_can_be_shared() {
    let mut stage = Stage::new();
    let access = |rules: Value| {
        json!({
            "apiVersion": "k0rdent.mirantis.com/v1beta1", "kind": "AccessManagement", "metadata": {"name": "kcm"},
            "spec": {"accessRules": rules},
        })
    };
    let group = "k0rdent.mirantis.com";
    for (kind, namespaced) in [("Credential", true), ("Region", false)] {
        stage.others.scopes.insert((group.to_owned(), kind.to_owned()), namespaced);
    }
    let rule = |kind: &str| json!([{"resources": [{"apiGroup": group, "kind": "Credential"}, {"apiGroup": group, "kind": kind}]}]);
    assert_eq!(text(&stage.create(&access(rule("Credential")))), "");
    assert_eq!(
        text(&stage.create(&access(rule("Region")))),
        "accessRules[0].resources[1]: Region.k0rdent.mirantis.com is cluster-scoped and cannot be distributed into target namespaces by AccessManagement"
    );
    assert_eq!(
        text(&stage.create(&access(rule("Nothing")))),
        "accessRules[0].resources[1]: failed to resolve Nothing.k0rdent.mirantis.com (ensure the CRD is installed)"
    );
    assert_eq!(text(&stage.delete(&access(json!([])))), "AccessManagement deletion is forbidden");
    stage.others.access_managements = 1;
    assert_eq!(text(&stage.create(&access(json!([])))), "AccessManagement object already exists");
    stage.others.management = None;
    assert_eq!(text(&stage.delete(&access(json!([])))), "");

    let authentication = |jwt: Value| {
        object(
            "ClusterAuthentication",
            "a",
            &json!({"authenticationConfiguration": {"jwt": jwt}}),
            &Value::Null,
        )
    };
    let good = json!({"issuer": {"url": "https://i", "audiences": ["a"]}, "claimMappings": {"username": {"claim": "sub", "prefix": ""}}});
    assert_eq!(text(&stage.create(&authentication(json!([good.clone()])))), "");
    let mut bad = good.clone();
    bad["issuer"]["url"] = json!("http://i");
    assert_eq!(
        text(&stage.create(&authentication(json!([bad])))),
        "the ClusterAuthentication is invalid: invalid AuthenticationConfiguration provided: jwt[0].issuer.url: Invalid value: \"http://i\": URL scheme must be https"
    );
    assert!(
        text(&stage.create(&authentication(json!([good.clone(), good]))))
            .contains("jwt[1].issuer.url: Duplicate value: \"https://i\"")
    );
    let audit = |policy: Value| object("ClusterAuditPolicy", "a", &json!({"policy": policy}), &Value::Null);
    assert_eq!(text(&stage.create(&audit(json!({"rules": [{"level": "Metadata"}]})))), "");
    assert_eq!(
        text(&stage.create(&audit(json!({"rules": [{"level": "Loud"}]})))),
        "invalid audit policy provided: rules[0].level: Unsupported value: \"Loud\": supported values: \"None\", \"Metadata\", \"Request\", \"RequestResponse\""
    );
}

#[test]
fn what_k0rdent_fills_in_is_filled_in() {
    let stage = Stage::new();
    let fill =
        |object: &Value| defaults::fill(&request(Operation::Create, &Value::Null, object), &stage.world());
    let mut bare = cluster(&json!({}));
    bare["spec"].as_object_mut().unwrap().remove("config");
    assert_eq!(
        fill(&bare).patch,
        [
            json!({"op": "add", "path": "/spec/dryRun", "value": true}),
            json!({"op": "add", "path": "/spec/config", "value": {"workers": 2}}),
        ]
    );
    assert_eq!(fill(&cluster(&json!({}))), Verdict::default());
    bare["spec"]["template"] = json!("broken");
    assert_eq!(
        text(&fill(&bare)),
        "template is invalid: the ClusterTemplate team/broken is invalid with the error: no chart"
    );
    bare["spec"]["template"] = json!("gone");
    assert_eq!(
        text(&fill(&bare)),
        "could not get template for the ClusterDeployment: ClusterTemplate.k0rdent.mirantis.com \"gone\" not found"
    );

    let template =
        |chart: Value| object("ServiceTemplate", "t", &json!({"helm": {"chartSpec": chart}}), &Value::Null);
    assert_eq!(
        fill(&template(json!({"chart": "a"}))).patch,
        [
            json!({"op": "add", "path": "/spec/helm/chartSpec/sourceRef", "value": {"kind": "HelmRepository", "name": "kcm-templates"}}),
            json!({"op": "add", "path": "/spec/helm/chartSpec/interval", "value": "10m0s"}),
        ]
    );
    let whole = json!({"chart": "a", "interval": "1m", "sourceRef": {"kind": "GitRepository", "name": "g"}});
    assert_eq!(fill(&template(whole)), Verdict::default());

    let access =
        |rule: Value| fill(&object("AccessManagement", "kcm", &json!({"accessRules": [rule]}), &Value::Null));
    let patched = access(
        json!({"credentials": ["c"], "clusterTemplateChains": ["a", "b"], "targetNamespaces": {"list": ["n"]}}),
    );
    assert_eq!(
        patched.patch,
        [json!({"op": "replace", "path": "/spec/accessRules", "value": [{
            "targetNamespaces": {"list": ["n"]},
            "resources": [
                {"apiGroup": "k0rdent.mirantis.com", "kind": "ClusterTemplateChain", "names": ["a", "b"]},
                {"apiGroup": "k0rdent.mirantis.com", "kind": "Credential", "names": ["c"]},
            ],
        }]})]
    );
    let given = json!([{"apiGroup": "g", "kind": "K"}]);
    let ignored = access(json!({"credentials": ["c"], "resources": given}));
    assert_eq!(ignored.patch[0]["value"], json!([{"resources": given}]));
    assert_eq!(access(json!({"resources": given})), Verdict::default());
}

#[test]
fn a_question_is_answered_with_its_own_name_and_nonsense_is_none() {
    let told = answer("u", &Verdict::refuse("no").warn("careful"));
    assert_eq!(
        told["response"],
        json!({
            "uid": "u", "allowed": false, "warnings": ["careful"],
            "status": {"status": "Failure", "message": "no", "reason": "Forbidden", "code": 403},
        })
    );
    let patch = Verdict { patch: vec![json!({"op": "add"})], ..Verdict::default() };
    assert_eq!(answer("u", &patch)["response"]["patchType"], "JSONPatch");
    for nonsense in ["", "{}", "[]", "{\"request\": {\"uid\": 1}}"] {
        assert!(read(nonsense.as_bytes()).is_err(), "{nonsense}");
    }
    // An object that its kind does not fit is refused, not passed on.
    let stage = Stage::new();
    let odd = json!({"kind": "ClusterDeployment", "metadata": {"name": "a"}, "spec": {"template": 3}});
    assert!(text(&stage.create(&odd)).starts_with("the object cannot be read: "));
}

#[test]
fn the_api_server_is_told_where_we_are_and_whom_to_trust() {
    let place = |text: &str| text.parse::<Place>();
    assert_eq!(place("10.0.0.1:9443"), Ok(Place::Url("10.0.0.1:9443".to_owned())));
    let service = place("kcm-system/skein-hub").unwrap();
    assert_eq!(
        service,
        Place::Service { namespace: "kcm-system".to_owned(), name: "skein-hub".to_owned(), port: 443 }
    );
    for wrong in ["", "host", ":1", "host:x", "/a", "a/", "a/b:x"] {
        assert!(place(wrong).is_err(), "{wrong}");
    }
    let told = Told { place: &service, authorities: "PEM", failure_policy: "Fail" };
    let webhooks = validating(told)["webhooks"].as_array().unwrap().clone();
    assert_eq!(webhooks.len(), 12);
    assert_eq!(
        webhooks[0]["clientConfig"],
        json!({
            "service": {"namespace": "kcm-system", "name": "skein-hub", "port": 443, "path": "/validate"},
            "caBundle": "UEVN",
        })
    );
    // Never for what k0rdent itself does not judge.
    let text = json!(webhooks).to_string();
    assert!(!text.contains("multiclusterservices") && !text.contains("servicesets"));
    let url = Place::Url("h:1".to_owned());
    let filled = mutating(Told { place: &url, authorities: "PEM", failure_policy: "Ignore" });
    assert_eq!(filled["webhooks"][0]["clientConfig"]["url"], "https://h:1/mutate");
    assert_eq!(filled["webhooks"][0]["failurePolicy"], "Ignore");
    let names = ["skein-hub.kcm-system.svc".to_owned(), "127.0.0.1".to_owned()];
    let issued = certificate::issue(&names, jiff::Timestamp::UNIX_EPOCH).unwrap();
    assert!(issued.authority.starts_with("-----BEGIN CERTIFICATE-----"));
}
