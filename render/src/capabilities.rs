//! What the cluster can do, as `.Capabilities` shows it.

use std::rc::Rc;

use crate::template::args::Args;
use crate::template::fault::Fault;
use crate::template::funcs::Answer;
use crate::template::object::Object;
use crate::template::value::Value;

/// The API versions that `helm template` assumes without a cluster.
const DEFAULT_API_VERSIONS: [&str; 55] = [
    "v1",
    "admissionregistration.k8s.io/v1",
    "admissionregistration.k8s.io/v1alpha1",
    "admissionregistration.k8s.io/v1beta1",
    "internal.apiserver.k8s.io/v1alpha1",
    "apps/v1",
    "apps/v1beta1",
    "apps/v1beta2",
    "authentication.k8s.io/v1",
    "authentication.k8s.io/v1alpha1",
    "authentication.k8s.io/v1beta1",
    "authorization.k8s.io/v1",
    "authorization.k8s.io/v1beta1",
    "autoscaling/v1",
    "autoscaling/v2",
    "batch/v1",
    "batch/v1beta1",
    "certificates.k8s.io/v1",
    "certificates.k8s.io/v1beta1",
    "certificates.k8s.io/v1alpha1",
    "coordination.k8s.io/v1alpha2",
    "coordination.k8s.io/v1beta1",
    "coordination.k8s.io/v1",
    "discovery.k8s.io/v1",
    "discovery.k8s.io/v1beta1",
    "events.k8s.io/v1",
    "events.k8s.io/v1beta1",
    "extensions/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1",
    "flowcontrol.apiserver.k8s.io/v1beta1",
    "flowcontrol.apiserver.k8s.io/v1beta2",
    "flowcontrol.apiserver.k8s.io/v1beta3",
    "networking.k8s.io/v1",
    "networking.k8s.io/v1beta1",
    "node.k8s.io/v1",
    "node.k8s.io/v1alpha1",
    "node.k8s.io/v1beta1",
    "policy/v1",
    "policy/v1beta1",
    "rbac.authorization.k8s.io/v1",
    "rbac.authorization.k8s.io/v1beta1",
    "rbac.authorization.k8s.io/v1alpha1",
    "resource.k8s.io/v1",
    "resource.k8s.io/v1beta2",
    "resource.k8s.io/v1beta1",
    "resource.k8s.io/v1alpha3",
    "scheduling.k8s.io/v1alpha2",
    "scheduling.k8s.io/v1beta1",
    "scheduling.k8s.io/v1",
    "storage.k8s.io/v1beta1",
    "storage.k8s.io/v1",
    "storage.k8s.io/v1alpha1",
    "storagemigration.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1beta1",
    "apiextensions.k8s.io/v1",
];

/// What the cluster can do. The default is what `helm template` of Helm v4.2 assumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Capabilities {
    /// Version of Kubernetes, with or without the leading `v`.
    pub kube_version: String,
    /// API versions, `group/version` and, on a real cluster, `group/version/Kind`.
    pub api_versions: Vec<String>,
    /// Version of Helm that charts see (`.Capabilities.HelmVersion`).
    pub helm_version: String,
}

impl Default for Capabilities {
    fn default() -> Self {
        Self {
            kube_version: "v1.36.0".to_owned(),
            api_versions: DEFAULT_API_VERSIONS.iter().map(|version| (*version).to_owned()).collect(),
            helm_version: "v4.2.4".to_owned(),
        }
    }
}

impl Capabilities {
    /// The version with its `v`.
    pub(crate) fn full_version(&self) -> String {
        format!("v{}", self.kube_version.strip_prefix('v').unwrap_or(&self.kube_version))
    }

    fn numbers(&self) -> Vec<String> {
        let version = self.kube_version.strip_prefix('v').unwrap_or(&self.kube_version);
        let end = version.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(version.len());
        version[..end].split('.').filter(|part| !part.is_empty()).map(str::to_owned).collect()
    }

    /// The version without the vendor's suffix (`v1.33.4` of `v1.33.4-gke.1`), against which constraints are held.
    pub(crate) fn normalized_version(&self) -> String {
        format!("v{}", self.numbers().join("."))
    }

    /// `.Capabilities`.
    pub(crate) fn to_value(&self) -> Value {
        let numbers = self.numbers();
        let part = |at: usize| numbers.get(at).cloned().unwrap_or_else(|| "0".to_owned());
        let version = KubeVersion {
            version: self.full_version(),
            normalized: self.normalized_version(),
            major: part(0),
            minor: part(1),
        };
        let api_versions = VersionSet(self.api_versions.iter().map(|version| Value::text(version)).collect());
        Value::Object(Rc::new(Shown {
            kube_version: Value::Object(Rc::new(version)),
            api_versions: Value::Object(Rc::new(api_versions)),
            helm_version: Value::Object(Rc::new(HelmVersion {
                version: self.helm_version.clone(),
                client: KUBE_CLIENT_VERSION,
            })),
        }))
    }
}

#[derive(Debug)]
struct Shown {
    kube_version: Value,
    api_versions: Value,
    helm_version: Value,
}

