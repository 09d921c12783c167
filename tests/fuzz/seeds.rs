//! The first inputs of each corpus: whole and sound ones, so that a search begins behind the first checks.

use std::io::Write as _;
use std::path::Path;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message as _;
use protocol::codec::{Wire, encode};
use protocol::message::{BlobPart, Request};
use telemetry::promql::{Grid, Value};
use telemetry::query::{Answered, QueryAnswer, QueryRequest, SeriesFilter};
use telemetry::{Batch, Labels, Sample, Series};

use crate::targets::MESH;

/// Of the golden files, the lane whose frames they hold.
const LANES: [(&str, u8); 9] = [
    ("blob", 2),
    ("control-", 0),
    ("hello", 0),
    ("refused", 0),
    ("request-join", 5),
    ("request-", 3),
    ("response-", 4),
    ("telemetry-", 1),
    ("welcome", 0),
];

/// Of the golden bodies, the place of their type in the target's list.
const BODIES: [(&str, u8); 15] = [
    ("body-chart-head", 3),
    ("body-edge-table", 5),
    ("body-endpoint-list", 35),
    ("body-endpoint-priorities", 36),
    ("body-findings", 8),
    ("body-lacks", 33),
    ("body-leeways", 14),
    ("body-placement", 6),
    ("body-plan-body", 15),
    ("body-plan-header", 17),
    ("body-report", 22),
    ("body-signed-plan", 25),
    ("body-speaks", 34),
    ("body-standings", 26),
    ("body-trust-bundle", 31),
];

type Seed = (&'static str, String, Vec<u8>);

/// Target, file and content of each.
pub(crate) fn all() -> Vec<Seed> {
    let mut out = golden();
    out.extend(identities());
    out.extend(measurements());
    out.extend(texts());
    out
}

/// Writes them.
pub(crate) fn write(corpora: &Path) {
    for (target, file, bytes) in all() {
        let folder = corpora.join(target);
        std::fs::create_dir_all(&folder).expect("a folder for a corpus");
        std::fs::write(folder.join(file), bytes).expect("a file for an input");
    }
}

fn seed(target: &'static str, name: &str, bytes: impl Into<Vec<u8>>) -> Seed {
    (target, format!("seed-{name}"), bytes.into())
}

fn under(number: u8, bytes: &[u8]) -> Vec<u8> {
    [&[number], bytes].concat()
}

fn golden() -> Vec<Seed> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../protocol/tests/golden");
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the golden files are there") {
        let path = entry.expect("they can be read").path();
        if path.is_dir() {
            // Frames of before: the same bytes, or they would have been refused.
            continue;
        }
        let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let text = std::fs::read_to_string(&path).expect("a golden file is text");
        let Ok(bytes) = hex::decode(text.replace('\n', "")) else { continue };
        if let Some((_, number)) = BODIES.iter().find(|(body, _)| *body == name) {
            out.push(seed("bodies", &name, under(*number, &bytes)));
        }
        let Some((_, lane)) = LANES.iter().find(|(start, _)| name.starts_with(start)) else { continue };
        out.push(seed("frames", &name, under(*lane, &under(200, &bytes))));
        match name.as_str() {
            // Behind the header of the frame.
            "hello" => out.push(seed("bodies", "hello", under(9, &bytes[16..]))),
            "welcome" => out.push(seed("session", "welcome", under(255, &bytes))),
            _ => {}
        }
        if name == "hello" || name.starts_with("control-") {
            out.push(seed("session", &name, under(if name == "hello" { 254 } else { 255 }, &bytes)));
        }
    }
    out
}

fn wire<T: Wire>(target: &'static str, name: &str, number: Option<u8>, value: &T) -> Seed {
    let bytes = encode(value);
    seed(target, name, number.map_or_else(|| bytes.to_vec(), |number| under(number, &bytes)))
}

fn identities() -> Vec<Seed> {
    let mesh = &*MESH;
    let certificate = mesh.granted.chain[0].to_vec();
    vec![
        seed("token", "sound", mesh.token.to_string()),
        seed("token", "prefix", "skein1."),
        seed("csr", "sound", mesh.joining.csr.to_vec()),
        seed("csr", "certificate", certificate.clone()),
        wire("join", "sound", None, &mesh.joining),
        wire("grant", "join", Some(0), &mesh.granted),
        wire("grant", "renew", Some(1), &mesh.renewed),
        wire("recover", "renew", Some(0), &mesh.renewing),
        wire("recover", "return", Some(1), &Request::Recover(mesh.returning.clone())),
        seed("certificate", "leaf", certificate.clone()),
        seed("certificate", "root", mesh.granted.trust.roots[0].to_vec()),
        seed("issuer", "root", mesh.granted.trust.roots[0].to_vec()),
        seed("issuer", "leaf", certificate),
        wire("trust", "sound", None, &mesh.granted.trust),
        wire("signed", "plan", Some(0), &mesh.plan),
        wire("signed", "table", Some(1), &mesh.table),
        wire("signed", "placement", Some(2), &mesh.placement),
        wire("signed", "endpoints", Some(3), &mesh.endpoints),
        seed("sealed", "sound", mesh.sealed.to_vec()),
    ]
}

