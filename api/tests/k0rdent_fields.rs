//! Holds the generated CRDs against a list of every field of k0rdent's own CRDs, line by line.
//!
//! `data/k0rdent-crd-fields.txt` is that list: for each CRD its names, scope, subresources and printer columns, then
//! every field with type, default, enum, pattern, limits, list type and CEL rules. The generated CRDs are flattened
//! into the same format. They may differ only as [`ACCEPTED`] says: where ours accepts or shows more.

#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)]

use std::collections::BTreeMap;
use std::fmt::Write as _;

use serde_json::Value;

const LIST: &str = include_str!("data/k0rdent-crd-fields.txt");

/// A difference that is meant: in this CRD, this line of the list is replaced by these lines.
struct Accepted {
    /// The CRD's plural; empty for all CRDs.
    crd: &'static str,
    /// The line of the list; empty when ours only adds lines.
    theirs: &'static str,
    /// Our lines.
    ours: &'static [&'static str],
    /// Why ours still accepts everything k0rdent accepts.
    #[expect(dead_code, reason = "for the reader")]
    why: &'static str,
}

/// Fields that only ours has, with all that is inside them: in whichever CRD a remote source can be, so can one file
/// behind a URL.
const OURS: &[&str] = &[".remoteSourceSpec.http"];

/// Fields that only ours has in one CRD, with all that is inside them: k0rdent has no rollouts over fleets
/// (k0rdent/kcm #1920, #2243); without them everything is as with k0rdent.
const OURS_IN: &[(&str, &str)] =
    &[("multiclusterservices", "spec.rollout"), ("multiclusterservices", "status.rollout")];

const ACCEPTED: &[Accepted] = &[
    Accepted {
        crd: "",
        theirs: "    remoteSourceSpec: object CEL[has(self.git) ? (!has(self.bucket) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.bucket) ? (!has(self.git) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.oci) ? (!has(self.git) && !has(self.bucket)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.git) || has(self.bucket) || has(self.oci) => One of Git, Bucket or OCI must be specified.]",
        ours: &[
            "    remoteSourceSpec: object CEL[has(self.git) ? (!has(self.bucket) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.bucket) ? (!has(self.git) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.oci) ? (!has(self.git) && !has(self.bucket)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.http) ? (!has(self.git) && !has(self.bucket) && !has(self.oci)) : true => HTTP is mutually exclusive with Git, Bucket and OCI.] CEL[has(self.git) || has(self.bucket) || has(self.oci) || has(self.http) => One of Git, Bucket or OCI must be specified.]",
        ],
        why: "a file behind a URL is a source too",
    },
    Accepted {
        crd: "",
        theirs: "      remoteSourceSpec: object CEL[has(self.git) ? (!has(self.bucket) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.bucket) ? (!has(self.git) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.oci) ? (!has(self.git) && !has(self.bucket)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.git) || has(self.bucket) || has(self.oci) => One of Git, Bucket or OCI must be specified.]",
        ours: &[
            "      remoteSourceSpec: object CEL[has(self.git) ? (!has(self.bucket) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.bucket) ? (!has(self.git) && !has(self.oci)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.oci) ? (!has(self.git) && !has(self.bucket)) : true => Git, Bucket and OCI are mutually exclusive.] CEL[has(self.http) ? (!has(self.git) && !has(self.bucket) && !has(self.oci)) : true => HTTP is mutually exclusive with Git, Bucket and OCI.] CEL[has(self.git) || has(self.bucket) || has(self.oci) || has(self.http) => One of Git, Bucket or OCI must be specified.]",
        ],
        why: "a file behind a URL is a source too",
    },
    Accepted {
        crd: "regions",
        theirs: "spec: object CEL[has(self.kubeConfig) != has(self.clusterDeployment) => exactly one of kubeConfig or clusterDeployment must be set]",
        ours: &[
            "spec: object CEL[!(has(self.kubeConfig) && has(self.clusterDeployment)) => at most one of kubeConfig or clusterDeployment may be set] CEL[!has(self.lost) || !self.lost || has(self.standby) => a lost region needs a standby that takes over its edges]",
        ],
        why: "a Region with neither is one whose agent dials in",
    },
    Accepted {
        crd: "regions",
        theirs: "",
        ours: &["  lost: boolean", "  standby: string minLength=1 maxLength=63"],
        why: "another region may stand in for one that is lost",
    },
    Accepted {
        crd: "regions",
        theirs: "",
        ours: &[
            "  col Link string .status.agent.link 1",
            "  col Since date .status.agent.since 1",
            "  col Applied string .status.agent.generation.applied 1",
            "  col Desired string .status.agent.generation.desired 1",
            "  col Message string .status.agent.message 1",
            "  agent: object",
            "    endpoints[]: array of string",
            "    generation: object",
            "      applied: string",
            "      desired: string",
            "    id: string",
            "    lacks[]: array of string",
            "    link: string enum=Up|Down|Unknown",
            "    message: string",
            "    protocol: string",
            "    since: string/date-time",
            "    version: string",
        ],
        why: "status also tells of the regional agent; the columns appear only with -o wide",
    },
    Accepted {
        crd: "",
        theirs: "      interval: string REQ pattern=^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$",
        ours: &["      interval: string REQ default=10m0s pattern=^([0-9]+(\\.[0-9]+)?(ms|s|m|h))+$"],
        why: "k0rdent's webhook fills an absent chartSpec.interval; here the schema does",
    },
    Accepted {
        crd: "",
        theirs: "      sourceRef: object REQ",
        ours: &[
            "      sourceRef: object REQ default={\"kind\":\"HelmRepository\",\"name\":\"kcm-templates\"}",
        ],
        why: "k0rdent's webhook fills an absent chartSpec.sourceRef; here the schema does",
    },
    Accepted {
        crd: "clusterdeployments",
        theirs: "",
        ours: &["        key: string", "        optional: boolean"],
        why: "valuesFrom may name one key, and may go on without the object",
    },
    Accepted {
        crd: "multiclusterservices",
        theirs: "",
        ours: &["        key: string", "        optional: boolean"],
        why: "valuesFrom may name one key, and may go on without the object",
    },
    Accepted {
        crd: "servicesets",
        theirs: "",
        ours: &["      key: string", "      optional: boolean"],
        why: "valuesFrom may name one key, and may go on without the object",
    },
];

