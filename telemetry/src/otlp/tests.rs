//! OTLP requests to series.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram,
    HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary,
    SummaryDataPoint, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;

use super::*;
use crate::sample::is_stale;

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) });
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn number(at_ms: u64, value: f64, attributes: Vec<KeyValue>) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        time_unix_nano: at_ms * 1_000_000,
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn request(resource: Vec<KeyValue>, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let resource = Some(Resource { attributes: resource, ..Resource::default() });
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }
}

fn sum(points: Vec<NumberDataPoint>, temporality: AggregationTemporality, is_monotonic: bool) -> Data {
    Data::Sum(Sum { data_points: points, aggregation_temporality: temporality as i32, is_monotonic })
}

/// `labels value@time ...` for each series.
fn lines(batch: &Batch) -> Vec<String> {
    batch
        .series
        .iter()
        .map(|series| {
            let samples: Vec<String> =
                series.samples.iter().map(|sample| format!("{}@{}", sample.value, sample.at)).collect();
            format!("{} {}", series.labels, samples.join(" "))
        })
        .collect()
}

fn convert(metrics: Vec<Metric>) -> (Vec<String>, Rejected) {
    let (batch, rejected, _) = Converter::default().decode_metrics(request(Vec::new(), metrics), 99);
    (lines(&batch), rejected)
}

#[test]
fn a_resource_becomes_job_instance_promoted_labels_and_target_info() {
    let resource = vec![
        text("service.name", "web"),
        text("service.namespace", "shop"),
        text("service.instance.id", "web-1"),
        text("k8s.pod.name", "web-1-abc"),
        text("os.type", "linux"),
    ];
    let gauge = Gauge { data_points: vec![number(5_000, 0.5, vec![text("http.method", "GET")])] };
    let metrics = vec![metric("system.cpu.utilization", "1", Data::Gauge(gauge))];
    let (batch, rejected, _) = Converter::default().decode_metrics(request(resource, metrics), 0);
    assert_eq!(
        lines(&batch),
        [
            r#"system_cpu_utilization_ratio{http_method="GET", instance="web-1", job="shop/web", k8s_pod_name="web-1-abc", service_instance_id="web-1", service_name="web", service_namespace="shop"} 0.5@5000"#,
            r#"target_info{instance="web-1", job="shop/web", k8s_pod_name="web-1-abc", os_type="linux"} 1@5000"#,
        ]
    );
    assert_eq!(rejected, Rejected::default());
}

