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
use render::Limits;
use serde_json::json;

use super::bundle::Bundle;
use super::canonical::canonical;
use super::helm::{Helm, Job, Printed};
use super::patches::{self, Patch};
use super::remembered::Remembered;
use super::sealing::{Recipient, Sealing};
use super::{charts, manifests};
use crate::cache::Key;
use crate::services::resolve::Renderer;
use crate::services::template::Body;

/// What is rendered.
#[derive(Clone)]
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
    /// Changes to the rendered objects.
    pub patches: &'a [Patch],
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
    /// Somebody must change something; otherwise it is on its way.
    pub failed: bool,
    /// What is announced when it is worth trying again.
    pub waits_for: Option<Key>,
    /// Whether a `helm` binary would do.
    pub fallback: Fallback,
}

/// Whether a `helm` binary renders what the engine does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fallback {
    /// Helm refuses it as well.
    No,
    /// It names a function that nobody here knows; another Helm may.
    Perhaps,
    /// It needs what Helm has and the engine lacks.
    Helps,
}

impl Unrendered {
    /// Until somebody changes something.
    pub fn failed(message: String) -> Self {
        Self { message, failed: true, waits_for: None, fallback: Fallback::No }
    }

    /// With the cure, for a hub without a `helm` binary.
    fn uncured(mut self) -> Self {
        if self.fallback == Fallback::Helps {
            self.message.push_str(
                ": a helm binary renders it where the hub has one (--helm FILE, SKEIN_HELM), or write it another way",
            );
        }
        self
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
    /// What a `helm` binary printed last for a release of a set, if that is kept.
    fn printed(&self, _set: (&str, &str), _release: &str) -> Option<Printed> {
        None
    }
    /// Keeps what a `helm` binary printed.
    fn keep(&self, _set: (&str, &str), _release: &str, _printed: &Printed) {}
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
    seeds: Arc<dyn Seeds>,
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
            seeds: Arc::from(seeds),
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
        let parcel = bundle.parcel();
        self.memory().bundles.keep(digest, bundle, parcel);
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
                let bundle = charts::rendered(&chart.chart, request, &self.limits, seed)?;
                let bundle = bundle.admitted().map_err(Unrendered::failed)?;
                if bundle.entropy
                    && let Some(set) = request.store
                {
                    self.seeds.store(set, &release_key(request), seed);
                }
                Ok(bundle)
            }
            Body::Manifests(files) => {
                let bundle = manifests::given(files, request, &self.limits);
                bundle.and_then(Bundle::admitted).map_err(Unrendered::failed)
            }
        }
    }

    /// Asks the `helm` binary, or remembers what it printed before the hub started.
    fn ask(
        &self,
        helm: &Helm,
        digest: Digest,
        request: &Request<'_>,
        why: Unrendered,
    ) -> Result<Arc<Bundle>, Unrendered> {
        let Body::Chart(chart) = request.body else { return Err(why) };
        let values = charts::values(request.documents).map_err(Unrendered::failed)?;
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        let (namespace, set) = request.store.unwrap_or_default();
        let job = Job {
            digest,
            why: why.message,
            chart: chart.content.clone(),
            set: (namespace.to_owned(), set.to_owned()),
            name: request.name.to_owned(),
            namespace: request.namespace.to_owned(),
            values,
            kubernetes_version: request.kubernetes_version.map(str::to_owned),
            labels: request.labels.iter().map(owned).collect(),
            skip_crds: request.options.skip_crds,
            skip_schema_validation: request.options.skip_schema_validation,
        };
        helm.ask(job, &self.seeds)
    }

    /// The bundle before patches.
    fn unpatched(&self, request: &Request<'_>) -> Result<Arc<Bundle>, Unrendered> {
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
        if let Some(answer) = self.helm.as_ref().and_then(|helm| helm.known(&own())) {
            return answer;
        }
        let bundle = match (self.fresh(request), &self.helm) {
            (Ok(bundle), _) => Arc::new(bundle),
            (Err(unrendered), None) => return Err(unrendered.uncured()),
            (Err(unrendered), Some(_)) if unrendered.fallback == Fallback::No => return Err(unrendered),
            (Err(unrendered), Some(helm)) => return self.ask(helm, own(), request, unrendered),
        };
        if bundle.entropy {
            self.remember(own(), &bundle);
        }
        self.remember(common, &bundle);
        Ok(bundle)
    }
}

impl Renderer for Bundles {
    fn render(&self, request: &Request<'_>) -> Result<Arc<Bundle>, Unrendered> {
        let bundle = self.unpatched(request)?;
        if request.patches.is_empty() {
            return Ok(bundle);
        }
        let digest = patches::digest(&bundle, request.patches);
        if let Some(patched) = self.remembered(&digest) {
            return Ok(patched);
        }
        let patched = patches::patched(&bundle, request.patches, &self.limits);
        let patched = Arc::new(patched.map_err(Unrendered::failed)?);
        self.remember(digest, &patched);
        Ok(patched)
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
    super::release_key(request.namespace, request.name)
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::content::FetchedChart;
    use render::Chart;
    use serde_json::Value;
    use sha2::{Digest as _, Sha256};

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
            content: source::Content::Tree(Arc::new(files.iter().cloned().collect())),
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
            patches: &[],
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
