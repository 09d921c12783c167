//! Agents of earlier versions: what each lacks, what is withheld from it, and how that is told.
//!
//! # Why a service is withheld, and not sent without what the agent lacks
//! Whoever asked for a dry run, a last moment or a field that others may change has said what must not happen. An agent
//! that does not know the extension does exactly that. So the agent keeps what it has, and the service says why. What an
//! agent merely does not do (roll back, evaluate health rules) is sent, and told by the condition `AgentCurrent`.
//!
//! # Why nobody is trusted with more than was heard
//! An edge tells its version with every report; what it told last is in its status, so a hub that restarts knows it. Of an
//! edge that has never reported nothing is known, and its report is a moment away: what needs a feature waits for it.

use api::conditions::{kind, reason, status};
use api::skein::{Edge, Hold};
use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use protocol::id::{AgentId, EdgeId};
use protocol::version::{FEATURES, Features, Lacks, MAJOR, Speaks, needed_by_settings};

use super::engine::Engine;
use super::sheet::Sheet;
use crate::observed::AgentView;
use crate::services::resolve::Problem;
use crate::services::target::{Target, TargetName};

/// What a status keeps of an agent's version: the version, and the names of the features that it lacks.
pub(super) type Told = (Option<String>, Vec<String>);

/// The version and the lacking features of an agent, as a status tells them; what was told before where nothing is known.
pub(super) fn told(agent: &AgentId, speaks: Option<Speaks>, before: Told) -> Told {
    let Some(speaks) = speaks else { return before };
    let lacks = speaks.lacking(agent, Speaks::HERE).known().map(|feature| feature.name.to_owned()).collect();
    (Some(speaks.to_string()), lacks)
}

/// What a status says that an agent speaks; nothing when it says nothing that can be read.
fn read(protocol: &str, lacks: &[String]) -> Option<Speaks> {
    let minor = protocol.strip_prefix(&format!("{MAJOR}."))?.parse().ok()?;
    let lacking =
        lacks.iter().filter_map(|name| Features::named(name)).fold(Features::default(), Features::and);
    let all = Features(FEATURES.iter().fold(0, |bits, feature| bits | 1 << feature.bit));
    Some(Speaks { minor, features: all.without(lacking) })
}

/// Says whether an agent has everything that this hub has.
pub(super) fn current(sheet: &mut Sheet, agent: &AgentId, view: Option<&AgentView>) {
    if let Some(reason) = view.and_then(|view| view.incompatible.as_ref()) {
        return sheet.set(kind::AGENT_CURRENT, status::FALSE, reason::AGENT_INCOMPATIBLE, reason.as_str());
    }
    let Some((view, speaks)) = view.and_then(|view| Some((view, view.speaks?))) else {
        // One that links again is not of another major version any more.
        let linked = view.is_some_and(|view| view.link.up);
        let refused = |condition: &Condition| condition.reason == reason::AGENT_INCOMPATIBLE;
        if !(linked && sheet.get(kind::AGENT_CURRENT).is_some_and(refused)) {
            sheet.keep(kind::AGENT_CURRENT);
        }
        return;
    };
    let (software, here) = (&view.software, Speaks::HERE);
    let lacks = Lacks::of(speaks.lacking(agent, here));
    if !lacks.0.is_empty() {
        let message = format!(
            "\"{software}\" speaks protocol {speaks}, this hub {here}; install version {} or newer. Without: {lacks}",
            env!("CARGO_PKG_VERSION")
        );
        sheet.set(kind::AGENT_CURRENT, status::FALSE, reason::AGENT_OLDER, message);
    } else if speaks.minor > here.minor {
        let message = format!(
            "\"{software}\" speaks protocol {speaks} and works as one of {here}: this hub is the older one, upgrade it first"
        );
        sheet.set(kind::AGENT_CURRENT, status::TRUE, reason::AGENT_NEWER, message);
    } else {
        sheet.set(kind::AGENT_CURRENT, status::TRUE, reason::AGENT_CURRENT, "");
    }
}

/// The hold that is in force.
fn in_force(object: &Edge, now: Timestamp) -> Option<&Hold> {
    object.spec.hold.as_ref().filter(|hold| hold.until.as_ref().is_none_or(|until| until.0 > now))
}

impl Engine {
    /// What an edge speaks, as far as anybody knows.
    fn edge_speaks(&self, edge: EdgeId) -> Option<Speaks> {
        let heard = self.observed.agent(&AgentId::Edge(edge)).and_then(|view| view.speaks);
        heard.or_else(|| {
            let listed = self.roster.edge(&edge)?;
            let object = self.cache.edges.get(&listed.namespace, &listed.name)?;
            let status = object.status.as_ref()?;
            read(status.protocol.as_deref()?, &status.lacks)
        })
    }

