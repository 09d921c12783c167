//! Loading charts from archives and folders, raw manifests, values: what is accepted, what is refused.
#![allow(clippy::unwrap_used, clippy::panic, clippy::wildcard_enum_match_arm)] // tests

use std::io::Write as _;

use flate2::Compression;
use flate2::write::GzEncoder;
use render::{Chart, ChartError, Limits, merge_values, parse_values, parse_yaml_documents};
use serde_json::{Value, json};

/// A ustar entry.
fn entry(name: &str, kind: u8, data: &[u8]) -> Vec<u8> {
    let mut header = [0_u8; 512];
    header[..name.len()].copy_from_slice(name.as_bytes());
    header[100..107].copy_from_slice(b"0000644");
    header[124..135].copy_from_slice(format!("{:011o}", data.len()).as_bytes());
    header[156] = kind;
    header[257..263].copy_from_slice(b"ustar\0");
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
    header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
    let mut out = header.to_vec();
    out.extend_from_slice(data);
    out.resize(out.len().div_ceil(512) * 512, 0);
    out
}

fn archive(entries: &[(&str, u8, &[u8])]) -> Vec<u8> {
    let mut tar: Vec<u8> = entries.iter().flat_map(|(name, kind, data)| entry(name, *kind, data)).collect();
    tar.extend([0; 1024]);
    let mut gzip = GzEncoder::new(Vec::new(), Compression::fast());
    gzip.write_all(&tar).unwrap();
    gzip.finish().unwrap()
}

const META: &[u8] = b"apiVersion: v2\nname: shop\nversion: 1.0.0\nappVersion: 1.10\ndescription: sells\nkubeVersion: \">=1.20.0-0\"\nannotations: {a: 1}\ndependencies: [{name: db, version: 1.x.x, alias: store}]\n";

#[test]
fn an_archive_is_read_with_its_subcharts() {
    let inner = archive(&[
        ("db/Chart.yaml", b'0', b"name: db\nversion: 1.2.0\n"),
        ("db/values.yaml", b'0', b"port: 5432\n"),
    ]);
    let tgz = archive(&[
        ("shop/", b'5', b""),
        ("shop/Chart.yaml", b'0', META),
        ("shop/values.yaml", b'0', b"a: 1\nb: yes\n"),
        ("shop/values.schema.json", b'0', b"{\"type\": \"object\"}"),
        ("shop/charts/db-1.2.0.tgz", b'0', &inner),
        ("shop/charts/_off/Chart.yaml", b'0', b"broken: ["),
        ("shop/templates/x.yaml", b'0', b"a: 1"),
    ]);
    let chart = Chart::from_archive(&tgz, &Limits::default()).unwrap();
    let metadata = chart.metadata();
    assert_eq!(
        (metadata.name.as_str(), metadata.version.as_str(), metadata.app_version.as_str()),
        ("shop", "1.0.0", "1.1")
    );
    assert_eq!((metadata.description.as_str(), metadata.kube_version.as_str()), ("sells", ">=1.20.0-0"));
    assert_eq!(metadata.annotations["a"], "1");
    assert_eq!(
        (metadata.dependencies[0].name.as_str(), metadata.dependencies[0].alias.as_str()),
        ("db", "store")
    );
    assert_eq!(chart.values(), &json!({"a": 1, "b": true}));
    assert_eq!(chart.values_schema(), Some(&json!({"type": "object"})));
}

#[test]
fn unsafe_archives_are_refused() {
    let refused = |name: &str, kind: u8| {
        let tgz = archive(&[("shop/Chart.yaml", b'0', META), (name, kind, b"x")]);
        Chart::from_archive(&tgz, &Limits::default()).unwrap_err()
    };
    for (name, kind) in [
        ("shop/../../etc/passwd", b'0'),
        ("shop//etc/passwd", b'0'),
        ("shop/c:/x", b'0'),
        ("Chart.yaml", b'0'),
        ("shop/link", b'2'),
        ("shop/hard", b'1'),
        ("shop/device", b'3'),
    ] {
        assert!(matches!(refused(name, kind), ChartError::IllegalPath { .. }), "{name}");
    }
    let limits = Limits { chart_file_bytes: 100, chart_bytes: 1000, ..Limits::default() };
    let big = archive(&[("shop/Chart.yaml", b'0', META), ("shop/big", b'0', &[b'x'; 5000])]);
    assert!(matches!(Chart::from_archive(&big, &limits).unwrap_err(), ChartError::TooLarge { .. }));
    let bomb = archive(&[("shop/Chart.yaml", b'0', META), ("shop/zeros", b'0', &vec![0; 40_000_000])]);
    assert!(bomb.len() < 1_000_000);
    let limits = Limits { chart_bytes: 2_000_000, ..Limits::default() };
    assert!(matches!(Chart::from_archive(&bomb, &limits).unwrap_err(), ChartError::TooLarge { .. }));
    let many: Vec<(String, Vec<u8>)> = (0..50).map(|at| (format!("shop/f{at}"), Vec::new())).collect();
    let many: Vec<(&str, u8, &[u8])> =
        many.iter().map(|(name, data)| (name.as_str(), b'0', data.as_slice())).collect();
    let limits = Limits { chart_files: 10, ..Limits::default() };
    assert!(matches!(Chart::from_archive(&archive(&many), &limits).unwrap_err(), ChartError::TooMany { .. }));
    assert!(matches!(
        Chart::from_archive(b"not gzip", &Limits::default()).unwrap_err(),
        ChartError::Archive { .. }
    ));
    let whole = archive(&[("shop/Chart.yaml", b'0', META)]);
    for cut in [10, whole.len() / 2, whole.len() - 9] {
        assert!(Chart::from_archive(&whole[..cut], &Limits::default()).is_err(), "{cut}");
    }
}

