//! A unit with its content, as its recipient gets it, and what it takes to seal it for another one.
//!
//! # Why the plain content stays beside the sealed one
//! A device that enrols anew has another key, and nothing that was sealed before is of use to it. While the source of a
//! service fails there is nothing to render anew either: then the last good content is sealed again. The plain content is
//! in memory only, and shared with what the renderer remembers wherever nothing is confidential.
//!
//! # Why the unit is encoded
//! Between changes nobody looks at it, and a unit of four objects has thirty texts: encoded they are one.

use std::sync::Arc;

use bytes::Bytes;
use protocol::UnixMillis;
use protocol::id::Digest;
use protocol::plan::{Unit, UnitId};
use protocol::version::{Features, needed};

use super::origin::Origin;
use super::resolve::Renderer;
use crate::authority::SEALING_KEY;
use crate::planner::bundle::Bundle;
use crate::planner::parcel::{Blob, Parcel};
use crate::planner::sealing::Recipient;
use crate::planner::unit::{Frame, resealed, unit};
use crate::planner::weight;

/// A unit with its content.
#[derive(Debug, Clone)]
pub struct Built {
    /// The unit's hash.
    pub hash: Digest,
    /// Its version.
    pub version: Arc<str>,
    /// Units that must be deployed before it.
    pub depends_on: Vec<UnitId>,
    /// Bytes that it takes in the body of a plan, about.
    pub weight: usize,
    /// Where it came from.
    pub origin: Arc<Origin>,
    /// What an agent must have to be sent it.
    pub needs: Features,
    /// When this content was first decided on, in milliseconds since 1970; the caller says it.
    pub since: UnixMillis,
    encoded: Bytes,
    content: Arc<Parcel>,
    plain: Arc<Parcel>,
    everything: bool,
    key: Option<Digest>,
}

/// Content as its recipient gets it.
pub struct Sealed {
    bundle: Arc<Bundle>,
    plain: Arc<Parcel>,
    everything: bool,
    key: Option<Digest>,
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
        Ok(Self { bundle, plain: plain.parcel(), everything, key: recipient.and_then(told) })
    }
}

fn encode(unit: &Unit) -> Bytes {
    postcard::to_stdvec(unit).expect("a unit has nothing that cannot be encoded").into()
}

/// The key that a recipient told, as a digest.
fn told(recipient: &Recipient) -> Option<Digest> {
    recipient.annotations.get(SEALING_KEY).map(|key| Digest::of(key.as_bytes()))
}

impl Built {
    /// The unit of a frame with its content.
    pub fn new(frame: Frame, content: Sealed, origin: Origin) -> Self {
        let unit = unit(frame, &content.bundle);
        Self::of(&unit, content, Arc::new(origin), 0)
    }

    fn of(unit: &Unit, content: Sealed, origin: Arc<Origin>, since: UnixMillis) -> Self {
        let Sealed { bundle, plain, everything, key } = content;
        Self {
            hash: unit.hash,
            version: unit.version.as_str().into(),
            depends_on: unit.depends_on.clone(),
            weight: weight(unit),
            needs: needed(unit),
            encoded: encode(unit),
            content: bundle.parcel(),
            origin,
            since,
            plain,
            everything,
            key,
        }
    }

    /// The unit.
    pub fn unit(&self) -> Unit {
        postcard::from_bytes(&self.encoded).expect("what was encoded here can be decoded")
    }

    /// The unit's bytes: equal for equal units.
    pub fn encoded(&self) -> &Bytes {
        &self.encoded
    }

    /// Every digest of the unit, with where its content is.
    pub fn blobs(&self) -> Vec<(Digest, Blob)> {
        let unit = self.unit();
        let hooks = unit.hooks.iter().map(|hook| &hook.object);
        let digests = unit.objects.iter().chain(hooks).map(|entry| entry.digest);
        digests.map(|digest| (digest, Blob::Packed(self.content.clone()))).collect()
    }

    /// Its content, as its recipient gets it.
    pub fn content(&self) -> &Arc<Parcel> {
        &self.content
    }

    /// Waits for these of its dependencies only.
    pub fn keep_dependencies(&mut self, keep: impl Fn(&UnitId) -> bool) {
        let mut unit = self.unit();
        unit.depends_on.retain(keep);
        self.depends_on.clone_from(&unit.depends_on);
        self.encoded = encode(&unit);
    }

    /// Waits for another unit as well.
    pub fn come_after(&mut self, other: &UnitId) {
        if self.depends_on.contains(other) {
            return;
        }
        let mut unit = self.unit();
        unit.depends_on.push(other.clone());
        unit.depends_on.sort();
        self.depends_on.clone_from(&unit.depends_on);
        self.encoded = encode(&unit);
    }

    /// The content as it was rendered.
    pub fn plain(&self) -> Bundle {
        self.plain.unpack()
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
        let plain = Arc::new(self.plain.unpack());
        let sealed = Sealed::make(plain, self.everything, Some(recipient), renderer)?;
        let unit = resealed(&self.unit(), &sealed.bundle);
        Ok(Self::of(&unit, sealed, self.origin, self.since))
    }
}
