//! Text around binary packets: ASCII armor and the cleartext signature framework (RFC 9580, 6 and 7).

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const SIGNED: &str = "-----BEGIN PGP SIGNED MESSAGE-----";
const SIGNATURE: &str = "-----BEGIN PGP SIGNATURE-----";
/// Blocks of armor in one text.
const BLOCKS_MAX: usize = 256;

/// A text with its signature.
pub(super) struct Cleartext {
    /// The text as people read it.
    pub(super) text: String,
    /// The text as it was signed: lines without blanks at their end, joined by CR LF.
    pub(super) canonical: String,
    /// The packets of the signature.
    pub(super) signature: Vec<u8>,
}

/// Takes a cleartext-signed text apart. Nothing but the text between the two lines counts.
pub(super) fn cleartext(text: &str) -> Result<Cleartext, String> {
    let mut lines = text.lines();
    let first = lines.find(|line| !line.trim().is_empty());
    if first.map(str::trim_end) != Some(SIGNED) {
        return Err(format!("it is no signed text: expected \"{SIGNED}\" first"));
    }
    // Headers (the names of hashes) end at the first empty line.
    for line in lines.by_ref() {
        if line.trim().is_empty() {
            break;
        }
        if !line.starts_with("Hash:") {
            return Err("only \"Hash\" may stand between the first line and the text".to_owned());
        }
    }
    let mut content = Vec::new();
    let mut ended = false;
    for line in lines.by_ref() {
        if line.trim_end() == SIGNATURE {
            ended = true;
            break;
        }
        let line = match line.strip_prefix("- ") {
            Some(escaped) => escaped,
            None if line.starts_with('-') => return Err("a line begins with an unescaped dash".to_owned()),
            None => line,
        };
        content.push(line.trim_end_matches([' ', '\t', '\r']));
    }
    if !ended {
        return Err(format!("it has no signature: expected \"{SIGNATURE}\""));
    }
    let block: Vec<&str> = lines.collect();
    let signature = decoded(&block)?;
    Ok(Cleartext { text: content.join("\n"), canonical: content.join("\r\n"), signature })
}

/// The packets of an armored signature.
pub(super) fn signature(text: &str) -> Result<Vec<u8>, String> {
    let mut lines = text.lines().skip_while(|line| line.trim_end() != SIGNATURE);
    lines.next().ok_or_else(|| format!("it is no OpenPGP signature: expected \"{SIGNATURE}\""))?;
    decoded(&lines.collect::<Vec<_>>())
}

/// The packets of a keyring, armored or not.
pub(super) fn keyring(bytes: &[u8]) -> Result<Vec<u8>, String> {
    if bytes.first().is_some_and(|byte| byte & 0x80 != 0) {
        return Ok(bytes.to_vec());
    }
    let text = std::str::from_utf8(bytes).map_err(|_| "it is neither OpenPGP packets nor text".to_owned())?;
    let mut packets = Vec::new();
    let mut block: Option<Vec<&str>> = None;
    let mut count = 0;
    for line in text.lines().map(str::trim_end) {
        match &mut block {
            None if line == "-----BEGIN PGP PUBLIC KEY BLOCK-----" => block = Some(Vec::new()),
            None if line.starts_with("-----BEGIN PGP PRIVATE KEY") => {
                return Err(
                    "it holds a private key, which has no place here: export the public key".to_owned()
                );
            }
            None => {}
            Some(lines) if line.starts_with("-----END PGP") => {
                lines.push(line);
                packets.extend(decoded(lines)?);
                block = None;
                count += 1;
                if count > BLOCKS_MAX {
                    return Err(format!("it holds more than {BLOCKS_MAX} blocks"));
                }
            }
            Some(lines) => lines.push(line),
        }
    }
    if packets.is_empty() {
        return Err("it holds no public key: expected \"-----BEGIN PGP PUBLIC KEY BLOCK-----\"".to_owned());
    }
    Ok(packets)
}

/// The bytes of the lines after a BEGIN line: headers, an empty line, Base64, perhaps a checksum, an END line.
fn decoded(lines: &[&str]) -> Result<Vec<u8>, String> {
    let start = lines.iter().position(|line| line.trim().is_empty()).map_or(0, |empty| empty + 1);
    let mut text = String::new();
    for line in lines.iter().skip(start).map(|line| line.trim()) {
        // The checksum says nothing that the signature does not say better.
        if line.starts_with("-----END") || line.starts_with('=') {
            break;
        }
        text.push_str(line);
    }
    STANDARD.decode(text).map_err(|_| "its armor is not Base64".to_owned())
}
