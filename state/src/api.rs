//! The few requests the engine makes, and what their failures mean.

use std::time::Duration;

use futures::AsyncBufRead;
use http::{Method, Request};
use kube::Client;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::live::{Live, Meta, Page, nullable};
use crate::object::{Place, Resource, UNIT_LABEL};

/// An API server that does not answer a request for this long is unreachable.
const CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Objects per page of a list: bounds what is in memory at once.
const PAGE_ITEMS: u32 = 50;
/// The server ends a watch after this long, so that a connection that silently broke is noticed.
const WATCH_SECONDS: u32 = 290;

const METADATA: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";

/// What a failure means for whoever made the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The API server did not answer: nobody is at fault, try when it is back.
    Unreachable,
    /// It is busy or broken: try again.
    Busy,
    /// There is no such object, namespace or kind.
    NotFound,
    /// Another manager owns fields, or the object exists, or changed meanwhile.
    Conflict,
    /// The resource version is too old to watch from.
    Gone,
    /// It will not have this: the request must change.
    Refused,
}

/// A failed request.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{text}")]
pub(crate) struct ApiError {
    pub(crate) failure: Failure,
    /// The API server's words, as they are.
    pub(crate) text: String,
}

impl ApiError {
    fn unreachable(text: String) -> Self {
        Self { failure: Failure::Unreachable, text }
    }
}

/// What became of a deletion.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Deletion {
    /// The object is gone.
    Gone,
    /// It is marked; finalizers or its own deletion keep it for a while.
    Begun,
    /// It is not what it was when it was looked at.
    Changed,
}

/// The cluster's API server.
#[derive(Clone)]
pub(crate) struct Api {
    client: Client,
    manager: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Version {
    git_version: String,
}

#[derive(Deserialize)]
struct ResourceList {
    #[serde(default, deserialize_with = "nullable")]
    resources: Vec<ListedResource>,
}

#[derive(Deserialize)]
struct ListedResource {
    name: String,
    kind: String,
    namespaced: bool,
    #[serde(default, deserialize_with = "nullable")]
    verbs: Vec<String>,
}

#[derive(Deserialize)]
struct GroupList {
    #[serde(default, deserialize_with = "nullable")]
    groups: Vec<Group>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: String,
    preferred_version: GroupVersion,
}

#[derive(Deserialize)]
struct GroupVersion {
    version: String,
}

impl Api {
    pub(crate) fn new(client: Client, manager: String) -> Self {
        Self { client, manager }
    }

    /// Our field manager.
    pub(crate) fn manager(&self) -> &str {
        &self.manager
    }

    /// The API server's version; also the question whether it answers.
    pub(crate) async fn version(&self) -> Result<String, ApiError> {
        let version: Version = self.call(Method::GET, "/version".to_owned(), None, Vec::new()).await?;
        Ok(version.git_version)
    }

