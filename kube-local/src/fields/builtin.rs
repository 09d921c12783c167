//! The built-in kinds' merge rules, read once from the table in `builtin.txt`.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use serde_json::{Map, Value};

use super::schema::{
    ATOMIC, DEDUCED, Expect, Graph, ListRule, MapRule, MergeSchema, Rest, STRUCT, Shape, ShapeId,
};

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::read(include_str!("builtin.txt")));

struct Table {
    graph: Arc<Graph>,
    /// By "group/Kind"; the core group has no "group/".
    kinds: HashMap<String, (ShapeId, Arc<Value>)>,
    unknown: ShapeId,
}

pub(crate) fn schema(group: &str, kind: &str) -> MergeSchema {
    let table = &*TABLE;
    let known =
        if group.is_empty() { table.kinds.get(kind) } else { table.kinds.get(&format!("{group}/{kind}")) };
    let (root, zero) = match known {
        Some((root, zero)) => (*root, zero.clone()),
        None => (table.unknown, Arc::new(Value::Object(Map::new()))),
    };
    MergeSchema { graph: table.graph.clone(), root, zero }
}

impl Table {
    fn read(text: &str) -> Table {
        let lines = logical_lines(text);
        let mut reader = Reader { graph: Graph::new(), types: HashMap::new() };
        let words = |line: &str| line.split(' ').map(str::to_owned).collect::<Vec<_>>();
        // Types may name types that come later: make them first, fill them after.
        for line in &lines {
            if let ["type", name, ..] = line.split(' ').collect::<Vec<_>>()[..] {
                let id = reader.graph.add(struct_shape());
                reader.types.insert(name.to_owned(), id);
            }
        }
        let mut kinds = HashMap::new();
        for line in &lines {
            let words = words(line);
            match words.first().map(String::as_str) {
                Some("type") => reader.fill(&words),
                Some("kind") => {
                    let zero = words.get(3).map_or(Value::Null, |text| read_zero(&mut text.as_str()));
                    kinds.insert(words[1].clone(), (reader.types[&words[2]], Arc::new(zero)));
                }
                _ => {}
            }
        }
        let unknown = reader.types.get("Plain").copied().unwrap_or(STRUCT);
        Table { graph: Arc::new(reader.graph), kinds, unknown }
    }
}

fn struct_shape() -> Shape {
    Shape::map_of(Rest::Named(STRUCT), Expect::Any)
}

