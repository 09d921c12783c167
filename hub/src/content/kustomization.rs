//! Kustomizations: a folder of a tree, built in process, once for all who want it in the same namespace.

use std::sync::Arc;

use render::{Limits, kustomize};
use serde_json::{Value, json};
use source::Tree;

use super::lfs;

/// The names that a kustomization may have.
pub const KUSTOMIZATIONS: [&str; 3] = ["kustomization.yaml", "kustomization.yml", "Kustomization"];

/// Manifests by name.
pub type Manifests = Vec<(String, String)>;

/// A folder with a kustomization.
#[derive(Debug, Clone)]
pub struct Kustomization {
    /// The tree, with everything that the kustomization may refer to.
    pub files: Arc<Tree>,
    /// What tells this tree from others.
    pub digest: String,
    /// The folder; empty for the root.
    pub path: String,
    /// Where the tree comes from, for a person.
    pub origin: String,
}

/// Whether these files are a kustomization.
pub fn is_kustomization(files: &Tree) -> bool {
    KUSTOMIZATIONS.iter().any(|name| files.contains_key(*name))
}

impl Kustomization {
    /// What tells its builds from others.
    pub(super) fn key(&self, namespace: Option<&str>) -> String {
        format!("built {} {} {namespace:?}", self.digest, self.path)
    }

    /// Builds it; `namespace` takes the place of the namespace that the kustomization itself sets.
    ///
    /// # Errors
    /// The source, the file, and what is wrong there.
    pub(super) fn build(&self, namespace: Option<&str>) -> Result<Manifests, String> {
        let other = namespace.and_then(|namespace| self.in_namespace(namespace));
        let files = other.as_ref().unwrap_or(&self.files);
        let objects =
            kustomize::build(files, &self.path, &limits()).map_err(|error| match lfs::pointer(files) {
                Some(why) => format!("{}: {error} ({why})", self.origin),
                None => format!("{}: {error}", self.origin),
            })?;
        Ok(objects.iter().map(|object| (name_of(object), render::to_yaml(object))).collect())
    }

    /// The tree with another namespace in the kustomization, as Sveltos' and Flux' `targetNamespace` have it; `None`
    /// when there is nothing to change, or the kustomization cannot be read: building it says why.
    fn in_namespace(&self, namespace: &str) -> Option<Tree> {
        let folder = source::plain_folder(&self.path)?;
        let at = |name: &str| if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
        let path = KUSTOMIZATIONS.iter().map(|name| at(name)).find(|path| self.files.contains_key(path))?;
        let text = std::str::from_utf8(self.files.get(&path)?).ok()?;
        let mut fields = render::parse_values(text).ok()?;
        if fields["namespace"] == namespace {
            return None;
        }
        fields.as_object_mut()?.insert("namespace".to_owned(), json!(namespace));
        let mut files = Tree::clone(&self.files);
        files.insert(path, serde_json::to_vec(&fields).ok()?);
        Some(files)
    }
}

/// What may be in a tree may be in a tree that is built.
fn limits() -> Limits {
    let most = source::Limits::default();
    Limits { chart_file_bytes: most.file_bytes_max as u64, ..Limits::default() }
}

fn name_of(object: &Value) -> String {
    let text = |pointer: &str| object.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    format!("{} {}", text("/kind"), text("/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kustomization(path: &str, files: &[(&str, &str)]) -> Kustomization {
        let files = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Kustomization {
            files: Arc::new(files),
            digest: "d".into(),
            path: path.into(),
            origin: "GitRepository/x".into(),
        }
    }

    const MAP: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: web}\n";

    #[test]
    fn an_overlay_reaches_its_base_beside_it_and_goes_where_the_service_goes() {
        let overlay = kustomization(
            "./overlays/eu/",
            &[
                ("base/kustomization.yaml", "resources: [map.yaml]\n"),
                ("base/map.yaml", MAP),
                (
                    "overlays/eu/kustomization.yaml",
                    "resources: [../../base]\nnamespace: own\nnamePrefix: eu-\n",
                ),
            ],
        );
        let namespace = |built: Manifests| {
            let objects = render::parse_yaml_documents(&built[0].1, &render::Limits::default()).unwrap();
            (built[0].0.clone(), objects[0]["metadata"]["namespace"].as_str().unwrap().to_owned())
        };
        let (name, own) = namespace(overlay.build(None).unwrap());
        assert_eq!((name.as_str(), own.as_str()), ("ConfigMap eu-web", "own"));
        assert_eq!(namespace(overlay.build(Some("shop")).unwrap()).1, "shop");
    }

    #[test]
    fn what_cannot_be_built_is_told_with_source_and_file() {
        let wrong = kustomization("", &[("kustomization.yaml", "resources: [no.yaml]\n")]);
        let error = wrong.build(Some("shop")).unwrap_err();
        assert!(error.starts_with("GitRepository/x: kustomization.yaml"), "{error}");
        let remote =
            kustomization("", &[("kustomization.yaml", "resources: [\"https://h.example/x.git//base\"]\n")]);
        assert!(remote.build(None).unwrap_err().contains("remote bases are not allowed"));
        let broken = kustomization("", &[("kustomization.yaml", "resources: [\n")]);
        assert!(broken.build(Some("shop")).unwrap_err().contains("kustomization.yaml"));
    }
}
