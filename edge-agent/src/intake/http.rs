//! OTLP over HTTP: `POST /v1/metrics`, protobuf or JSON, plain or gzip.

use std::io::Read;

use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;

use super::{Intake, REQUEST_BYTES_MAX, RETRY_SECONDS};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

/// gRPC's code for a request that is wrong for good.
const INVALID_ARGUMENT: i32 = 3;
/// gRPC's code for a failure that may pass.
const UNAVAILABLE: i32 = 14;

/// The HTTP intake.
pub fn router(intake: Intake) -> Router {
    Router::new()
        .route("/v1/metrics", post(metrics))
        .layer(DefaultBodyLimit::max(REQUEST_BYTES_MAX))
        .with_state(intake)
}

/// `google.rpc.Status`, as OTLP/HTTP answers failures.
#[derive(Clone, PartialEq, Message)]
struct Failure {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

/// The two encodings of OTLP/HTTP; the answer uses that of the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Encoding {
    Protobuf,
    Json,
}

impl Encoding {
    fn of(headers: &HeaderMap) -> Result<Self, Refused> {
        let content_type =
            headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
        match content_type.split(';').next().unwrap_or_default().trim() {
            PROTOBUF => Ok(Self::Protobuf),
            JSON => Ok(Self::Json),
            other => Err(Refused {
                status: StatusCode::UNSUPPORTED_MEDIA_TYPE,
                encoding: Self::Json,
                code: INVALID_ARGUMENT,
                message: format!("content-type \"{other}\" is neither {PROTOBUF} nor {JSON}"),
            }),
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Protobuf => PROTOBUF,
            Self::Json => JSON,
        }
    }
}

struct Refused {
    status: StatusCode,
    encoding: Encoding,
    code: i32,
    message: String,
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        let Self { status, encoding, code, message } = self;
        let body = match encoding {
            Encoding::Protobuf => Failure { code, message }.encode_to_vec(),
            Encoding::Json => serde_json::json!({"code": code, "message": message}).to_string().into_bytes(),
        };
        let mut response = (status, [(header::CONTENT_TYPE, encoding.content_type())], body).into_response();
        if code == UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_SECONDS.into());
        }
        response
    }
}

async fn metrics(State(intake): State<Intake>, headers: HeaderMap, body: Bytes) -> Result<Response, Refused> {
    let encoding = Encoding::of(&headers)?;
    let refused = |status, code, message| Refused { status, encoding, code, message };
    let bad = |message| refused(StatusCode::BAD_REQUEST, INVALID_ARGUMENT, message);
    let body = plain(&headers, body).map_err(bad)?;
    let request = match encoding {
        Encoding::Protobuf => {
            ExportMetricsServiceRequest::decode(&body[..]).map_err(|error| error.to_string())
        }
        Encoding::Json => serde_json::from_slice(&body).map_err(|error| error.to_string()),
    };
    let request =
        request.map_err(|error| bad(format!("the body is not an ExportMetricsServiceRequest: {error}")))?;
    let answer = intake
        .take(request)
        .await
        .map_err(|error| refused(StatusCode::SERVICE_UNAVAILABLE, UNAVAILABLE, error.to_string()))?;
    let body = match encoding {
        Encoding::Protobuf => answer.encode_to_vec(),
        Encoding::Json => serde_json::to_vec(&answer).unwrap_or_else(|_| b"{}".to_vec()),
    };
    Ok(([(header::CONTENT_TYPE, encoding.content_type())], body).into_response())
}

/// The body without compression, bounded before it is unpacked.
fn plain(headers: &HeaderMap, body: Bytes) -> Result<Bytes, String> {
    let encoding = headers.get(header::CONTENT_ENCODING).map_or(Ok("identity"), |value| value.to_str());
    match encoding {
        Ok("identity" | "") => Ok(body),
        Ok("gzip") => unpacked(&body).map(Bytes::from),
        Ok(other) => Err(format!("content-encoding \"{other}\" is neither gzip nor identity")),
        Err(_) => Err("content-encoding is not text".to_owned()),
    }
}

/// What a gzip body holds, at most [`REQUEST_BYTES_MAX`] bytes.
///
/// # Errors
/// What is wrong with it, in words for its sender.
pub fn unpacked(body: &[u8]) -> Result<Vec<u8>, String> {
    let mut unpacked = Vec::new();
    let limit = REQUEST_BYTES_MAX as u64 + 1;
    let read = flate2::read::GzDecoder::new(body).take(limit).read_to_end(&mut unpacked);
    match read {
        Ok(size) if size <= REQUEST_BYTES_MAX => Ok(unpacked),
        Ok(_) => Err(format!("the body has more than {REQUEST_BYTES_MAX} bytes when unpacked")),
        Err(error) => Err(format!("the body is not gzip: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn a_gzip_bomb_is_refused_before_it_is_unpacked() {
        let mut bomb = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        bomb.write_all(&vec![0; REQUEST_BYTES_MAX + 1]).unwrap();
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_ENCODING, "gzip".parse().unwrap());
        let refused = plain(&headers, bomb.finish().unwrap().into()).unwrap_err();
        assert!(refused.contains("more than 16777216 bytes"), "{refused}");
        assert!(plain(&headers, Bytes::from_static(b"not gzip")).unwrap_err().contains("not gzip"));
    }

    #[test]
    fn an_unknown_content_type_is_named() {
        let mut headers = HeaderMap::new();
        headers.insert(header::CONTENT_TYPE, "text/plain; charset=utf-8".parse().unwrap());
        let refused = Encoding::of(&headers).map(|_| ()).map_err(|refused| refused.message).unwrap_err();
        assert!(refused.contains("\"text/plain\""), "{refused}");
    }
}
