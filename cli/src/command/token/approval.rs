//! The flags that say who decides whether a device is let in.

use anyhow::{Result, bail};
use api::skein::{ApprovalPolicy, JoinApproval};
use identity::approval::Cidr;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use crate::command::label;

/// Who decides. Without any of these, whoever has the token is let in.
#[derive(Debug, Default, clap::Args)]
pub(crate) struct Approval {
    /// Who decides: automatic lets in who meets the conditions below, and makes others wait for `skein approve`; manual
    /// makes all wait
    #[arg(long, value_enum, value_name = "POLICY")]
    approval: Option<Policy>,
    /// Condition: the edge would have this label; may be given several times
    #[arg(long = "approve-label", value_name = "KEY=VALUE", value_parser = label)]
    approve_labels: Vec<(String, String)>,
    /// Condition: fewer than so many devices were let in before
    #[arg(long = "approve-count", value_name = "N", value_parser = clap::value_parser!(i32).range(0..=10_000))]
    approve_count: Option<i32>,
    /// Condition: it asks at this moment or later (RFC 3339: 2026-11-22T18:00:00Z)
    #[arg(long = "approve-from", value_name = "TIME", value_parser = moment)]
    approve_from: Option<jiff::Timestamp>,
    /// Condition: it asks before this moment
    #[arg(long = "approve-until", value_name = "TIME", value_parser = moment)]
    approve_until: Option<jiff::Timestamp>,
    /// Condition: it asks from this network, as its region sees it; of several, from any
    #[arg(long = "approve-cidr", value_name = "CIDR")]
    approve_cidrs: Vec<Cidr>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Policy {
    Automatic,
    Manual,
}

impl Approval {
    /// What the JoinToken is to say; nothing when none of the flags is given.
    ///
    /// # Errors
    /// When flags contradict each other; the text names both.
    pub(crate) fn spec(self) -> Result<Option<JoinApproval>> {
        let Self { approval, approve_labels: labels, approve_count: count, .. } = self;
        let Self { approve_from: from, approve_until: until, approve_cidrs: cidrs, .. } = self;
        let first = [
            ("--approve-label", !labels.is_empty()),
            ("--approve-count", count.is_some()),
            ("--approve-from", from.is_some()),
            ("--approve-until", until.is_some()),
            ("--approve-cidr", !cidrs.is_empty()),
        ];
        let condition = first.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag);
        if let (Some(Policy::Manual), Some(flag)) = (approval, condition) {
            bail!(
                "{flag} is a condition, and with --approval manual there are none: give --approval automatic"
            );
        }
        if let (Some(from), Some(until)) = (from, until)
            && from >= until
        {
            bail!("--approve-from {from} is not before --approve-until {until}");
        }
        if approval.is_none() && condition.is_none() {
            return Ok(None);
        }
        Ok(Some(JoinApproval {
            policy: match approval {
                Some(Policy::Manual) => ApprovalPolicy::Manual,
                Some(Policy::Automatic) | None => ApprovalPolicy::Automatic,
            },
            labels: labels.into_iter().collect(),
            count,
            from: from.map(Time),
            until: until.map(Time),
            source_cidrs: cidrs.iter().map(ToString::to_string).collect(),
        }))
    }
}

fn moment(text: &str) -> Result<jiff::Timestamp, String> {
    text.parse()
        .map_err(|_| format!("\"{text}\" is not a moment in the form of RFC 3339, as 2026-11-22T18:00:00Z"))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Line {
        #[command(flatten)]
        approval: Approval,
    }

    fn spec(flags: &[&str]) -> Result<Option<JoinApproval>, String> {
        let all = std::iter::once("x").chain(flags.iter().copied());
        let line = Line::try_parse_from(all).map_err(|error| error.to_string())?;
        line.approval.spec().map_err(|error| error.to_string())
    }

    #[test]
    fn flags_become_a_policy_and_what_contradicts_is_named() {
        assert_eq!(spec(&[]), Ok(None));
        let manual = spec(&["--approval", "manual"]).unwrap().unwrap();
        assert_eq!(manual, JoinApproval { policy: ApprovalPolicy::Manual, ..JoinApproval::default() });
        let all = spec(&[
            "--approve-label=site=store",
            "--approve-count=3",
            "--approve-from=2026-01-01T00:00:00Z",
            "--approve-until=2026-01-02T00:00:00Z",
            "--approve-cidr=10.0.0.0/8",
            "--approve-cidr=2001:db8::/32",
        ]);
        let all = all.unwrap().unwrap();
        assert_eq!((all.policy, all.count), (ApprovalPolicy::Automatic, Some(3)));
        assert_eq!(all.source_cidrs, ["10.0.0.0/8", "2001:db8::/32"]);
        assert_eq!(all.labels.get("site").map(String::as_str), Some("store"));
        for (flags, named) in [
            (&["--approve-cidr=10.0.0.0/33"][..], "\"10.0.0.0/33\" is not a network"),
            (&["--approve-cidr=2001:db8::/32/1"], "2001:db8::/32"),
            (&["--approve-from=tomorrow"], "\"tomorrow\" is not a moment"),
            (&["--approve-label=site"], "\"site\" is not of the form key=value"),
            (&["--approve-count=-1"], "-1"),
            (&["--approval=perhaps"], "perhaps"),
            (&["--approval=manual", "--approve-count=1"], "--approve-count is a condition"),
            (
                &["--approve-from=2026-01-02T00:00:00Z", "--approve-until=2026-01-01T00:00:00Z"],
                "--approve-from 2026-01-02T00:00:00Z is not before",
            ),
        ] {
            let error = spec(flags).unwrap_err();
            assert!(error.contains(named), "{flags:?}: {error}");
        }
    }
}
