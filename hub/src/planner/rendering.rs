//! From requests to bundles: charts and manifests rendered in process, remembered by the digest of all that goes in.
//!
//! # Randomness
//! A chart that asks for it would give another password on every pass. So entropy is drawn from a seed per release,
//! made once; when a chart asks for randomness or the clock, seed and time are kept in a Secret beside the
//! ServiceSet. The same input gives the same bytes again, also after a restart.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use identity::Sealer;
use protocol::id::Digest;
use protocol::plan::{HookDeletion, HookEntry, HookEvent};
use render::{Capabilities, Chart, Entropy, Input, Limits, NoCluster, Release};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::bundle::{Bundle, Piece, piece};
use super::canonical::canonical;
use super::helm::{Helm, Job};
use super::remembered::{PackedBundle, Remembered};
use super::sealing::{Recipient, Sealing};
use crate::cache::Key;
use crate::services::resolve::Renderer;
use crate::services::template::Body;

/// What is rendered.
pub struct Request<'a> {
    /// The chart or the manifests.
    pub body: &'a Body,
    /// Namespace of the release.
    pub namespace: &'a str,
    /// Name of the release.
    pub name: &'a str,
    /// Values, each laid over the one before.
    pub documents: &'a [String],
    /// Version of the cluster's API server, where it is known.
    pub kubernetes_version: Option<&'a str>,
    /// Labels that every object gets.
    pub labels: &'a [(&'a str, &'a str)],
    /// Namespace and name of the set whose Secret keeps seeds.
    pub store: Option<(&'a str, &'a str)>,
    /// The rest.
    pub options: Options,
}

/// What of the Helm options matters to rendering.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Options {
    /// Leave out the objects of `crds/`.
    pub skip_crds: bool,
    /// Do not hold values against `values.schema.json`.
    pub skip_schema_validation: bool,
}

/// Why there is no bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unrendered {
    /// Why, with file and line where there are.
    pub message: String,
    /// What is announced when there is one.
    pub waits_for: Option<Key>,
    /// The chart needs what only Helm has.
    pub unsupported: bool,
}

impl Unrendered {
    /// Until somebody changes something.
    pub fn failed(message: String) -> Self {
        Self { message, waits_for: None, unsupported: false }
    }
}

/// Where seeds are kept.
pub trait Seeds: Send + Sync {
    /// The seed of a release of a set, if one is kept.
    fn load(&self, set: (&str, &str), release: &str) -> Option<Seed>;
    /// Keeps a seed.
    fn store(&self, set: (&str, &str), release: &str, seed: Seed);
    /// A new one.
    fn draw(&self) -> Seed;
}

/// What the randomness and the clock of a release come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seed {
    /// Random bytes.
    pub bytes: [u8; 32],
    /// The time of the first render, in seconds since the epoch.
    pub time: i64,
}

/// The renderer that remembers.
pub struct Bundles {
    seeds: Box<dyn Seeds>,
    sealing: Sealing,
    helm: Option<Helm>,
    limits: Limits,
    memory: Mutex<Memory>,
    renders: Arc<AtomicU64>,
}

struct Memory {
    bundles: Remembered,
    drawn: HashMap<String, Seed>,
}

impl Bundles {
    /// Nothing remembered yet.
    pub fn new(seeds: Box<dyn Seeds>, sealer: Sealer, helm: Option<Helm>) -> Self {
        let memory = Memory { bundles: Remembered::new(), drawn: HashMap::new() };
        let sealing = Sealing::new(sealer);
        Self {
            seeds,
            sealing,
            helm,
            limits: Limits::default(),
            memory: Mutex::new(memory),
            renders: Arc::default(),
        }
    }

    /// How many times something was rendered, and not only remembered.
    pub fn renders(&self) -> Arc<AtomicU64> {
        self.renders.clone()
    }

    fn memory(&self) -> std::sync::MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remembered(&self, digest: &Digest) -> Option<Arc<Bundle>> {
        self.memory().bundles.get(digest)
    }

    fn remember(&self, digest: Digest, bundle: &Arc<Bundle>) {
        let packed = PackedBundle::of(bundle);
        self.memory().bundles.keep(digest, bundle, packed);
    }

