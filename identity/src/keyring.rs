//! The keys that an authority holds, and how a rotation replaces them.
//!
//! ```text
//!              introduce                    change over                   retire
//!   Steady {A} ---------> Introduced {A,B} -----------> Changed {B,A} -----------> Steady {B}
//!             a new key,                   all agents have            all agents have
//!             trusted, of no               stored {A,B}:              stored {B,A}, and no
//!             other use                    B issues and signs         certificate is by A
//! ```
//! The same steps replace the root, the key that signs plans, or both. Each is one keyring, written as a whole before it is
//! used: whoever crashes has taken it or not. Whether all agents have stored a bundle the caller knows.
//!
//! # Why the first root of a bundle issues
//! Agents renew a certificate that is not by the first root of their bundle. So whoever changes over need not tell anybody
//! what to do, and nobody can miss it.
//!
//! # What is left of a root that was retired
//! Its private key is gone. What it said last stays: its signature under the bundle that named its successor, and its
//! certificate for that one. With these, agents that were away and tokens of before find the way to the newest root (see
//! [`crate::lineage`]). Whoever once stole the key of a retired root can therefore still mislead those who have not heard
//! since; a root that was stolen is a reason to join such agents anew.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::UnixMillis;
use protocol::codec::{decode, encode};
use protocol::enrolment::{PlanKey, TrustBundle};
use protocol::trust::{
    CHAIN_BYTES_MAX, CHAIN_STEPS_MAX, RootSignature, SignedTrust, TrustChain, signed_statement,
};
use rcgen::{BasicConstraints, IsCa, Issuer, KeyUsagePurpose, SigningKey as _};
use rustls_pki_types::CertificateDer;

use crate::authority::{AuthorityError, ROOT_VALIDITY_MS, policy, sign_error};
use crate::certificate::spki_hash;
use crate::entropy::Entropy;
use crate::key::{Ed25519, KeyKind, TlsKey};
use crate::pem;
use crate::plan::key_id;

/// The parts of the secret in which keys are kept.
const ROOT_CERTIFICATE: &str = "root.crt";
const ROOT_KEY: &str = "root.key";
const PLAN_KEY: &str = "plan.key";
const TRUST_SEQUENCE: &str = "trust-sequence";
const OTHER_ROOT_CERTIFICATE: &str = "other-root.crt";
const OTHER_ROOT_KEY: &str = "other-root.key";
const OTHER_PLAN_KEY: &str = "other-plan.key";
const PHASE: &str = "rotation-phase";
const LINEAGE: &str = "lineage";
const ROTATION: &str = "rotation";
/// The seed from which sealing follows; beside the keys that are replaced.
pub(crate) const SEALING_SEED: &str = "sealing.key";

/// Longest name of a rotation.
pub const ROTATION_BYTES_MAX: usize = 64;

/// How far a rotation has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Phase {
    /// There is none.
    #[default]
    Steady,
    /// New keys are trusted beside the old ones, which go on issuing and signing.
    Introduced,
    /// The new keys issue and sign; the old ones are trusted still.
    Changed,
}

impl Phase {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Steady, Self::Introduced, Self::Changed];

    /// Its name, in the secret and for people.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Steady => "Steady",
            Self::Introduced => "Introduced",
            Self::Changed => "Changed",
        }
    }
}

/// What a rotation replaces.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Replaced {
    /// The root of all certificates.
    pub root: bool,
    /// The key that signs plans.
    pub plan_key: bool,
}

/// A root and its key.
#[derive(Clone)]
pub(crate) struct Root {
    pub(crate) certificate: Bytes,
    pub(crate) key: TlsKey,
}

impl Root {
    pub(crate) fn create(
        trust_domain: &str,
        kind: KeyKind,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        let key = TlsKey::generate_kind(kind, entropy).map_err(AuthorityError::Key)?;
        let params = root_policy(trust_domain, now, entropy);
        let certificate = params.self_signed(key.pair()).map_err(|error| sign_error("the root", &error))?;
        Ok(Self { certificate: Bytes::copy_from_slice(certificate.der()), key })
    }

