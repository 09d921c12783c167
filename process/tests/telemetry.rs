//! A program's own telemetry, as a collector gets it. The program is this test binary once more, started with
//! `SKEIN_TEST_PROGRAM`: subscribers and signals belong to a process.
#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stderr)]

use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, Uri};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as AnyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use rustix::process::{Pid, Signal, kill_process};
use tokio_util::task::TaskTracker;

const PROGRAM: &str = "SKEIN_TEST_PROGRAM";

/// What the program does when this binary is started as one.
#[test]
fn program() {
    let Ok(what) = std::env::var(PROGRAM) else { return };
    let common = process::Common { log: "info".to_owned(), ..process::Common::default() };
    let code = process::run("tester", common, async move |process| {
        let things = process.metrics.counter("skein_things_total", "Things.");
        let plan = tracing::debug_span!(target: "hub", "plan", generation = "1.2").entered();
        tracing::debug_span!(target: "hub", "sign").in_scope(|| things.increment());
        tracing::info!(thing = 7, "a thing happened");
        drop(plan);
        if what == "flood" {
            (0..10_000).for_each(|thing| tracing::info!(thing, "one of many"));
            let text = process::metrics::exposition(&process.metrics.gather());
            std::fs::write(std::env::var("SKEIN_TEST_FILE")?, text)?;
        }
        eprintln!("running");
        Ok(())
    });
    assert_eq!(format!("{code:?}"), format!("{:?}", std::process::ExitCode::SUCCESS));
}

#[derive(Clone, Default)]
struct Collector(Arc<Mutex<Vec<(String, HeaderMap, Bytes)>>>);

impl Collector {
    async fn start(&self) -> String {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = Router::new()
            .fallback(async |State(all): State<Collector>, uri: Uri, headers: HeaderMap, body: Bytes| {
                all.0.lock().unwrap().push((uri.path().to_owned(), headers, body));
                StatusCode::OK
            })
            .layer(DefaultBodyLimit::max(64 << 20))
            .with_state(self.clone());
        TaskTracker::new().spawn(async move { axum::serve(listener, router).await.unwrap() });
        format!("http://{address}")
    }

    fn at<T: prost::Message + Default>(&self, path: &str) -> Vec<T> {
        let all = self.0.lock().unwrap();
        all.iter().filter(|one| one.0 == path).map(|one| T::decode(one.2.clone()).unwrap()).collect()
    }
}

fn start(what: &str, endpoint: &str, variables: &[(&str, &str)]) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "program", "--nocapture"])
        .env(PROGRAM, what)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        .envs(variables.iter().copied())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the program runs, ends it in order, and tells what it logged and how long its end took.
async fn end(mut child: Child) -> (String, Duration) {
    tokio::task::spawn_blocking(move || {
        use std::io::{BufRead as _, BufReader, Read as _};
        let mut lines = BufReader::new(child.stderr.take().unwrap());
        let mut log = String::new();
        while !log.ends_with("running\n") {
            assert!(lines.read_line(&mut log).unwrap() > 0, "the program ended: {log}");
        }
        kill_process(Pid::from_child(&child), Signal::TERM).unwrap();
        let since = std::time::Instant::now();
        lines.read_to_string(&mut log).unwrap();
        assert!(child.wait().unwrap().success(), "{log}");
        (log, since.elapsed())
    })
    .await
    .unwrap()
}

fn attribute(resource: Option<&Resource>, key: &str) -> Option<String> {
    let attributes = &resource?.attributes;
    let value = attributes.iter().find(|one| one.key == key)?.value.clone()?.value?;
    let AnyValue::StringValue(text) = value else { panic!("{key} is {value:?}") };
    Some(text)
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_logs_and_metrics_arrive_with_their_resource_when_the_program_ends() {
    let collector = Collector::default();
    let url = collector.start().await;
    let variables = [
        ("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=lab,service.name=overridden"),
        ("OTEL_SERVICE_NAME", "till"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20b"),
    ];
    end(start("usual", &url, &variables)).await;

    let traces: Vec<ExportTraceServiceRequest> = collector.at("/v1/traces");
    let of_spans = &traces[0].resource_spans[0];
    let spans: Vec<_> = of_spans.scope_spans.iter().flat_map(|scope| &scope.spans).collect();
    let named = |name: &str| *spans.iter().find(|span| span.name == name).unwrap();
    assert_eq!(named("sign").parent_span_id, named("plan").span_id);
    assert_eq!(named("sign").trace_id, named("plan").trace_id);
    assert_eq!(named("plan").attributes.iter().filter(|one| one.key == "generation").count(), 1);

    let logs: Vec<ExportLogsServiceRequest> = collector.at("/v1/logs");
    let of_logs: Vec<_> = logs.iter().flat_map(|request| &request.resource_logs).collect();
    let records = of_logs.iter().flat_map(|of| &of.scope_logs).flat_map(|scope| &scope.log_records);
    let record = records
        .clone()
        .find(|record| format!("{:?}", record.body).contains("a thing happened"))
        .expect("the log record");
    assert_eq!(record.trace_id, named("plan").trace_id, "a record belongs to its span");
    assert_eq!(record.severity_text, "INFO");

    let metrics: Vec<ExportMetricsServiceRequest> = collector.at("/v1/metrics");
    let of_metrics = &metrics.last().unwrap().resource_metrics[0];
    let names: Vec<_> = of_metrics.scope_metrics[0].metrics.iter().map(|one| one.name.as_str()).collect();
    assert!(names.contains(&"skein_things_total"), "the last values are sent at the end: {names:?}");

    for resource in [&of_spans.resource, &of_logs[0].resource, &of_metrics.resource] {
        let of = |key| attribute(resource.as_ref(), key);
        assert_eq!(of("service.name").as_deref(), Some("till"));
        assert_eq!(of("deployment.environment.name").as_deref(), Some("lab"));
        assert_eq!(of("service.namespace").as_deref(), Some("skein"));
        assert!(of("service.instance.id").is_some());
    }
    let all = collector.0.lock().unwrap();
    assert!(all.iter().all(|(_, headers, _)| headers["x-key"] == "a b"), "{all:?}");
    let carried = records.filter(|record| format!("{record:?}").contains("hyper")).count();
    assert_eq!(carried, 0, "the exporter's own requests are not told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_receiver_that_takes_nothing_costs_telemetry_and_not_the_program() {
    // Accepts connections and never answers.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let file = tempfile::NamedTempFile::new().unwrap();
    let path = file.path().to_str().unwrap().to_owned();
    let variables = [("SKEIN_TEST_FILE", path.as_str()), ("OTEL_BLRP_MAX_QUEUE_SIZE", "1000")];
    let (log, took) = end(start("flood", &url, &variables)).await;
    assert!(log.contains("tester is ending"), "{log}");
    assert!(took < Duration::from_secs(5), "the end took {took:?}");
    let metrics = std::fs::read_to_string(&path).unwrap();
    let line = metrics
        .lines()
        .find(|line| line.contains("items_total{outcome=\"overflowed\",signal=\"logs\"}"))
        .expect("what was dropped is counted");
    let dropped: u64 = line.rsplit(' ').next().unwrap().parse().unwrap();
    assert!(dropped > 0 && dropped <= 10_000, "{dropped}");
    drop(listener);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_spoken_is_said_and_the_program_goes_on() {
    let (log, _) =
        end(start("usual", "http://127.0.0.1:1", &[("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")])).await;
    assert!(log.contains("only \"http/protobuf\" is spoken"), "{log}");
}
