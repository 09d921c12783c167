//! Artifacts in an OCI registry (OCI distribution specification 1.1, Helm's and Flux' media types), pulled by hand: a
//! manifest, a layer of it, and a bearer token when the registry asks for one.

use std::collections::BTreeMap;

use base64::Engine as _;
use bytes::Bytes;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderMap, LINK, WWW_AUTHENTICATE};
use reqwest::{Client, StatusCode, Url};
use semver::Version;
use serde::Deserialize;

use crate::access::{Access, Credentials};
use crate::challenge::{Challenge, challenges};
use crate::chart_index::{pinned, verified};
use crate::cosign;
use crate::error::SourceError;
use crate::fetch::{Fetcher, Known, Outcome, Payload, Raw};
use crate::http::{Answer, authorized};
use crate::login::{self, Ticket};
use crate::origin::{Layer, Registry, RegistryReference, Source, Verification};
use crate::provenance::{self, Packed};
use crate::url::{self, shown};
use crate::version::{Constraint, lenient};

const MANIFESTS: &str = "application/vnd.oci.image.manifest.v1+json, \
application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json";
pub(crate) const CHART_LAYER: &str = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
/// Pages of a list of tags.
const PAGES_MAX: usize = 100;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    #[serde(default)]
    pub(crate) layers: Vec<LayerEntry>,
    #[serde(default)]
    manifests: Vec<LayerEntry>,
}

#[derive(Deserialize, Clone)]
#[serde(rename_all = "camelCase")]
pub(crate) struct LayerEntry {
    #[serde(default)]
    pub(crate) media_type: String,
    pub(crate) digest: String,
    #[serde(default)]
    pub(crate) size: u64,
    #[serde(default)]
    pub(crate) annotations: BTreeMap<String, String>,
    #[serde(default)]
    pub(crate) artifact_type: Option<String>,
}

#[derive(Deserialize)]
struct Tags {
    #[serde(default)]
    tags: Option<Vec<String>>,
}

#[derive(Deserialize)]
struct Token {
    #[serde(default)]
    token: Option<String>,
    #[serde(default)]
    access_token: Option<String>,
}

/// Picks the artifact, holds it against its signature, and pulls its layer.
pub(crate) async fn fetch(
    fetcher: &Fetcher,
    origin: &Registry,
    source: &Source,
    known: Option<&Known>,
) -> Result<Outcome, SourceError> {
    let access = &source.access;
    let mut repository = Repository::new(fetcher, &origin.url, access)?;
    let (wanted, pin) = match &origin.reference {
        RegistryReference::Range { range, filter } => {
            let (range, pin) = pinned(range)?;
            let wanted = RegistryReference::Range { range: range.to_owned(), filter: filter.clone() };
            (wanted, pin.map(|pin| format!("sha256:{pin}")))
        }
        other @ (RegistryReference::Tag(_) | RegistryReference::Digest(_)) => (other.clone(), None),
    };
    let reference = repository.pick(&wanted, origin.layer == Layer::Chart).await?;
    // What is pinned is asked for by its digest, wherever the tag has moved.
    let (body, digest) = repository.manifest(pin.as_ref().unwrap_or(&reference)).await?;
    // The signature is looked at each time: it may have been withdrawn, and the key is part of the question.
    for verification in &source.verification {
        if let Verification::Cosign(keys) = verification {
            cosign::verify(&mut repository, keys, &digest).await?;
        }
    }
    if Known::is(known, &digest) {
        return Ok(Outcome::Unchanged);
    }
    let manifest = repository.read(&reference, &body)?;
    let layer = chosen(&manifest, &origin.layer, &repository.at("manifests", &reference))?;
    let content = match layer.digest.strip_prefix("sha256:").and_then(|digest| fetcher.store.content(digest))
    {
        Some(content) => content,
        None => repository.blob(&layer).await?,
    };
    for verification in &source.verification {
        if let Verification::Provenance(keys) = verification {
            let signed = repository.provenance(&manifest, &reference).await?;
            let (chart, version) = (repository.base.rsplit('/').next().unwrap_or_default(), &reference);
            let (version, url) = (version.replace('_', "+"), repository.at("manifests", &reference));
            let packed = Packed { chart, version: &version, content: &content, url: &url };
            provenance::verify(&packed, &signed, keys, fetcher.now())?;
        }
    }
    let revision = match (&origin.layer, &origin.reference) {
        (Layer::Chart, RegistryReference::Tag(_) | RegistryReference::Range { .. }) => {
            reference.replace('_', "+")
        }
        (_, RegistryReference::Digest(_)) => digest.clone(),
        (Layer::Extract(_) | Layer::Copy(_), _) => format!("{reference}@{digest}"),
    };
    let name = match layer.annotations.get("org.opencontainers.image.title") {
        Some(title) => title.clone(),
        None => repository.base.rsplit('/').next().unwrap_or("layer").to_owned(),
    };
    let content = match &origin.layer {
        Layer::Chart | Layer::Copy(_) => Raw::File { name, bytes: content },
        Layer::Extract(_) => Raw::Archive(content),
    };
    Ok(Outcome::New(Box::new(Payload { revision, marker: Some(digest), content })))
}

