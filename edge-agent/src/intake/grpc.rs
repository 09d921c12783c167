//! OTLP over gRPC.

use opentelemetry_proto::tonic::collector::metrics::v1::metrics_service_server::{
    MetricsService, MetricsServiceServer,
};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use tonic::codec::CompressionEncoding;
use tonic::{Request, Response, Status};

use super::{Intake, REQUEST_BYTES_MAX};

/// The gRPC service as an HTTP router.
pub fn router(intake: Intake) -> axum::Router {
    let service = MetricsServiceServer::new(Service(intake))
        .accept_compressed(CompressionEncoding::Gzip)
        .send_compressed(CompressionEncoding::Gzip)
        .max_decoding_message_size(REQUEST_BYTES_MAX);
    tonic::service::Routes::new(service).into_axum_router()
}

struct Service(Intake);

#[tonic::async_trait]
impl MetricsService for Service {
    async fn export(
        &self,
        request: Request<ExportMetricsServiceRequest>,
    ) -> Result<Response<ExportMetricsServiceResponse>, Status> {
        // A full spool makes room by itself, so a failure is the disk's and may pass: retryable.
        self.0
            .take(request.into_inner())
            .await
            .map(Response::new)
            .map_err(|error| Status::unavailable(error.to_string()))
    }
}
