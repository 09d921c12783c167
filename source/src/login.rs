//! Logins of a Docker `config.json`: which credentials a registry gets.
//!
//! Read are `auths` (with `auth`, with `username` and `password`, with `identitytoken`, with `registrytoken`) for hosts
//! and for paths below them; a host may hold `*` for a part of its name, as the kubelet has it. Helpers
//! (`credsStore`, `credHelpers`) are programs of the machine where somebody logged in: they are refused by name.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::access::{Access, Credentials, Hidden};
use crate::error::SourceError;

/// Docker Hub under all its names.
const HUB: &[&str] = &["docker.io", "index.docker.io", "registry-1.docker.io"];
/// Where Docker Hub answers.
const HUB_HOST: &str = "registry-1.docker.io";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Login>,
    #[serde(default)]
    creds_store: String,
    #[serde(default)]
    cred_helpers: BTreeMap<String, String>,
}

#[derive(Deserialize, Default)]
struct Login {
    #[serde(default)]
    auth: String,
    #[serde(default)]
    username: String,
    #[serde(default)]
    password: String,
    #[serde(default)]
    identitytoken: String,
    #[serde(default)]
    registrytoken: String,
}

/// What gets in at a registry.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Ticket {
    /// Credentials as they are.
    Credentials(Credentials),
    /// What `docker login` was given in place of a password: it is exchanged for tokens (OAuth 2 refresh token).
    Identity(Hidden),
}

/// Where a registry answers, and the repository's path there: Docker Hub has other names and a usual folder.
pub(crate) fn place(host: &str, path: &str) -> (String, String) {
    if !HUB.contains(&host) {
        return (host.to_owned(), path.to_owned());
    }
    let folder = if path.contains('/') { "" } else { "library/" };
    (HUB_HOST.to_owned(), format!("{folder}{path}"))
}

/// Who asks at a registry: what is given, or what the Docker config has for it. The most precise entry wins.
pub(crate) fn ticket(access: &Access, host: &str, path: &str) -> Result<Option<Ticket>, SourceError> {
    if let Some(credentials) = &access.credentials {
        return Ok(Some(Ticket::Credentials(credentials.clone())));
    }
    let Some(config) = &access.docker_config else { return Ok(None) };
    let wrong = |detail: &str| SourceError::Prepare { detail: format!(".dockerconfigjson {detail}") };
    // The parser's own words could quote what it read.
    let config: Config =
        serde_json::from_str(config.reveal()).map_err(|_| wrong("is not the JSON of a Docker config"))?;
    let best = config
        .auths
        .iter()
        .filter_map(|(key, login)| Some((fits(key, host, path)?, login)))
        .max_by_key(|(precision, _)| *precision);
    let Some((_, login)) = best else {
        let helper = config.cred_helpers.iter().find(|(key, _)| fits(key, host, path).is_some());
        let helper =
            helper.map(|(_, name)| name).or(Some(&config.creds_store).filter(|name| !name.is_empty()));
        return helper.map_or(Ok(None), |name| {
            Err(wrong(&format!(
                "leaves \"{host}\" to the credential helper \"{name}\", a program that the hub does not run: \
                 put auth, or username and password, under auths"
            )))
        });
    };
    login.ticket(host).map_err(|detail| wrong(&detail)).map(Some)
}

impl Login {
    fn ticket(&self, host: &str) -> Result<Ticket, String> {
        if !self.registrytoken.is_empty() {
            return Ok(Ticket::Credentials(Credentials::Bearer(Hidden::new(self.registrytoken.as_str()))));
        }
        if !self.identitytoken.is_empty() {
            return Ok(Ticket::Identity(Hidden::new(self.identitytoken.as_str())));
        }
        let basic = |username: &str, password: &str| {
            // As Docker writes an identity token in place of a password.
            if username == "<token>" {
                return Ticket::Identity(Hidden::new(password));
            }
            let (username, password) = (username.to_owned(), Hidden::new(password));
            Ticket::Credentials(Credentials::Basic { username, password })
        };
        if !self.username.is_empty() {
            return Ok(basic(&self.username, &self.password));
        }
        let pair = STANDARD.decode(self.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let pair = pair.ok_or_else(|| format!("has no usable \"auth\" for \"{host}\""))?;
        let (username, password) =
            pair.split_once(':').ok_or_else(|| format!("has an \"auth\" for \"{host}\" without a colon"))?;
        Ok(basic(username, password.trim_end_matches('\0')))
    }
}

/// How precisely an entry names a repository; nothing when it names another one.
fn fits(key: &str, host: &str, path: &str) -> Option<(usize, bool)> {
    let key = key.trim_start_matches("https://").trim_start_matches("http://").trim_end_matches('/');
    let (named, below) = key.split_once('/').unwrap_or((key, ""));
    let below = match below {
        // What registries were called by before there were paths.
        "v1" | "v2" => "",
        below => below,
    };
    let exact = named == host || (HUB.contains(&named) && HUB.contains(&host));
    if !(exact || named.contains('*') && matches(named, host)) {
        return None;
    }
    let rest = path.strip_prefix(below)?;
    (below.is_empty() || rest.is_empty() || rest.starts_with('/')).then_some((below.len(), exact))
}

/// Part by part; a star stands for any text within a part.
fn matches(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<_>, Vec<_>) = (pattern.split('.').collect(), host.split('.').collect());
    let part = |(pattern, part): (&&str, &&str)| match pattern.split_once('*') {
        None => pattern == part,
        Some((start, end)) => {
            part.len() >= start.len() + end.len() && part.starts_with(start) && part.ends_with(end)
        }
    };
    pattern.len() == host.len() && pattern.iter().zip(&host).all(part)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(config: &str) -> Access {
        Access { docker_config: Some(Hidden::new(config)), ..Access::default() }
    }

