//! What the owner of this device allows: kept in a file of the agent's state folder, changed by `edge-agent hold`,
//! `release` and `windows`, and obeyed by the running agent within [`LOOK_EVERY`], with or without a link. What the
//! cluster's own ConfigMap says (see [`config_map`]) is added to it, and obeyed at once.
//!
//! # Why a file
//! It can be set before the agent ever ran, outlives every restart, is guarded by the folder's own permissions, and needs
//! no port.

pub mod config_map;

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, bail};
use jiff::{SignedDuration, Timestamp};
use process::Process;
use state::{EngineHandle, Local, LocalHold, Opening, Windows};
use tokio::sync::Notify;

use crate::arguments::{Hold, Release, Scope, SetWindows, Status};

/// Name of the file.
const FILE: &str = "owner.json";
/// Longest file that is read.
const BYTES_MAX: u64 = 256 * 1024;
/// How often the running agent looks at the file.
pub const LOOK_EVERY: Duration = Duration::from_secs(2);

/// What is allowed now: the file, and what the ConfigMap says beside it. An error when one of them is not understood.
pub(crate) fn in_force(folder: &Path) -> Result<Local, String> {
    let mut local = read(folder, FILE)?;
    let other = read(folder, config_map::FILE)
        .map_err(|error| format!("ConfigMap {} of the cluster: {error}", config_map::NAME))?;
    let own = local.holds.clone();
    let scope = |hold: &LocalHold| (hold.namespace.clone(), hold.service.clone());
    let more = other.holds.into_iter().filter(|hold| own.iter().all(|own| scope(own) != scope(hold)));
    local.holds.extend(more);
    local.windows = local.windows.or(other.windows);
    Ok(local)
}

/// What a file says now; an error when it is not understood.
fn read(folder: &Path, file: &str) -> Result<Local, String> {
    let path = folder.join(file);
    let told = |error: String| format!("{}: {error}", path.display());
    match std::fs::metadata(&path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Local::default()),
        Err(error) => return Err(told(error.to_string())),
        Ok(meta) if meta.len() > BYTES_MAX => {
            return Err(told(format!("it has {} bytes, at most {BYTES_MAX} are accepted", meta.len())));
        }
        Ok(_) => {}
    }
    let text = std::fs::read_to_string(&path).map_err(|error| told(error.to_string()))?;
    Local::parse(&text).map_err(told)
}

/// Follows the files until the process ends; looks at once when it is woken.
pub(crate) fn follow(folder: PathBuf, engine: EngineHandle, look: Arc<Notify>, process: &Process) {
    let cancel = process.cancel.clone();
    let stamp = |folder: &Path| {
        [FILE, config_map::FILE].map(|file| -> Option<(SystemTime, u64)> {
            let meta = std::fs::metadata(folder.join(file)).ok()?;
            Some((meta.modified().ok()?, meta.len()))
        })
    };
    process.tasks.spawn(async move {
        let mut known = None;
        let mut ticks = tokio::time::interval(LOOK_EVERY);
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let due = async |ticks: &mut tokio::time::Interval| {
            tokio::select! {
                _ = ticks.tick() => {}
                () = look.notified() => {}
            }
        };
        while cancel.run_until_cancelled(due(&mut ticks)).await.is_some() {
            let now = stamp(&folder);
            if known != Some(now) {
                known = Some(now);
                engine.allow(in_force(&folder));
            }
        }
    });
}

/// Holds services back; answers what to tell.
pub(crate) fn hold(arguments: &Hold, now: Timestamp) -> Result<String> {
    let Hold { reason, until, scope, folder } = arguments;
    let until = until.as_deref().map(|text| moment(text, now)).transpose()?;
    let hold = LocalHold {
        namespace: scope.namespace.clone(),
        service: scope.service.clone(),
        reason: reason.clone(),
        until,
    };
    change(&folder.state, |local| {
        local.holds.retain(|other| !same(other, scope));
        local.holds.push(hold);
        Ok(())
    })?;
    let until = until.map_or_else(|| "until it is released".to_owned(), |until| format!("until {until}"));
    Ok(format!("{} held {until}; what runs is kept, what is new waits", named(scope)))
}

/// Lets go what is held; answers what to tell.
pub(crate) fn release(arguments: &Release) -> Result<String> {
    let Release { scope, all, folder } = arguments;
    let mut released = 0;
    change(&folder.state, |local| {
        let before = local.holds.len();
        local.holds.retain(|hold| !(*all || same(hold, scope)));
        released = before - local.holds.len();
        Ok(())
    })?;
    if released == 0 {
        bail!("nothing was held under this name; `edge-agent status` lists what is");
    }
    Ok(format!("{released} released"))
}

