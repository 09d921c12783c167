//! Bounds on what a render may consume. Every input is hostile until it is rendered.

/// The bounds of parsing and rendering. All are checked before the work is done or the memory taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Size of a chart archive and of all its files once unpacked, in bytes.
    pub chart_bytes: u64,
    /// Size of one file of a chart once unpacked, in bytes.
    pub chart_file_bytes: u64,
    /// Number of files in a chart, subcharts included.
    pub chart_files: usize,
    /// Depth of charts inside charts.
    pub chart_depth: usize,
    /// Nesting of `template`, `include` and `tpl`.
    pub call_depth: usize,
    /// Nesting of expressions, blocks and YAML nodes.
    pub nesting_depth: usize,
    /// Nodes executed by one render.
    pub steps: u64,
    /// Bytes written by templates and functions in one render.
    pub output_bytes: u64,
    /// Nodes that one YAML document may grow to, aliases expanded.
    pub yaml_nodes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            chart_bytes: 100 * 1024 * 1024,
            chart_file_bytes: 5 * 1024 * 1024,
            chart_files: 20_000,
            chart_depth: 16,
            call_depth: 1_000,
            nesting_depth: 250,
            steps: 50_000_000,
            output_bytes: 512 * 1024 * 1024,
            yaml_nodes: 5_000_000,
        }
    }
}
