//! Hosted control planes: `HostedControlPlane` objects become Kubernetes APIs, by Cluster API's contract.
//!
//! - [`driver`]: what runs a control plane: `embedded` talks to the host of embedded clusters
//! - [`reconciler`]: from object to running control plane, kubeconfig Secret, edge agent and status
//! - [`core`]: the part of Cluster API's core that sums up a Cluster, where no Cluster API runs

pub mod core;
pub mod driver;
pub mod reconciler;
