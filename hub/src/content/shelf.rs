//! Charts and folders that were read, newest use first, bounded by bytes; and the last good chart of each wish.
//!
//! # Why the last good one is on disk too
//! A tree serves many: a commit may break one chart and mend another, so the tree that is kept need not hold what was
//! last good for each. After a restart a release must not hang on the newest commit being sound: what a wish last came
//! to is kept beside the trees, as a cache like they are.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use render::{Chart, merge_values, parse_values};
use source::{Artifact, Content, Failure, LastGood, Name, Tree, below};

use super::kustomization::{Kustomization, Manifests};
use super::lfs;
use crate::plans::Clock;

/// Bytes of archives and folders that stay read, besides those in use.
const BYTES_MAX: usize = 128 << 20;
/// Things that stay read.
const COUNT_MAX: NonZeroUsize = NonZeroUsize::new(4096).expect("not zero");

/// A chart that was fetched and read.
#[derive(Debug)]
pub struct FetchedChart {
    /// Its version.
    pub version: String,
    /// SHA-256 of the archive, or of the chart's files, in hexadecimal.
    pub digest: String,
    /// Bytes of the archive, or of the chart's files.
    pub bytes: u64,
    /// The archive or the chart's files, for whoever reads it another way.
    pub content: Content,
    /// The chart.
    pub chart: Chart,
}

/// What of an artifact is wanted as a chart.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Wish {
    /// The chart's folder, or a packed chart, inside a tree.
    pub path: String,
    /// Values files in place of `values.yaml`; inside the chart, or inside the tree where a path is given.
    pub values_files: Vec<String>,
    /// Go on without values files that are missing.
    pub ignore_missing: bool,
    /// Add the revision to the version, so that each revision counts as another one.
    pub with_revision: bool,
}

#[derive(Clone)]
enum Read {
    Chart(Arc<FetchedChart>),
    Files(Arc<Tree>),
    Built(Arc<Manifests>),
}

/// What was read.
pub(super) struct Shelf {
    limits: source::Limits,
    read: Mutex<Memory>,
    last: Mutex<LruCache<String, Last>>,
    last_built: Mutex<LruCache<String, LastBuilt>>,
    kept: LastGood,
}

struct Memory {
    entries: LruCache<String, (Read, usize)>,
    bytes: usize,
}

/// The last good chart of a wish, and why there is no newer one.
struct Last {
    chart: Arc<FetchedChart>,
    failure: Option<Failure>,
}

/// The last kustomization of an origin and path that could be built, and why there is no newer one.
struct LastBuilt {
    kustomization: Kustomization,
    failure: Option<Failure>,
}

impl Shelf {
    /// Nothing read yet; what was last good is kept in a folder.
    pub(super) fn new(folder: PathBuf) -> Self {
        Self {
            limits: source::Limits::default(),
            read: Mutex::new(Memory { entries: LruCache::new(COUNT_MAX), bytes: 0 }),
            last: Mutex::new(LruCache::new(COUNT_MAX)),
            last_built: Mutex::new(LruCache::new(COUNT_MAX)),
            kept: LastGood::new(folder),
        }
    }