/// Sets or clears the maintenance windows; answers what to tell.
pub(crate) fn windows(arguments: &SetWindows, now: Timestamp) -> Result<String> {
    let SetWindows { zone, windows, clear, folder } = arguments;
    if *clear {
        change(&folder.state, |local| {
            local.windows = None;
            Ok(())
        })?;
        return Ok("there are no maintenance windows: what is new may begin at any time".to_owned());
    }
    if windows.is_empty() {
        bail!("name at least one window such as \"Mon-Fri 22:00-05:00\", or --clear");
    }
    let weekly =
        windows.iter().map(|text| text.parse().map_err(anyhow::Error::msg)).collect::<Result<_>>()?;
    let set = Windows { zone: zone.clone(), weekly };
    let open = opening(&set, now)?;
    change(&folder.state, |local| {
        local.windows = Some(set);
        Ok(())
    })?;
    Ok(format!("what is new begins in the maintenance windows only; {open}"))
}

/// What the owner decided, for a person.
pub(crate) fn status(arguments: &Status, now: Timestamp) -> Result<String> {
    let folder = &arguments.folder.state;
    let local = in_force(folder).map_err(anyhow::Error::msg)?;
    let file = read(folder, FILE).map_err(anyhow::Error::msg)?;
    let by = |own: bool| if own { String::new() } else { format!(" (ConfigMap {})", config_map::NAME) };
    let mut lines = Vec::new();
    for hold in &local.holds {
        let scope = Scope { namespace: hold.namespace.clone(), service: hold.service.clone() };
        let until = match hold.until {
            Some(until) if until <= now => format!("was held until {until}"),
            Some(until) => format!("held until {until}"),
            None => "held until it is released".to_owned(),
        };
        let colon = if hold.reason.is_empty() { "" } else { ": " };
        let by = by(file.holds.contains(hold));
        lines.push(format!("{} {until}{colon}{}{by}", named(&scope), hold.reason));
    }
    if let Some(windows) = &local.windows {
        let by = by(file.windows.is_some());
        lines.push(format!("maintenance windows {windows}; {}{by}", opening(windows, now)?));
    }
    if lines.is_empty() {
        lines.push("nothing is held, and there are no maintenance windows".to_owned());
    }
    lines.extend(crate::versions::kept(folder));
    Ok(lines.join("\n"))
}

fn opening(windows: &Windows, now: Timestamp) -> Result<String> {
    let millis = u64::try_from(now.as_millisecond()).unwrap_or(0);
    Ok(match windows.opening(millis).map_err(anyhow::Error::msg)? {
        Opening::Open => "one is open now".to_owned(),
        Opening::At(at) => {
            let at = i64::try_from(at).ok().and_then(|at| Timestamp::from_millisecond(at).ok());
            format!("the next one opens at {}", at.unwrap_or_default())
        }
        Opening::Never => "none of them ever opens".to_owned(),
    })
}

fn same(hold: &LocalHold, scope: &Scope) -> bool {
    hold.namespace == scope.namespace && hold.service == scope.service
}

fn named(scope: &Scope) -> String {
    match (&scope.namespace, &scope.service) {
        (None, None) => "everything is".to_owned(),
        (Some(namespace), None) => format!("namespace \"{namespace}\" is"),
        (None, Some(service)) => format!("service \"{service}\" is"),
        (Some(namespace), Some(service)) => format!("service \"{namespace}/{service}\" is"),
    }
}

/// A time, or a duration from now.
fn moment(text: &str, now: Timestamp) -> Result<Timestamp> {
    if let Ok(at) = text.parse::<Timestamp>() {
        if at <= now {
            bail!("--until {text} is past");
        }
        return Ok(at);
    }
    let ahead: SignedDuration = text.parse().with_context(|| {
        format!("--until \"{text}\" is neither a time such as 2026-12-24T18:00:00Z nor a duration such as 8h")
    })?;
    if ahead <= SignedDuration::ZERO {
        bail!("--until {text} is past");
    }
    now.checked_add(ahead).with_context(|| format!("--until {text} is too far"))
}

/// Changes the file: whole or not at all.
fn change(folder: &Path, edit: impl FnOnce(&mut Local) -> Result<()>) -> Result<()> {
    let mut local = read(folder, FILE).map_err(anyhow::Error::msg)?;
    edit(&mut local)?;
    local.check().map_err(anyhow::Error::msg)?;
    std::fs::create_dir_all(folder).with_context(|| format!("failed to make {}", folder.display()))?;
    store(folder, FILE, &serde_json::to_string_pretty(&local)?)
        .with_context(|| format!("failed to write {}", folder.join(FILE).display()))
}