fn samples() -> Batch {
    let series = |name: &str, step: i64| {
        let labels = [("__name__", name), ("job", "node"), ("instance", "a:9100")];
        let samples = (0..40_i32)
            .map(|at| Sample { at: 1_790_000_000_000 + i64::from(at) * step, value: f64::from(at) * 0.25 });
        Series { labels: Labels::from_pairs(labels), samples: samples.collect() }
    };
    Batch { series: vec![series("up", 15_000), series("node_cpu_seconds_total", 15_001)] }
}

const OTLP: &str = r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
"scopeMetrics":[{"scope":{"name":"a"},"metrics":[
{"name":"orders","unit":"1","sum":{"aggregationTemporality":1,"isMonotonic":true,"dataPoints":[{"timeUnixNano":"1790000000000000000","asInt":"3","attributes":[{"key":"k","value":{"boolValue":true}}]}]}},
{"name":"heat","unit":"Cel","gauge":{"dataPoints":[{"timeUnixNano":"1790000000000000000","asDouble":21.5}]}},
{"name":"took","unit":"s","histogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1790000000000000000","count":"3","sum":1.5,"bucketCounts":["1","2"],"explicitBounds":[0.5]}]}},
{"name":"sizes","exponentialHistogram":{"aggregationTemporality":2,"dataPoints":[{"timeUnixNano":"1790000000000000000","count":"2","sum":3.0,"scale":1,"zeroCount":"0","positive":{"offset":0,"bucketCounts":["1","1"]}}]}},
{"name":"parts","summary":{"dataPoints":[{"timeUnixNano":"1790000000000000000","count":"2","sum":3.0,"quantileValues":[{"quantile":0.5,"value":1.0}]}]}}]}]}]}"#;

fn measurements() -> Vec<Seed> {
    let batch = telemetry::wire::encode(&samples());
    let request: ExportMetricsServiceRequest = serde_json::from_str(OTLP).expect("the request is one");
    let request = request.encode_to_vec();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gzip.write_all(&request).expect("memory takes all");
    let gzip = gzip.finish().expect("memory takes all");
    let content = br#"{"kind":"ConfigMap","data":{"a":"two","b":"two"}}"#;
    let grid = Grid { start: 0, end: 600_000, step: 60_000 };
    let filter = SeriesFilter { selectors: Vec::new(), start: 0, end: 600_000, limit: 0 };
    let answer = |result| QueryAnswer { result, edges: Vec::new(), notes: vec!["a note".to_owned()] };
    let found = answer(Ok(Answered::Value(Value::Samples(samples().series))));
    let names = answer(Ok(Answered::Names(vec!["job".to_owned()])));
    vec![
        seed("batch", "two-series", batch.to_vec()),
        seed("batch", "empty", telemetry::wire::encode(&Batch::default()).to_vec()),
        seed("chunk", "forty", telemetry::chunk::encode(&samples().series[0].samples)),
        seed("ledger", "empty", telemetry::cost::Ledger::default().encode()),
        seed("otlp-json", "all-kinds", OTLP),
        seed("otlp-protobuf", "all-kinds", request),
        seed("otlp-gzip", "all-kinds", gzip),
        wire("blob", "whole", None, &BlobPart::make(content, None)),
        seed("query", "names", QueryRequest::LabelNames(filter.clone()).encode()),
        seed("query", "values", QueryRequest::LabelValues { label: "job".to_owned(), filter }.encode()),
        seed("query", "answer-samples", found.encode(grid)),
        seed("query", "answer-names", names.encode(grid)),
    ]
}

fn texts() -> Vec<Seed> {
    vec![
        seed(
            "exposition",
            "counters",
            "# HELP a_total What.\n# TYPE a_total counter\na_total{x=\"y\\n\",z=\"\\\"\"} 1e3 1790000000000\nb 0x1p-2\nc NaN\n",
        ),
        seed(
            "promql",
            "rate",
            "sum by (job) (rate(http_requests_total{job=~\"a.*\",x!=\"y\"}[5m] offset 1h)) / 2 > bool 3",
        ),
        seed(
            "promql",
            "quantile",
            "histogram_quantile(0.9, sum(rate(a_bucket[1m])) without (b)) or vector(1)",
        ),
        seed("promql", "window", "2026-11-01T00:00:00Z,7d"),
        seed("proxy", "granted", "HTTP/1.1 200 Connection established\r\nVia: a\r\n\r\n\x16\x03\x01"),
        seed(
            "proxy",
            "refused",
            "HTTP/1.1 407 Proxy Authentication Required\r\nProxy-Authenticate: Basic\r\n\r\n",
        ),
        seed("proxy", "url", "http://user:pa%20ss@[fd00::1]:3128/"),
        seed("upgrade", "granted", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: connect-udp\r\n\r\n"),
        seed(
            "upgrade",
            "asked",
            "GET /.well-known/masque/udp/hub.example/8443/ HTTP/1.1\r\nHost: hub.example:8443\r\nConnection: Upgrade\r\n\
             Upgrade: connect-udp\r\nCapsule-Protocol: ?1\r\n\r\n",
        ),
        seed("capsules", "three", under(7, &[0x29, 3, 9, 9, 9, 0, 2, 2, 7, 0, 0x40, 3, 0, 8, 9])),
    ]
}