#[test]
fn chart_metadata_is_validated_with_helms_words() {
    let load = |meta: &str| {
        Chart::from_files([("Chart.yaml".to_owned(), meta.as_bytes().to_vec())]).unwrap_err().to_string()
    };
    assert!(load("version: 1.0.0").contains("chart.metadata.name is required"));
    assert!(load("name: x").contains("chart.metadata.version is required"));
    assert!(load("name: x\nversion: one").contains("chart.metadata.version \"one\" is invalid"));
    assert!(load("name: a/b\nversion: 1.0.0").contains("is invalid"));
    assert!(load("name: x\nversion: 1.0.0\ntype: plugin").contains("application or library"));
    assert!(load("name: x\nversion: 1.0.0\napiVersion: v9").contains("unsupported chart version"));
    assert!(
        load("name: x\nversion: 1.0.0\ndependencies: [{name: a}, {name: a}]")
            .contains("more than one dependency")
    );
    assert!(load("name: [").contains("Chart.yaml"));
    let none = Chart::from_files([("values.yaml".to_owned(), Vec::new())]).unwrap_err();
    assert!(none.to_string().contains("Chart.yaml file is missing"));
    let escape = Chart::from_files([("../Chart.yaml".to_owned(), META.to_vec())]).unwrap_err();
    assert!(matches!(escape, ChartError::IllegalPath { .. }));
}

#[test]
fn files_that_are_no_utf_8_are_refused_as_helm_does_where_they_are_to_be_yaml() {
    let latin = b"note: caf\xe9 au lait\n";
    let chart = [META, latin].concat();
    for (meta, values) in [(META, latin.as_slice()), (&chart, b"a: 1")] {
        let files = [("Chart.yaml", meta), ("values.yaml", values)];
        let refused = Chart::from_files(files.map(|(path, data)| (path.to_owned(), data.to_vec())));
        let refused = refused.unwrap_err().to_string();
        let cause = "error converting YAML to JSON: yaml: invalid trailing UTF-8 octet";
        assert!(refused.ends_with(cause), "{refused}");
    }
}

#[test]
fn raw_manifests_are_split_and_lists_expanded() {
    let text = "# head\n---\napiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n---\n---\napiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Secret, metadata: {name: b}}\n- apiVersion: v1\n  kind: SecretList\n  items:\n  - {apiVersion: v1, kind: Secret, metadata: {name: c}}\n---\n# tail\n";
    let names: Vec<Value> = parse_yaml_documents(text, &Limits::default())
        .unwrap()
        .iter()
        .map(|object| object["metadata"]["name"].clone())
        .collect();
    assert_eq!(names, ["a", "b", "c"]);
    let refused = |text: &str| parse_yaml_documents(text, &Limits::default()).unwrap_err().to_string();
    assert!(refused("- a\n").contains("expected a map, got a list"));
    assert!(refused("kind: X\n").contains("\"apiVersion\""));
    assert!(refused("apiVersion: v1\nkind: 5\n").contains("\"kind\""));
    assert!(refused("a: 1\n---\na: [\n").contains("document 1"));
    assert!(refused("apiVersion: v1\nkind: X\n---\na: [\n").contains("document 2"));
    let bomb = "a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: &d [*c,*c,*c,*c,*c,*c,*c,*c,*c]\ne: [*d,*d,*d,*d,*d,*d,*d,*d,*d]\n";
    let limits = Limits { yaml_nodes: 10_000, ..Limits::default() };
    assert!(parse_yaml_documents(bomb, &limits).unwrap_err().to_string().contains("excessive aliasing"));
}

#[test]
fn values_are_read_and_merged_as_helm_does() {
    let values = parse_values("a: 1\nb: {c: yes, d: 0o17}\nt: 12:30\n---\nb: {c: no}\n").unwrap();
    assert_eq!(values, json!({"a": 1, "b": {"c": false, "d": 15}, "t": "12:30"}));
    assert_eq!(parse_values("").unwrap(), json!({}));
    assert!(parse_values("- a").is_err());
    let base = json!({"keep": 1, "gone": 2, "map": {"a": 1, "b": 2, "n": null}, "list": [1, 2], "nul": null, "scalar": 1});
    let over =
        json!({"gone": null, "map": {"b": null, "c": 3}, "list": [9], "new": null, "scalar": {"x": 1}});
    let merged = merge_values(base, over);
    assert_eq!(
        merged,
        json!({"keep": 1, "map": {"a": 1, "c": 3}, "list": [9], "new": null, "scalar": {"x": 1}})
    );
}
