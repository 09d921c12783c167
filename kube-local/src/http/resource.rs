//! The verbs on resources, objects and their subresources.

use std::sync::Arc;

use ::http::{Method, StatusCode};
use bytes::Bytes;
use serde_json::{Value, json};

use super::negotiate::{self, Encoding, Shape, accepted};
use super::query::Query;
use super::respond::Answer;
use super::route::ResourcePath;
use super::watch::Form;
use super::{Api, Call, watch};
use crate::engine::{Deleted, Part, WriteOptions, Written, review};
use crate::error::ApiError;
use crate::object;
use crate::registry::{Kind, Verbs};
use crate::table::IncludeObject;

/// One request on a resource.
struct Request<'a> {
    api: &'a Api,
    call: &'a Call,
    query: &'a Query,
    kind: Arc<Kind>,
    namespace: Option<String>,
}

/// Answers a request on a resource.
pub(super) async fn answer(
    api: &Api,
    call: &Call,
    query: &Query,
    path: ResourcePath,
) -> Result<Answer, ApiError> {
    let kind = api.engine.registry().find(&path.group, &path.version, &path.plural);
    let kind = kind.ok_or_else(ApiError::no_such_path)?;
    if path.namespace.is_some() && !kind.namespaced {
        return Err(ApiError::no_such_path());
    }
    let deprecation = kind.custom().and_then(|custom| custom.deprecation.clone());
    let request = Request { api, call, query, kind, namespace: path.namespace };
    let mut answer = request.dispatch(path.name, path.subresource).await?;
    answer.warnings.extend(deprecation);
    Ok(answer)
}

