//! Sources from servers that are played: an index with digests, credentials, a registry that wants a token, buckets,
//! files with entity tags, and servers that lie, swell or go away.
#![allow(clippy::unwrap_used, clippy::panic, clippy::expect_used)]

mod git;
mod server;
mod tls;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::json;
use server::{Follower, Server, archive, chart, named, sha256};
use source::{
    Access, Bucket, ChartIndex, Content, Credentials, Hidden, Layer, Origin, Registry, RegistryReference,
    RemoteFile, Source, Verification,
};

fn index(url: &str, version: &str) -> Source {
    Source::new(Origin::ChartIndex(ChartIndex {
        url: url.into(),
        chart: "web".into(),
        version: version.into(),
    }))
}

fn registry(url: String, reference: RegistryReference, layer: Layer) -> Source {
    let access = Access { insecure: true, ..Access::default() };
    Source { access, ..Source::new(Origin::Registry(Registry { url, reference, layer })) }
}

fn basic(username: &str, password: &str) -> Option<Credentials> {
    Some(Credentials::Basic { username: username.into(), password: Hidden::new(password) })
}

#[tokio::test]
async fn a_chart_comes_by_its_index_and_stays_while_the_repository_fails() {
    let server = Server { wanted: Some("Basic dXNlcjpzZWNyZXQ="), ..Server::default() };
    let follower = Follower::new();
    let address = server.start(&follower).await;
    let packed = chart("web", "1.2.0");
    server.put("/charts/web-1.2.0.tgz", packed.clone());
    let listed = |digest: &str| {
        json!({"apiVersion": "v1", "entries": {"web": [
            {"version": "1.2.0", "urls": ["web-1.2.0.tgz"], "digest": digest}, {"version": "1.1.0", "urls": ["x.tgz"]},
        ]}})
        .to_string()
    };
    server.put("/charts/index.yaml", listed(&sha256(&packed)));
    let mut source = index(&format!("http://{address}/charts"), "^1");
    source.access.credentials = basic("user", "secret");
    let name = named("web");
    let state = follower.until(&name, &source, |state| state.artifact.is_some()).await;
    let artifact = state.artifact.unwrap();
    assert_eq!(artifact.revision, "1.2.0");
    assert!(matches!(&artifact.content, Content::File { bytes, .. } if *bytes == packed));

    // Another repository of the same name fails: what was good stays, and the failure says since when.
    let gone = Source { origin: index(&format!("http://{address}/nowhere"), "^1").origin, ..source.clone() };
    let state = follower.until(&name, &gone, |state| state.failure.is_some()).await;
    assert!(state.artifact.is_some());
    let failure = state.failure.unwrap();
    assert!(failure.message.contains("404") && failure.since == 7, "{failure:?}");

    // A program that starts while the server lies has the artifact of before.
    server.put("/charts/index.yaml", listed("00ff"));
    let again = follower.restarted();
    assert!(again.sources.ask(&name, &source).artifact.is_some());
    // One that never had it gets nothing.
    let fresh = Follower::new();
    let state = fresh.until(&name, &source, |state| state.failure.is_some()).await;
    assert!(state.artifact.is_none());
    assert!(state.failure.unwrap().message.contains("expected is 00ff"));
}

#[tokio::test]
async fn wrong_credentials_are_told_without_saying_them() {
    let server = Server { wanted: Some("Bearer t0ken"), ..Server::default() };
    let follower = Follower::new();
    let address = server.start(&follower).await;
    server.put("/index.yaml", "entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}");
    server.put("/web.tgz", chart("web", "1.0.0"));
    let mut source = index(&format!("http://me:s3cret@{address}"), "*");
    source.access.credentials = Some(Credentials::Bearer(Hidden::new("wr0ng")));
    let state = follower.until(&named("web"), &source, |state| state.failure.is_some()).await;
    let message = state.failure.unwrap().message;
    assert!(message.contains("401") && message.contains("secretRef"), "{message}");
    assert!(!message.contains("wr0ng") && !message.contains("s3cret"), "{message}");
    source.access.credentials = Some(Credentials::Bearer(Hidden::new("t0ken")));
    follower.until(&named("web"), &source, |state| state.artifact.is_some()).await;
}

