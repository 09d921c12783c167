//! How to get in: credentials, certificates, keys. None of it can be printed.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// A text that must not be seen. Debug shows only that there is one; there is no Display.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Hidden(Arc<str>);

impl Hidden {
    /// Hides a text.
    pub fn new(text: impl Into<Arc<str>>) -> Self {
        Self(text.into())
    }

    /// The text, for whoever sends it.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Hidden {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("(hidden)")
    }
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Credentials {
    /// User name and password; access key and secret key of a bucket.
    Basic {
        /// User name or access key.
        username: String,
        /// Password or secret key.
        password: Hidden,
    },
    /// A token for `Authorization: Bearer`.
    Bearer(Hidden),
}

/// What TLS needs beside the system's certificate authorities. All are PEM.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Tls {
    /// Certificate authorities to trust as well.
    pub authorities: Option<Hidden>,
    /// The client's certificate chain.
    pub certificate: Option<Hidden>,
    /// The client's key.
    pub key: Option<Hidden>,
}

/// How to get in by SSH. The host's key is always checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct SshIdentity {
    /// The private key, as OpenSSH writes it.
    pub identity: Hidden,
    /// The passphrase of the private key.
    pub passphrase: Option<Hidden>,
    /// Keys of hosts, in the format of `known_hosts`.
    pub known_hosts: String,
}

/// All that it takes to reach a source.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Access {
    /// Who asks.
    pub credentials: Option<Credentials>,
    /// A `config.json` of Docker with logins by registry, used where `credentials` are absent.
    pub docker_config: Option<Hidden>,
    /// Certificates.
    pub tls: Tls,
    /// SSH key and known hosts.
    pub ssh: Option<SshIdentity>,
    /// HTTP proxy.
    pub proxy: Option<Proxy>,
    /// Speak plain HTTP where the address does not name the protocol (OCI, buckets).
    pub insecure: bool,
    /// Send the credentials also to other hosts that an index names.
    pub pass_credentials: bool,
    /// How long one request, or one git command, may take.
    pub timeout: Duration,
}

/// A proxy for HTTP and HTTPS.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Proxy {
    /// Its address, `http://host:port`.
    pub address: String,
    /// Who asks.
    pub credentials: Option<(String, Hidden)>,
}

/// How long a request may take where nothing else is said, as in Flux.
const TIMEOUT: Duration = Duration::from_secs(60);

impl Default for Access {
    fn default() -> Self {
        Self {
            credentials: None,
            docker_config: None,
            tls: Tls::default(),
            ssh: None,
            proxy: None,
            insecure: false,
            pass_credentials: false,
            timeout: TIMEOUT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_not_seen_in_any_debug_text() {
        let access = Access {
            credentials: Some(Credentials::Basic { username: "me".into(), password: Hidden::new("s3cret") }),
            docker_config: Some(Hidden::new("s3cret")),
            tls: Tls { key: Some(Hidden::new("s3cret")), ..Tls::default() },
            ..Access::default()
        };
        let text = format!("{access:?}");
        assert!(text.contains("me") && !text.contains("s3cret"), "{text}");
    }
}