/// controller-gen's version does not apply to CRDs it did not generate.
const CONTROLLER_GEN: &str = "'controller-gen.kubebuilder.io/version': 'v0.21.0', ";

#[test]
fn every_field_of_k0rdent_is_here_and_equal() {
    let theirs = sections(LIST);
    let ours: String =
        api::k0rdent_crds().iter().map(|crd| flatten(&serde_json::to_value(crd).unwrap())).collect();
    let ours = sections(&ours);
    assert_eq!(theirs.len(), 22);
    assert_eq!(theirs.keys().collect::<Vec<_>>(), ours.keys().collect::<Vec<_>>());
    let mut report = String::new();
    for (name, theirs) in &theirs {
        for difference in differences(name, theirs, &ours[name]) {
            writeln!(report, "{name}: {difference}").unwrap();
        }
    }
    assert!(report.is_empty(), "the generated CRDs differ from k0rdent's (- theirs, + ours):\n{report}");
}

#[test]
fn without_what_only_ours_have_the_definitions_are_k0rdents_line_by_line() {
    let theirs = sections(LIST);
    let upstream = api::upstream_crds().into_iter();
    let upstream: String = upstream.map(|crd| flatten(&serde_json::to_value(crd).unwrap())).collect();
    for (name, lines) in sections(&upstream) {
        let (theirs, lines) = (placed(&theirs[&name]), placed(&lines));
        for (place, line) in &theirs {
            assert_eq!(lines.get(place), Some(line), "{name}: {place}");
        }
        assert_eq!(lines.keys().collect::<Vec<_>>(), theirs.keys().collect::<Vec<_>>(), "{name}");
    }
}

/// Perturbs the list in every way it can differ and expects each to be noticed.
#[test]
fn the_comparison_notices_every_line_that_is_missing_changed_or_added() {
    let theirs = sections(LIST);
    for (name, lines) in &theirs {
        for number in 0..lines.len() {
            let mut missing = lines.clone();
            missing.remove(number);
            let mut changed = lines.clone();
            changed[number].push_str(" maxItems=1");
            assert!(!differences(name, lines, &changed).is_empty(), "{name}: {} changed", lines[number]);
            // A field that holds others takes its place from the first of them, so only leaves can go missing alone.
            let leaf = lines.get(number + 1).is_none_or(|next| indent(next) <= indent(&lines[number]));
            if leaf && !differences(name, lines, &missing).is_empty() {
                assert!(!differences(name, &missing, lines).is_empty(), "{name}: {} added", lines[number]);
            } else if leaf {
                panic!("{name}: {} is missing and nobody notices", lines[number]);
            }
        }
    }
}

