//! Windows, keep-alive and limits of a link.
//!
//! # Why
//! **The window rule.** When bulk streams together can fill the sender's send window or the receiver's
//! connection window, control is not slowed but stops (over 60 s measured, whatever the priorities). So on
//! each side: streams of bulk x stream window + reserve for control <= min(send window, receive window).
//! [`Profile::check`] asserts it before a socket is opened; both ends of a link use the same profile.
//!
//! **Small windows for edges.** On a thin uplink the depth of the queue is the latency of control: 64 KiB
//! streams gave 0.22 s where the defaults gave 1 s at 2 Mbit/s.
//!
//! **Keep-alive from below.** After a NAT forgot the mapping only the lower side can restore it. The shorter
//! idle timeout of both ends counts, so an upper side that gives up sooner than the slowest keep-alive shows its
//! own life too; otherwise two ends with different profiles would lose each other when nothing is said.
//!
//! **Acknowledged at once.** The upper side acknowledges each packet of the lower one when it comes. Otherwise it would wake
//! a second time for each keep-alive, 25 ms later, and most of what an idle listener does is waking.
//!
//! **Back within 15 s.** While nobody answers, an attempt sends its first datagram again after 1, 3 and 7 s and ends after
//! 10; behind it comes a pause of at most [`Profile::retry_max`]. So whoever is within reach again is asked at most 13 s
//! later, also where the system does not tell. That costs 2.6 kbit/s while the peer is away. Whoever is answered, and has to
//! wait because others are served first, waits (`heard`).

use std::sync::Arc;
use std::time::Duration;

use identity::Entropy;
use quinn::{AckFrequencyConfig, IdleTimeout, TransportConfig, VarInt};

/// Telemetry streams of a link: one per class.
pub const TELEMETRY_STREAMS_MAX: u32 = 5;
/// Blob streams open at a time.
pub const BLOBS_MAX: u32 = 2;
/// Calls open at a time, in each direction.
pub const CALLS_MAX: u32 = 8;
/// Bytes of every window that bulk can never use.
pub const CONTROL_RESERVE_BYTES: u64 = 128 * 1024;

/// A profile breaks the window rule.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProfileError {
    /// Bulk can fill a window.
    #[error(
        "{streams} bulk streams of {stream} bytes and {CONTROL_RESERVE_BYTES} for control need {need}, \
         but the {window} window has {have} bytes: control would starve"
    )]
    Windows {
        /// Bulk streams that may be open in one direction.
        streams: u64,
        /// Window of each.
        stream: u64,
        /// What they need together with the reserve.
        need: u64,
        /// Which window is too small.
        window: &'static str,
        /// What it has.
        have: u64,
    },
    /// The link would time out between two keep-alives.
    #[error("idle timeout {idle:?} is less than four times the keep-alive interval {keep_alive:?}")]
    KeepAlive {
        /// The idle timeout.
        idle: Duration,
        /// The keep-alive interval.
        keep_alive: Duration,
    },
}

/// How a link behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// How often the lower side shows that it lives, 20 % more or less.
    pub keep_alive: Duration,
    /// After this time without a packet the link is dead; at least four keep-alives.
    pub idle_timeout: Duration,
    /// Bytes that may be under way on a stream.
    pub stream_window_bytes: u64,
    /// Bytes that may wait for the receiver, over all streams.
    pub receive_window_bytes: u64,
    /// Bytes that may wait for acknowledgement, over all streams.
    pub send_window_bytes: u64,
    /// How long dialling one address may take.
    pub connect_timeout: Duration,
    /// The first pause before dialling again; doubled each time. The actual pause is drawn from 0 to this.
    pub retry_base: Duration,
    /// The longest pause before dialling again.
    pub retry_max: Duration,
    /// How long a peer may refuse to take control messages before it is closed.
    pub patience: Duration,
    /// Hand several datagrams to the system at once. Some virtual network cards get it wrong.
    pub segmentation_offload: bool,
}

impl Profile {
    /// Between region and edge: thin, perhaps metered, behind NAT.
    pub fn edge() -> Self {
        Self {
            keep_alive: Duration::from_secs(15),
            idle_timeout: Duration::from_secs(75),
            stream_window_bytes: 64 * 1024,
            receive_window_bytes: 1536 * 1024,
            send_window_bytes: 1536 * 1024,
            connect_timeout: Duration::from_secs(10),
            retry_base: Duration::from_millis(250),
            retry_max: Duration::from_secs(10),
            patience: Duration::from_secs(20),
            segmentation_offload: true,
        }
    }

