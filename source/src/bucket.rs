//! The objects of a bucket as a tree, by the S3 API (ListObjectsV2, GetObject).

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use jiff::Timestamp;
use reqwest::{StatusCode, Url};
use sha2::{Digest, Sha256};

use crate::access::Credentials;
use crate::error::SourceError;
use crate::fetch::{Fetcher, Known, Outcome, Payload, Raw};
use crate::origin::{Addressing, Bucket, Source};
use crate::signature_v4::{Signer, encoded};
use crate::unpack::Entries;
use crate::url::{self, shown};

/// Objects that are fetched at a time; hosts have a limit of their own.
const AT_A_TIME: usize = 8;
const REGION: &str = "us-east-1";
/// Where buckets are hosts.
const CLOUDS: &[&str] = &["amazonaws.com", "amazonaws.com.cn", "aliyuncs.com", "storage.googleapis.com"];

struct Object {
    key: String,
    etag: String,
    size: u64,
}

/// Lists, and fetches every object when the list is another one.
pub(crate) async fn fetch(
    fetcher: &Fetcher,
    origin: &Bucket,
    source: &Source,
    known: Option<&Known>,
) -> Result<Outcome, SourceError> {
    let client = Client::new(fetcher, origin, source)?;
    let objects = client.list().await?;
    if objects.is_empty() {
        return Err(SourceError::Absent {
            what: format!("object with the prefix \"{}\" in bucket \"{}\"", origin.prefix, origin.bucket),
            url: shown(client.base.as_str()),
            alternative: String::new(),
        });
    }
    let mut digest = Sha256::new();
    for object in &objects {
        digest.update(format!("{}\n{}\n{}\n", object.key, object.etag, object.size));
    }
    let marker = format!("sha256:{}", hex::encode(digest.finalize()));
    if Known::is(known, &marker) {
        return Ok(Outcome::Unchanged);
    }
    let mut entries = Entries::new(client.base.as_str(), &fetcher.limits);
    for object in &objects {
        entries.admit(&object.key, object.size)?;
    }
    let client = &client;
    let mut contents = futures::stream::iter(objects)
        .map(|object| async move {
            let content = client.object(&object).await?;
            Ok::<_, SourceError>((object.key, content))
        })
        .buffered(AT_A_TIME);
    while let Some((key, content)) = contents.try_next().await? {
        entries.file(&key, content.to_vec())?;
    }
    Ok(Outcome::New(Box::new(Payload {
        revision: marker.clone(),
        marker: Some(marker),
        content: Raw::Entries(entries),
    })))
}

struct Client<'a> {
    fetcher: &'a Fetcher,
    origin: &'a Bucket,
    source: &'a Source,
    /// `https://endpoint/bucket/`, or `https://bucket.endpoint/`.
    base: Url,
}

impl<'a> Client<'a> {
    fn new(fetcher: &'a Fetcher, origin: &'a Bucket, source: &'a Source) -> Result<Self, SourceError> {
        let base = base(origin, source.access.insecure)?;
        Ok(Self { fetcher, origin, source, base })
    }

    /// All objects, in the order of their keys; folders that some tools make as objects are left out.
    async fn list(&self) -> Result<Vec<Object>, SourceError> {
        let mut objects = Vec::new();
        let mut token: Option<String> = None;
        loop {
            let mut at = self.base.clone();
            at.set_path(self.base.path().trim_end_matches('/'));
            at.query_pairs_mut().append_pair("list-type", "2").append_pair("max-keys", "1000");
            if !self.origin.prefix.is_empty() {
                at.query_pairs_mut().append_pair("prefix", &self.origin.prefix);
            }
            if let Some(token) = &token {
                at.query_pairs_mut().append_pair("continuation-token", token);
            }
            // A blank is %20 in signatures, and the form encoding of queries writes a plus.
            if let Some(query) = at.query().map(|query| query.replace('+', "%20")) {
                at.set_query(Some(&query));
            }
            let body = self.get(&at, self.fetcher.limits.document_bytes_max).await?;
            let next = read(&body, &mut objects)
                .map_err(|detail| SourceError::Malformed { url: shown(at.as_str()), detail })?;
            if objects.len() > self.fetcher.limits.tree_files_max {
                return Err(SourceError::TooLarge {
                    what: format!("bucket \"{}\"", self.origin.bucket),
                    limit: self.fetcher.limits.tree_files_max as u64,
                    unit: "objects",
                });
            }
            match next {
                Some(next) if token.as_ref() != Some(&next) => token = Some(next),
                _ => break,
            }
        }
        objects.sort_by(|one, other| one.key.cmp(&other.key));
        Ok(objects)
    }

