//! A chart repository over HTTP: an index that lists charts with versions, addresses and digests.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use reqwest::{StatusCode, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::access::Access;
use crate::error::SourceError;
use crate::fetch::{Fetcher, Known, Outcome, Payload};
use crate::http::{authorized, unless};
use crate::origin::{ChartIndex, Source, Verification};
use crate::provenance::{self, Packed};
use crate::url::{self, shown};
use crate::version::{Constraint, lenient};

const SCHEMES: &[&str] = &["http", "https"];
/// Values and lists of an index; the largest public ones have about a million.
const INDEX_NODES_MAX: usize = 8_000_000;

/// What a repository has.
#[derive(Debug, Default, Deserialize)]
pub(crate) struct Index {
    /// Nothing may stand where versions are listed, and in the list: such entries are passed over, as by Helm.
    #[serde(default)]
    entries: BTreeMap<String, Option<Vec<Option<Entry>>>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    #[serde(default)]
    version: Option<String>,
    #[serde(default)]
    urls: Option<Vec<Option<String>>>,
    #[serde(default)]
    digest: Option<String>,
}

impl Entry {
    fn version(&self) -> &str {
        self.version.as_deref().unwrap_or_default()
    }
}

impl Index {
    fn of(&self, chart: &str) -> Vec<&Entry> {
        self.entries.get(chart).into_iter().flatten().flatten().flatten().collect()
    }
}

/// An index with what tells whether there is a newer one.
#[derive(Clone)]
pub(crate) struct Shelved {
    pub(crate) index: Arc<Index>,
    pub(crate) etag: Option<String>,
}

/// Fetches the index; the one that is known when it has not changed.
pub(crate) async fn index(
    fetcher: &Fetcher,
    address: &str,
    access: &Access,
    known: Option<Shelved>,
) -> Result<Shelved, SourceError> {
    let at = url::folder(url::of(address, SCHEMES)?);
    let at = at.join("index.yaml").map_err(|_| wrong(address))?;
    let request = authorized(fetcher.http.client(access)?.get(at.clone()), access.credentials.as_ref());
    let request = unless(request, known.as_ref().and_then(|known| known.etag.as_deref()));
    let answer = fetcher.http.get(request, access, fetcher.limits.index_bytes_max, &at).await?;
    if let (StatusCode::NOT_MODIFIED, Some(known)) = (answer.status, known) {
        return Ok(known);
    }
    let etag = answer.etag();
    let malformed = |detail: String| SourceError::Malformed { url: shown(at.as_str()), detail };
    let text = std::str::from_utf8(&answer.body).map_err(|error| malformed(error.to_string()))?;
    let index = read(text).map_err(malformed)?;
    if index.entries.is_empty() && !text.contains("entries") {
        return Err(malformed(
            "it has no \"entries\": this is not the index of a chart repository".to_owned(),
        ));
    }
    Ok(Shelved { index: Arc::new(index), etag })
}

/// An index is YAML, or JSON as `helm repo index --json` writes it. Large repositories list tens of thousands of
/// versions: the reader's own bounds are for configuration files, here the bytes of the answer are the bound.
fn read(text: &str) -> Result<Index, String> {
    if text.trim_start().starts_with('{')
        && let Ok(index) = serde_json::from_str(text)
    {
        return Ok(index);
    }
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_events: INDEX_NODES_MAX * 2,
            max_nodes: INDEX_NODES_MAX,
        },
    };
    serde_saphyr::from_str_with_options(text, options).map_err(|error| error.to_string())
}

