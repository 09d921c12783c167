//! Reading the protobuf bodies that Go clientsets send for built-in kinds: `kubectl create`, `kubectl auth can-i`,
//! Helm's release Secrets, leader election. Answers stay JSON, which those clients accept.
//!
//! Only the kinds of `messages` are understood, and of those only the fields listed there: a field that carries
//! something and is not listed is refused, never dropped.

mod messages;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::{Map, Value, json};

use messages::{Field, Kind, MESSAGES, Message};

/// Every Kubernetes protobuf body starts with this.
const MAGIC: &[u8] = b"k8s\0";
/// Messages nest at most this deep.
const DEPTH_MAX: usize = 32;

/// Why a body could not be read.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProtobufError {
    #[error("the body does not start with the magic bytes of Kubernetes protobuf")]
    Magic,
    #[error("the body ends in the middle of a field")]
    Truncated,
    #[error("protobuf bodies of {api_version} {kind} are not understood: send application/json")]
    Kind { api_version: String, kind: String },
    #[error("field {number} of {message} in a protobuf body is not understood: send application/json")]
    Field { message: &'static str, number: u64 },
    #[error("field {number} of {message} in a protobuf body has another type than expected")]
    Type { message: &'static str, number: u64 },
    #[error("the body nests deeper than {DEPTH_MAX} messages")]
    Depth,
}

/// The object in a body.
///
/// # Errors
/// When the body is malformed, or of a kind or with a field that is not understood.
pub(super) fn object(body: &[u8]) -> Result<Value, ProtobufError> {
    let body = body.strip_prefix(MAGIC).ok_or(ProtobufError::Magic)?;
    let (mut api_version, mut kind, mut raw) = (String::new(), String::new(), &[][..]);
    for field in Fields(body) {
        match field? {
            (1, Wire::Bytes(types)) => {
                for field in Fields(types) {
                    match field? {
                        (1, Wire::Bytes(text)) => api_version = String::from_utf8_lossy(text).into_owned(),
                        (2, Wire::Bytes(text)) => kind = String::from_utf8_lossy(text).into_owned(),
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(bytes)) => raw = bytes,
            _ => {}
        }
    }
    let known = MESSAGES.iter().find(|(versions, message)| {
        message.name == kind && (versions.is_empty() || versions.contains(&api_version.as_str()))
    });
    let Some((_, message)) = known else { return Err(ProtobufError::Kind { api_version, kind }) };
    let mut object = decode(message, raw, 0)?;
    object.insert("apiVersion".to_owned(), json!(api_version));
    object.insert("kind".to_owned(), json!(kind));
    Ok(Value::Object(object))
}

fn decode(
    message: &'static Message,
    bytes: &[u8],
    depth: usize,
) -> Result<Map<String, Value>, ProtobufError> {
    if depth > DEPTH_MAX {
        return Err(ProtobufError::Depth);
    }
    let mut object = Map::new();
    for field in Fields(bytes) {
        let (number, wire) = field?;
        let Some(field) = message.fields.iter().find(|field| u64::from(field.number) == number) else {
            if wire.is_empty() {
                continue;
            }
            return Err(ProtobufError::Field { message: message.name, number });
        };
        let mismatch = || ProtobufError::Type { message: message.name, number };
        if let Some(value) = value(field, &wire, depth)?.ok_or_else(mismatch)? {
            insert(&mut object, field, value);
        }
    }
    Ok(object)
}

fn insert(object: &mut Map<String, Value>, field: &Field, value: Value) {
    match (field.repeated, value) {
        (true, value) => {
            let list = object.entry(field.name).or_insert_with(|| json!([]));
            if let Value::Array(list) = list {
                list.push(value);
            }
        }
        // Entries of a map arrive one by one.
        (false, Value::Object(entry)) if matches!(field.kind, Kind::TextMap | Kind::BytesMap) => {
            let map = object.entry(field.name).or_insert_with(|| json!({}));
            if let Value::Object(map) = map {
                map.extend(entry);
            }
        }
        (false, value) => {
            object.insert(field.name.to_owned(), value);
        }
    }
}

/// The JSON value of a field; the inner `None` where Go would have left it out, the outer one on a wrong type.
type Read = Result<Option<Option<Value>>, ProtobufError>;

fn value(field: &Field, wire: &Wire<'_>, depth: usize) -> Read {
    Ok(match (&field.kind, wire) {
        (Kind::Text, Wire::Bytes(bytes)) => {
            let text = String::from_utf8_lossy(bytes);
            Some((field.repeated || !text.is_empty()).then(|| json!(text)))
        }
        // An int64 travels as two's complement.
        (Kind::Integer, Wire::Number(number)) => Some((*number != 0).then(|| json!(number.cast_signed()))),
        (Kind::Count, Wire::Number(number)) => Some(Some(json!(number.cast_signed()))),
        (Kind::Truth, Wire::Number(number)) => Some(Some(json!(*number != 0))),
        (Kind::Message(message), Wire::Bytes(bytes)) => {
            let object = decode(message, bytes, depth + 1)?;
            Some((field.repeated || !object.is_empty()).then_some(Value::Object(object)))
        }
        (Kind::TextMap | Kind::BytesMap, Wire::Bytes(bytes)) => Some(Some(map_entry(&field.kind, bytes)?)),
        (Kind::Time, Wire::Bytes(bytes)) => Some(time(bytes, false)?),
        (Kind::MicroTime, Wire::Bytes(bytes)) => Some(time(bytes, true)?),
        (Kind::IntOrText, Wire::Bytes(bytes)) => Some(int_or_text(bytes)?),
        (Kind::Ignored, _) => Some(None),
        _ => None,
    })
}

fn map_entry(kind: &Kind, bytes: &[u8]) -> Result<Value, ProtobufError> {
    let (mut key, mut value) = (String::new(), json!(""));
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Bytes(text)) => key = String::from_utf8_lossy(text).into_owned(),
            (2, Wire::Bytes(bytes)) if matches!(kind, Kind::BytesMap) => {
                value = json!(STANDARD.encode(bytes))
            }
            (2, Wire::Bytes(text)) => value = json!(String::from_utf8_lossy(text)),
            _ => {}
        }
    }
    let mut entry = Map::new();
    entry.insert(key, value);
    Ok(Value::Object(entry))
}

