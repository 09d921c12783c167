//! What an agent makes of a list of endpoints (see [`protocol::endpoints`]): where it dials from now on, and where it
//! still may when nothing of that answers.
//!
//! # Why the endpoints of before are kept
//! Somebody may have named endpoints that this agent cannot reach, and then there is nobody to tell it better. What its
//! grants and placements named, and what the lists of before did, stays the last of what it tries.

use protocol::endpoints::{Endpoint, EndpointList, Known, Listener, SignedEndpoints, mark};
use protocol::id::{AgentId, Generation};
use protocol::placement::{ENDPOINTS_MAX, Site};

use crate::agent::AgentIdentity;
use crate::placement::Placed;
use crate::plan::{PlanError, PlanVerifier};

/// The list that an agent took last, of whom it dials.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Which one it was.
    pub generation: Generation,
    /// What it names.
    pub endpoints: Vec<Endpoint>,
    /// What lists before it named, the latest first.
    pub before: Vec<String>,
}

/// Why a list of endpoints is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EndpointsError {
    /// It does not verify.
    #[error("the list of endpoints is not the hub's: {0}")]
    Signature(#[source] PlanError),
    /// It is of somebody else.
    #[error("the list of endpoints is of {list}, expected is that of {expected}")]
    OtherListener {
        /// Whose it is.
        list: Listener,
        /// Whose this agent dials.
        expected: Listener,
    },
    /// A newer one was taken already.
    #[error("the list of endpoints has generation {generation}, and {taken} was taken already")]
    Older {
        /// Which one it is.
        generation: Generation,
        /// Which one was taken.
        taken: Generation,
    },
    /// It names too much, nothing, or what is no address.
    #[error("the list of endpoints is malformed: {0}")]
    Malformed(String),
}

/// The list, if the hub signed it for that listener and it is of a form that is accepted.
///
/// # Errors
/// [`EndpointsError`].
pub fn read_endpoints(
    trust: &PlanVerifier,
    expected: &Listener,
    signed: &SignedEndpoints,
) -> Result<EndpointList, EndpointsError> {
    let list = trust.verify_endpoints(signed).map_err(EndpointsError::Signature)?;
    if list.of != *expected {
        return Err(EndpointsError::OtherListener { list: list.of, expected: expected.clone() });
    }
    match list.flaw() {
        None => Ok(list),
        Some(flaw) => Err(EndpointsError::Malformed(flaw)),
    }
}

impl Listed {
    /// Which list it is.
    pub fn known(&self) -> Known {
        Known { generation: self.generation, mark: mark(&self.endpoints) }
    }
}

impl AgentIdentity {
    /// Whom it dials.
    pub fn listener(&self) -> Listener {
        match &self.agent {
            AgentId::Region(_) => Listener::Hub,
            AgentId::Edge(_) => Listener::Region(self.region.clone()),
        }
    }

    /// The identity as a list has it; nothing when that was taken already, or is of a region that stands in.
    ///
    /// # Errors
    /// [`EndpointsError`].
    pub fn listed_by(&self, signed: &SignedEndpoints) -> Result<Option<Self>, EndpointsError> {
        let list = match read_endpoints(&PlanVerifier::new(&self.trust), &self.listener(), signed) {
            Err(EndpointsError::OtherListener { list: Listener::Region(region), .. })
                if self.placed.elsewhere.iter().any(|site: &Site| site.region == region) =>
            {
                return Ok(None);
            }
            read => read?,
        };
        let EndpointList { generation, endpoints, .. } = list;
        if let Some(taken) = self.placed.listed.as_ref().map(|listed| listed.generation)
            && generation <= taken
        {
            return if generation == taken {
                Ok(None)
            } else {
                Err(EndpointsError::Older { generation, taken })
            };
        }
        let (lists, before) = match &self.placed.listed {
            Some(Listed { endpoints, before, .. }) => (&endpoints[..], &before[..]),
            None => (&[][..], &[][..]),
        };
        let mut kept: Vec<String> = Vec::new();
        for address in lists.iter().map(|endpoint| &endpoint.address).chain(before) {
            let is_named = endpoints.iter().any(|endpoint| endpoint.address == *address);
            if !is_named && !kept.contains(address) && kept.len() < ENDPOINTS_MAX {
                kept.push(address.clone());
            }
        }
        let listed = Some(Listed { generation, endpoints, before: kept });
        Ok(Some(Self { placed: Placed { listed, ..self.placed.clone() }, ..self.clone() }))
    }

    /// What the list names; what grants and placements named where there is none, in the order of theirs.
    pub fn preferred(&self) -> Vec<Endpoint> {
        match &self.placed.listed {
            Some(listed) => listed.endpoints.clone(),
            None => (0..)
                .zip(&self.endpoints)
                .map(|(priority, address)| Endpoint { priority, address: address.clone() })
                .collect(),
        }
    }

    /// What may be dialled too when nothing that is preferred answers.
    pub fn fallbacks(&self) -> Vec<String> {
        let Some(listed) = &self.placed.listed else { return Vec::new() };
        let mut fallbacks: Vec<String> = Vec::new();
        for address in self.endpoints.iter().chain(&listed.before) {
            if listed.endpoints.iter().all(|named| named.address != *address) && !fallbacks.contains(address)
            {
                fallbacks.push(address.clone());
            }
        }
        fallbacks
    }
}
