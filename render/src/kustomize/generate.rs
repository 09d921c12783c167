//! ConfigMaps and Secrets made of literals, files and environment files, and the hash in their names.

use aws_lc_rs::digest;
use serde_json::{Map, Value as Json, json};

use super::error::KustomizeError;
use super::input::Fields;
use super::loader::{Folder, Tree};
use super::node::{Node, Scalar, Tag};
use super::resource::{Behavior, Resource};
use crate::template::funcs::encoding::base64_encode;

/// What a generator adds to what it makes.
#[derive(Clone, Debug, Default)]
pub(crate) struct GeneratorOptions {
    pub labels: Vec<(String, String)>,
    pub annotations: Vec<(String, String)>,
    pub without_hash: bool,
    pub immutable: bool,
}

impl GeneratorOptions {
    pub(crate) const FIELDS: &[&str] = &["labels", "annotations", "disableNameSuffixHash", "immutable"];

    pub(crate) fn read(fields: &Fields<'_>) -> Result<Self, String> {
        Ok(Self {
            labels: fields.text_map("labels")?,
            annotations: fields.text_map("annotations")?,
            without_hash: fields.flag("disableNameSuffixHash")?,
            immutable: fields.flag("immutable")?,
        })
    }

    /// Adds the options of the whole kustomization: its own come first, but no "true" is taken back.
    fn with(mut self, all: &Self) -> Self {
        for (mine, theirs) in [(&mut self.labels, &all.labels), (&mut self.annotations, &all.annotations)] {
            for (key, value) in theirs {
                if !mine.iter().any(|(known, _)| known == key) {
                    mine.push((key.clone(), value.clone()));
                }
            }
        }
        self.without_hash |= all.without_hash;
        self.immutable |= all.immutable;
        self
    }
}

/// One ConfigMap or Secret to make.
#[derive(Clone, Debug, Default)]
pub(crate) struct Generator {
    pub name: String,
    pub namespace: String,
    pub behavior: Behavior,
    pub literals: Vec<String>,
    pub files: Vec<String>,
    pub envs: Vec<String>,
    pub options: GeneratorOptions,
    /// Type of a Secret.
    pub secret_type: String,
}

impl Generator {
    pub(crate) const FIELDS: &[&str] =
        &["name", "namespace", "behavior", "literals", "files", "envs", "env", "options", "type"];

    pub(crate) fn read(fields: &Fields<'_>, all: Option<&GeneratorOptions>) -> Result<Self, String> {
        let own =
            fields.inner("options", GeneratorOptions::FIELDS, GeneratorOptions::read)?.unwrap_or_default();
        let mut envs = fields.texts("envs")?;
        envs.extend(Some(fields.text("env")?).filter(|env| !env.is_empty()));
        Ok(Self {
            name: fields.text("name")?,
            namespace: fields.text("namespace")?,
            behavior: Behavior::parse(&fields.text("behavior")?),
            literals: fields.texts("literals")?,
            files: fields.texts("files")?,
            envs,
            options: match all {
                Some(all) => own.with(all),
                None => own,
            },
            secret_type: fields.text("type")?,
        })
    }

    /// Makes the object.
    ///
    /// # Errors
    /// When a source is malformed or missing, or a key is given twice.
    pub(crate) fn make(
        &self,
        is_secret: bool,
        tree: &Tree<'_>,
        folder: &Folder,
        file: &str,
    ) -> Result<Resource, KustomizeError> {
        let field = if is_secret { "secretGenerator" } else { "configMapGenerator" };
        let fail = |reason: String| KustomizeError::Apply {
            file: file.to_owned(),
            field: field.to_owned(),
            reason: format!("\"{}\": {reason}", self.name),
        };
        if self.name.is_empty() {
            return Err(fail("the field \"name\" is missing".to_owned()));
        }
        let mut pairs: Vec<(String, Vec<u8>)> = Vec::new();
        for path in &self.envs {
            pairs.extend(
                env_pairs(tree.load(folder, path, file)?)
                    .map_err(|reason| fail(format!("{path}: {reason}")))?,
            );
        }
        for literal in &self.literals {
            pairs.push(literal_pair(literal).map_err(fail)?);
        }
        for source in &self.files {
            let (key, path) = file_source(source).map_err(fail)?;
            pairs.push((key, tree.load(folder, path, file)?.to_vec()));
        }
        pairs.sort();
        if let Some(twice) = pairs.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(fail(format!("the key \"{}\" is given twice", twice[0].0)));
        }
        Ok(self.object(is_secret, &pairs))
    }

    fn object(&self, is_secret: bool, pairs: &[(String, Vec<u8>)]) -> Resource {
        let kind = if is_secret { "Secret" } else { "ConfigMap" };
        let mut node = Node::Map(Vec::new());
        node.put("apiVersion", Node::text("v1"));
        node.put("kind", Node::text(kind));
        if let Some(metadata) = node.map_at("metadata") {
            metadata.put("name", Node::text(&self.name));
            if !self.namespace.is_empty() {
                metadata.put("namespace", Node::text(&self.namespace));
            }
        }
        if is_secret {
            let kind = if self.secret_type.is_empty() { "Opaque" } else { &self.secret_type };
            node.put("type", Node::text(kind));
            node.put("data", Node::Map(Vec::new()));
        }
        for (key, value) in pairs {
            let (field, text) = match std::str::from_utf8(value) {
                Ok(text) if !is_secret => ("data", text.to_owned()),
                Ok(_) if is_secret => ("data", folded_base64(value)),
                Err(_) if is_secret => ("data", folded_base64(value)),
                _ => ("binaryData", folded_base64(value)),
            };
            if let Some(data) = node.map_at(field) {
                data.put(key, Node::text(&text));
            }
        }
        let options = &self.options;
        for (field, texts) in [("labels", &options.labels), ("annotations", &options.annotations)] {
            for (key, value) in texts {
                if let Some(map) = node.map_at("metadata").and_then(|metadata| metadata.map_at(field)) {
                    map.put(key, Node::text(value));
                }
            }
        }
        if options.immutable {
            node.put(
                "immutable",
                Node::Scalar(Scalar { text: "true".to_owned(), tag: Tag::Bool, quoted: false }),
            );
        }
        let mut resource = Resource::new(node);
        resource.behavior = self.behavior;
        resource.needs_hash = !options.without_hash;
        resource
    }
}

