//! `skein render`: what `helm template` prints, made in process.

mod folder;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use identity::{Clock, Entropy as _, SystemClock, SystemEntropy};
use render::CommandLineValues;
use serde_json::Value;

/// What of `helm template` is not done here.
const LEFT_OUT: &str = "Everything that needs a network, a cluster or another program is refused: --dependency-update, \
    --validate, --dry-run=server, --post-renderer, --repo, --verify, --enable-dns. Options of an installation that change \
    nothing of what is printed (--create-namespace, --wait, --timeout, --version, ...) are taken and ignored.";

/// What to render, and with which values.
#[derive(Debug, clap::Args)]
#[command(after_help = LEFT_OUT)]
pub(crate) struct Arguments {
    /// Name of the release (release-name where only a chart is given), and the chart: a folder or a .tgz
    #[arg(required = true, num_args = 1..=2, value_names = ["RELEASE", "CHART"])]
    names: Vec<String>,
    /// Take the name from a template, not from RELEASE
    #[arg(long, value_name = "TEMPLATE")]
    name_template: Option<String>,
    /// Take any name, as RELEASE is left out
    #[arg(short, long)]
    generate_name: bool,
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
    /// Write files under this folder instead of printing
    #[arg(long, value_name = "DIR")]
    output_dir: Option<PathBuf>,
    /// Write them under a folder named after the release there
    #[arg(long)]
    release_name: bool,
    #[command(flatten)]
    refused: Refused,
    #[command(flatten)]
    ignored: Ignored,
}

/// Options that ask for what is not done here.
#[derive(Debug, clap::Args)]
struct Refused {
    #[arg(long, hide = true)]
    dependency_update: bool,
    #[arg(long, hide = true)]
    validate: bool,
    #[arg(long, hide = true)]
    verify: bool,
    #[arg(long, hide = true)]
    enable_dns: bool,
    #[arg(long, hide = true, value_name = "NAME")]
    post_renderer: Option<String>,
    #[arg(long, hide = true, value_name = "URL")]
    repo: Option<String>,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "unset")]
    dry_run: Option<String>,
}

impl Refused {
    fn check(&self) -> Result<()> {
        let reasons = [
            (
                self.dependency_update,
                "--dependency-update",
                "it fetches charts; run `helm dependency update` before",
            ),
            (self.validate, "--validate", "it asks a cluster; leave it out"),
            (self.verify, "--verify", "the provenance of a chart is checked where it is fetched"),
            (
                self.enable_dns,
                "--enable-dns",
                "templates reach no network here; getHostByName answers nothing",
            ),
            (
                self.post_renderer.is_some(),
                "--post-renderer",
                "it runs another program; pipe the output through it",
            ),
            (self.repo.is_some(), "--repo", "charts are not fetched here; run `helm pull` before"),
            (
                self.dry_run.as_deref() == Some("server"),
                "--dry-run=server",
                "it asks a cluster; leave it out",
            ),
        ];
        match reasons.iter().find(|(given, ..)| *given) {
            Some((_, option, reason)) => bail!("{option} is refused: {reason}"),
            None => Ok(()),
        }
    }
}

