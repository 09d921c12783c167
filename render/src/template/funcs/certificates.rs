//! Keys and certificates. The keys come from the TLS library's own generator; a render that asks for one counts as
//! one that used entropy, and its result is stored rather than reproduced.

use std::net::IpAddr;
use std::rc::Rc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, PKCS_RSA_SHA256, RsaKeySize, SanType, SerialNumber,
};

use super::encoding::base64_decode;
use super::pem::{self, Block};
use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::object::Object;
use crate::template::value::{Dict, Value};

pub(super) static TABLE: &[Row] = &[
    exact("genPrivateKey", 1, private_key),
    exact("genCA", 2, |env, args| authority(env, args, None)),
    exact("genCAWithKey", 3, |env, args| authority(env, args, Some(args.utf8(2)?))),
    exact("genSelfSignedCert", 4, |env, args| self_signed(env, args, None)),
    exact("genSelfSignedCertWithKey", 5, |env, args| self_signed(env, args, Some(args.utf8(4)?))),
    exact("genSignedCert", 5, |env, args| signed(env, args, None)),
    exact("genSignedCertWithKey", 6, |env, args| signed(env, args, Some(args.utf8(5)?))),
    exact("buildCustomCert", 2, custom),
];

/// sprig's certificate: PEM texts.
#[derive(Debug)]
struct Certificate {
    cert: String,
    key: String,
}

impl Object for Certificate {
    fn type_name(&self) -> &'static str {
        "sprig.certificate"
    }

    fn field(&self, name: &str) -> Option<Value> {
        match name {
            "Cert" => Some(Value::text(&self.cert)),
            "Key" => Some(Value::text(&self.key)),
            _ => None,
        }
    }

    fn fields(&self) -> Vec<(&'static str, Value)> {
        vec![("Cert", Value::text(&self.cert)), ("Key", Value::text(&self.key))]
    }

    fn print(&self) -> String {
        format!("{{{} {}}}", self.cert, self.key)
    }

    fn data(&self) -> Value {
        let dict = Dict::empty();
        dict.insert("Cert", Value::text(&self.cert));
        dict.insert("Key", Value::text(&self.key));
        Value::Dict(dict)
    }
}

fn certificate(cert: String, key: String) -> Value {
    Value::Object(Rc::new(Certificate { cert, key }))
}

fn failed(what: &'static str) -> impl Fn(rcgen::Error) -> Fault {
    move |problem| Fault::message(format!("{what}: {problem}"))
}

/// A key of a kind that Go knows and the TLS library here does not is left to Helm.
fn pair(key: &Block) -> Result<KeyPair, Fault> {
    let unsupported = || Fault::Unsupported(format!("a certificate of this {}", key.label));
    KeyPair::try_from(key.der.as_slice()).map_err(|_| unsupported())
}

fn key_pair(given: Option<&str>) -> Result<KeyPair, Fault> {
    match given {
        Some(text) => {
            let wrong = |problem| Fault::message(format!("parsing private key: {problem}"));
            pair(&pem::private_key(text).map_err(wrong)?)
        }
        None => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_2048)
            .map_err(failed("error generating rsa key")),
    }
}

/// The key as Go's sprig writes it.
fn key_text(key: &KeyPair) -> String {
    pem::key_text(key.serialized_der(), key.public_key_raw())
}

fn private_key(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let kind = args.string(0)?;
    let key = match kind.bytes() {
        b"" | b"rsa" => KeyPair::generate_rsa_for(&PKCS_RSA_SHA256, RsaKeySize::_4096),
        b"ecdsa" => KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256),
        b"ed25519" => {
            const HEAD: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
            let seed = env.random(32);
            return Ok(Value::text(&pem::pem("PRIVATE KEY", &[HEAD.as_slice(), &seed].concat())));
        }
        b"dsa" => return Err(Fault::Unsupported("genPrivateKey \"dsa\"".to_owned())),
        other => return Ok(super::crypto::joined(b"Unknown type ", other)),
    };
    env.used_entropy = true;
    Ok(Value::text(&key_text(&key.map_err(failed("failed to generate private key"))?)))
}

/// The parameters that sprig gives every certificate.
fn parameters(env: &mut Env<'_>, name: &str, days: i64) -> Result<CertificateParams, Fault> {
    let now = u64::try_from(env.now().seconds).unwrap_or(0);
    let mut serial = env.random(16);
    serial[0] &= 0x7f;
    let start = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(now);
    let day = 24 * 60 * 60;
    let span = Duration::from_secs(days.unsigned_abs().min(365_000) * day);
    let mut params = CertificateParams::default();
    params.not_before = start;
    params.not_after = if days < 0 { start - span } else { start + span };
    params.serial_number = Some(SerialNumber::from(serial));
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages =
        vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    Ok(params)
}