#[tokio::test]
async fn a_mirror_is_asked_first_without_credentials_and_the_origin_when_it_is_away() {
    let (origin, mirror) = (Server::default(), Server::default());
    let follower = Follower::new();
    let (at, beside) = (origin.start(&follower).await, mirror.start(&follower).await);
    for server in [&origin, &mirror] {
        server.put("/index.yaml", "entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}");
        server.put("/web.tgz", chart("web", "1.0.0"));
    }
    let mut source = index(&format!("http://{at}"), "*");
    source.access.credentials = basic("user", "secret");
    source.mirrors = vec![format!("http://{beside}")];
    follower.until(&named("a"), &source, |state| state.artifact.is_some()).await;
    assert_eq!(origin.asked.load(Ordering::SeqCst), 0);
    assert!(mirror.authorized.lock().unwrap().is_empty());
    mirror.files.lock().unwrap().clear();
    let fresh = Follower::new();
    fresh.until(&named("a"), &source, |state| state.artifact.is_some()).await;
    assert_eq!(origin.authorized.lock().unwrap().len(), 2);
}

#[tokio::test]
async fn an_oci_registry_is_asked_with_the_token_that_it_demands() {
    let server = Server { wanted: Some("Bearer t0ken"), ..Server::default() };
    let follower = Follower::new();
    let address = server.start(&follower).await;
    *server.challenge.lock().unwrap() = format!(
        "Bearer realm=\"http://{address}/token\",service=\"registry\",scope=\"repository:team/web:pull\""
    );
    let packed = chart("web", "2.0.0+build.1");
    server.put("/token", json!({"token": "t0ken"}).to_string());
    server.put("/v2/team/web/tags/list", json!({"tags": ["1.0.0", "2.0.0_build.1", "latest"]}).to_string());
    server.image("team/web", "2.0.0_build.1", "application/vnd.cncf.helm.chart.content.v1.tar+gzip", &packed);
    let range = |range: &str| RegistryReference::Range { range: range.into(), filter: None };
    let url = format!("oci://{address}/team/web");
    let mut source = registry(url.clone(), range(">=1"), Layer::Chart);
    let config = json!({"auths": {address.as_str(): {"auth": "dXNlcjpzZWNyZXQ="}}}).to_string();
    source.access.docker_config = Some(Hidden::new(config));
    let state = follower.until(&named("web"), &source, |state| state.artifact.is_some()).await;
    assert_eq!(state.artifact.unwrap().revision, "2.0.0+build.1");
    assert!(server.authorized.lock().unwrap().contains(&"/token Basic dXNlcjpzZWNyZXQ=".to_owned()));
    source.origin = registry(url, range("9.x"), Layer::Chart).origin;
    let state = follower.until(&named("web"), &source, |state| state.failure.is_some()).await;
    let message = state.failure.unwrap().message;
    assert!(
        message.contains("satisfies \"9.x\"") && message.contains("the newest is 2.0.0+build.1"),
        "{message}"
    );
}

