//! Which source a template names: an object of the management cluster, or a description of its own.

use std::sync::Arc;

use api::k0rdent::{
    ChartRefKind, ChartSourceKind, ChartSpec, GitInclude, HelmSpec, LocalSourceKind, LocalSourceRef,
    RemoteSourceSpec, ServiceTemplate, SourceSpec,
};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Resource, ResourceExt as _};
use sha2::{Digest, Sha256};
use source::{Artifact, Content, Source, Tree};

use super::template::{Lack, Sight, not_found, waiting};
use crate::cache::Kind;
use crate::content::describe::{ChartWish, Describer, addressed, annotated, external};
use crate::content::flux::{
    Bucket, ExternalArtifact, GitRepository, HelmChart, HelmRepository, OCIRepository,
};
use crate::content::{Failure, Name, State, is_kustomization, key, told};
use crate::explain::SourceTold;

/// GitRepositories that include others that include others.
const INCLUDE_DEPTH_MAX: usize = 4;

/// A source under its name; an error when the object or a Secret of it is wrong.
pub(super) struct Described {
    /// What it is called.
    pub(super) name: Name,
    /// Where it is.
    pub(super) source: Result<Source, String>,
    /// What of other sources is laid over it.
    pub(super) include: Vec<Included>,
}

/// A part of another source.
pub(super) struct Included {
    described: Described,
    from: String,
    to: String,
}

/// Files of a source.
pub(super) struct Found {
    /// By path.
    pub(super) files: Arc<Tree>,
    /// Whether each file was named by a person, as the keys of a ConfigMap are.
    pub(super) named: bool,
    /// Where they come from, for a person.
    pub(super) origin: String,
    /// What tells the whole content of the source from another one's.
    pub(super) digest: String,
}

/// A template's source as it stands.
pub struct SourceState {
    /// Kind of the object that describes it.
    pub kind: &'static str,
    /// Its name; the template's where the template itself describes it.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// What is fetched: address and artifact.
    pub fetched: Option<(String, Arc<Artifact>)>,
    /// Why there is nothing, or nothing newer.
    pub failure: Option<String>,
}

