//! Bytes that are no UTF-8, as Helm's YAML reader complains of them.

/// What is wrong with bytes that are to be YAML, if they are not UTF-8: the reader's own words, of the first place.
pub(crate) fn flaw(bytes: &[u8]) -> Option<&'static str> {
    let at = std::str::from_utf8(bytes).err()?.valid_up_to();
    let (lead, rest) = bytes[at..].split_first()?;
    let trailing = match lead {
        0xc0..=0xdf => 1,
        0xe0..=0xef => 2,
        0xf0..=0xf7 => 3,
        _ => return Some("invalid leading UTF-8 octet"),
    };
    if rest.len() < trailing {
        return Some("incomplete UTF-8 octet sequence");
    }
    if rest[..trailing].iter().any(|octet| octet & 0xc0 != 0x80) {
        return Some("invalid trailing UTF-8 octet");
    }
    // Longer than it need be, half of a pair, or beyond the last character.
    let first = rest[0];
    let is_long = matches!((lead, first), (0xc0 | 0xc1, _) | (0xe0, 0x80..=0x9f) | (0xf0, 0x80..=0x8f));
    Some(if is_long { "invalid length of a UTF-8 sequence" } else { "invalid Unicode character" })
}

/// Bytes as the text that they are.
pub(crate) fn text(bytes: &[u8]) -> Result<&str, String> {
    std::str::from_utf8(bytes).map_err(|_| format!("yaml: {}", flaw(bytes).unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_bytes_that_are_no_character_are_complained_of() {
        let table: [(&[u8], Option<&str>); 9] = [
            ("plain, schön, 😀".as_bytes(), None),
            (b"a\xff", Some("invalid leading UTF-8 octet")),
            (b"a\x80", Some("invalid leading UTF-8 octet")),
            (b"caf\xe9 ", Some("incomplete UTF-8 octet sequence")),
            (b"caf\xe9 au lait", Some("invalid trailing UTF-8 octet")),
            (b"caf\xc3", Some("incomplete UTF-8 octet sequence")),
            (b"\xc0\xaf", Some("invalid length of a UTF-8 sequence")),
            (b"\xed\xa0\x80", Some("invalid Unicode character")),
            (b"\xf4\x90\x80\x80", Some("invalid Unicode character")),
        ];
        for (bytes, wanted) in table {
            assert_eq!(flaw(bytes), wanted, "{bytes:?}");
        }
    }
}