#[tokio::test]
async fn an_identity_token_is_exchanged_and_the_challenge_may_be_one_of_several() {
    let server = Server { wanted: Some("Bearer t0ken"), ..Server::default() };
    let follower = Follower::new();
    let address = server.start(&follower).await;
    *server.challenge.lock().unwrap() = format!(
        "Basic realm=\"a, \\\"b\\\"\", Bearer realm=\"http://{address}/token\",scope=\"repository:team/web:pull,push\""
    );
    server.put("/token", json!({"token": "", "access_token": "t0ken"}).to_string());
    server.image(
        "team/web",
        "1.0.0",
        "application/vnd.cncf.helm.chart.content.v1.tar+gzip",
        &chart("web", "1.0.0"),
    );
    let tag = RegistryReference::Tag("1.0.0".into());
    let mut source = registry(format!("oci://{address}/team/web"), tag, Layer::Chart);
    let config =
        json!({"auths": {address.as_str(): {"auth": "MDA6", "identitytoken": "r3fresh&"}}}).to_string();
    source.access.docker_config = Some(Hidden::new(config));
    follower.until(&named("web"), &source, |state| state.artifact.is_some()).await;
    let form = "/token scope=repository%3Ateam%2Fweb%3Apull%2Cpush&grant_type=refresh_token&refresh_token=r3fresh%26\
                &client_id=skein";
    assert_eq!(*server.posted.lock().unwrap(), [form]);

    // The token has run out: the next one is fetched and the question asked again.
    *server.files.lock().unwrap().get_mut("/token").unwrap() = json!({"token": "0ld"}).to_string().into();
    source.requested = "now".into();
    let state = follower.until(&named("web"), &source, |state| state.failure.is_some()).await;
    assert!(state.artifact.is_some() && state.failure.unwrap().message.contains("401"));
    // A realm without a host cannot be asked.
    *server.challenge.lock().unwrap() = "Bearer realm=\"/token\"".into();
    source.requested = "again".into();
    let relative = |state: &source::State| {
        state.failure.as_ref().is_some_and(|failure| failure.message.contains("\"/token\" is not an address"))
    };
    follower.until(&named("web"), &source, relative).await;
}

#[tokio::test]
async fn a_bucket_is_listed_page_by_page_and_no_key_leads_out() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    let page = |keys: std::ops::Range<usize>, next: Option<&str>| {
        let entries: String = keys
            .map(|at| format!("<Contents><Key>p/{at:04}.yaml</Key><ETag>e</ETag><Size>4</Size></Contents>"))
            .collect();
        let next = next.map_or("<IsTruncated>false</IsTruncated>".to_owned(), |next| {
            format!("<IsTruncated>true</IsTruncated><NextContinuationToken>{next}</NextContinuationToken>")
        });
        format!("<ListBucketResult>{next}{entries}</ListBucketResult>")
    };
    server.put("/things", page(0..100, Some("page 2+")));
    server.put("/things?page 2+", page(100..200, Some("3")));
    server.put("/things?3", page(200..250, None));
    for at in 0..250 {
        server.put(&format!("/things/p/{at:04}.yaml"), "a: 1");
    }
    let origin =
        Bucket { endpoint: address, bucket: "things".into(), prefix: "p/".into(), ..Bucket::default() };
    let access = Access { insecure: true, ..Access::default() };
    let mut source = Source { access, ..Source::new(Origin::Bucket(origin)) };
    let state = follower.until(&named("b"), &source, |state| state.artifact.is_some()).await;
    let Content::Tree(tree) = &state.artifact.unwrap().content else { panic!("not a tree") };
    assert_eq!((tree.len(), tree.keys().next_back().unwrap().as_str()), (250, "p/0249.yaml"));
    server.put("/things//etc/passwd", "a: 1");
    for key in ["p/../../etc/passwd", "/etc/passwd", "p/./x"] {
        let listed = format!("<Contents><Key>{key}</Key><ETag>e</ETag><Size>4</Size></Contents>");
        server.put("/things", format!("<ListBucketResult>{listed}</ListBucketResult>"));
        source.requested = key.into();
        let refused = |state: &source::State| {
            state.failure.as_ref().is_some_and(|failure| failure.message.contains(&format!("\"{key}\"")))
        };
        let state = follower.until(&named("b"), &source, refused).await;
        assert!(state.artifact.is_some(), "the last good one stays");
    }
}

