//! Ports: chosen free once, recorded in the state directory, used again while they are free.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use crate::state_dir::{Record, StateDir};

/// The mesh's record of ports, written whenever one is chosen.
#[derive(Clone)]
pub(crate) struct Ports {
    state: StateDir,
    record: Arc<Mutex<Record>>,
}

impl Ports {
    /// The ports of this mesh.
    pub(crate) fn new(state: StateDir, record: Record) -> Self {
        Self { state, record: Arc::new(Mutex::new(record)) }
    }

    /// Listens on the port of a role.
    ///
    /// # Errors
    /// When neither the recorded port nor any other can be bound.
    pub(crate) async fn listen(&self, role: &str) -> Result<TcpListener> {
        let recorded = self.recorded(role);
        let listener = match TcpListener::bind(local(recorded)).await {
            Ok(listener) => listener,
            Err(error) if recorded != 0 => {
                tracing::warn!(role, port = recorded, %error, "the port is taken; another one is used");
                TcpListener::bind(local(0)).await?
            }
            Err(error) => return Err(error).with_context(|| format!("no port for {role}")),
        };
        self.keep(role, listener.local_addr()?.port())?;
        Ok(listener)
    }

    /// An address for another process to bind, over UDP (`true`) or TCP: free at this moment.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) fn address(&self, role: &str, udp: bool) -> Result<SocketAddr> {
        let free = |port: u16| -> std::io::Result<u16> {
            let bound = if udp {
                std::net::UdpSocket::bind(local(port))?.local_addr()?
            } else {
                std::net::TcpListener::bind(local(port))?.local_addr()?
            };
            Ok(bound.port())
        };
        let recorded = self.recorded(role);
        let port = free(recorded).or_else(|_| free(0)).with_context(|| format!("no port for {role}"))?;
        self.keep(role, port)?;
        Ok(local(port))
    }

    /// Changes what else is recorded of the mesh.
    ///
    /// # Errors
    /// When the record cannot be written.
    pub(crate) fn change(&self, change: impl FnOnce(&mut Record)) -> Result<()> {
        let mut record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        let before = record.clone();
        change(&mut record);
        if *record != before {
            self.state.keep(&record)?;
        }
        Ok(())
    }

    /// The mesh as recorded now.
    pub(crate) fn record(&self) -> Record {
        self.record.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn recorded(&self, role: &str) -> u16 {
        self.record().ports.get(role).copied().unwrap_or_default()
    }

    fn keep(&self, role: &str, port: u16) -> Result<()> {
        self.change(|record| {
            record.ports.insert(role.to_owned(), port);
        })
    }
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}
