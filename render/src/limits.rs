//! Bounds on what a render may consume. Every input is hostile until it is rendered.
//!
//! # Why these numbers
//! The largest charts that are still meant leave a factor of twenty in what a render spends: a thousand deployments of
//! three containers with fifteen variables each, nearly everything through `tpl`, take 1.7 million steps at most and
//! write 27 million bytes at most, all that is built on the way counted; five monitoring stacks in one umbrella
//! (175 groups of 25 rules, 125 dashboards, 50 definitions) take under a two-hundredth of the steps; five megabytes of
//! definitions among the templates stay under a fortieth of steps, bytes and nodes. `tests/render/large.rs` holds the first to it.
//! Sizes of files and charts are Helm's own bounds; nesting is bounded by the stack.

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