/// The layer that is wanted.
fn chosen(manifest: &Manifest, layer: &Layer, url: &str) -> Result<LayerEntry, SourceError> {
    let wanted = match layer {
        Layer::Chart => Some(CHART_LAYER),
        Layer::Extract(wanted) | Layer::Copy(wanted) => wanted.as_deref(),
    };
    let found = manifest.layers.iter().find(|layer| wanted.is_none_or(|wanted| layer.media_type == wanted));
    found.cloned().ok_or_else(|| {
        let there =
            manifest.layers.iter().map(|layer| layer.media_type.as_str()).collect::<Vec<_>>().join(", ");
        let detail = match wanted {
            Some(wanted) => format!("it has no layer of type {wanted}, only: {there}"),
            None if manifest.manifests.is_empty() => "it has no layers".to_owned(),
            None => "it is an index of several artifacts: name the digest or tag of one".to_owned(),
        };
        SourceError::Malformed { url: shown(url), detail }
    })
}

/// One repository of a registry, and what gets in.
pub(crate) struct Repository<'a> {
    fetcher: &'a Fetcher,
    access: &'a Access,
    client: Client,
    ticket: Option<Ticket>,
    /// `https://host/v2/<repository>`.
    base: String,
    authorization: Option<String>,
}

impl<'a> Repository<'a> {
    pub(crate) fn new(fetcher: &'a Fetcher, address: &str, access: &'a Access) -> Result<Self, SourceError> {
        let parsed = url::of(address, &["oci"])?;
        let host = url_host(&parsed);
        let path = parsed.path().trim_matches('/').to_owned();
        if path.is_empty() || path.contains(':') || path.contains('@') {
            return Err(SourceError::Prepare {
                detail: format!(
                    "\"{}\" must name a repository without tag or digest, such as oci://host/team/app",
                    shown(address)
                ),
            });
        }
        let ticket = login::ticket(access, &host, &path)?;
        let (host, path) = login::place(&host, &path);
        let scheme = if access.insecure { "http" } else { "https" };
        Ok(Self {
            fetcher,
            access,
            client: fetcher.http.client(access)?,
            ticket,
            base: format!("{scheme}://{host}/v2/{path}"),
            authorization: None,
        })
    }

    pub(crate) fn at(&self, what: &str, reference: &str) -> String {
        format!("{}/{what}/{reference}", self.base)
    }

    async fn pick(&mut self, reference: &RegistryReference, chart: bool) -> Result<String, SourceError> {
        match reference {
            // A tag cannot hold "+"; Helm writes "_".
            RegistryReference::Tag(tag) if chart => Ok(tag.replace('+', "_")),
            RegistryReference::Tag(tag) => Ok(tag.clone()),
            RegistryReference::Digest(digest) => Ok(digest.clone()),
            RegistryReference::Range { range, .. }
                if chart && Version::parse(range.trim_start_matches('v')).is_ok() =>
            {
                Ok(range.replace('+', "_"))
            }
            RegistryReference::Range { range, filter } => self.newest(range, filter.as_deref()).await,
        }
    }

    /// The tag with the newest version of the range.
    async fn newest(&mut self, range: &str, filter: Option<&str>) -> Result<String, SourceError> {
        let constraint = Constraint::parse(range).map_err(SourceError::Version)?;
        let filter = filter
            .map(|text| {
                regex::RegexBuilder::new(text).size_limit(1 << 20).build().map_err(|error| {
                    SourceError::Prepare {
                        detail: format!("semverFilter \"{text}\" is no regular expression: {error}"),
                    }
                })
            })
            .transpose()?;
        let tags = self.tags().await?;
        let mut versions: Vec<_> = tags
            .iter()
            .filter(|tag| filter.as_ref().is_none_or(|filter| filter.is_match(tag)))
            .filter_map(|tag| lenient(&tag.replace('_', "+")).map(|version| (version, tag)))
            .collect();
        versions.sort_by(|one, other| other.0.cmp(&one.0));
        match versions.iter().find(|(version, _)| constraint.matches(version)) {
            Some((_, tag)) => Ok((*tag).clone()),
            None => Err(SourceError::Absent {
                what: format!("tag with a version that satisfies \"{range}\""),
                url: shown(&self.base),
                alternative: versions
                    .first()
                    .map(|(newest, _)| format!("; the newest is {newest}"))
                    .unwrap_or_default(),
            }),
        }
    }

