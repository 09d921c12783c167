//! `urlParse` and `urlJoin` over Go's `net/url` rules.

use super::{Answer, Row, exact};
use crate::template::args::{Args, nil_dereference};
use crate::template::env::Env;
use crate::template::fault::Fault;
use crate::template::value::{Dict, Value};

pub(super) static TABLE: &[Row] = &[exact("urlParse", 1, parse), exact("urlJoin", 1, join)];

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        let digits = text.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match (bytes[at], digits) {
            (b'%', Some(byte)) => {
                out.push(byte);
                at += 3;
            }
            (byte, _) => {
                out.push(byte);
                at += 1;
            }
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// The first percent sign that two hexadecimal digits do not follow, with what follows it.
fn bad_escape(text: &str) -> Option<String> {
    text.match_indices('%').find_map(|(at, _)| {
        let digits = text.as_bytes().get(at + 1..at + 3);
        let fits = digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
        (!fits).then(|| text[at..].chars().take(3).collect())
    })
}

/// Why a host is none: letters that must be escaped there, and escapes of letters that need none.
fn bad_host(host: &str) -> Option<String> {
    if host.starts_with('[') && !host.contains(']') {
        return Some("missing ']' in host".to_owned());
    }
    host.char_indices().find_map(|(at, letter)| {
        let plain =
            !letter.is_ascii() || letter.is_ascii_alphanumeric() || "-_.~!$&'()*+,;=:[]<>\"".contains(letter);
        match letter {
            '%' => {
                let escape = host.get(at..at + 3)?;
                let ascii = matches!(escape.as_bytes()[1], b'0'..=b'7') && escape != "%25";
                ascii.then(|| format!("invalid URL escape {escape:?}"))
            }
            _ if plain => None,
            _ => Some(format!("invalid character {:?} in host name", letter.to_string())),
        }
    })
}

fn escape(text: &str, keep: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-_.~".contains(&byte) || keep.as_bytes().contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}

fn scheme_of(text: &str) -> Option<(&str, &str)> {
    let (scheme, rest) = text.split_once(':')?;
    let fits = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b"+-.".contains(&b));
    fits.then_some((scheme, rest))
}

fn parse(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let text = args.utf8(0)?;
    if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
        let text = format!("unable to parse url: parse {text:?}: net/url: invalid control character in URL");
        return Err(Fault::message(text));
    }
    let unquery = |text: &str| text.split('?').next().unwrap_or_default().to_owned();
    for part in text.split('#').map(unquery) {
        if let Some(bad) = bad_escape(&part) {
            let text = format!("unable to parse url: parse {text:?}: invalid URL escape {bad:?}");
            return Err(Fault::message(text));
        }
    }
    let (body, fragment) = text.split_once('#').unwrap_or((&text, ""));
    let (scheme, rest) = match scheme_of(body) {
        Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
        None if body.starts_with(':') => {
            let text = format!("unable to parse url: parse {text:?}: missing protocol scheme");
            return Err(Fault::message(text));
        }
        None => (String::new(), body),
    };
    let first = rest.split(['/', '?']).next().unwrap_or_default();
    if scheme.is_empty() && first.contains(':') {
        let text =
            format!("unable to parse url: parse {text:?}: first path segment in URL cannot contain colon");
        return Err(Fault::message(text));
    }
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let mut opaque = "";
    let mut authority = "";
    let mut path = rest;
    if !rest.starts_with('/') && !scheme.is_empty() {
        opaque = rest;
        path = "";
    } else if let Some(after) = rest.strip_prefix("//") {
        let end = after.find('/').unwrap_or(after.len());
        (authority, path) = after.split_at(end);
    }
    let (userinfo, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let port_start = host.rfind(':').filter(|colon| host.rfind(']').is_none_or(|bracket| bracket < *colon));
    if let Some(colon) = port_start
        && !host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit())
    {
        let port = &host[colon..];
        let text = format!("unable to parse url: parse {text:?}: invalid port {port:?} after host");
        return Err(Fault::message(text));
    }
    if let Some(problem) = bad_host(host) {
        return Err(Fault::message(format!("unable to parse url: parse {text:?}: {problem}")));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !userinfo.bytes().all(fits) {
        return Err(Fault::message(format!(
            "unable to parse url: parse {text:?}: net/url: invalid userinfo"
        )));
    }
    let hostname = port_start.map_or(host, |colon| &host[..colon]);
    let hostname = hostname.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(hostname);
    let out = Dict::empty();
    let fields = [
        ("scheme", scheme.as_str()),
        ("host", &unescape(host)),
        ("hostname", &unescape(hostname)),
        ("path", &unescape(path)),
        ("query", query),
        ("opaque", opaque),
        ("fragment", &unescape(fragment)),
        ("userinfo", userinfo),
    ];
    for (name, value) in fields {
        out.insert(name, Value::text(value));
    }
    Ok(Value::Dict(out))
}

fn part(dict: &Dict, key: &str) -> Result<String, Fault> {
    match dict.get(key) {
        None => Ok(String::new()),
        Some(Value::Str(text)) => Ok(text.lossy().into_owned()),
        Some(nothing) if nothing.is_nil() => Err(nil_dereference()),
        Some(other) => {
            let kind = other.kind_name();
            Err(Fault::message(format!(
                "unable to parse {key} key, must be of type string, but {kind} found"
            )))
        }
    }
}

fn join(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let dict = args.dict(0)?;
    let get = |key: &str| part(&dict, key);
    let (scheme, host, path) = (get("scheme")?, get("host")?, get("path")?);
    let (query, opaque, fragment, userinfo) =
        (get("query")?, get("opaque")?, get("fragment")?, get("userinfo")?);
    let mut out = String::new();
    if !scheme.is_empty() {
        out.push_str(&scheme);
        out.push(':');
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || !userinfo.is_empty() {
            if !host.is_empty() || !path.is_empty() || !userinfo.is_empty() {
                out.push_str("//");
            }
            if !userinfo.is_empty() {
                out.push_str(&userinfo);
                out.push('@');
            }
            out.push_str(&escape(&host, "!$&'()*+,;=:[]<>\""));
        }
        let path = escape(&path, "$&+,/:;=@!*'()");
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            out.push('/');
        }
        out.push_str(&path);
    } else {
        out.push_str(&opaque);
    }
    if !query.is_empty() {
        out.push('?');
        out.push_str(&query);
    }
    if !fragment.is_empty() {
        out.push('#');
        out.push_str(&escape(&fragment, "$&+,/:;=?@!*'()"));
    }
    Ok(Value::text(&out))
}
