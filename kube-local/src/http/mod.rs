//! HTTP in front of the engine: a `tower::Service` that kube-rs calls in process and hyper calls for kubectl.

mod body;
mod discovery;
mod negotiate;
mod openapi;
mod protobuf;
mod query;
mod resource;
mod respond;
mod route;
mod server;
mod watch;

use std::convert::Infallible;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use ::http::{Method, Request, Response};
use bytes::{Buf, Bytes};
use hyper::body::Body;

pub use body::ApiBody;
pub(crate) use server::{TOKEN_PATH, serve};

use crate::engine::Engine;
use crate::error::ApiError;
use query::Query;
use respond::Answer;
use route::Route;

/// Bodies larger than this are refused, as kube-apiserver refuses them.
pub(crate) const BODY_BYTES_MAX: usize = 3 * 1024 * 1024;

/// The API of one cluster as a `tower::Service`, for any request body. Cloning is cheap.
#[derive(Debug, Clone)]
pub struct ApiService {
    api: Arc<Api>,
}

#[derive(Debug)]
pub(crate) struct Api {
    pub(crate) engine: Arc<Engine>,
    pub(crate) version: String,
}

impl ApiService {
    pub(crate) fn new(api: Arc<Api>) -> Self {
        Self { api }
    }
}

type Answering = Pin<Box<dyn Future<Output = Result<Response<ApiBody>, Infallible>> + Send>>;

impl<B> tower::Service<Request<B>> for ApiService
where
    B: Body + Send + 'static,
    B::Data: Buf + Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    type Response = Response<ApiBody>;
    type Error = Infallible;
    type Future = Answering;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Answering {
        let api = self.api.clone();
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let answer = match body::read(body).await {
                Ok(body) => api.answer(&Call { head, body }).await,
                Err(error) => Err(error),
            };
            Ok(answer.map_or_else(|error| respond::status(&error), Answer::into_response))
        })
    }
}

/// A request whose body has arrived.
pub(crate) struct Call {
    head: ::http::request::Parts,
    body: Bytes,
}

impl Call {
    fn header(&self, name: ::http::HeaderName) -> Option<&str> {
        self.head.headers.get(name)?.to_str().ok()
    }

    fn content_type(&self) -> &str {
        let header = self.header(::http::header::CONTENT_TYPE).unwrap_or_default();
        header.split(';').next().unwrap_or_default().trim()
    }

    fn accept(&self) -> &str {
        self.header(::http::header::ACCEPT).unwrap_or("application/json")
    }
}

impl Api {
    async fn answer(&self, call: &Call) -> Result<Answer, ApiError> {
        let query = Query::parse(call.head.uri.query().unwrap_or_default());
        let route = route::parse(call.head.uri.path())?;
        if let Route::Resource(path) = route {
            return resource::answer(self, call, &query, path).await;
        }
        if call.head.method != Method::GET && call.head.method != Method::HEAD {
            return Err(ApiError::method_not_allowed());
        }
        match route {
            Route::Health => Ok(Answer::text("ok")),
            Route::Version => Ok(Answer::json(&discovery::version(&self.version))),
            Route::Root => Ok(Answer::json(&discovery::root(&self.engine.registry()))),
            Route::Api => Ok(discovery::api(&self.engine.registry(), call.accept())),
            Route::Apis => Ok(discovery::apis(&self.engine.registry(), call.accept())),
            Route::Group(group) => discovery::group(&self.engine.registry(), &group),
            Route::Resources(group, version) => {
                discovery::resources(&self.engine.registry(), &group, &version)
            }
            Route::OpenApi => Ok(Answer::json(&openapi::index(&self.engine.registry()))),
            Route::OpenApiDocument(group, version) => {
                openapi::document(&self.engine.registry(), &group, &version, &self.version)
            }
            Route::Resource(_) => Err(ApiError::no_such_path()),
        }
    }
}
