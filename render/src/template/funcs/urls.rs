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

/// Whether two hexadecimal digits follow every percent sign of a part; the first that stands alone is an error.
fn whole_escapes(part: &str) -> Result<(), String> {
    let bad = part.match_indices('%').find(|(at, _)| {
        let digits = part.as_bytes().get(at + 1..at + 3);
        !digits.is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit))
    });
    let Some((at, _)) = bad else { return Ok(()) };
    let escape: String = part[at..].chars().take(3).collect();
    Err(format!("invalid URL escape {escape:?}"))
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

/// What Go makes of a URL.
struct Parsed {
    scheme: String,
    host: String,
    hostname: String,
    path: String,
    query: String,
    opaque: String,
    fragment: String,
    /// As it is written into another URL; nothing where there is no `@`.
    user: Option<String>,
}

impl Parsed {
    /// Go's `url.Parse`.
    ///
    /// # Errors
    /// Go's words.
    fn read(text: &str) -> Result<Self, String> {
        Self::split(text).map_err(|problem| format!("parse {text:?}: {problem}"))
    }

    fn split(text: &str) -> Result<Self, String> {
        if text.bytes().any(|byte| byte < b' ' || byte == 0x7f) {
            return Err("net/url: invalid control character in URL".to_owned());
        }
        let (body, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (scheme, rest) = match scheme_of(body) {
            Some((scheme, rest)) => (scheme.to_ascii_lowercase(), rest),
            None if body.starts_with(':') => return Err("missing protocol scheme".to_owned()),
            None => (String::new(), body),
        };
        let first = rest.split(['/', '?']).next().unwrap_or_default();
        if scheme.is_empty() && first.contains(':') {
            return Err("first path segment in URL cannot contain colon".to_owned());
        }
        let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
        let (mut opaque, mut authority, mut path) = ("", "", rest);
        if !rest.starts_with('/') && !scheme.is_empty() {
            opaque = rest;
            path = "";
        } else if let Some(after) = rest.strip_prefix("//") {
            let end = after.find('/').unwrap_or(after.len());
            (authority, path) = after.split_at(end);
        }
        let (user, host) = match authority.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, authority),
        };
        let hostname = hostname(host)?;
        let user = user.map(written_user).transpose()?;
        whole_escapes(path)?;
        whole_escapes(fragment)?;
        Ok(Self {
            user,
            host: unescape(host),
            hostname: unescape(hostname),
            path: unescape(path),
            query: query.to_owned(),
            opaque: opaque.to_owned(),
            fragment: unescape(fragment),
            scheme,
        })
    }
}

/// The host without its port and brackets.
fn hostname(host: &str) -> Result<&str, String> {
    let port_start = host.rfind(':').filter(|colon| host.rfind(']').is_none_or(|bracket| bracket < *colon));
    if let Some(colon) = port_start
        && !host[colon + 1..].bytes().all(|byte| byte.is_ascii_digit())
    {
        return Err(format!("invalid port {:?} after host", &host[colon..]));
    }
    whole_escapes(host)?;
    if let Some(problem) = bad_host(host) {
        return Err(problem);
    }
    let name = port_start.map_or(host, |colon| &host[..colon]);
    Ok(name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name))
}

/// Name and password, read and written anew.
fn written_user(text: &str) -> Result<String, String> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte);
    if !text.bytes().all(fits) {
        return Err("net/url: invalid userinfo".to_owned());
    }
    let written = |part: &str| {
        whole_escapes(part)?;
        Ok::<_, String>(escape(&unescape(part), "$&+,;="))
    };
    match text.split_once(':') {
        Some((name, password)) => Ok(format!("{}:{}", written(name)?, written(password)?)),
        None => written(text),
    }
}

fn parse(_: &mut Env<'_>, args: Args<'_>) -> Answer {
    let url = Parsed::read(&args.utf8(0)?);
    let url = url.map_err(|problem| Fault::message(format!("unable to parse url: {problem}")))?;
    let out = Dict::empty();
    let fields = [
        ("scheme", &url.scheme),
        ("host", &url.host),
        ("hostname", &url.hostname),
        ("path", &url.path),
        ("query", &url.query),
        ("opaque", &url.opaque),
        ("fragment", &url.fragment),
        ("userinfo", &url.user.unwrap_or_default()),
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
    let user = match userinfo.as_str() {
        "" => None,
        text => {
            let wrong = |problem| Fault::message(format!("unable to parse userinfo in dict: {problem}"));
            Parsed::read(&format!("proto://{text}@host")).map_err(wrong)?.user
        }
    };
    let mut out = String::new();
    if !scheme.is_empty() {
        out.push_str(&scheme);
        out.push(':');
    }
    if opaque.is_empty() {
        if !scheme.is_empty() || !host.is_empty() || user.is_some() {
            if !host.is_empty() || !path.is_empty() || user.is_some() {
                out.push_str("//");
            }
            if let Some(user) = user {
                out.push_str(&user);
                out.push('@');
            }
            out.push_str(&escape(&host, "!$&'()*+,;=:[]<>\""));
        }
        let path = if path == "*" { path } else { escape(&path, "$&+,/:;=@") };
        if !path.is_empty() && !path.starts_with('/') && !host.is_empty() {
            out.push('/');
        }
        if out.is_empty() && path.split('/').next().is_some_and(|first| first.contains(':')) {
            // Or the first part of the path would be a scheme.
            out.push_str("./");
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
        out.push_str(&escape(&fragment, "$&+,/:;=?@!*()"));
    }
    Ok(Value::text(&out))
}
