//! Real servers of content: an OCI registry, nginx with git behind it, sshd, and an S3 server, each on a free port with
//! everything it needs in one folder. `tests/parts/servers/install` gets the programs.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use skein_tests::process::{Process, output};
use skein_tests::{parts, wait};
use tempfile::TempDir;

/// Nothing takes longer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);
pub(crate) const USER: &str = "me";
pub(crate) const PASSWORD: &str = "s3cret";
/// bcrypt of the password: the registry takes nothing else.
const HASHED: &str = "$2a$04$mDqHzbGtn5vDreQRcwA6S.fgYHeQlUKIp2ucacGs/mWysgdnN8nyi";

/// A folder with certificates, and the servers that work in it.
pub(crate) struct Site {
    pub(crate) folder: TempDir,
    /// The authority of all certificates, PEM.
    pub(crate) authority: String,
    /// A client's certificate and key, PEM.
    pub(crate) client: (String, String),
    running: Vec<Process>,
}

impl Site {
    pub(crate) fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut parameters = rcgen::CertificateParams::new(Vec::new())?;
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        // Who has the name of its issuer has signed itself, OpenSSL finds.
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "authority");
        let key = rcgen::KeyPair::generate()?;
        let authority = parameters.self_signed(&key)?.pem();
        let issuer = rcgen::Issuer::new(parameters, key);
        let signed = |name: &str| -> Result<(String, String)> {
            let key = rcgen::KeyPair::generate()?;
            let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()])?;
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            Ok((parameters.signed_by(&key, &issuer)?.pem(), key.serialize_pem()))
        };
        let (server, client) = (signed("127.0.0.1")?, signed("client")?);
        let site = Self { folder, authority, client, running: Vec::new() };
        site.write("ca.pem", &site.authority)?;
        site.write("server.pem", &server.0)?;
        site.write("server.key", &server.1)?;
        Ok(site)
    }

    pub(crate) fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    pub(crate) fn write(&self, name: &str, text: &str) -> Result<()> {
        let path = self.at(name);
        std::fs::create_dir_all(path.parent().context("a file has a folder")?)?;
        std::fs::write(&path, text).with_context(|| format!("failed to write {}", path.display()))
    }

    fn folder(&self) -> std::path::Display<'_> {
        self.folder.path().display()
    }

    /// Starts a program and waits until somebody listens at the port.
    async fn serve(&mut self, name: &str, command: &mut Command, port: u16) -> Result<()> {
        let log = self.at(&format!("{name}.log"));
        let mut process = Process::spawn(name, command, &log)?;
        wait::until(&format!("{name} listens"), PATIENCE, || {
            let running = process.check_running();
            async move {
                running?;
                Ok(tokio::net::TcpStream::connect(("127.0.0.1", port)).await.ok().map(drop))
            }
        })
        .await?;
        self.running.push(process);
        Ok(())
    }

    /// An OCI registry behind TLS that wants the password; returns its host and port.
    pub(crate) async fn registry(&mut self) -> Result<String> {
        let port = free_port()?;
        self.write("htpasswd", &format!("{USER}:{HASHED}\n"))?;
        self.write(
            "registry.yaml",
            &format!(
                "version: 0.1\nlog: {{level: warn}}\nstorage: {{filesystem: {{rootdirectory: {folder}/registry}}}}\n\
                 auth: {{htpasswd: {{realm: r, path: {folder}/htpasswd}}}}\n\
                 http:\n  addr: 127.0.0.1:{port}\n  secret: x\n  \
                 tls: {{certificate: {folder}/server.pem, key: {folder}/server.key}}\n",
                folder = self.folder()
            ),
        )?;
        let mut command = Command::new(programs()?.join("registry"));
        command.arg("serve").arg(self.at("registry.yaml"));
        self.serve("registry", &mut command, port).await?;
        Ok(format!("127.0.0.1:{port}"))
    }

    /// nginx behind TLS: `/charts/` of the folder `www` and `/git/` of the folder `git` want the password, `/mutual/` a
    /// certificate. Returns its address.
    pub(crate) async fn nginx(&mut self) -> Result<String> {
        let port = free_port()?;
        self.write("passwords", &format!("{USER}:{{PLAIN}}{PASSWORD}\n"))?;
        self.write("www/empty", "")?;
        let backend = format!("{}/git-http-backend", output(Command::new("git").arg("--exec-path"))?.trim());
        let user = if output(Command::new("id").arg("-u"))?.trim() == "0" { "user root;" } else { "" };
        let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|name| format!("{name}_temp_path {}/nginx-{name};\n", self.folder()))
            .concat();
        let protected = format!("auth_basic r; auth_basic_user_file {}/passwords;", self.folder());
        self.write(
            "nginx.conf",
            &format!(
                r#"daemon off; {user} worker_processes 1; pid {folder}/nginx.pid; error_log stderr;
events {{}}
http {{
    access_log {folder}/access.log;
    {temporary}
    server {{
        listen 127.0.0.1:{port} ssl;
        ssl_certificate {folder}/server.pem; ssl_certificate_key {folder}/server.key;
        ssl_client_certificate {folder}/ca.pem; ssl_verify_client optional;
        location /charts/ {{ {protected} root {folder}/www; }}
        location /mutual/ {{
            if ($ssl_client_verify != SUCCESS) {{ return 403; }}
            alias {folder}/www/charts/;
        }}
        location ~ ^/git(/.*)$ {{
            {protected}
            fastcgi_pass unix:{folder}/cgi;
            fastcgi_param SCRIPT_FILENAME {backend};
            fastcgi_param GIT_PROJECT_ROOT {folder}/git;
            fastcgi_param GIT_HTTP_EXPORT_ALL "";
            fastcgi_param GIT_PROTOCOL $http_git_protocol;
            fastcgi_param PATH_INFO $1;
            fastcgi_param QUERY_STRING $query_string;
            fastcgi_param REQUEST_METHOD $request_method;
            fastcgi_param CONTENT_TYPE $content_type;
            fastcgi_param CONTENT_LENGTH $content_length;
        }}
    }}
}}
"#,
                folder = self.folder(),
            ),
        )?;
        let mut command = Command::new(program("fcgiwrap")?);
        command.arg("-s").arg(format!("unix:{}/cgi", self.folder()));
        let log = self.at("fcgiwrap.log");
        self.running.push(Process::spawn("fcgiwrap", &mut command, &log)?);
        let mut command = Command::new(program("nginx")?);
        command.arg("-p").arg(self.folder.path()).arg("-c").arg(self.at("nginx.conf"));
        command.args(["-e", "stderr"]);
        self.serve("nginx", &mut command, port).await?;
        Ok(format!("https://127.0.0.1:{port}"))
    }

    /// sshd for this user with the key in `identity`; returns the port. The host's key is in `host.pub`.
    pub(crate) async fn sshd(&mut self) -> Result<u16> {
        let port = free_port()?;
        for (name, phrase) in [("host", ""), ("other-host", ""), ("identity", ""), ("locked", PASSWORD)] {
            let mut command = Command::new(program("ssh-keygen")?);
            output(command.args(["-q", "-t", "ed25519", "-N", phrase, "-f"]).arg(self.at(name)))?;
        }
        let keys = ["identity.pub", "locked.pub"].map(|name| std::fs::read_to_string(self.at(name)));
        let keys = keys.into_iter().collect::<std::io::Result<String>>()?;
        self.write("authorized", &keys)?;
        self.write(
            "sshd_config",
            &format!(
                "Port {port}\nListenAddress 127.0.0.1\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized\n\
                 StrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n\
                 PidFile {folder}/sshd.pid\n",
                folder = self.folder()
            ),
        )?;
        // Where sshd empties itself of rights; only root may make it, and only root needs it.
        let _ = std::fs::create_dir_all("/run/sshd");
        let mut command = Command::new(program("sshd")?);
        command.args(["-D", "-e", "-f"]).arg(self.at("sshd_config"));
        self.serve("sshd", &mut command, port).await?;
        Ok(port)
    }

    /// An S3 server whose keys are the user and the password, with an empty bucket `things`; returns its host and port.
    pub(crate) async fn s3(&mut self) -> Result<String> {
        let port = free_port()?;
        let (root, side) = (self.at("objects"), self.at("metadata"));
        std::fs::create_dir_all(&root)?;
        std::fs::create_dir_all(&side)?;
        let mut command = Command::new(programs()?.join("versitygw"));
        command.args(["--access", USER, "--secret", PASSWORD, "--region", "eu-1", "--quiet"]);
        command.args(["--port", &format!("127.0.0.1:{port}"), "posix", "--sidecar"]).arg(side).arg(root);
        self.serve("versitygw", &mut command, port).await?;
        let endpoint = format!("127.0.0.1:{port}");
        put(&endpoint, "things", None)?;
        Ok(endpoint)
    }
}

