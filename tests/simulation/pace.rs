//! Virtual time must not run away from the threads that it does not know of.

use std::time::Duration;

use link::network::simulated::SimulatedNetwork;

/// Longest step of virtual time.
const STEP: Duration = Duration::from_millis(20);
/// Real time that threads have for a step.
const PAUSE: Duration = Duration::from_micros(50);
/// Steps with a pause after one in which something was said: whoever heard it may still write.
const STEPS_AFTER: u32 = 10;
/// More bytes than this in a step are more than signs of life.
const QUIET_BYTES: u64 = 400;

/// Gives the regions' threads time for what they write, whenever there was something to write down.
pub(crate) async fn keep(network: &SimulatedNetwork) {
    let (mut before, mut left) = (0, 0);
    loop {
        tokio::time::sleep(STEP).await;
        let bytes = network.statistics().bytes;
        if bytes - before > QUIET_BYTES {
            left = STEPS_AFTER;
        }
        before = bytes;
        if left > 0 {
            left -= 1;
            std::thread::sleep(PAUSE);
        }
    }
}
