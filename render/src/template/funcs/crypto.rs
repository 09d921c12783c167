//! Digests, passwords, random text, identifiers and AES. Randomness comes from the caller's entropy.

use aws_lc_rs::cipher::{
    AES_256, DecryptionContext, EncryptionContext, PaddedBlockDecryptingKey, PaddedBlockEncryptingKey,
    UnboundCipherKey,
};
use aws_lc_rs::digest;

use super::encoding::{base64_decode, base64_encode};
use super::{Answer, Row, exact};
use crate::template::args::Args;
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::value::{Text, Value};

pub(super) static TABLE: &[Row] = &[
    exact("sha1sum", 1, |_, args| hash(args, &digest::SHA1_FOR_LEGACY_USE_ONLY)),
    exact("sha256sum", 1, |_, args| hash(args, &digest::SHA256)),
    exact("sha512sum", 1, |_, args| hash(args, &digest::SHA512)),
    exact("adler32sum", 1, |_, args| Ok(Value::text(&adler32(args.string(0)?.bytes()).to_string()))),
    exact("bcrypt", 1, |env, args| Ok(Value::text(&bcrypt(env, args.string(0)?.bytes())))),
    exact("htpasswd", 2, |env, args| {
        let (user, password) = (args.string(0)?, args.string(1)?);
        if user.bytes().contains(&b':') {
            return Ok(joined(b"invalid username: ", user.bytes()));
        }
        let hash = format!(":{}", bcrypt(env, password.bytes()));
        Ok(joined(user.bytes(), hash.as_bytes()))
    }),
    exact("randAlphaNum", 1, |env, args| random_text(env, args, |byte| byte.is_ascii_alphanumeric())),
    exact("randAlpha", 1, |env, args| random_text(env, args, |byte| byte.is_ascii_alphabetic())),
    exact("randNumeric", 1, |env, args| random_text(env, args, |byte| byte.is_ascii_digit())),
    exact("randAscii", 1, |env, args| random_text(env, args, |byte| (32..127).contains(&byte))),
    exact("randBytes", 1, |env, args| {
        let count = length(env, args)?;
        Ok(Value::text(&base64_encode(&env.random(count))))
    }),
    exact("shuffle", 1, |env, args| {
        let mut letters: Vec<char> = args.utf8(0)?.chars().collect();
        for at in (1..letters.len()).rev() {
            let other = below(env, at + 1);
            letters.swap(at, other);
        }
        Ok(Value::text(&letters.into_iter().collect::<String>()))
    }),
    exact("uuidv4", 0, |env, _| {
        let mut bytes = env.random(16);
        bytes[6] = (bytes[6] & 0x0f) | 0x40;
        bytes[8] = (bytes[8] & 0x3f) | 0x80;
        let digits = hex::encode(bytes);
        let parts = [&digits[..8], &digits[8..12], &digits[12..16], &digits[16..20], &digits[20..]];
        Ok(Value::text(&parts.join("-")))
    }),
    exact("encryptAES", 2, encrypt),
    exact("decryptAES", 2, decrypt),
    exact("derivePassword", 5, derive_password),
];

fn hash(args: Args<'_>, algorithm: &'static digest::Algorithm) -> Answer {
    Ok(Value::text(&hex::encode(digest::digest(algorithm, args.string(0)?.bytes()))))
}

fn adler32(bytes: &[u8]) -> u32 {
    let (low, high) = bytes.iter().fold((1_u32, 0_u32), |(low, high), byte| {
        let low = (low + u32::from(*byte)) % 65_521;
        (low, (high + low) % 65_521)
    });
    (high << 16) | low
}

/// bcrypt at Go's default cost, in Go's `$2a$` form.
fn bcrypt(env: &mut Env<'_>, password: &[u8]) -> String {
    const COST: u32 = 10;
    if password.len() > 72 {
        return "failed to encrypt string with bcrypt: bcrypt: password length exceeds 72 bytes".to_owned();
    }
    let mut salt = [0_u8; 16];
    salt.copy_from_slice(&env.random(16));
    match bcrypt::hash_with_salt(password, COST, salt) {
        Ok(parts) => parts.format_for_version(bcrypt::Version::TwoA),
        Err(problem) => format!("failed to encrypt string with bcrypt: {problem}"),
    }
}