    /// The seed of a release: kept, or drawn before, or drawn now.
    fn seed(&self, request: &Request<'_>) -> Seed {
        let release = release_key(request);
        let set = request.store.unwrap_or_default();
        if let Some(seed) = self.seeds.load(set, &release) {
            return seed;
        }
        let name = format!("{}/{}/{release}", set.0, set.1);
        *self.memory().drawn.entry(name).or_insert_with(|| self.seeds.draw())
    }

    fn fresh(&self, request: &Request<'_>) -> Result<Bundle, Unrendered> {
        self.renders.fetch_add(1, Ordering::Relaxed);
        let _span =
            tracing::debug_span!("render", release = request.name, namespace = request.namespace).entered();
        match request.body {
            Body::Chart(chart) => {
                let seed = self.seed(request);
                let mut entropy = Seeded { seed, counter: 0 };
                let bundle = chart_bundle(&chart.chart, request, &self.limits, &mut entropy)?;
                let bundle = bundle.admitted().map_err(Unrendered::failed)?;
                if bundle.entropy
                    && let Some(set) = request.store
                {
                    self.seeds.store(set, &release_key(request), seed);
                }
                Ok(bundle)
            }
            Body::Manifests(files) => {
                let bundle = manifests_bundle(files, request, &self.limits);
                bundle.and_then(Bundle::admitted).map_err(Unrendered::failed)
            }
        }
    }
}

impl Renderer for Bundles {
    fn render(&self, request: &Request<'_>) -> Result<Arc<Bundle>, Unrendered> {
        let common = digest(request, None);
        // Equal input gives equal bundles whoever asks, unless the chart wants randomness: then each set has its own.
        let own = || digest(request, request.store);
        match self.remembered(&common) {
            Some(bundle) if !bundle.entropy => return Ok(bundle),
            Some(_) => {
                if let Some(bundle) = self.remembered(&own()) {
                    return Ok(bundle);
                }
            }
            None => {}
        }
        let bundle = match (self.fresh(request), &self.helm, request.body) {
            (Ok(bundle), _, _) => Arc::new(bundle),
            (Err(unrendered), Some(helm), Body::Chart(chart)) if unrendered.unsupported => {
                let values = values(request.documents).map_err(Unrendered::failed)?;
                let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
                return helm.ask(own(), || Job {
                    archive: chart.digest.clone(),
                    name: request.name.to_owned(),
                    namespace: request.namespace.to_owned(),
                    values,
                    kubernetes_version: request.kubernetes_version.map(str::to_owned),
                    labels: request.labels.iter().map(owned).collect(),
                    skip_crds: request.options.skip_crds,
                    skip_schema_validation: request.options.skip_schema_validation,
                });
            }
            (Err(unrendered), _, _) => return Err(unrendered),
        };
        if bundle.entropy {
            self.remember(own(), &bundle);
        }
        self.remember(common, &bundle);
        Ok(bundle)
    }

    fn seal(
        &self,
        bundle: &Arc<Bundle>,
        recipient: &Recipient,
        everything: bool,
    ) -> Result<Arc<Bundle>, String> {
        self.sealing.seal(bundle, recipient, everything)
    }
}

fn release_key(request: &Request<'_>) -> String {
    format!("{}.{}", request.namespace, request.name)
}

/// Over everything that goes in.
fn digest(request: &Request<'_>, set: Option<(&str, &str)>) -> Digest {
    let body = match request.body {
        Body::Chart(chart) => json!({"chart": chart.digest}),
        Body::Manifests(files) => json!({"files": files}),
    };
    let input = json!([
        body,
        request.namespace,
        request.name,
        request.documents,
        request.kubernetes_version,
        request.labels,
        set,
        request.options.skip_crds,
        request.options.skip_schema_validation,
    ]);
    Digest::of(&canonical(&input))
}