    /// The root, as what issues certificates.
    pub(crate) fn issuer(&self) -> Result<Issuer<'static, &rcgen::KeyPair>, rcgen::Error> {
        Issuer::from_ca_cert_der(&CertificateDer::from(&self.certificate[..]), self.key.pair())
    }

    /// A certificate of another root by this one.
    fn cross(
        &self,
        heir: &Self,
        trust_domain: &str,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Bytes, AuthorityError> {
        let failed = |error: rcgen::Error| sign_error("the new root", &error);
        let params = root_policy(trust_domain, now, entropy);
        let signed = params.signed_by(heir.key.pair(), &self.issuer().map_err(failed)?).map_err(failed)?;
        Ok(Bytes::copy_from_slice(signed.der()))
    }

    fn sign(&self, bundle: &[u8]) -> Result<RootSignature, AuthorityError> {
        let signed = self.key.pair().sign(&signed_statement(bundle));
        let signature = signed.map_err(|error| sign_error("trust bundle", &error))?;
        Ok(RootSignature { root: self.key.spki_hash(), signature: Bytes::from(signature) })
    }
}

/// All roots have one name: a path is found by trying their keys.
fn root_policy(trust_domain: &str, now: UnixMillis, entropy: &mut dyn Entropy) -> rcgen::CertificateParams {
    let mut params = policy(&format!("skein root of {trust_domain}"), now, ROOT_VALIDITY_MS, entropy);
    // One level below the root is kept for the issuing certificates of regions.
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

/// All keys of an authority that a rotation can replace.
#[derive(Clone)]
pub struct Keyring {
    pub(crate) trust_domain: String,
    pub(crate) sequence: u64,
    pub(crate) phase: Phase,
    /// What the last rotation is called; empty before the first.
    pub(crate) rotation: String,
    /// What issues.
    pub(crate) root: Root,
    /// What will issue, or did.
    pub(crate) other_root: Option<Root>,
    /// What signs plans.
    pub(crate) plan_key: Ed25519,
    /// What will sign them, or did.
    pub(crate) other_plan_key: Option<Ed25519>,
    /// What those said last that were retired, and what leads from them to the present ones.
    pub(crate) lineage: TrustChain,
}

impl std::fmt::Debug for Keyring {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Keyring")
            .field("sequence", &self.sequence)
            .field("phase", &self.phase)
            .finish_non_exhaustive()
    }
}

impl Keyring {
    pub(crate) fn create(
        trust_domain: &str,
        kind: KeyKind,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        Ok(Self {
            trust_domain: trust_domain.to_owned(),
            sequence: 1,
            phase: Phase::Steady,
            rotation: String::new(),
            root: Root::create(trust_domain, kind, now, entropy)?,
            other_root: None,
            plan_key: Ed25519::generate(entropy),
            other_plan_key: None,
            lineage: TrustChain::default(),
        })
    }

    /// Sequence of its bundle.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// How far a rotation has come.
    pub fn phase(&self) -> Phase {
        self.phase
    }

    /// What the rotation under way is called, or the last one; empty before the first.
    pub fn rotation(&self) -> &str {
        &self.rotation
    }

    /// What the rotation replaces.
    pub fn replaced(&self) -> Replaced {
        Replaced { root: self.other_root.is_some(), plan_key: self.other_plan_key.is_some() }
    }

    /// The key that signs plans.
    pub fn plan_key_id(&self) -> protocol::plan::KeyId {
        key_id(&self.plan_key.public())
    }

    /// SHA-256 of the public key of the root that issues.
    pub fn issuing(&self) -> [u8; 32] {
        self.root.key.spki_hash()
    }

    pub(crate) fn roots(&self) -> impl Iterator<Item = &Root> {
        std::iter::once(&self.root).chain(&self.other_root)
    }

    pub(crate) fn bundle(&self) -> TrustBundle {
        let plan_key = |key: &Ed25519| {
            let public_key = key.public();
            PlanKey { id: key_id(&public_key), public_key }
        };
        TrustBundle {
            sequence: self.sequence,
            trust_domain: self.trust_domain.clone(),
            roots: self.roots().map(|root| root.certificate.clone()).collect(),
            plan_keys: std::iter::once(&self.plan_key).chain(&self.other_plan_key).map(plan_key).collect(),
        }
    }

    /// How the newest bundle came to be, that bundle included.
    pub(crate) fn chain(&self) -> Result<TrustChain, AuthorityError> {
        let mut chain = self.lineage.clone();
        chain.steps.push(self.signed()?);
        Ok(chain)
    }

    /// The bundle, signed by all roots in it.
    fn signed(&self) -> Result<SignedTrust, AuthorityError> {
        let bundle = encode(&self.bundle());
        let signatures = self.roots().map(|root| root.sign(&bundle)).collect::<Result<_, _>>()?;
        Ok(SignedTrust { bundle, signatures, ext: Vec::new() })
    }

    /// What a listener shows to those who join or return, beside its own certificate.
    pub(crate) fn shown(&self) -> Vec<Bytes> {
        self.roots().map(|root| root.certificate.clone()).chain(self.lineage.crosses.clone()).collect()
    }