/// Lines without comments, indented ones joined to the one they continue.
fn logical_lines(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        match (line.strip_prefix("  "), lines.last_mut()) {
            (Some(rest), Some(last)) => {
                last.push(' ');
                last.push_str(rest);
            }
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

struct Reader {
    graph: Graph,
    types: HashMap<String, ShapeId>,
}

impl Reader {
    fn fill(&mut self, words: &[String]) {
        let mut named = HashMap::new();
        for word in &words[2..] {
            if let Some((field, shape)) = word.split_once('=') {
                let id = self.shape(shape);
                named.insert(field.into(), id);
            }
        }
        let id = self.types[&words[1]];
        self.graph.shapes[id as usize].map = MapRule::Granular { fields: named, rest: Rest::Named(STRUCT) };
    }

    fn shape(&mut self, text: &str) -> ShapeId {
        match text {
            "" => STRUCT,
            "!" => ATOMIC,
            "?" => DEDUCED,
            "set" => self.graph.add(Shape { list: ListRule::Set, ..Shape::whole(Expect::Any) }),
            _ => {
                if let Some(element) = text.strip_prefix('{') {
                    let element = self.shape(element.trim_end_matches('}'));
                    return self.graph.add(Shape::map_of(Rest::Keyed(element), Expect::Any));
                }
                if let Some((keys, element)) = text.strip_prefix('[').and_then(|t| t.split_once(']')) {
                    let element = self.shape(element);
                    let keys = keys.split(',').map(|key| match key.split_once(':') {
                        Some((name, default)) => (name.into(), Some(Value::from(default))),
                        // A pointer in the API types: absent is a value of its own.
                        None if key == "shareID" => (key.into(), None),
                        None if matches!(key, "containerPort" | "port") => (key.into(), Some(Value::from(0))),
                        None => (key.into(), Some(Value::from(""))),
                    });
                    let list = ListRule::Keyed { keys: keys.collect(), element };
                    return self.graph.add(Shape { list, ..struct_shape() });
                }
                self.types.get(text).copied().unwrap_or(STRUCT)
            }
        }
    }
}

/// Reads `{a:{b:null,c:0},d}`; a bare name holds an empty map.
fn read_zero(text: &mut &str) -> Value {
    if let Some(rest) = text.strip_prefix('{') {
        *text = rest;
        let mut map = Map::new();
        while !text.is_empty() {
            if let Some(rest) = text.strip_prefix('}') {
                *text = rest;
                break;
            }
            *text = text.strip_prefix(',').unwrap_or(text);
            let end = text.find([':', ',', '}']).unwrap_or(text.len());
            let name = text[..end].to_owned();
            *text = &text[end..];
            let value = match text.strip_prefix(':') {
                Some(rest) => {
                    *text = rest;
                    read_zero(text)
                }
                None => Value::Object(Map::new()),
            };
            map.insert(name, value);
        }
        return Value::Object(map);
    }
    let end = text.find([',', '}']).unwrap_or(text.len());
    let value = serde_json::from_str(&text[..end]).unwrap_or(Value::Null);
    *text = &text[end..];
    value
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_type_that_the_table_names_is_in_the_table() {
        let lines = logical_lines(include_str!("builtin.txt"));
        let known: Vec<&str> =
            lines.iter().filter_map(|l| l.strip_prefix("type ")?.split(' ').next()).collect();
        for line in &lines {
            for word in line.split(' ').skip(2) {
                let Some((_, shape)) = word.split_once('=') else { continue };
                let name = shape.rsplit([']', '{']).next().unwrap_or("").trim_end_matches('}');
                if !["", "!", "?", "set"].contains(&name) {
                    assert!(known.contains(&name), "{name} in {line}");
                }
            }
        }
    }

    #[test]
    fn lists_are_told_apart_by_the_keys_of_the_kubernetes_api() {
        let pod = |kind, group, path: &[&str]| schema(group, kind).list_keys(path);
        for (group, kind, path, keys) in [
            ("apps", "Deployment", "spec.template.spec.containers", "name"),
            ("apps", "Deployment", "spec.template.spec.containers.[].env", "name"),
            ("apps", "StatefulSet", "spec.template.spec.initContainers.[].ports", "containerPort,protocol"),
            ("batch", "CronJob", "spec.jobTemplate.spec.template.spec.volumes", "name"),
            ("", "Pod", "spec.containers.[].volumeMounts", "mountPath"),
            ("", "Pod", "spec.tolerations", ""),
            ("", "Pod", "spec.containers.[].args", ""),
            ("", "Pod", "spec.topologySpreadConstraints", "topologyKey,whenUnsatisfiable"),
            ("", "Pod", "spec.imagePullSecrets", "name"),
            ("", "Service", "spec.ports", "port,protocol"),
            ("", "Node", "status.conditions", "type"),
            ("", "ConfigMap", "metadata.ownerReferences", "uid"),
            ("", "Secret", "metadata.finalizers", "="),
            ("rbac.authorization.k8s.io", "Role", "rules", ""),
            ("admissionregistration.k8s.io", "ValidatingWebhookConfiguration", "webhooks", "name"),
            ("apiextensions.k8s.io", "CustomResourceDefinition", "status.conditions", "type"),
            ("example.com", "Unknown", "metadata.finalizers", "="),
        ] {
            let path: Vec<&str> = path.split('.').collect();
            assert_eq!(pod(kind, group, &path).join(","), keys, "{group}/{kind} {path:?}");
        }
    }

    #[test]
    fn the_zero_object_has_the_parents_that_the_api_types_always_have() {
        assert_eq!(
            *schema("apps", "Deployment").zero,
            json!({"spec": {"selector": null, "strategy": {}, "template":
                {"metadata": {}, "spec": {"containers": null}}}, "status": {}})
        );
        let node = schema("", "Node").zero;
        assert_eq!(node["status"]["daemonEndpoints"]["kubeletEndpoint"], json!({"Port": 0}));
    }
}
