//! Kinds that CustomResourceDefinitions add: checking a definition, its status, and the kinds it serves.

use serde_json::{Value, json};

use super::{Kind, Origin, Scale, Verbs, field_path};
use crate::clock;
use crate::error::Cause;
use crate::fields::MergeSchema;
use crate::names::NameRule;
use crate::object::{items, name, text};
use crate::schema::Schema;
use crate::table::Column;

/// What is particular to one version of a custom kind.
#[derive(Debug)]
pub(crate) struct Custom {
    /// None where the version preserves unknown fields altogether.
    pub(crate) schema: Option<Schema>,
    pub(crate) merge: MergeSchema,
    pub(crate) columns: Vec<Column>,
    pub(crate) selectable: Vec<String>,
    /// The schema as it was written, for `/openapi/v3`.
    pub(crate) open_api: Value,
    /// The warning of a deprecated version.
    pub(crate) deprecation: Option<String>,
}

/// A stored definition that cannot be served.
#[derive(Debug, thiserror::Error)]
#[error("failed to serve version \"{version}\" of \"{definition}\": {why}")]
pub(crate) struct CustomError {
    definition: String,
    version: String,
    why: String,
}

/// The kinds that a definition serves, one for each served version.
///
/// # Errors
/// When a schema is not structural.
pub(crate) fn custom_kinds(definition: &Value) -> Result<Vec<Kind>, CustomError> {
    let group = text(definition, &["spec", "group"]).unwrap_or_default();
    let stored_api_version = items(definition, &["spec", "versions"])
        .iter()
        .find(|version| version["storage"] == true)
        .and_then(|version| text(version, &["name"]))
        .map(|version| format!("{group}/{version}"))
        .unwrap_or_default();
    let mut kinds = Vec::new();
    for version in items(definition, &["spec", "versions"]) {
        if version["served"] == true {
            kinds.push(custom_kind(definition, group, version, &stored_api_version)?);
        }
    }
    Ok(kinds)
}

fn custom_kind(
    definition: &Value,
    group: &str,
    version: &Value,
    stored_api_version: &str,
) -> Result<Kind, CustomError> {
    let names = &definition["spec"]["names"];
    let word = |field: &str| text(names, &[field]).unwrap_or_default().to_owned();
    let words =
        |field: &str| items(names, &[field]).iter().filter_map(Value::as_str).map(str::to_owned).collect();
    let version_name = text(version, &["name"]).unwrap_or_default();
    let open_api = version["schema"]["openAPIV3Schema"].clone();
    let schema = Schema::parse(&open_api).map_err(|error| CustomError {
        definition: name(definition).to_owned(),
        version: version_name.to_owned(),
        why: error.to_string(),
    })?;
    let scale = version["subresources"].get("scale").map(|scale| Scale {
        spec_replicas: field_path(text(scale, &["specReplicasPath"]).unwrap_or(".spec.replicas")),
        status_replicas: field_path(text(scale, &["statusReplicasPath"]).unwrap_or(".status.replicas")),
        label_selector: text(scale, &["labelSelectorPath"]).map(field_path),
    });
    let selectable = items(version, &["selectableFields"])
        .iter()
        .filter_map(|field| text(field, &["jsonPath"]))
        .map(|path| path.trim_start_matches('.').to_owned())
        .collect();
    Ok(Kind {
        group: group.into(),
        version: version_name.to_owned(),
        kind: word("kind"),
        list_kind: word("listKind"),
        plural: word("plural"),
        singular: word("singular"),
        short_names: words("shortNames"),
        categories: words("categories"),
        namespaced: definition["spec"]["scope"] == "Namespaced",
        resource: name(definition).into(),
        stored_api_version: stored_api_version.to_owned(),
        status: version["subresources"].get("status").is_some(),
        scale,
        generation: true,
        verbs: Verbs::All,
        names: NameRule::Subdomain,
        origin: Origin::Custom(Box::new(Custom {
            merge: MergeSchema::from_structural(&open_api),
            schema: Some(schema),
            columns: columns(version),
            selectable,
            open_api,
            deprecation: deprecation(definition, version),
        })),
    })
}

fn deprecation(definition: &Value, version: &Value) -> Option<String> {
    if version["deprecated"] != true {
        return None;
    }
    let group = text(definition, &["spec", "group"]).unwrap_or_default();
    let kind = text(definition, &["spec", "names", "kind"]).unwrap_or_default();
    let version_name = text(version, &["name"]).unwrap_or_default();
    let words = text(version, &["deprecationWarning"]).map(str::to_owned);
    let instead = items(definition, &["spec", "versions"])
        .iter()
        .filter(|one| one["served"] == true && one["deprecated"] != true)
        .filter_map(|one| text(one, &["name"]))
        .max_by_key(|name| super::version_rank(name));
    let instead = instead.map_or_else(String::new, |name| format!("; use {group}/{name} {kind}"));
    Some(words.unwrap_or_else(|| format!("{group}/{version_name} {kind} is deprecated{instead}")))
}

