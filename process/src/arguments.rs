//! The arguments every program takes.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, clap::ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Arguments common to all programs.
#[derive(Debug, Clone, Default, clap::Args)]
#[command(next_help_heading = "Process")]
pub struct Common {
    /// Address of the HTTP endpoint: /healthz, /readyz, /metrics and the program's own API. Port 0 picks a free one
    #[arg(long, value_name = "IP:PORT", env = "SKEIN_HTTP")]
    pub http: Option<SocketAddr>,
    /// Write the addresses that were bound into this file, as JSON, once all of them are
    #[arg(long, value_name = "FILE", env = "SKEIN_BOUND_FILE")]
    pub bound_file: Option<PathBuf>,
    /// What to log: a level, or levels per module such as "info,link=debug"
    #[arg(long, value_name = "FILTER", env = "SKEIN_LOG", default_value = "info")]
    pub log: String,
    /// How log lines look
    #[arg(long, value_name = "FORMAT", env = "SKEIN_LOG_FORMAT", value_enum, default_value_t)]
    pub log_format: LogFormat,
    /// Send the program's own traces, logs and metrics by OTLP over HTTP to this collector, for example
    /// http://127.0.0.1:4318. The other OTEL_ variables of the OpenTelemetry specification hold too
    #[arg(long, value_name = "URL", env = "OTEL_EXPORTER_OTLP_ENDPOINT")]
    pub otlp_endpoint: Option<String>,
    /// End when the program that started this one ends
    #[arg(long, hide = true)]
    pub exit_with_parent: bool,
}

/// The longest file of credentials.
const CREDENTIALS_BYTES_MAX: u64 = 4096;

/// The HTTP proxy of programs that dial.
#[derive(Clone, Default, clap::Args)]
pub struct Proxying {
    /// HTTP proxy to go through where UDP is blocked, as http://USER:PASSWORD@HOST:PORT [default: that of HTTPS_PROXY]
    #[arg(long, value_name = "URL", env = "SKEIN_PROXY", hide_env_values = true)]
    pub proxy: Option<String>,
    /// File with USER:PASSWORD for the proxy
    #[arg(long, value_name = "FILE", env = "SKEIN_PROXY_CREDENTIALS")]
    pub proxy_credentials: Option<PathBuf>,
    /// Hosts to reach without the proxy, joined by commas: names with their subdomains, addresses, networks, or *
    #[arg(long, value_name = "HOSTS", env = "NO_PROXY", default_value = "")]
    pub no_proxy: String,
}

impl std::fmt::Debug for Proxying {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        // The proxy may have a password in it.
        f.debug_struct("Proxying").field("no_proxy", &self.no_proxy).finish_non_exhaustive()
    }
}

impl Proxying {
    /// What the machine has for HTTPS.
    pub fn of_machine() -> Option<String> {
        ["HTTPS_PROXY", "https_proxy"].into_iter().find_map(|name| std::env::var(name).ok())
    }

    /// `USER:PASSWORD` from the file, if one is named.
    ///
    /// # Errors
    /// When it cannot be read, or is not of that form.
    pub fn credentials(&self) -> Result<Option<String>> {
        let Some(path) = &self.proxy_credentials else { return Ok(None) };
        let shown = path.display();
        let read = || {
            use std::io::Read as _;
            let mut text = String::new();
            std::fs::File::open(path)?.take(CREDENTIALS_BYTES_MAX).read_to_string(&mut text)?;
            std::io::Result::Ok(text)
        };
        let text = read().with_context(|| format!("failed to read the proxy's credentials in {shown}"))?;
        let line = text.trim_end_matches(['\r', '\n']);
        if !line.contains(':') || line.contains('\n') {
            bail!("the proxy's credentials in {shown} are not of the form USER:PASSWORD, on one line");
        }
        Ok(Some(line.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_of_another_form_are_refused_and_not_shown() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let path = Some(file.path().to_owned());
        let proxying = Proxying { proxy_credentials: path, ..Proxying::default() };
        for wrong in ["hidden", "hidden:hidden\nhidden:hidden\n"] {
            std::fs::write(file.path(), wrong).unwrap();
            let error = format!("{:#}", proxying.credentials().unwrap_err());
            assert!(error.contains("USER:PASSWORD") && !error.contains("hidden"), "{error}");
        }
        std::fs::write(file.path(), "me:se:cret\n").unwrap();
        assert_eq!(proxying.credentials().unwrap().as_deref(), Some("me:se:cret"));
        let url = Some("http://me:hidden@proxy".to_owned());
        assert!(!format!("{:?}", Proxying { proxy: url, ..Proxying::default() }).contains("hidden"));
    }
}
