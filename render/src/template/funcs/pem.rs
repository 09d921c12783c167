//! Keys and certificates that a chart brings: PEM and DER as Go reads them, and Go's words where it cannot.

use crate::template::funcs::encoding::{base64_decode, base64_encode};

/// A block of PEM.
pub(super) struct Block {
    pub label: String,
    pub der: Vec<u8>,
}

/// The first block of a text that is whole; what stands before it does not count.
pub(super) fn first_block(text: &str) -> Option<Block> {
    let mut rest = text;
    loop {
        let at = rest.find(BEGIN)?;
        let starts_line = at == 0 || rest[..at].ends_with('\n');
        rest = &rest[at + BEGIN.len()..];
        if let Some(block) = block(rest).filter(|_| starts_line) {
            return Some(block);
        }
    }
}

const BEGIN: &str = "-----BEGIN ";

/// A block behind its first dashes: the rest of the first line, headers, lines of base64, the same label again.
fn block(text: &str) -> Option<Block> {
    let (line, body) = text.split_once('\n')?;
    let label = line.trim_end().strip_suffix("-----")?;
    let (body, _) = body.split_once(&format!("-----END {label}-----"))?;
    let is_header = |line: &&str| line.contains(':');
    let lines: Vec<&str> = body.lines().skip_while(is_header).collect();
    let der = base64_decode(lines.concat().replace([' ', '\t', '\r'], "").as_bytes()).ok()?;
    Some(Block { label: label.to_owned(), der })
}

/// PEM with 64 characters a line, as Go writes it.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    let text = base64_encode(der);
    let mut out = format!("-----BEGIN {label}-----\n");
    for line in text.as_bytes().chunks(64) {
        out.push_str(&String::from_utf8_lossy(line));
        out.push('\n');
    }
    out.push_str(&format!("-----END {label}-----\n"));
    out
}

/// Tag, content and rest of one DER element.
fn element(der: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = der.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (length, rest) = if *first < 0x80 {
        (usize::from(*first), rest)
    } else {
        let count = usize::from(first & 0x7f);
        let bytes = rest.get(..count.min(4))?;
        (bytes.iter().fold(0, |length, byte| (length << 8) | usize::from(*byte)), rest.get(count..)?)
    };
    let (content, rest) = rest.split_at_checked(length)?;
    Some((*tag, content, rest))
}

/// One DER element.
fn encoded(tag: u8, content: &[u8]) -> Option<Vec<u8>> {
    let length = u8::try_from(content.len()).ok()?;
    let head = if length < 0x80 { vec![tag, length] } else { vec![tag, 0x81, length] };
    Some([head.as_slice(), content].concat())
}

/// A private key in a block of PEM, its encoding whole.
///
/// # Errors
/// Go's words.
pub(super) fn private_key(text: &str) -> Result<Block, String> {
    let block = first_block(text).ok_or("no PEM data in input")?;
    let what = match block.label.as_str() {
        "PRIVATE KEY" => "decoding PEM as PKCS#8: ",
        "RSA PRIVATE KEY" => "parsing RSA private key from PEM: ",
        "EC PRIVATE KEY" => "parsing EC private key from PEM: x509: failed to parse EC private key: ",
        "DSA PRIVATE KEY" => "parsing DSA private key from PEM: ",
        other if other.ends_with(" PRIVATE KEY") => return Err(format!("invalid private key type {other}")),
        other => return Err(format!("no private key data in PEM block of type {other}")),
    };
    match element(&block.der) {
        Some((0x30, ..)) => Ok(block),
        Some(_) => Err(format!("{what}asn1: structure error: tags don't match")),
        None => Err(format!("{what}asn1: syntax error: data truncated")),
    }
}

/// The encoded certificate in a text, and the public key that it is for.
///
/// # Errors
/// Go's words; `decoded` is what Go calls the bytes.
pub(super) fn certificate(text: &str, decoded: &str) -> Result<(Vec<u8>, Vec<u8>), String> {
    let block = first_block(text).ok_or("unable to decode certificate")?;
    let wrong = |what: &str| Err(format!("error parsing certificate: {decoded}: x509: {what}"));
    let Some((0x30, whole, _)) = element(&block.der) else {
        return wrong("malformed certificate");
    };
    match public_key(whole) {
        None => wrong("malformed tbs certificate"),
        Some((algorithm, _)) if is_unknown_curve(algorithm) => wrong("unsupported elliptic curve"),
        Some((_, key)) => {
            let key = key.to_vec();
            Ok((block.der, key))
        }
    }
}

/// The algorithm and the bits of a certificate's public key.
fn public_key(whole: &[u8]) -> Option<(&[u8], &[u8])> {
    let (0x30, body, _) = element(whole)? else { return None };
    let (tag, _, rest) = element(body)?;
    let mut rest = if tag == 0xA0 { rest } else { body };
    // Serial number, algorithm of the signature, issuer, validity, subject.
    for wanted in [0x02, 0x30, 0x30, 0x30, 0x30] {
        let (tag, _, behind) = element(rest)?;
        rest = if tag == wanted { behind } else { return None };
    }
    let (0x30, key, _) = element(rest)? else { return None };
    let (0x30, algorithm, rest) = element(key)? else { return None };
    let (0x03, bits, _) = element(rest)? else { return None };
    Some((algorithm, bits.get(1..)?))
}

