//! From a path to what it names.

use crate::error::ApiError;

/// What a path names.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Route {
    Root,
    Health,
    Version,
    Api,
    Apis,
    Group(String),
    Resources(String, String),
    OpenApi,
    OpenApiDocument(String, String),
    Resource(ResourcePath),
}

/// A resource, an object of it, or a part of that.
#[derive(Debug, PartialEq, Eq, Default)]
pub(super) struct ResourcePath {
    pub(super) group: String,
    pub(super) version: String,
    pub(super) plural: String,
    pub(super) namespace: Option<String>,
    pub(super) name: Option<String>,
    pub(super) subresource: Option<String>,
}

/// Reads a path.
///
/// # Errors
/// 404 for paths of no known shape.
pub(super) fn parse(path: &str) -> Result<Route, ApiError> {
    let segments: Vec<String> =
        path.split('/').filter(|segment| !segment.is_empty()).map(percent_decoded).collect();
    let segments: Vec<&str> = segments.iter().map(String::as_str).collect();
    let owned = |text: &str| text.to_owned();
    Ok(match segments.as_slice() {
        [] => Route::Root,
        ["healthz" | "livez" | "readyz", ..] => Route::Health,
        ["version"] => Route::Version,
        ["api"] => Route::Api,
        ["api", version] => Route::Resources(String::new(), owned(version)),
        ["api", version, rest @ ..] => Route::Resource(resource("", version, rest)?),
        ["apis"] => Route::Apis,
        ["apis", group] => Route::Group(owned(group)),
        ["apis", group, version] => Route::Resources(owned(group), owned(version)),
        ["apis", group, version, rest @ ..] => Route::Resource(resource(group, version, rest)?),
        ["openapi", "v3"] => Route::OpenApi,
        ["openapi", "v3", "api", version] => Route::OpenApiDocument(String::new(), owned(version)),
        ["openapi", "v3", "apis", group, version] => Route::OpenApiDocument(owned(group), owned(version)),
        _ => return Err(ApiError::no_such_path()),
    })
}

fn resource(group: &str, version: &str, rest: &[&str]) -> Result<ResourcePath, ApiError> {
    let owned = |text: &&str| (*text).to_owned();
    let (namespace, rest) = match rest {
        // A namespace's own subresources, not resources in it.
        ["namespaces", _, "status" | "finalize"] if group.is_empty() => (None, rest),
        ["namespaces", namespace, inner @ ..] if !inner.is_empty() => (Some(owned(namespace)), inner),
        _ => (None, rest),
    };
    let (plural, name, subresource) = match rest {
        [plural] => (plural, None, None),
        [plural, name] => (plural, Some(owned(name)), None),
        [plural, name, subresource] => (plural, Some(owned(name)), Some(owned(subresource))),
        _ => return Err(ApiError::no_such_path()),
    };
    Ok(ResourcePath {
        group: group.to_owned(),
        version: version.to_owned(),
        plural: owned(plural),
        namespace,
        name,
        subresource,
    })
}

/// Undoes `%XX`; what is no valid escape stays as it is.
pub(super) fn percent_decoded(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut decoded = Vec::with_capacity(bytes.len());
    let mut index = 0;
    while index < bytes.len() {
        let escape = (bytes[index] == b'%')
            .then(|| bytes.get(index + 1..index + 3))
            .flatten()
            .and_then(|digits| std::str::from_utf8(digits).ok())
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match escape {
            Some(byte) => {
                decoded.push(byte);
                index += 3;
            }
            None => {
                decoded.push(bytes[index]);
                index += 1;
            }
        }
    }
    String::from_utf8_lossy(&decoded).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_lead_to_resources_objects_and_their_parts() {
        let table = [
            ("/api/v1/pods", "", "pods", None, None, None),
            ("/api/v1/namespaces", "", "namespaces", None, None, None),
            ("/api/v1/namespaces/a", "", "namespaces", None, Some("a"), None),
            ("/api/v1/namespaces/a/finalize", "", "namespaces", None, Some("a"), Some("finalize")),
            ("/api/v1/namespaces/a/pods/b/log", "", "pods", Some("a"), Some("b"), Some("log")),
            ("/apis/apps/v1/namespaces/a/deployments", "apps", "deployments", Some("a"), None, None),
            ("/apis/x.io/v1/things/a%3Ab/status", "x.io", "things", None, Some("a:b"), Some("status")),
        ];
        for (path, group, plural, namespace, name, subresource) in table {
            let expected = Route::Resource(ResourcePath {
                group: group.to_owned(),
                version: "v1".to_owned(),
                plural: plural.to_owned(),
                namespace: namespace.map(str::to_owned),
                name: name.map(str::to_owned),
                subresource: subresource.map(str::to_owned),
            });
            assert_eq!(parse(path).unwrap(), expected, "{path}");
        }
        assert_eq!(parse("/nowhere").unwrap_err().code, 404);
    }
}