fn length(env: &mut Env<'_>, args: Args<'_>) -> Result<usize, Fault> {
    let count = usize::try_from(args.int(0)?).unwrap_or(0);
    env.charge(count.saturating_mul(4))?;
    Ok(count)
}

/// A number below `bound`, without bias worth mentioning.
fn below(env: &mut Env<'_>, bound: usize) -> usize {
    let bytes = env.random(8);
    let word = bytes.iter().fold(0_u64, |word, byte| (word << 8) | u64::from(*byte));
    usize::try_from(word % bound.max(1) as u64).unwrap_or(0)
}

fn random_text(env: &mut Env<'_>, args: Args<'_>, accept: fn(u8) -> bool) -> Answer {
    let count = length(env, args)?;
    let letters: Vec<u8> = (0..=127_u8).filter(|byte| accept(*byte)).collect();
    // Bytes beyond the last whole multiple are thrown away, so that every letter is as likely as the others.
    let whole = 256 / letters.len() * letters.len();
    let mut out = Vec::with_capacity(count);
    let mut rounds = 0_u32;
    while out.len() < count {
        let wanted = count - out.len();
        for byte in env.random(wanted + 8) {
            let position = usize::from(byte);
            // A source that yields only unusable bytes must still come to an end.
            if (position < whole || rounds > 64) && out.len() < count {
                out.push(letters[position % letters.len()]);
            }
        }
        rounds += 1;
    }
    Ok(Value::Str(Text::from(out)))
}

fn aes_key(password: &[u8]) -> Result<UnboundCipherKey, Fault> {
    let mut key = [0_u8; 32];
    let used = password.len().min(32);
    key[..used].copy_from_slice(&password[..used]);
    UnboundCipherKey::new(&AES_256, &key).map_err(|_| Fault::message("failed to use the AES key"))
}

fn encrypt(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    let (password, plain) = (args.string(0)?, args.string(1)?);
    if plain.bytes().is_empty() {
        return Ok(Value::text(""));
    }
    let failed = |_| Fault::message("failed to encrypt");
    let mut iv = [0_u8; 16];
    iv.copy_from_slice(&env.random(16));
    let key = PaddedBlockEncryptingKey::cbc_pkcs7(aes_key(password.bytes())?).map_err(failed)?;
    let mut data = plain.bytes().to_vec();
    let context = EncryptionContext::Iv128((&iv).into());
    key.less_safe_encrypt(&mut data, context).map_err(failed)?;
    Ok(Value::text(&base64_encode(&[iv.as_slice(), &data].concat())))
}

fn decrypt(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let (password, text) = (args.string(0)?, args.string(1)?);
    if text.bytes().is_empty() {
        return Ok(Value::text(""));
    }
    let failed = || Fault::message("failed to decrypt: the text or the password is wrong");
    let data = base64_decode(text.bytes()).map_err(Fault::Message)?;
    let (iv, cipher) = data.split_at_checked(16).ok_or_else(failed)?;
    let mut start = [0_u8; 16];
    start.copy_from_slice(iv);
    let key = PaddedBlockDecryptingKey::cbc_pkcs7(aes_key(password.bytes())?).map_err(|_| failed())?;
    let mut plain = cipher.to_vec();
    let context = DecryptionContext::Iv128((&start).into());
    let length = key.decrypt(&mut plain, context).map_err(|_| failed())?.len();
    plain.truncate(length);
    Ok(Value::Str(Text::from(plain)))
}

