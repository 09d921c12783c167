//! The string and number formats that Kubernetes checks in custom objects; others are ignored.

use std::net::{Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use jiff::Timestamp;
use jiff::civil::Date;

use super::Kind;

/// A format, with the name that the schema gives it (`date-time` and `datetime` are one format).
#[derive(Clone, Debug)]
pub(crate) struct Format {
    pub(crate) name: String,
    pub(crate) what: What,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Byte,
    BsonObjectId,
    Cidr,
    CreditCard,
    Date,
    DateTime,
    Double,
    Duration,
    Email,
    Float,
    HexColor,
    Hostname,
    Int32,
    Int64,
    Ipv4,
    Ipv6,
    Isbn,
    LongName,
    Mac,
    Password,
    RgbColor,
    ShortName,
    Ssn,
    Uri,
    Uuid(Option<u8>),
}

impl Format {
    /// The format of a field of this type, unless Kubernetes ignores it there.
    pub(crate) fn parse(name: &str, kind: Kind) -> Option<Format> {
        let what = match (kind, name.replace('-', "").as_str()) {
            (Kind::Integer, "int32") => What::Int32,
            (Kind::Integer, "int64") => What::Int64,
            (Kind::Number, "float") => What::Float,
            (Kind::Number, "double") => What::Double,
            (Kind::Integer | Kind::Number | Kind::Object | Kind::Array | Kind::Boolean, _) => return None,
            (Kind::Any | Kind::String, name) => match name {
                "byte" => What::Byte,
                "bsonobjectid" => What::BsonObjectId,
                "cidr" => What::Cidr,
                "creditcard" => What::CreditCard,
                "date" => What::Date,
                "datetime" => What::DateTime,
                "duration" => What::Duration,
                "email" => What::Email,
                "hexcolor" => What::HexColor,
                "hostname" => What::Hostname,
                "ipv4" => What::Ipv4,
                "ipv6" => What::Ipv6,
                "isbn" | "isbn10" | "isbn13" => What::Isbn,
                "k8slongname" => What::LongName,
                "k8sshortname" => What::ShortName,
                "mac" => What::Mac,
                "password" => What::Password,
                "rgbcolor" => What::RgbColor,
                "ssn" => What::Ssn,
                "uri" => What::Uri,
                "uuid" => What::Uuid(None),
                "uuid3" => What::Uuid(Some(3)),
                "uuid4" => What::Uuid(Some(4)),
                "uuid5" => What::Uuid(Some(5)),
                _ => return None,
            },
        };
        Some(Format { name: name.to_owned(), what })
    }

    /// Whether a text has the format. Formats of numbers hold for every text.
    pub(crate) fn holds(&self, text: &str) -> bool {
        let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
        match self.what {
            What::Int32 | What::Int64 | What::Float | What::Double | What::Password => true,
            What::Byte => decode_base64(text).is_some(),
            What::BsonObjectId => text.len() == 24 && hex(text),
            What::Cidr => is_cidr(text),
            What::CreditCard => is_credit_card(text),
            What::Date => is_date(text),
            What::DateTime => is_date_time(text),
            What::Duration => parse_duration(text).is_some(),
            What::Email => is_email(text),
            What::HexColor => {
                let digits = text.strip_prefix('#').unwrap_or(text);
                matches!(digits.len(), 3 | 6) && hex(digits)
            }
            What::Hostname => is_hostname(text),
            What::Ipv4 => text.parse::<Ipv4Addr>().is_ok(),
            What::Ipv6 => text.parse::<Ipv6Addr>().is_ok(),
            What::Isbn => is_isbn(text),
            What::LongName => text.len() <= 253 && text.split('.').all(|label| is_label(label, 253)),
            What::ShortName => is_label(text, 63),
            What::Mac => is_mac(text),
            What::RgbColor => is_rgb_color(text),
            What::Ssn => is_ssn(text),
            What::Uri => is_uri(text),
            What::Uuid(version) => is_uuid(text, version),
        }
    }
}

/// Standard base64; like Go's decoder, it does not mind stray bits at the end.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    const CONFIG: GeneralPurposeConfig = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
    GeneralPurpose::new(&base64::alphabet::STANDARD, CONFIG).decode(text).ok()
}

fn is_label(text: &str, length_max: usize) -> bool {
    let letter = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = text.as_bytes();
    bytes.len() <= length_max
        && bytes.first().copied().is_some_and(letter)
        && bytes.last().copied().is_some_and(letter)
        && bytes.iter().all(|&b| letter(b) || b == b'-')
}

fn is_cidr(text: &str) -> bool {
    let Some((address, bits)) = text.split_once('/') else { return false };
    if bits.is_empty() || !bits.bytes().all(|b| b.is_ascii_digit()) {
        return false;
    }
    let bits: u32 = bits.parse().unwrap_or(u32::MAX);
    address.parse::<Ipv4Addr>().is_ok() && bits <= 32 || address.parse::<Ipv6Addr>().is_ok() && bits <= 128
}

