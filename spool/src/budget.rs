//! How much may wait.

use protocol::telemetry::TelemetryClass;

/// What a lane may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LaneBudget {
    /// Bytes of payload.
    pub bytes_max: u64,
    /// Age in milliseconds, counted from the push.
    pub age_max_ms: u64,
}

/// What a spool may hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Budgets {
    /// Kubernetes events and audit.
    pub events: LaneBudget,
    /// Cost.
    pub cost: LaneBudget,
    /// Metrics.
    pub metrics: LaneBudget,
    /// Traces.
    pub traces: LaneBudget,
    /// Logs.
    pub logs: LaneBudget,
    /// Bytes of payload in all lanes.
    pub bytes_max: u64,
    /// Bytes of the database file; the disk is the limit when `None`.
    pub file_bytes_max: Option<u64>,
}

const MIB: u64 = 1 << 20;
const DAY_MS: u64 = 86_400_000;

/// 256 MiB: at 10,000 points a minute about two weeks of metrics.
impl Default for Budgets {
    fn default() -> Self {
        let lane = |mib: u64, days: u64| LaneBudget { bytes_max: mib * MIB, age_max_ms: days * DAY_MS };
        Self {
            events: lane(32, 30),
            cost: lane(32, 60),
            metrics: lane(160, 15),
            traces: lane(64, 3),
            logs: lane(128, 7),
            bytes_max: 256 * MIB,
            file_bytes_max: None,
        }
    }
}

impl Budgets {
    /// The same budget for each lane.
    pub fn uniform(lane: LaneBudget, bytes_max: u64) -> Self {
        Self {
            events: lane,
            cost: lane,
            metrics: lane,
            traces: lane,
            logs: lane,
            bytes_max,
            file_bytes_max: None,
        }
    }

    /// A lane's budget.
    pub fn lane(&self, class: TelemetryClass) -> LaneBudget {
        match class {
            TelemetryClass::Events => self.events,
            TelemetryClass::Cost => self.cost,
            TelemetryClass::Metrics => self.metrics,
            TelemetryClass::Traces => self.traces,
            TelemetryClass::Logs => self.logs,
        }
    }
}