/// Base64 in lines of 70 letters; one line has no break at its end.
fn folded_base64(bytes: &[u8]) -> String {
    const LINE: usize = 70;
    let encoded = base64_encode(bytes);
    if encoded.len() < LINE {
        return encoded;
    }
    let mut folded = String::with_capacity(encoded.len() + encoded.len() / LINE + 1);
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        folded.push_str(line);
        folded.push('\n');
        rest = after;
    }
    folded
}

fn literal_pair(source: &str) -> Result<(String, Vec<u8>), String> {
    let malformed = || format!("invalid literal source \"{source}\", expected key=value");
    let (key, value) = source.split_once('=').filter(|(key, _)| !key.is_empty()).ok_or_else(malformed)?;
    let quoted = value.len() >= 2
        && (value.starts_with('"') && value.ends_with('"')
            || value.starts_with('\'') && value.ends_with('\''));
    let value = if quoted { &value[1..value.len() - 1] } else { value };
    Ok((key.to_owned(), value.as_bytes().to_vec()))
}

fn file_source(source: &str) -> Result<(String, &str), String> {
    match source.split_once('=') {
        None => Ok((source.trim_end_matches('/').rsplit('/').next().unwrap_or(source).to_owned(), source)),
        Some((_, path)) if path.contains('=') => {
            Err(format!("source \"{source}\": key name or file path contains '='"))
        }
        Some(("", path)) => Err(format!("missing key name for file path \"{path}\" in source \"{source}\"")),
        Some((key, "")) => Err(format!("missing file path for key name \"{key}\" in source \"{source}\"")),
        Some((key, path)) => Ok((key.to_owned(), path)),
    }
}

/// The lines `key=value` of an environment file; blank lines and comments are skipped.
fn env_pairs(content: &[u8]) -> Result<Vec<(String, Vec<u8>)>, String> {
    let mut pairs = Vec::new();
    for (at, line) in content.split(|byte| *byte == b'\n').enumerate() {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line =
            std::str::from_utf8(line).map_err(|_| format!("line {} has invalid utf8 bytes", at + 1))?;
        let line = if at == 0 { line.strip_prefix('\u{FEFF}').unwrap_or(line) } else { line };
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let (key, value) = line.split_once('=').unwrap_or((line, ""));
        if !key.is_empty() {
            pairs.push((key.to_owned(), value.as_bytes().to_vec()));
        }
    }
    Ok(pairs)
}

/// The hash that a generated object's name ends with.
///
/// # Errors
/// When the data is no JSON.
pub(crate) fn hash(resource: &Resource) -> Result<String, String> {
    let node = &resource.node;
    let value = |field: &str| -> Result<Json, String> {
        match node.get(field) {
            None => Ok(json!("")),
            Some(Node::Scalar(scalar)) => Ok(json!(scalar.text)),
            Some(other) => other.to_json(),
        }
    };
    let kind = resource.kind();
    let mut content = Map::new();
    content.insert("kind".to_owned(), json!(kind));
    // The name is looked up by a field "metadata/name", which does not exist.
    content.insert("name".to_owned(), json!(""));
    content.insert("data".to_owned(), value("data")?);
    if kind == "Secret" {
        content.insert("type".to_owned(), value("type")?);
    }
    let more = if kind == "Secret" { "stringData" } else { "binaryData" };
    if node.get(more).is_some_and(Node::is_map) {
        content.insert(more.to_owned(), value(more)?);
    }
    let text = go_json(&Json::Object(content));
    let digest = digest::digest(&digest::SHA256, text.as_bytes());
    let letters = hex::encode(digest.as_ref());
    Ok(letters
        .chars()
        .take(10)
        .map(|letter| match letter {
            '0' => 'g',
            '1' => 'h',
            '3' => 'k',
            'a' => 'm',
            'e' => 't',
            other => other,
        })
        .collect())
}

/// JSON as Go writes it: what is special in HTML is escaped.
pub(crate) fn go_json(value: &Json) -> String {
    let mut out = String::new();
    for letter in value.to_string().chars() {
        match letter {
            '<' => out.push_str("\\u003c"),
            '>' => out.push_str("\\u003e"),
            '&' => out.push_str("\\u0026"),
            '\u{2028}' => out.push_str("\\u2028"),
            '\u{2029}' => out.push_str("\\u2029"),
            other => out.push(other),
        }
    }
    out
}

/// Like [`go_json`], in lines indented by two.
pub(crate) fn go_json_pretty(value: &Json) -> String {
    let text = serde_json::to_string_pretty(value).unwrap_or_default();
    let escaped = [('<', "\\u003c"), ('>', "\\u003e"), ('&', "\\u0026")];
    escaped.into_iter().fold(text, |text, (letter, code)| text.replace(letter, code))
}