fn is_credit_card(text: &str) -> bool {
    let digits: Vec<u32> = text.chars().filter_map(|c| c.to_digit(10)).collect();
    let prefix = |n: usize| digits.iter().take(n).fold(0, |sum, digit| sum * 10 + digit);
    match digits.len() {
        13 => prefix(1) == 4,
        14 => matches!(prefix(3), 300..=305) || matches!(prefix(2), 36 | 38),
        15 => matches!(prefix(2), 34 | 37) || matches!(prefix(4), 2131 | 1800),
        16 => prefix(1) == 4 || matches!(prefix(2), 51..=55 | 35 | 65) || prefix(4) == 6011,
        _ => false,
    }
}

fn is_date(text: &str) -> bool {
    text.len() == 10 && text.parse::<Date>().is_ok()
}

fn is_date_time(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 20 && matches!(bytes[10], b'T' | b't') && text.parse::<Timestamp>().is_ok()
}

/// A duration in nanoseconds: as Go writes it (`1h30m`, `1.5s`), or a number and a unit in words (`22 days`).
pub(crate) fn parse_duration(text: &str) -> Option<i64> {
    go_duration(text).or_else(|| worded_duration(text))
}

fn go_duration(text: &str) -> Option<i64> {
    let (sign, mut rest) = match text.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut nanoseconds = 0.0;
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let number: f64 = rest[..end].parse().ok()?;
        rest = &rest[end..];
        let units = [
            ("ns", 1.0),
            ("us", 1e3),
            ("µs", 1e3),
            ("μs", 1e3),
            ("ms", 1e6),
            ("s", 1e9),
            ("m", 6e10),
            ("h", 3.6e12),
        ];
        let (unit, size) = units.into_iter().find(|(unit, _)| rest.starts_with(unit))?;
        nanoseconds += number * size;
        rest = &rest[unit.len()..];
    }
    (nanoseconds < i64::MAX as f64).then_some((sign * nanoseconds) as i64)
}

fn worded_duration(text: &str) -> Option<i64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let number: f64 = text[..end].parse().ok()?;
    let size = match text[end..].trim() {
        "ns" | "nano" | "nanos" | "nanosecond" | "nanoseconds" => 1.0,
        "us" | "µs" | "μs" | "micro" | "micros" | "microsecond" | "microseconds" => 1e3,
        "ms" | "milli" | "millis" | "millisecond" | "milliseconds" => 1e6,
        "s" | "sec" | "secs" | "second" | "seconds" => 1e9,
        "m" | "min" | "mins" | "minute" | "minutes" => 6e10,
        "h" | "hr" | "hrs" | "hour" | "hours" => 3.6e12,
        "d" | "day" | "days" => 8.64e13,
        "w" | "wk" | "wks" | "week" | "weeks" => 6.048e14,
        _ => return None,
    };
    Some((number * size) as i64)
}

fn is_email(text: &str) -> bool {
    // `Name <user@host>` is an address too.
    let address = match text.trim().strip_suffix('>').and_then(|text| text.split_once('<')) {
        Some((_, address)) => address,
        None => text.trim(),
    };
    let Some((user, host)) = address.rsplit_once('@') else { return false };
    let atom = |text: &str| {
        !text.is_empty()
            && text.bytes().all(|b| b.is_ascii_graphic() && !b"()<>[]:;@\\,\" ".contains(&b) || b > 127)
    };
    let dotted = |text: &str| text.split('.').all(atom);
    (dotted(user) || user.len() > 1 && user.starts_with('"') && user.ends_with('"')) && dotted(host)
}

fn is_hostname(text: &str) -> bool {
    let text = text.strip_suffix('.').unwrap_or(text);
    let label = |label: &str| {
        let bytes = label.as_bytes();
        (1..=63).contains(&bytes.len())
            && bytes.iter().all(|b| b.is_ascii_alphanumeric() || *b == b'-' || *b > 127)
            && bytes[0] != b'-'
            && bytes[bytes.len() - 1] != b'-'
    };
    !text.is_empty() && text.len() <= 255 && text.split('.').all(label)
}

fn is_isbn(text: &str) -> bool {
    let text: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    let digits: Vec<u32> = text
        .chars()
        .enumerate()
        .filter_map(|(i, c)| if c == 'X' && i == 9 { Some(10) } else { c.to_digit(10) })
        .collect();
    if digits.len() != text.len() {
        return false;
    }
    match digits.len() {
        10 => digits.iter().zip((1..=10).rev()).map(|(digit, weight)| digit * weight).sum::<u32>() % 11 == 0,
        13 => {
            let weighted = digits.iter().enumerate().map(|(i, digit)| digit * if i % 2 == 0 { 1 } else { 3 });
            weighted.sum::<u32>() % 10 == 0
        }
        _ => false,
    }
}

