//! Join tokens: one line of text that lets one device in.
//!
//! `skein1.<base64url>` of version, body (postcard) and a checksum (4 bytes of BLAKE3). The checksum protects
//! from nothing but slips of the hand: it lets the error say "cut off or altered" before anybody is dialled.
//! The secret is the seed of an Ed25519 key; it never travels, and the hub keeps only its public half.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use protocol::UnixMillis;
use protocol::enrolment::TokenId;
use protocol::id::RegionName;
use serde::{Deserialize, Serialize};

use crate::entropy::Entropy;
use crate::key::Ed25519;

/// What every token begins with.
pub const TOKEN_PREFIX: &str = "skein1.";
/// Longest token text, in bytes.
pub const TOKEN_TEXT_BYTES_MAX: usize = 4096;
/// Bytes of the checksum at the end.
const CHECKSUM_BYTES: usize = 4;

/// Why a text is not a token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins otherwise.
    #[error("join token begins with \"{0}\", expected \"skein1.\": copy the whole line that the hub printed")]
    Prefix(String),
    /// It is too long.
    #[error("join token has {0} characters, at most {TOKEN_TEXT_BYTES_MAX} are accepted")]
    Length(usize),
    /// A character does not belong in it.
    #[error("join token is not base64url after \"skein1.\": {0}")]
    Encoding(String),
    /// Characters are missing or different.
    #[error("join token is cut off or altered: its checksum does not match, copy the whole line again")]
    Checksum,
    /// The checksum is right and the content is not.
    #[error("join token is of another version of skein: {0}")]
    Content(String),
}

/// What kind of agent a token makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TokenRole {
    /// A regional agent.
    Region,
    /// An edge agent.
    Edge,
}

impl TokenRole {
    /// Its word.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Region => "region",
            Self::Edge => "edge",
        }
    }
}

/// An invitation to the mesh.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinToken {
    /// Its name; not secret.
    pub id: TokenId,
    /// Where to join, `host:port`, in order of preference.
    pub endpoints: Vec<String>,
    /// SHA-256 of the public keys (`SubjectPublicKeyInfo`) of the roots to believe.
    pub pins: Vec<[u8; 32]>,
    /// After this moment it is refused.
    pub not_after: UnixMillis,
    /// The region it is for.
    pub region: RegionName,
    /// The kind of agent it makes.
    pub role: TokenRole,
    /// The seed of the token key.
    secret: [u8; 32],
}

/// What a new token is to say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenScope {
    /// Where to join, `host:port`, in order of preference.
    pub endpoints: Vec<String>,
    /// SHA-256 of the public keys of the roots to believe: [`crate::Trust`] bundles give them by `pins`.
    pub pins: Vec<[u8; 32]>,
    /// After this moment it is refused.
    pub not_after: UnixMillis,
    /// The region it is for.
    pub region: RegionName,
    /// The kind of agent it makes.
    pub role: TokenRole,
}

impl JoinToken {
    /// A new token, and the public key by which the hub will know it.
    pub fn mint(scope: TokenScope, entropy: &mut dyn Entropy) -> (Self, Bytes) {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        let key = Ed25519::generate(entropy);
        let TokenScope { endpoints, pins, not_after, region, role } = scope;
        let token = Self { id: TokenId(id), endpoints, pins, not_after, region, role, secret: *key.seed() };
        (token, key.public())
    }

    /// Reads a token's text; white space around it is ignored.
    ///
    /// # Errors
    /// [`TokenError`] says what is wrong with it.
    pub fn parse(text: &str) -> Result<Self, TokenError> {
        text.parse()
    }

    /// The public half of the token key.
    pub fn public_key(&self) -> Bytes {
        Ed25519::from_seed(self.secret).public()
    }

    /// Signs with the token key.
    pub(crate) fn sign(&self, message: &[u8]) -> Bytes {
        Ed25519::from_seed(self.secret).sign(message)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken")
            .field("id", &hex::encode(self.id.0))
            .field("endpoints", &self.endpoints)
            .field("region", &self.region)
            .field("role", &self.role)
            .field("not_after", &self.not_after)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut bytes = postcard::to_stdvec(self).map_err(|_| fmt::Error)?;
        let checksum = checksum(&bytes);
        bytes.extend_from_slice(&checksum);
        write!(f, "{TOKEN_PREFIX}{}", URL_SAFE_NO_PAD.encode(bytes))
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        if text.len() > TOKEN_TEXT_BYTES_MAX {
            return Err(TokenError::Length(text.len()));
        }
        let encoded = text
            .strip_prefix(TOKEN_PREFIX)
            .ok_or_else(|| TokenError::Prefix(text.chars().take(TOKEN_PREFIX.len()).collect()))?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|error| match error {
            // A token cut inside a group of four characters fails here already.
            base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidLastSymbol(..) => {
                TokenError::Checksum
            }
            base64::DecodeError::InvalidByte(..) | base64::DecodeError::InvalidPadding => {
                TokenError::Encoding(error.to_string())
            }
        })?;
        let (body, sum) = bytes.split_last_chunk::<CHECKSUM_BYTES>().ok_or(TokenError::Checksum)?;
        if checksum(body) != *sum {
            return Err(TokenError::Checksum);
        }
        let (token, rest) = postcard::take_from_bytes::<Self>(body)
            .map_err(|error| TokenError::Content(error.to_string()))?;
        if rest.is_empty() { Ok(token) } else { Err(TokenError::Content("trailing bytes".to_owned())) }
    }
}

fn checksum(body: &[u8]) -> [u8; CHECKSUM_BYTES] {
    let hash = blake3::derive_key("skein join token v1", body);
    [hash[0], hash[1], hash[2], hash[3]]
}