fn columns(version: &Value) -> Vec<Column> {
    let declared = items(version, &["additionalPrinterColumns"]);
    if declared.is_empty() {
        return vec![Column::custom("Age", "date", "", 0, ".metadata.creationTimestamp")];
    }
    declared
        .iter()
        .map(|column| {
            let word = |field: &str| text(column, &[field]).unwrap_or_default();
            let priority = column["priority"].as_i64().unwrap_or(0);
            Column::custom(word("name"), word("type"), word("description"), priority, word("jsonPath"))
        })
        .collect()
}

/// Fills what a definition may leave out.
pub(crate) fn default_definition(definition: &mut Value) {
    let kind = text(definition, &["spec", "names", "kind"]).unwrap_or_default().to_owned();
    let path = |field| ["spec", "names", field];
    crate::object::set_default(definition, &path("singular"), json!(kind.to_lowercase()));
    crate::object::set_default(definition, &path("listKind"), json!(format!("{kind}List")));
    crate::object::set_default(definition, &["spec", "conversion"], json!({"strategy": "None"}));
}

/// Everything wrong with a definition.
pub(crate) fn validate_definition(definition: &Value) -> Vec<Cause> {
    let mut causes = Vec::new();
    let spec = &definition["spec"];
    let required = [
        (vec!["group"], "spec.group"),
        (vec!["names", "plural"], "spec.names.plural"),
        (vec!["names", "kind"], "spec.names.kind"),
    ];
    for (path, field) in required {
        if text(spec, &path).unwrap_or_default().is_empty() {
            causes.push(Cause::required(field, ""));
        }
    }
    let plural = text(spec, &["names", "plural"]).unwrap_or_default();
    let expected = format!("{plural}.{}", text(spec, &["group"]).unwrap_or_default());
    if name(definition) != expected {
        let detail = "must be spec.names.plural+\".\"+spec.group";
        causes.push(Cause::invalid("metadata.name", &json!(name(definition)), detail));
    }
    let scope = text(spec, &["scope"]).unwrap_or_default();
    if scope.is_empty() {
        causes.push(Cause::required("spec.scope", ""));
    } else if !["Cluster", "Namespaced"].contains(&scope) {
        causes.push(Cause::unsupported("spec.scope", &json!(scope), &["Cluster", "Namespaced"]));
    }
    let versions = items(spec, &["versions"]);
    if versions.iter().filter(|version| version["storage"] == true).count() != 1 {
        let detail = "must have exactly one version marked as storage version";
        causes.push(Cause::invalid("spec.versions", &json!(versions.len()), detail));
    }
    for (index, version) in versions.iter().enumerate() {
        validate_version(index, version, &mut causes);
    }
    causes
}

fn validate_version(index: usize, version: &Value, causes: &mut Vec<Cause>) {
    let field = format!("spec.versions[{index}]");
    let version_name = text(version, &["name"]).unwrap_or_default();
    for complaint in NameRule::Label1035.complaints(version_name) {
        causes.push(Cause::invalid(&format!("{field}.name"), &json!(version_name), &complaint));
    }
    let path = format!("{field}.schema.openAPIV3Schema");
    match version.pointer("/schema/openAPIV3Schema") {
        None => causes.push(Cause::required(&path, "")),
        Some(schema) => {
            for error in Schema::parse(schema).err().iter().flat_map(|errors| &errors.0) {
                let mut cause = Cause::from(error);
                cause.field = format!("{path}.{}", cause.field);
                causes.push(cause);
            }
        }
    }
    for (column, declared) in items(version, &["additionalPrinterColumns"]).iter().enumerate() {
        let path = format!("{field}.additionalPrinterColumns[{column}]");
        let kind = text(declared, &["type"]).unwrap_or_default();
        let accepted = ["boolean", "date", "integer", "number", "string"];
        if !accepted.contains(&kind) {
            causes.push(Cause::unsupported(&format!("{path}.type"), &json!(kind), &accepted));
        }
        let json_path = text(declared, &["jsonPath"]).unwrap_or_default();
        if let Err(error) = crate::table::JsonPath::parse(json_path) {
            causes.push(Cause::invalid(&format!("{path}.jsonPath"), &json!(json_path), &error.to_string()));
        }
    }
}

/// Writes the status that a definition has from the start: names accepted, established, the stored versions.
pub(crate) fn establish(definition: &mut Value) {
    let now = clock::now();
    let known = items(definition, &["status", "conditions"]).to_vec();
    let condition = |kind: &str, reason: &str, message: &str| {
        known.iter().find(|one| one["type"] == kind).cloned().unwrap_or_else(|| {
            json!({"type": kind, "status": "True", "reason": reason, "message": message, "lastTransitionTime": now})
        })
    };
    let mut conditions = vec![
        condition("NamesAccepted", "NoConflicts", "no conflicts found"),
        condition("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ];
    conditions.extend(
        known.iter().filter(|one| one["type"] != "NamesAccepted" && one["type"] != "Established").cloned(),
    );
    let stored = items(definition, &["spec", "versions"])
        .iter()
        .find(|version| version["storage"] == true)
        .map(|version| version["name"].clone())
        .unwrap_or_default();
    let mut stored_versions = items(definition, &["status", "storedVersions"]).to_vec();
    if !stored_versions.contains(&stored) {
        stored_versions.push(stored);
    }
    let names = definition["spec"]["names"].clone();
    crate::object::set(
        definition,
        &["status"],
        json!({"conditions": conditions, "acceptedNames": names, "storedVersions": stored_versions}),
    );
}
