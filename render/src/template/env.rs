//! What functions may reach besides their arguments: entropy, the clock and the cluster as the caller provides them,
//! and the budget of the render. Whatever is used is remembered, because it decides whether a render is reproducible.

use std::collections::{BTreeSet, HashMap};
use std::rc::Rc;

use super::fault::Fault;
use crate::limits::Limits;
use crate::{Entropy, Lookup};

/// The surroundings of one render.
pub(crate) struct Env<'h> {
    pub entropy: &'h mut dyn Entropy,
    pub lookup: &'h dyn Lookup,
    pub limits: &'h Limits,
    pub used_entropy: bool,
    pub used_clock: bool,
    pub used_lookup: bool,
    /// Whether a key that is not in a map is an error instead of nothing.
    pub strict_keys: bool,
    /// The objects that `getField` and `getResource` see.
    pub resources: Option<super::value::Dict>,
    /// Which of them, and of the rest of the top level, a template asked for by name.
    pub touched: BTreeSet<String>,
    /// Compiled regular expressions by their Go source.
    pub regexes: HashMap<String, Rc<regex::bytes::Regex>>,
    steps: u64,
    output: u64,
}

impl<'h> Env<'h> {
    pub(crate) fn new(entropy: &'h mut dyn Entropy, lookup: &'h dyn Lookup, limits: &'h Limits) -> Self {
        Self {
            entropy,
            lookup,
            limits,
            used_entropy: false,
            used_clock: false,
            used_lookup: false,
            strict_keys: false,
            resources: None,
            touched: BTreeSet::new(),
            regexes: HashMap::new(),
            steps: 0,
            output: 0,
        }
    }

    /// Remembers that an entry of the top level, or of the resources, was asked for.
    pub(crate) fn touch(&mut self, dict: &super::value::Dict, name: &str) {
        let Some(root) = &self.resources else { return };
        if root.same(dict) {
            if name != "MgmtResources" {
                self.touched.insert(name.to_owned());
            }
        } else if let Some(super::value::Value::Dict(resources)) = root.get("MgmtResources")
            && resources.same(dict)
        {
            self.touched.insert(format!("MgmtResources.{name}"));
        }
    }

    /// Random bytes from the caller.
    pub(crate) fn random(&mut self, count: usize) -> Vec<u8> {
        self.used_entropy = true;
        let mut bytes = self.entropy.bytes(count);
        bytes.resize(count, 0);
        bytes
    }

    /// The caller's clock.
    pub(crate) fn now(&mut self) -> super::funcs::calendar::Instant {
        self.used_clock = true;
        let nanoseconds = self.entropy.now_unix_nanoseconds();
        let seconds = i64::try_from(nanoseconds.div_euclid(1_000_000_000)).unwrap_or(0);
        let rest = u32::try_from(nanoseconds.rem_euclid(1_000_000_000)).unwrap_or(0);
        super::funcs::calendar::Instant::local(seconds, rest)
    }

    /// Counts executed nodes or visited elements.
    pub(crate) fn step(&mut self, count: u64) -> Result<(), Fault> {
        self.steps = self.steps.saturating_add(count);
        if self.steps > self.limits.steps {
            return Err(Fault::Limit { name: "steps", maximum: self.limits.steps });
        }
        Ok(())
    }

    /// Counts bytes about to be written or built.
    pub(crate) fn charge(&mut self, bytes: usize) -> Result<(), Fault> {
        self.output = self.output.saturating_add(bytes as u64);
        if self.output > self.limits.output_bytes {
            return Err(Fault::Limit { name: "output_bytes", maximum: self.limits.output_bytes });
        }
        Ok(())
    }

    /// Bytes that may still be built.
    pub(crate) fn output_left(&self) -> u64 {
        self.limits.output_bytes.saturating_sub(self.output)
    }
}