impl Sight<'_> {
    /// How the source of a template stands, where it has one of its own (`resources`, `kustomize`, `chartSource`).
    pub fn source_state(&self, template: &ServiceTemplate) -> Option<SourceState> {
        let spec = &template.spec;
        let own = template.namespace().unwrap_or_default();
        let source = spec.resources.as_ref().or(spec.kustomize.as_ref());
        let (local, remote) = match (source, spec.helm.as_ref().and_then(|helm| helm.chart_source.as_ref())) {
            (Some(source), _) => (source.local_source_ref.as_ref(), source.remote_source_spec.as_ref()),
            (None, Some(chart)) => (chart.local_source_ref.as_ref(), chart.remote_source_spec.as_ref()),
            (None, None) => return None,
        };
        let (kind, name, namespace) = match (local, remote) {
            (Some(local), _) => {
                let namespace = local.namespace.clone().unwrap_or_else(|| own.clone());
                (kind_of(local.kind), local.name.clone(), namespace)
            }
            (None, Some(remote)) => (kind_of_remote(remote), template.name_any(), own.clone()),
            (None, None) => return None,
        };
        let (fetched, failure) = match kind {
            "ConfigMap" if self.view.get::<ConfigMap>(&namespace, &name).is_some() => (None, None),
            "Secret" if self.view.get::<Secret>(&namespace, &name).is_some() => (None, None),
            "ConfigMap" | "Secret" => (None, Some(not_found(kind, &namespace, &name).message().to_owned())),
            _ => match self.described(&own, local, remote) {
                Ok(described) => self.fetched(described),
                Err(lack) => (None, Some(lack.message().to_owned())),
            },
        };
        Some(SourceState { kind, name, namespace, fetched, failure })
    }

    /// Address and artifact of a source, and why there is nothing (newer).
    fn fetched(&self, described: Described) -> (Option<(String, Arc<Artifact>)>, Option<String>) {
        let State { artifact, failure } = self.state(&described);
        let Described { name, source, .. } = described;
        let address = source.map(|source| source.origin.address()).unwrap_or_default();
        let failure = failure.map(|failure| failure.message);
        let failure = failure.or_else(|| artifact.is_none().then(|| waiting(&name).message().to_owned()));
        (artifact.map(|artifact| (address, artifact)), failure)
    }

    /// A chart of a repository. One of the system namespace serves every namespace that has none of that name.
    pub(super) fn helm_repository(&self, namespace: &str, spec: &ChartSpec) -> Result<Described, Lack> {
        let name = &spec.source_ref.name;
        let found = |at| Some((at, self.view.get::<HelmRepository>(at, name)?));
        let found = found(namespace).or_else(|| found(self.system_namespace));
        let (at, object) = found.ok_or_else(|| not_found("HelmRepository", namespace, name))?;
        let wish = ChartWish {
            chart: &spec.chart,
            version: &spec.version,
            interval: &spec.interval,
            verify: spec.verify.as_ref(),
            suspend: spec.suspend == Some(true),
        };
        let source = self.describer(at).helm_repository(&object, &wish);
        let mut name = format!("HelmRepository/{name}/{}@{}", spec.chart, spec.version);
        // Who looks at another pace, or for a signature, has another question.
        if spec.interval != ChartSpec::default().interval {
            name.push_str(&format!(" every {}", spec.interval));
        }
        if let Some(verify) = &spec.verify {
            let keys = verify.secret_ref.as_ref().map(|secret| secret.name.as_str()).unwrap_or_default();
            name.push_str(&format!(" signed by {keys}"));
        }
        if spec.suspend == Some(true) {
            name.push_str(" suspended");
        }
        Ok(Described { name: Name { namespace: at.to_owned(), name }, source, include: Vec::new() })
    }

    /// Where the content of a ServiceTemplate comes from, as that stands now; nothing is asked for by this.
    pub fn told_source(&self, namespace: &str, template: &str) -> Option<SourceTold> {
        let template = self.view.get::<ServiceTemplate>(namespace, template)?;
        let spec = &template.spec;
        if let Some(helm) = &spec.helm {
            return self.told_chart(namespace, helm);
        }
        let source = spec.resources.as_ref().or(spec.kustomize.as_ref())?;
        let (local, remote) = (source.local_source_ref.as_ref(), source.remote_source_spec.as_ref());
        let object = local.filter(|local| matches!(kind_of(local.kind), "ConfigMap" | "Secret"));
        let Some(LocalSourceRef { kind, name, namespace: at }) = object else {
            return self.described(namespace, local, remote).ok().map(|described| self.told(described));
        };
        let at = at.as_deref().unwrap_or(namespace);
        let version = match kind_of(*kind) {
            "ConfigMap" => self.view.get::<ConfigMap>(at, name)?.resource_version(),
            _ => self.view.get::<Secret>(at, name)?.resource_version(),
        };
        let name = format!("{} {at}/{name}", kind_of(*kind));
        Some(SourceTold { name, revision: version.unwrap_or_default(), ..SourceTold::default() })
    }

    /// Where a chart comes from, as that stands now.
    pub fn told_chart(&self, namespace: &str, helm: &HelmSpec) -> Option<SourceTold> {
        let of_spec = |spec: &ChartSpec| match spec.source_ref.kind {
            ChartSourceKind::HelmRepository => self.helm_repository(namespace, spec),
            ChartSourceKind::GitRepository => self.git_repository(namespace, &spec.source_ref.name),
            ChartSourceKind::Bucket => self.bucket(namespace, &spec.source_ref.name),
        };
        let described = match (&helm.chart_spec, &helm.chart_ref, &helm.chart_source) {
            (Some(spec), _, _) => of_spec(spec),
            (None, Some(reference), _) => {
                let namespace = reference.namespace.as_deref().unwrap_or(namespace);
                match reference.kind {
                    ChartRefKind::HelmChart => {
                        of_spec(&self.view.get::<HelmChart>(namespace, &reference.name)?.spec.chart)
                    }
                    ChartRefKind::OciRepository => self.oci_repository(namespace, &reference.name),
                    ChartRefKind::ExternalArtifact => self.external_artifact(namespace, &reference.name),
                }
            }
            (None, None, Some(source)) => self.described(
                namespace,
                source.local_source_ref.as_ref(),
                source.remote_source_spec.as_ref(),
            ),
            (None, None, None) => return None,
        };
        described.ok().map(|described| self.told(described))
    }

    fn told(&self, Described { name, source, .. }: Described) -> SourceTold {
        let State { artifact, failure } = self.sources.known(&name);
        let failing = source.err().or_else(|| failure.as_ref().map(told));
        let (revision, digest) =
            artifact.map(|artifact| (artifact.revision.clone(), artifact.digest.clone())).unwrap_or_default();
        SourceTold { name: name.name, revision, digest, failing }
    }

    pub(super) fn git_repository(&self, namespace: &str, name: &str) -> Result<Described, Lack> {
        self.git_repository_within(namespace, name, 0)
    }

    fn git_repository_within(&self, namespace: &str, name: &str, depth: usize) -> Result<Described, Lack> {
        let object = self.view.get::<GitRepository>(namespace, name);
        let object = object.ok_or_else(|| not_found("GitRepository", namespace, name))?;
        let source = self.describer(namespace).git(&object.spec.source);
        let include = self.included(namespace, &object.spec.source.include, depth)?;
        let source = source.map(|source| annotated(source, &*object));
        Ok(Described { include, ..of_object("GitRepository", namespace, name, source) })
    }

    /// The parts of other GitRepositories that one names.
    fn included(&self, namespace: &str, include: &[GitInclude], depth: usize) -> Result<Vec<Included>, Lack> {
        if depth >= INCLUDE_DEPTH_MAX && !include.is_empty() {
            return Err(Lack::Invalid(format!(
                "include: GitRepositories include each other more than {INCLUDE_DEPTH_MAX} deep, or in a circle"
            )));
        }
        let include = include.iter().map(|one| {
            let name = &one.repository.name;
            let described = self.git_repository_within(namespace, name, depth + 1);
            let described =
                described.map_err(|lack| Lack::Invalid(format!("include: {}", lack.message())))?;
            let folder = |given: &Option<String>, usual: &str| {
                let given = given.as_deref().filter(|text| !text.is_empty()).unwrap_or(usual);
                source::plain_folder(given)
                    .ok_or_else(|| Lack::Invalid(format!("include of \"{name}\": \"{given}\" leads out")))
            };
            Ok(Included { from: folder(&one.from_path, "")?, to: folder(&one.to_path, name)?, described })
        });
        include.collect()
    }

    /// What is known of a source, with what it includes laid over it.
    pub(super) fn state(&self, described: &Described) -> State {
        let key = key(&described.name);
        self.view.note(Kind::FetchedChart, &key.namespace, &key.name);
        let State { artifact, mut failure } = self.sources.ask(&described.name, &described.source);
        let mut artifact = match artifact {
            Some(artifact) if !described.include.is_empty() => artifact,
            artifact => return State { artifact, failure },
        };
        let mut parts = Vec::new();
        let mut identity = artifact.digest.clone();
        for one in &described.include {
            let state = self.state(&one.described);
            let told = |failure: Failure| Failure {
                message: format!("include of {}: {}", one.described.name.name, failure.message),
                ..failure
            };
            let Some(part) = state.artifact else {
                return State { artifact: None, failure: state.failure.map(told) };
            };
            failure = failure.or(state.failure.map(told));
            identity.push_str(&format!("\n{} {:?} {:?}", part.digest, one.from, one.to));
            parts.push((part, one));
        }
        let mixed = self.sources.files_by_key(&identity, || {
            let limits = source::Limits::default();
            let mut files = artifact.tree(&limits).map_err(|error| error.to_string())?.as_ref().clone();
            for (part, Included { described, from, to }) in &parts {
                let tree = part.tree(&limits).map_err(|error| error.to_string())?;
                lay(&mut files, &tree, from, to)
                    .map_err(|why| format!("include of {}: {why}", described.name.name))?;
            }
            Ok(Arc::new(files))
        });
        match mixed {
            Ok(files) => {
                let digest = hex::encode(Sha256::digest(&identity));
                let revision = artifact.revision.clone();
                artifact = Arc::new(Artifact { revision, digest, content: Content::Tree(files) });
                State { artifact: Some(artifact), failure }
            }
            Err(message) => State { artifact: None, failure: Some(Failure { message, since: 0 }) },
        }
    }

    pub(super) fn bucket(&self, namespace: &str, name: &str) -> Result<Described, Lack> {
        let object = self.view.get::<Bucket>(namespace, name);
        let object = object.ok_or_else(|| not_found("Bucket", namespace, name))?;
        let source = self.describer(namespace).bucket(&object.spec.source);
        let source = source.and_then(|source| addressed(source, &*object));
        Ok(of_object("Bucket", namespace, name, source.map(|source| annotated(source, &*object))))
    }

    pub(super) fn oci_repository(&self, namespace: &str, name: &str) -> Result<Described, Lack> {
        let object = self.view.get::<OCIRepository>(namespace, name);
        let object = object.ok_or_else(|| not_found("OCIRepository", namespace, name))?;
        let source = self.describer(namespace).oci(&object.spec.source);
        Ok(of_object("OCIRepository", namespace, name, source.map(|source| annotated(source, &*object))))
    }

    pub(super) fn external_artifact(&self, namespace: &str, name: &str) -> Result<Described, Lack> {
        let object = self.view.get::<ExternalArtifact>(namespace, name);
        let object = object.ok_or_else(|| not_found("ExternalArtifact", namespace, name))?;
        let artifact = object.status.as_ref().and_then(|status| status.artifact.as_ref());
        let artifact = artifact.ok_or_else(|| {
            Lack::Waiting(format!("ExternalArtifact {namespace}/{name} has no artifact in its status yet"))
        })?;
        Ok(of_object("ExternalArtifact", namespace, name, Ok(external(artifact))))
    }

    /// The source of a template.
    pub(super) fn described(
        &self,
        namespace: &str,
        local: Option<&LocalSourceRef>,
        remote: Option<&RemoteSourceSpec>,
    ) -> Result<Described, Lack> {
        if let Some(local) = local {
            let namespace = local.namespace.as_deref().unwrap_or(namespace);
            return match local.kind {
                LocalSourceKind::GitRepository => self.git_repository(namespace, &local.name),
                LocalSourceKind::Bucket => self.bucket(namespace, &local.name),
                LocalSourceKind::OciRepository => self.oci_repository(namespace, &local.name),
                LocalSourceKind::ConfigMap | LocalSourceKind::Secret => Err(Lack::Invalid(
                    "Secret and ConfigMap are not supported as Helm chart sources".to_owned(),
                )),
            };
        }
        let Some(remote) = remote else {
            return Err(Lack::Invalid("One of LocalSource or RemoteSource must be specified.".to_owned()));
        };
        let describer = self.describer(namespace);
        let (kind, source) = match (&remote.git, &remote.bucket, &remote.oci, &remote.http) {
            (Some(git), _, _, _) => ("git", describer.git(git)),
            (None, Some(bucket), _, _) => ("bucket", describer.bucket(bucket)),
            (None, None, Some(oci), _) => ("oci", describer.oci(oci)),
            (None, None, None, Some(http)) => ("http", describer.http(http)),
            (None, None, None, None) => {
                return Err(Lack::Invalid("One of Git, Bucket or OCI must be specified.".to_owned()));
            }
        };
        // Templates with equal descriptions share one source, whatever they are called.
        let spec = serde_json::to_string(remote).unwrap_or_default();
        let digest = hex::encode(Sha256::digest(spec));
        let short = digest.get(..12).unwrap_or_default();
        let name = match &source {
            Ok(source) => format!("{}#{short}", source.origin.address()),
            Err(_) => short.to_owned(),
        };
        let include = remote.git.as_ref().map(|git| git.include.as_slice()).unwrap_or_default();
        let include = self.included(namespace, include, 0)?;
        Ok(Described { include, ..of_object(kind, namespace, &name, source) })
    }

    /// The files of a source below a path, and why there are no newer ones.
    pub(super) fn tree(
        &self,
        namespace: &str,
        spec: &SourceSpec,
        path: &str,
    ) -> Result<(Found, Option<Failure>), Lack> {
        if let Some(local) = &spec.local_source_ref
            && let Some(found) = self.keys(local.namespace.as_deref().unwrap_or(namespace), local, path)
        {
            return Ok((found?, None));
        }
        let described =
            self.described(namespace, spec.local_source_ref.as_ref(), spec.remote_source_spec.as_ref())?;
        let State { artifact, failure } = self.state(&described);
        let name = described.name;
        let artifact = match (artifact, &failure) {
            (Some(artifact), _) => artifact,
            (None, Some(failure)) => {
                return Err(Lack::Invalid(format!("{}: {}", name.name, failure.message)));
            }
            (None, None) => return Err(waiting(&name)),
        };
        let files = self.sources.files(&artifact, path);
        let files = files.map_err(|why| Lack::Invalid(format!("{}: {why}", name.name)))?;
        // One file behind a URL is what was meant, whatever it is called.
        let http = spec.remote_source_spec.as_ref().is_some_and(|remote| remote.http.is_some());
        let named = http && files.len() == 1 && !is_kustomization(&files);
        Ok((Found { files, named, origin: name.name, digest: artifact.digest.clone() }, failure))
    }

    /// The keys of a ConfigMap or Secret as files; `None` for other kinds.
    fn keys(&self, namespace: &str, local: &LocalSourceRef, path: &str) -> Option<Result<Found, Lack>> {
        let name = &local.name;
        let (kind, found) = match local.kind {
            LocalSourceKind::ConfigMap => {
                let map = self.view.get::<ConfigMap>(namespace, name);
                ("ConfigMap", map.map(|map| self.unpacked("ConfigMap", &*map, path, || keys_of_map(&map))))
            }
            LocalSourceKind::Secret => {
                let secret = self.view.get::<Secret>(namespace, name);
                let found =
                    secret.map(|secret| self.unpacked("Secret", &*secret, path, || keys_of_secret(&secret)));
                ("Secret", found)
            }
            LocalSourceKind::GitRepository | LocalSourceKind::Bucket | LocalSourceKind::OciRepository => {
                return None;
            }
        };
        Some(found.unwrap_or_else(|| Err(not_found(kind, namespace, name))))
    }

    /// An archive among the keys is a folder, as Sveltos has it.
    fn unpacked<K: Resource>(
        &self,
        kind: &str,
        object: &K,
        path: &str,
        keys: impl FnOnce() -> Tree,
    ) -> Result<Found, Lack> {
        let meta = object.meta();
        let text = |text: &Option<String>| text.clone().unwrap_or_default();
        let origin = format!("{kind} {}/{}", text(&meta.namespace), text(&meta.name));
        let version = text(&meta.resource_version);
        let identity = format!("{origin} {} {version}", text(&meta.uid));
        let made = || Ok(Arc::new(keys()));
        // Without a version nothing tells one state of the object from the next.
        let data = if version.is_empty() { made() } else { self.sources.files_by_key(&identity, made) };
        let data = data.map_err(Lack::Invalid)?;
        let digest = if version.is_empty() {
            source::digest_of(data.iter().map(|(key, bytes)| (key.as_str(), bytes.as_slice())))
        } else {
            identity
        };
        let archive = data.iter().find(|(key, _)| key.ends_with(".tar.gz") || key.ends_with(".tgz"));
        let Some((key, bytes)) = archive else {
            return Ok(Found { files: data, named: true, origin, digest });
        };
        let files = self.sources.files_by_key(&format!("{digest} below {path}"), || {
            let content = Content::File { name: key.clone(), bytes: bytes.clone().into() };
            self.sources.files(&Artifact::new(origin.clone(), content), path)
        });
        let files = files.map_err(|why| Lack::Invalid(format!("{origin}: key \"{key}\": {why}")))?;
        Ok(Found { files, named: false, origin, digest })
    }

    pub(super) fn describer<'a>(&'a self, namespace: &'a str) -> Describer<'a, 'a> {
        Describer { view: &self.view, namespace }
    }
}