    fn found(config: &str, host: &str, path: &str) -> Option<String> {
        Some(match ticket(&access(config), host, path).unwrap()? {
            Ticket::Credentials(Credentials::Basic { username, password }) => {
                format!("{username}:{}", password.reveal())
            }
            Ticket::Credentials(Credentials::Bearer(token)) => format!("bearer {}", token.reveal()),
            Ticket::Identity(token) => format!("identity {}", token.reveal()),
        })
    }

    #[test]
    fn the_most_precise_login_is_taken() {
        let config = r#"{"auths": {
            "https://r.example/v1/": {"auth": "YTpi"},
            "r.example/team": {"username": "c", "password": "d"},
            "*.example": {"username": "any", "password": "host"},
            "other.example": {"auth": "eDp5"},
            "port.example:5000": {"auth": "eDp5", "username": "p", "password": "q"}
        }}"#;
        let found = |host: &str, path: &str| found(config, host, path);
        assert_eq!(found("r.example", "x").as_deref(), Some("a:b"));
        assert_eq!(found("r.example", "team/web").as_deref(), Some("c:d"));
        assert_eq!(found("r.example", "team-2/web").as_deref(), Some("a:b"));
        assert_eq!(found("third.example", "x").as_deref(), Some("any:host"));
        assert_eq!(found("port.example:5000", "x").as_deref(), Some("p:q"));
        for stranger in ["r.example.org", "r.example:8443", "a.b.example", "example"] {
            assert_eq!(found(stranger, "x"), None, "{stranger}");
        }
    }

    #[test]
    fn every_form_of_a_login_is_understood() {
        for (login, expected) in [
            (r#"{"auth": "bWU6YTpi"}"#, "me:a:b"),
            (r#"{"auth": "bWU6YQAA"}"#, "me:a"),
            (r#"{"username": "me", "password": "a", "email": "x", "auth": "bm86"}"#, "me:a"),
            (r#"{"auth": "MDA6", "identitytoken": "t"}"#, "identity t"),
            (r#"{"auth": "PHRva2VuPjp0"}"#, "identity t"),
            (r#"{"registrytoken": "t"}"#, "bearer t"),
        ] {
            let config =
                format!(r#"{{"auths": {{"h": {login}}}, "credsStore": "desktop", "HttpHeaders": {{}}}}"#);
            assert_eq!(found(&config, "h", "x").as_deref(), Some(expected), "{login}");
        }
        for alias in ["https://index.docker.io/v1/", "docker.io", "registry-1.docker.io"] {
            let config = format!(r#"{{"auths": {{"{alias}": {{"auth": "YTpi"}}}}}}"#);
            for host in HUB {
                assert_eq!(found(&config, host, "library/x").as_deref(), Some("a:b"), "{alias} {host}");
            }
        }
        assert_eq!(place("docker.io", "nginx"), (HUB_HOST.to_owned(), "library/nginx".to_owned()));
        assert_eq!(place("index.docker.io", "me/web"), (HUB_HOST.to_owned(), "me/web".to_owned()));
        assert_eq!(place("r.example", "nginx"), ("r.example".to_owned(), "nginx".to_owned()));
    }

    #[test]
    fn what_cannot_be_used_is_told_without_its_content() {
        let told = |config: &str| ticket(&access(config), "h", "p").unwrap_err().to_string();
        let error = told("s3cret");
        assert!(error.contains("dockerconfigjson") && !error.contains("s3cret"), "{error}");
        let error = told(r#"{"auths": {"h": {"auth": "s3cret!"}}}"#);
        assert!(error.contains("no usable \"auth\" for \"h\"") && !error.contains("s3cret"), "{error}");
        let error = told(r#"{"credHelpers": {"h": "ecr-login"}}"#);
        assert!(
            error.contains("credential helper \"ecr-login\"") && error.contains("under auths"),
            "{error}"
        );
        assert!(ticket(&access(r#"{"credHelpers": {"o": "x"}}"#), "h", "p").unwrap().is_none());
    }
}
