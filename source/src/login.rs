//! Logins of a Docker `config.json`: which credentials a registry gets.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::access::{Access, Credentials, Hidden};
use crate::error::SourceError;

#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: std::collections::BTreeMap<String, Login>,
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
    registrytoken: String,
}

/// Who asks at a registry: what is given, or what the Docker config has for it. The most precise entry wins.
pub(crate) fn credentials(
    access: &Access,
    host: &str,
    path: &str,
) -> Result<Option<Credentials>, SourceError> {
    if access.credentials.is_some() {
        return Ok(access.credentials.clone());
    }
    let Some(config) = &access.docker_config else { return Ok(None) };
    let wrong = |detail: &str| SourceError::Prepare { detail: format!(".dockerconfigjson {detail}") };
    // The parser's own words could quote what it read.
    let config: Config =
        serde_json::from_str(config.reveal()).map_err(|_| wrong("is not the JSON of a Docker config"))?;
    let wanted = format!("{host}/{path}");
    let best = config
        .auths
        .iter()
        .filter_map(|(key, login)| {
            let key = key.trim_start_matches("https://").trim_start_matches("http://");
            let key = key.trim_end_matches('/').trim_end_matches("/v1").trim_end_matches("/v2");
            let rest = wanted.strip_prefix(key)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((key.len(), login))
        })
        .max_by_key(|(length, _)| *length);
    let Some((_, login)) = best else { return Ok(None) };
    if !login.registrytoken.is_empty() {
        return Ok(Some(Credentials::Bearer(Hidden::new(login.registrytoken.as_str()))));
    }
    if !login.username.is_empty() {
        let password = Hidden::new(login.password.as_str());
        return Ok(Some(Credentials::Basic { username: login.username.clone(), password }));
    }
    let pair = STANDARD.decode(login.auth.trim()).ok().and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = pair.ok_or_else(|| wrong(&format!("has no usable \"auth\" for \"{host}\"")))?;
    let (username, password) = pair
        .split_once(':')
        .ok_or_else(|| wrong(&format!("has an \"auth\" for \"{host}\" without a colon")))?;
    let password = Hidden::new(password.trim_end_matches('\0'));
    Ok(Some(Credentials::Basic { username: username.to_owned(), password }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(config: &str, host: &str, path: &str) -> Option<(String, String)> {
        let access = Access { docker_config: Some(Hidden::new(config)), ..Access::default() };
        match credentials(&access, host, path).unwrap()? {
            Credentials::Basic { username, password } => Some((username, password.reveal().to_owned())),
            Credentials::Bearer(_) => None,
        }
    }

    #[test]
    fn the_most_precise_login_is_taken() {
        let config = r#"{"auths": {
            "https://r.example/v1/": {"auth": "YTpi"},
            "r.example/team": {"username": "c", "password": "d"},
            "other.example": {"auth": "eDp5"}
        }}"#;
        assert_eq!(found(config, "r.example", "x"), Some(("a".into(), "b".into())));
        assert_eq!(found(config, "r.example", "team/web"), Some(("c".into(), "d".into())));
        assert_eq!(found(config, "r.example", "team-2/web"), Some(("a".into(), "b".into())));
        assert_eq!(found(config, "r.example.org", "x"), None);
    }

    #[test]
    fn a_broken_config_is_told_without_its_content() {
        let access = Access { docker_config: Some(Hidden::new("s3cret")), ..Access::default() };
        let error = credentials(&access, "h", "p").unwrap_err().to_string();
        assert!(error.contains("dockerconfigjson") && !error.contains("s3cret"), "{error}");
    }
}