/// Options that change nothing of what is printed.
#[derive(Debug, clap::Args)]
struct Ignored {
    #[arg(long, hide = true)]
    create_namespace: bool,
    #[arg(long, hide = true)]
    devel: bool,
    #[arg(long, hide = true)]
    debug: bool,
    #[arg(long, hide = true)]
    disable_openapi_validation: bool,
    #[arg(long, hide = true)]
    replace: bool,
    #[arg(long, hide = true)]
    take_ownership: bool,
    #[arg(long, hide = true)]
    wait_for_jobs: bool,
    #[arg(long, hide = true, num_args = 0..=1, require_equals = true, default_missing_value = "watcher")]
    wait: Option<String>,
    #[arg(long, hide = true)]
    timeout: Option<String>,
    #[arg(long, hide = true)]
    description: Option<String>,
    #[arg(long, hide = true)]
    version: Option<String>,
    #[arg(short = 'l', long, hide = true)]
    labels: Vec<String>,
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
    arguments.refused.check()?;
    let limits = render::Limits::default();
    let (name, path) = names(arguments)?;
    let values = values(arguments)?;
    let chart = chart(&path, &limits)?;
    let input = render::Input {
        chart: &chart,
        release: render::Release {
            name: &name,
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
    match &arguments.output_dir {
        None => super::print(&rendered.printed(&shown)?),
        Some(folder) if arguments.release_name => write(&folder.join(&name), &rendered.documents(&shown))?,
        Some(folder) => write(folder, &rendered.documents(&shown))?,
    }
    Ok(())
}

/// The name of the release, and where the chart is.
fn names(arguments: &Arguments) -> Result<(String, PathBuf)> {
    match (arguments.names.as_slice(), &arguments.name_template) {
        ([_, _], _) if arguments.generate_name => {
            bail!("cannot set --generate-name and also specify a name")
        }
        ([_, _], Some(_)) => bail!("cannot set --name-template and also specify a name"),
        ([name, chart], None) => Ok((name.clone(), PathBuf::from(chart))),
        ([chart], Some(template)) => Ok((named(template)?, PathBuf::from(chart))),
        ([chart], None) => Ok(("release-name".to_owned(), PathBuf::from(chart))),
        // Names that options stand between are counted here.
        ([_, _, more @ ..], _) => {
            bail!("expected at most two arguments, unexpected arguments: {}", more.join(", "))
        }
        ([], _) => bail!("a chart is missing: a folder or a .tgz"),
    }
}

/// A name from a template, which has the functions of charts and no data.
fn named(template: &str) -> Result<String> {
    let files = [
        ("Chart.yaml".to_owned(), b"apiVersion: v2\nname: name-template\nversion: 1.0.0\n".to_vec()),
        (
            "templates/_name.tpl".to_owned(),
            format!("{{{{ define \"name\" }}}}{template}{{{{ end }}}}").into_bytes(),
        ),
        ("templates/name.yaml".to_owned(), b"name: {{ include \"name\" nil | toJson }}\n".to_vec()),
    ];
    let chart = render::Chart::from_files(files)?;
    let (limits, capabilities) = (render::Limits::default(), render::Capabilities::default());
    let input = render::Input {
        chart: &chart,
        release: render::Release {
            name: "name",
            namespace: "default",
            revision: 1,
            is_install: true,
            is_upgrade: false,
        },
        values: &Value::Null,
        integers: true,
        capabilities: &capabilities,
        limits: &limits,
        skip_crds: true,
        skip_schema_validation: true,
    };
    let rendered = render::render(&input, &mut System, &render::NoCluster)?;
    let name = rendered.objects.first().and_then(|object| object.value.get("name")?.as_str());
    Ok(name.unwrap_or_default().to_owned())
}

/// Writes each document to its file, several of one file one after the other.
fn write(folder: &Path, documents: &[(&str, String)]) -> Result<()> {
    let mut written = std::collections::BTreeSet::new();
    for (source, document) in documents {
        let path = folder.join(source);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)
                .with_context(|| format!("failed to make {}", parent.display()))?;
        }
        let first = written.insert(source);
        let mut open = std::fs::OpenOptions::new();
        open.create(true).write(true).append(!first).truncate(first);
        open.open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, document.as_bytes()))
            .with_context(|| format!("failed to write {}", path.display()))?;
        super::print(&format!("wrote {}\n", path.display()));
    }
    // Where Helm prints what it did not write to files.
    super::print("");
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
    if !path.exists() {
        bail!(
            "path {path:?} not found; a chart in a repository or registry is not fetched here: run `helm pull` before"
        );
    }
    Ok(render::Chart::from_files(folder::files(path, limits)?)?)
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

    fn now_unix_nanoseconds(&mut self) -> i128 {
        i128::from(SystemClock.now()) * 1_000_000
    }
}
