//! Answers to questions about the cluster; see [`protocol::inquiry`].

use protocol::codec;
use protocol::inquiry::{Aspect, FINDINGS_BYTES_MAX, Findings, Inquiry, UnitFindings, is_named};
use protocol::plan::UnitId;

use crate::handle::EngineHandle;

/// Room for what an answer says beside its units.
const HEAD_BYTES: usize = 256;

impl EngineHandle {
    /// Answers from the API server and the state file; both are only read.
    ///
    /// # Errors
    /// That the state file cannot be read, for a person.
    pub async fn inquire(&self, inquiry: &Inquiry) -> Result<Findings, String> {
        let named =
            |id: &UnitId| inquiry.service.is_empty() || is_named(&id.namespace, &id.name, &inquiry.service);
        let units = match inquiry.aspect {
            Aspect::Differences => self.compared(named).await?,
            Aspect::History => self.remembered(named).await?,
        };
        let mut findings = Findings {
            at: self.context().clock.now(),
            plan: self.head().map(|head| head.generation),
            units,
            left_out: 0,
        };
        fit(&mut findings);
        Ok(findings)
    }

    async fn compared(&self, named: impl Fn(&UnitId) -> bool) -> Result<Vec<UnitFindings>, String> {
        let plan = self.context().store.plan().await.map_err(|error| error.to_string())?;
        let mut units = Vec::new();
        for unit in plan.iter().flat_map(|plan| &plan.body.units).filter(|unit| named(&unit.id)) {
            units.push(self.context().compare(unit).await);
        }
        Ok(units)
    }

    async fn remembered(&self, named: impl Fn(&UnitId) -> bool) -> Result<Vec<UnitFindings>, String> {
        let rows = self.context().store.history().await.map_err(|error| error.to_string())?;
        let mut units: Vec<UnitFindings> = Vec::new();
        for (text, revision) in rows {
            let Some(id) = id_of(&text).filter(&named) else { continue };
            match units.last_mut().filter(|last| last.id == id) {
                Some(last) => last.revisions.push(revision),
                None => units.push(UnitFindings {
                    id,
                    version: String::new(),
                    same: 0,
                    objects: Vec::new(),
                    revisions: vec![revision],
                }),
            }
        }
        Ok(units)
    }
}

/// The unit of this text, as [`UnitId`] writes it: `SET-NAMESPACE/SET-NAME:NAMESPACE/NAME`.
fn id_of(text: &str) -> Option<UnitId> {
    let (set, release) = text.split_once(':')?;
    let (set_namespace, set_name) = set.split_once('/')?;
    let (namespace, name) = release.split_once('/')?;
    let owned = str::to_owned;
    Some(UnitId {
        set_namespace: owned(set_namespace),
        set_name: owned(set_name),
        namespace: owned(namespace),
        name: owned(name),
    })
}

/// Takes away from the end what does not fit, and counts it.
fn fit(findings: &mut Findings) {
    let mut room = FINDINGS_BYTES_MAX - HEAD_BYTES;
    let mut left_out = 0;
    let size = |bytes: Result<Vec<u8>, postcard::Error>| bytes.map_or(usize::MAX, |bytes| bytes.len());
    for unit in &mut findings.units {
        room = room.saturating_sub(HEAD_BYTES + unit.id.to_string().len() + unit.version.len());
        let mut keep = |bytes: usize| {
            let fits = bytes <= room;
            room = room.saturating_sub(bytes);
            left_out += u32::from(!fits);
            fits
        };
        unit.objects.retain(|object| keep(size(postcard::to_stdvec(object))));
        unit.revisions.retain(|revision| keep(size(postcard::to_stdvec(revision))));
    }
    findings.left_out += left_out;
    // Thousands of services without anything to tell of do not fit either.
    while codec::encode(findings).len() > FINDINGS_BYTES_MAX && findings.units.pop().is_some() {
        findings.left_out += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use protocol::inquiry::{Finding, Line, ObjectFindings};
    use protocol::plan::ObjectKey;

    #[test]
    fn what_does_not_fit_is_counted() {
        let id = UnitId {
            set_namespace: "a".into(),
            set_name: "b".into(),
            namespace: "c".into(),
            name: "d".into(),
        };
        assert_eq!(id_of(&id.to_string()), Some(id.clone()));
        let key = ObjectKey {
            group: String::new(),
            version: "v1".into(),
            kind: "ConfigMap".into(),
            namespace: String::new(),
            name: "x".into(),
        };
        let line = Line { path: ".data".into(), live: Some("x".repeat(1000)), desired: None };
        let object = ObjectFindings { key, finding: Finding::Differs, lines: vec![line; 10] };
        let unit = UnitFindings {
            id,
            version: "1".into(),
            same: 0,
            objects: vec![object; 200],
            revisions: Vec::new(),
        };
        let mut findings = Findings { units: vec![unit], ..Findings::default() };
        fit(&mut findings);
        assert!(codec::encode(&findings).len() <= FINDINGS_BYTES_MAX);
        assert_eq!(findings.units[0].objects.len() + findings.left_out as usize, 200);
        assert!(findings.left_out > 0 && findings.left_out < 150);
    }
}
