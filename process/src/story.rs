//! One story across programs: a change at the hub and what follows from it in a region and at an edge are one trace.
//!
//! A plan's header carries where it came from as an extension; who takes the plan continues there. Without traces
//! there is nothing to carry and nothing is carried.

use opentelemetry::Context;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

/// Length of an origin: trace id, span id, flags, as in W3C Trace Context.
const LENGTH: usize = 25;

/// Where the current span belongs; `None` unless it is exported.
pub fn origin() -> Option<[u8; LENGTH]> {
    let span = Span::current();
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let of = context.span().span_context().clone();
    if !of.is_valid() || !of.is_sampled() {
        return None;
    }
    let mut origin = [0; LENGTH];
    origin[..16].copy_from_slice(&of.trace_id().to_bytes());
    origin[16..24].copy_from_slice(&of.span_id().to_bytes());
    origin[24] = of.trace_flags().to_u8();
    Some(origin)
}

/// Makes `span`, which must not have been entered, a part of the story that an [`origin`] tells of. What is no
/// origin is ignored: it comes from another program and decides nothing.
pub fn continue_from(span: &Span, origin: &[u8]) {
    let Ok(origin) = <&[u8; LENGTH]>::try_from(origin) else { return };
    if span.is_disabled() {
        return;
    }
    let (mut trace, mut parent) = ([0; 16], [0; 8]);
    trace.copy_from_slice(&origin[..16]);
    parent.copy_from_slice(&origin[16..24]);
    let of = SpanContext::new(
        TraceId::from_bytes(trace),
        SpanId::from_bytes(parent),
        TraceFlags::new(origin[24]),
        true,
        TraceState::NONE,
    );
    if of.is_valid()
        && let Err(error) = span.set_parent(Context::new().with_remote_span_context(of))
    {
        tracing::trace!(%error, "a span does not continue its story");
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::TracerProvider as _;
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tracing_subscriber::layer::SubscriberExt as _;

    use super::*;

    #[test]
    fn a_story_goes_on_where_it_came_from() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let layers: Vec<crate::logs::Layer> = vec![Box::new(layer)];
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layers), || {
            let told = tracing::info_span!("plan").in_scope(origin).unwrap();
            let span = tracing::info_span!("receive");
            continue_from(&span, &told);
            let here = span.in_scope(origin).unwrap();
            assert_eq!(here[..16], told[..16], "the same trace");
            assert_ne!(here[16..24], told[16..24], "another span");
        });
    }

    #[test]
    fn what_is_no_origin_is_ignored() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        tracing::subscriber::with_default(tracing_subscriber::registry().with(layer), || {
            for bytes in [&[][..], &[7; 24], &[7; 26], &[0; 25]] {
                let span = tracing::info_span!("receive");
                continue_from(&span, bytes);
                assert!(span.in_scope(origin).is_some(), "{bytes:?}");
            }
        });
        assert_eq!(origin(), None, "without traces there is no origin");
    }
}
