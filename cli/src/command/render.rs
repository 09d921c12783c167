//! `skein render`: what `helm template` prints, made in process.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use identity::{Clock, Entropy as _, SystemClock, SystemEntropy};
use render::CommandLineValues;
use serde_json::Value;

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
    /// A file of values, or - for standard input; may be given several times, the last wins
    #[arg(short = 'f', long = "values", value_name = "FILE", value_delimiter = ',')]
    values: Vec<String>,
    #[command(flatten)]
    set: Set,
    /// The Kubernetes version that the chart is told
    #[arg(long, value_name = "VERSION")]
    kube_version: Option<String>,
    /// API versions that the chart is told beside the known ones
    #[arg(short, long, value_name = "GROUP/VERSION", value_delimiter = ',')]
    api_versions: Vec<String>,
    /// Print the chart's custom resource definitions too
    #[arg(long)]
    include_crds: bool,
    /// Leave the chart's custom resource definitions out, as they are anyway
    #[arg(long)]
    skip_crds: bool,
    /// Leave hooks out
    #[arg(long)]
    no_hooks: bool,
    /// Leave tests out
    #[arg(long)]
    skip_tests: bool,
    /// Render as if a release were upgraded
    #[arg(long)]
    is_upgrade: bool,
    /// Do not hold the values against the chart's schema
    #[arg(long)]
    skip_schema_validation: bool,
    /// Only what comes from these templates of the chart; may be given several times
    #[arg(short, long, value_name = "TEMPLATE")]
    show_only: Vec<String>,
}

/// Single values; each option may be given several times.
#[derive(Debug, clap::Args)]
struct Set {
    /// Values, for example image.tag=1.2,ports={80,443}
    #[arg(long, value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// The same, every value a text
    #[arg(long, value_name = "KEY=VALUE")]
    set_string: Vec<String>,
    /// Values in JSON: KEY=JSON, or an object
    #[arg(long, value_name = "JSON")]
    set_json: Vec<String>,
    /// Values read from files
    #[arg(long, value_name = "KEY=FILE")]
    set_file: Vec<String>,
    /// A value taken to the letter
    #[arg(long, value_name = "KEY=VALUE")]
    set_literal: Vec<String>,
}

/// Renders and prints.
pub(crate) fn show(arguments: &Arguments) -> Result<()> {
    let limits = render::Limits::default();
    let values = values(arguments)?;
    let chart = chart(&arguments.chart, &limits)?;
    let input = render::Input {
        chart: &chart,
        release: render::Release {
            name: &arguments.release,
            namespace: &arguments.namespace,
            revision: 1,
            is_install: !arguments.is_upgrade,
            is_upgrade: arguments.is_upgrade,
        },
        values: &values,
        integers: true,
        capabilities: &capabilities(arguments)?,
        limits: &limits,
        skip_crds: !arguments.include_crds,
        skip_schema_validation: arguments.skip_schema_validation,
    };
    let rendered = render::render(&input, &mut System, &render::NoCluster)?;
    let shown = render::Shown {
        no_hooks: arguments.no_hooks,
        skip_tests: arguments.skip_tests,
        show_only: arguments.show_only.clone(),
    };
    super::print(&rendered.printed(&shown)?);
    Ok(())
}

fn capabilities(arguments: &Arguments) -> Result<render::Capabilities> {
    let mut capabilities = render::Capabilities::default();
    if let Some(version) = &arguments.kube_version {
        let number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        let mut parts = version.trim_start_matches('v').split('.');
        let minor = |part: &str| number(part.split(['-', '+']).next().unwrap_or_default());
        if !(parts.next().is_some_and(number) && parts.next().is_some_and(minor)) {
            bail!("invalid kube version '{version}': could not parse {version:?} as version");
        }
        capabilities.kube_version.clone_from(version);
    }
    capabilities.api_versions.extend(arguments.api_versions.iter().cloned());
    Ok(capabilities)
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

/// Files first, then single values, each kind in Helm's order.
fn values(arguments: &Arguments) -> Result<Value> {
    let mut values = CommandLineValues::default();
    for path in &arguments.values {
        let text = if path.trim() == "-" {
            std::io::read_to_string(std::io::stdin()).context("failed to read standard input")?
        } else {
            std::fs::read_to_string(path).with_context(|| format!("failed to read {path}"))?
        };
        values.file(&text).with_context(|| format!("failed to parse {path}"))?;
    }
    let set = &arguments.set;
    set.set_json.iter().try_for_each(|line| values.set_json(line))?;
    set.set.iter().try_for_each(|line| values.set(line))?;
    set.set_string.iter().try_for_each(|line| values.set_string(line))?;
    let mut read =
        |path: &str| std::fs::read_to_string(path).map_err(|error| format!("open {path}: {error}"));
    set.set_file.iter().try_for_each(|line| values.set_file(line, &mut read))?;
    set.set_literal.iter().try_for_each(|line| values.set_literal(line))?;
    Ok(values.build())
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
