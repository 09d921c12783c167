//! What is simulated, and for which cluster.

use std::time::Duration;

/// What is simulated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Simulate {
    /// Whether Deployments and their like become Pods that run on one node.
    pub workloads: bool,
    /// The node's capacity in cores.
    pub node_cpu_cores: u32,
    /// The node's capacity in GiB.
    pub node_memory_gib: u32,
    /// How long a Pod takes from being scheduled to being ready; zero is at once.
    pub pod_start: Duration,
}

impl Default for Simulate {
    /// No workloads; were they switched on, 8 cores, 32 GiB, and pods that start at once.
    fn default() -> Self {
        Self { workloads: false, node_cpu_cores: 8, node_memory_gib: 32, pod_start: Duration::ZERO }
    }
}

/// What there is to know about the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) cluster: String,
    pub(crate) kubernetes_version: String,
    pub(crate) simulate: Simulate,
}