/// Writes a file of the folder: whole or not at all, and still there after a power cut.
pub(crate) fn store(folder: &Path, name: &str, text: &str) -> std::io::Result<()> {
    let (path, fresh) = (folder.join(name), folder.join(format!("{name}.new")));
    let mut file = std::fs::File::create(&fresh)?;
    file.write_all(text.as_bytes())?;
    file.sync_all()?;
    std::fs::rename(&fresh, &path)?;
    std::fs::File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arguments::Folder;

    fn now() -> Timestamp {
        // A Monday.
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn scope(namespace: Option<&str>, service: Option<&str>) -> Scope {
        Scope { namespace: namespace.map(str::to_owned), service: service.map(str::to_owned) }
    }

    #[test]
    fn what_is_held_is_listed_until_it_is_released() {
        let folder = tempfile::tempdir().unwrap();
        let at = || Folder { state: folder.path().join("new") };
        let held = |scope, until: Option<&str>, reason: &str| {
            let until = until.map(str::to_owned);
            hold(&Hold { reason: reason.into(), until, scope, folder: at() }, now())
        };
        let shown = || status(&Status { folder: at() }, now()).unwrap();
        assert_eq!(shown(), "nothing is held, and there are no maintenance windows");
        held(scope(None, None), Some("8h"), "stocktaking").unwrap();
        held(scope(Some("shop"), Some("web")), None, "broken till").unwrap();
        held(scope(None, None), Some("2026-11-24T00:00:00Z"), "longer").unwrap();
        assert_eq!(
            shown(),
            "service \"shop/web\" is held until it is released: broken till\neverything is held until 2026-11-24T00:00:00Z: longer"
        );
        assert_eq!(read(&at().state, FILE).unwrap().holds.len(), 2);
        let release = |scope, all| release(&Release { scope, all, folder: at() });
        assert!(release(scope(Some("other"), None), false).is_err());
        release(scope(None, None), false).unwrap();
        assert!(shown().starts_with("service \"shop/web\""));
        release(scope(None, None), true).unwrap();
        assert!(held(scope(None, None), Some("2026-11-22T00:00:00Z"), "").is_err());
        assert!(
            held(scope(None, None), Some("soon"), "").unwrap_err().to_string().contains("neither a time")
        );
    }

    #[test]
    fn what_the_cluster_s_config_map_says_is_added_and_the_device_goes_before_it() {
        let folder = tempfile::tempdir().unwrap();
        let at = || Folder { state: folder.path().to_owned() };
        let map = r#"{"holds": [{"reason": "all"}, {"namespace": "shop", "reason": "theirs"}],
            "windows": {"zone": "UTC", "weekly": ["Mon 22:00-23:00"]}}"#;
        std::fs::write(folder.path().join(config_map::FILE), map).unwrap();
        let own = Hold { reason: "ours".into(), until: None, scope: scope(Some("shop"), None), folder: at() };
        hold(&own, now()).unwrap();
        let reasons: Vec<_> =
            in_force(folder.path()).unwrap().holds.into_iter().map(|hold| hold.reason).collect();
        assert_eq!(reasons, ["ours", "all"]);
        let shown = status(&Status { folder: at() }, now()).unwrap();
        assert!(
            shown.contains("everything is held until it is released: all (ConfigMap skein-local)"),
            "{shown}"
        );
        assert!(
            shown.contains("Mon 22:00-23:00 UTC") && shown.ends_with("(ConfigMap skein-local)"),
            "{shown}"
        );
        let nights = vec!["Tue 22:00-23:00".to_owned()];
        windows(&SetWindows { zone: "UTC".into(), windows: nights, clear: false, folder: at() }, now())
            .unwrap();
        let decided = in_force(folder.path()).unwrap().windows.unwrap();
        assert_eq!(decided.to_string(), "Tue 22:00-23:00 UTC");
        std::fs::write(folder.path().join(config_map::FILE), "hold everything").unwrap();
        assert!(in_force(folder.path()).unwrap_err().starts_with("ConfigMap skein-local of the cluster: "));
    }

    #[test]
    fn windows_are_checked_before_they_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let set = |zone: &str, windows: &[&str], clear| {
            let windows = windows.iter().map(|text| (*text).to_owned()).collect();
            let folder = Folder { state: folder.path().to_owned() };
            super::windows(&SetWindows { zone: zone.into(), windows, clear, folder }, now())
        };
        assert!(
            set("+01:00", &["Mon-Fri 22:00-05:00"], false).unwrap().contains("opens at 2026-11-23T21:00:00Z")
        );
        for (zone, windows, part) in [
            ("Mars/Base", &["Mon 22:00-05:00"][..], "not known"),
            ("UTC", &["Monday"], "no days or no hours"),
            ("UTC", &[], "name at least one window"),
        ] {
            let error = set(zone, windows, false).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
        assert!(read(folder.path(), FILE).unwrap().windows.is_some());
        set("UTC", &[], true).unwrap();
        assert_eq!(read(folder.path(), FILE), Ok(Local::default()));
        std::fs::write(folder.path().join(FILE), "{").unwrap();
        assert!(read(folder.path(), FILE).unwrap_err().contains("owner.json"));
    }
}
