//! Repositories behind the real `git http-backend`, run as a CGI program by a server that is played.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use source::{Access, Content, Credentials, Git, GitReference, Hidden, Origin, Source, Verification};
use tokio::io::AsyncWriteExt as _;

use crate::server::{Follower, named};

/// A folder with the repositories `app.git` and `lib.git`, and the server before it.
struct Host {
    folder: tempfile::TempDir,
    address: String,
    asked: Arc<AtomicUsize>,
}

fn git(folder: &Path, arguments: &[&str]) -> String {
    let done = Command::new("git")
        .args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "protocol.file.allow=always"])
        .args(["-c", "init.defaultBranch=main"])
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .output()
        .expect("git is needed: install the package git");
    assert!(done.status.success(), "git {arguments:?}: {}", String::from_utf8_lossy(&done.stderr));
    String::from_utf8(done.stdout).unwrap().trim().to_owned()
}

fn write(folder: &Path, path: &str, text: &str) {
    let path = folder.join(path);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, text).unwrap();
}

impl Host {
    async fn start(wanted: Option<&'static str>, follower: &Follower) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let asked = Arc::new(AtomicUsize::new(0));
        let (root, count) = (folder.path().to_owned(), asked.clone());
        let router = axum::Router::new().fallback(move |request: Request| {
            count.fetch_add(1, Ordering::SeqCst);
            backend(root.clone(), wanted, request)
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let cancel = follower.cancel.clone();
        let serving =
            axum::serve(listener, router).with_graceful_shutdown(async move { cancel.cancelled().await });
        follower.tasks.spawn(async move { serving.await.unwrap() });
        let host = Self { folder, address, asked };
        host.make("lib", &[("lib.yaml", "lib: 1")]);
        host
    }

    /// Makes a repository of these files with one commit.
    fn make(&self, name: &str, files: &[(&str, &str)]) -> std::path::PathBuf {
        let work = self.folder.path().join(format!("{name}-work"));
        std::fs::create_dir_all(&work).unwrap();
        git(&work, &["init", "--quiet"]);
        for (path, text) in files {
            write(&work, path, text);
        }
        self.push(name, &work, "first");
        work
    }

    /// Commits all there is and brings it to the server; returns the commit.
    fn push(&self, name: &str, work: &Path, message: &str) -> String {
        git(work, &["add", "--all"]);
        git(work, &["commit", "--quiet", "-m", message]);
        self.sync(name, work);
        git(work, &["rev-parse", "HEAD"])
    }

    fn sync(&self, name: &str, work: &Path) {
        let bare = self.folder.path().join(format!("{name}.git"));
        if !bare.exists() {
            git(self.folder.path(), &["init", "--quiet", "--bare", &format!("{name}.git")]);
        }
        git(work, &["push", "--quiet", "--mirror", "--force", bare.to_str().unwrap()]);
    }

    fn source(&self, reference: GitReference) -> Source {
        Source::new(Origin::Git(Git {
            url: format!("{}/app.git", self.address),
            reference,
            folders: Vec::new(),
            submodules: false,
        }))
    }
}

async fn backend(root: std::path::PathBuf, wanted: Option<&'static str>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let header = |name: &str| parts.headers.get(name).and_then(|value| value.to_str().ok());
    if wanted.is_some() && header("authorization") != wanted {
        return (StatusCode::UNAUTHORIZED, [("www-authenticate", "Basic realm=\"git\"")]).into_response();
    }
    let mut command = tokio::process::Command::new("git");
    command
        .arg("http-backend")
        .env("GIT_PROJECT_ROOT", &root)
        .env("GIT_HTTP_EXPORT_ALL", "1")
        .env("REQUEST_METHOD", parts.method.as_str())
        .env("PATH_INFO", parts.uri.path())
        .env("QUERY_STRING", parts.uri.query().unwrap_or_default())
        .env("CONTENT_TYPE", header("content-type").unwrap_or_default())
        .env("HTTP_CONTENT_ENCODING", header("content-encoding").unwrap_or_default())
        .env("GIT_PROTOCOL", header("git-protocol").unwrap_or_default())
        .env("GIT_CONFIG_COUNT", "2")
        .env("GIT_CONFIG_KEY_0", "safe.directory")
        .env("GIT_CONFIG_VALUE_0", "*")
        .env("GIT_CONFIG_KEY_1", "uploadpack.allowAnySHA1InWant")
        .env("GIT_CONFIG_VALUE_1", "true")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true);
    let body = axum::body::to_bytes(body, 1 << 20).await.unwrap();
    let mut child = command.env("CONTENT_LENGTH", body.len().to_string()).spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    stdin.write_all(&body).await.unwrap();
    drop(stdin);
    let output = child.wait_with_output().await.unwrap().stdout;
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").expect("headers");
    let mut response = Response::new(axum::body::Body::from(output[end + 4..].to_vec()));
    for line in String::from_utf8_lossy(&output[..end]).lines() {
        let (name, value) = line.split_once(": ").unwrap();
        if name == "Status" {
            *response.status_mut() = value[..3].parse().unwrap();
        } else {
            let name = axum::http::HeaderName::from_bytes(name.as_bytes()).unwrap();
            response.headers_mut().insert(name, value.parse().unwrap());
        }
    }
    response
}

async fn fetched(follower: &Follower, name: &str, source: &Source) -> (String, Vec<(String, String)>) {
    let state = follower
        .until(&named(name), source, |state| state.artifact.is_some() || state.failure.is_some())
        .await;
    let artifact = state.artifact.unwrap_or_else(|| panic!("{:?}", state.failure));
    let Content::Tree(tree) = &artifact.content else { panic!("not a tree") };
    let text = |(path, bytes): (&String, &Vec<u8>)| (path.clone(), String::from_utf8(bytes.clone()).unwrap());
    (artifact.revision.clone(), tree.iter().map(text).collect())
}

async fn failure(follower: &Follower, name: &str, source: &Source) -> String {
    follower.until(&named(name), source, |state| state.failure.is_some()).await.failure.unwrap().message
}

fn paths(files: &[(String, String)]) -> Vec<&str> {
    files.iter().map(|(path, _)| path.as_str()).collect()
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn a_branch_a_tag_a_range_and_a_commit_lead_to_their_trees() {
    let follower = Follower::new();
    let host = Host::start(None, &follower).await;
    let work = host.make("app", &[("deploy/a.yaml", "a: 1"), ("docs/x.md", "x")]);
    let first = git(&work, &["rev-parse", "HEAD"]);
    git(&work, &["tag", "v1.0.0"]);
    write(&work, "deploy/a.yaml", "a: 2");
    let second = host.push("app", &work, "second");
    git(&work, &["tag", "-a", "-m", "annotated", "v1.1.0"]);
    git(&work, &["checkout", "--quiet", "-b", "next"]);
    write(&work, "deploy/b.yaml", "b: 1");
    let third = host.push("app", &work, "third");
    git(&work, &["tag", "v2.0.0-rc.1"]);
    host.sync("app", &work);
    let commit = |commit: &str| GitReference::Commit { commit: commit.to_owned(), branch: None };
    for (name, reference, revision, files) in [
        ("branch", GitReference::Branch("main".into()), format!("main@sha1:{second}"), 2),
        ("tag", GitReference::Tag("v1.0.0".into()), format!("v1.0.0@sha1:{first}"), 2),
        ("annotated", GitReference::Tag("v1.1.0".into()), format!("v1.1.0@sha1:{second}"), 2),
        ("range", GitReference::Range(">=1".into()), format!("v1.1.0@sha1:{second}"), 2),
        ("name", GitReference::Name("refs/heads/next".into()), format!("refs/heads/next@sha1:{third}"), 3),
        ("any tag", GitReference::Any("v1.0.0".into()), format!("v1.0.0@sha1:{first}"), 2),
        ("any branch", GitReference::Any("next".into()), format!("next@sha1:{third}"), 3),
        ("head", GitReference::Name("HEAD".into()), format!("HEAD@sha1:{second}"), 2),
        ("commit", commit(&first), format!("sha1:{first}"), 2),
    ] {
        let (found, tree) = fetched(&follower, name, &host.source(reference)).await;
        assert_eq!((found, tree.len()), (revision, files), "{name}");
    }
    let (_, tree) = fetched(&follower, "commit", &host.source(commit(&first))).await;
    assert_eq!(tree[0], ("deploy/a.yaml".to_owned(), "a: 1".to_owned()));
    for (name, reference, why) in [
        ("no branch", GitReference::Branch("gone".into()), "no branch \"gone\""),
        ("no range", GitReference::Range(">=9".into()), "the newest is 2.0.0-rc.1"),
        ("short", commit("abc"), "all 40 hexadecimal digits"),
        ("option", GitReference::Branch("--upload-pack=x".into()), "is not the name of a branch"),
        ("no commit", commit(&"0".repeat(40)), "no commit \"0000"),
    ] {
        let message = failure(&follower, name, &host.source(reference)).await;
        assert!(message.contains(why), "{name}: {message}");
    }
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn a_commit_that_is_known_is_not_fetched_again_and_a_new_one_is() {
    let follower = Follower::new();
    let host = Host::start(None, &follower).await;
    let work = host.make("app", &[("a.yaml", "a: 1")]);
    let mut source = host.source(GitReference::Branch("main".into()));
    fetched(&follower, "app", &source).await;
    let whole = host.asked.load(Ordering::SeqCst);
    write(&work, "a.yaml", "a: 2");
    let second = host.push("app", &work, "second");
    source.requested = "now".into();
    let moved =
        |state: &source::State| state.artifact.as_ref().is_some_and(|one| one.revision.ends_with(&second));
    follower.until(&named("app"), &source, moved).await;
    let before = host.asked.load(Ordering::SeqCst);
    assert!(before > whole);
    // The answer is the same: only the references are asked for, and one failure in between changes nothing.
    let gone = Source { requested: "gone".into(), ..host.source(GitReference::Branch("gone".into())) };
    let state = follower.until(&named("app"), &gone, |state| state.failure.is_some()).await;
    assert!(state.artifact.unwrap().revision.ends_with(&second), "the last good revision stays");
    assert!(host.asked.load(Ordering::SeqCst) - before <= 2);
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn only_the_wanted_folders_come_and_links_become_what_they_lead_to() {
    let follower = Follower::new();
    let host = Host::start(None, &follower).await;
    let work = host.make("app", &[("deploy/a.yaml", "a: 1"), ("docs/x.md", "x"), ("base/b.yaml", "b: 1")]);
    std::os::unix::fs::symlink("../base/b.yaml", work.join("deploy/link.yaml")).unwrap();
    host.push("app", &work, "link");
    let (_, tree) = fetched(&follower, "all", &host.source(GitReference::Branch("main".into()))).await;
    assert_eq!(paths(&tree), ["base/b.yaml", "deploy/a.yaml", "deploy/link.yaml", "docs/x.md"]);
    assert_eq!(tree[2].1, "b: 1");
    let mut some = host.source(GitReference::Branch("main".into()));
    if let Origin::Git(origin) = &mut some.origin {
        origin.folders = vec!["./deploy/".into(), "base".into()];
    }
    let (_, tree) = fetched(&follower, "some", &some).await;
    assert_eq!(paths(&tree), ["base/b.yaml", "deploy/a.yaml", "deploy/link.yaml"]);
    std::os::unix::fs::symlink("../../etc/passwd", work.join("deploy/out")).unwrap();
    host.push("app", &work, "out");
    let message = failure(&follower, "out", &host.source(GitReference::Branch("main".into()))).await;
    assert!(message.contains("\"deploy/out\"") && message.contains("leads out"), "{message}");
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn submodules_come_when_they_are_wanted() {
    let follower = Follower::new();
    let host = Host::start(None, &follower).await;
    let work = host.make("app", &[("a.yaml", "a: 1")]);
    let lib = host.folder.path().join("lib.git");
    git(&work, &["submodule", "--quiet", "add", lib.to_str().unwrap(), "vendor/lib"]);
    git(&work, &["config", "-f", ".gitmodules", "submodule.vendor/lib.url", "../lib.git"]);
    host.push("app", &work, "submodule");
    let mut source = host.source(GitReference::Branch("main".into()));
    let (_, tree) = fetched(&follower, "without", &source).await;
    assert_eq!(paths(&tree), ["a.yaml"]);
    if let Origin::Git(origin) = &mut source.origin {
        origin.submodules = true;
    }
    let (_, tree) = fetched(&follower, "with", &source).await;
    assert_eq!(paths(&tree), ["a.yaml", "vendor/lib/lib.yaml"]);
    git(&work, &["config", "-f", ".gitmodules", "submodule.vendor/lib.url", "file:///etc"]);
    host.push("app", &work, "elsewhere");
    let message = failure(&follower, "elsewhere", &source).await;
    assert!(message.contains("expected https://, http://, ssh:// or a path"), "{message}");
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn credentials_open_a_repository_and_are_never_told() {
    let follower = Follower::new();
    let host = Host::start(Some("Basic bWU6czNjcmV0"), &follower).await;
    host.make("app", &[("a.yaml", "a: 1")]);
    let with = |credentials: Option<Credentials>| Source {
        access: Access { credentials, ..Access::default() },
        ..host.source(GitReference::Branch("main".into()))
    };
    let basic =
        |password: &str| Some(Credentials::Basic { username: "me".into(), password: Hidden::new(password) });
    let message = failure(&follower, "nobody", &with(None)).await;
    assert!(message.contains("secretRef needs username and password"), "{message}");
    let message = failure(&follower, "wrong", &with(basic("wr0ng"))).await;
    assert!(message.contains("credentials are missing or wrong") && !message.contains("wr0ng"), "{message}");
    fetched(&follower, "right", &with(basic("s3cret"))).await;
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn a_token_opens_a_repository() {
    let follower = Follower::new();
    let host = Host::start(Some("Bearer t0ken"), &follower).await;
    host.make("app", &[("a.yaml", "a: 1")]);
    let mut source = host.source(GitReference::Branch("main".into()));
    source.access.credentials = Some(Credentials::Bearer(Hidden::new("t0ken")));
    fetched(&follower, "app", &source).await;
}

/// Brings an object of the test data into the repository; returns its name.
fn given(work: &Path, kind: &str, text: &[u8]) -> String {
    std::fs::write(work.join(".git/given"), text).unwrap();
    git(work, &["hash-object", "-t", kind, "-w", ".git/given"])
}

#[tokio::test]
#[ignore = "needs git: tests/run"]
async fn commits_and_tags_are_taken_only_with_the_signatures_that_are_demanded() {
    let data = |name: &str| {
        std::fs::read(format!("{}/tests/data/open_pgp/{name}", env!("CARGO_MANIFEST_DIR"))).unwrap()
    };
    let follower = Follower::at_time(1_795_290_000_000);
    let host = Host::start(None, &follower).await;
    let work = host.make("app", &[("a.yaml", "a: 1\n")]);
    let commit = given(&work, "commit", &data("signed.commit"));
    let tag = given(&work, "tag", &data("signed.tag"));
    let forged = String::from_utf8(data("signed.commit")).unwrap().replace("signed\n", "forged\n");
    let forged = given(&work, "commit", forged.as_bytes());
    for (name, object) in
        [("refs/heads/signed", &commit), ("refs/tags/v1.0.0", &tag), ("refs/heads/forged", &forged)]
    {
        git(&work, &["update-ref", name, object]);
    }
    host.sync("app", &work);
    let with = |reference: GitReference, keys: &str, commit: bool, tag: bool| {
        let keys = std::collections::BTreeMap::from([("keys".to_owned(), data(keys))]);
        let verification = vec![Verification::Git { keys, commit, tag }];
        Source { verification, ..host.source(reference) }
    };
    let branch = |name: &str| GitReference::Branch(name.to_owned());
    let release = || GitReference::Range(">=1".to_owned());
    fetched(&follower, "commit", &with(branch("signed"), "keys.asc", true, false)).await;
    fetched(&follower, "tag", &with(release(), "keys.asc", false, true)).await;
    fetched(&follower, "both", &with(release(), "keys.asc", true, true)).await;
    for (name, source, why) in [
        ("unsigned", with(branch("main"), "keys.asc", true, false), "it is not signed"),
        ("forged", with(branch("forged"), "keys.asc", true, false), "it was altered"),
        ("stranger", with(branch("signed"), "keys.gpg", true, false), "not in the keyring"),
        ("no tag", with(branch("signed"), "keys.asc", false, true), "ref must name an annotated tag"),
    ] {
        let message = failure(&follower, name, &source).await;
        assert!(message.contains(why), "{name}: {message}");
    }
}
