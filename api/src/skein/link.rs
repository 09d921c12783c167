//! What the hub knows about an agent: its link and its plan. Shared by [`super::Edge`] and k0rdent's Region.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// State of an agent's link. Down is not failed: the agent keeps working on its stored plan.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum LinkState {
    /// The agent is connected.
    Up,
    /// The agent was connected and is not now.
    Down,
    /// Nothing is known: the agent was never connected, or its region is away.
    #[default]
    Unknown,
}

/// The generations of an agent's plan, each written as term.counter. They are equal when the agent is up to date.
#[derive(Serialize, Deserialize, JsonSchema, Clone, Debug, Default, PartialEq, Eq)]
#[serde(rename_all = "camelCase")]
pub struct Generation {
    /// The generation of the plan the agent has applied.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub applied: Option<String>,
    /// The generation of the newest plan for the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desired: Option<String>,
}