#[test]
fn attributes_that_become_one_label_are_joined_and_values_of_every_type_are_text() {
    let int = KeyValue {
        key: "n".to_owned(),
        value: Some(AnyValue { value: Some(any_value::Value::IntValue(-7)) }),
        ..KeyValue::default()
    };
    let attributes = vec![text("a.b", "2"), text("a-b", "1"), int];
    let (series, _) =
        convert(vec![metric("x", "", Data::Gauge(Gauge { data_points: vec![number(0, 1.0, attributes)] }))]);
    assert_eq!(series, [r#"x{a_b="1;2", n="-7"} 1@99"#], "a point without a time gets that of its arrival");
}

#[test]
fn a_histogram_becomes_cumulative_buckets_sum_and_count() {
    let point = HistogramDataPoint {
        time_unix_nano: 1_000_000_000,
        count: 6,
        sum: Some(4.5),
        explicit_bounds: vec![0.1, 1.0],
        bucket_counts: vec![1, 2, 3],
        ..HistogramDataPoint::default()
    };
    let histogram = |point: HistogramDataPoint| {
        Data::Histogram(Histogram {
            data_points: vec![point],
            aggregation_temporality: AggregationTemporality::Cumulative as i32,
        })
    };
    let (series, _) = convert(vec![metric("latency", "s", histogram(point.clone()))]);
    assert_eq!(
        series,
        [
            r#"latency_seconds_bucket{le="+Inf"} 6@1000"#,
            r#"latency_seconds_bucket{le="0.1"} 1@1000"#,
            r#"latency_seconds_bucket{le="1"} 3@1000"#,
            "latency_seconds_count 6@1000",
            "latency_seconds_sum 4.5@1000",
        ]
    );
    let crooked = HistogramDataPoint { bucket_counts: vec![1], ..point };
    let (series, rejected) = convert(vec![metric("latency", "s", histogram(crooked))]);
    assert!(series.is_empty());
    assert_eq!(
        rejected.message(),
        "a data point of histogram \"latency_seconds\" has 2 bounds and 1 counts, rising bounds and one count more are accepted"
    );
}

#[test]
fn delta_sums_are_added_up_across_requests() {
    let delta = |value| sum(vec![number(1_000, value, vec![])], AggregationTemporality::Delta, true);
    let mut converter = Converter::new(1);
    let mut convert = |value| {
        let (batch, rejected, _) =
            converter.decode_metrics(request(vec![], vec![metric("hits", "", delta(value))]), 0);
        (lines(&batch), rejected.points)
    };
    assert_eq!(convert(3.0), (vec!["hits_total 3@1000".to_owned()], 0));
    assert_eq!(convert(4.0), (vec!["hits_total 7@1000".to_owned()], 0));
    let (batch, rejected, _) =
        converter.decode_metrics(request(vec![], vec![metric("other", "", delta(1.0))]), 0);
    assert!(batch.series.is_empty());
    assert_eq!(
        (rejected.points, rejected.message().contains("no room for more than 1 delta series")),
        (1, true)
    );
    converter.forget(2_000);
    let (batch, ..) = converter.decode_metrics(request(vec![], vec![metric("other", "", delta(1.0))]), 0);
    assert_eq!(lines(&batch), ["other_total 1@1000"]);
}

#[test]
fn a_request_that_was_not_kept_is_added_up_once_however_often_it_comes() {
    let delta = |value| sum(vec![number(1_000, value, vec![])], AggregationTemporality::Delta, true);
    let mut converter = Converter::default();
    let mut convert = |value, kept: bool| {
        let (batch, _, added) =
            converter.decode_metrics(request(vec![], vec![metric("hits", "", delta(value))]), 0);
        if !kept {
            converter.take_back(added);
        }
        lines(&batch)
    };
    assert_eq!(convert(0.1, true), ["hits_total 0.1@1000"]);
    for _ in 0..3 {
        assert_eq!(convert(0.2, false), ["hits_total 0.30000000000000004@1000"]);
    }
    assert_eq!(convert(0.2, true), ["hits_total 0.30000000000000004@1000"]);
    assert_eq!(convert(4.0, true), ["hits_total 4.3@1000"]);
}

#[test]
fn a_request_is_taken_back_from_under_another_one() {
    let delta = |value| sum(vec![number(1_000, value, vec![])], AggregationTemporality::Delta, true);
    let mut converter = Converter::default();
    let mut convert =
        |value| converter.decode_metrics(request(vec![], vec![metric("hits", "", delta(value))]), 0);
    let (_, _, lost) = convert(3.0);
    assert_eq!(lines(&convert(4.0).0), ["hits_total 7@1000"]);
    converter.take_back(lost);
    let mut convert =
        |value| converter.decode_metrics(request(vec![], vec![metric("hits", "", delta(value))]), 0);
    assert_eq!(lines(&convert(3.0).0), ["hits_total 7@1000"]);
}

#[test]
fn what_cannot_be_stored_is_rejected_with_the_cure() {
    let falling =
        sum(vec![number(1, 1.0, vec![]), number(2, 2.0, vec![])], AggregationTemporality::Delta, false);
    let unspecified = sum(vec![number(1, 1.0, vec![])], AggregationTemporality::Unspecified, true);
    let exponential = Data::ExponentialHistogram(ExponentialHistogram {
        data_points: vec![ExponentialHistogramDataPoint::default()],
        aggregation_temporality: 2,
    });
    let empty = Data::Gauge(Gauge { data_points: vec![NumberDataPoint::default()] });
    let wide = (0..200).map(|at| text(&format!("label{at}"), "x")).collect();
    let wide = Data::Gauge(Gauge { data_points: vec![number(1, 1.0, wide)] });
    let metrics = [falling, unspecified, exponential, empty, wide];
    let metrics = metrics.into_iter().map(|data| metric("m", "", data)).collect();
    let (series, rejected) = convert(metrics);
    assert!(series.is_empty());
    assert_eq!(rejected.points, 6);
    for part in [
        "delta sum that may fall",
        "no aggregation temporality",
        "exponential histogram, which is not stored",
        "has no value",
        "has 200 labels, at most 96",
    ] {
        assert!(rejected.message().contains(part), "{part}: {}", rejected.message());
    }
}

#[test]
fn a_point_without_recorded_value_ends_its_series() {
    let flags = 1;
    let gone = NumberDataPoint { flags, time_unix_nano: 5_000_000, ..NumberDataPoint::default() };
    let data = Data::Gauge(Gauge { data_points: vec![gone] });
    let (batch, ..) = Converter::default().decode_metrics(request(vec![], vec![metric("x", "", data)]), 0);
    assert!(is_stale(batch.series[0].samples[0].value));
}

#[test]
fn samples_of_a_series_come_in_order_and_the_later_given_of_one_time_wins() {
    let points = vec![number(3, 3.0, vec![]), number(1, 1.0, vec![]), number(3, 4.0, vec![])];
    let (series, _) = convert(vec![metric("x", "", Data::Gauge(Gauge { data_points: points }))]);
    assert_eq!(series, ["x 1@1 4@3"]);
}

#[test]
fn a_summary_becomes_quantiles_sum_and_count() {
    let quantile_values = vec![ValueAtQuantile { quantile: 0.99, value: 2.5 }];
    let point = SummaryDataPoint { count: 4, sum: 8.0, quantile_values, ..SummaryDataPoint::default() };
    let (series, _) = convert(vec![metric("rpc", "s", Data::Summary(Summary { data_points: vec![point] }))]);
    assert_eq!(
        series,
        [r#"rpc_seconds{quantile="0.99"} 2.5@99"#, "rpc_seconds_count 4@99", "rpc_seconds_sum 8@99"]
    );
}

#[test]
fn an_empty_request_is_an_empty_batch() {
    let (batch, rejected, _) = Converter::default().decode_metrics(ExportMetricsServiceRequest::default(), 0);
    assert_eq!((batch, rejected), (Batch::default(), Rejected::default()));
}
