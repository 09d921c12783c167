//! A Kubernetes API in one process: for the quick start, for tests, and for the simulation of thousands of
//! clusters in one process. Never production storage.
//!
//! ```text
//!   kube::Client ----tower----+                  +-- fields   who owns which field (server-side apply)
//!                             v                  +-- patch    merge, JSON and strategic merge patch
//!   kubectl --HTTP--> http (ApiService) --> engine -- schema  structural schemas: default, prune, validate
//!                                           |  |
//!       controllers, simulate --------------+  +--> registry  ONE table of built-in kinds, plus CRDs
//!       (garbage, namespaces, workloads)    |
//!                                           +-----> storage   revisions, history rings, SQLite
//! ```
//!
//! # Why
//! - **Objects are kept encoded** (`Bytes`): a decoded tree costs five to ten times as much, lists and watches
//!   send the very bytes, and a thousand clusters fit into one process.
//! - **One writer per cluster** (a mutex around read, compute, store): no retry loops inside, one monotonic
//!   `resourceVersion`, and a write reaches its watchers in microseconds.
//! - **No threads and no timers per cluster**: one task runs all controllers of a cluster and sleeps until
//!   something changed.
//! - **Durability** (`Storage::Disk`): SQLite in WAL mode with `synchronous = NORMAL` and group commit. An
//!   answered write survives `kill -9`; a power cut may lose the last moments, which is right for a quick start.
//!
//! # Not here
//! Webhooks, quotas and limit ranges are stored and not enforced; authorization allows everything to whoever has the
//! token; there is no exec, attach or port-forward, no `/openapi/v2`, no conversion between versions of a custom
//! kind but strategy `None`. Protobuf bodies are read for the kinds that `http::protobuf` lists, answers are JSON.
//! `tests/differential` holds the answers against a real kube-apiserver and names the known differences.

mod clock;
mod cluster;
mod controllers;
mod engine;
mod error;
pub mod fields;
mod http;
mod names;
mod object;
pub mod patch;
mod registry;
pub mod schema;
mod selector;
mod simulate;
mod storage;
mod table;
mod timers;

pub use cluster::{Cluster, OpenError, Options, ServeError, Storage};
pub use http::{ApiBody, ApiService};
pub use simulate::Simulate;