impl Request<'_> {
    async fn dispatch(&self, name: Option<String>, subresource: Option<String>) -> Result<Answer, ApiError> {
        let method = &self.call.head.method;
        match (name, subresource) {
            (None, _) => match *method {
                Method::GET | Method::HEAD => self.list_or_watch(None).await,
                Method::POST => self.create().await,
                Method::DELETE => self.delete_collection().await,
                _ => Err(ApiError::method_not_allowed()),
            },
            (Some(name), None) => match *method {
                Method::GET | Method::HEAD => self.read(&name).await,
                Method::PUT => self.update(&name, Part::Main).await,
                Method::PATCH => self.patch(&name, Part::Main).await,
                Method::DELETE => self.delete(&name).await,
                _ => Err(ApiError::method_not_allowed()),
            },
            (Some(name), Some(subresource)) => self.subresource(&name, &subresource).await,
        }
    }

    fn namespace(&self) -> Result<&str, ApiError> {
        match &self.namespace {
            Some(namespace) => Ok(namespace),
            None if self.kind.namespaced => Err(ApiError::method_not_allowed()),
            None => Ok(""),
        }
    }

    fn form(&self) -> Result<(Shape, Encoding), ApiError> {
        accepted(self.call.accept())
    }

    fn include(&self) -> IncludeObject {
        match self.query.value("includeObject") {
            Some("None") => IncludeObject::None,
            Some("Object") => IncludeObject::Object,
            _ => IncludeObject::Metadata,
        }
    }

    fn write_options(&self, part: Part) -> Result<WriteOptions, ApiError> {
        let agent = self.call.header(::http::header::USER_AGENT).unwrap_or("unknown");
        let default_manager = agent.split('/').next().unwrap_or("unknown").to_owned();
        let is_apply = self.call.content_type() == "application/apply-patch+yaml";
        let named = self.query.value("fieldManager").map(str::to_owned);
        Ok(WriteOptions {
            manager: named.unwrap_or(if is_apply { String::new() } else { default_manager }),
            validation: self.query.field_validation()?,
            dry_run: self.query.dry_run()?,
            part,
            force: self.query.truth("force"),
        })
    }

    async fn list_or_watch(&self, name: Option<&str>) -> Result<Answer, ApiError> {
        if self.kind.verbs == Verbs::Review {
            return Err(ApiError::method_not_allowed());
        }
        let (shape, encoding) = self.form()?;
        let engine = &self.api.engine;
        if self.query.truth("watch") {
            let options = self.query.watch_options(&self.kind, self.namespace.clone(), name)?;
            let watch = engine.watch(&self.kind, options)?;
            let form = Form { kind: self.kind.clone(), shape, include: self.include() };
            return Ok(Answer::stream(watch::body(watch, form, self.query.timeout_seconds()?)));
        }
        let options = self.query.list_options(&self.kind, self.namespace.clone())?;
        let listed = engine.list(&self.kind, &options)?;
        engine.durable(listed.revision).await?;
        Ok(Answer::list(&self.kind, &listed, (shape, encoding), self.include()))
    }

    async fn read(&self, name: &str) -> Result<Answer, ApiError> {
        if self.query.truth("watch") {
            return self.list_or_watch(Some(name)).await;
        }
        let form = self.form()?;
        let stored = self.api.engine.find(&self.kind, self.namespace()?, name);
        let stored = stored.ok_or_else(|| ApiError::not_found(&self.kind, name))?;
        self.api.engine.durable(stored.revision).await?;
        Ok(Answer::object(&self.kind, &stored.bytes, form, self.include()))
    }

    async fn create(&self) -> Result<Answer, ApiError> {
        if self.kind.verbs == Verbs::Review {
            let asked = negotiate::object(self.call, &self.kind.kind)?;
            let answered = review(&self.kind, asked);
            return Ok(Answer::encoded(&answered, self.form()?.1).with_code(StatusCode::CREATED));
        }
        let object = negotiate::object(self.call, &self.kind.kind)?;
        let options = self.write_options(Part::Main)?;
        let written = self.api.engine.create(&self.kind, self.namespace()?, object, &options)?;
        self.written(written).await
    }

    async fn update(&self, name: &str, part: Part) -> Result<Answer, ApiError> {
        let object = negotiate::object(self.call, &self.kind.kind)?;
        let options = self.write_options(part)?;
        let written = self.api.engine.update(&self.kind, self.namespace()?, name, object, &options)?;
        self.written(written).await
    }

    async fn patch(&self, name: &str, part: Part) -> Result<Answer, ApiError> {
        let (patch_kind, patch) = negotiate::patch(self.call, &self.kind.kind)?;
        let options = self.write_options(part)?;
        let engine = &self.api.engine;
        let written = engine.patch(&self.kind, self.namespace()?, name, patch_kind, &patch, &options)?;
        self.written(written).await
    }

    async fn written(&self, written: Written) -> Result<Answer, ApiError> {
        self.api.engine.durable(written.revision).await?;
        let code = if written.created { StatusCode::CREATED } else { StatusCode::OK };
        let bytes = Bytes::from(written.object.to_string());
        let answer = Answer::object(&self.kind, &bytes, self.form()?, self.include());
        Ok(answer.with_code(code).with_warnings(written.warnings))
    }

    async fn delete(&self, name: &str) -> Result<Answer, ApiError> {
        let options = self.query.delete_options(&negotiate::delete_options(self.call)?)?;
        let deleted = self.api.engine.delete(&self.kind, self.namespace()?, name, &options)?;
        self.api.engine.durable(deleted.revision).await?;
        let form = self.form()?;
        if deleted.gone && !returns_deleted(&self.kind) {
            return Ok(Answer::encoded(&self.success(&deleted), form.1));
        }
        let bytes = Bytes::from(deleted.object.to_string());
        Ok(Answer::object(&self.kind, &bytes, form, self.include()))
    }

    fn success(&self, deleted: &Deleted) -> Value {
        let mut details = json!({
            "name": object::name(&deleted.object), "kind": self.kind.plural, "uid": object::uid(&deleted.object),
        });
        if !self.kind.group.is_empty() {
            details["group"] = json!(*self.kind.group);
        }
        json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details})
    }

    async fn delete_collection(&self) -> Result<Answer, ApiError> {
        let mut options = self.query.list_options(&self.kind, self.namespace.clone())?;
        options.limit = 0;
        let delete = self.query.delete_options(&negotiate::delete_options(self.call)?)?;
        let engine = &self.api.engine;
        let mut listed = engine.list(&self.kind, &options)?;
        let mut deleted = Vec::new();
        for item in &listed.items {
            let item: Value = serde_json::from_slice(item).unwrap_or_default();
            match engine.delete(&self.kind, object::namespace(&item), object::name(&item), &delete) {
                Ok(one) => deleted.push(Bytes::from(one.object.to_string())),
                Err(error) if error.code == 404 => {}
                Err(error) => return Err(error),
            }
        }
        listed.items = deleted;
        listed.revision = engine.store.revision();
        engine.durable(listed.revision).await?;
        Ok(Answer::list(&self.kind, &listed, self.form()?, self.include()))
    }

    async fn subresource(&self, name: &str, subresource: &str) -> Result<Answer, ApiError> {
        let method = &self.call.head.method;
        match (subresource, method) {
            ("status", _) if !self.kind.status => Err(ApiError::no_such_path()),
            ("status", &Method::GET) => self.read(name).await,
            ("status", &Method::PUT) => self.update(name, Part::Status).await,
            ("status", &Method::PATCH) => self.patch(name, Part::Status).await,
            ("finalize", &Method::PUT) if self.kind.is("", "Namespace") => {
                self.update(name, Part::Finalize).await
            }
            ("scale", &Method::GET) => {
                let scale = self.api.engine.read_scale(&self.kind, self.namespace()?, name)?;
                Ok(Answer::encoded(&scale, self.form()?.1))
            }
            ("scale", &Method::PUT | &Method::PATCH) => self.write_scale(name).await,
            ("log", &Method::GET) if self.kind.is("", "Pod") => self.log(name),
            ("eviction", &Method::POST) if self.kind.is("", "Pod") => self.evict(name).await,
            ("status" | "scale", _) => Err(ApiError::method_not_allowed()),
            _ => Err(ApiError::no_such_path()),
        }
    }

    async fn write_scale(&self, name: &str) -> Result<Answer, ApiError> {
        let (patch_kind, body) = if self.call.head.method == Method::PATCH {
            let (patch_kind, body) = negotiate::patch(self.call, "Scale")?;
            (Some(patch_kind), body)
        } else {
            (None, negotiate::object(self.call, "Scale")?)
        };
        let options = self.write_options(Part::Scale)?;
        let engine = &self.api.engine;
        let written = engine.write_scale(&self.kind, self.namespace()?, name, patch_kind, &body, &options)?;
        engine.durable(written.revision).await?;
        Ok(Answer::encoded(&written.object, self.form()?.1))
    }

    fn log(&self, name: &str) -> Result<Answer, ApiError> {
        let pod = self.api.engine.read(&self.kind, self.namespace()?, name);
        let pod = pod.ok_or_else(|| ApiError::not_found(&self.kind, name))?;
        let text = crate::simulate::log(&pod, self.query.value("container"))?;
        Ok(Answer::text(text))
    }

    async fn evict(&self, name: &str) -> Result<Answer, ApiError> {
        let asked = negotiate::object(self.call, "Eviction")?;
        let options = self.query.delete_options(&asked["deleteOptions"])?;
        let deleted = self.api.engine.delete(&self.kind, self.namespace()?, name, &options)?;
        self.api.engine.durable(deleted.revision).await?;
        let success = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success"});
        Ok(Answer::json(&success).with_code(StatusCode::CREATED))
    }
}

/// Kinds whose delete answers with the object even when it is gone.
fn returns_deleted(kind: &Kind) -> bool {
    let kinds = [
        "Pod",
        "Service",
        "ServiceAccount",
        "PersistentVolume",
        "PersistentVolumeClaim",
        "ReplicationController",
    ];
    kind.group.is_empty() && kinds.contains(&kind.kind.as_str())
}
