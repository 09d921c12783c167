//! What comes down the uplink, and to whom it goes: the region's own plan, its edges, its store.

use std::sync::Arc;

use link::{Responder, UplinkEvent, UplinkHandle};
use process::Process;
use protocol::codec::encode;
use protocol::enrolment::RefusalReason;
use protocol::message::{Control, PlanOffer, Request, Response};
use state::EngineHandle;
use tokio::sync::mpsc;

use crate::edges::Edges;
use crate::intake;
use crate::own_plan::OwnPlan;
use crate::store::Store;

/// Routes what the hub sends.
pub struct HubLink {
    /// The hub.
    pub uplink: UplinkHandle,
    /// The region's own plan.
    pub own: OwnPlan,
    /// The region's edges.
    pub edges: Edges,
    /// Carries out the region's own plan.
    pub engine: EngineHandle,
    /// Answers queries.
    pub telemetry: Arc<dyn Store>,
    /// Owner of tasks.
    pub process: Process,
}

impl HubLink {
    /// Runs until the uplink ends.
    pub async fn run(self, mut events: mpsc::Receiver<UplinkEvent>) {
        while let Some(event) = events.recv().await {
            match event {
                UplinkEvent::Up(welcome) => {
                    tracing::info!(peer = welcome.software, "the hub is here");
                    self.own.hub_up();
                    self.edges.hub_up();
                }
                UplinkEvent::Down(reason) => {
                    tracing::info!(%reason, "the hub is away; edges are served from the shelf");
                    self.edges.hub_down();
                }
                UplinkEvent::Control(control) => self.control(control).await,
                UplinkEvent::Blob(part, None) => self.own.blob(part).await,
                UplinkEvent::Blob(part, Some(edge)) => self.edges.blob(edge, part),
                UplinkEvent::Request(request, responder) => self.request(request, responder),
            }
        }
    }

    async fn control(&self, control: Control) {
        match control {
            Control::Plan(PlanOffer { edge: None, plan, blobs }) => self.own.offer(plan, blobs).await,
            Control::Plan(offer @ PlanOffer { edge: Some(edge), .. }) => self.edges.offer(edge, offer),
            Control::Blobs { edge: None, blobs } => self.own.blobs(blobs).await,
            Control::Blobs { edge: Some(edge), blobs } => self.edges.blobs(edge, blobs),
            Control::EdgeRemoved { edge, refusal } => {
                self.edges.removed(edge, refusal);
                self.process.tasks.spawn(intake::forget(self.telemetry.clone(), edge));
            }
            Control::EdgeTable(part) => self.edges.table(part).await,
            Control::Placement { edge, placement } => self.edges.placed(edge, placement),
            Control::Endpoints { edges: true, list } => self.edges.listed(list),
            Control::Trust(bundle) => {
                tracing::warn!(sequence = bundle.sequence, "a trust bundle that nobody signed is not taken");
            }
            Control::Ping { nonce, reply: false } => {
                // If the link is down, there is nobody to answer.
                let _ = self.uplink.send(Control::Ping { nonce, reply: true }).await;
            }
            // The lane is ordered and everything is told again after each connection: nothing waits for these.
            Control::ReportAck { .. } | Control::TelemetryAcks(_) | Control::Ping { reply: true, .. } => {}
            // The link itself takes these; edges are told by whoever follows the identity.
            Control::TrustChain(_) | Control::Endpoints { edges: false, .. } => {}
            Control::Goodbye(refusal) => tracing::info!(message = refusal.message, "the hub says goodbye"),
            Control::PlanStored { .. }
            | Control::PlanRefused { .. }
            | Control::BlobsWanted { .. }
            | Control::Report { .. }
            | Control::EdgeLinks { .. }
            | Control::EdgeRenewed(_)
            | Control::TrustKept(_) => {
                tracing::warn!("a message that only travels up came down; ignored")
            }
        }
    }

    fn request(&self, request: Request, responder: Responder) {
        let what = match request {
            Request::Query(query) => {
                let (telemetry, links) = (Arc::clone(&self.telemetry), intake::links(&self.edges));
                self.process.tasks.spawn(async move {
                    match telemetry.answer(query, links).await {
                        Ok(answer) => responder.respond(Response::Answer(answer)),
                        Err(error) => responder.refuse(RefusalReason::Unavailable, error.to_string()),
                    }
                });
                return;
            }
            Request::Inquire { edge: Some(edge), inquiry } => {
                return self.edges.inquire(edge, inquiry, responder);
            }
            Request::Inquire { edge: None, inquiry } => {
                let engine = self.engine.clone();
                self.process.tasks.spawn(async move {
                    match engine.inquire(&inquiry).await {
                        Ok(findings) => responder.respond(Response::Answer(encode(&findings))),
                        Err(error) => responder.refuse(RefusalReason::Unavailable, error),
                    }
                });
                return;
            }
            Request::Join(_) => "join",
            Request::Challenge(_) | Request::Recover(_) => "return",
            Request::Renew(_) => "renew",
            Request::ClusterToken { .. } => "clusterToken",
        };
        responder.refuse(RefusalReason::Forbidden, format!("a region does not answer \"{what}\""));
    }
}