#[tokio::test]
async fn credentials_stay_at_their_host_when_an_index_or_a_redirection_names_another() {
    let (origin, other) = (Server::default(), Server::default());
    let follower = Follower::new();
    let (address, elsewhere) = (origin.start(&follower).await, other.start(&follower).await);
    let urls = json!([format!("http://{elsewhere}/web-1.0.0.tgz")]);
    let listed = json!({"entries": {"web": [{"name": "web", "version": "1.0.0", "urls": urls}]}});
    origin.put("/index.yaml", listed.to_string());
    other.put("/web-1.0.0.tgz", chart("web", "1.0.0"));
    origin.redirect("/file.yaml", &format!("http://{elsewhere}/file.yaml"));
    other.put("/file.yaml", "a: 1");
    let mut source = index(&format!("http://{address}"), "*");
    source.access.credentials = basic("user", "secret");
    follower.until(&named("absolute"), &source, |state| state.artifact.is_some()).await;
    let file = source::RemoteFile { url: format!("http://{address}/file.yaml"), ..Default::default() };
    let file = Source { access: source.access.clone(), ..Source::new(Origin::RemoteFile(file)) };
    follower.until(&named("redirected"), &file, |state| state.artifact.is_some()).await;
    assert_eq!(*other.authorized.lock().unwrap(), [""; 0]);
    assert_eq!(origin.authorized.lock().unwrap().len(), 2);
    source.access.pass_credentials = true;
    follower.until(&named("passed on"), &source, |state| state.artifact.is_some()).await;
    assert_eq!(other.authorized.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn a_pinned_chart_is_taken_with_its_digest_only() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    let (packed, other) = (chart("web", "1.0.0"), chart("web", "1.0.1"));
    server.put("/index.yaml", "entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}");
    server.put("/web.tgz", packed.clone());
    let url = format!("http://{address}");
    let right = index(&url, &format!("1.0.0@sha256:{}", sha256(&packed)));
    let state = follower.until(&named("right"), &right, |state| state.artifact.is_some()).await;
    assert_eq!(state.artifact.unwrap().revision, "1.0.0");
    let wrong = index(&url, &format!("^1@sha256:{}", sha256(&other)));
    let state = follower.until(&named("wrong"), &wrong, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("the content was altered or replaced"));

    // In a registry the pin finds what the tag has left.
    let media = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    let pinned = server.image("web", "1.0.0", media, &packed);
    server.image("web", "1.0.0", media, &other);
    let range = RegistryReference::Range { range: format!("1.0.0@{pinned}"), filter: None };
    let source = registry(format!("oci://{address}/web"), range, Layer::Chart);
    let state = follower.until(&named("oci"), &source, |state| state.artifact.is_some()).await;
    assert!(matches!(&state.artifact.unwrap().content, Content::File { bytes, .. } if *bytes == packed));
}

#[tokio::test]
async fn a_layer_is_unpacked_or_kept_and_a_digest_pins_it() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    let packed = archive(&[("deploy/a.yaml", "a: 1"), ("README.png", "")]);
    let digest = server.image("app", "v1", "application/x.tar+gzip", &packed);
    let url = format!("oci://{address}/app");
    let extract = registry(url.clone(), RegistryReference::Tag("v1".into()), Layer::Extract(None));
    let state = follower.until(&named("one"), &extract, |state| state.artifact.is_some()).await;
    let artifact = state.artifact.unwrap();
    assert_eq!(artifact.revision, format!("v1@{digest}"));
    let Content::Tree(tree) = &artifact.content else { panic!("not a tree") };
    assert_eq!(tree.keys().map(String::as_str).collect::<Vec<_>>(), ["deploy/a.yaml"]);

    let copy = registry(
        url.clone(),
        RegistryReference::Digest(digest.clone()),
        Layer::Copy(Some("application/x.tar+gzip".into())),
    );
    let state = follower.until(&named("two"), &copy, |state| state.artifact.is_some()).await;
    assert!(matches!(&state.artifact.unwrap().content, Content::File { bytes, .. } if *bytes == packed));

    let other = registry(url, RegistryReference::Tag("v1".into()), Layer::Extract(Some("text/x".into())));
    let state = follower.until(&named("three"), &other, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("no layer of type text/x, only: application/x.tar+gzip"));
}

