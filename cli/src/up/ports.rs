//! Ports: chosen free once, recorded in the state directory, used again while they are free.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::net::TcpListener;

use crate::state_dir::{Record, StateDir};

/// Ports asked for before giving up; nearly always the first serves.
const ATTEMPTS: usize = 16;

/// What a port carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Carrier {
    /// A TCP server.
    Tcp,
    /// A link's listener: one number for UDP and TCP.
    Link,
}

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

    /// An address for another process to bind: free at this moment, the recorded one if that is.
    ///
    /// # Errors
    /// When no port is free.
    pub(crate) fn address(&self, role: &str, carrier: Carrier) -> Result<SocketAddr> {
        let recorded = self.recorded(role);
        let port = free(recorded, carrier)
            .or_else(|error| {
                if recorded != 0 {
                    tracing::warn!(role, port = recorded, %error, "the port is taken; another one is used");
                }
                any_free(carrier)
            })
            .with_context(|| format!("no port for {role}"))?;
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

/// A port that is free at this moment.
fn any_free(carrier: Carrier) -> io::Result<u16> {
    // One that is free for UDP may be taken for TCP.
    let mut tried = (0..ATTEMPTS).map(|_| free(0, carrier));
    tried.find(Result::is_ok).unwrap_or_else(|| free(0, carrier))
}

fn free(port: u16, carrier: Carrier) -> io::Result<u16> {
    let udp = match carrier {
        Carrier::Tcp => None,
        Carrier::Link => Some(UdpSocket::bind(local(port))?),
    };
    let port = match &udp {
        Some(socket) => socket.local_addr()?.port(),
        None => port,
    };
    Ok(std::net::TcpListener::bind(local(port))?.local_addr()?.port())
}

fn local(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_that_was_taken_meanwhile_is_another_next_time() {
        let folder = std::env::temp_dir().join(format!("skein-ports-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let ports = Ports::new(StateDir::find(Some(folder)).unwrap(), Record::default());
        for carrier in [Carrier::Tcp, Carrier::Link] {
            let first = ports.address("role", carrier).unwrap();
            assert_eq!(ports.address("role", carrier).unwrap(), first, "free, so it is used again");
            let taker = std::net::TcpListener::bind(first).unwrap();
            let second = ports.address("role", carrier).unwrap();
            assert_ne!(second, first);
            drop(taker);
            assert_eq!(ports.address("role", carrier).unwrap(), second, "the record names what is used");
        }
    }
}
