//! Who sends what, and how much of it is there.

use std::collections::BTreeMap;

use protocol::id::AgentId;
use protocol::telemetry::{Gap, StreamEpoch, TelemetryAck, TelemetryClass};
use telemetry::query::{EdgeCompleteness, LostRange};
use telemetry::{Labels, Millis};

use super::Links;

/// A stream's name.
pub(super) type StreamKey = (AgentId, TelemetryClass, StreamEpoch);

/// Numbers that came out of order and are kept in mind; more end the connection's progress until the hole closes.
const AHEAD_MAX: usize = 4096;

/// How far a stream is stored.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Everything up to this number is stored.
    pub(super) through: u64,
    /// Everything up to this time is stored.
    pub(super) watermark: u64,
    /// Numbers beyond a hole: oldest number of the item, its last number, its newest point.
    pub(super) ahead: BTreeMap<u64, (u64, u64)>,
}

/// What became of an item's number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Taken {
    /// New.
    New,
    /// Stored before.
    Duplicate,
    /// Too far ahead of a hole to be remembered; it will be sent again.
    TooFar,
}

impl Position {
    /// Takes the numbers `first..=last` with points up to `newest`.
    pub(super) fn take(&mut self, first: u64, last: u64, newest: u64) -> Taken {
        if last <= self.through || self.ahead.values().any(|(end, _)| *end == last) {
            return Taken::Duplicate;
        }
        if first <= self.through + 1 {
            self.through = last;
            self.watermark = self.watermark.max(newest);
            self.close_holes();
            return Taken::New;
        }
        if self.ahead.len() >= AHEAD_MAX {
            return Taken::TooFar;
        }
        self.ahead.insert(first, (last, newest));
        Taken::New
    }

    /// Takes note that numbers up to this one will not come any more.
    pub(super) fn settle(&mut self, through: u64) {
        if through > self.through {
            self.through = through;
            self.close_holes();
        }
    }

    fn close_holes(&mut self) {
        while let Some(entry) = self.ahead.first_entry() {
            if *entry.key() > self.through + 1 {
                return;
            }
            let (last, newest) = entry.remove();
            self.through = self.through.max(last);
            self.watermark = self.watermark.max(newest);
        }
    }
}

/// An agent that sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sender {
    pub(super) edge: String,
    pub(super) cluster: String,
    /// Whether it is no more.
    pub(super) gone: bool,
    /// Samples that found no room in memory, since the start.
    pub(super) refused: u64,
}

/// All senders, streams and gaps.
#[derive(Debug, Default)]
pub(super) struct Catalog {
    pub(super) region: String,
    pub(super) senders: BTreeMap<AgentId, Sender>,
    pub(super) streams: BTreeMap<StreamKey, Position>,
    pub(super) gaps: Vec<(AgentId, TelemetryClass, Gap)>,
    /// What readers must know besides: up to which time it matters, and the text.
    pub(super) notes: Vec<(Millis, String)>,
}

impl Catalog {
    pub(super) fn external(&self, sender: &Sender) -> Labels {
        external(&self.region, &sender.edge, &sender.cluster)
    }

    pub(super) fn acknowledged(&self, agent: &AgentId) -> Vec<TelemetryAck> {
        self.streams
            .iter()
            .filter(|((of, ..), position)| of == agent && position.through > 0)
            .map(|((_, class, epoch), position)| TelemetryAck {
                class: *class,
                epoch: *epoch,
                through: position.through,
            })
            .collect()
    }

    /// How complete each sender is that a question concerns, in a time.
    pub(super) fn completeness(
        &self,
        class: TelemetryClass,
        (after, through): (Millis, Millis),
        links: &Links,
        concerns: impl Fn(&Labels) -> bool,
    ) -> Vec<EdgeCompleteness> {
        self.senders
            .iter()
            .filter(|(_, sender)| !sender.gone && concerns(&self.external(sender)))
            // The region itself has no cost, so none of its is missing.
            .filter(|(agent, sender)| !sender.edge.is_empty() || self.watermark(agent, class).is_some())
            .map(|(agent, sender)| EdgeCompleteness {
                edge: if sender.edge.is_empty() { agent.to_string() } else { sender.edge.clone() },
                watermark: self.watermark(agent, class),
                link_up: links.get(&sender.edge).copied(),
                gaps: self.lost(agent, class, after, through),
            })
            .collect()
    }

    /// Complete up to this time; `None` when nothing came.
    pub(super) fn watermark(&self, agent: &AgentId, class: TelemetryClass) -> Option<Millis> {
        let of_agent = self.streams.iter().filter(|((of, of_class, _), _)| of == agent && *of_class == class);
        of_agent
            .map(|(_, position)| position.watermark)
            .filter(|at| *at > 0)
            .max()
            .and_then(|at| at.try_into().ok())
    }

    fn lost(&self, agent: &AgentId, class: TelemetryClass, after: Millis, through: Millis) -> Vec<LostRange> {
        let millis = |at: u64| Millis::try_from(at).unwrap_or(Millis::MAX);
        self.gaps
            .iter()
            .filter(|(of, of_class, gap)| {
                of == agent && *of_class == class && millis(gap.last) > after && millis(gap.first) <= through
            })
            .map(|(_, _, gap)| LostRange {
                first: millis(gap.first),
                last: millis(gap.last),
                batches: gap.batches,
                points: gap.points,
                reason: gap.reason.as_str().to_owned(),
            })
            .collect()
    }

    /// What else a reader of a time must know.
    pub(super) fn notes(&self, after: Millis) -> Vec<String> {
        let refused = self.senders.values().filter(|sender| sender.refused > 0).map(|sender| {
            format!(
                "{} samples of edge \"{}\" are not shown: the limit of series in memory is reached",
                sender.refused, sender.edge
            )
        });
        self.notes
            .iter()
            .filter(|(until, _)| after < *until)
            .map(|(_, text)| text.clone())
            .chain(refused)
            .collect()
    }
}

/// The labels set on every series of an edge.
pub(super) fn external(region: &str, edge: &str, cluster: &str) -> Labels {
    Labels::from_pairs([("region", region), ("edge", edge), ("cluster", cluster)])
}