fn chart_bundle(
    chart: &Chart,
    request: &Request<'_>,
    limits: &Limits,
    entropy: &mut Seeded,
) -> Result<Bundle, Unrendered> {
    let values = values(request.documents).map_err(Unrendered::failed)?;
    let mut capabilities = Capabilities::default();
    if let Some(version) = request.kubernetes_version {
        version.clone_into(&mut capabilities.kube_version);
    }
    let input = Input {
        chart,
        release: Release {
            name: request.name,
            namespace: request.namespace,
            revision: 1,
            is_install: true,
            is_upgrade: false,
        },
        values: &values,
        integers: false,
        capabilities: &capabilities,
        limits,
        skip_crds: request.options.skip_crds,
        skip_schema_validation: request.options.skip_schema_validation,
    };
    let rendered = render::render(&input, entropy, &NoCluster).map_err(|error| Unrendered {
        message: error.to_string(),
        waits_for: None,
        unsupported: error.unsupported_function().is_some(),
    })?;
    let mut bundle = Bundle { entropy: rendered.used_entropy || rendered.used_clock, ..Bundle::default() };
    for object in rendered.crds.into_iter().chain(rendered.objects) {
        add(&mut bundle, object.value, request.labels)
            .map_err(|error| Unrendered::failed(format!("{}: {error}", object.source)))?;
    }
    for hook in rendered.hooks {
        let entry = piece(&hook.object.value)
            .map_err(|error| Unrendered::failed(format!("{}: {error}", hook.object.source)))?;
        bundle.hooks.push(Piece {
            entry: HookEntry {
                object: entry.entry,
                events: hook.events.iter().map(|event| hook_event(*event)).collect(),
                weight: hook.weight,
                deletion: hook.delete_policies.iter().map(|policy| hook_deletion(*policy)).collect(),
            },
            content: entry.content,
            confidential: entry.confidential,
        });
    }
    Ok(bundle)
}

/// A bundle from what `helm template` printed: objects in its order, hooks by their annotations.
pub(super) fn from_manifests(text: &str, labels: &[(String, String)]) -> Result<Bundle, String> {
    let labels: Vec<_> = labels.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
    let objects =
        render::parse_yaml_documents(text, &Limits::default()).map_err(|error| error.to_string())?;
    let mut bundle = Bundle { by_helm: true, ..Bundle::default() };
    for object in objects {
        let annotation = |name: &str| {
            let value = object.pointer("/metadata/annotations")?.get(name)?.as_str()?;
            Some(value.to_owned())
        };
        let Some(events) = annotation("helm.sh/hook") else {
            add(&mut bundle, object, &labels)?;
            continue;
        };
        let words = |text: String| text.split(',').map(|word| word.trim().to_owned()).collect::<Vec<_>>();
        let deletion = annotation("helm.sh/hook-delete-policy").map(words).unwrap_or_default();
        let mut deletion: Vec<_> = deletion.iter().filter_map(|word| deletion_named(word)).collect();
        if deletion.is_empty() {
            deletion.push(HookDeletion::BeforeCreation);
        }
        let entry = piece(&object)?;
        bundle.hooks.push(Piece {
            entry: HookEntry {
                object: entry.entry,
                events: words(events).iter().filter_map(|word| event_named(word)).collect(),
                weight: annotation("helm.sh/hook-weight").and_then(|text| text.parse().ok()).unwrap_or(0),
                deletion,
            },
            content: entry.content,
            confidential: entry.confidential,
        });
    }
    bundle.admitted()
}

fn event_named(word: &str) -> Option<HookEvent> {
    Some(match word {
        "pre-install" => HookEvent::PreInstall,
        "post-install" => HookEvent::PostInstall,
        "pre-upgrade" => HookEvent::PreUpgrade,
        "post-upgrade" => HookEvent::PostUpgrade,
        "pre-delete" => HookEvent::PreDelete,
        "post-delete" => HookEvent::PostDelete,
        "pre-rollback" => HookEvent::PreRollback,
        "post-rollback" => HookEvent::PostRollback,
        "test" | "test-success" => HookEvent::Test,
        _ => return None,
    })
}

fn deletion_named(word: &str) -> Option<HookDeletion> {
    Some(match word {
        "before-hook-creation" => HookDeletion::BeforeCreation,
        "hook-succeeded" => HookDeletion::Succeeded,
        "hook-failed" => HookDeletion::Failed,
        _ => return None,
    })
}

