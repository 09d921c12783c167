//! Why something was not fetched, for whoever has to mend it.

use reqwest::StatusCode;

/// Why something was not fetched.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// A client cannot be made of what was given.
    #[error("failed to prepare the connection: {detail}")]
    Prepare {
        /// What is wrong.
        detail: String,
    },
    /// Not an address of this kind.
    #[error("\"{address}\" is not an address of this source: expected a URL that begins with {}", schemes(.expected))]
    Address {
        /// What was given.
        address: String,
        /// The protocols that are accepted.
        expected: &'static [&'static str],
    },
    /// Nobody there, or the connection broke.
    #[error("failed to fetch \"{url}\": {detail}")]
    Request {
        /// What was asked for.
        url: String,
        /// What happened.
        detail: String,
    },
    /// The server said no.
    #[error("failed to fetch \"{url}\": the server answers {status}{}", hint(*.status))]
    Status {
        /// What was asked for.
        url: String,
        /// What it answered.
        status: StatusCode,
    },
    /// Larger than it may be.
    #[error("{what} exceeds the limit of {limit} {unit}")]
    TooLarge {
        /// What it is.
        what: String,
        /// What is allowed.
        limit: u64,
        /// Of what.
        unit: &'static str,
    },
    /// Something else came out.
    #[error("\"{url}\" has the digest {got}, expected is {expected}: the content was altered or replaced")]
    Digest {
        /// What was asked for.
        url: String,
        /// What was announced.
        expected: String,
        /// What came.
        got: String,
    },
    /// The answer cannot be read.
    #[error("\"{url}\" cannot be read: {detail}")]
    Malformed {
        /// What was asked for.
        url: String,
        /// Why.
        detail: String,
    },
    /// There is no such thing at the source.
    #[error("no {what} at \"{url}\"{alternative}")]
    Absent {
        /// What is missing.
        what: String,
        /// Where it was looked for.
        url: String,
        /// What there is instead.
        alternative: String,
    },
    /// The version asked for is none.
    #[error(transparent)]
    Version(crate::version::ConstraintError),
    /// A part of an archive or tree that must not be there.
    #[error("\"{path}\" in \"{url}\" is refused: {reason}")]
    Unsafe {
        /// Where it came from.
        url: String,
        /// Which part.
        path: String,
        /// Why.
        reason: String,
    },
    /// The signature is missing or wrong.
    #[error("the signature of \"{url}\" is not accepted: {detail}")]
    Signature {
        /// What was signed.
        url: String,
        /// What is wrong.
        detail: String,
    },
    /// A git command failed.
    #[error("failed to read the git repository \"{url}\": {detail}")]
    Git {
        /// The repository.
        url: String,
        /// What git said, and the likely cure.
        detail: String,
    },
    /// What was fetched is not what its users need.
    #[error("{detail}")]
    Refused {
        /// Why.
        detail: String,
    },
    /// A temporary file cannot be written.
    #[error("failed to write below \"{folder}\": {detail}")]
    Write {
        /// Where.
        folder: String,
        /// Why.
        detail: String,
    },
}

fn schemes(expected: &[&str]) -> String {
    expected.iter().map(|scheme| format!("{scheme}://")).collect::<Vec<_>>().join(" or ")
}

/// The likely cure.
fn hint(status: StatusCode) -> &'static str {
    match status {
        StatusCode::UNAUTHORIZED => ": credentials are missing or wrong, see secretRef",
        StatusCode::FORBIDDEN => ": these credentials do not give access",
        StatusCode::NOT_FOUND => ": there is nothing at this address",
        StatusCode::PROXY_AUTHENTICATION_REQUIRED => ": the proxy wants credentials, see proxySecretRef",
        _ => "",
    }
}

/// An error with everything it was caused by, each once.
pub fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
