//! Services in real containers: a hub, a region and an edge agent as processes, and below the edge a cluster of two
//! nodes whose kubelets run what comes. It needs root; elsewhere each test says that it is skipped.

mod broken;
mod deaths;
mod helm;
mod hooks;
mod installed;
mod rollouts;
mod stage;