fn manifests_bundle(
    files: &[(String, String)],
    request: &Request<'_>,
    limits: &Limits,
) -> Result<Bundle, String> {
    let mut objects = Vec::new();
    for (file, text) in files {
        objects
            .extend(render::parse_yaml_documents(text, limits).map_err(|error| format!("{file}: {error}"))?);
    }
    objects.sort_by_key(rank);
    let mut bundle = Bundle::default();
    for object in objects {
        add(&mut bundle, object, request.labels)?;
    }
    Ok(bundle)
}

/// What others need comes first; the rest stays in the order of the files.
fn rank(object: &Value) -> u8 {
    match object["kind"].as_str().unwrap_or_default() {
        "Namespace" => 0,
        "CustomResourceDefinition" => 1,
        "ServiceAccount"
        | "Secret"
        | "ConfigMap"
        | "StorageClass"
        | "PersistentVolume"
        | "PersistentVolumeClaim" => 2,
        "ClusterRole" | "Role" => 3,
        "ClusterRoleBinding" | "RoleBinding" => 4,
        "Service" => 5,
        _ => 6,
    }
}

fn add(bundle: &mut Bundle, mut object: Value, labels: &[(&str, &str)]) -> Result<(), String> {
    if !labels.is_empty()
        && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
    {
        let all = metadata.entry("labels").or_insert_with(|| json!({}));
        if all.is_null() {
            *all = json!({});
        }
        if let Some(all) = all.as_object_mut() {
            all.extend(labels.iter().map(|(key, value)| ((*key).to_owned(), json!(value))));
        }
    }
    let piece = piece(&object)?;
    if piece.entry.key.group == "cluster.x-k8s.io" && piece.entry.key.kind == "Cluster" {
        bundle.cluster = Some(object);
    }
    bundle.objects.push(piece);
    Ok(())
}

fn values(documents: &[String]) -> Result<Value, String> {
    documents.iter().try_fold(json!({}), |below, text| {
        let over = render::parse_values(text).map_err(|error| error.to_string())?;
        Ok(render::merge_values(below, over))
    })
}

fn hook_event(event: render::HookEvent) -> HookEvent {
    match event {
        render::HookEvent::PreInstall => HookEvent::PreInstall,
        render::HookEvent::PostInstall => HookEvent::PostInstall,
        render::HookEvent::PreDelete => HookEvent::PreDelete,
        render::HookEvent::PostDelete => HookEvent::PostDelete,
        render::HookEvent::PreUpgrade => HookEvent::PreUpgrade,
        render::HookEvent::PostUpgrade => HookEvent::PostUpgrade,
        render::HookEvent::PreRollback => HookEvent::PreRollback,
        render::HookEvent::PostRollback => HookEvent::PostRollback,
        render::HookEvent::Test => HookEvent::Test,
    }
}

fn hook_deletion(policy: render::DeletePolicy) -> HookDeletion {
    match policy {
        render::DeletePolicy::BeforeHookCreation => HookDeletion::BeforeCreation,
        render::DeletePolicy::HookSucceeded => HookDeletion::Succeeded,
        render::DeletePolicy::HookFailed => HookDeletion::Failed,
    }
}

/// SHA-256 in counter mode over the seed.
struct Seeded {
    seed: Seed,
    counter: u64,
}

