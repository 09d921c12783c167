//! Sources against real servers: what a played server takes for granted.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use source::{
    Access, Artifact, Bucket, ChartIndex, Content, Credentials, Git, GitReference, Hidden, Layer, Limits,
    Name, Origin, Registry, RegistryReference, Settings, Source, Sources, SshIdentity, State, Tls,
    Verification,
};
use tokio::sync::Notify;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use crate::servers::{PASSWORD, PATIENCE, Site, USER, git, helm, put};

/// One who follows sources.
struct Follower {
    sources: Sources,
    changed: Arc<Notify>,
    _folder: tempfile::TempDir,
    _cancel: DropGuard,
}

impl Follower {
    fn new() -> Result<Self> {
        let (folder, changed) = (tempfile::tempdir()?, Arc::new(Notify::new()));
        let (announced, cancel) = (changed.clone(), CancellationToken::new());
        let settings = Settings {
            folder: folder.path().to_owned(),
            limits: Limits::default(),
            clock: Arc::new(|| {
                let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
                u64::try_from(now.as_millis()).unwrap_or_default()
            }),
            announce: Arc::new(move |_| announced.notify_one()),
            inspect: Arc::new(|_, _| Ok(())),
        };
        let sources = Sources::new(settings, &TaskTracker::new(), &cancel);
        Ok(Self { sources, changed, _folder: folder, _cancel: cancel.drop_guard() })
    }

    async fn until(&self, name: &str, source: &Source, holds: impl Fn(&State) -> bool) -> Result<State> {
        let name = Name { namespace: "default".to_owned(), name: name.to_owned() };
        loop {
            let changed = self.changed.notified();
            let state = self.sources.ask(&name, source);
            if holds(&state) {
                return Ok(state);
            }
            let told = tokio::time::timeout(PATIENCE, changed).await;
            told.map_err(|_| anyhow::anyhow!("{name} is still {state:?}"))?;
        }
    }

    async fn good(&self, name: &str, source: &Source) -> Result<Arc<Artifact>> {
        let settled = |state: &State| state.artifact.is_some() || state.failure.is_some();
        let state = self.until(name, source, settled).await?;
        state.artifact.with_context(|| format!("{name}: {:?}", state.failure))
    }

    async fn refused(&self, name: &str, source: &Source, why: &str) -> Result<()> {
        let state = self.until(name, source, |state| state.failure.is_some()).await?;
        let message = state.failure.map(|failure| failure.message).unwrap_or_default();
        ensure!(message.contains(why), "{name}: expected \"{why}\" in \"{message}\"");
        ensure!(!message.contains(PASSWORD), "{name} tells the password: {message}");
        Ok(())
    }
}

fn basic(password: &str) -> Option<Credentials> {
    Some(Credentials::Basic { username: USER.to_owned(), password: Hidden::new(password) })
}

fn trusting(site: &Site) -> Access {
    let tls = Tls { authorities: Some(Hidden::new(site.authority.as_str())), ..Tls::default() };
    Access { tls, ..Access::default() }
}

fn data(name: &str) -> Result<Vec<u8>> {
    let path = format!("{}/../source/tests/data/open_pgp/{name}", env!("CARGO_MANIFEST_DIR"));
    std::fs::read(&path).with_context(|| format!("failed to read {path}"))
}