    async fn object(&self, object: &Object) -> Result<Bytes, SourceError> {
        let mut at = self.base.clone();
        // Parts such as ".." would be taken away by the URL: the key is refused before it is asked for.
        if object.key.split('/').any(|part| part == "." || part == "..") {
            return Err(SourceError::Unsafe {
                url: shown(self.base.as_str()),
                path: object.key.clone(),
                reason: "the path leads out".to_owned(),
            });
        }
        at.set_path(&format!("{}{}", self.base.path(), encoded(&object.key, false)));
        self.get(&at, usize::try_from(object.size).unwrap_or_default()).await
    }

    async fn get(&self, url: &Url, limit: usize) -> Result<Bytes, SourceError> {
        let access = &self.source.access;
        let mut request = self.fetcher.http.client(access)?.get(url.clone());
        if let Some(Credentials::Basic { username, password }) = &access.credentials {
            let region = if self.origin.region.is_empty() { REGION } else { &self.origin.region };
            let signer = Signer { access_key: username, secret_key: password.reveal(), region };
            let milliseconds = i64::try_from((self.fetcher.clock)()).unwrap_or_default();
            let now = Timestamp::from_millisecond(milliseconds).unwrap_or_default();
            let time = now.strftime("%Y%m%dT%H%M%SZ").to_string();
            for (name, value) in signer.headers(url, &time) {
                request = request.header(name, value);
            }
        }
        match self.fetcher.http.get(request, access, limit, url).await {
            Err(SourceError::Status { url, status }) if status == StatusCode::FORBIDDEN => {
                Err(SourceError::Request {
                    url,
                    detail:
                        "the server answers 403 Forbidden: accesskey or secretkey is wrong, they give no \
                             access to this bucket, its region is another one, or the clocks differ"
                            .to_owned(),
                })
            }
            other => other.map(|answer| answer.body),
        }
    }
}

/// The bucket's address.
fn base(origin: &Bucket, insecure: bool) -> Result<Url, SourceError> {
    let endpoint = if origin.endpoint.contains("://") {
        origin.endpoint.clone()
    } else {
        format!("{}://{}", if insecure { "http" } else { "https" }, origin.endpoint)
    };
    let mut base = url::of(&endpoint, &["http", "https"])?;
    let host = base.host_str().unwrap_or_default().to_owned();
    let by_host = match origin.addressing {
        Addressing::Path => false,
        Addressing::Host => true,
        // A dot in the name fits no certificate.
        Addressing::Usual => {
            let cloud = CLOUDS.iter().any(|cloud| host == *cloud || host.ends_with(&format!(".{cloud}")));
            let named = host.starts_with(&format!("{}.", origin.bucket));
            cloud && !named && !origin.bucket.contains('.')
        }
    };
    if by_host {
        let named = format!("{}.{host}", origin.bucket);
        base.set_host(Some(&named)).map_err(|_| SourceError::Prepare {
            detail: format!(
                "bucket \"{}\" cannot be part of a host's name: address it by path",
                origin.bucket
            ),
        })?;
        return Ok(url::folder(base));
    }
    let name = encoded(&origin.bucket, true);
    // Some write the bucket into the endpoint: then it is there already.
    let named = host.starts_with(&format!("{}.", origin.bucket)) && origin.addressing == Addressing::Usual;
    let path = base.path().trim_end_matches('/').to_owned();
    base.set_path(&if named { format!("{path}/") } else { format!("{path}/{name}/") });
    Ok(base)
}

