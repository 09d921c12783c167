//! The `git` program as a bounded child process.

use std::collections::BTreeMap;
use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use child::{Bounds, ChildError};
use reqwest::Url;
use tempfile::TempDir;

use super::reference::Found;
use crate::access::{Access, Credentials};
use crate::error::SourceError;
use crate::fetch::Fetcher;
use crate::limits::Limits;
use crate::origin::GitReference;
use crate::url::shown;

/// Answers git's question for credentials, for one host only, out of the environment.
const HELPER: &str = "!f() { test \"$1\" = get || exit 0; \
printf 'username=%s\\npassword=%s\\n' \"$SKEIN_GIT_USERNAME\" \"$SKEIN_GIT_PASSWORD\"; }; f";
/// Largest list of references and of files, in bytes.
const LIST_BYTES_MAX: usize = 64 << 20;
/// Largest commit or tag, in bytes.
const OBJECT_BYTES_MAX: usize = 1 << 20;
/// What is read of what git says when it fails.
const WORDS_BYTES_MAX: usize = 16 << 10;

/// git with an empty repository, ready for one remote.
pub(super) struct Program<'a> {
    folder: TempDir,
    url: Url,
    access: &'a Access,
    limits: &'a Limits,
    environment: Vec<(String, String)>,
    configuration: Vec<(String, String)>,
}

impl<'a> Program<'a> {
    /// Writes what git has to find in files, readable by this user only, and makes an empty repository.
    pub(super) async fn prepare(
        fetcher: &'a Fetcher,
        url: &Url,
        access: &'a Access,
    ) -> Result<Self, SourceError> {
        let write = |error: std::io::Error| SourceError::Write {
            folder: fetcher.work.display().to_string(),
            detail: error.to_string(),
        };
        std::fs::create_dir_all(&fetcher.work).map_err(write)?;
        let folder = tempfile::Builder::new().prefix("git-").tempdir_in(&fetcher.work).map_err(write)?;
        let mut program = Self {
            folder,
            url: url.clone(),
            access,
            limits: &fetcher.limits,
            environment: Vec::new(),
            configuration: Vec::new(),
        };
        program.configure().map_err(write)?;
        if program.url.scheme() == "ssh" {
            program.configure_ssh().map_err(write)?;
        }
        // What the address holds itself would be seen by whoever lists processes.
        let _ = program.url.set_password(None);
        if program.url.scheme() != "ssh" {
            let _ = program.url.set_username("");
        }
        program.run(&["init", "--quiet", "--bare", "."], &[], 4096).await?;
        Ok(program)
    }