#[tokio::test]
async fn an_artifact_is_taken_only_with_a_signature_of_the_key() {
    use base64::Engine as _;
    use rcgen::SigningKey as _;
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    let digest = server.image("app", "v1", "application/x.tar+gzip", &archive(&[("a.yaml", "a: 1")]));
    let mut source =
        registry(format!("oci://{address}/app"), RegistryReference::Tag("v1".into()), Layer::Extract(None));
    let keys = |pem: String| vec![Verification::Cosign(BTreeMap::from([("cosign.pub".to_owned(), pem)]))];
    source.verification = keys(pair.public_key_pem());
    let state = follower.until(&named("app"), &source, |state| state.failure.is_some()).await;
    assert!(state.artifact.is_none());
    assert!(state.failure.unwrap().message.contains("it has no cosign signature"));

    let payload = json!({"critical": {
        "identity": {"docker-reference": "app"}, "image": {"docker-manifest-digest": digest},
        "type": "cosign container image signature",
    }})
    .to_string();
    let signature = base64::engine::general_purpose::STANDARD.encode(pair.sign(payload.as_bytes()).unwrap());
    server.signature("app", &digest, payload.as_bytes(), &signature);
    source.requested = "now".into();
    let state = follower.until(&named("app"), &source, |state| state.artifact.is_some()).await;
    assert_eq!(state.artifact.unwrap().revision, format!("v1@{digest}"));

    // The tag moves to something that nobody signed: the last good stays, and that is said.
    server.image("app", "v1", "application/x.tar+gzip", &archive(&[("a.yaml", "a: 2")]));
    source.requested = "again".into();
    let state = follower.until(&named("app"), &source, |state| state.failure.is_some()).await;
    assert!(state.artifact.unwrap().revision.ends_with(&digest));
    // A key that did not sign is no better, and the content that was good under another key is fetched anew.
    server.image("app", "v1", "application/x.tar+gzip", &archive(&[("a.yaml", "a: 1")]));
    let other = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).unwrap();
    source.verification = keys(other.public_key_pem());
    let fresh = Follower::new();
    let state = fresh.until(&named("app"), &source, |state| state.failure.is_some()).await;
    assert!(state.artifact.is_none());
    assert!(state.failure.unwrap().message.contains("none of its signatures was made with the keys"));
}