    async fn tags(&mut self) -> Result<Vec<String>, SourceError> {
        let mut tags = Vec::new();
        let mut at = Some(format!("{}/tags/list", self.base));
        for _ in 0..PAGES_MAX {
            let Some(url) = at.take() else { break };
            let answer = self.get(&url, "application/json", self.fetcher.limits.document_bytes_max).await?;
            let page: Tags = serde_json::from_slice(&answer.body).map_err(|error| malformed(&url, &error))?;
            tags.extend(page.tags.unwrap_or_default());
            at = next_page(&answer.headers, &url);
        }
        Ok(tags)
    }

    /// A manifest with its digest, which is computed here, never believed.
    pub(crate) async fn manifest(&mut self, reference: &str) -> Result<(Bytes, String), SourceError> {
        let url = self.at("manifests", reference);
        let body = self.get(&url, MANIFESTS, self.fetcher.limits.document_bytes_max).await?.body;
        let expected = reference.strip_prefix("sha256:");
        if expected.is_none() && reference.contains(':') {
            return Err(SourceError::Prepare {
                detail: format!("digest \"{reference}\" is not of the form sha256:<64 hexadecimal digits>"),
            });
        }
        let digest = verified(&body, expected, &url)?;
        Ok((body, format!("sha256:{digest}")))
    }

    pub(crate) fn read(&self, reference: &str, body: &[u8]) -> Result<Manifest, SourceError> {
        serde_json::from_slice(body).map_err(|error| malformed(&self.at("manifests", reference), &error))
    }

    pub(crate) async fn blob(&mut self, layer: &LayerEntry) -> Result<Bytes, SourceError> {
        let url = self.at("blobs", &layer.digest);
        let limit = self.fetcher.limits.archive_bytes_max;
        if layer.size > limit as u64 {
            let what = format!("\"{}\"", shown(&url));
            return Err(SourceError::TooLarge { what, limit: limit as u64, unit: "bytes" });
        }
        if !layer.digest.starts_with("sha256:") {
            let detail = format!("digest \"{}\" is not SHA-256", layer.digest);
            return Err(SourceError::Malformed { url: shown(&url), detail });
        }
        let content = self.get(&url, "*/*", limit).await?.body;
        verified(&content, Some(&layer.digest), &url)?;
        Ok(content)
    }

    /// The provenance file among the layers of a chart.
    async fn provenance(&mut self, manifest: &Manifest, reference: &str) -> Result<Bytes, SourceError> {
        match manifest.layers.iter().find(|layer| layer.media_type == provenance::LAYER) {
            Some(layer) => self.blob(&layer.clone()).await,
            None => Err(SourceError::Signature {
                url: shown(&self.at("manifests", reference)),
                detail: "it has no provenance file among its layers: sign it with \"helm package --sign\""
                    .to_owned(),
            }),
        }
    }

    /// Manifests that refer to this digest, of one type; by the referrers API or the tag that stands in for it.
    pub(crate) async fn referrers(&mut self, digest: &str) -> Result<Vec<LayerEntry>, SourceError> {
        let url = self.at("referrers", digest);
        let tag = self.at("manifests", &digest.replace(':', "-"));
        for url in [url, tag] {
            match self
                .get(&url, "application/vnd.oci.image.index.v1+json", self.fetcher.limits.document_bytes_max)
                .await
            {
                Ok(answer) => {
                    let index: Manifest =
                        serde_json::from_slice(&answer.body).map_err(|error| malformed(&url, &error))?;
                    return Ok(index.manifests);
                }
                Err(SourceError::Status { status: StatusCode::NOT_FOUND, .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(Vec::new())
    }

    async fn get(&mut self, url: &str, accept: &str, limit: usize) -> Result<Answer, SourceError> {
        let at = url::of(url, &["http", "https"])?;
        let first = self.request(&at, accept, limit).await?;
        if first.status != StatusCode::UNAUTHORIZED {
            return Ok(first);
        }
        // A token may have run out or be for another scope; a second refusal is final.
        self.authorization = Some(self.authorize(&first.headers, &at).await?);
        let second = self.request(&at, accept, limit).await?;
        if second.status == StatusCode::UNAUTHORIZED {
            return Err(SourceError::Status { url: shown(url), status: second.status });
        }
        Ok(second)
    }

    async fn request(&self, url: &Url, accept: &str, limit: usize) -> Result<Answer, SourceError> {
        let mut request = self.client.get(url.clone()).header(ACCEPT, accept);
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization);
        }
        self.fetcher.http.send(request, self.access, limit).await
    }

    /// Answers the registry's challenge: a bearer token from where it says, or the credentials themselves. Of several
    /// challenges the one for a token goes first: it gives away the least.
    async fn authorize(&self, headers: &HeaderMap, url: &Url) -> Result<String, SourceError> {
        let denied = || SourceError::Status { url: shown(url.as_str()), status: StatusCode::UNAUTHORIZED };
        if let Some(Ticket::Credentials(Credentials::Bearer(token))) = &self.ticket {
            return Ok(format!("Bearer {}", token.reveal()));
        }
        let texts = headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let offered: Vec<Challenge> = texts.flat_map(challenges).collect();
        let of = |scheme: &str| offered.iter().find(|one| one.scheme == scheme);
        if let Some(realm) =
            of("bearer").and_then(|one| one.parameters.get("realm").map(|realm| (one, realm)))
        {
            return self.token(realm.0, realm.1, url).await;
        }
        match (of("basic"), &self.ticket) {
            (Some(_), Some(Ticket::Credentials(Credentials::Basic { username, password }))) => {
                let pair = format!("{username}:{}", password.reveal());
                Ok(format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair)))
            }
            _ => Err(denied()),
        }
    }