fn paths(artifact: &Artifact) -> Result<Vec<&str>> {
    let Content::Tree(tree) = &artifact.content else { anyhow::bail!("not a tree") };
    Ok(tree.keys().map(String::as_str).collect())
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_registry_serves_the_chart_that_helm_pushed_with_its_provenance_file() -> Result<()> {
    let mut site = Site::new()?;
    let host = site.registry().await?;
    std::fs::write(site.at("web-1.2.0.tgz"), data("helm-rsa.tgz")?)?;
    std::fs::write(site.at("web-1.2.0.tgz.prov"), data("helm-rsa.prov")?)?;
    let repository = format!("oci://{host}/charts");
    let push = ["push", "web-1.2.0.tgz", &repository, "--ca-file", "ca.pem"];
    helm(site.folder.path(), &[&push[..], &["--username", USER, "--password", PASSWORD]].concat())?;

    let follower = Follower::new()?;
    let registry = |repository: &str, range: &str| {
        Origin::Registry(Registry {
            url: format!("oci://{host}/charts/{repository}"),
            reference: RegistryReference::Range { range: range.to_owned(), filter: None },
            layer: Layer::Chart,
        })
    };
    let with = |origin: Origin, password: &str| {
        let mut source = Source { access: trusting(&site), ..Source::new(origin) };
        source.access.credentials = basic(password);
        source
    };
    let keyring = Verification::Provenance(BTreeMap::from([("keys".to_owned(), data("keys.asc")?)]));
    let mut signed = with(registry("web", "^1.0"), PASSWORD);
    signed.verification.push(keyring);
    let artifact = follower.good("signed", &signed).await?;
    ensure!(artifact.revision == "1.2.0", "{artifact:?}");
    ensure!(matches!(&artifact.content, Content::File { bytes, .. } if *bytes == data("helm-rsa.tgz")?));

    let mut config = with(registry("web", "1.2.0"), PASSWORD);
    config.access.credentials = None;
    // "me:s3cret" as docker writes it.
    let logins = format!(r#"{{"auths": {{"{host}": {{"auth": "bWU6czNjcmV0"}}}}}}"#);
    config.access.docker_config = Some(Hidden::new(logins));
    follower.good("docker config", &config).await?;

    let mut stranger = signed.clone();
    stranger.verification =
        vec![Verification::Provenance(BTreeMap::from([("keys".to_owned(), data("keys.gpg")?)]))];
    follower.refused("stranger", &stranger, "not in the keyring").await?;
    follower
        .refused("wrong", &with(registry("web", "1.2.0"), "wr0ng"), "credentials are missing or wrong")
        .await?;
    follower.refused("range", &with(registry("web", "9.x"), PASSWORD), "the newest is 1.2.0").await?;
    follower.refused("absent", &with(registry("no", "1.2.0"), PASSWORD), "404").await?;
    let unknown = Source { access: Access::default(), ..signed };
    follower.refused("authority", &unknown, "certSecretRef").await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn nginx_serves_charts_to_those_with_a_password_or_a_certificate() -> Result<()> {
    let mut site = Site::new()?;
    let address = site.nginx().await?;
    std::fs::create_dir_all(site.at("www/charts"))?;
    std::fs::write(site.at("www/charts/web-1.2.0.tgz"), data("helm-ed.tgz")?)?;
    std::fs::write(site.at("www/charts/web-1.2.0.tgz.prov"), data("helm-ed.prov")?)?;
    helm(site.folder.path(), &["repo", "index", "www/charts"])?;
    let follower = Follower::new()?;
    let index = |path: &str| {
        let origin = ChartIndex {
            url: format!("{address}/{path}"),
            chart: "web".to_owned(),
            version: "1.x".to_owned(),
        };
        Source { access: trusting(&site), ..Source::new(Origin::ChartIndex(origin)) }
    };
    let mut source = index("charts");
    follower.refused("nobody", &source, "401").await?;
    source.access.credentials = basic("wr0ng");
    follower.refused("wrong", &source, "credentials are missing or wrong").await?;
    source.access.credentials = basic(PASSWORD);
    let keys = BTreeMap::from([("keys".to_owned(), data("keys.asc")?)]);
    source.verification.push(Verification::Provenance(keys));
    let artifact = follower.good("right", &source).await?;
    ensure!(artifact.revision == "1.2.0", "{artifact:?}");

    // A file that is asked for again is asked for by nginx' own entity tag.
    let file = source::RemoteFile { url: format!("{address}/charts/index.yaml"), ..Default::default() };
    let mut file = Source { access: source.access.clone(), ..Source::new(Origin::RemoteFile(file)) };
    follower.good("file", &file).await?;
    file.requested = "now".to_owned();
    follower.good("file", &file).await?;
    let log = site.at("access.log");
    skein_tests::wait::until("nginx says 304", PATIENCE, || {
        let said = std::fs::read_to_string(&log).unwrap_or_default().contains("\" 304 ");
        async move { Ok(said.then_some(())) }
    })
    .await?;

    let mut mutual = index("mutual");
    follower.refused("without certificate", &mutual, "403").await?;
    let (certificate, key) = site.client.clone();
    (mutual.access.tls.certificate, mutual.access.tls.key) =
        (Some(Hidden::new(certificate)), Some(Hidden::new(key)));
    follower.good("with certificate", &mutual).await.map(drop)
}

/// A repository with a tag and a branch below `git/` of the site; returns its newest commit.
fn repository(site: &Site) -> Result<String> {
    let work = site.at("work");
    std::fs::create_dir_all(&work)?;
    git(&work, &["init", "--quiet"])?;
    site.write("work/deploy/a.yaml", "a: 1\n")?;
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "-m", "first"])?;
    git(&work, &["tag", "-a", "-m", "first", "v1.0.0"])?;
    site.write("work/deploy/b.yaml", "b: 1\n")?;
    git(&work, &["add", "--all"])?;
    git(&work, &["commit", "--quiet", "-m", "second"])?;
    std::fs::create_dir_all(site.at("git"))?;
    git(&work, &["clone", "--quiet", "--bare", ".", "../git/app.git"])?;
    git(&work, &["rev-parse", "HEAD"])
}

fn git_source(url: String, reference: GitReference, access: Access) -> Source {
    let origin = Git { url, reference, folders: Vec::new(), submodules: false };
    Source { access, ..Source::new(Origin::Git(origin)) }
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn git_is_read_over_https_with_a_password() -> Result<()> {
    let mut site = Site::new()?;
    let newest = repository(&site)?;
    let url = format!("{}/git/app.git", site.nginx().await?);
    let follower = Follower::new()?;
    let with = |reference: GitReference, password: &str| {
        let access = Access { credentials: basic(password), ..trusting(&site) };
        git_source(url.clone(), reference, access)
    };
    let branch = || GitReference::Branch("main".to_owned());
    let artifact = follower.good("branch", &with(branch(), PASSWORD)).await?;
    ensure!(artifact.revision == format!("main@sha1:{newest}"), "{artifact:?}");
    ensure!(paths(&artifact)? == ["deploy/a.yaml", "deploy/b.yaml"]);
    let artifact = follower.good("range", &with(GitReference::Range(">=1".to_owned()), PASSWORD)).await?;
    ensure!(paths(&artifact)? == ["deploy/a.yaml"]);
    follower.refused("wrong", &with(branch(), "wr0ng"), "credentials are missing or wrong").await?;
    let unknown =
        git_source(url.clone(), branch(), Access { credentials: basic(PASSWORD), ..Access::default() });
    follower.refused("authority", &unknown, "ca.crt").await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn git_is_read_over_ssh_from_a_host_that_is_known() -> Result<()> {
    let mut site = Site::new()?;
    let newest = repository(&site)?;
    let port = site.sshd().await?;
    let user = skein_tests::process::output(std::process::Command::new("id").arg("-un"))?;
    let url = format!("ssh://{}@127.0.0.1:{port}{}", user.trim(), site.at("git/app.git").display());
    let read =
        |name: &str| std::fs::read_to_string(site.at(name)).with_context(|| format!("failed to read {name}"));
    let with = |identity: &str, host: &str, passphrase: Option<&str>| -> Result<Source> {
        let ssh = SshIdentity {
            identity: Hidden::new(read(identity)?),
            passphrase: passphrase.map(Hidden::new),
            known_hosts: format!("[127.0.0.1]:{port} {}", read(host)?),
        };
        let access = Access { ssh: Some(ssh), ..Access::default() };
        Ok(git_source(url.clone(), GitReference::Branch("main".to_owned()), access))
    };
    let follower = Follower::new()?;
    let artifact = follower.good("known", &with("identity", "host.pub", None)?).await?;
    ensure!(artifact.revision == format!("main@sha1:{newest}"), "{artifact:?}");
    follower.good("passphrase", &with("locked", "host.pub", Some(PASSWORD))?).await?;
    let other = with("identity", "other-host.pub", None)?;
    follower.refused("other host", &other, "known_hosts").await?;
    let stranger = with("other-host", "host.pub", None)?;
    follower.refused("stranger", &stranger, "does not accept the identity").await
}

#[tokio::test]
#[ignore = "real parts: tests/run"]
async fn a_bucket_is_read_with_signed_questions() -> Result<()> {
    let mut site = Site::new()?;
    let endpoint = site.s3().await?;
    site.write("one.yaml", "a: 1\n")?;
    site.write("two.yaml", "a: 2\n")?;
    for path in ["things/apps/a.yaml", "things/apps/in/b.yaml", "things/other/c.yaml"] {
        put(&endpoint, path, Some(&site.at("one.yaml")))?;
    }
    let with = |bucket: &str, prefix: &str, region: &str, password: &str| {
        let origin = Bucket {
            endpoint: endpoint.clone(),
            bucket: bucket.to_owned(),
            prefix: prefix.to_owned(),
            region: region.to_owned(),
            ..Bucket::default()
        };
        let access = Access { insecure: true, credentials: basic(password), ..Access::default() };
        Source { access, ..Source::new(Origin::Bucket(origin)) }
    };
    let follower = Follower::new()?;
    let mut source = with("things", "apps/", "eu-1", PASSWORD);
    let first = follower.good("some", &source).await?;
    ensure!(paths(&first)? == ["apps/a.yaml", "apps/in/b.yaml"]);
    put(&endpoint, "things/apps/a.yaml", Some(&site.at("two.yaml")))?;
    source.requested = "now".to_owned();
    let moved = |state: &State| state.artifact.as_ref().is_some_and(|now| now.digest != first.digest);
    follower.until("some", &source, moved).await?;
    let all = follower.good("all", &with("things", "", "eu-1", PASSWORD)).await?;
    ensure!(paths(&all)?.len() == 3, "{:?}", paths(&all));
    follower
        .refused("wrong", &with("things", "", "eu-1", "wr0ng"), "accesskey or secretkey is wrong")
        .await?;
    follower.refused("absent", &with("nothing", "", "eu-1", PASSWORD), "404").await?;
    follower.refused("empty", &with("things", "no/", "eu-1", PASSWORD), "prefix \"no/\"").await
}