/// Makes a bucket, or an object in one, as any client of S3 does.
pub(crate) fn put(endpoint: &str, path: &str, file: Option<&Path>) -> Result<()> {
    let mut command = Command::new(program("curl")?);
    command.args(["-fsS", "--max-time", "30", "-X", "PUT", "--aws-sigv4", "aws:amz:eu-1:s3"]);
    command.args(["--user", &format!("{USER}:{PASSWORD}"), "-H"]);
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855".to_owned();
    let digest = match file {
        Some(file) => output(Command::new("sha256sum").arg(file))?
            .split_ascii_whitespace()
            .next()
            .context("sha256sum says nothing")?
            .to_owned(),
        None => nothing,
    };
    command.arg(format!("x-amz-content-sha256: {digest}"));
    if let Some(file) = file {
        command.arg("-T").arg(file);
    }
    output(command.arg(format!("http://{endpoint}/{path}"))).map(drop)
}

/// Runs git in a folder.
pub(crate) fn git(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new("git");
    command.args(["-c", "user.name=a", "-c", "user.email=a@b", "-c", "init.defaultBranch=main"]);
    command.args(arguments).current_dir(folder);
    command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1");
    Ok(output(&mut command)?.trim().to_owned())
}

/// Runs the real Helm.
pub(crate) fn helm(folder: &Path, arguments: &[&str]) -> Result<String> {
    let mut command = Command::new(parts::require_parts()?.join("helm"));
    command.args(arguments).current_dir(folder);
    for name in ["HELM_CACHE_HOME", "HELM_CONFIG_HOME", "HELM_DATA_HOME"] {
        command.env(name, folder.join("helm"));
    }
    output(&mut command)
}

/// The folder of the servers that were built.
fn programs() -> Result<PathBuf> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("parts/servers/install");
    let answer = output(Command::new(script).arg("path"));
    let folder = answer.context("the real servers are not installed: run tests/parts/servers/install")?;
    Ok(PathBuf::from(folder.trim()))
}

/// A program of a package, also where only administrators look.
fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| format!("{name} is not installed: run tests/parts/servers/install"))
}

fn free_port() -> Result<u16> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    ensure!(port != 0, "no free port");
    Ok(port)
}