impl Entropy for Seeded {
    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(count + 32);
        while bytes.len() < count {
            let mut hasher = Sha256::new();
            hasher.update(self.seed.bytes);
            hasher.update(self.counter.to_be_bytes());
            self.counter += 1;
            bytes.extend_from_slice(&hasher.finalize());
        }
        bytes.truncate(count);
        bytes
    }

    fn now_unix_seconds(&mut self) -> i64 {
        self.seed.time
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::FetchedChart;

    #[derive(Clone, Default)]
    struct Kept(Arc<Mutex<HashMap<String, Seed>>>, Arc<Mutex<u8>>);

    impl Seeds for Kept {
        fn load(&self, set: (&str, &str), release: &str) -> Option<Seed> {
            self.0.lock().unwrap().get(&format!("{set:?}{release}")).copied()
        }
        fn store(&self, set: (&str, &str), release: &str, seed: Seed) {
            self.0.lock().unwrap().insert(format!("{set:?}{release}"), seed);
        }
        fn draw(&self) -> Seed {
            let mut count = self.1.lock().unwrap();
            *count += 1;
            Seed { bytes: [*count; 32], time: 7 }
        }
    }

    fn chart(template: &str) -> Body {
        let files = [
            ("Chart.yaml", "apiVersion: v2\nname: x\nversion: 1.0.0\n"),
            ("values.yaml", "a: {b: 1, c: 2}\n"),
            ("templates/x.yaml", template),
        ];
        let files = files.map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()));
        Body::Chart(Arc::new(FetchedChart {
            version: "1.0.0".to_owned(),
            digest: hex::encode(Sha256::digest(template)),
            bytes: 1,
            chart: Chart::from_files(files).unwrap(),
        }))
    }

    fn render(
        bundles: &Bundles,
        body: &Body,
        set: &str,
        documents: &[&str],
    ) -> Result<Arc<Bundle>, Unrendered> {
        let documents: Vec<_> = documents.iter().map(|text| (*text).to_owned()).collect();
        bundles.render(&Request {
            body,
            namespace: "default",
            name: "x",
            documents: &documents,
            kubernetes_version: None,
            labels: &[("who", "me")],
            store: Some(("default", set)),
            options: Options::default(),
        })
    }

    const PLAIN: &str = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\ndata: {b: {{ .Values.a.b | quote }}, c: {{ .Values.a.c | quote }}}\n";
    const SECRET: &str =
        "apiVersion: v1\nkind: Secret\nmetadata: {name: x}\nstringData: {p: {{ randAlphaNum 20 }}}\n";

    fn sealer() -> Sealer {
        Sealer::new([0; 32])
    }

    #[test]
    fn a_password_is_drawn_once_per_set_and_outlives_the_hub() {
        let kept = Kept::default();
        let bundles = Bundles::new(Box::new(kept.clone()), sealer(), None);
        let body = chart(SECRET);
        let one = render(&bundles, &body, "one", &[]).unwrap();
        assert!(one.entropy);
        assert_ne!(render(&bundles, &body, "two", &[]).unwrap(), one);
        assert_eq!(render(&bundles, &body, "one", &[]).unwrap(), one);
        assert_eq!(kept.0.lock().unwrap().len(), 2);
        let after_restart = Bundles::new(Box::new(kept), sealer(), None);
        assert_eq!(render(&after_restart, &body, "one", &[]).unwrap(), one);
    }

    #[test]
    fn equal_input_is_rendered_once_whoever_asks_and_keeps_no_seed() {
        let kept = Kept::default();
        let bundles = Bundles::new(Box::new(kept.clone()), sealer(), None);
        let body = chart(PLAIN);
        let one = render(&bundles, &body, "one", &["a: {b: 3}", "a: {b: 4}"]).unwrap();
        assert!(Arc::ptr_eq(&one, &render(&bundles, &body, "two", &["a: {b: 3}", "a: {b: 4}"]).unwrap()));
        let content: Value = serde_json::from_slice(&one.objects[0].content).unwrap();
        assert_eq!(content["data"], json!({"b": "4", "c": "2"}));
        assert_eq!(content["metadata"]["labels"], json!({"who": "me"}));
        assert!(kept.0.lock().unwrap().is_empty());
    }

    #[test]
    fn a_chart_that_fails_names_file_and_line() {
        let body = chart("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Values.no.such }}}\n");
        let error = render(&Bundles::new(Box::new(Kept::default()), sealer(), None), &body, "one", &[])
            .unwrap_err()
            .message;
        assert!(error.contains("x/templates/x.yaml:3"), "{error}");
        let body = chart("metadata:\n  name: {{ nosuchfunction }}\n");
        let error = render(&Bundles::new(Box::new(Kept::default()), sealer(), None), &body, "one", &[])
            .unwrap_err()
            .message;
        assert!(error.contains("x/templates/x.yaml:2") && error.contains("nosuchfunction"), "{error}");
    }
}
