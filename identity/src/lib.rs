//! Who is who, and how one proves it: keys, join tokens, certificates, trust.
//!
//! | who | has |
//! |---|---|
//! | the hub | an [`Authority`]: the root key and the plan-signing key |
//! | an agent | an [`AgentIdentity`]: a device key for life, and a TLS key with a short certificate |
//! | a newcomer | a [`JoinToken`] that pins the root and proves itself by signature, never by being shown |
//!
//! - [`key`], [`token`], [`agent`], [`store`]: what an agent holds
//! - [`approval`]: who is let in without a question
//! - [`authority`], [`join`], [`renewal`], [`recovery`]: how it gets it, keeps it and gets it back; certificates
//!   follow policy, never the request
//! - [`issuer`]: how a region renews its edges while the hub is away, and what it cannot do with that
//! - [`placement`], [`endpoints`]: where an agent dials, as the hub signed it
//! - [`keyring`]: how root and plan key are replaced; [`lineage`]: how agents follow
//! - [`plan`]: signatures of plans; [`sealing`]: content that only its recipient reads
//! - [`trust`], [`certificate`], [`tls`]: whom a link talks to: TLS 1.3 only, no resumption, no 0-RTT
//!
//! # Why
//! rustls takes the client certificate of a resumed session from the ticket and does not ask the verifier, so a
//! revoked agent would come back in; resuming saves a fifth of a handshake. It is off on both sides.
//! The deny set names agents, key hashes and serials, never certificate fingerprints: an ECDSA signature can be
//! changed without breaking it, a fingerprint list is bypassed that way.

pub mod agent;
pub mod approval;
pub mod authority;
pub mod certificate;
pub mod endpoints;
pub mod entropy;
pub mod issuer;
pub mod join;
pub mod key;
pub mod keyring;
pub mod lineage;
mod pem;
pub mod placement;
pub mod plan;
pub mod recovery;
pub mod renewal;
pub mod sealing;
pub mod store;
pub mod time;
pub mod tls;
pub mod token;
pub mod trust;

pub use agent::AgentIdentity;
pub use authority::{Authority, LinkIdentity};
pub use certificate::PeerCertificate;
pub use endpoints::{EndpointsError, Listed};
pub use entropy::{Entropy, SeededEntropy, SystemEntropy};
pub use issuer::RegionIssuer;
pub use join::{JoinDecision, TokenRecord, TokenUse, check_join, make_join_request};
pub use key::{DeviceKey, KeyKind, TlsKey};
pub use keyring::{Keyring, Phase, Replaced};
pub use lineage::LineageError;
pub use placement::Placed;
pub use plan::{PlanError, PlanVerifier};
pub use renewal::{check_renewal, make_renew_request};
pub use sealing::{SealError, Sealer, SealingKey};
pub use store::{FileStore, KeyStore};
pub use time::{Clock, MeshClock, SystemClock};
pub use token::{JoinToken, TokenError, TokenRole};
pub use trust::{DenySet, Trust};