    /// Between hub and region: data centres.
    pub fn region() -> Self {
        Self {
            keep_alive: Duration::from_secs(5),
            idle_timeout: Duration::from_secs(30),
            stream_window_bytes: 512 * 1024,
            receive_window_bytes: 12 * 1024 * 1024,
            send_window_bytes: 12 * 1024 * 1024,
            ..Self::edge()
        }
    }

    /// All on one machine: faults are noticed within seconds.
    pub fn near() -> Self {
        Self {
            keep_alive: Duration::from_secs(1),
            idle_timeout: Duration::from_secs(5),
            connect_timeout: Duration::from_secs(3),
            retry_max: Duration::from_secs(2),
            ..Self::region()
        }
    }

    /// Asserts the window rule and that keep-alive keeps alive.
    ///
    /// # Errors
    /// [`ProfileError`] names the number that is wrong.
    pub fn check(&self) -> Result<(), ProfileError> {
        // In one direction: telemetry or blobs, own requests, responses to the peer's.
        let streams = u64::from(TELEMETRY_STREAMS_MAX.max(BLOBS_MAX) + 2 * CALLS_MAX);
        let stream = self.stream_window_bytes;
        let need = streams.saturating_mul(stream).saturating_add(CONTROL_RESERVE_BYTES);
        for (window, have) in [("send", self.send_window_bytes), ("receive", self.receive_window_bytes)] {
            if need > have {
                return Err(ProfileError::Windows { streams, stream, need, window, have });
            }
        }
        if self.idle_timeout < self.keep_alive * 4 {
            let (idle, keep_alive) = (self.idle_timeout, self.keep_alive);
            return Err(ProfileError::KeepAlive { idle, keep_alive });
        }
        Ok(())
    }

    /// The lower side's transport: takes blobs and calls, keeps alive.
    pub(crate) fn lower(&self, entropy: &mut dyn Entropy) -> Arc<TransportConfig> {
        let mut config = self.transport();
        let fifth = u64::try_from(self.keep_alive.as_millis() / 5).unwrap_or(u64::MAX);
        let jitter = Duration::from_millis(entropy.below(2 * fifth));
        let interval = (self.keep_alive + jitter).saturating_sub(Duration::from_millis(fifth));
        let mut acknowledged = AckFrequencyConfig::default();
        acknowledged.ack_eliciting_threshold(VarInt::from_u32(0));
        config
            .keep_alive_interval(Some(interval))
            .ack_frequency_config(Some(acknowledged))
            .max_concurrent_uni_streams(VarInt::from_u32(BLOBS_MAX))
            .max_concurrent_bidi_streams(VarInt::from_u32(CALLS_MAX));
        Arc::new(config)
    }

    /// The upper side's transport: takes control, telemetry and calls.
    pub(crate) fn upper(&self) -> Arc<TransportConfig> {
        let mut config = self.transport();
        let impatient = self.idle_timeout < Self::edge().keep_alive * 4;
        config
            .keep_alive_interval(impatient.then_some(self.keep_alive))
            .max_concurrent_uni_streams(VarInt::from_u32(TELEMETRY_STREAMS_MAX))
            .max_concurrent_bidi_streams(VarInt::from_u32(1 + CALLS_MAX));
        Arc::new(config)
    }

    fn transport(&self) -> TransportConfig {
        let var = |bytes: u64| VarInt::from_u64(bytes).unwrap_or(VarInt::MAX);
        let idle = IdleTimeout::try_from(self.idle_timeout).unwrap_or(VarInt::MAX.into());
        let mut config = TransportConfig::default();
        config
            .max_idle_timeout(Some(idle))
            .stream_receive_window(var(self.stream_window_bytes))
            .receive_window(var(self.receive_window_bytes))
            .send_window(self.send_window_bytes)
            .datagram_receive_buffer_size(None)
            .enable_segmentation_offload(self.segmentation_offload);
        config
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_profile_obeys_the_window_rule() {
        for profile in [Profile::edge(), Profile::region(), Profile::near()] {
            assert_eq!(profile.check(), Ok(()));
        }
    }

    #[test]
    fn a_profile_whose_bulk_fills_a_window_is_refused_with_the_numbers() {
        let profile = Profile { send_window_bytes: 1024 * 1024, ..Profile::edge() };
        let error = profile.check().unwrap_err().to_string();
        assert!(error.contains("21 bulk streams") && error.contains("1048576"), "{error}");
    }

    #[test]
    fn a_link_that_would_sleep_between_keep_alives_is_refused() {
        let profile = Profile { keep_alive: Duration::from_secs(20), ..Profile::edge() };
        assert!(matches!(profile.check(), Err(ProfileError::KeepAlive { .. })));
    }
}