/// The object identifier of keys on elliptic curves, encoded.
const CURVE_KEY: [u8; 9] = [0x06, 0x07, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x02, 0x01];

/// Those of the curves that Go knows: P-224, P-256, P-384, P-521.
const CURVES: [&[u8]; 4] = [
    &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x21],
    &[0x06, 0x08, 0x2A, 0x86, 0x48, 0xCE, 0x3D, 0x03, 0x01, 0x07],
    &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x22],
    &[0x06, 0x05, 0x2B, 0x81, 0x04, 0x00, 0x23],
];

fn is_unknown_curve(algorithm: &[u8]) -> bool {
    algorithm.strip_prefix(&CURVE_KEY).is_some_and(|curve| !CURVES.contains(&curve))
}

/// A key as Go's sprig writes it: the algorithm's own form where it has one. `public` are the bits of its public key.
pub(super) fn key_text(der: &[u8], public: &[u8]) -> String {
    let own = || -> Option<String> {
        let (_, sequence, _) = element(der)?;
        let (_, _, rest) = element(sequence)?;
        let (0x30, algorithm, rest) = element(rest)? else {
            // Already in that form: one of RSA begins with two numbers, one of a curve with a number and octets.
            let is_rsa = element(rest)?.0 == 0x02;
            return Some(pem(if is_rsa { "RSA PRIVATE KEY" } else { "EC PRIVATE KEY" }, der));
        };
        let (0x04, inner, _) = element(rest)? else { return None };
        if algorithm.starts_with(&RSA_KEY) {
            return Some(pem("RSA PRIVATE KEY", inner));
        }
        let curve = algorithm.strip_prefix(&CURVE_KEY)?;
        Some(pem("EC PRIVATE KEY", &sec1(inner, curve, public)?))
    };
    own().unwrap_or_else(|| pem("PRIVATE KEY", der))
}

/// The object identifier of RSA keys, encoded.
const RSA_KEY: [u8; 11] = [0x06, 0x09, 0x2A, 0x86, 0x48, 0x86, 0xF7, 0x0D, 0x01, 0x01, 0x01];

/// A key in SEC 1 form with its curve named, as Go reads `EC PRIVATE KEY`.
fn sec1(inner: &[u8], curve: &[u8], public: &[u8]) -> Option<Vec<u8>> {
    let (_, sequence, _) = element(inner)?;
    let (_, _, rest) = element(sequence)?;
    let (_, scalar, _) = element(rest)?;
    let mut body = vec![0x02, 0x01, 0x01];
    body.extend(encoded(0x04, scalar)?);
    body.extend(encoded(0xA0, curve)?);
    body.extend(encoded(0xA1, &encoded(0x03, &[&[0], public].concat())?)?);
    encoded(0x30, &body)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)] // tests
mod tests {
    use super::*;

    #[test]
    fn a_block_stands_on_lines_of_its_own() {
        let whole = "text\n-----BEGIN A B-----\nx: y\n\nAQID\n-----END A B-----\nmore";
        let block = first_block(whole).unwrap();
        assert_eq!((block.label.as_str(), block.der.as_slice()), ("A B", [1, 2, 3].as_slice()));
        assert_eq!(first_block("-----BEGIN A-----\r\nAQID\r\n-----END A-----\r\n").unwrap().der, [1, 2, 3]);
        for broken in [
            "",
            "-----BEGIN A-----AQID-----END A-----",
            "-----BEGIN A-----\nAQID\n-----END B-----\n",
            "x-----BEGIN A-----\nAQID\n-----END A-----\n",
            "-----BEGIN A-----\n???\n-----END A-----\n",
        ] {
            assert!(first_block(broken).is_none(), "{broken}");
        }
        assert_eq!(first_block(&format!("-----BEGIN A-----\nAQ\n{whole}")).unwrap().label, "A B");
    }

    #[test]
    fn what_is_no_private_key_is_told_as_go_tells_it() {
        let table = [
            ("", "no PEM data in input"),
            (
                "-----BEGIN EC PARAMETERS-----\nAQID\n-----END EC PARAMETERS-----\n",
                "no private key data in PEM block of type EC PARAMETERS",
            ),
            (
                "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAQID\n-----END ENCRYPTED PRIVATE KEY-----\n",
                "invalid private key type ENCRYPTED PRIVATE KEY",
            ),
            (
                "-----BEGIN PRIVATE KEY-----\nMAQB\n-----END PRIVATE KEY-----\n",
                "decoding PEM as PKCS#8: asn1: syntax error: data truncated",
            ),
        ];
        for (text, wanted) in table {
            assert_eq!(private_key(text).err().unwrap(), wanted);
        }
    }
}
