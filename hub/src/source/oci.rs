//! Charts in an OCI registry (OCI distribution specification 1.1, Helm's media types), pulled by hand: a manifest, its
//! chart layer, and a bearer token when the registry asks for one.

use std::collections::BTreeMap;

use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode, Url};
use serde::Deserialize;

use super::http::{self, CHART_BYTES_MAX, DOCUMENT_BYTES_MAX, FetchError};
use super::repository::verified;
use super::version::{Constraint, lenient};
use super::{Archive, Repository};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Layer {
    media_type: String,
    digest: String,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Vec<String>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Picks the newest version that satisfies the constraint and pulls it.
pub(super) async fn fetch(
    client: &Client,
    repository: &Repository,
    chart: &str,
    version: &str,
) -> Result<Archive, FetchError> {
    let mut registry = Registry::new(client, repository, chart)?;
    let version = registry.pick(chart, version).await?;
    // A tag cannot hold "+"; Helm writes "_".
    let manifest_url = format!("{}/manifests/{}", registry.base, version.replace('+', "_"));
    let body = registry.get(&manifest_url, MANIFEST, DOCUMENT_BYTES_MAX).await?;
    let malformed = |detail: String| FetchError::Malformed { url: manifest_url.clone(), detail };
    let manifest: Manifest = serde_json::from_slice(&body).map_err(|error| malformed(error.to_string()))?;
    let layer = manifest
        .layers
        .iter()
        .find(|layer| layer.media_type == CHART_LAYER)
        .ok_or_else(|| malformed(format!("no layer of type {CHART_LAYER}")))?;
    let url = format!("{}/blobs/{}", registry.base, layer.digest);
    let content = registry.get(&url, "*/*", CHART_BYTES_MAX).await?;
    let digest = verified(&content, Some(&layer.digest), &url)?;
    Ok(Archive { version, digest, content })
}

struct Registry<'a> {
    client: &'a Client,
    repository: &'a Repository,
    /// `https://host/v2/<repository>`.
    base: String,
    authorization: Option<String>,
}

impl<'a> Registry<'a> {
    fn new(client: &'a Client, repository: &'a Repository, chart: &str) -> Result<Self, FetchError> {
        let wrong = || FetchError::Address { url: repository.url.clone() };
        let (host, path) = {
            let rest = repository.url.strip_prefix("oci://").ok_or_else(wrong)?.trim_end_matches('/');
            rest.split_once('/').unwrap_or((rest, ""))
        };
        if host.is_empty() {
            return Err(wrong());
        }
        let scheme = if repository.insecure { "http" } else { "https" };
        let slash = if path.is_empty() { "" } else { "/" };
        let base = format!("{scheme}://{host}/v2/{path}{slash}{chart}");
        Ok(Self { client, repository, base, authorization: None })
    }

    async fn pick(&mut self, chart: &str, version: &str) -> Result<String, FetchError> {
        if semver::Version::parse(version.trim_start_matches('v')).is_ok() {
            return Ok(version.to_owned());
        }
        let constraint = Constraint::parse(version).map_err(FetchError::Version)?;
        let url = format!("{}/tags/list", self.base);
        let body = self.get(&url, "application/json", DOCUMENT_BYTES_MAX).await?;
        let tags: Tags = serde_json::from_slice(&body)
            .map_err(|error| FetchError::Malformed { url: url.clone(), detail: error.to_string() })?;
        let mut versions: Vec<_> = tags
            .tags
            .iter()
            .filter_map(|tag| lenient(&tag.replace('_', "+")).map(|version| (version, tag)))
            .collect();
        versions.sort_by(|one, other| other.0.cmp(&one.0));
        match versions.iter().find(|(version, _)| constraint.matches(version)) {
            Some((_, tag)) => Ok(tag.replace('_', "+")),
            None => Err(FetchError::NoVersion {
                chart: chart.to_owned(),
                url: self.repository.url.clone(),
                version: version.to_owned(),
                newest: versions.first().map(|(version, _)| version.to_string()).unwrap_or_default(),
            }),
        }
    }

    async fn get(&mut self, url: &str, accept: &str, limit: usize) -> Result<bytes::Bytes, FetchError> {
        let first = http::send(self.request(url, accept), url).await?;
        let response = if first.status() == StatusCode::UNAUTHORIZED && self.authorization.is_none() {
            self.authorization = Some(self.authorize(first.headers(), url).await?);
            http::send(self.request(url, accept), url).await?
        } else {
            first
        };
        Ok(http::body(response, url, limit).await?.1)
    }

    fn request(&self, url: &str, accept: &str) -> reqwest::RequestBuilder {
        let request = self.client.get(url).header(ACCEPT, accept);
        match &self.authorization {
            Some(authorization) => request.header(AUTHORIZATION, authorization),
            None => request,
        }
    }

    /// Answers the registry's challenge: a bearer token from where it says, or the credentials themselves.
    async fn authorize(&self, headers: &HeaderMap, url: &str) -> Result<String, FetchError> {
        let denied = || FetchError::Status { url: url.to_owned(), status: StatusCode::UNAUTHORIZED };
        let challenge =
            headers.get(WWW_AUTHENTICATE).and_then(|value| value.to_str().ok()).ok_or_else(denied)?;
        let (scheme, parameters) = challenge.split_once(' ').unwrap_or((challenge, ""));
        let credentials = self.repository.credentials.as_ref();
        if scheme.eq_ignore_ascii_case("basic") {
            let (username, password) = credentials.ok_or_else(denied)?;
            use base64::Engine as _;
            let pair = base64::engine::general_purpose::STANDARD.encode(format!("{username}:{password}"));
            return Ok(format!("Basic {pair}"));
        }
        let parameters = parameters_of(parameters);
        let realm = parameters.get("realm").ok_or_else(denied)?;
        let mut address = Url::parse(realm).map_err(|_| FetchError::Address { url: realm.clone() })?;
        for name in ["service", "scope"] {
            if let Some(value) = parameters.get(name) {
                address.query_pairs_mut().append_pair(name, value);
            }
        }
        let mut request = self.client.get(address.clone());
        if let Some((username, password)) = credentials {
            request = request.basic_auth(username, Some(password));
        }
        let response = http::send(request, address.as_str()).await?;
        let (_, body) = http::body(response, address.as_str(), DOCUMENT_BYTES_MAX).await?;
        let token: Token = serde_json::from_slice(&body)
            .map_err(|error| FetchError::Malformed { url: address.to_string(), detail: error.to_string() })?;
        let token = token.token.or(token.access_token).ok_or_else(denied)?;
        Ok(format!("Bearer {token}"))
    }
}

/// `name="value"` pairs, separated by commas that are not inside a value.
fn parameters_of(text: &str) -> BTreeMap<String, String> {
    let mut parameters = BTreeMap::new();
    let mut rest = text;
    while let Some((name, after)) = rest.split_once('=') {
        let name = name.trim_matches([' ', ',']).to_ascii_lowercase();
        let (value, next) = match after.strip_prefix('"') {
            Some(quoted) => quoted.split_once('"').unwrap_or((quoted, "")),
            None => after.split_once(',').unwrap_or((after, "")),
        };
        parameters.insert(name, value.to_owned());
        rest = next;
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_challenge_is_read_with_commas_inside_its_values() {
        let parameters = parameters_of(
            r#"realm="https://auth.example/token",service="registry.example",scope="repository:a/b:pull,push""#,
        );
        assert_eq!(parameters["realm"], "https://auth.example/token");
        assert_eq!(parameters["scope"], "repository:a/b:pull,push");
    }
}