fn is_mac(text: &str) -> bool {
    let pairs = |separator: char| {
        let parts: Vec<_> = text.split(separator).collect();
        matches!(parts.len(), 6 | 8 | 20)
            && parts.iter().all(|part| part.len() == 2 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    let quads = || {
        let parts: Vec<_> = text.split('.').collect();
        matches!(parts.len(), 3 | 4 | 10)
            && parts.iter().all(|part| part.len() == 4 && part.bytes().all(|b| b.is_ascii_hexdigit()))
    };
    pairs(':') || pairs('-') || quads()
}

fn is_rgb_color(text: &str) -> bool {
    let Some(inner) = text.strip_prefix("rgb(").and_then(|text| text.strip_suffix(')')) else { return false };
    let parts: Vec<_> = inner.split(',').map(str::trim).collect();
    parts.len() == 3 && parts.iter().all(|part| part.parse::<u8>().is_ok())
}

fn is_ssn(text: &str) -> bool {
    let digits: String = text.chars().filter(|c| !matches!(c, '-' | ' ')).collect();
    digits.len() == 9 && digits.bytes().all(|b| b.is_ascii_digit()) && matches!(text.len(), 9..=11)
}

fn is_uri(text: &str) -> bool {
    if text.is_empty() || text.bytes().any(|b| b <= b' ' || b == 127) {
        return false;
    }
    if text.starts_with('/') {
        return true;
    }
    let Some((scheme, rest)) = text.split_once(':') else { return false };
    let mut letters = scheme.bytes();
    letters.next().is_some_and(|b| b.is_ascii_alphabetic())
        && letters.all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b))
        && !rest.is_empty()
}

fn is_uuid(text: &str, version: Option<u8>) -> bool {
    let bytes: Vec<u8> = text.bytes().filter(|b| *b != b'-').collect();
    let dashes_fit = match text.len() {
        32 => true,
        36 => text.bytes().enumerate().all(|(i, b)| (b == b'-') == matches!(i, 8 | 13 | 18 | 23)),
        _ => false,
    };
    bytes.len() == 32
        && dashes_fit
        && bytes.iter().all(u8::is_ascii_hexdigit)
        && version.is_none_or(|version| bytes[12] == b'0' + version)
        && (!matches!(version, Some(4 | 5)) || b"89abAB".contains(&bytes[16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn formats_hold_for_what_they_name_and_for_nothing_else() {
        for (format, good, bad) in [
            ("byte", "aGk=", "aGk"),
            ("bsonobjectid", "507f1f77bcf86cd799439011", "507f"),
            ("cidr", "10.0.0.0/8", "10.0.0.0/33"),
            ("cidr", "fd00::/64", "10.0.0.0"),
            ("creditcard", "4111-1111-1111-1111", "1111"),
            ("date", "2024-02-29", "2023-02-29"),
            ("date-time", "2024-01-02T03:04:05Z", "2024-01-02"),
            ("date-time", "2024-01-02T03:04:05.123+02:00", "2024-01-02 03:04:05Z"),
            ("duration", "1h30m", "1 fortnight"),
            ("duration", "22 days", ""),
            ("email", "a.b@example.com", "a.b"),
            ("email", "A B <a@b.c>", "a@"),
            ("hexcolor", "#fff", "#ffff"),
            ("hostname", "a-b.example.com", "-a.example"),
            ("ipv4", "10.0.0.1", "10.0.0.256"),
            ("ipv6", "::1", "1.2.3.4"),
            ("isbn", "0321751043", "0321751044"),
            ("isbn13", "978-0321751041", "978-0321751042"),
            ("k8s-short-name", "a-b", "a.b"),
            ("k8s-long-name", "a.b-c", "a..b"),
            ("mac", "01:23:45:67:89:ab", "01:23"),
            ("rgbcolor", "rgb(1,2,255)", "rgb(1,2,256)"),
            ("ssn", "111-22-3333", "1-2-3"),
            ("uri", "https://example.com/x", "example.com"),
            ("uuid", "7a1f2b3c-0000-1000-8000-0123456789ab", "7a1f"),
            ("uuid4", "7a1f2b3c-0000-4000-8000-0123456789ab", "7a1f2b3c-0000-1000-8000-0123456789ab"),
        ] {
            let format = Format::parse(format, Kind::String).unwrap();
            assert!(format.holds(good), "{} {good}", format.name);
            assert!(!format.holds(bad), "{} {bad}", format.name);
        }
    }

    #[test]
    fn formats_count_only_where_kubernetes_reads_them() {
        assert!(Format::parse("int32", Kind::Integer).is_some());
        assert!(Format::parse("int32", Kind::String).is_none());
        assert!(Format::parse("date-time", Kind::Object).is_none());
        assert!(Format::parse("made-up", Kind::String).is_none());
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, nanoseconds) in
            [("1h30m", Some(5_400_000_000_000)), ("-1.5s", Some(-1_500_000_000)), ("0", Some(0)), ("5", None)]
        {
            assert_eq!(parse_duration(text), nanoseconds, "{text}");
        }
    }
}
