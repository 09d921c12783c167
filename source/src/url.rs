//! Addresses: read, joined and shown. What is shown never holds a user name or a password.

use reqwest::Url;

use crate::error::SourceError;

/// The address without user name, password and query.
pub(crate) fn shown(address: &str) -> String {
    match Url::parse(address) {
        Ok(mut url) => {
            let _ = url.set_username("");
            let _ = url.set_password(None);
            url.set_query(None);
            url.to_string()
        }
        Err(_) => match address.split_once('@') {
            Some((before, after)) => {
                let scheme = before.split_once("://").map(|(scheme, _)| format!("{scheme}://"));
                format!("{}{after}", scheme.unwrap_or_default())
            }
            None => address.to_owned(),
        },
    }
}

/// Reads an address of one of these protocols.
pub(crate) fn of(address: &str, schemes: &'static [&'static str]) -> Result<Url, SourceError> {
    let wrong = || SourceError::Address { address: shown(address), expected: schemes };
    let url = Url::parse(address.trim()).map_err(|_| wrong())?;
    if !schemes.contains(&url.scheme()) || url.host_str().is_none_or(str::is_empty) {
        return Err(wrong());
    }
    Ok(url)
}

/// The address as a folder, so that relative references resolve inside it.
pub(crate) fn folder(mut url: Url) -> Url {
    if !url.path().ends_with('/') {
        let path = format!("{}/", url.path());
        url.set_path(&path);
    }
    url
}

/// Host and port, as limits count them.
pub(crate) fn host(url: &Url) -> String {
    let port = url.port_or_known_default().unwrap_or_default();
    format!("{}:{port}", url.host_str().unwrap_or_default())
}

/// Names and values as a form is sent.
pub(crate) fn form<'a>(pairs: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    let Ok(mut url) = Url::parse("http://form") else { return String::new() };
    url.query_pairs_mut().extend_pairs(pairs);
    url.query().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_shown_holds_no_password() {
        assert_eq!(shown("https://me:s3cret@h/x?token=s3cret"), "https://h/x");
        assert_eq!(shown("not a url://me:s3cret@h"), "not a url://h");
        assert_eq!(shown("oci://h:5000/a"), "oci://h:5000/a");
    }

    #[test]
    fn a_repository_without_trailing_slash_is_a_folder_too() {
        let url = folder(of("http://h/charts", &["http"]).unwrap());
        assert_eq!(url.join("index.yaml").unwrap().as_str(), "http://h/charts/index.yaml");
        assert!(of("ftp://h", &["http", "https"]).is_err());
        assert!(of("http:///x", &["http"]).is_ok_and(|url| url.host_str() == Some("x")));
    }
}