fn time(bytes: &[u8], micros: bool) -> Result<Option<Value>, ProtobufError> {
    let (mut seconds, mut nanos) = (0_i64, 0_i64);
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Number(number)) => seconds = number.cast_signed(),
            (2, Wire::Number(number)) => nanos = number.cast_signed(),
            _ => {}
        }
    }
    let moment = Timestamp::new(seconds, i32::try_from(nanos).unwrap_or(0)).ok();
    Ok(moment
        .filter(|_| seconds > 0)
        .map(|moment| json!(if micros { format!("{moment:.6}") } else { crate::clock::seconds(moment) })))
}

fn int_or_text(bytes: &[u8]) -> Result<Option<Value>, ProtobufError> {
    let (mut is_text, mut number, mut text) = (false, 0, String::new());
    for field in Fields(bytes) {
        match field? {
            (1, Wire::Number(kind)) => is_text = kind == 1,
            (2, Wire::Number(value)) => number = value.cast_signed(),
            (3, Wire::Bytes(value)) => text = String::from_utf8_lossy(value).into_owned(),
            _ => {}
        }
    }
    Ok(Some(if is_text { json!(text) } else { json!(number) }))
}

/// What stands on the wire behind a field's number.
#[derive(Debug, PartialEq, Eq)]
enum Wire<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl Wire<'_> {
    fn is_empty(&self) -> bool {
        match self {
            Self::Number(number) => *number == 0,
            Self::Bytes(bytes) => bytes.is_empty(),
        }
    }
}

/// The fields of a message, one after the other.
struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    fn varint(&mut self) -> Result<u64, ProtobufError> {
        let mut number = 0_u64;
        for shift in (0..64).step_by(7) {
            let (byte, rest) = self.0.split_first().ok_or(ProtobufError::Truncated)?;
            self.0 = rest;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(ProtobufError::Truncated)
    }

    fn take(&mut self, count: u64) -> Result<&'a [u8], ProtobufError> {
        let count = usize::try_from(count).map_err(|_| ProtobufError::Truncated)?;
        let (taken, rest) = self.0.split_at_checked(count).ok_or(ProtobufError::Truncated)?;
        self.0 = rest;
        Ok(taken)
    }

    fn field(&mut self) -> Result<(u64, Wire<'a>), ProtobufError> {
        let tag = self.varint()?;
        let wire = match tag & 7 {
            0 => Wire::Number(self.varint()?),
            1 => Wire::Bytes(self.take(8)?),
            2 => {
                let length = self.varint()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => Wire::Bytes(self.take(4)?),
            _ => return Err(ProtobufError::Truncated),
        };
        Ok((tag >> 3, wire))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, Wire<'a>), ProtobufError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn field(number: u8, bytes: &[u8]) -> Vec<u8> {
        [&[number << 3 | 2, u8::try_from(bytes.len()).unwrap()], bytes].concat()
    }

    fn body(api_version: &str, kind: &str, raw: &[u8]) -> Vec<u8> {
        let types = [field(1, api_version.as_bytes()), field(2, kind.as_bytes())].concat();
        [MAGIC, &field(1, &types), &field(2, raw)].concat()
    }

    #[test]
    fn a_secret_is_read_with_its_data_in_base64() {
        let entry = [field(1, b"key"), field(2, b"value")].concat();
        let label = [field(1, b"owner"), field(2, b"helm")].concat();
        let metadata = [field(1, b"name"), field(3, b""), field(11, &label), field(8, b"")].concat();
        let raw = [field(1, &metadata), field(2, &entry), field(3, b"helm.sh/release.v1")].concat();
        let expected = json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "name", "labels": {"owner": "helm"}},
            "data": {"key": "dmFsdWU="}, "type": "helm.sh/release.v1",
        });
        assert_eq!(object(&body("v1", "Secret", &raw)).unwrap(), expected);
    }

    #[test]
    fn what_is_not_understood_is_refused_by_name() {
        let unknown = object(&body("v1", "Node", b"")).unwrap_err();
        assert_eq!(
            unknown.to_string(),
            "protobuf bodies of v1 Node are not understood: send application/json"
        );
        let field = object(&body("v1", "ConfigMap", &field(15, b"x"))).unwrap_err();
        assert_eq!(field, ProtobufError::Field { message: "ConfigMap", number: 15 });
        assert_eq!(object(b"{}").unwrap_err(), ProtobufError::Magic);
    }

    proptest! {
        #[test]
        fn perturbed_bodies_never_panic(raw in proptest::collection::vec(any::<u8>(), 0..120)) {
            for kind in ["Secret", "Deployment", "Event"] {
                let _ = object(&body(if kind == "Deployment" { "apps/v1" } else { "v1" }, kind, &raw));
            }
            let _ = object(&raw);
        }
    }
}