#[tokio::test]
async fn a_chart_is_taken_only_with_the_provenance_file_that_a_key_of_the_keyring_signed() {
    let server = Server::default();
    let follower = Follower::at_time(1_795_290_000_000);
    let address = server.start(&follower).await;
    let data = |name: &str| {
        std::fs::read(format!("{}/tests/data/open_pgp/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let (packed, signed) = (data("helm-rsa.tgz"), data("helm-rsa.prov"));
    server.put("/index.yaml", "entries: {web: [{version: 1.2.0, urls: [web.tgz]}]}");
    server.put("/web.tgz", packed.clone());
    let keyring = |name: &str| vec![Verification::Provenance(BTreeMap::from([("k".to_owned(), data(name))]))];
    let mut source = index(&format!("http://{address}"), "*");
    source.verification = keyring("keys.asc");
    let state = follower.until(&named("web"), &source, |state| state.failure.is_some()).await;
    let message = state.failure.unwrap().message;
    assert!(message.contains("no provenance file at") && message.contains("/web.tgz.prov"), "{message}");
    server.put("/web.tgz.prov", signed.clone());
    source.requested = "now".into();
    follower.until(&named("web"), &source, |state| state.artifact.is_some()).await;
    // What another key signed does not count, and what was good stays.
    source.verification = keyring("keys.gpg");
    let state = follower.until(&named("web"), &source, |state| state.failure.is_some()).await;
    assert!(state.artifact.is_some());
    assert!(state.failure.unwrap().message.contains("not in the keyring"));

    // In a registry it is a layer beside the chart.
    let chart_type = "application/vnd.cncf.helm.chart.content.v1.tar+gzip";
    server.image("bare/web", "1.2.0", chart_type, &packed);
    let provenance_type = "application/vnd.cncf.helm.chart.provenance.v1.prov";
    server.layers("signed/web", "1.2.0", &[(chart_type, packed.as_slice()), (provenance_type, &signed)]);
    let range = RegistryReference::Range { range: "1.2.0".into(), filter: None };
    let mut bare = registry(format!("oci://{address}/bare/web"), range.clone(), Layer::Chart);
    bare.verification = keyring("keys.asc");
    let state = follower.until(&named("bare"), &bare, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("no provenance file among its layers"));
    let mut good = registry(format!("oci://{address}/signed/web"), range, Layer::Chart);
    good.verification = keyring("keys.asc");
    follower.until(&named("signed"), &good, |state| state.artifact.is_some()).await;
}

#[tokio::test]
async fn a_bucket_becomes_a_tree_and_is_read_again_only_when_it_changed() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    let listing = |etag: &str| {
        format!(
            "<ListBucketResult><IsTruncated>false</IsTruncated><Contents><Key>apps/a b.yaml</Key><ETag>{etag}</ETag>\
             <Size>4</Size></Contents><Contents><Key>apps/.sourceignore</Key><ETag>x</ETag><Size>6</Size></Contents>\
             <Contents><Key>apps/c.txt</Key><ETag>y</ETag><Size>1</Size></Contents></ListBucketResult>"
        )
    };
    server.put("/things", listing("1"));
    server.put("/things/apps/a%20b.yaml", "a: 1");
    server.put("/things/apps/.sourceignore", "*.txt\n");
    server.put("/things/apps/c.txt", "c");
    let origin =
        Bucket { endpoint: address, bucket: "things".into(), prefix: "apps/".into(), ..Bucket::default() };
    let access = Access { insecure: true, credentials: basic("key", "s3cret"), ..Access::default() };
    let mut source = Source { access, ..Source::new(Origin::Bucket(origin)) };
    let state = follower.until(&named("b"), &source, |state| state.artifact.is_some()).await;
    let first = state.artifact.unwrap();
    let Content::Tree(tree) = &first.content else { panic!("not a tree") };
    assert_eq!(tree.keys().map(String::as_str).collect::<Vec<_>>(), ["apps/a b.yaml"]);
    assert!(
        server.authorized.lock().unwrap().iter().all(|one| one.contains("AWS4-HMAC-SHA256 Credential=key/"))
    );
    let before = server.asked.load(Ordering::SeqCst);
    assert_eq!(before, 4);

    server.put("/things", listing("2"));
    server.put("/things/apps/a%20b.yaml", "a: 2");
    source.requested = "now".into();
    let state = follower
        .until(&named("b"), &source, |state| {
            state.artifact.as_ref().is_some_and(|now| now.digest != first.digest)
        })
        .await;
    assert_ne!(state.artifact.unwrap().revision, first.revision);
    // An object that is larger than its list says is no way around the limits.
    server.put("/things", listing("3"));
    server.put("/things/apps/a%20b.yaml", "a: 1 and much more");
    source.requested = "again".into();
    let state = follower.until(&named("b"), &source, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("exceeds the limit of 4 bytes"));
}

#[tokio::test]
async fn a_file_is_asked_for_by_its_entity_tag_and_may_be_pinned() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    server.put("/m/all.yaml", "a: 1");
    let file = |digest: Option<String>| {
        let url = format!("http://{address}/m/all.yaml");
        Source::new(Origin::RemoteFile(RemoteFile { url, digest, revision: None }))
    };
    let mut source = file(None);
    follower.until(&named("f"), &source, |state| state.artifact.is_some()).await;
    server.etags.store(true, Ordering::SeqCst);
    source.requested = "now".into();
    follower.sources.ask(&named("f"), &source);
    server.until_asked(2).await;
    source.requested = "again".into();
    follower.sources.ask(&named("f"), &source);
    server.until_asked(3).await;
    assert!(server.unmodified.load(Ordering::SeqCst) >= 1, "the second question names the entity tag");
    let wrong = file(Some("sha256:00".into()));
    let state = follower.until(&named("g"), &wrong, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("expected is 00"));
}

#[tokio::test]
async fn an_index_that_has_not_changed_is_not_sent_again() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    server.etags.store(true, Ordering::SeqCst);
    server.put("/index.yaml", "entries: {web: [{version: 1.0.0, urls: [web.tgz]}]}");
    server.put("/web.tgz", chart("web", "1.0.0"));
    let mut source = index(&format!("http://{address}"), "*");
    follower.until(&named("web"), &source, |state| state.artifact.is_some()).await;
    // An index serves all who ask within a few seconds; after that it is asked for by its entity tag.
    tokio::time::pause();
    tokio::time::advance(Duration::from_secs(4)).await;
    tokio::time::resume();
    source.requested = "now".into();
    follower.sources.ask(&named("web"), &source);
    server.until_asked(3).await;
    assert!(server.unmodified.load(Ordering::SeqCst) >= 1, "the second question names the entity tag");
}

