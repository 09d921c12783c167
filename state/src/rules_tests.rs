use super::*;
use serde_json::json;

fn resource(group: &str, kind: &str, namespaced: bool) -> Resource {
    Resource {
        group: group.into(),
        version: "v1".into(),
        kind: kind.into(),
        plural: String::new(),
        namespaced,
    }
}

fn rule(healthy: &str, message: &str) -> HealthRule {
    HealthRule {
        source: "kcm-system/rules#0".into(),
        group: "batch".into(),
        kind: "Job".into(),
        cluster_scoped: false,
        healthy: healthy.into(),
        message: message.into(),
    }
}

fn judged(rule: HealthRule, object: Value) -> Judgement {
    let rules = Rules::new(HealthRules(vec![rule])).unwrap();
    let live: Live = serde_json::from_value(object).unwrap();
    judge(Some(&rules), &resource("batch", "Job", true), &live)
}

fn begun(status: Value) -> Value {
    let mut object = json!({"metadata": {"name": "j", "namespace": "shop", "labels": {"a": "b"}},
        "data": {"k": "v"}, "spec": {"n": 2, "list": [{"x": 1}, {"x": 2}]}, "status": {"startTime": "T"}});
    object["status"].as_object_mut().unwrap().extend(status.as_object().cloned().unwrap());
    object
}

#[test]
fn a_rule_of_k0rdents_documentation_holds_or_says_why_not() {
    let of_docs = || {
        rule(
            "has(obj.status.succeeded) && int(obj.status.succeeded) > 0\n",
            "!has(obj.status.succeeded) || int(obj.status.succeeded) == 0\n  ? \"job has not completed successfully yet\"\n  : \"\"\n",
        )
    };
    let unhealthy = judged(of_docs(), begun(json!({})));
    assert_eq!(unhealthy.health, ObjectHealth::InProgress);
    assert_eq!(unhealthy.message, "job has not completed successfully yet (rule kcm-system/rules#0)");
    assert_eq!(judged(of_docs(), begun(json!({"succeeded": 1}))).health, ObjectHealth::Current);
}

#[test]
fn rules_see_the_whole_object_and_the_functions_of_kubernetes() {
    let holds = [
        "obj.metadata.name == 'j' && obj.metadata.labels['a'] == 'b' && obj.kind == 'Job'",
        "obj.apiVersion == 'batch/v1' && obj.data.k == 'v' && !has(obj.metadata.deletionTimestamp)",
        "obj.spec.list.exists(i, i.x == obj.spec.n) && obj.spec.list.all(i, int(i.x) > 0)",
        "size(obj.spec.list.filter(i, i.x > 1)) == 1 && obj.metadata.name.startsWith('j')",
        "['a', 'b'].join(',') == 'a,b' && 'x'.matches('^[a-z]$')",
    ];
    for healthy in holds {
        assert_eq!(check_rule(&rule(healthy, "''")), Ok(()), "{healthy}");
        let judgement = judged(rule(healthy, "'no'"), begun(json!({})));
        assert_eq!(judgement.health, ObjectHealth::Current, "{healthy}: {}", judgement.message);
    }
}

#[test]
fn what_is_wrong_with_a_rule_is_said_and_harms_nothing_else() {
    let table = [
        ("obj.status.", "''", "healthy: "),
        ("", "''", "healthy: it is empty"),
        ("object.status.ok", "''", "undeclared reference to 'object': the object is called obj"),
        ("obj.status.x == 1", "shout(obj)", "message: undeclared reference to function 'shout'"),
        (
            "obj.a.all(a, obj.b.all(b, obj.c.all(c, obj.d.all(d, a == b && c == d))))",
            "''",
            "4 loops inside each other, at most 3",
        ),
    ];
    for (healthy, message, part) in table {
        let error = check_rule(&rule(healthy, message)).unwrap_err();
        assert!(error.contains(part), "{healthy}: {error}");
        let judgement = judged(rule(healthy, message), begun(json!({})));
        assert!(judgement.message.contains("is not understood"), "{}", judgement.message);
    }
    let long = format!("'{}' == ''", "x".repeat(10_000));
    assert!(check_rule(&rule(&long, "''")).unwrap_err().contains("at most 8192"));
    let table = [
        ("obj.status.absent > 0", "no such key: absent; ask with has()"),
        ("'text'", "yields no bool"),
        ("1 / 0 == 1", "fails: "),
    ];
    for (healthy, part) in table {
        let judgement = judged(rule(healthy, "''"), begun(json!({})));
        assert_eq!(judgement.health, ObjectHealth::InProgress);
        assert!(judgement.message.contains(part), "{healthy}: {}", judgement.message);
    }
    assert!(judged(rule("false", "''"), begun(json!({}))).message.starts_with("does not satisfy false"));
    assert!(judged(rule("false", "1"), begun(json!({}))).message.contains("yields no text"));
}

#[test]
fn rules_are_for_their_kind_and_scope_and_come_after_kstatus() {
    let rules = Rules::new(HealthRules(vec![rule("false", "'never'")])).unwrap();
    let live: Live = serde_json::from_value(begun(json!({}))).unwrap();
    let other = judge(Some(&rules), &resource("batch", "CronJob", true), &live);
    assert_eq!(other.health, ObjectHealth::Current);
    let scope = judge(Some(&rules), &resource("batch", "Job", false), &live);
    assert!(scope.message.contains("says scope Namespaced, the cluster says Cluster"), "{}", scope.message);
    let failed = begun(json!({"conditions": [{"type": "Failed", "status": "True", "reason": "R"}]}));
    let failed: Live = serde_json::from_value(failed).unwrap();
    assert_eq!(judge(Some(&rules), &resource("batch", "Job", true), &failed).health, ObjectHealth::Failed);
    assert!(Rules::new(HealthRules::default()).is_none());
    assert!(Arc::ptr_eq(&Rules::renewed(Some(&rules), rules.given.clone()).unwrap(), &rules));
}
