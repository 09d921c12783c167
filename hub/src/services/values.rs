//! The Helm values of a service: documents of `valuesFrom` in order, then the inline text, which may hold Go templates
//! over the cluster object.

use api::k0rdent::{ValuesFrom, ValuesFromKind};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use serde_json::Value;

use super::template::Sight;
use crate::planner::rendering;

/// The documents, in the order in which they are merged.
///
/// # Errors
/// What is missing or not readable.
pub fn documents(
    sight: &Sight<'_>,
    namespace: &str,
    from: &[ValuesFrom],
    inline: Option<&str>,
    cluster: &Value,
) -> Result<Vec<String>, String> {
    let mut documents = Vec::new();
    for source in from {
        let name = &source.name;
        match source.kind {
            ValuesFromKind::ConfigMap => {
                let map = sight.view.get::<ConfigMap>(namespace, name).ok_or_else(|| {
                    format!("failed to get ConfigMap {namespace}/{name} named in valuesFrom: ConfigMap \"{name}\" not found")
                })?;
                documents.extend(map.data.iter().flatten().map(|(_, text)| text.clone()));
            }
            ValuesFromKind::Secret => {
                let secret = sight.view.get::<Secret>(namespace, name).ok_or_else(|| {
                    format!("failed to get Secret {namespace}/{name} named in valuesFrom: Secret \"{name}\" not found")
                })?;
                for (key, bytes) in secret.data.iter().flatten() {
                    let text = String::from_utf8(bytes.0.clone()).map_err(|_| {
                        format!(
                            "Secret {namespace}/{name} named in valuesFrom: key \"{key}\" is not UTF-8 text"
                        )
                    })?;
                    documents.push(text);
                }
            }
        }
    }
    if let Some(inline) = inline.filter(|text| !text.trim().is_empty()) {
        documents.push(if inline.contains("{{") {
            rendering::expand(inline, cluster)?
        } else {
            inline.to_owned()
        });
    }
    Ok(documents)
}