    /// The kinds of a group version that can be read and written; `None` if it is not served.
    pub(crate) async fn resources(
        &self,
        group: &str,
        version: &str,
    ) -> Result<Option<Vec<Resource>>, ApiError> {
        let path =
            if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
        let list: ResourceList = match self.call(Method::GET, path, None, Vec::new()).await {
            Ok(list) => list,
            Err(error) if error.failure == Failure::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let whole = |listed: &ListedResource| !listed.name.contains('/');
        let resources = list.resources.into_iter().filter(whole).map(|listed| Resource {
            group: group.to_owned(),
            version: version.to_owned(),
            kind: listed.kind,
            plural: listed.name,
            namespaced: listed.namespaced,
        });
        Ok(Some(resources.collect()))
    }

    /// Every namespaced kind that can be listed, in its preferred version.
    pub(crate) async fn namespaced_kinds(&self) -> Result<Vec<Resource>, ApiError> {
        let groups: GroupList = self.call(Method::GET, "/apis".to_owned(), None, Vec::new()).await?;
        let mut versions = vec![(String::new(), "v1".to_owned())];
        versions.extend(groups.groups.into_iter().map(|group| (group.name, group.preferred_version.version)));
        let mut kinds = Vec::new();
        for (group, version) in versions {
            let path =
                if group.is_empty() { format!("/api/{version}") } else { format!("/apis/{group}/{version}") };
            let list: ResourceList = self.call(Method::GET, path, None, Vec::new()).await?;
            let listable = |listed: &ListedResource| {
                listed.namespaced
                    && !listed.name.contains('/')
                    && listed.verbs.iter().any(|verb| verb == "list")
                    && listed.verbs.iter().any(|verb| verb == "delete")
            };
            kinds.extend(list.resources.into_iter().filter(listable).map(|listed| Resource {
                group: group.clone(),
                version: version.clone(),
                kind: listed.kind,
                plural: listed.name,
                namespaced: true,
            }));
        }
        Ok(kinds)
    }

    /// The version under which a group is preferably served; `None` if it is not.
    pub(crate) async fn preferred_version(&self, group: &str) -> Result<Option<String>, ApiError> {
        let found: Option<Group> =
            optional(self.call(Method::GET, format!("/apis/{group}"), None, Vec::new()).await)?;
        Ok(found.map(|group| group.preferred_version.version))
    }

    /// The object's metadata, with spec and status where its kind has some to judge.
    pub(crate) async fn get(&self, place: &Place) -> Result<Option<Live>, ApiError> {
        optional(self.call(Method::GET, place.path(), accept(&place.resource), Vec::new()).await)
    }

    /// The object's metadata.
    pub(crate) async fn metadata(&self, place: &Place) -> Result<Option<Live>, ApiError> {
        optional(self.call(Method::GET, place.path(), Some(METADATA), Vec::new()).await)
    }

    /// The whole object.
    pub(crate) async fn get_whole(&self, place: &Place) -> Result<Option<Value>, ApiError> {
        optional(self.call(Method::GET, place.path(), None, Vec::new()).await)
    }

    /// Server-side apply.
    pub(crate) async fn apply(&self, place: &Place, body: Vec<u8>, force: bool) -> Result<Live, ApiError> {
        let path = format!("{}?fieldManager={}&force={force}", place.path(), self.manager);
        self.call(Method::PATCH, path, accept(&place.resource), body).await
    }

    /// Creates; a conflict if it exists.
    pub(crate) async fn create(&self, place: &Place, body: Vec<u8>) -> Result<Live, ApiError> {
        let path = format!("{}?fieldManager={}", place.collection(), self.manager);
        self.call(Method::POST, path, accept(&place.resource), body).await
    }

    /// What server-side apply would make of the object.
    pub(crate) async fn would_apply(
        &self,
        place: &Place,
        body: Vec<u8>,
        force: bool,
    ) -> Result<Value, ApiError> {
        let path = format!("{}?fieldManager={}&force={force}&dryRun=All", place.path(), self.manager);
        self.call(Method::PATCH, path, None, body).await
    }

    /// Asks whether the object would be created; a conflict if only its name is in the way.
    pub(crate) async fn would_create(&self, place: &Place, body: Vec<u8>) -> Result<Live, ApiError> {
        let path = format!("{}?fieldManager={}&dryRun=All", place.collection(), self.manager);
        self.call(Method::POST, path, accept(&place.resource), body).await
    }

    /// JSON merge patch.
    pub(crate) async fn merge(&self, place: &Place, patch: &Value) -> Result<Option<Live>, ApiError> {
        let path = format!("{}?fieldManager={}", place.path(), self.manager);
        let request = Request::builder()
            .method(Method::PATCH)
            .uri(path)
            .header(http::header::CONTENT_TYPE, "application/merge-patch+json")
            .body(patch.to_string().into_bytes());
        optional(self.send(request).await)
    }

    /// Deletes exactly this state of an object, in the background.
    pub(crate) async fn delete(&self, place: &Place, meta: &Meta) -> Result<Deletion, ApiError> {
        let options = serde_json::json!({
            "apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background",
            "preconditions": {"uid": meta.uid, "resourceVersion": meta.resource_version},
        });
        let body = options.to_string().into_bytes();
        match self.call::<Live>(Method::DELETE, place.path(), None, body).await {
            Ok(live) if live.metadata.terminating() => Ok(Deletion::Begun),
            Ok(_) => Ok(Deletion::Gone),
            Err(error) if error.failure == Failure::NotFound => Ok(Deletion::Gone),
            Err(error) if error.failure == Failure::Conflict => Ok(Deletion::Changed),
            Err(error) => Err(error),
        }
    }

    /// A page of the objects that carry our label (or of all).
    pub(crate) async fn list(&self, resource: &Resource, all: bool, next: &str) -> Result<Page, ApiError> {
        let selector = selector(all);
        let path = format!("{}?limit={PAGE_ITEMS}{selector}&continue={next}", resource.path());
        let accept = resource.metadata_only().then_some(METADATA_LIST);
        self.call(Method::GET, path, accept, Vec::new()).await
    }

    /// Whether objects without our label exist: in the whole cluster, or in a namespace.
    pub(crate) async fn foreign(&self, resource: &Resource, namespace: &str) -> Result<Vec<Live>, ApiError> {
        let place = Place {
            id: std::sync::Arc::new(crate::object::ObjectId {
                group: resource.group.clone(),
                kind: resource.kind.clone(),
                namespace: namespace.to_owned(),
                name: String::new(),
            }),
            resource: std::sync::Arc::new(resource.clone()),
        };
        let path = format!("{}?limit={PAGE_ITEMS}&labelSelector=!{UNIT_LABEL}", place.collection());
        let page: Page = self.call(Method::GET, path, Some(METADATA_LIST), Vec::new()).await?;
        Ok(page.items)
    }

    /// The metadata of the objects in the namespace of `place` that a label selector selects.
    pub(crate) async fn selected(&self, place: &Place, selector: &str) -> Result<Vec<Live>, ApiError> {
        let path = format!("{}?labelSelector={}", place.collection(), selector.replace(',', "%2C"));
        let page: Page = self.call(Method::GET, path, Some(METADATA_LIST), Vec::new()).await?;
        Ok(page.items)
    }

    /// As [`Api::selected`], with spec and status; at most so many.
    pub(crate) async fn selected_whole(
        &self,
        place: &Place,
        selector: &str,
        limit: u32,
    ) -> Result<Vec<Live>, ApiError> {
        let selector = selector.replace(',', "%2C");
        let path = format!("{}?labelSelector={selector}&limit={limit}", place.collection());
        let page: Page = self.call(Method::GET, path, None, Vec::new()).await?;
        Ok(page.items)
    }

    /// Events of the kind Warning about an object with this uid.
    pub(crate) async fn warnings(&self, namespace: &str, uid: &str) -> Result<Vec<Live>, ApiError> {
        let fields = format!("involvedObject.uid%3D{uid}%2Ctype%3DWarning");
        let path = format!("/api/v1/namespaces/{namespace}/events?fieldSelector={fields}&limit=20");
        let page: Page = self.call(Method::GET, path, None, Vec::new()).await?;
        Ok(page.items)
    }

    /// The events of the objects that carry our label (or of all) after a resource version.
    pub(crate) async fn watch(
        &self,
        resource: &Resource,
        all: bool,
        version: &str,
    ) -> Result<impl AsyncBufRead + use<>, ApiError> {
        let selector = selector(all);
        let path = format!(
            "{}?watch=true&allowWatchBookmarks=true&timeoutSeconds={WATCH_SECONDS}{selector}&resourceVersion={version}",
            resource.path()
        );
        let mut request = Request::builder()
            .method(Method::GET)
            .uri(path)
            .header(http::header::ACCEPT_ENCODING, "identity");
        if resource.metadata_only() {
            request = request.header(http::header::ACCEPT, METADATA);
        }
        let request = request.body(Vec::new()).map_err(|error| ApiError::unreachable(error.to_string()))?;
        self.client.request_stream(request).await.map_err(explain)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: String,
        accept: Option<&'static str>,
        body: Vec<u8>,
    ) -> Result<T, ApiError> {
        let content =
            if method == Method::PATCH { "application/apply-patch+yaml" } else { "application/json" };
        let mut request =
            Request::builder().method(method).uri(path).header(http::header::CONTENT_TYPE, content);
        if let Some(accept) = accept {
            request = request.header(http::header::ACCEPT, accept);
        }
        self.send(request.body(body)).await
    }

    async fn send<T: DeserializeOwned>(
        &self,
        request: Result<Request<Vec<u8>>, http::Error>,
    ) -> Result<T, ApiError> {
        let request = request.map_err(|error| ApiError {
            failure: Failure::Refused,
            text: format!("not a valid request: {error}"),
        })?;
        match tokio::time::timeout(CALL_TIMEOUT, self.client.request::<T>(request)).await {
            Ok(result) => result.map_err(explain),
            Err(_) => Err(ApiError::unreachable(format!("no answer within {} s", CALL_TIMEOUT.as_secs()))),
        }
    }
}

fn accept(resource: &Resource) -> Option<&'static str> {
    resource.metadata_only().then_some(METADATA)
}

fn selector(all: bool) -> String {
    if all { String::new() } else { format!("&labelSelector={UNIT_LABEL}") }
}

fn optional<T>(result: Result<T, ApiError>) -> Result<Option<T>, ApiError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(error) if error.failure == Failure::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

/// The meaning of an error of the client, in the API server's own words where it spoke.
pub(crate) fn explain(error: kube::Error) -> ApiError {
    if let kube::Error::SerdeError(_) = error {
        return ApiError {
            failure: Failure::Busy,
            text: format!("the answer was not understood: {}", chain(&error)),
        };
    }
    let kube::Error::Api(status) = error else {
        return ApiError::unreachable(chain(&error));
    };
    let failure = match (status.code, status.reason.as_str()) {
        (404, _) => Failure::NotFound,
        (409, _) => Failure::Conflict,
        (410, _) | (_, "Expired" | "Gone") => Failure::Gone,
        (408 | 429 | 401 | 501.., _) => Failure::Busy,
        _ => Failure::Refused,
    };
    let text = if status.message.is_empty() {
        format!("the API server answered {} {}", status.code, status.reason)
    } else {
        status.message
    };
    ApiError { failure, text }
}

/// An error with its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text.push_str(": ");
            text.push_str(&cause_text);
        }
        source = cause.source();
    }
    text
}
