//! PEM (RFC 7468).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// A PEM block (RFC 7468).
pub(crate) fn encode(label: &str, der: &[u8]) -> String {
    let encoded = STANDARD.encode(der);
    let mut text = format!("-----BEGIN {label}-----\n");
    for line in encoded.as_bytes().chunks(64) {
        text.extend(line.iter().map(|byte| char::from(*byte)));
        text.push('\n');
    }
    text.push_str(&format!("-----END {label}-----\n"));
    text
}

/// The contents of all blocks, if there is nothing but blocks of that label.
pub(crate) fn decode(label: &str, text: &str) -> Option<Vec<Vec<u8>>> {
    let (begin, end) = (format!("-----BEGIN {label}-----"), format!("-----END {label}-----"));
    let mut blocks = Vec::new();
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (body, behind) = rest.strip_prefix(&begin)?.split_once(&end)?;
        let encoded: String = body.chars().filter(|c| !c.is_whitespace()).collect();
        blocks.push(STANDARD.decode(encoded).ok()?);
        rest = behind.trim();
    }
    if blocks.is_empty() { None } else { Some(blocks) }
}