    /// The same with new keys beside the present ones, by a rotation of that name.
    ///
    /// # Errors
    /// [`AuthorityError::Rotation`] while another rotation is under way, or when nothing is to be replaced.
    pub fn introduce(
        &self,
        rotation: &str,
        replaced: Replaced,
        now: UnixMillis,
        entropy: &mut dyn Entropy,
    ) -> Result<Self, AuthorityError> {
        self.expect(Phase::Steady)?;
        if !replaced.root && !replaced.plan_key {
            let detail = "nothing is to be replaced: expected the root, the plan key or both";
            return Err(AuthorityError::Rotation(detail.to_owned()));
        }
        let (sequence, rotation) = (self.sequence + 1, rotation.to_owned());
        let mut next = Self { sequence, phase: Phase::Introduced, rotation, ..self.clone() };
        if replaced.root {
            let heir = Root::create(&self.trust_domain, self.root.key.kind(), now, entropy)?;
            next.lineage.crosses.push(self.root.cross(&heir, &self.trust_domain, now, entropy)?);
            next.other_root = Some(heir);
        }
        if replaced.plan_key {
            next.other_plan_key = Some(Ed25519::generate(entropy));
        }
        Ok(next)
    }

    /// The same with the new keys in the place of the old ones, which stay trusted.
    ///
    /// # Errors
    /// [`AuthorityError::Rotation`] unless new keys were introduced.
    pub fn change_over(&self) -> Result<Self, AuthorityError> {
        self.expect(Phase::Introduced)?;
        let mut next = Self { sequence: self.sequence + 1, phase: Phase::Changed, ..self.clone() };
        if let Some(heir) = &mut next.other_root {
            std::mem::swap(&mut next.root, heir);
        }
        if let Some(heir) = &mut next.other_plan_key {
            std::mem::swap(&mut next.plan_key, heir);
        }
        Ok(next)
    }

    /// The same without the old keys.
    ///
    /// # Errors
    /// [`AuthorityError::Rotation`] unless the new keys issue and sign.
    pub fn retire(&self) -> Result<Self, AuthorityError> {
        self.expect(Phase::Changed)?;
        let mut next = Self { sequence: self.sequence + 1, phase: Phase::Steady, ..self.clone() };
        next.lineage.steps.push(self.signed()?);
        next.lineage.crosses.extend(next.other_root.take().map(|old| old.certificate));
        next.other_plan_key = None;
        let TrustChain { steps, crosses, .. } = &mut next.lineage;
        // The newest bundle comes on top. Two certificates of each rotation.
        steps.drain(..steps.len().saturating_sub(CHAIN_STEPS_MAX - 1));
        crosses.drain(..crosses.len().saturating_sub(CHAIN_STEPS_MAX - 2));
        Ok(next)
    }

    fn expect(&self, phase: Phase) -> Result<(), AuthorityError> {
        if self.phase == phase {
            return Ok(());
        }
        let (present, wanted) = (self.phase.as_str(), phase.as_str());
        let detail =
            format!("the rotation is in phase \"{present}\", this step begins in phase \"{wanted}\"");
        Err(AuthorityError::Rotation(detail))
    }

    /// The parts in which it is kept; all of them are text.
    pub(crate) fn parts(&self) -> BTreeMap<String, Vec<u8>> {
        let text = |bytes: &[u8]| STANDARD.encode(bytes).into_bytes();
        let certificate = |root: &Root| pem::encode("CERTIFICATE", &root.certificate).into_bytes();
        let key = |root: &Root| pem::encode("PRIVATE KEY", root.key.pkcs8()).into_bytes();
        let mut parts = BTreeMap::from([
            (ROOT_CERTIFICATE, certificate(&self.root)),
            (ROOT_KEY, key(&self.root)),
            (PLAN_KEY, text(self.plan_key.seed())),
            (TRUST_SEQUENCE, self.sequence.to_string().into_bytes()),
            (PHASE, self.phase.as_str().as_bytes().to_vec()),
            (LINEAGE, text(&encode(&self.lineage))),
            (ROTATION, self.rotation.clone().into_bytes()),
        ]);
        if let Some(other) = &self.other_root {
            parts.extend([(OTHER_ROOT_CERTIFICATE, certificate(other)), (OTHER_ROOT_KEY, key(other))]);
        }
        if let Some(other) = &self.other_plan_key {
            parts.insert(OTHER_PLAN_KEY, text(other.seed()));
        }
        parts.into_iter().map(|(part, bytes)| (part.to_owned(), bytes)).collect()
    }

