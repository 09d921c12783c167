//! AWS Signature Version 4 for requests without a body, as the S3 API wants it.

use aws_lc_rs::hmac;
use reqwest::Url;
use sha2::{Digest, Sha256};

/// SHA-256 of nothing.
const EMPTY: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

/// Who signs, and for what.
pub(crate) struct Signer<'a> {
    pub(crate) access_key: &'a str,
    pub(crate) secret_key: &'a str,
    pub(crate) region: &'a str,
}

impl Signer<'_> {
    /// The headers of a GET request. `time` is `YYYYMMDDTHHMMSSZ`.
    pub(crate) fn headers(&self, url: &Url, time: &str) -> Vec<(&'static str, String)> {
        let host = match (url.host_str(), url.port()) {
            (Some(host), Some(port)) => format!("{host}:{port}"),
            (host, _) => host.unwrap_or_default().to_owned(),
        };
        let day = time.get(..8).unwrap_or_default();
        let mut pairs: Vec<(String, String)> =
            url.query_pairs().map(|(key, value)| (encoded(&key, true), encoded(&value, true))).collect();
        pairs.sort();
        let query = pairs.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join("&");
        // The path of the URL is encoded once already, and S3 signs it so.
        let canonical = format!(
            "GET\n{}\n{query}\nhost:{host}\nx-amz-content-sha256:{EMPTY}\nx-amz-date:{time}\n\n\
             host;x-amz-content-sha256;x-amz-date\n{EMPTY}",
            url.path()
        );
        let scope = format!("{day}/{}/s3/aws4_request", self.region);
        let text = format!(
            "AWS4-HMAC-SHA256\n{time}\n{scope}\n{}",
            hex::encode(Sha256::digest(canonical.as_bytes()))
        );
        let mut key = mac(format!("AWS4{}", self.secret_key).as_bytes(), day);
        for part in [self.region, "s3", "aws4_request"] {
            key = mac(&key, part);
        }
        let signature = hex::encode(mac(&key, &text));
        let authorization = format!(
            "AWS4-HMAC-SHA256 Credential={}/{scope}, SignedHeaders=host;x-amz-content-sha256;x-amz-date, \
             Signature={signature}",
            self.access_key
        );
        vec![
            ("x-amz-date", time.to_owned()),
            ("x-amz-content-sha256", EMPTY.to_owned()),
            ("authorization", authorization),
        ]
    }
}

fn mac(key: &[u8], text: &str) -> Vec<u8> {
    let key = hmac::Key::new(hmac::HMAC_SHA256, key);
    hmac::sign(&key, text.as_bytes()).as_ref().to_vec()
}

/// Percent-encoding with everything encoded that RFC 3986 does not reserve for text; slashes stay where they divide.
pub(crate) fn encoded(text: &str, slash: bool) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => out.push(char::from(byte)),
            b'/' if !slash => out.push('/'),
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example "GET Bucket (List Objects)" of the S3 API reference.
    #[test]
    fn the_published_example_comes_out() {
        let signer = Signer {
            access_key: "AKIAIOSFODNN7EXAMPLE",
            secret_key: "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY",
            region: "us-east-1",
        };
        let url = Url::parse("https://examplebucket.s3.amazonaws.com/?max-keys=2&prefix=J").unwrap();
        let headers = signer.headers(&url, "20130524T000000Z");
        let authorization = &headers[2].1;
        assert!(
            authorization
                .ends_with("Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7"),
            "{authorization}"
        );
    }
}
