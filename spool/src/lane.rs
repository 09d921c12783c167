//! The tallies of lanes, kept in memory beside the database and taken back when a transaction is.

use protocol::telemetry::{Gap, GapReason, TelemetryClass};

/// What is known of a lane without asking the database.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Lane {
    /// The number the next item gets.
    pub(crate) next: u64,
    /// Items up to this number may have been handed out.
    pub(crate) offered: u64,
    /// The number of the oldest item or, for a gap, the oldest number it stands for.
    pub(crate) oldest: Option<u64>,
    /// Batches that wait.
    pub(crate) batches: u64,
    /// Gaps that wait.
    pub(crate) gaps: u64,
    /// Bytes of payload.
    pub(crate) bytes: u64,
    /// When the oldest batch was pushed; only a lower bound.
    pub(crate) oldest_push: u64,
}

/// All lanes and what was ever dropped.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Tally {
    lanes: [Lane; 5],
    /// Gap records ever made.
    pub(crate) gaps_made: u64,
    /// Points they stand for.
    pub(crate) points_dropped: u64,
}

pub(crate) fn number(class: TelemetryClass) -> usize {
    match class {
        TelemetryClass::Events => 0,
        TelemetryClass::Cost => 1,
        TelemetryClass::Metrics => 2,
        TelemetryClass::Traces => 3,
        TelemetryClass::Logs => 4,
    }
}

impl Tally {
    pub(crate) fn lane(&self, class: TelemetryClass) -> &Lane {
        &self.lanes[number(class)]
    }

    pub(crate) fn lane_mut(&mut self, class: TelemetryClass) -> &mut Lane {
        &mut self.lanes[number(class)]
    }

    pub(crate) fn bytes(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.bytes).sum()
    }

    pub(crate) fn items(&self) -> u64 {
        self.lanes.iter().map(|lane| lane.batches + lane.gaps).sum()
    }
}

pub(crate) fn reason_number(reason: GapReason) -> i64 {
    match reason {
        GapReason::Bytes => 0,
        GapReason::Age => 1,
        GapReason::DiskFull => 2,
        GapReason::Corrupt => 3,
    }
}

pub(crate) fn reason_of(number: i64) -> GapReason {
    match number {
        0 => GapReason::Bytes,
        1 => GapReason::Age,
        2 => GapReason::DiskFull,
        _ => GapReason::Corrupt,
    }
}

/// Adds what one gap stands for to another.
pub(crate) fn absorb(gap: &mut Gap, other: &Gap) {
    if gap.batches == 0 {
        *gap = other.clone();
        return;
    }
    gap.batches += other.batches;
    gap.points += other.points;
    gap.first = gap.first.min(other.first);
    gap.last = gap.last.max(other.last);
}
