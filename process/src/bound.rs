//! The addresses a program bound, for whoever started it on port 0.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::Path;

/// Addresses by role: `http`, `link`, `otlpGrpc`, `otlpHttp`.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Bound {
    /// The process that bound them.
    pub pid: u32,
    /// Address by role.
    #[serde(flatten)]
    pub addresses: BTreeMap<String, SocketAddr>,
}

impl Bound {
    /// Nothing bound, by this process.
    pub fn by_this_process() -> Self {
        Self { pid: std::process::id(), addresses: BTreeMap::new() }
    }

    /// Adds an address.
    #[must_use]
    pub fn with(mut self, role: &str, address: SocketAddr) -> Self {
        self.addresses.insert(role.to_owned(), address);
        self
    }

    /// Writes the file in one step, so that a reader sees all of it or none.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn write(&self, path: &Path) -> std::io::Result<()> {
        let fresh = path.with_extension("new");
        let mut file = std::fs::File::create(&fresh)?;
        file.write_all(&serde_json::to_vec(self)?)?;
        std::fs::rename(&fresh, path)
    }

    /// Reads the file.
    ///
    /// # Errors
    /// When it is not there or not what [`Bound::write`] writes.
    pub fn read(path: &Path) -> std::io::Result<Self> {
        Ok(serde_json::from_slice(&std::fs::read(path)?)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let folder = std::env::temp_dir().join(format!("skein-bound-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let bound = Bound::by_this_process().with("http", "127.0.0.1:8080".parse().unwrap());
        bound.write(&folder.join("bound.json")).unwrap();
        assert_eq!(Bound::read(&folder.join("bound.json")).unwrap(), bound);
        std::fs::remove_dir_all(&folder).unwrap();
    }
}