fn kind_of(kind: LocalSourceKind) -> &'static str {
    match kind {
        LocalSourceKind::ConfigMap => "ConfigMap",
        LocalSourceKind::Secret => "Secret",
        LocalSourceKind::GitRepository => "GitRepository",
        LocalSourceKind::Bucket => "Bucket",
        LocalSourceKind::OciRepository => "OCIRepository",
    }
}

fn kind_of_remote(remote: &RemoteSourceSpec) -> &'static str {
    match (&remote.git, &remote.bucket, &remote.oci) {
        (Some(_), _, _) => "GitRepository",
        (None, Some(_), _) => "Bucket",
        (None, None, Some(_)) => "OCIRepository",
        (None, None, None) => "HTTP",
    }
}

fn keys_of_map(map: &ConfigMap) -> Tree {
    let text = map.data.iter().flatten().map(|(key, text)| (key.clone(), text.clone().into_bytes()));
    let binary = map.binary_data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone()));
    text.chain(binary).collect()
}

fn keys_of_secret(secret: &Secret) -> Tree {
    secret.data.iter().flatten().map(|(key, bytes)| (key.clone(), bytes.0.clone())).collect()
}

fn of_object(kind: &str, namespace: &str, name: &str, source: Result<Source, String>) -> Described {
    let name = Name { namespace: namespace.to_owned(), name: format!("{kind}/{name}") };
    Described { name, source, include: Vec::new() }
}

