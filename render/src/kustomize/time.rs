//! Dates in plain YAML: Go's decoder makes a time of them, and its JSON encoder writes that in full.

/// The RFC 3339 form of a plain YAML timestamp, if it is one.
pub(crate) fn rfc3339(text: &str) -> Option<String> {
    let year = text.get(..4)?;
    let rest = text.get(4..)?.strip_prefix('-')?;
    let (month, rest) = number(rest)?;
    let (day, rest) = number(rest.strip_prefix('-')?)?;
    let date = format!("{year}-{month:02}-{day:02}");
    if rest.is_empty() {
        return Some(format!("{date}T00:00:00Z"));
    }
    let rest = rest.strip_prefix(['T', 't', ' '])?;
    let (hour, rest) = number(rest)?;
    let (minute, rest) = number(rest.strip_prefix(':')?)?;
    let (second, mut rest) = number(rest.strip_prefix(':')?)?;
    let mut fraction = String::new();
    if let Some(digits) = rest.strip_prefix(['.', ',']) {
        let count = digits.bytes().take_while(u8::is_ascii_digit).count();
        fraction = digits[..count.min(9)].trim_end_matches('0').to_owned();
        rest = &digits[count..];
    }
    let fraction = if fraction.is_empty() { fraction } else { format!(".{fraction}") };
    let zone = match rest.trim() {
        "" | "Z" | "+00:00" | "-00:00" => "Z",
        zone => zone,
    };
    Some(format!("{date}T{hour:02}:{minute:02}:{second:02}{fraction}{zone}"))
}

fn number(text: &str) -> Option<(u32, &str)> {
    let count = text.bytes().take(2).take_while(u8::is_ascii_digit).count();
    Some((text.get(..count)?.parse().ok()?, &text[count..]))
}
