//! A chart repository over HTTP: an index that lists charts with versions, addresses and digests.

use std::collections::BTreeMap;

use bytes::Bytes;
use reqwest::{Client, RequestBuilder, Url};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use super::http::{self, CHART_BYTES_MAX, FetchError, INDEX_BYTES_MAX};
use super::version::{Constraint, lenient};
use super::{Archive, Repository};

/// What a repository has.
#[derive(Debug, Default, Deserialize)]
pub(super) struct Index {
    #[serde(default)]
    entries: BTreeMap<String, Vec<Entry>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Entry {
    version: String,
    #[serde(default)]
    urls: Vec<String>,
    #[serde(default)]
    digest: Option<String>,
}

/// Fetches the index.
pub(super) async fn index(client: &Client, repository: &Repository) -> Result<Index, FetchError> {
    let url = base(&repository.url)?
        .join("index.yaml")
        .map_err(|_| FetchError::Address { url: repository.url.clone() })?;
    let response = http::send(credentials(client.get(url.clone()), repository), url.as_str()).await?;
    let (_, body) = http::body(response, url.as_str(), INDEX_BYTES_MAX).await?;
    let malformed = |detail: String| FetchError::Malformed { url: url.to_string(), detail };
    let text = std::str::from_utf8(&body).map_err(|error| malformed(error.to_string()))?;
    serde_saphyr::from_str(text).map_err(|error| malformed(error.to_string()))
}

/// Picks the newest version that satisfies the constraint and fetches it.
pub(super) async fn fetch(
    client: &Client,
    repository: &Repository,
    index: &Index,
    chart: &str,
    version: &str,
) -> Result<Archive, FetchError> {
    let entry = pick(index, repository, chart, version)?;
    let reference = entry.urls.first().ok_or_else(|| FetchError::Malformed {
        url: repository.url.clone(),
        detail: format!("chart \"{chart}\" version {} has no url", entry.version),
    })?;
    let base = base(&repository.url)?;
    let url = base.join(reference).map_err(|_| FetchError::Address { url: reference.clone() })?;
    let mut request = client.get(url.clone());
    if url.host() == base.host() || repository.pass_credentials {
        request = credentials(request, repository);
    }
    let response = http::send(request, url.as_str()).await?;
    let (_, content) = http::body(response, url.as_str(), CHART_BYTES_MAX).await?;
    let digest = verified(&content, entry.digest.as_deref(), url.as_str())?;
    Ok(Archive { version: entry.version, digest, content })
}

/// The SHA-256 of the content in hexadecimal; an error when another one was announced.
pub(super) fn verified(content: &Bytes, expected: Option<&str>, url: &str) -> Result<String, FetchError> {
    let got = hex::encode(Sha256::digest(content));
    match expected.map(|digest| digest.trim_start_matches("sha256:")) {
        Some(expected) if !expected.is_empty() && !expected.eq_ignore_ascii_case(&got) => {
            Err(FetchError::Digest { url: url.to_owned(), expected: expected.to_owned(), got })
        }
        _ => Ok(got),
    }
}

fn pick(index: &Index, repository: &Repository, chart: &str, version: &str) -> Result<Entry, FetchError> {
    let constraint = Constraint::parse(version).map_err(FetchError::Version)?;
    let entries = index
        .entries
        .get(chart)
        .filter(|entries| !entries.is_empty())
        .ok_or_else(|| FetchError::NoChart { chart: chart.to_owned(), url: repository.url.clone() })?;
    let mut versions: Vec<_> =
        entries.iter().filter_map(|entry| Some((lenient(&entry.version)?, entry))).collect();
    versions.sort_by(|one, other| other.0.cmp(&one.0));
    // The very text comes first: a version need not be canonical to be named.
    if let Some(exact) = entries.iter().find(|entry| entry.version == version) {
        return Ok(exact.clone());
    }
    match versions.iter().find(|(version, _)| constraint.matches(version)) {
        Some((_, entry)) => Ok((*entry).clone()),
        None => Err(FetchError::NoVersion {
            chart: chart.to_owned(),
            url: repository.url.clone(),
            version: version.to_owned(),
            newest: versions.first().map(|(version, _)| version.to_string()).unwrap_or_default(),
        }),
    }
}

/// The repository's address as a folder, so that relative references resolve inside it.
fn base(url: &str) -> Result<Url, FetchError> {
    let wrong = || FetchError::Address { url: url.to_owned() };
    let mut base = Url::parse(url).map_err(|_| wrong())?;
    if !matches!(base.scheme(), "http" | "https") {
        return Err(wrong());
    }
    if !base.path().ends_with('/') {
        base.set_path(&format!("{}/", base.path()));
    }
    Ok(base)
}

fn credentials(request: RequestBuilder, repository: &Repository) -> RequestBuilder {
    match &repository.credentials {
        Some((username, password)) => request.basic_auth(username, Some(password)),
        None => request,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index_of(versions: &[&str]) -> Index {
        let entries = versions
            .iter()
            .map(|version| Entry { version: (*version).to_owned(), urls: Vec::new(), digest: None })
            .collect();
        Index { entries: BTreeMap::from([("web".to_owned(), entries)]) }
    }

    #[test]
    fn the_newest_version_that_fits_is_picked() {
        let index = index_of(&["1.0.0", "2.0.0-rc.1", "1.10.0", "1.9.0"]);
        let repository = Repository { url: "http://charts.example".to_owned(), ..Repository::default() };
        let picked = |version| pick(&index, &repository, "web", version).map(|entry| entry.version);
        assert_eq!(picked("*").unwrap(), "1.10.0");
        assert_eq!(picked("2.0.0-rc.1").unwrap(), "2.0.0-rc.1");
        assert_eq!(picked("~1.9").unwrap(), "1.9.0");
        assert!(picked("3").unwrap_err().to_string().contains("the newest is 2.0.0-rc.1"));
        assert!(pick(&index, &repository, "db", "*").unwrap_err().to_string().contains("no chart \"db\""));
    }

    #[test]
    fn a_repository_without_trailing_slash_is_a_folder_too() {
        assert_eq!(
            base("http://h/charts").unwrap().join("index.yaml").unwrap().as_str(),
            "http://h/charts/index.yaml"
        );
        assert!(base("ftp://h").is_err());
    }

    #[test]
    fn altered_content_is_refused() {
        let content = Bytes::from_static(b"chart");
        let digest = verified(&content, None, "u").unwrap();
        assert!(verified(&content, Some(&format!("sha256:{digest}")), "u").is_ok());
        assert!(verified(&content, Some("00"), "u").unwrap_err().to_string().contains("the index says 00"));
    }
}