fn indent(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// The list as CRD name -> lines.
fn sections(list: &str) -> BTreeMap<String, Vec<String>> {
    let mut sections: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut name = String::new();
    for line in list.lines() {
        if let Some(header) = line.strip_prefix("## ") {
            name = header.split('.').next().unwrap().to_owned();
        }
        sections.entry(name.clone()).or_default().push(line.replace(CONTROLLER_GEN, ""));
    }
    sections
}

/// What is only in one of the two, beyond [`ACCEPTED`]. Lines carry their place: equal text in two places is two lines.
fn differences(crd: &str, theirs: &[String], ours: &[String]) -> Vec<String> {
    let accepted: Vec<&Accepted> = ACCEPTED.iter().filter(|a| a.crd.is_empty() || a.crd == crd).collect();
    let theirs = placed(theirs);
    let ours = placed(ours);
    let replaced =
        |line: &str, instead: &str| accepted.iter().any(|a| a.theirs == line && a.ours.contains(&instead));
    let added = |line: &str| accepted.iter().any(|a| a.theirs.is_empty() && a.ours.contains(&line));
    let mut found = Vec::new();
    for (place, line) in &theirs {
        match ours.get(place) {
            Some(same) if same == line => {}
            Some(other) if replaced(line, other) => {}
            Some(other) => found.push(format!("{place}\n  - {line}\n  + {other}")),
            None => found.push(format!("{place}\n  - {line}")),
        }
    }
    let own = |place: &str| {
        OURS.iter().any(|field| {
            place.split_once(field).is_some_and(|(_, inside)| inside.is_empty() || inside.starts_with('.'))
        }) || OURS_IN.iter().any(|(of, field)| {
            let place = place.replace("[]", "");
            *of == crd
                && place
                    .strip_prefix(field)
                    .is_some_and(|inside| inside.is_empty() || inside.starts_with('.'))
        })
    };
    let new = |place: &str, line: &str| !theirs.contains_key(place) && !added(line) && !own(place);
    for (place, line) in ours.iter().filter(|(place, line)| new(place, line)) {
        found.push(format!("{place}\n  + {line}"));
    }
    found
}

/// Lines by their place: the path of the field, or the number of the printer column.
fn placed(lines: &[String]) -> BTreeMap<String, String> {
    let mut path: Vec<String> = Vec::new();
    let mut columns = 0;
    let mut placed = BTreeMap::new();
    for line in lines {
        let depth = (line.len() - line.trim_start().len()) / 2;
        let place = if line.starts_with("## ") {
            "names".to_owned()
        } else if line.starts_with("version ") {
            "version".to_owned()
        } else if line.starts_with("  col ") {
            columns += 1;
            format!("column {columns}")
        } else {
            path.truncate(depth);
            path.push(line.trim_start().split(": ").next().unwrap().to_owned());
            path.join(".")
        };
        placed.insert(place, line.clone());
    }
    placed
}

/// One CRD in the list's format.
fn flatten(crd: &Value) -> String {
    let mut out = String::new();
    let (spec, names) = (&crd["spec"], &crd["spec"]["names"]);
    let metadata = &crd["metadata"];
    writeln!(
        out,
        "## {} kind {} scope {} short {} cat {} labels {} ann {}",
        text(&metadata["name"]),
        text(&names["kind"]),
        text(&spec["scope"]),
        python(&names["shortNames"]),
        python(&names["categories"]),
        python(&metadata["labels"]),
        python(&metadata["annotations"]),
    )
    .unwrap();
    for version in spec["versions"].as_array().unwrap() {
        let schema = &version["schema"]["openAPIV3Schema"];
        writeln!(
            out,
            "version {} served {} storage {} sub {} required-top {}",
            text(&version["name"]),
            python(&version["served"]),
            python(&version["storage"]),
            python(&version["subresources"]),
            python(&schema["required"]),
        )
        .unwrap();
        for column in version["additionalPrinterColumns"].as_array().into_iter().flatten() {
            let priority = column["priority"].as_i64().unwrap_or(0);
            let (name, type_, path) =
                (text(&column["name"]), text(&column["type"]), text(&column["jsonPath"]));
            writeln!(out, "  col {name} {type_} {path} {priority}").unwrap();
        }
        fields(schema, 0, &mut out);
    }
    out
}

/// The fields of an object, sorted, each with what is inside it.
fn fields(schema: &Value, depth: usize, out: &mut String) {
    let required: Vec<&str> =
        schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
    for (name, field) in schema["properties"].as_object().into_iter().flatten() {
        let required = if required.contains(&name.as_str()) { " REQ" } else { "" };
        let (items, values) = (&field["items"], &field["additionalProperties"]);
        let indent = "  ".repeat(depth);
        if items.is_object() {
            let (kind, condition) =
                (type_of(items), if is_condition(items) { " (metav1.Condition)" } else { "" });
            let list = list_type(field);
            let (limits, item_limits) = (limits(field), limits(items));
            writeln!(
                out,
                "{indent}{name}[]: array{required}{limits}{list} of {kind}{item_limits}{condition}"
            )
            .unwrap();
            if condition.is_empty() {
                fields(items, depth + 1, out);
            }
        } else if values.is_object() {
            let (limits, kind) = (limits(field), type_of(values));
            writeln!(out, "{indent}{name}{{}}: object{required} of {kind}{limits}").unwrap();
            fields(values, depth + 1, out);
        } else {
            let (kind, limits) = (type_of(field), limits(field));
            writeln!(out, "{indent}{name}: {kind}{required}{limits}").unwrap();
            fields(field, depth + 1, out);
        }
    }
}

fn type_of(schema: &Value) -> String {
    let open = schema["x-kubernetes-preserve-unknown-fields"] == true;
    match (schema["type"].as_str(), schema["format"].as_str()) {
        (_, _) if open && schema["properties"].is_null() => "any".to_owned(),
        (Some(kind), _) if open => format!("{kind} preserveUnknown"),
        (Some(kind), Some(format)) => format!("{kind}/{format}"),
        (Some(kind), None) => kind.to_owned(),
        (None, _) => "?".to_owned(),
    }
}

fn is_condition(schema: &Value) -> bool {
    ["lastTransitionTime", "reason", "status", "type"]
        .iter()
        .all(|name| schema["properties"][name].is_object())
}

fn list_type(schema: &Value) -> String {
    let keys: Vec<&str> = schema["x-kubernetes-list-map-keys"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    match schema["x-kubernetes-list-type"].as_str() {
        None => String::new(),
        Some(kind) if keys.is_empty() => format!(" list={kind}"),
        Some(kind) => format!(" list={kind}({})", keys.join(",")),
    }
}

/// Everything that restricts or fills a value.
fn limits(schema: &Value) -> String {
    let mut out = String::new();
    if !schema["default"].is_null() {
        write!(out, " default={}", default(&schema["default"])).unwrap();
    }
    if let Some(values) = schema["enum"].as_array() {
        write!(out, " enum={}", values.iter().map(text).collect::<Vec<_>>().join("|")).unwrap();
    }
    for key in ["pattern", "minLength", "maxLength", "minimum", "maximum", "minItems", "maxItems", "nullable"]
    {
        match &schema[key] {
            Value::Null => {}
            Value::String(text) => write!(out, " {key}={text}").unwrap(),
            Value::Number(number) => write!(out, " {key}={}", number.as_f64().unwrap()).unwrap(),
            other => write!(out, " {key}={other}").unwrap(),
        }
    }
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        write!(out, " CEL[{} => {}]", text(&rule["rule"]), text(&rule["message"])).unwrap();
    }
    out
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or("?")
}

/// A default as YAML would show it: text that is not a plain scalar in quotes.
fn default(value: &Value) -> String {
    match value {
        Value::String(text) if text.starts_with('*') => format!("'{text}'"),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// A value as the list writes it.
fn python(value: &Value) -> String {
    match value {
        Value::Null => "None".to_owned(),
        Value::Bool(true) => "True".to_owned(),
        Value::Bool(false) => "False".to_owned(),
        Value::String(text) => format!("'{text}'"),
        Value::Number(number) => number.to_string(),
        Value::Array(items) => format!("[{}]", items.iter().map(python).collect::<Vec<_>>().join(", ")),
        Value::Object(entries) => {
            let entries: Vec<String> =
                entries.iter().map(|(key, value)| format!("'{key}': {}", python(value))).collect();
            format!("{{{}}}", entries.join(", "))
        }
    }
}
