//! Where time goes: how long spans are busy, less what spans within them are.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tracing::span::{Attributes, Id};
use tracing::{Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// Busy time by `crate: span`, while it is watched. Clones share it.
#[derive(Debug, Clone, Default)]
pub struct Spans(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    watching: AtomicBool,
    busy: Mutex<BTreeMap<String, Duration>>,
}

thread_local! {
    /// Spans that are entered on this thread: since when, and how long those within them were busy.
    static ENTERED: RefCell<Vec<(Instant, Duration)>> = const { RefCell::new(Vec::new()) };
}

impl Spans {
    /// The layer that watches.
    pub fn layer<S>(&self) -> impl Layer<S> + use<S>
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let shared = Arc::clone(&self.0);
        let wanted = tracing_subscriber::filter::dynamic_filter_fn(move |metadata, _| {
            metadata.is_span() && shared.watching.load(Ordering::Relaxed)
        });
        Watch(Arc::clone(&self.0)).with_filter(wanted)
    }

    /// Begins or ends watching.
    pub fn watch(&self, watching: bool) {
        self.0.watching.store(watching, Ordering::Relaxed);
    }

    /// What was counted, the busiest first; nothing is left.
    pub fn take(&self) -> Vec<(String, Duration)> {
        let mut busy = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<_> = std::mem::take(&mut *busy).into_iter().collect();
        all.sort_by_key(|(_, busy)| std::cmp::Reverse(*busy));
        all
    }
}

struct Watch(Arc<Shared>);

/// The name under which a span counts.
struct Name(String);

fn name(metadata: &Metadata<'_>) -> String {
    let of = metadata.target().split("::").next().unwrap_or_default();
    format!("{of}: {}", metadata.name())
}

impl<S> Layer<S> for Watch
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    fn on_new_span(&self, attributes: &Attributes<'_>, id: &Id, context: Context<'_, S>) {
        if let Some(span) = context.span(id) {
            span.extensions_mut().insert(Name(name(attributes.metadata())));
        }
    }

    fn on_enter(&self, _: &Id, _: Context<'_, S>) {
        ENTERED.with_borrow_mut(|entered| entered.push((Instant::now(), Duration::ZERO)));
    }

    fn on_exit(&self, id: &Id, context: Context<'_, S>) {
        let Some((since, within)) = ENTERED.with_borrow_mut(Vec::pop) else { return };
        let busy = since.elapsed();
        ENTERED.with_borrow_mut(|entered| {
            if let Some((_, within)) = entered.last_mut() {
                *within += busy;
            }
        });
        let Some(span) = context.span(id) else { return };
        let extensions = span.extensions();
        let Some(Name(name)) = extensions.get::<Name>() else { return };
        let mut all = self.0.busy.lock().unwrap_or_else(PoisonError::into_inner);
        *all.entry(name.clone()).or_default() += busy.saturating_sub(within);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt as _;

    #[test]
    fn a_span_is_busy_for_what_is_its_own_and_only_while_it_is_watched() {
        let spans = Spans::default();
        let subscriber = tracing_subscriber::registry().with(spans.layer());
        tracing::subscriber::with_default(subscriber, || {
            tracing::debug_span!("unseen").in_scope(|| {});
            spans.watch(true);
            tracing::debug_span!("outer").in_scope(|| tracing::debug_span!("inner").in_scope(|| {}));
            spans.watch(false);
        });
        let names: Vec<_> = spans.take().into_iter().map(|(name, _)| name).collect();
        assert_eq!(names.len(), 2, "{names:?}");
        assert!(names.contains(&"skein_tests: inner".to_owned()), "{names:?}");
        assert!(spans.take().is_empty());
    }
}
