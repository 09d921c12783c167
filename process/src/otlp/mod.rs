//! The program's own telemetry by OTLP over HTTP: spans, log records and metrics, to the collector it was given.
//!
//! ```text
//!  tracing spans  -> layer -> SDK span   -> Queue -> task -> exporter -> POST /v1/traces
//!  tracing events -> layer -> SDK record -> Queue -> task -> exporter -> POST /v1/logs
//!  Registry -------------------- every interval ---> task ------------> POST /v1/metrics
//! ```
//!
//! # Why
//! - Without an address nothing is made: no layer, no queue, no task; spans are below the level that logs show
//!   and cost one comparison. An edge counts its megabytes.
//! - The queues are ours and not the SDK's: theirs have a thread each and keep what they dropped to themselves.
//!   What was dropped is in `skein_own_telemetry_items_total`.
//! - Metrics are read from [`crate::Registry`], which serves `/metrics` and the edge's spool as well; the SDK
//!   would ask for each to be counted twice.
//! - What the exporters and the layers below them do is not told by OTLP: a request would beget a request.
//! - A receiver that is away costs telemetry, never the program: nobody waits for a queue, an export has a time
//!   limit, and at the end what is left has [`FLUSH_DEADLINE`].

mod metrics;
mod queue;
mod settings;

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_appender_tracing::layer::OpenTelemetryTracingBridge;
use opentelemetry_otlp::{Protocol, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::logs::{LogBatch, LogExporter, LogProcessor, SdkLogRecord, SdkLoggerProvider};
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceDetector as _};
use opentelemetry_sdk::trace::{SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Layer as _;

use crate::Process;
use crate::arguments::Common;
use crate::logs::Layer;
use queue::{Outcomes, Queue, SEND_MAX, empty};
use settings::{Batching, Settings, Signal};

/// How long what is left may take to be sent when the program ends.
pub(crate) const FLUSH_DEADLINE: Duration = Duration::from_secs(1);

/// Crates whose spans tell the story of a change; those of libraries below are noise to whoever reads a trace.
const STORY: [&str; 8] =
    ["hub", "regional_agent", "edge_agent", "render", "state", "link", "identity", "process"];

/// What carries the exports themselves.
const CARRIER: &str = "opentelemetry=off,opentelemetry_sdk=off,opentelemetry_otlp=off,opentelemetry_http=off,\
                       reqwest=off,hyper=off,hyper_util=off,h2=off,rustls=off";

/// A log record and who made it.
type Entry = (SdkLogRecord, InstrumentationScope);

/// A signal's queue between its layer and its task.
struct Lane<T> {
    receiver: mpsc::Receiver<T>,
    batching: Batching,
    outcomes: Outcomes,
}

/// What is to be exported; made before the runtime, because logs begin before it.
pub(crate) struct Export {
    settings: Settings,
    resource: Resource,
    traces: Option<Lane<SpanData>>,
    logs: Option<Lane<Entry>>,
}

/// The tasks that export.
pub(crate) struct Exporting {
    tasks: TaskTracker,
    end: CancellationToken,
    metrics: Option<metrics::Sender>,
}

impl Export {
    /// Reads what is wanted and adds to `layers` what takes spans and log records; `None` when nothing is wanted.
    pub(crate) fn prepare(name: &str, common: &Common, layers: &mut Vec<Layer>) -> Option<Self> {
        let variable = |name: &str| std::env::var(name).ok();
        let settings = Settings::read(common.otlp_endpoint.as_deref(), variable);
        if !settings.any() && settings.problems.is_empty() {
            return None;
        }
        let resource = resource(name);
        let mut export = Self { settings, resource, traces: None, logs: None };
        if export.settings.traces.is_some() {
            let (queue, lane) = lane(Batching::read(Signal::Traces, variable));
            let provider = SdkTracerProvider::builder()
                .with_resource(export.resource.clone())
                .with_span_processor(Spans(queue))
                .build();
            let story = filter_fn(|metadata| {
                let of = metadata.target().split("::").next().unwrap_or_default();
                metadata.is_span() && *metadata.level() <= tracing::Level::DEBUG && STORY.contains(&of)
            });
            let layer = tracing_opentelemetry::layer()
                .with_tracer(provider.tracer("skein"))
                .with_threads(false)
                .with_location(false)
                .with_tracked_inactivity(false)
                .with_filter(story.with_max_level_hint(tracing::level_filters::LevelFilter::DEBUG));
            layers.push(Box::new(layer));
            export.traces = Some(lane);
        }
        if export.settings.logs.is_some() {
            let (queue, lane) = lane(Batching::read(Signal::Logs, variable));
            let provider = SdkLoggerProvider::builder()
                .with_resource(export.resource.clone())
                .with_log_processor(Records(queue))
                .build();
            let filter = crate::logs::filter(&common.log, CARRIER).0;
            layers.push(Box::new(OpenTelemetryTracingBridge::new(&provider).with_filter(filter)));
            export.logs = Some(lane);
        }
        Some(export)
    }

    /// Begins to send; within a runtime.
    pub(crate) fn start(self, process: &Process) -> Exporting {
        for problem in &self.settings.problems {
            tracing::warn!("own telemetry: {problem}");
        }
        let (tasks, end) = (TaskTracker::new(), CancellationToken::new());
        if let (Some(lane), Some(url)) = (self.traces, &self.settings.traces) {
            match span_exporter(url, &self.resource) {
                Ok(exporter) => lane.start(Signal::Traces, process, &tasks, &end, move |batch| {
                    let exporter = Arc::clone(&exporter);
                    async move { exporter.export(batch).await }
                }),
                Err(error) => tracing::warn!(url, error, "own traces are not exported"),
            }
        }
        if let (Some(lane), Some(url)) = (self.logs, &self.settings.logs) {
            match log_exporter(url, &self.resource) {
                Ok(exporter) => lane.start(Signal::Logs, process, &tasks, &end, move |batch: Vec<Entry>| {
                    let exporter = Arc::clone(&exporter);
                    async move {
                        let batch: Vec<_> = batch.iter().map(|(record, scope)| (record, scope)).collect();
                        exporter.export(LogBatch::new(&batch)).await
                    }
                }),
                Err(error) => tracing::warn!(url, error, "own logs are not exported"),
            }
        }
        let metrics = metrics::Sender::new(&self.settings, &self.resource, &process.metrics);
        if let Some(sender) = &metrics {
            tasks.spawn(sender.clone().run(end.clone()));
        }
        Exporting { tasks, end, metrics }
    }
}

impl Exporting {
    /// What metrics are last, while their sources are still there.
    pub(crate) fn last_metrics(&self) -> Option<Vec<u8>> {
        self.metrics.as_ref().map(metrics::Sender::body)
    }

    /// Sends what is left, at most for [`FLUSH_DEADLINE`] and `rest`.
    pub(crate) async fn finish(self, last_metrics: Option<Vec<u8>>, rest: Duration) {
        self.end.cancel();
        if let (Some(sender), Some(body)) = (self.metrics, last_metrics) {
            self.tasks.spawn(async move { sender.send(body).await });
        }
        self.tasks.close();
        if tokio::time::timeout(rest.min(FLUSH_DEADLINE), self.tasks.wait()).await.is_err() {
            tracing::debug!("the receiver of own telemetry did not take the rest in time");
        }
    }
}

impl<T: Send + 'static> Lane<T> {
    fn start<F, Fut>(
        self,
        signal: Signal,
        process: &Process,
        tasks: &TaskTracker,
        end: &CancellationToken,
        export: F,
    ) where
        F: Fn(Vec<T>) -> Fut + Send + Sync + 'static,
        Fut: Future<Output = OTelSdkResult> + Send + 'static,
    {
        let Self { receiver, batching, outcomes } = self;
        let measured = outcomes.clone();
        process.metrics.source(move |gathering| measured.measure(signal, gathering));
        let send = move |batch| {
            let exported = tokio::time::timeout(SEND_MAX, export(batch));
            async move {
                match exported.await {
                    Ok(result) => result.map_err(|error| error.to_string()),
                    Err(_) => Err(format!("no answer within {} s", SEND_MAX.as_secs())),
                }
            }
        };
        tasks.spawn(empty(signal, receiver, batching, outcomes, end.clone(), send));
    }
}