impl Object for Shown {
    fn type_name(&self) -> &'static str {
        "*common.Capabilities"
    }

    fn kind_name(&self) -> &'static str {
        "ptr"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "KubeVersion" => Some(self.kube_version.clone()),
            "APIVersions" => Some(self.api_versions.clone()),
            "HelmVersion" => Some(self.helm_version.clone()),
            _ => None,
        }
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let names = ["KubeVersion", "APIVersions", "HelmVersion"];
        names.into_iter().filter_map(|name| Some((name, self.field(name)?))).collect()
    }

    fn print(&self) -> String {
        "&{capabilities}".to_owned()
    }

    fn json_fields(&self) -> Option<Vec<(&'static str, Value)>> {
        Some(self.fields())
    }

    fn data(&self) -> Value {
        let names = ["KubeVersion", "APIVersions", "HelmVersion"];
        Value::Dict(names.into_iter().filter_map(|name| Some((Rc::from(name), self.field(name)?))).collect())
    }
}

#[derive(Debug)]
struct KubeVersion {
    version: String,
    normalized: String,
    major: String,
    minor: String,
}

impl Object for KubeVersion {
    fn type_name(&self) -> &'static str {
        "common.KubeVersion"
    }

    fn field(&self, name: &str) -> Option<Value> {
        Some(Value::text(match name {
            "Version" => &self.version,
            "Major" => &self.major,
            "Minor" => &self.minor,
            _ => return None,
        }))
    }

    fn call(&self, name: &str, _: &[Value]) -> Option<Answer> {
        match name {
            "GitVersion" => Some(Ok(Value::text(&self.version))),
            "String" => Some(Ok(Value::text(&self.normalized))),
            _ => None,
        }
    }

    fn print(&self) -> String {
        self.normalized.clone()
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        let (version, normalized) = (&self.version, &self.normalized);
        let fields = [
            ("Version", version),
            ("normalizedVersion", normalized),
            ("Major", &self.major),
            ("Minor", &self.minor),
        ];
        fields.map(|(name, text)| (name, Value::text(text))).to_vec()
    }

    fn json_fields(&self) -> Option<Vec<(&'static str, Value)>> {
        let names = ["Version", "Major", "Minor"];
        Some(names.into_iter().filter_map(|name| Some((name, self.field(name)?))).collect())
    }

    fn data(&self) -> Value {
        let names = ["Version", "Major", "Minor"];
        Value::Dict(names.into_iter().filter_map(|name| Some((Rc::from(name), self.field(name)?))).collect())
    }
}

#[derive(Debug)]
struct VersionSet(Vec<Value>);

impl Object for VersionSet {
    fn type_name(&self) -> &'static str {
        "common.VersionSet"
    }

    fn kind_name(&self) -> &'static str {
        "slice"
    }

    fn call(&self, name: &str, arguments: &[Value]) -> Option<Answer> {
        if name != "Has" {
            return None;
        }
        if arguments.len() != 1 {
            let text = format!("wrong number of args for Has: want 1 got {}", arguments.len());
            return Some(Err(Fault::Type(text)));
        }
        Some(Args(arguments).string(0).map(|wanted| {
            Value::Bool(self.0.iter().any(|known| matches!(known, Value::Str(known) if *known == wanted)))
        }))
    }

    fn parameters(&self, name: &str) -> Option<&'static str> {
        (name == "Has").then_some("s")
    }

    fn items(&self) -> Option<Vec<Value>> {
        Some(self.0.clone())
    }

    fn print(&self) -> String {
        String::from_utf8_lossy(&crate::template::print::display(&self.data())).into_owned()
    }

    fn data(&self) -> Value {
        Value::list(self.0.clone())
    }
}

/// The Go release that Helm v4.2.4 is built with.
const GO_VERSION: &str = "go1.26.8";

/// The Kubernetes that its client speaks.
const KUBE_CLIENT_VERSION: &str = "v1.36";

#[derive(Debug)]
struct HelmVersion {
    version: String,
    client: &'static str,
}

impl HelmVersion {
    /// Names of the fields, what they are called in JSON, and their texts; a build that is no release knows no commit.
    fn all(&self) -> [(&'static str, &'static str, &str); 5] {
        [
            ("Version", "version", &self.version),
            ("GitCommit", "git_commit", ""),
            ("GitTreeState", "git_tree_state", ""),
            ("GoVersion", "go_version", GO_VERSION),
            ("KubeClientVersion", "kube_client_version", self.client),
        ]
    }
}

impl Object for HelmVersion {
    fn type_name(&self) -> &'static str {
        "version.BuildInfo"
    }

    fn field(&self, name: &str) -> Option<Value> {
        self.fields().into_iter().find_map(|(known, value)| (known == name).then_some(value))
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        self.all().map(|(name, _, text)| (name, Value::text(text))).to_vec()
    }

    fn print(&self) -> String {
        format!("{{{}}}", self.all().map(|(_, _, text)| text).join(" "))
    }

    fn json_fields(&self) -> Option<Vec<(&'static str, Value)>> {
        let told = self.all().into_iter().filter(|(_, _, text)| !text.is_empty());
        Some(told.map(|(_, name, text)| (name, Value::text(text))).collect())
    }

    fn data(&self) -> Value {
        let fields = self.json_fields().unwrap_or_default().into_iter();
        Value::Dict(fields.map(|(name, value)| (Rc::from(name), value)).collect())
    }
}