/// Kinds of derived passwords, each with templates of letter classes (the Master Password algorithm).
const PASSWORD_TEMPLATES: [(&str, &[&str]); 6] = [
    ("maximum", &["anoxxxxxxxxxxxxxxxxx", "axxxxxxxxxxxxxxxxxno"]),
    (
        "long",
        &[
            "CvcvnoCvcvCvcv",
            "CvcvCvcvnoCvcv",
            "CvcvCvcvCvcvno",
            "CvccnoCvcvCvcv",
            "CvccCvcvnoCvcv",
            "CvccCvcvCvcvno",
            "CvcvnoCvccCvcv",
            "CvcvCvccnoCvcv",
            "CvcvCvccCvcvno",
            "CvcvnoCvcvCvcc",
            "CvcvCvcvnoCvcc",
            "CvcvCvcvCvccno",
            "CvccnoCvccCvcv",
            "CvccCvccnoCvcv",
            "CvccCvccCvcvno",
            "CvcvnoCvccCvcc",
            "CvcvCvccnoCvcc",
            "CvcvCvccCvccno",
            "CvccnoCvcvCvcc",
            "CvccCvcvnoCvcc",
            "CvccCvcvCvccno",
        ],
    ),
    ("medium", &["CvcnoCvc", "CvcCvcno"]),
    ("short", &["Cvcn"]),
    ("basic", &["aaanaaan", "aannaaan", "aaannaaa"]),
    ("pin", &["nnnn"]),
];

/// Words and what a template gave, which may be no text.
pub(super) fn joined(first: &[u8], second: &[u8]) -> Value {
    Value::Str([first, second].concat().into())
}

/// The letters of a class.
fn class_letters(class: u8) -> &'static [u8] {
    match class {
        b'V' => b"AEIOU",
        b'C' => b"BCDFGHJKLMNPQRSTVWXYZ",
        b'v' => b"aeiou",
        b'c' => b"bcdfghjklmnpqrstvwxyz",
        b'A' => b"AEIOUBCDFGHJKLMNPQRSTVWXYZ",
        b'a' => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz",
        b'n' => b"0123456789",
        b'o' => b"@&%?,=[]_:-+*$#!'^~;()/.",
        _ => b"AEIOUaeiouBCDFGHJKLMNPQRSTVWXYZbcdfghjklmnpqrstvwxyz0123456789!@#$%^&*()",
    }
}

/// sprig's `derivePassword COUNTER KIND PASSWORD USER SITE`.
fn derive_password(env: &mut Env<'_>, args: Args<'_>) -> Answer {
    /// One derivation takes about as long as so many steps, and 32 MiB.
    const STEPS: u64 = 1_000_000;
    const SEED: &[u8] = b"com.lyndir.masterpassword";
    let counter = u32::try_from(args.int(0)?).unwrap_or(u32::MAX);
    let (kind, password, user, site) = (args.string(1)?, args.string(2)?, args.string(3)?, args.string(4)?);
    let Some((_, templates)) = PASSWORD_TEMPLATES.iter().find(|(name, _)| name.as_bytes() == kind.bytes())
    else {
        return Ok(joined(b"cannot find password template ", kind.bytes()));
    };
    env.step(STEPS)?;
    let sized = |text: &Text| {
        let length = u32::try_from(text.bytes().len()).unwrap_or(u32::MAX).to_be_bytes();
        [SEED, &length, text.bytes()].concat()
    };
    let failed =
        |problem: &dyn std::fmt::Display| Fault::message(format!("failed to derive password: {problem}"));
    let cost = scrypt::Params::new(15, 8, 2, 64).map_err(|problem| failed(&problem))?;
    let mut key = [0_u8; 64];
    scrypt::scrypt(password.bytes(), &sized(&user), &cost, &mut key).map_err(|problem| failed(&problem))?;
    let message = [sized(&site).as_slice(), &counter.to_be_bytes()].concat();
    let seed =
        aws_lc_rs::hmac::sign(&aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, &key), &message);
    let seed = seed.as_ref();
    let template = templates[usize::from(seed[0]) % templates.len()];
    let letter = |(at, class): (usize, u8)| {
        let letters = class_letters(class);
        letters[usize::from(seed[at + 1]) % letters.len()]
    };
    Ok(Value::Str(Text::from(template.bytes().enumerate().map(letter).collect::<Vec<u8>>())))
}