#[tokio::test]
async fn a_host_is_asked_by_a_few_at_a_time() {
    let server = Server { slow: true, ..Server::default() };
    let follower = Follower::new();
    let address = server.start(&follower).await;
    for number in 0..40 {
        let path = format!("/{number}.yaml");
        server.put(&path, "a: 1");
        let file = RemoteFile { url: format!("http://{address}{path}"), ..RemoteFile::default() };
        follower.sources.ask(&named(&path), &Source::new(Origin::RemoteFile(file)));
    }
    server.until_asked(40).await;
    let most = server.most.load(Ordering::SeqCst);
    assert!((2..=4).contains(&most), "{most} at a time");
}

#[tokio::test]
async fn bombs_wrong_addresses_and_refused_content_harm_only_their_own_source() {
    let server = Server::default();
    let follower = Follower::new();
    let address = server.start(&follower).await;
    server.put("/bomb.tgz", archive(&[("zeros", &"0".repeat(30 << 20))]));
    server.put("/up.tgz", archive(&[("ok/../../up", "x")]));
    server.put("/good.yaml", "a: 1");
    let file = |path: &str| {
        let url = format!("http://{address}{path}");
        Source::new(Origin::RemoteFile(RemoteFile { url, ..RemoteFile::default() }))
    };
    for (path, why) in [("/bomb.tgz", "exceeds the limit"), ("/up.tgz", "leads out"), ("/none", "404")] {
        let state = follower.until(&named(path), &file(path), |state| state.failure.is_some()).await;
        let message = state.failure.unwrap().message;
        assert!(message.contains(why), "{path}: {message}");
    }
    let nowhere = index("ftp://x", "1");
    let state = follower.until(&named("n"), &nowhere, |state| state.failure.is_some()).await;
    assert!(state.failure.unwrap().message.contains("http:// or https://"));
    follower.until(&named("good"), &file("/good.yaml"), |state| state.artifact.is_some()).await;
    assert_eq!(follower.sources.totals(), (5, 4));
}

#[tokio::test]
async fn one_index_and_one_download_serve_all_who_use_a_chart() {
    let server = Server::default();
    let follower = Arc::new(Follower::new());
    let address = server.start(&follower).await;
    let packed = chart("web", "1.0.0");
    let entry = json!({"version": "1.0.0", "urls": ["web.tgz"], "digest": sha256(&packed)});
    server.put("/index.yaml", json!({"entries": {"web": [entry]}}).to_string());
    server.put("/web.tgz", packed);
    let source = index(&format!("http://{address}"), "1.0.0");
    for _ in 0..1000 {
        follower.sources.ask(&named("web"), &source);
    }
    follower.until(&named("web"), &source, |state| state.artifact.is_some()).await;
    assert_eq!(server.asked.load(Ordering::SeqCst), 2, "the index and the chart, once each");
    // Another name for the same chart finds it on disk.
    let other = index(&format!("http://{address}"), "^1");
    follower.until(&named("other"), &other, |state| state.artifact.is_some()).await;
    assert!(server.asked.load(Ordering::SeqCst) <= 3, "the chart itself is not fetched again");
}
