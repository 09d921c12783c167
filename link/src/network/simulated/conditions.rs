//! How paths behave.

use std::time::Duration;

/// How the path from one node to another behaves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Conditions {
    /// Time every datagram takes.
    pub latency: Duration,
    /// Time added at random; more than the distance between datagrams reorders them.
    pub jitter: Duration,
    /// Share that is lost.
    pub loss: f64,
    /// Times in which everything is lost.
    pub bursts: Bursts,
    /// Share that arrives twice.
    pub duplication: f64,
    /// Bits per second the sender's line carries; nothing means any number.
    pub bandwidth: Option<u64>,
    /// Bytes that may wait for the line before datagrams are dropped.
    pub queue_bytes: u64,
    /// Bytes of the longest datagram that gets through; longer ones vanish, and nobody is told.
    pub datagram_bytes: Option<usize>,
}

/// Times in which a path loses everything, as radio links have them.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Bursts {
    /// Share of datagrams that begin one.
    pub share: f64,
    /// The longest.
    pub longest: Duration,
}

impl Default for Conditions {
    fn default() -> Self {
        Self {
            latency: Duration::from_millis(10),
            jitter: Duration::ZERO,
            loss: 0.0,
            bursts: Bursts::default(),
            duplication: 0.0,
            bandwidth: None,
            queue_bytes: 256 * 1024,
            datagram_bytes: None,
        }
    }
}

impl Conditions {
    /// A path that loses, duplicates and reorders.
    pub fn bad() -> Self {
        Self {
            latency: Duration::from_millis(40),
            jitter: Duration::from_millis(40),
            loss: 0.05,
            duplication: 0.01,
            ..Self::default()
        }
    }
}
