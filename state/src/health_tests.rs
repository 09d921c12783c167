use super::*;

fn live(json: &str) -> Live {
    serde_json::from_str(json).unwrap()
}

fn check(kind: (&str, &str), json: &str, health: ObjectHealth, part: &str) {
    let judgement = judge(kind.0, kind.1, &live(json));
    assert_eq!(judgement.health, health, "{kind:?} {json}: {}", judgement.message);
    assert!(judgement.message.contains(part), "{kind:?}: {}", judgement.message);
}

const DEPLOYMENT: (&str, &str) = ("apps", "Deployment");
const STATEFUL_SET: (&str, &str) = ("apps", "StatefulSet");
const DAEMON_SET: (&str, &str) = ("apps", "DaemonSet");
const POD: (&str, &str) = ("", "Pod");
const JOB: (&str, &str) = ("batch", "Job");
const CLAIM: (&str, &str) = ("", "PersistentVolumeClaim");
const VOLUME: (&str, &str) = ("", "PersistentVolume");
const DEFINITION: (&str, &str) = ("apiextensions.k8s.io", "CustomResourceDefinition");
const CUSTOM: (&str, &str) = ("example.org", "Widget");
use ObjectHealth::{Current, Failed, InProgress, Terminating};

#[test]
fn what_is_being_deleted_is_terminating_and_names_its_finalizers() {
    let json = r#"{"metadata":{"deletionTimestamp":"T","finalizers":["a/b"]}}"#;
    check(CUSTOM, json, Terminating, "a/b");
}

#[test]
fn a_generation_that_is_not_observed_is_in_progress_for_every_kind() {
    let json = r#"{"metadata":{"generation":3},"status":{"observedGeneration":2}}"#;
    for kind in [DEPLOYMENT, CUSTOM, ("policy", "PodDisruptionBudget")] {
        check(kind, json, InProgress, "generation 3");
    }
}