    /// A token from where the challenge says (distribution specification, token authentication).
    async fn token(&self, challenge: &Challenge, realm: &str, url: &Url) -> Result<String, SourceError> {
        let denied = || SourceError::Status { url: shown(url.as_str()), status: StatusCode::UNAUTHORIZED };
        let mut address = url::of(realm, &["https", "http"])?;
        // Credentials that may only travel encrypted are not sent in clear because a registry asks for it.
        if address.scheme() == "http" && url.scheme() == "https" {
            return Err(SourceError::Address { address: shown(realm), expected: &["https"] });
        }
        let asked = ["service", "scope"].into_iter();
        let asked = asked.filter_map(|name| Some((name, challenge.parameters.get(name)?.as_str())));
        let request = match &self.ticket {
            Some(Ticket::Identity(token)) => {
                let fixed = [
                    ("grant_type", "refresh_token"),
                    ("refresh_token", token.reveal()),
                    ("client_id", "skein"),
                ];
                let form = url::form(asked.chain(fixed));
                let typed = self.client.post(address.clone());
                typed.header(CONTENT_TYPE, "application/x-www-form-urlencoded").body(form)
            }
            Some(Ticket::Credentials(credentials)) => {
                address.query_pairs_mut().extend_pairs(asked);
                authorized(self.client.get(address.clone()), Some(credentials))
            }
            None => {
                address.query_pairs_mut().extend_pairs(asked);
                self.client.get(address.clone())
            }
        };
        let limit = self.fetcher.limits.document_bytes_max;
        let answer = self.fetcher.http.get(request, self.access, limit, &address).await?;
        let token: Token = serde_json::from_slice(&answer.body).map_err(|_| SourceError::Malformed {
            url: shown(address.as_str()),
            detail: "the answer is not the JSON of a token".to_owned(),
        })?;
        let token =
            token.token.filter(|token| !token.is_empty()).or(token.access_token).ok_or_else(denied)?;
        Ok(format!("Bearer {token}"))
    }
}

fn malformed(url: &str, error: &serde_json::Error) -> SourceError {
    SourceError::Malformed { url: shown(url), detail: error.to_string() }
}

/// Host with the port where one is given.
fn url_host(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

/// Where the list goes on, if it does and stays at the same host.
fn next_page(headers: &HeaderMap, url: &str) -> Option<String> {
    let link = headers.get(LINK)?.to_str().ok()?;
    let (target, rest) = link.trim().strip_prefix('<')?.split_once('>')?;
    if !rest.contains("next") {
        return None;
    }
    let base = Url::parse(url).ok()?;
    let next = base.join(target).ok()?;
    (next.origin() == base.origin()).then(|| next.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_goes_on_only_at_the_same_host() {
        let mut headers = HeaderMap::new();
        headers.insert(LINK, "</v2/a/tags/list?last=b>; rel=\"next\"".parse().unwrap());
        assert_eq!(
            next_page(&headers, "https://h/v2/a/tags/list").unwrap(),
            "https://h/v2/a/tags/list?last=b"
        );
        headers.insert(LINK, "<https://evil/v2/a>; rel=\"next\"".parse().unwrap());
        assert_eq!(next_page(&headers, "https://h/v2/a/tags/list"), None);
    }
}
