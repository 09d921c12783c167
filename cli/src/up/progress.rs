//! What `skein up` tells while it starts: one line per part, with the time since the beginning.

use std::path::Path;
use std::time::Instant;

use super::mesh::Mesh;
use crate::command::print;

/// The beginning.
pub(crate) struct Progress {
    begun: Instant,
}

impl Progress {
    /// Begins, and says with which state directory.
    pub(crate) fn begin(state: &Path, resumed: bool) -> Self {
        let what = if resumed { "resuming the mesh in" } else { "a new mesh in" };
        print(&format!("skein: {what} {}", state.display()));
        Self { begun: Instant::now() }
    }

    /// A part is there.
    pub(crate) fn done(&self, part: &str, detail: &str) {
        print(&format!("  {:6.2} s  {part:<18} {detail}", self.begun.elapsed().as_secs_f64()));
    }

    /// Everything is there.
    pub(crate) fn ready(&self, mesh: &Mesh) {
        let program =
            std::env::current_exe().map_or_else(|_| "skein".to_owned(), |path| path.display().to_string());
        let state = format!("--state {}", mesh.state.path().display());
        print(&format!(
            "\nready in {:.1} s; Ctrl-C stops everything, a second `up` resumes it\n\n\
             Try, in another terminal:\n  \
             alias skein='{program} {state}'\n  \
             skein status\n  \
             export KUBECONFIG=$(skein kubeconfig hub)\n  \
             kubectl get regions,clusterdeployments,multiclusterservices,servicesets,edges -A\n  \
             kubectl apply -f deploy/examples/first-cluster.yaml\n  \
             kubectl wait clusterdeployment/shop-1 -n default --for=condition=Ready --timeout=60s\n  \
             KUBECONFIG=$(skein kubeconfig edge/shop-1) kubectl get deploy,pods -A\n  \
             skein query 'sum by (region) (rate(skein_edge_applies_total[5m]))'\n  \
             skein cost --by namespace --window 1h",
            self.begun.elapsed().as_secs_f64(),
        ));
    }
}
