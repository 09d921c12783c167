//! `skein render`: what `helm template` prints, made in process.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use identity::{Clock, Entropy as _, SystemClock, SystemEntropy};
use serde_json::{Map, Value};

/// What to render, and with which values.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// Name of the release
    release: String,
    /// The chart: a folder or a .tgz
    chart: PathBuf,
    /// Namespace of the release
    #[arg(short, long, default_value = "default")]
    namespace: String,
    /// A file of values; may be given several times, the last wins
    #[arg(short = 'f', long = "values", value_name = "FILE")]
    values: Vec<PathBuf>,
    /// A single value, for example image.tag=1.2; may be given several times
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The Kubernetes version that the chart is told
    #[arg(long, value_name = "VERSION")]
    kube_version: Option<String>,
    /// Print the chart's custom resource definitions too
    #[arg(long)]
    include_crds: bool,
    /// Only what comes from this template of the chart; may be given several times
    #[arg(short = 's', long = "show-only", value_name = "TEMPLATE")]
    show_only: Vec<String>,
}

/// Renders and prints.
pub(crate) fn show(arguments: &Arguments) -> Result<()> {
    let limits = render::Limits::default();
    let chart = chart(&arguments.chart, &limits)?;
    let mut capabilities = render::Capabilities::default();
    if let Some(version) = &arguments.kube_version {
        capabilities.kube_version.clone_from(version);
    }
    let values = values(arguments)?;
    let input = render::Input {
        chart: &chart,
        release: render::Release {
            name: &arguments.release,
            namespace: &arguments.namespace,
            revision: 1,
            is_install: true,
            is_upgrade: false,
        },
        values: &values,
        capabilities: &capabilities,
        limits: &limits,
        skip_crds: !arguments.include_crds,
        skip_schema_validation: false,
    };
    let rendered = render::render(&input, &mut System, &render::NoCluster)?;
    let crds = rendered.crds.iter().filter(|_| arguments.include_crds);
    let objects = crds.chain(&rendered.objects).chain(rendered.hooks.iter().map(|hook| &hook.object));
    let mut text = String::new();
    for object in objects {
        let inside = object.source.split_once('/').map_or(object.source.as_str(), |(_, inside)| inside);
        if arguments.show_only.is_empty() || arguments.show_only.iter().any(|template| template == inside) {
            text.push_str(&format!("---\n# Source: {}\n{}", object.source, render::to_yaml(&object.value)));
            if !text.ends_with('\n') {
                text.push('\n');
            }
        }
    }
    if text.is_empty() && !arguments.show_only.is_empty() {
        bail!("could not find template {} in chart", arguments.show_only.join(", "));
    }
    super::print(&text);
    Ok(())
}

fn chart(path: &Path, limits: &render::Limits) -> Result<render::Chart> {
    if path.is_file() {
        let archive = std::fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
        return Ok(render::Chart::from_archive(&archive, limits)?);
    }
    let mut files = Vec::new();
    let mut pending = vec![path.to_owned()];
    while let Some(folder) = pending.pop() {
        for entry in
            std::fs::read_dir(&folder).with_context(|| format!("failed to read {}", folder.display()))?
        {
            let entry = entry?.path();
            if entry.is_dir() {
                pending.push(entry);
            } else {
                let name = entry.strip_prefix(path)?.to_string_lossy().into_owned();
                files.push((
                    name,
                    std::fs::read(&entry).with_context(|| format!("failed to read {}", entry.display()))?,
                ));
            }
        }
    }
    files.sort();
    Ok(render::Chart::from_files(files)?)
}

fn values(arguments: &Arguments) -> Result<Value> {
    let mut values = Value::Object(Map::new());
    for path in &arguments.values {
        let text =
            std::fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))?;
        let over = render::parse_values(&text).with_context(|| format!("in {}", path.display()))?;
        values = render::merge_values(values, over);
    }
    for pair in arguments.set.iter().flat_map(|set| set.split(',')) {
        let (key, value) =
            pair.split_once('=').with_context(|| format!("--set {pair}: expected KEY=VALUE"))?;
        let value = match value {
            "true" => Value::Bool(true),
            "false" => Value::Bool(false),
            "null" => Value::Null,
            other => other.parse::<i64>().map_or_else(|_| Value::from(other), Value::from),
        };
        let nested = key
            .rsplit('.')
            .fold(value, |inner, name| Value::Object(Map::from_iter([(name.to_owned(), inner)])));
        values = render::merge_values(values, nested);
    }
    Ok(values)
}

/// The machine's randomness and clock.
struct System;

impl render::Entropy for System {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        SystemEntropy.fill(&mut bytes);
        bytes
    }

    fn now_unix_seconds(&mut self) -> i64 {
        i64::try_from(SystemClock.now() / 1_000).unwrap_or(i64::MAX)
    }
}
