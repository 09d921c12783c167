//! What nothing may exceed. Checked before memory is taken.

/// Limits of what is fetched and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Largest index of a chart repository, in bytes.
    pub index_bytes_max: usize,
    /// Largest packed artifact (chart, layer, remote file), in bytes.
    pub archive_bytes_max: usize,
    /// Largest manifest, token, signature, or page of a list, in bytes.
    pub document_bytes_max: usize,
    /// Largest file of a tree, in bytes.
    pub file_bytes_max: usize,
    /// All files of a tree together, in bytes.
    pub tree_bytes_max: usize,
    /// Files of a tree.
    pub tree_files_max: usize,
    /// Longest path of a tree, in bytes.
    pub path_bytes_max: usize,
    /// Bytes that git may write into one file.
    pub git_bytes_max: u64,
    /// Submodules of one tree, those of submodules included.
    pub git_submodules_max: usize,
    /// Memory of one git command, in bytes.
    pub git_memory_bytes_max: u64,
    /// All artifacts on disk together, in bytes; what was used longest ago goes first.
    pub store_bytes_max: u64,
    /// Requests to one host at a time.
    pub host_requests_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            index_bytes_max: 64 << 20,
            archive_bytes_max: 20 << 20,
            document_bytes_max: 4 << 20,
            file_bytes_max: 20 << 20,
            tree_bytes_max: 100 << 20,
            tree_files_max: 20_000,
            path_bytes_max: 1024,
            git_bytes_max: 1 << 30,
            git_submodules_max: 32,
            git_memory_bytes_max: 4 << 30,
            store_bytes_max: 4 << 30,
            host_requests_max: 4,
        }
    }
}