    fn set(&mut self, name: &str, value: impl Into<String>) {
        self.configuration.push((name.to_owned(), value.into()));
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> std::io::Result<String> {
        let path = self.folder.path().join(name);
        std::fs::write(&path, "")?;
        std::fs::set_permissions(&path, Permissions::from_mode(mode))?;
        std::fs::write(&path, text)?;
        Ok(path.display().to_string())
    }

    fn configure(&mut self) -> std::io::Result<()> {
        for (name, value) in [
            ("protocol.version", "2"),
            ("protocol.allow", "never"),
            ("protocol.https.allow", "always"),
            ("protocol.http.allow", "always"),
            ("protocol.ssh.allow", "always"),
            ("http.followRedirects", "initial"),
            ("core.hooksPath", "/dev/null"),
            ("gc.auto", "0"),
            ("maintenance.auto", "false"),
            ("core.bigFileThreshold", "16m"),
            ("pack.threads", "1"),
            ("credential.helper", ""),
        ] {
            self.set(name, value);
        }
        let access = self.access;
        if let Some(authorities) = &access.tls.authorities {
            // git replaces the system's authorities by the file: both are written.
            let mut all = system_authorities();
            all.push('\n');
            all.push_str(authorities.reveal());
            let path = self.file("ca.pem", &all, 0o600)?;
            self.set("http.sslCAInfo", path);
        }
        if let (Some(certificate), Some(key)) = (&access.tls.certificate, &access.tls.key) {
            let path = self.file("client.pem", certificate.reveal(), 0o600)?;
            self.set("http.sslCert", path);
            let path = self.file("client.key", key.reveal(), 0o600)?;
            self.set("http.sslKey", path);
        }
        let origin = format!("{}://{}", self.url.scheme(), authority(&self.url));
        let given = match (&access.credentials, self.url.password()) {
            (None, Some(password)) => Some((self.url.username().to_owned(), password.to_owned())),
            (Some(Credentials::Basic { username, password }), _) => {
                Some((username.clone(), password.reveal().to_owned()))
            }
            (Some(Credentials::Bearer(_)) | None, _) => None,
        };
        if let Some((username, password)) = given {
            self.environment.push(("SKEIN_GIT_USERNAME".to_owned(), username));
            self.environment.push(("SKEIN_GIT_PASSWORD".to_owned(), password));
            self.set(&format!("credential.{origin}.helper"), HELPER);
        }
        if let Some(Credentials::Bearer(token)) = &access.credentials {
            let header = format!("Authorization: Bearer {}", token.reveal());
            self.set(&format!("http.{origin}/.extraHeader"), header);
        }
        if let Some(proxy) = &access.proxy {
            let mut address = proxy.address.clone();
            if let (Some((username, password)), Ok(mut url)) = (&proxy.credentials, Url::parse(&address)) {
                let _ = url.set_username(username);
                let _ = url.set_password(Some(password.reveal()));
                address = url.to_string();
            }
            self.set("http.proxy", address);
        }
        Ok(())
    }

    fn configure_ssh(&mut self) -> std::io::Result<()> {
        let mut command = "ssh -F none -o StrictHostKeyChecking=yes -o GlobalKnownHostsFile=none \
            -o IdentitiesOnly=yes -o PasswordAuthentication=no -o KbdInteractiveAuthentication=no \
            -o ConnectTimeout=10 -o UpdateHostKeys=no"
            .to_owned();
        // Without an identity there is still the host's key to check, against nothing: ssh refuses it by itself.
        let (identity, hosts) = match &self.access.ssh {
            Some(ssh) => {
                let mut key = ssh.identity.reveal().trim_end().to_owned();
                key.push('\n');
                (
                    Some(self.file("identity", &key, 0o600)?),
                    self.file("known_hosts", &ssh.known_hosts, 0o600)?,
                )
            }
            None => (None, self.file("known_hosts", "", 0o600)?),
        };
        command.push_str(&format!(" -o UserKnownHostsFile={}", quoted(&hosts)));
        if let Some(identity) = identity {
            command.push_str(&format!(" -i {}", quoted(&identity)));
        }
        match self.access.ssh.as_ref().and_then(|ssh| ssh.passphrase.as_ref()) {
            Some(passphrase) => {
                let ask = self.file("ask", "#!/bin/sh\nprintf '%s\\n' \"$SKEIN_GIT_PASSPHRASE\"\n", 0o700)?;
                self.environment.push(("SSH_ASKPASS".to_owned(), ask));
                self.environment.push(("SSH_ASKPASS_REQUIRE".to_owned(), "force".to_owned()));
                self.environment.push(("SKEIN_GIT_PASSPHRASE".to_owned(), passphrase.reveal().to_owned()));
            }
            None => command.push_str(" -o BatchMode=yes"),
        }
        self.environment.push(("GIT_SSH_COMMAND".to_owned(), command));
        self.environment.push(("GIT_SSH_VARIANT".to_owned(), "ssh".to_owned()));
        Ok(())
    }

    /// References of the server that match, with their objects.
    pub(super) async fn references(&self, patterns: &[&str]) -> Result<Vec<(String, String)>, SourceError> {
        let mut arguments = vec!["ls-remote", "--quiet", "--", self.url.as_str()];
        arguments.extend(patterns);
        let listing = self.run(&arguments, &[], LIST_BYTES_MAX).await?;
        let lines = String::from_utf8_lossy(&listing).into_owned();
        let read = |line: &str| line.split_once('\t').map(|(id, name)| (id.to_owned(), name.to_owned()));
        Ok(lines.lines().filter_map(read).collect())
    }

    /// Fetches what was found, and tells the commit it came to.
    pub(super) async fn fetch(&self, found: &Found, reference: &GitReference) -> Result<String, SourceError> {
        let one =
            ["fetch", "--quiet", "--no-tags", "--depth=1", "--", self.url.as_str(), found.wanted.as_str()];
        let single = self.run(&one, &[], WORDS_BYTES_MAX).await;
        if let (Err(error), GitReference::Commit { branch, commit }) = (&single, reference) {
            // Some servers hand out heads only: then the commit is looked for in what they have.
            let heads = branch.as_ref().map_or("+refs/heads/*:refs/heads/*".to_owned(), |branch| {
                format!("+refs/heads/{branch}:refs/heads/found")
            });
            let all = ["fetch", "--quiet", "--no-tags", "--", self.url.as_str(), heads.as_str()];
            if self.run(&all, &[], WORDS_BYTES_MAX).await.is_err() {
                return Err(self.failed(&error.to_string()));
            }
            let object = format!("{commit}^{{commit}}");
            return match self.run(&["rev-parse", "--verify", "--quiet", &object], &[], 256).await {
                Ok(id) => Ok(String::from_utf8_lossy(&id).trim().to_owned()),
                Err(_) => Err(self.absent(&format!("commit \"{commit}\""), String::new())),
            };
        }
        single?;
        let id = self.run(&["rev-parse", "--verify", "FETCH_HEAD^{commit}"], &[], 256).await?;
        Ok(String::from_utf8_lossy(&id).trim().to_owned())
    }

    /// The files of a commit, as `git ls-tree -l -z` writes them.
    pub(super) async fn list(&self, commit: &str, folders: &[String]) -> Result<Vec<u8>, SourceError> {
        let mut arguments = vec!["--literal-pathspecs", "ls-tree", "-r", "-l", "-z", "--full-tree", commit];
        let folders: Vec<_> = folders
            .iter()
            .filter_map(|folder| crate::artifact::plain_folder(folder))
            .filter(|folder| !folder.is_empty())
            .collect();
        arguments.push("--");
        arguments.extend(folders.iter().map(String::as_str));
        self.run(&arguments, &[], LIST_BYTES_MAX).await
    }

    /// The contents of objects, in their order; their sizes were admitted before.
    pub(super) async fn contents(&self, ids: &[(&str, u64)]) -> Result<Vec<Vec<u8>>, SourceError> {
        let input: String = ids.iter().map(|(id, _)| format!("{id}\n")).collect();
        let total: u64 = ids.iter().map(|(_, size)| size + 128).sum();
        let limit = usize::try_from(total).unwrap_or(usize::MAX);
        let output = self.run(&["cat-file", "--batch"], input.as_bytes(), limit).await?;
        let mut rest = output.as_slice();
        let mut contents = Vec::with_capacity(ids.len());
        for (_, size) in ids {
            let content = batched(&mut rest, *size)
                .ok_or_else(|| self.failed("git gives other objects than it listed"))?;
            contents.push(content.to_vec());
        }
        Ok(contents)
    }

    /// A commit or an annotated tag, as git keeps it.
    pub(super) async fn object(&self, kind: &str, name: &str) -> Result<Vec<u8>, SourceError> {
        self.run(&["cat-file", kind, name], &[], OBJECT_BYTES_MAX).await
    }

    /// Addresses of submodules by path.
    pub(super) async fn module_addresses(
        &self,
        commit: &str,
    ) -> Result<BTreeMap<String, String>, SourceError> {
        let blob = format!("--blob={commit}:.gitmodules");
        let text = self.run(&["config", &blob, "--null", "--list"], &[], 1 << 20).await?;
        let mut modules: BTreeMap<String, (Option<String>, Option<String>)> = BTreeMap::new();
        for record in String::from_utf8_lossy(&text).split('\0') {
            let Some((key, value)) = record.split_once('\n') else { continue };
            let Some((name, field)) = key.strip_prefix("submodule.").and_then(|key| key.rsplit_once('.'))
            else {
                continue;
            };
            let module = modules.entry(name.to_owned()).or_default();
            match field {
                "path" => module.0 = Some(value.to_owned()),
                "url" => module.1 = Some(value.to_owned()),
                _ => {}
            }
        }
        Ok(modules.into_values().filter_map(|(path, url)| Some((path?, url?))).collect())
    }

    /// Something is not there.
    pub(super) fn absent(&self, what: &str, alternative: String) -> SourceError {
        SourceError::Absent { what: what.to_owned(), url: shown(self.url.as_str()), alternative }
    }

    /// A signature is missing or wrong.
    pub(super) fn unsigned(&self, detail: &str) -> SourceError {
        SourceError::Signature { url: shown(self.url.as_str()), detail: detail.to_owned() }
    }

    /// git says something that is no use.
    pub(super) fn failed(&self, detail: &str) -> SourceError {
        SourceError::Git { url: shown(self.url.as_str()), detail: detail.to_owned() }
    }

    async fn run(&self, arguments: &[&str], input: &[u8], limit: usize) -> Result<Vec<u8>, SourceError> {
        let bounds = Bounds {
            time: self.access.timeout,
            memory_bytes: self.limits.git_memory_bytes_max,
            file_bytes: self.limits.git_bytes_max,
            output_bytes: limit,
            network: true,
        };
        let mut command = child::command(Path::new("git"), arguments, self.folder.path(), &bounds);
        command
            .env("GIT_CEILING_DIRECTORIES", self.folder.path())
            .env("GIT_CONFIG_NOSYSTEM", "1")
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_TERMINAL_PROMPT", "0")
            .env("GIT_ASKPASS", "true")
            .env("GIT_CONFIG_COUNT", self.configuration.len().to_string());
        for (index, (name, value)) in self.configuration.iter().enumerate() {
            command.env(format!("GIT_CONFIG_KEY_{index}"), name);
            command.env(format!("GIT_CONFIG_VALUE_{index}"), value);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        match child::exchange(command, input, &bounds).await {
            Ok(ended) if ended.code == Some(0) => Ok(ended.output),
            Ok(ended) => Err(self.failed(&explained(ended.code, &ended.words))),
            Err(ChildError::Output(limit)) => Err(SourceError::TooLarge {
                what: format!("what git says of \"{}\"", shown(self.url.as_str())),
                limit: limit as u64,
                unit: "bytes",
            }),
            Err(ChildError::Late(seconds)) => {
                Err(self.failed(&format!("git did not finish within {seconds} s (see timeout)")))
            }
            Err(error @ (ChildError::Start(_) | ChildError::Exchange(_))) => {
                Err(self.failed(&format!("git: {error}")))
            }
        }
    }
}

/// git's own words on one line, with the likely cure.
fn explained(code: Option<i32>, words: &str) -> String {
    let lines: Vec<_> = words
        .lines()
        .map(str::trim)
        .filter(|line| {
            !line.is_empty() && !line.starts_with("hint:") && !line.starts_with("Warning: Permanently")
        })
        .collect();
    let said: String = lines.join("; ").chars().take(600).collect();
    let said = said.trim_start_matches("fatal: ");
    let has = |text: &str| words.contains(text);
    let cure = if code == Some(127) || has("git: not found") {
        "; the program git is not installed where the hub runs: install the package git"
    } else if has("cannot run ssh") || has("ssh: not found") {
        "; the program ssh is not installed where the hub runs: install the package openssh-client"
    } else if has("Host key verification failed") {
        "; the host's key is not in known_hosts of secretRef: add the output of ssh-keyscan after checking it"
    } else if has("Permission denied (publickey") {
        "; the server does not accept the identity of secretRef"
    } else if has("could not read Username") || has("Authentication failed") || has("returned error: 401") {
        "; credentials are missing or wrong: secretRef needs username and password, or bearerToken"
    } else if has("certificate") {
        "; give the server's certificate authority as ca.crt in secretRef"
    } else if has("File too large") || has("file size") || code == Some(153) || code == Some(128 + 25) {
        "; the repository exceeds the size limit"
    } else {
        ""
    };
    if said.is_empty() {
        let code = code.map_or("a signal".to_owned(), |code| format!("code {code}"));
        return format!("git ended with {code}{cure}");
    }
    format!("{said}{cure}")
}

/// One object of `cat-file --batch`.
fn batched<'a>(rest: &mut &'a [u8], size: u64) -> Option<&'a [u8]> {
    let end = rest.iter().position(|byte| *byte == b'\n')?;
    let head = std::str::from_utf8(&rest[..end]).ok()?;
    let mut head = head.split(' ').skip(1);
    let proper = head.next() == Some("blob") && head.next()?.parse() == Ok(size);
    let (content, after) = rest[end + 1..].split_at_checked(usize::try_from(size).ok()?)?;
    *rest = after.strip_prefix(b"\n")?;
    proper.then_some(content)
}

fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

/// A path as a word of a shell.
fn quoted(path: &str) -> String {
    format!("'{}'", path.replace('\'', "'\\''"))
}

/// The authorities that this system trusts, where distributions keep them.
fn system_authorities() -> String {
    let usual = [
        "/etc/ssl/certs/ca-certificates.crt",
        "/etc/pki/tls/certs/ca-bundle.crt",
        "/etc/ssl/ca-bundle.pem",
        "/etc/ssl/cert.pem",
    ];
    let own = std::env::var("SSL_CERT_FILE").ok();
    let files = own.iter().map(String::as_str).chain(usual);
    files.filter_map(|file| std::fs::read_to_string(Path::new(file)).ok()).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_git_says_comes_with_the_cure() {
        let text = explained(
            Some(128),
            "Host key verification failed.\nfatal: Could not read from remote repository.",
        );
        assert!(text.contains("known_hosts") && text.contains("Could not read"), "{text}");
        // What stands in an address is no answer.
        let text = explained(
            Some(128),
            "unable to access 'https://host:40141/app.git/': server certificate verification failed",
        );
        assert!(text.contains("ca.crt") && !text.contains("credentials"), "{text}");
        assert!(
            explained(Some(128), "The requested URL returned error: 401").contains("credentials are missing")
        );
        assert!(explained(Some(127), "sh: 1: exec: git: not found").contains("install the package git"));
        assert_eq!(explained(Some(1), ""), "git ended with code 1");
    }

    #[test]
    fn objects_come_in_the_order_and_size_of_the_list() {
        let mut rest: &[u8] = b"aa blob 3\nx\ny\nbb blob 0\n\ncc missing\n";
        assert_eq!(batched(&mut rest, 3), Some(&b"x\ny"[..]));
        assert_eq!(batched(&mut rest, 0), Some(&b""[..]));
        assert_eq!(batched(&mut rest, 5), None);
    }
}