    /// Reads what [`parts`](Self::parts) wrote, also what an authority of before did.
    pub(crate) fn from_parts(parts: &Parts<'_>, trust_domain: String) -> Result<Self, AuthorityError> {
        let root = |certificate, key| {
            let read = TlsKey::from_pkcs8(&parts.der(key, "PRIVATE KEY")?)
                .map_err(|error| wrong(key, &error.to_string()))?;
            let root = parts.der(certificate, "CERTIFICATE")?;
            let pin = spki_hash(&root).map_err(|error| wrong(certificate, &error.to_string()))?;
            if pin != read.spki_hash() {
                return Err(wrong(certificate, &format!("does not belong to {key}")));
            }
            Ok(Root { certificate: Bytes::from(root), key: read })
        };
        let (phase, lineage, rotation) = match parts.is_of_before() {
            true => (Phase::Steady, TrustChain::default(), String::new()),
            false => (parts.phase()?, parts.lineage()?, parts.rotation()?),
        };
        let other_root =
            parts.has(OTHER_ROOT_KEY).then(|| root(OTHER_ROOT_CERTIFICATE, OTHER_ROOT_KEY)).transpose()?;
        let other_plan_key = parts.has(OTHER_PLAN_KEY).then(|| parts.seed(OTHER_PLAN_KEY)).transpose()?;
        let sequence = parts.text(TRUST_SEQUENCE)?.parse();
        Ok(Self {
            trust_domain,
            sequence: sequence.map_err(|_| wrong(TRUST_SEQUENCE, "is not a number"))?,
            phase,
            rotation,
            root: root(ROOT_CERTIFICATE, ROOT_KEY)?,
            other_root,
            plan_key: Ed25519::from_seed(parts.seed(PLAN_KEY)?),
            other_plan_key: other_plan_key.map(Ed25519::from_seed),
            lineage,
        })
    }
}

/// The parts of a secret as they are read.
pub(crate) struct Parts<'a>(pub(crate) &'a BTreeMap<String, Vec<u8>>);

impl Parts<'_> {
    pub(crate) fn has(&self, part: &str) -> bool {
        self.0.contains_key(part)
    }

    pub(crate) fn text(&self, part: &'static str) -> Result<&str, AuthorityError> {
        let bytes = self.0.get(part).ok_or_else(|| wrong(part, "is missing"))?;
        std::str::from_utf8(bytes).map(str::trim).map_err(|_| wrong(part, "is not text"))
    }

    /// 32 bytes in base64.
    pub(crate) fn seed(&self, part: &'static str) -> Result<[u8; 32], AuthorityError> {
        STANDARD
            .decode(self.text(part)?)
            .ok()
            .and_then(|bytes| <[u8; 32]>::try_from(bytes).ok())
            .ok_or_else(|| wrong(part, "is not the base64 of 32 bytes"))
    }

    /// An authority of before knew no rotation.
    pub(crate) fn is_of_before(&self) -> bool {
        [PHASE, LINEAGE, ROTATION, SEALING_SEED].iter().all(|part| !self.has(part))
    }

    fn phase(&self) -> Result<Phase, AuthorityError> {
        let text = self.text(PHASE)?;
        let known = Phase::ALL.into_iter().find(|phase| phase.as_str() == text);
        known.ok_or_else(|| {
            wrong(PHASE, &format!("is \"{text}\", accepted are Steady, Introduced and Changed"))
        })
    }

    fn rotation(&self) -> Result<String, AuthorityError> {
        let text = self.text(ROTATION)?;
        if text.len() <= ROTATION_BYTES_MAX && text.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-') {
            return Ok(text.to_owned());
        }
        Err(wrong(
            ROTATION,
            &format!("is no name: expected at most {ROTATION_BYTES_MAX} letters, digits and \"-\""),
        ))
    }

    fn lineage(&self) -> Result<TrustChain, AuthorityError> {
        STANDARD
            .decode(self.text(LINEAGE)?)
            .ok()
            .and_then(|bytes| decode(&bytes, CHAIN_BYTES_MAX).ok())
            .ok_or_else(|| wrong(LINEAGE, "is not the base64 of a trust chain"))
    }

    fn der(&self, part: &'static str, label: &str) -> Result<Vec<u8>, AuthorityError> {
        pem::decode(label, self.text(part)?)
            .and_then(|blocks| blocks.into_iter().next())
            .ok_or_else(|| wrong(part, &format!("is not a PEM block of type {label}")))
    }
}

pub(crate) fn wrong(part: &'static str, detail: &str) -> AuthorityError {
    AuthorityError::Secret { part, detail: detail.to_owned() }
}