/// Picks the newest version that satisfies the constraint and fetches it.
pub(crate) async fn fetch(
    fetcher: &Fetcher,
    origin: &ChartIndex,
    source: &Source,
    known: Option<&Known>,
) -> Result<Outcome, SourceError> {
    let access = &source.access;
    let index = fetcher.index(&origin.url, access).await?;
    let (version, pin) = pinned(&origin.version)?;
    let entry = pick(&index, origin, version)?;
    let expected = pin.or(entry.digest.as_deref().map(plain).filter(|digest| !digest.is_empty()));
    if let (Some(known), Some(expected)) = (known, expected)
        && known.revision == entry.version()
        && known.digest.eq_ignore_ascii_case(expected)
    {
        return Ok(Outcome::Unchanged);
    }
    let base = url::folder(url::of(&origin.url, SCHEMES)?);
    let mut last = SourceError::Malformed {
        url: shown(&origin.url),
        detail: format!("chart \"{}\" version {} has no url", origin.chart, entry.version()),
    };
    for reference in entry.urls.iter().flatten().flatten() {
        let fetched = archive(fetcher, &base, reference, access, expected).await;
        let fetched = match fetched {
            Ok((at, content)) => {
                let packed = Packed {
                    chart: &origin.chart,
                    version: entry.version(),
                    content: &content,
                    url: at.as_str(),
                };
                signed(fetcher, &base, &packed, source).await.map(|()| content)
            }
            Err(error) => Err(error),
        };
        match fetched {
            Ok(content) => {
                return Ok(Outcome::New(Box::new(Payload::archive(entry.version().to_owned(), content))));
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn archive(
    fetcher: &Fetcher,
    base: &Url,
    reference: &str,
    access: &Access,
    expected: Option<&str>,
) -> Result<(Url, Bytes), SourceError> {
    let at = base.join(reference).map_err(|_| wrong(reference))?;
    let at = url::of(at.as_str(), SCHEMES)?;
    if let Some(content) = expected.and_then(|digest| fetcher.store.content(&digest.to_ascii_lowercase())) {
        return Ok((at, content));
    }
    let content = beside(fetcher, base, &at, access, fetcher.limits.archive_bytes_max).await?;
    verified(&content, expected, at.as_str())?;
    Ok((at, content))
}

/// A file that belongs to the repository; another host gets credentials only when that is wanted.
async fn beside(
    fetcher: &Fetcher,
    base: &Url,
    at: &Url,
    access: &Access,
    limit: usize,
) -> Result<Bytes, SourceError> {
    let mut request = fetcher.http.client(access)?.get(at.clone());
    if url::host(at) == url::host(base) || access.pass_credentials {
        request = authorized(request, access.credentials.as_ref());
    }
    Ok(fetcher.http.get(request, access, limit, at).await?.body)
}

/// Fetches the provenance file beside a chart, where one is demanded, and holds the chart against it.
async fn signed(
    fetcher: &Fetcher,
    base: &Url,
    packed: &Packed<'_>,
    source: &Source,
) -> Result<(), SourceError> {
    for verification in &source.verification {
        let Verification::Provenance(keys) = verification else { continue };
        let mut at = url::of(packed.url, SCHEMES)?;
        at.set_path(&format!("{}.prov", at.path()));
        let limit = fetcher.limits.document_bytes_max;
        let provenance = match beside(fetcher, base, &at, &source.access, limit).await {
            Err(SourceError::Status { url, status: StatusCode::NOT_FOUND }) => {
                let detail =
                    format!("there is no provenance file at \"{url}\": sign it with \"helm package --sign\"");
                return Err(SourceError::Signature { url: shown(packed.url), detail });
            }
            other => other?,
        };
        provenance::verify(packed, &provenance, keys, fetcher.now())?;
    }
    Ok(())
}

/// The SHA-256 of the content in hexadecimal; an error when another one was announced.
pub(crate) fn verified(content: &[u8], expected: Option<&str>, url: &str) -> Result<String, SourceError> {
    let got = hex::encode(Sha256::digest(content));
    match expected.map(plain) {
        Some(expected) if !expected.is_empty() && !expected.eq_ignore_ascii_case(&got) => {
            Err(SourceError::Digest { url: shown(url), expected: expected.to_owned(), got })
        }
        _ => Ok(got),
    }
}

fn plain(digest: &str) -> &str {
    digest.trim().trim_start_matches("sha256:")
}

/// A version or range, and the digest (SHA-256, hexadecimal) that it is pinned to: `1.2.0@sha256:...`.
pub(crate) fn pinned(version: &str) -> Result<(&str, Option<&str>), SourceError> {
    let Some((version, pin)) = version.split_once('@') else { return Ok((version, None)) };
    let digits = pin.strip_prefix("sha256:").unwrap_or_default();
    if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        let detail = format!(
            "version \"{version}\" is pinned to \"{pin}\", which is no digest: expected sha256: and 64 hexadecimal digits"
        );
        return Err(SourceError::Prepare { detail });
    }
    Ok((version, Some(digits)))
}

fn pick(index: &Index, origin: &ChartIndex, version: &str) -> Result<Entry, SourceError> {
    let ChartIndex { url, chart, .. } = origin;
    let constraint = Constraint::parse(version).map_err(SourceError::Version)?;
    let entries = index.of(chart);
    if entries.is_empty() {
        let near = index.entries.keys().take(5).map(String::as_str).collect::<Vec<_>>().join(", ");
        return Err(SourceError::Absent {
            what: format!("chart \"{chart}\""),
            url: shown(url),
            alternative: if near.is_empty() { String::new() } else { format!("; it has {near}") },
        });
    }
    // The very text comes first: a version need not be canonical to be named.
    if let Some(exact) = entries.iter().find(|entry| entry.version() == version) {
        return Ok((*exact).clone());
    }
    let mut versions: Vec<_> =
        entries.iter().filter_map(|entry| Some((lenient(entry.version())?, *entry))).collect();
    versions.sort_by(|one, other| other.0.cmp(&one.0));
    match versions.iter().find(|(version, _)| constraint.matches(version)) {
        Some((_, entry)) => Ok((*entry).clone()),
        None => Err(SourceError::Absent {
            what: format!("version of chart \"{chart}\" that satisfies \"{version}\""),
            url: shown(url),
            alternative: versions
                .first()
                .map(|(newest, _)| format!("; the newest is {newest}"))
                .unwrap_or_default(),
        }),
    }
}

fn wrong(address: &str) -> SourceError {
    SourceError::Address { address: shown(address), expected: SCHEMES }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_version_that_fits_is_picked() {
        let text = "entries:\n  web:\n  - version: 1.0.0\n  - null\n  - {version: 2.0.0-rc.1, urls: null}\n  \
                    - version: 1.10.0\n  - {version: 1.9.0, urls: [null, x.tgz]}\n  - {}\n  old: null\n  \
                    short: [{version: 1.10}]\n";
        let index: Index = serde_saphyr::from_str(text).unwrap();
        let picked = |chart: &str, version: &str| {
            let origin = ChartIndex {
                url: "http://me:s3cret@charts.example".into(),
                chart: chart.into(),
                version: version.into(),
            };
            pick(&index, &origin, version)
                .map(|entry| entry.version().to_owned())
                .map_err(|error| error.to_string())
        };
        assert_eq!(picked("web", "*").unwrap(), "1.10.0");
        assert_eq!(picked("web", "2.0.0-rc.1").unwrap(), "2.0.0-rc.1");
        assert_eq!(picked("web", "~1.9").unwrap(), "1.9.0");
        assert_eq!(picked("short", "*").unwrap(), "1.10");
        assert!(picked("old", "*").unwrap_err().contains("no chart \"old\""));
        assert!(picked("web", "3").unwrap_err().contains("the newest is 2.0.0-rc.1"));
        assert_eq!(
            picked("db", "*").unwrap_err(),
            "no chart \"db\" at \"http://charts.example/\"; it has old, short, web"
        );
    }

    #[test]
    fn an_index_of_many_megabytes_is_read_and_so_is_json() {
        let mut text = "apiVersion: v1\nentries:\n".to_owned();
        for chart in 0..400 {
            text.push_str(&format!("  chart-{chart}:\n"));
            for version in 0..60 {
                text.push_str(&format!(
                    "  - name: chart-{chart}\n    version: 1.{version}.0\n    description: {}\n    urls:\n    - x.tgz\n    \
                     keywords: [a, b]\n    maintainers:\n    - name: me\n      email: me@example.com\n",
                    "what it is for ".repeat(40)
                ));
            }
        }
        assert!(text.len() > 15 << 20, "{}", text.len());
        assert_eq!(read(&text).unwrap().of("chart-399").len(), 60);
        let json = r#"{"apiVersion": "v1", "entries": {"web": [{"version": "1.0.0", "urls": ["x.tgz"], "digest": null}]}}"#;
        assert_eq!(read(json).unwrap().of("web")[0].version(), "1.0.0");
        assert!(read("{\"entries\": [}").is_err());
    }

    #[test]
    fn a_version_may_be_pinned_to_a_digest() {
        let digest = "0123456789abcdef".repeat(4);
        assert_eq!(pinned(&format!("1.x@sha256:{digest}")).unwrap(), ("1.x", Some(digest.as_str())));
        assert_eq!(pinned(">=1").unwrap(), (">=1", None));
        let error = pinned("1.0.0@sha256:00").unwrap_err().to_string();
        assert!(error.contains("\"sha256:00\"") && error.contains("64 hexadecimal"), "{error}");
    }

    #[test]
    fn altered_content_is_refused() {
        let digest = verified(b"chart", None, "u").unwrap();
        assert!(verified(b"chart", Some(&format!("sha256:{digest}")), "u").is_ok());
        assert!(verified(b"chart", Some("00"), "u").unwrap_err().to_string().contains("expected is 00"));
    }
}