/// Finished spans, into their queue.
#[derive(Debug)]
struct Spans(Queue<SpanData>);

impl SpanProcessor for Spans {
    fn on_start(&self, _: &mut Span, _: &opentelemetry::Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.put(span);
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Log records, into their queue.
#[derive(Debug)]
struct Records(Queue<Entry>);

impl LogProcessor for Records {
    fn emit(&self, record: &mut SdkLogRecord, scope: &InstrumentationScope) {
        self.0.put((record.clone(), scope.clone()));
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

fn lane<T>(batching: Batching) -> (Queue<T>, Lane<T>) {
    let outcomes = Outcomes::default();
    let (queue, receiver) = Queue::new(&batching, outcomes.clone());
    (queue, Lane { receiver, batching, outcomes })
}

fn span_exporter(url: &str, resource: &Resource) -> Result<Arc<opentelemetry_otlp::SpanExporter>, String> {
    let builder = opentelemetry_otlp::SpanExporter::builder().with_http();
    let built = builder.with_protocol(Protocol::HttpBinary).with_endpoint(url).build();
    let mut exporter = built.map_err(|error| error.to_string())?;
    exporter.set_resource(resource);
    Ok(Arc::new(exporter))
}

fn log_exporter(url: &str, resource: &Resource) -> Result<Arc<opentelemetry_otlp::LogExporter>, String> {
    let builder = opentelemetry_otlp::LogExporter::builder().with_http();
    let built = builder.with_protocol(Protocol::HttpBinary).with_endpoint(url).build();
    let mut exporter = built.map_err(|error| error.to_string())?;
    exporter.set_resource(resource);
    Ok(Arc::new(exporter))
}

/// Who tells: `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` come before what the program knows of itself.
fn resource(name: &str) -> Resource {
    let own = [
        KeyValue::new("service.name", name.to_owned()),
        KeyValue::new("service.namespace", "skein"),
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", uuid::Uuid::new_v4().to_string()),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ];
    let given = EnvResourceDetector::new().detect();
    let given = given.iter().map(|(key, value)| KeyValue::new(key.clone(), value.clone()));
    let service = std::env::var("OTEL_SERVICE_NAME").ok().filter(|name| !name.is_empty());
    let service = service.map(|name| KeyValue::new("service.name", name));
    Resource::builder_empty().with_attributes(own).with_attributes(given).with_attributes(service).build()
}
