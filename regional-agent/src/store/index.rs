//! Series in memory, found by their labels.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use telemetry::promql::{Error, Selection, Sink, Source};
use telemetry::selector::{MatchKind, Matcher, matches_all};
use telemetry::{Batch, Labels, Millis};

use super::series::{Cut, Stored};

/// Series and what finds them.
#[derive(Debug, Default)]
struct Inner {
    ids: HashMap<Labels, u32>,
    slots: Vec<Option<Stored>>,
    free: Vec<u32>,
    /// Label name, value, series.
    postings: BTreeMap<String, BTreeMap<String, BTreeSet<u32>>>,
}

/// The index; readers hold its lock for one series at a time.
#[derive(Debug)]
pub(super) struct Index {
    inner: RwLock<Inner>,
    series_max: usize,
}

/// How many series there are, and their bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Size {
    pub(super) series: usize,
    pub(super) bytes: usize,
}

impl Index {
    pub(super) fn new(series_max: usize) -> Self {
        Self { inner: RwLock::default(), series_max }
    }

    fn read(&self) -> RwLockReadGuard<'_, Inner> {
        self.inner.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Inner> {
        self.inner.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a batch whose series carry `external` labels; how many samples found no room.
    pub(super) fn add(&self, batch: Batch, external: &Labels, is_cost: bool) -> u64 {
        let mut refused = 0;
        let mut inner = self.write();
        for series in batch.series {
            let labels = labelled(&series.labels, external);
            match inner.id(&labels, is_cost, self.series_max) {
                Some(id) => {
                    if let Some(stored) = inner.slots.get_mut(id as usize).and_then(Option::as_mut) {
                        series.samples.into_iter().for_each(|sample| stored.add(sample));
                    }
                }
                None => refused += series.samples.len() as u64,
            }
        }
        refused
    }

    /// Forgets samples that are not after a time: of cost, and of everything else.
    pub(super) fn forget(&self, cost_through: Millis, through: Millis) {
        let mut inner = self.write();
        for id in 0..inner.slots.len() {
            let left = inner.slots[id]
                .as_mut()
                .is_none_or(|stored| stored.forget(if stored.is_cost { cost_through } else { through }));
            if !left {
                inner.remove(id as u32);
            }
        }
    }

    pub(super) fn size(&self) -> Size {
        let inner = self.read();
        let stored = || inner.slots.iter().flatten();
        Size { series: inner.ids.len(), bytes: stored().map(Stored::size).sum() }
    }

    /// Series that meet the conditions and have samples in that time.
    pub(super) fn series(&self, matchers: &[Matcher], after: Millis, through: Millis) -> Vec<Labels> {
        let inner = self.read();
        let found =
            inner.candidates(matchers).into_iter().filter_map(|id| inner.slots.get(id as usize)?.as_ref());
        found
            .filter(|stored| matches_all(matchers, &stored.labels) && stored.overlaps(after, through))
            .map(|stored| stored.labels.clone())
            .collect()
    }

    fn cut(&self, id: u32, selection: &Selection<'_>) -> Option<Cut> {
        let inner = self.read();
        let stored = inner.slots.get(id as usize)?.as_ref()?;
        let wanted = matches_all(selection.matchers, &stored.labels)
            && stored.overlaps(selection.after, selection.through);
        wanted.then(|| stored.cut(selection.after, selection.through))
    }
}

impl Source for Index {
    fn select(&self, selection: &Selection<'_>, sink: &mut Sink<'_>) -> Result<(), Error> {
        let candidates = self.read().candidates(selection.matchers);
        for id in candidates {
            if let Some(cut) = self.cut(id, selection) {
                let samples = cut.samples(selection.after, selection.through);
                if !samples.is_empty() {
                    sink(&cut.labels, &samples)?;
                }
            }
        }
        Ok(())
    }
}

impl Inner {
    fn id(&mut self, labels: &Labels, is_cost: bool, series_max: usize) -> Option<u32> {
        if let Some(id) = self.ids.get(labels) {
            return Some(*id);
        }
        if self.ids.len() >= series_max {
            return None;
        }
        let id = match self.free.pop() {
            Some(id) => id,
            None => {
                self.slots.push(None);
                u32::try_from(self.slots.len() - 1).ok()?
            }
        };
        for (name, value) in labels.iter() {
            if !self.postings.contains_key(name) {
                self.postings.insert(name.to_owned(), BTreeMap::new());
            }
            if let Some(values) = self.postings.get_mut(name) {
                match values.get_mut(value) {
                    Some(ids) => drop(ids.insert(id)),
                    None => drop(values.insert(value.to_owned(), BTreeSet::from([id]))),
                }
            }
        }
        self.slots[id as usize] = Some(Stored::new(labels.clone(), is_cost));
        self.ids.insert(labels.clone(), id);
        Some(id)
    }

    fn remove(&mut self, id: u32) {
        let Some(stored) = self.slots.get_mut(id as usize).and_then(Option::take) else { return };
        for (name, value) in stored.labels.iter() {
            if let Some(values) = self.postings.get_mut(name) {
                if let Some(ids) = values.get_mut(value) {
                    ids.remove(&id);
                    if ids.is_empty() {
                        values.remove(value);
                    }
                }
                if values.is_empty() {
                    self.postings.remove(name);
                }
            }
        }
        self.ids.remove(&stored.labels);
        self.free.push(id);
    }

    /// Series among which those that meet the conditions are: by the condition that leaves the fewest.
    fn candidates(&self, matchers: &[Matcher]) -> Vec<u32> {
        let narrow = matchers
            .iter()
            .filter(|matcher| !matcher.matches_empty())
            .map(|matcher| self.having(matcher))
            .min_by_key(|sets| sets.iter().map(|ids| ids.len()).sum::<usize>());
        match narrow {
            Some(sets) => {
                let mut ids: Vec<u32> = sets.into_iter().flatten().copied().collect();
                ids.sort_unstable();
                ids
            }
            None => {
                self.slots.iter().zip(0u32..).filter(|(slot, _)| slot.is_some()).map(|(_, id)| id).collect()
            }
        }
    }

    /// The series of each value that meets a condition.
    fn having(&self, matcher: &Matcher) -> Vec<&BTreeSet<u32>> {
        let Some(values) = self.postings.get(matcher.name()) else { return Vec::new() };
        match matcher.kind() {
            MatchKind::Equal => values.get(matcher.value()).into_iter().collect(),
            MatchKind::NotEqual | MatchKind::Regex | MatchKind::NotRegex => {
                values.iter().filter(|(value, _)| matcher.matches(value)).map(|(_, ids)| ids).collect()
            }
        }
    }
}

/// A series with the external labels; what it brought under their names becomes `exported_<name>`.
fn labelled(labels: &Labels, external: &Labels) -> Labels {
    let exported: Vec<(String, &str)> = external
        .iter()
        .map(|(name, value)| (name, value, labels.get(name)))
        .filter(|(_, value, own)| !own.is_empty() && own != value)
        .map(|(name, _, own)| (format!("exported_{name}"), own))
        .collect();
    let exported = exported.iter().map(|(name, own)| (name.as_str(), *own));
    labels.with_all(exported.chain(external.iter()))
}
