//! A unit with its content, as its recipient gets it, and what it takes to seal it for another one.
//!
//! # Why the plain content stays beside the sealed one
//! A device that enrols anew has another key, and nothing that was sealed before is of use to it. While the source of a
//! service fails there is nothing to render anew either: then the last good content is sealed again. The plain content is
//! in memory only, and shared with what the renderer remembers wherever nothing is confidential.

use std::sync::Arc;

use protocol::UnixMillis;
use protocol::plan::Unit;

use super::origin::Origin;
use super::resolve::Renderer;
use crate::authority::SEALING_KEY;
use crate::planner::bundle::Bundle;
use crate::planner::sealing::Recipient;
use crate::planner::unit::{Frame, resealed, unit};

/// A unit with its content.
#[derive(Debug, Clone)]
pub struct Built {
    /// The unit.
    pub unit: Arc<Unit>,
    /// Its content, as its recipient gets it.
    pub bundle: Arc<Bundle>,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// When this content was first decided on, in milliseconds since 1970; the caller says it.
    pub since: UnixMillis,
    plain: Arc<Bundle>,
    everything: bool,
    key: Option<String>,
}

/// Content as its recipient gets it.
pub struct Sealed {
    bundle: Arc<Bundle>,
    plain: Arc<Bundle>,
    everything: bool,
    key: Option<String>,
}

impl Sealed {
    /// Seals content: what is confidential, or everything. Without an agent there is no plan, and nothing to seal.
    ///
    /// # Errors
    /// Why the recipient cannot get it, and what helps.
    pub fn make(
        plain: Arc<Bundle>,
        everything: bool,
        recipient: Option<&Recipient>,
        renderer: &dyn Renderer,
    ) -> Result<Self, String> {
        let bundle = match recipient {
            Some(recipient) => renderer.seal(&plain, recipient, everything)?,
            None => plain.clone(),
        };
        Ok(Self { bundle, plain, everything, key: recipient.and_then(told) })
    }
}

fn told(recipient: &Recipient) -> Option<String> {
    recipient.annotations.get(SEALING_KEY).cloned()
}

impl Built {
    /// The unit of a frame with its content.
    pub fn new(frame: Frame, content: Sealed, origin: Origin) -> Self {
        let Sealed { bundle, plain, everything, key } = content;
        let unit = Arc::new(unit(frame, &bundle));
        Self { unit, bundle, origin: Arc::new(origin), since: 0, plain, everything, key }
    }

    /// The content as it was rendered.
    pub fn plain(&self) -> &Bundle {
        &self.plain
    }

    /// Whether nothing of the content may be told.
    pub fn is_secret(&self) -> bool {
        self.everything
    }

    /// The same for whoever its recipient is now: sealed anew when that one told another key.
    ///
    /// # Errors
    /// Why the recipient cannot get it, and what helps.
    pub fn for_recipient(
        self,
        recipient: Option<&Recipient>,
        renderer: &dyn Renderer,
    ) -> Result<Self, String> {
        let Some(recipient) = recipient.filter(|recipient| told(recipient) != self.key) else {
            return Ok(self);
        };
        let Sealed { bundle, plain, everything, key } =
            Sealed::make(self.plain, self.everything, Some(recipient), renderer)?;
        let unit = Arc::new(resealed(&self.unit, &bundle));
        Ok(Self { unit, bundle, plain, everything, key, origin: self.origin, since: self.since })
    }
}
