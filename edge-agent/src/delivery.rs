//! The spool's content up, acknowledgements down.
//!
//! Items are sent in the order of their class, highest class first, as far ahead of the acknowledgements as the
//! link's lane takes; after each connection sending begins behind what is acknowledged. An item leaves the spool
//! only when the region has it durably.

use std::collections::BTreeMap;

use link::{LinkState, UplinkHandle};
use process::Process;
use protocol::telemetry::{StreamEpoch, TelemetryAck, TelemetryClass};
use spool::Spool;
use tokio::sync::{mpsc, watch};

/// Bytes read from the spool at a time.
const READ_BYTES: usize = 256 * 1024;
/// Items of a class under way without acknowledgement.
const AHEAD_MAX: u64 = 256;

/// Sends until the process ends. `acknowledged` brings what the region has durably.
pub fn start(
    spool: Spool,
    uplink: UplinkHandle,
    acknowledged: mpsc::UnboundedReceiver<Vec<TelemetryAck>>,
    process: &Process,
) {
    let cancel = process.cancel.clone();
    let delivery = Delivery { spool, uplink, sent: BTreeMap::new() };
    process.tasks.spawn(async move {
        tokio::select! {
            () = cancel.cancelled() => {}
            () = delivery.run(acknowledged) => {}
        }
    });
}

struct Delivery {
    spool: Spool,
    uplink: UplinkHandle,
    /// Per class: the epoch, the highest number acknowledged, the highest number sent on this link.
    sent: BTreeMap<TelemetryClass, Sent>,
}

#[derive(Clone, Copy)]
struct Sent {
    epoch: StreamEpoch,
    acknowledged: u64,
    through: u64,
}

impl Delivery {
    async fn run(mut self, mut acknowledged: mpsc::UnboundedReceiver<Vec<TelemetryAck>>) {
        let mut changed = self.spool.changed();
        let mut link = self.uplink.watch();
        loop {
            if self.uplink.state().up {
                self.send_all(&link).await;
            }
            tokio::select! {
                acks = acknowledged.recv() => match acks {
                    Some(acks) => self.acknowledge(acks).await,
                    None => return,
                },
                alive = changed.changed() => if alive.is_err() { return },
                alive = link.changed() => {
                    if alive.is_err() {
                        return;
                    }
                    // What was under way on the link before is sent again; the region knows what it has.
                    self.sent.clear();
                }
            }
        }
    }

    async fn acknowledge(&mut self, acks: Vec<TelemetryAck>) {
        for ack in acks {
            if let Some(sent) = self.sent.get_mut(&ack.class)
                && sent.epoch == ack.epoch
            {
                sent.acknowledged = sent.acknowledged.max(ack.through);
                sent.through = sent.through.max(ack.through);
            }
            self.spool.acknowledge(ack).await;
        }
    }

    /// Sends what may be under way, highest class first.
    ///
    /// Ends as soon as the link is another one: its stream begins where the acknowledgements stand, not in between.
    async fn send_all(&mut self, link: &watch::Receiver<LinkState>) {
        for head in self.spool.streams() {
            let oldest = head.first.saturating_sub(1);
            let sent = self.sent.get(&head.class).filter(|sent| sent.epoch == head.epoch).copied();
            let mut sent = sent.unwrap_or(Sent { epoch: head.epoch, acknowledged: oldest, through: oldest });
            sent.acknowledged = sent.acknowledged.max(oldest);
            sent.through = sent.through.max(oldest);
            while sent.through + 1 < head.next && sent.through - sent.acknowledged < AHEAD_MAX {
                let items = self.spool.peek(head.class, sent.through, READ_BYTES).await;
                if items.is_empty() {
                    break;
                }
                for item in items {
                    if link.has_changed().unwrap_or(true) {
                        return;
                    }
                    let sequence = item.sequence;
                    if let Err(error) = self.uplink.send_telemetry(item).await {
                        tracing::debug!(%error, "telemetry waits for the link");
                        return;
                    }
                    sent.through = sequence;
                }
                self.sent.insert(head.class, sent);
            }
            self.sent.insert(head.class, sent);
        }
    }
}
