//! Why a kustomization was refused.

/// Why a kustomization was refused. Paths are relative to the root of the tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KustomizeError {
    /// A folder holds no kustomization.
    #[error(
        "unable to find one of \"kustomization.yaml\", \"kustomization.yml\" or \"Kustomization\" in the folder \"{folder}\""
    )]
    Missing {
        /// The folder.
        folder: String,
    },
    /// A folder holds more than one kustomization.
    #[error("found multiple kustomization files in the folder \"{folder}\": {}; keep one", files.join(", "))]
    Ambiguous {
        /// The folder.
        folder: String,
        /// The files.
        files: Vec<String>,
    },
    /// Something lies elsewhere.
    #[error("{file}: \"{url}\" is remote, and remote bases are not allowed: copy it into the source")]
    Remote {
        /// The kustomization that names it.
        file: String,
        /// The address.
        url: String,
    },
    /// Something that this engine does not run: charts, programs, containers.
    #[error("{file}: {what} is not supported: {cure}")]
    Unsupported {
        /// The kustomization that asks for it.
        file: String,
        /// What it asks for.
        what: String,
        /// What to do instead.
        cure: &'static str,
    },
    /// A path leaves what may be read.
    #[error("{file}: security; \"{path}\" is not in or below \"{root}\"")]
    Outside {
        /// The kustomization that names it.
        file: String,
        /// The path.
        path: String,
        /// The folder that bounds it.
        root: String,
    },
    /// A folder includes itself.
    #[error(
        "{file}: cycle detected: the folder \"{folder}\" contains the folder \"{visited}\" that includes it"
    )]
    Cycle {
        /// The kustomization that closes the cycle.
        file: String,
        /// The folder that it names.
        folder: String,
        /// The folder on the way to it.
        visited: String,
    },
    /// A file that is named is not there.
    #[error("{file}: no such file or folder \"{path}\"")]
    NotFound {
        /// The kustomization that names it.
        file: String,
        /// The path as resolved.
        path: String,
    },
    /// A file is not YAML or holds no objects.
    #[error("{file}: document {document}: {reason}")]
    Yaml {
        /// The file.
        file: String,
        /// Document, counted from 1.
        document: usize,
        /// Why.
        reason: String,
    },
    /// A field of a kustomization is wrong.
    #[error("{file}: {reason}")]
    Field {
        /// The file.
        file: String,
        /// Which field, which value, and what is accepted.
        reason: String,
    },
    /// A step cannot be carried out on the objects at hand.
    #[error("{file}: {field}: {reason}")]
    Apply {
        /// The kustomization.
        file: String,
        /// The field that asks for the step.
        field: String,
        /// Why.
        reason: String,
    },
    /// A bound of [`crate::Limits`] was reached.
    #[error("{at}: the kustomization needs more than the limit \"{limit}\" of {maximum} allows")]
    Limit {
        /// Where.
        at: String,
        /// Name of the limit.
        limit: &'static str,
        /// Its value.
        maximum: u64,
    },
}