    /// The chart in an artifact; what cannot be read leaves the last good one in force.
    pub(super) fn chart_or_last(
        &self,
        name: &Name,
        artifact: &Artifact,
        wish: &Wish,
        clock: &Clock,
    ) -> (Option<Arc<FetchedChart>>, Option<Failure>) {
        let key = format!("{name}\n{wish:?}");
        let outcome = self.chart(artifact, wish);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(chart) => {
                // A packed chart that cannot be read was never taken, so the one that is kept is good.
                let part = matches!(chart.content, Content::Tree(_));
                if part && last.get(&key).is_none_or(|last| last.chart.digest != chart.digest) {
                    let good = Artifact::new(artifact.revision.clone(), chart.content.clone());
                    self.kept.keep(&format!("chart {key}"), &good);
                }
                last.put(key, Last { chart: chart.clone(), failure: None });
                (Some(chart), None)
            }
            Err(why) => {
                let message = format!("revision {}: {why}", artifact.revision);
                if last.get(&key).is_none()
                    && let Some(chart) = self.kept_chart(&key, wish)
                {
                    last.put(key.clone(), Last { chart, failure: None });
                }
                match last.get_mut(&key) {
                    Some(last) => {
                        let since = last.failure.as_ref().map_or_else(|| clock(), |failure| failure.since);
                        last.failure = Some(Failure { message, since });
                        (Some(last.chart.clone()), last.failure.clone())
                    }
                    None => (None, Some(Failure { message, since: clock() })),
                }
            }
        }
    }

    /// What a wish last came to before the hub started.
    fn kept_chart(&self, key: &str, wish: &Wish) -> Option<Arc<FetchedChart>> {
        let good = self.kept.find(&format!("chart {key}"))?;
        // Its files lie at the root, with the values of the wish in them.
        let whole = Wish { with_revision: wish.with_revision, ..Wish::default() };
        self.chart(&good, &whole).ok()
    }

    /// The chart in an artifact.
    pub(super) fn chart(&self, artifact: &Artifact, wish: &Wish) -> Result<Arc<FetchedChart>, String> {
        let revision = if wish.with_revision { artifact.revision.as_str() } else { "" };
        let key = format!("chart {} {wish:?} {revision}", artifact.digest);
        if let Some(Read::Chart(chart)) = self.found(&key) {
            return Ok(chart);
        }
        let chart = Arc::new(match &artifact.content {
            Content::File { bytes, .. } if wish.path.is_empty() && wish.values_files.is_empty() => {
                let chart = Chart::from_archive(bytes, &render::Limits::default())
                    .map_err(|error| format!("the chart cannot be read: {error}"))?;
                let version = version(&chart, artifact, wish);
                let digest = artifact.digest.clone();
                let content = artifact.content.clone();
                FetchedChart { version, digest, bytes: bytes.len() as u64, content, chart }
            }
            Content::File { .. } | Content::Tree(_) => self.chart_in_tree(artifact, wish)?,
        });
        self.keep(key, Read::Chart(chart.clone()), usize::try_from(chart.bytes).unwrap_or_default());
        Ok(chart)
    }

    fn chart_in_tree(&self, artifact: &Artifact, wish: &Wish) -> Result<FetchedChart, String> {
        let tree = artifact.tree(&self.limits).map_err(|error| error.to_string())?;
        let missing = |what: &str| {
            let there = tree.keys().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("there is no {what}; it begins with {there}")
        };
        let mut files = below(&tree, &wish.path).ok_or_else(|| missing(&format!("\"{}\"", wish.path)))?;
        // A packed chart inside the tree, or one in a folder of its own as archives have it.
        if let Some((name, bytes)) =
            files.iter().next().filter(|(name, _)| files.len() == 1 && name.ends_with(".tgz"))
        {
            let content = Content::File { name: name.clone(), bytes: bytes.clone().into() };
            let packed = Artifact::new(artifact.revision.clone(), content);
            files = packed.tree(&self.limits).map_err(|error| error.to_string())?.as_ref().clone();
        }
        if !files.contains_key("Chart.yaml") {
            let inner: Vec<_> = files
                .keys()
                .filter_map(|path| path.strip_suffix("/Chart.yaml").filter(|folder| !folder.contains('/')))
                .map(str::to_owned)
                .collect();
            let [inner] = inner.as_slice() else {
                return Err(missing(&format!("Chart.yaml in \"{}\"", wish.path)));
            };
            files = below(&files, inner).unwrap_or_default();
        }
        if !wish.values_files.is_empty() {
            let values = merged(wish, &files, if wish.path.is_empty() { &files } else { &tree })?;
            files.insert("values.yaml".to_owned(), values);
        }
        if let Some(why) = lfs::pointer(&files) {
            return Err(why);
        }
        let digest = source::digest_of(files.iter().map(|(path, bytes)| (path.as_str(), bytes.as_slice())));
        let bytes = files.values().map(Vec::len).sum::<usize>() as u64;
        let files = Arc::new(files);
        let chart = Chart::from_files(Tree::clone(&files))
            .map_err(|error| format!("the chart \"{}\" cannot be read: {error}", wish.path))?;
        let version = version(&chart, artifact, wish);
        Ok(FetchedChart { version, digest, bytes, content: Content::Tree(files), chart })
    }

    /// The files below a folder.
    pub(super) fn files(&self, artifact: &Artifact, folder: &str) -> Result<Arc<Tree>, String> {
        let key = format!("files {} {folder}", artifact.digest);
        if let Some(Read::Files(files)) = self.found(&key) {
            return Ok(files);
        }
        let tree = artifact.tree(&self.limits).map_err(|error| error.to_string())?;
        let whole = source::plain_folder(folder).is_some_and(|folder| folder.is_empty());
        let files = if whole { Some(tree.clone()) } else { below(&tree, folder).map(Arc::new) };
        let files = files.ok_or_else(|| {
            let there = tree.keys().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
            format!("path \"{folder}\" is not in revision {}; it begins with {there}", artifact.revision)
        })?;
        self.keep(key, Read::Files(files.clone()), files.values().map(Vec::len).sum());
        Ok(files)
    }

    /// Files by a key that changes with them.
    pub(super) fn files_by_key(
        &self,
        key: &str,
        make: impl FnOnce() -> Result<Arc<Tree>, String>,
    ) -> Result<Arc<Tree>, String> {
        let key = format!("keyed {key}");
        if let Some(Read::Files(files)) = self.found(&key) {
            return Ok(files);
        }
        let files = make()?;
        self.keep(key, Read::Files(files.clone()), files.values().map(Vec::len).sum());
        Ok(files)
    }

    /// What a kustomization builds to; in the namespace that it sets itself where none is given.
    pub(super) fn built(
        &self,
        wanted: &Kustomization,
        namespace: Option<&str>,
    ) -> Result<Arc<Manifests>, String> {
        let key = wanted.key(namespace);
        if let Some(Read::Built(built)) = self.found(&key) {
            return Ok(built);
        }
        let built = Arc::new(wanted.build(namespace)?);
        self.keep(key, Read::Built(built.clone()), built.iter().map(|(_, text)| text.len()).sum());
        Ok(built)
    }

    /// The kustomization, or the last one of its origin and path that could be built.
    pub(super) fn kustomization_or_last(
        &self,
        wanted: Kustomization,
        clock: &Clock,
    ) -> Result<(Kustomization, Arc<Manifests>, Option<Failure>), String> {
        let key = format!("{}\n{}", wanted.origin, wanted.path);
        let outcome = self.built(&wanted, None);
        let mut last = self.last_built.lock().unwrap_or_else(PoisonError::into_inner);
        match outcome {
            Ok(built) => {
                if last.get(&key).is_none_or(|last| last.kustomization.digest != wanted.digest) {
                    let good = Artifact::new(wanted.digest.clone(), Content::Tree(wanted.files.clone()));
                    self.kept.keep(&format!("kustomization {key}"), &good);
                }
                last.put(key, LastBuilt { kustomization: wanted.clone(), failure: None });
                Ok((wanted, built, None))
            }
            Err(message) => {
                if last.get(&key).is_none()
                    && let Some(kustomization) = self.kept_kustomization(&key, &wanted)
                {
                    last.put(key.clone(), LastBuilt { kustomization, failure: None });
                }
                let last = last.get_mut(&key).ok_or_else(|| message.clone())?;
                let since = last.failure.as_ref().map_or_else(|| clock(), |failure| failure.since);
                last.failure = Some(Failure { message, since });
                let (good, failure) = (last.kustomization.clone(), last.failure.clone());
                Ok((good.clone(), self.built(&good, None)?, failure))
            }
        }
    }

    /// What could last be built of an origin and path before the hub started.
    fn kept_kustomization(&self, key: &str, wanted: &Kustomization) -> Option<Kustomization> {
        let good = self.kept.find(&format!("kustomization {key}"))?;
        let files = good.tree(&self.limits).ok()?;
        Some(Kustomization { files, digest: good.revision.clone(), ..wanted.clone() })
    }

    fn found(&self, key: &str) -> Option<Read> {
        let mut memory = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        memory.entries.get(key).map(|(read, _)| read.clone())
    }

    fn keep(&self, key: String, read: Read, bytes: usize) {
        let mut memory = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        memory.bytes += bytes;
        if let Some((_, (_, old))) = memory.entries.push(key, (read, bytes)) {
            memory.bytes = memory.bytes.saturating_sub(old);
        }
        while memory.bytes > BYTES_MAX && memory.entries.len() > 1 {
            let Some((_, (_, old))) = memory.entries.pop_lru() else { break };
            memory.bytes = memory.bytes.saturating_sub(old);
        }
    }
}