fn not_a_text(doing: &str, value: &Value) -> Fault {
    let shown = crate::template::print::display(value);
    Fault::message(format!("{doing}: {} is not a string", String::from_utf8_lossy(&shown)))
}

/// Adds the names of a leaf.
fn named(mut params: CertificateParams, args: Args<'_>) -> Result<CertificateParams, Fault> {
    for name in args.any_list(2)? {
        let Value::Str(name) = &name else {
            return Err(not_a_text("error processing alternate dns name", &name));
        };
        let name = name.lossy().into_owned();
        let name = name
            .clone()
            .try_into()
            .map_err(|_| Fault::message(format!("error processing alternate dns name: {name}")))?;
        params.subject_alt_names.push(SanType::DnsName(name));
    }
    for address in args.any_list(1)? {
        let Value::Str(text) = &address else {
            return Err(not_a_text("error parsing ip", &address));
        };
        let address: IpAddr = text
            .lossy()
            .parse()
            .map_err(|_| Fault::message(format!("error parsing ip: {}", text.lossy())))?;
        params.subject_alt_names.push(SanType::IpAddress(address));
    }
    Ok(params)
}

fn authority(env: &mut Env<'_>, args: Args<'_>, key: Option<String>) -> Answer {
    let mut params = parameters(env, &args.utf8(0)?, args.int(1)?)?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages.push(KeyUsagePurpose::KeyCertSign);
    let key = key_pair(key.as_deref())?;
    let cert = params.self_signed(&key).map_err(failed("error creating certificate"))?;
    Ok(certificate(pem::pem("CERTIFICATE", cert.der()), key_text(&key)))
}

fn self_signed(env: &mut Env<'_>, args: Args<'_>, key: Option<String>) -> Answer {
    let params = named(parameters(env, &args.utf8(0)?, args.int(3)?)?, args)?;
    let key = key_pair(key.as_deref())?;
    let cert = params.self_signed(&key).map_err(failed("error creating certificate"))?;
    Ok(certificate(pem::pem("CERTIFICATE", cert.der()), key_text(&key)))
}

fn signed(env: &mut Env<'_>, args: Args<'_>, key: Option<String>) -> Answer {
    let (ca_cert, ca_key) = match args.any(4) {
        Value::Object(object) => (object.field("Cert"), object.field("Key")),
        _ => (None, None),
    };
    let (Some(Value::Str(ca_cert)), Some(Value::Str(ca_key))) = (ca_cert, ca_key) else {
        let got = args.any(4).type_name();
        return Err(Fault::Type(format!("wrong type for value; expected sprig.certificate; got {got}")));
    };
    let key = key_pair(key.as_deref())?;
    let (ca_cert, public) =
        pem::certificate(&ca_cert.lossy(), "decodedSignerCert.Bytes").map_err(Fault::Message)?;
    let ca_key = pem::private_key(&ca_key.lossy()).map_err(unreadable_key)?;
    let mut params = named(parameters(env, &args.utf8(0)?, args.int(3)?)?, args)?;
    params.use_authority_key_identifier_extension = true;
    let ca_key = pair(&ca_key)?;
    if ca_key.public_key_raw() != public {
        let problem =
            "error creating certificate: x509: provided PrivateKey doesn't match parent's PublicKey";
        return Err(Fault::message(problem));
    }
    let issuer = Issuer::from_ca_cert_pem(&pem::pem("CERTIFICATE", &ca_cert), ca_key);
    let issuer = issuer.map_err(failed("error parsing certificate"))?;
    let cert = params.signed_by(&key, &issuer).map_err(failed("error creating certificate"))?;
    Ok(certificate(pem::pem("CERTIFICATE", cert.der()), key_text(&key)))
}

fn unreadable_key(problem: String) -> Fault {
    Fault::Message(format!("error parsing private key: {problem}"))
}

fn custom(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let decode = |at: usize, what: &str| -> Result<String, Fault> {
        let bytes = base64_decode(args.string(at)?.bytes())
            .map_err(|_| Fault::message(format!("unable to decode base64 {what}")))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let (cert, key) = (decode(0, "certificate")?, decode(1, "private key")?);
    pem::certificate(&cert, "decodedCert.Bytes").map_err(Fault::Message)?;
    pem::private_key(&key).map_err(unreadable_key)?;
    Ok(certificate(cert, key))
}