/// Lays the files of a folder over others; what was there under the same path gives way.
fn lay(files: &mut Tree, other: &Tree, from: &str, to: &str) -> Result<(), String> {
    let part = source::below(other, from).ok_or_else(|| format!("there is no \"{from}\""))?;
    for (path, bytes) in part {
        files.insert(if to.is_empty() { path } else { format!("{to}/{path}") }, bytes);
    }
    let limits = source::Limits::default();
    let bytes: usize = files.values().map(Vec::len).sum();
    if bytes > limits.tree_bytes_max || files.len() > limits.tree_files_max {
        return Err(format!(
            "together they have {} files of {bytes} bytes, at most {} of {} are accepted",
            files.len(),
            limits.tree_files_max,
            limits.tree_bytes_max
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn included_files_lie_where_they_are_wanted_and_take_the_place_of_others() {
        let tree = |files: &[(&str, &str)]| -> Tree {
            files.iter().map(|(path, text)| ((*path).to_owned(), text.as_bytes().to_vec())).collect()
        };
        let mut files = tree(&[("a.yaml", "own"), ("lib/b.yaml", "own")]);
        let other = tree(&[("deploy/b.yaml", "other"), ("deploy/in/c.yaml", "other"), ("d.yaml", "other")]);
        lay(&mut files, &other, "deploy", "lib").unwrap();
        assert_eq!(files, tree(&[("a.yaml", "own"), ("lib/b.yaml", "other"), ("lib/in/c.yaml", "other")]));
        assert_eq!(lay(&mut files, &other, "no", "lib").unwrap_err(), "there is no \"no\"");
    }
}