/// The chart's version, with the revision where that counts.
fn version(chart: &Chart, artifact: &Artifact, wish: &Wish) -> String {
    let version = chart.metadata().version.clone();
    if !wish.with_revision {
        return version;
    }
    let digest = artifact.revision.rsplit(':').next().unwrap_or_default();
    let short: String = digest.chars().filter(char::is_ascii_alphanumeric).take(12).collect();
    let sign = if version.contains('+') { '.' } else { '+' };
    format!("{version}{sign}{short}")
}

/// The values files, later ones over earlier ones.
fn merged(wish: &Wish, chart: &Tree, tree: &Tree) -> Result<Vec<u8>, String> {
    let mut values = serde_json::json!({});
    for file in &wish.values_files {
        let path = source::plain_folder(file).ok_or_else(|| format!("valuesFiles: \"{file}\" leads out"))?;
        let Some(bytes) = tree.get(&path).or_else(|| chart.get(&path)) else {
            if wish.ignore_missing {
                continue;
            }
            return Err(format!(
                "valuesFiles: there is no \"{file}\" (ignoreMissingValuesFiles goes on without)"
            ));
        };
        let text = std::str::from_utf8(bytes).map_err(|_| format!("valuesFiles: \"{file}\" is not UTF-8"))?;
        let more = parse_values(text).map_err(|error| format!("valuesFiles: \"{file}\": {error}"))?;
        values = merge_values(values, more);
    }
    serde_json::to_vec(&values).map_err(|error| format!("valuesFiles: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn artifact(files: &[(&str, &str)]) -> Artifact {
        let tree = files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect();
        Artifact::new("main@sha1:0123456789abcdef".to_owned(), Content::Tree(Arc::new(tree)))
    }

    const CHART: &str = "apiVersion: v2\nname: web\nversion: 1.2.0\n";

    #[test]
    fn a_chart_is_found_in_its_folder_with_its_values_files() {
        let artifact = artifact(&[
            ("charts/web/Chart.yaml", CHART),
            ("charts/web/values.yaml", "a: 1\nb: 2\n"),
            ("charts/web/prod.yaml", "b: 3\n"),
            ("env/eu.yaml", "c: 4\n"),
        ]);
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().to_owned());
        let wish = Wish { path: "./charts/web".into(), ..Wish::default() };
        let chart = shelf.chart(&artifact, &wish).unwrap();
        assert_eq!((chart.version.as_str(), chart.chart.values()["b"].as_i64()), ("1.2.0", Some(2)));
        let files = ["charts/web/values.yaml", "prod.yaml", "env/eu.yaml"].map(str::to_owned).to_vec();
        let wish = Wish { values_files: files, with_revision: true, ..wish };
        let other = shelf.chart(&artifact, &wish).unwrap();
        assert_eq!(other.version, "1.2.0+0123456789ab");
        assert_eq!(other.chart.values(), &serde_json::json!({"a": 1, "b": 3, "c": 4}));
        assert_ne!(other.digest, chart.digest);
        let wish = Wish {
            values_files: vec!["no.yaml".into()],
            ..Wish { path: "charts/web".into(), ..Wish::default() }
        };
        assert!(shelf.chart(&artifact, &wish).unwrap_err().contains("there is no \"no.yaml\""));
        let wish = Wish { path: "charts/db".into(), ..Wish::default() };
        assert!(shelf.chart(&artifact, &wish).unwrap_err().contains("no \"charts/db\""));
    }

    #[test]
    fn a_kustomization_that_breaks_leaves_the_last_good_one_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let shelf = Shelf::new(folder.path().to_owned());
        let clock: Clock = Arc::new(|| 7);
        let wanted = |digest: &str, text: &str| Kustomization {
            files: Arc::new(Tree::from([("kustomization.yaml".to_owned(), text.as_bytes().to_vec())])),
            digest: digest.to_owned(),
            path: String::new(),
            origin: "Bucket/x".to_owned(),
        };
        let good =
            "configMapGenerator: [{name: web, literals: [a=1], options: {disableNameSuffixHash: true}}]";
        let broken = wanted("2", "resources: [gone.yaml]");
        assert!(shelf.kustomization_or_last(broken.clone(), &clock).is_err());
        let (_, built, failure) = shelf.kustomization_or_last(wanted("1", good), &clock).unwrap();
        assert_eq!((built[0].0.as_str(), failure), ("ConfigMap web", None));
        let again = Shelf::new(folder.path().to_owned());
        let (kept, ..) = again.kustomization_or_last(broken.clone(), &clock).unwrap();
        assert_eq!(kept.digest, "1", "it outlives the hub");
        let (kept, _, failure) = shelf.kustomization_or_last(broken, &clock).unwrap();
        assert_eq!((kept.digest.as_str(), failure.as_ref().unwrap().since), ("1", 7));
        assert!(failure.unwrap().message.contains("gone.yaml"));
    }

    #[test]
    fn a_chart_that_breaks_leaves_the_last_good_one_in_force() {
        let folder = tempfile::tempdir().unwrap();
        let (shelf, wish) = (Shelf::new(folder.path().to_owned()), Wish::default());
        let name = Name { namespace: "n".into(), name: "GitRepository/x".into() };
        let clock: Clock = Arc::new(|| 7);
        let good = artifact(&[("Chart.yaml", CHART)]);
        assert!(shelf.chart_or_last(&name, &good, &wish, &clock).1.is_none());
        let broken = artifact(&[("Chart.yaml", "name: [")]);
        let (chart, failure) = shelf.chart_or_last(&name, &broken, &wish, &clock);
        assert_eq!(chart.unwrap().version, "1.2.0");
        assert_eq!(failure.unwrap().since, 7);
        assert!(shelf.chart_or_last(&name, &good, &wish, &clock).1.is_none());
        // Also when the hub starts anew on the broken revision, but for no other wish.
        let again = Shelf::new(folder.path().to_owned());
        let (chart, failure) = again.chart_or_last(&name, &broken, &wish, &clock);
        assert_eq!(chart.unwrap().version, "1.2.0");
        assert!(failure.unwrap().message.contains("cannot be read"));
        let other = Wish { path: "./x".into(), ..Wish::default() };
        assert!(again.chart_or_last(&name, &broken, &other, &clock).0.is_none());
    }
}