#[test]
fn generic_conditions_decide_for_unknown_kinds() {
    let with = |name: &str, status: &str| {
        format!(r#"{{"status":{{"conditions":[{{"type":"{name}","status":"{status}","reason":"R"}}]}}}}"#)
    };
    check(CUSTOM, "{}", Current, "");
    check(CUSTOM, &with("Ready", "True"), Current, "");
    check(CUSTOM, &with("Ready", "False"), InProgress, "R");
    check(CUSTOM, &with("Ready", "Unknown"), InProgress, "R");
    check(CUSTOM, &with("Stalled", "True"), Failed, "R");
    check(CUSTOM, &with("Reconciling", "True"), InProgress, "R");
}

#[test]
fn a_deployment_is_current_when_all_replicas_are_new_and_ready() {
    let with = |status: &str| {
        format!(r#"{{"metadata":{{"generation":1}},"spec":{{"replicas":2}},"status":{{{status}}}}}"#)
    };
    check(DEPLOYMENT, &with(""), InProgress, "not seen");
    check(DEPLOYMENT, &with(r#""observedGeneration":1"#), InProgress, "0 of 2 replicas are updated");
    let counts = |replicas: i64, updated: i64, available: i64, ready: i64| {
        with(&format!(
            r#""observedGeneration":1,"replicas":{replicas},"updatedReplicas":{updated},
            "availableReplicas":{available},"readyReplicas":{ready}"#
        ))
    };
    check(DEPLOYMENT, &counts(3, 2, 2, 2), InProgress, "1 old replicas");
    check(DEPLOYMENT, &counts(2, 2, 1, 2), InProgress, "1 of 2 replicas are available");
    check(DEPLOYMENT, &counts(2, 2, 2, 1), InProgress, "1 of 2 replicas are ready");
    check(DEPLOYMENT, &counts(2, 2, 2, 2), Current, "");
    let exceeded = with(
        r#""conditions":[{"type":"Progressing","status":"False","reason":"ProgressDeadlineExceeded","message":"m"}]"#,
    );
    check(DEPLOYMENT, &exceeded, Failed, "ProgressDeadlineExceeded: m");
    let quota = with(
        r#""observedGeneration":1,"conditions":[{"type":"ReplicaFailure","status":"True","reason":"FailedCreate","message":"exceeded quota: q"}]"#,
    );
    check(DEPLOYMENT, &quota, InProgress, "FailedCreate: exceeded quota: q");
    let scaled_down = r#"{"spec":{"replicas":0},"status":{"observedGeneration":1}}"#;
    check(DEPLOYMENT, scaled_down, Current, "");
}

#[test]
fn a_stateful_set_follows_its_update_strategy() {
    let with = |strategy: &str, status: &str| {
        format!(
            r#"{{"spec":{{"replicas":3,"updateStrategy":{strategy}}},
            "status":{{"observedGeneration":1,{status}}}}}"#
        )
    };
    let full =
        r#""replicas":3,"readyReplicas":3,"updatedReplicas":1,"currentRevision":"a","updateRevision":"b""#;
    check(STATEFUL_SET, &with(r#"{"type":"OnDelete"}"#, r#""replicas":0"#), Current, "");
    check(STATEFUL_SET, &with("{}", full), InProgress, "1 of 3 replicas are updated");
    check(STATEFUL_SET, &with(r#"{"rollingUpdate":{"partition":2}}"#, full), Current, "");
    check(STATEFUL_SET, &with(r#"{"rollingUpdate":{"partition":1}}"#, full), InProgress, "1 of 2");
    check(
        STATEFUL_SET,
        &with("{}", r#""replicas":2,"readyReplicas":2"#),
        InProgress,
        "2 of 3 replicas exist",
    );
    let same = r#""replicas":3,"readyReplicas":3,"currentRevision":"a","updateRevision":"a""#;
    check(STATEFUL_SET, &with("{}", same), Current, "");
}

#[test]
fn a_daemon_set_wants_a_pod_on_every_node() {
    let with = |ready: i64| {
        format!(
            r#"{{"status":{{"observedGeneration":1,"desiredNumberScheduled":2,"currentNumberScheduled":2,
            "updatedNumberScheduled":2,"numberAvailable":2,"numberReady":{ready}}}}}"#
        )
    };
    check(DAEMON_SET, &with(1), InProgress, "1 of 2 pods are ready");
    check(DAEMON_SET, &with(2), Current, "");
}

#[test]
fn a_pod_that_crashes_is_failed_and_says_which_container() {
    let status = |status: &str| format!(r#"{{"status":{{{status}}}}}"#);
    check(POD, &status(r#""phase":"Succeeded""#), Current, "");
    check(POD, &status(r#""phase":"Pending""#), InProgress, "");
    let ready = r#""phase":"Running","conditions":[{"type":"Ready","status":"True"}]"#;
    check(POD, &status(ready), Current, "");
    let crash = r#""phase":"Running","containerStatuses":[{"name":"c","state":{"waiting":
        {"reason":"CrashLoopBackOff","message":"back-off"}}}]"#;
    check(POD, &status(crash), Failed, "container \"c\": CrashLoopBackOff: back-off");
    let pull = r#""phase":"Pending","containerStatuses":[{"name":"c","state":{"waiting":
        {"reason":"ImagePullBackOff"}}}]"#;
    check(POD, &status(pull), InProgress, "ImagePullBackOff");
    let end = r#""phase":"Failed","containerStatuses":[{"name":"c","state":{"terminated":
        {"exitCode":3,"reason":"Error"}}}]"#;
    check(POD, &status(end), Failed, "code 3");
}

#[test]
fn a_job_is_current_once_started_and_finished_only_at_its_end() {
    check(JOB, "{}", InProgress, "not started");
    let running = live(r#"{"status":{"startTime":"T"}}"#);
    assert_eq!(judge("batch", "Job", &running).health, Current);
    assert_eq!(finished("batch", "Job", &running), None);
    let with = |kind: &str| {
        live(&format!(
            r#"{{"status":{{"conditions":[{{"type":"{kind}","status":"True","reason":"BackoffLimitExceeded"}}]}}}}"#
        ))
    };
    assert_eq!(finished("batch", "Job", &with("Complete")), Some(Ok(())));
    assert_eq!(finished("batch", "Job", &with("Failed")), Some(Err("BackoffLimitExceeded".to_owned())));
    assert_eq!(judge("batch", "Job", &with("Failed")).health, Failed);
    assert_eq!(finished("", "ConfigMap", &Live::default()), Some(Ok(())));
}

#[test]
fn storage_namespaces_and_definitions_follow_their_phase_or_condition() {
    let phase = |phase: &str| format!(r#"{{"status":{{"phase":"{phase}"}}}}"#);
    check(CLAIM, "{}", InProgress, "no phase");
    check(CLAIM, &phase("Pending"), InProgress, "Pending");
    check(CLAIM, &phase("Bound"), Current, "");
    check(CLAIM, &phase("Lost"), Failed, "Lost");
    check(VOLUME, &phase("Available"), Current, "");
    check(VOLUME, &phase("Failed"), Failed, "");
    check(("", "Namespace"), &phase("Active"), Current, "");
    check(("", "Namespace"), &phase("Terminating"), InProgress, "");
    let with = |name: &str, status: &str| {
        format!(r#"{{"status":{{"conditions":[{{"type":"{name}","status":"{status}","reason":"R"}}]}}}}"#)
    };
    check(DEFINITION, "{}", InProgress, "Established");
    check(DEFINITION, &with("Established", "True"), Current, "");
    check(DEFINITION, &with("NamesAccepted", "False"), Failed, "R");
    check(("apiregistration.k8s.io", "APIService"), &with("Available", "False"), InProgress, "R");
    check(("autoscaling", "HorizontalPodAutoscaler"), &with("AbleToScale", "False"), InProgress, "R");
    check(("", "Service"), r#"{"spec":{"type":"LoadBalancer"}}"#, InProgress, "cluster IP");
    check(("", "Service"), r#"{"spec":{"type":"LoadBalancer","clusterIP":"10.0.0.1"}}"#, Current, "");
    check(("networking.k8s.io", "Ingress"), "{}", Current, "");
}