/// Reads one page of a list; returns where it goes on.
fn read(body: &[u8], objects: &mut Vec<Object>) -> Result<Option<String>, String> {
    let text = std::str::from_utf8(body).map_err(|error| error.to_string())?;
    let document = roxmltree::Document::parse(text).map_err(|error| error.to_string())?;
    let root = document.root_element();
    if root.tag_name().name() != "ListBucketResult" {
        return Err(format!("<{}> is no list of a bucket's objects", root.tag_name().name()));
    }
    let child = |node: &roxmltree::Node<'_, '_>, name: &str| {
        let found = node.children().find(|child| child.tag_name().name() == name)?;
        Some(found.text().unwrap_or_default().to_owned())
    };
    for entry in root.children().filter(|child| child.tag_name().name() == "Contents") {
        let key = child(&entry, "Key").ok_or("an object has no key")?;
        let size = child(&entry, "Size").and_then(|size| size.parse().ok()).unwrap_or_default();
        if key.ends_with('/') {
            continue;
        }
        objects.push(Object { key, etag: child(&entry, "ETag").unwrap_or_default(), size });
    }
    let more = child(&root, "IsTruncated").is_some_and(|text| text == "true");
    Ok(child(&root, "NextContinuationToken").filter(|token| more && !token.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_is_part_of_the_host_or_of_the_path() {
        let at = |endpoint: &str, bucket: &str, addressing| {
            let origin =
                Bucket { endpoint: endpoint.into(), bucket: bucket.into(), addressing, ..Bucket::default() };
            base(&origin, true).unwrap().to_string()
        };
        use Addressing::{Host, Path, Usual};
        assert_eq!(at("minio:9000", "things", Usual), "http://minio:9000/things/");
        assert_eq!(at("https://h/s3/", "things", Usual), "https://h/s3/things/");
        assert_eq!(at("minio:9000", "things", Host), "http://things.minio:9000/");
        assert_eq!(
            at("https://s3.eu-west-1.amazonaws.com", "things", Usual),
            "https://things.s3.eu-west-1.amazonaws.com/"
        );
        assert_eq!(at("https://s3.amazonaws.com", "my.things", Usual), "https://s3.amazonaws.com/my.things/");
        assert_eq!(at("https://s3.amazonaws.com", "things", Path), "https://s3.amazonaws.com/things/");
        assert_eq!(
            at("https://things.oss-cn-x.aliyuncs.com", "things", Usual),
            "https://things.oss-cn-x.aliyuncs.com/"
        );
        assert_eq!(at("https://notamazonaws.com", "things", Usual), "https://notamazonaws.com/things/");
        let odd =
            Bucket { endpoint: "h".into(), bucket: "a b".into(), addressing: Host, ..Bucket::default() };
        assert!(base(&odd, true).unwrap_err().to_string().contains("address it by path"));
    }

    #[test]
    fn a_page_is_read_and_says_where_it_goes_on() {
        let page = r#"<?xml version="1.0"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">
            <IsTruncated>true</IsTruncated><NextContinuationToken>t&amp;1</NextContinuationToken>
            <Contents><Key>a/b.yaml</Key><ETag>"x"</ETag><Size>12</Size></Contents>
            <Contents><Key>a/</Key><Size>0</Size></Contents></ListBucketResult>"#;
        let mut objects = Vec::new();
        assert_eq!(read(page.as_bytes(), &mut objects).unwrap().as_deref(), Some("t&1"));
        assert_eq!((objects.len(), objects[0].key.as_str(), objects[0].size), (1, "a/b.yaml", 12));
        assert!(
            read(b"<Error><Code>NoSuchBucket</Code></Error>", &mut objects).unwrap_err().contains("<Error>")
        );
        assert!(read(b"<html>", &mut objects).is_err());
    }
}