    /// Why a unit that needs these features is not sent to a target.
    pub(super) fn withheld(&self, target: &Target, needs: Features) -> Option<Problem> {
        let edge = target.agent.filter(|_| !needs.is_empty())?;
        let Some(speaks) = self.edge_speaks(edge) else {
            let asked = Lacks::of(needs);
            let message =
                format!("not sent before the edge's agent has told its version: it might lack {asked}");
            return Some(Problem::pending(message));
        };
        let lacking = needs.without(speaks.features);
        if lacking.is_empty() {
            return None;
        }
        let software = self.observed.agent(&AgentId::Edge(edge)).map(|view| view.software.clone());
        let software = software.filter(|software| !software.is_empty());
        let software = software.unwrap_or_else(|| "the edge's agent".to_owned());
        Some(Problem::failed(format!(
            "not sent: \"{software}\" on the edge speaks protocol {speaks} and lacks {}; install version {} or newer",
            Lacks::of(lacking),
            env!("CARGO_PKG_VERSION")
        )))
    }

    /// Why no new plan is sent to a target whose agent would not hold it: what runs there is kept that way too.
    pub(super) fn unheld(&mut self, target: &Target) -> Option<String> {
        let listed = self.roster.edge(&target.agent?)?;
        let object = self.cache.edges.get(&listed.namespace, &listed.name)?;
        let hold = in_force(&object, self.now())?;
        let problem = self.withheld(target, Features::HOLD)?;
        if let Some(until) = &hold.until {
            self.at(
                crate::cache::Key::new(crate::cache::Kind::Edge, &listed.namespace, &listed.name),
                until.0,
            );
        }
        Some(format!("the plan is held back by the hub, for spec.hold is {}", problem.message))
    }

    /// A hold that the hub kept for the agent may be over: then the target is planned again.
    pub(super) fn hold_over(&mut self, target: &TargetName, object: &Edge) {
        let held = self.targets.get(target).is_some_and(|state| state.held.is_some());
        if held && object.spec.hold.is_some() && in_force(object, self.now()).is_none() {
            self.dirty_targets.insert(target.clone());
        }
    }

    /// What the settings of a target's plan need of its agent.
    pub(super) fn needed_by_settings(&self, target: &Target) -> Features {
        needed_by_settings(self.edge_settings(target).keys())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_status_keeps_of_a_version_is_read_back() {
        let agent = AgentId::Edge(EdgeId([1; 16]));
        for minor in 0..=protocol::version::MINOR {
            let speaks = Speaks::of_minor(minor);
            let (protocol, lacks) = told(&agent, Some(speaks), (None, Vec::new()));
            let known = read(&protocol.unwrap(), &lacks).unwrap();
            assert_eq!(known.minor, minor);
            assert_eq!(known.lacking(&agent, Speaks::HERE), speaks.lacking(&agent, Speaks::HERE));
        }
        assert_eq!(read("2.0", &[]), None);
        assert_eq!(read("one", &[]), None);
        let before = (Some("1.1".to_owned()), vec!["dry-run".to_owned()]);
        assert_eq!(told(&agent, None, before.clone()), before);
    }

    #[test]
    fn the_condition_names_what_is_lost_and_what_to_install() {
        let agent = AgentId::Edge(EdgeId([1; 16]));
        let shown = |speaks| {
            let mut sheet = Sheet::new(&[], None, Timestamp::UNIX_EPOCH);
            let software = "edge-agent 0.0.9".to_owned();
            let view = AgentView { speaks, software, ..AgentView::default() };
            current(&mut sheet, &agent, Some(&view));
            let condition = sheet.get(kind::AGENT_CURRENT)?;
            Some((condition.status.clone(), condition.reason.clone(), condition.message.clone()))
        };
        assert_eq!(shown(None), None);
        let mut sheet = Sheet::new(&[], None, Timestamp::UNIX_EPOCH);
        let view = AgentView { incompatible: Some("speaks 2".to_owned()), ..AgentView::default() };
        current(&mut sheet, &agent, Some(&view));
        let condition = sheet.get(kind::AGENT_CURRENT).unwrap();
        assert_eq!(
            (condition.reason.as_str(), condition.message.as_str()),
            ("AgentIncompatible", "speaks 2")
        );
        let (status, reason, message) = shown(Some(Speaks::of_minor(0))).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("False", "AgentOlder"));
        for part in
            ["edge-agent 0.0.9", "1.0", "1.3", env!("CARGO_PKG_VERSION"), "a dry run would be carried out"]
        {
            assert!(message.contains(part), "{part} in {message}");
        }
        assert!(!message.contains("delegated-renewal"), "no edge can have it: {message}");
        assert_eq!(shown(Some(Speaks::HERE)).unwrap().0, "True");
        let later = Speaks { minor: 9, features: Features(u64::MAX) };
        let (status, reason, message) = shown(Some(later)).unwrap();
        assert_eq!((status.as_str(), reason.as_str()), ("True", "AgentNewer"));
        assert!(message.contains("1.9"), "{message}");
    }
}
