//! Who may have which revision now: a function of settings, state, what is known of the targets, and the time.
//!
//! It gives the state that follows, and what targets are to be given. Whoever calls it makes the state durable first,
//! and calls again; targets are given something only when the state is the durable one.

use api::skein::{OnAbort, RolloutPhase};
use protocol::UnixMillis;

use super::facts::{Fact, Health, Link};
use super::settings::{Amount, Settings};
use super::state::{Command, Paused, Stage, State};
use super::waves::membership;

/// Everything a decision depends on.
#[derive(Debug, Clone, Copy)]
pub struct Input<'a> {
    /// How the rollout goes.
    pub settings: &'a Settings,
    /// The revision that the object names now.
    pub revision: &'a str,
    /// What is remembered.
    pub state: &'a State,
    /// The targets, by name.
    pub targets: &'a [Fact<'a>],
    /// What the annotation says.
    pub command: Option<&'a str>,
    /// The time.
    pub now: UnixMillis,
}

/// What is decided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Decision {
    /// What is to be remembered from now on.
    pub state: State,
    /// Which targets get which revision; nobody, as long as the state is not the durable one.
    pub give: Vec<Gift>,
    /// What it is at.
    pub phase: RolloutPhase,
    /// The targets, counted.
    pub counts: Counts,
    /// Why, for a person.
    pub message: String,
    /// When to decide again although nothing happens.
    pub next: Option<UnixMillis>,
}

/// A target gets a revision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gift {
    /// Its place in the input.
    pub target: usize,
    /// The revision.
    pub revision: String,
    /// Whether it has that anyway: then nothing happens to it.
    pub known: bool,
}

/// How many targets are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// All.
    pub total: usize,
    /// Were given the revision.
    pub updated: usize,
    /// Have it, all deployed.
    pub ready: usize,
    /// Failed with it.
    pub failed: usize,
    /// Are away and do not have it.
    pub away: usize,
    /// Wait for their turn.
    pub waiting: usize,
}

/// What a target counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    /// Has the revision.
    Ready,
    /// Has failed with it.
    Failed,
    /// Has been given it.
    Begun,
    /// Has not been given it.
    Behind,
    /// Somebody said to leave it alone.
    Held,
    /// Is away and waited for.
    Away,
    /// Is away for so long that nobody waits any more.
    Left,
    /// Nobody knows yet.
    Unsettled,
}

/// Decides.
pub fn decide(input: Input<'_>) -> Decision {
    let mut state = input.state.clone();
    if state.revision != input.revision {
        state = if input.targets.iter().all(|target| target.given == Some(input.revision)) {
            let handled = state.handled.clone();
            State { handled, ..State::complete(&state.owner, input.revision, input.now) }
        } else {
            state.begin(input.revision, input.now)
        };
    }
    let waves = membership(&input.settings.waves, input.targets);
    let mut run = Run { input, state, waves, standings: Vec::new(), next: None };
    run.stand();
    run.obey();
    run.advance();
    run.decision()
}

struct Run<'a> {
    input: Input<'a>,
    state: State,
    waves: Vec<usize>,
    standings: Vec<Standing>,
    next: Option<UnixMillis>,
}

impl Run<'_> {
    /// Whether targets get the last completed revision again.
    fn is_back(&self) -> bool {
        matches!(self.state.stage, Stage::RollingBack | Stage::Aborted)
    }

    fn soon(&mut self, at: UnixMillis) {
        if at > self.input.now {
            self.next = Some(self.next.map_or(at, |next| next.min(at)));
        }
    }

    /// What each target counts as for the revision that all are to have.
    fn stand(&mut self) {
        let mut standings = Vec::with_capacity(self.input.targets.len());
        for target in self.input.targets {
            let standing = self.standing(target);
            standings.push(standing);
        }
        self.standings = standings;
    }

    fn standing(&mut self, target: &Fact<'_>) -> Standing {
        let now = self.input.now;
        let given = target.given.is_some() && target.given == self.state.sought();
        if given && target.health == Health::Ready {
            return Standing::Ready;
        }
        if target.held {
            return Standing::Held;
        }
        match target.link {
            Link::Unsettled => Standing::Unsettled,
            Link::Away(since) => {
                let until =
                    since.unwrap_or(self.state.since).saturating_add(self.input.settings.away_deadline);
                self.soon(until);
                if until <= now { Standing::Left } else { Standing::Away }
            }
            Link::Up(_) if !given => Standing::Behind,
            Link::Up(since) => {
                let settings = self.input.settings;
                let deadline =
                    settings.deadline.map(|deadline| since.max(target.given_at).saturating_add(deadline));
                let failed = match target.health {
                    Health::Failed(since) => Some(since.saturating_add(settings.failure_grace)),
                    Health::Ready | Health::Waiting => None,
                };
                let Some(until) = deadline.into_iter().chain(failed).min() else { return Standing::Begun };
                self.soon(until);
                if until <= now { Standing::Failed } else { Standing::Begun }
            }
        }
    }

    fn count(&self, standing: Standing) -> usize {
        self.standings.iter().filter(|one| **one == standing).count()
    }

    /// How many targets the waves have, up to the current one.
    fn reached(&self) -> usize {
        self.waves.iter().filter(|wave| **wave <= self.state.wave).count()
    }

    /// Does what a person said, once.
    fn obey(&mut self) {
        let said = self.input.command;
        if said == self.state.handled.as_deref() {
            return;
        }
        self.state.handled = said.map(str::to_owned);
        let now = self.input.now;
        match (said.and_then(Command::read), self.state.stage) {
            (Some(Command::Pause), _) => self.state.paused = Some(Paused::Manually),
            (Some(Command::Resume), Stage::Aborted) => {
                self.state = State { paused: None, ..self.state.begin(self.input.revision, now) };
                self.stand();
            }
            (Some(Command::Resume), _) => {
                self.state.paused = None;
                self.state.tolerated = self.count(Standing::Failed);
            }
            (Some(Command::Abort), Stage::Rolling) => {
                self.abort("somebody gave the revision up".to_owned());
            }
            (Some(Command::Promote), Stage::Rolling) => self.state.promoted = self.state.wave + 1,
            (Some(Command::Abort | Command::Promote) | None, _) => {}
        }
    }

    fn abort(&mut self, why: String) {
        let rollback = self.input.settings.on_abort == OnAbort::Rollback;
        self.state.give_up(rollback, why, self.input.now);
        self.stand();
    }

    /// Moves on as far as the targets permit.
    fn advance(&mut self) {
        if self.state.stage == Stage::RollingBack {
            let back = |(target, standing): (&Fact<'_>, &Standing)| {
                let given = target.given.is_none_or(|given| Some(given) == self.state.goal());
                *standing == Standing::Held || (given && *standing != Standing::Begun)
            };
            if self.input.targets.iter().zip(&self.standings).all(back) {
                self.state.stage = Stage::Aborted;
                self.state.since = self.input.now;
            }
        }
        if self.state.stage != Stage::Rolling {
            return;
        }
        self.state.wave = self.state.wave.min(self.input.settings.waves.len() - 1);
        self.judge();
        while self.state.stage == Stage::Rolling && self.passes() {
            self.state.since = self.input.now;
            self.state.done = None;
            if self.state.wave + 1 < self.input.settings.waves.len() {
                self.state.wave += 1;
            } else {
                self.state.stage = Stage::Completed;
                self.state.completed = Some(self.state.revision.clone());
                self.state.tolerated = 0;
            }
        }
    }

    /// Too many that failed stop the rollout, or end it. More than may be unavailable are never needed for that: so many
    /// stop it anyway.
    fn judge(&mut self) {
        let (failed, most) = (self.count(Standing::Failed), self.most());
        let limit = |amount: Amount| amount.ceil(self.reached()).clamp(1, most);
        let settings = self.input.settings;
        if settings
            .abort_on_failure
            .is_some_and(|amount| failed >= limit(amount) && failed > self.state.tolerated)
        {
            let why = format!("{failed} of {} clusters failed", self.reached());
            return self.abort(why);
        }
        let pauses = settings.pause_on_failure.is_some_and(|amount| failed >= limit(amount));
        if pauses && failed > self.state.tolerated && self.state.paused.is_none() {
            self.state.paused = Some(Paused::ByFailures);
            self.state.since = self.input.now;
        }
    }

    /// How many may be unavailable at once.
    fn most(&self) -> usize {
        let (wave, of) = match self.state.stage {
            Stage::Rolling => (self.state.wave, self.reached()),
            Stage::RollingBack | Stage::Aborted | Stage::Completed => {
                (self.input.settings.waves.len() - 1, self.waves.len())
            }
        };
        self.input.settings.waves[wave.min(self.input.settings.waves.len() - 1)]
            .max_unavailable
            .floor(of)
            .max(1)
    }

    /// How many may be away without being waited for.
    fn carried(&self) -> usize {
        self.input.settings.away.floor(self.reached())
    }

    /// Whether the wave is over.
    fn passes(&mut self) -> bool {
        let promoted = self.state.promoted > self.state.wave;
        let of_waves = || {
            let here = self.standings.iter().zip(&self.waves);
            here.filter(|(_, wave)| **wave <= self.state.wave).map(|(standing, _)| *standing)
        };
        let open = of_waves().any(|one| {
            matches!(one, Standing::Failed | Standing::Begun | Standing::Behind | Standing::Unsettled)
        });
        let away = of_waves().filter(|one| *one == Standing::Away).count();
        if open || (away > self.carried() && !promoted) {
            self.state.done = None;
            return false;
        }
        let own = self.waves.contains(&self.state.wave);
        let since = *self.state.done.get_or_insert(self.input.now);
        let wave = &self.input.settings.waves[self.state.wave];
        let (soaked, gate) = (since.saturating_add(wave.soak), wave.gate);
        let soaking = own && !promoted && soaked > self.input.now;
        if soaking {
            self.soon(soaked);
        }
        self.state.paused.is_none() && !soaking && (!gate || promoted)
    }

    /// Whether what the target lacks it lacks because of us.
    fn touched(&self, target: &Fact<'_>) -> bool {
        target.given.is_some() && target.given_at >= self.state.origin && target.given_at > 0
    }

    /// Whether the target's wave has not come. Whoever has the revision, and is of a later wave now that others went or
    /// came, keeps it.
    fn is_later(&self, at: usize) -> bool {
        let has = self.input.targets[at].given == Some(&self.state.revision);
        self.state.stage == Stage::Rolling && self.waves[at] > self.state.wave && !has
    }

    /// How many are unavailable because of us, beyond those that may be away; in a rollback only those on their way.
    /// Targets of later waves that a revision before this one broke are not counted: they are on their way back.
    fn unavailable(&self) -> usize {
        let back = self.is_back();
        let late = self.state.stage == Stage::Completed;
        let (mut here, mut away) = (0, 0);
        for (at, (target, standing)) in self.input.targets.iter().zip(&self.standings).enumerate() {
            let past = self.is_later(at) || late && target.given_at < self.state.since;
            if target.health == Health::Ready || !self.touched(target) || past {
                continue;
            }
            match standing {
                Standing::Begun => here += 1,
                Standing::Failed if !back => here += 1,
                Standing::Behind | Standing::Unsettled if !back => here += 1,
                Standing::Away if !back => away += 1,
                Standing::Ready
                | Standing::Failed
                | Standing::Behind
                | Standing::Held
                | Standing::Away
                | Standing::Left
                | Standing::Unsettled => {}
            }
        }
        here + usize::saturating_sub(away, self.carried())
    }

    /// Who gets what.
    fn gifts(&self) -> Vec<Gift> {
        let mut gifts = Vec::new();
        let default = self.state.completed.as_deref();
        for (at, target) in self.input.targets.iter().enumerate() {
            // Whoever is new has the last completed revision, and that is noted.
            if let (None, Some(completed)) = (target.given, default) {
                gifts.push(Gift { target: at, revision: completed.to_owned(), known: true });
            }
            // What a revision before this one broke in waves that are to wait now has what worked.
            let broken = self.is_later(at) && self.touched(target) && target.health != Health::Ready;
            if let Some(completed) = default.filter(|completed| broken && target.given != Some(completed))
                && !target.held
                && self.state.paused.is_none()
            {
                gifts.push(Gift { target: at, revision: completed.to_owned(), known: false });
            }
        }
        let Some(goal) = self.state.goal().filter(|_| self.state.paused.is_none()) else { return gifts };
        let back = self.is_back();
        let mut order: Vec<_> = (0..self.standings.len())
            .filter(|at| self.input.targets[*at].given != Some(goal))
            .filter(|at| self.input.targets[*at].given.is_some() || default.is_none())
            .filter(|at| match self.standings[*at] {
                Standing::Behind => self.state.stage != Stage::Rolling || self.waves[*at] <= self.state.wave,
                Standing::Away | Standing::Left | Standing::Unsettled => back,
                Standing::Ready | Standing::Failed | Standing::Begun | Standing::Held => false,
            })
            .map(|at| (self.costs(at), if back { 0 } else { self.waves[at] }, at))
            .collect();
        order.sort_unstable();
        let mut room = self.most().saturating_sub(self.unavailable());
        for (costs, _, at) in order {
            if costs && room == 0 {
                break;
            }
            room -= usize::from(costs);
            gifts.push(Gift { target: at, revision: goal.to_owned(), known: false });
        }
        gifts
    }

    /// Whether giving the target something makes one more unavailable.
    fn costs(&self, at: usize) -> bool {
        let target = &self.input.targets[at];
        let back = self.is_back();
        let away = !matches!(target.link, Link::Up(_));
        !(self.touched(target) && target.health != Health::Ready || back && away)
    }

    fn decision(self) -> Decision {
        let give = if self.state == *self.input.state { self.gifts() } else { Vec::new() };
        let sought = self.state.sought();
        let has = |target: &&Fact<'_>| target.given.is_some() && target.given == sought;
        let updated = self.input.targets.iter().filter(has).count();
        let counts = Counts {
            total: self.standings.len(),
            updated,
            ready: self.count(Standing::Ready),
            failed: self.count(Standing::Failed),
            away: self.count(Standing::Away) + self.count(Standing::Left),
            waiting: self.count(Standing::Behind)
                + self.count(Standing::Held)
                + self.count(Standing::Unsettled),
        };
        let phase = self.phase();
        let message = self.message(phase, &counts);
        Decision { give, phase, counts, message, next: self.next, state: self.state }
    }

    fn phase(&self) -> RolloutPhase {
        match self.state.stage {
            Stage::Completed => RolloutPhase::Completed,
            Stage::Aborted => RolloutPhase::Aborted,
            Stage::Rolling | Stage::RollingBack if self.state.paused.is_some() => RolloutPhase::Paused,
            Stage::RollingBack => RolloutPhase::RollingBack,
            Stage::Rolling => {
                let wave = &self.input.settings.waves[self.state.wave];
                match self.state.done {
                    Some(since)
                        if self.state.promoted <= self.state.wave
                            && since.saturating_add(wave.soak) > self.input.now =>
                    {
                        RolloutPhase::Soaking
                    }
                    Some(_) if wave.gate && self.state.promoted <= self.state.wave => {
                        RolloutPhase::WaitingForGate
                    }
                    Some(_) | None => RolloutPhase::Progressing,
                }
            }
        }
    }

    fn message(&self, phase: RolloutPhase, counts: &Counts) -> String {
        let Counts { total, updated, ready, failed, away, .. } = counts;
        let wave = self.input.settings.waves.get(self.state.wave).map_or("", |wave| wave.name.as_str());
        let named = |standing: Standing| {
            let names = self.standings.iter().zip(self.input.targets);
            let names: Vec<_> =
                names.filter(|(one, _)| **one == standing).map(|(_, target)| target.name).take(4).collect();
            match names.len() {
                4 => format!("{}, and more", names[..3].join(", ")),
                _ => names.join(", "),
            }
        };
        let failing =
            if *failed > 0 { format!("; failed: {}", named(Standing::Failed)) } else { String::new() };
        let given_up = self.state.given_up.as_deref().unwrap_or_default();
        match phase {
            RolloutPhase::Completed if ready == total => format!("all {total} clusters are ready"),
            RolloutPhase::Completed => {
                format!(
                    "{ready} of {total} clusters are ready; {away} get the revision when they are back{failing}"
                )
            }
            RolloutPhase::Aborted => given_up.to_owned(),
            RolloutPhase::RollingBack => {
                format!("{given_up}; {updated} of {total} clusters have the revision before{failing}")
            }
            RolloutPhase::Paused if self.state.paused == Some(Paused::ByFailures) => {
                format!("wave {wave}: paused{failing}")
            }
            RolloutPhase::Paused => format!("wave {wave}: paused by somebody{failing}"),
            RolloutPhase::Soaking => format!("wave {wave}: all are ready, and must stay so for a while"),
            RolloutPhase::WaitingForGate => format!("wave {wave}: all are ready; promote to go on"),
            RolloutPhase::Progressing => {
                let (waited, unavailable) = (self.count(Standing::Away), self.unavailable());
                let stuck = *failed > 0 && *failed >= self.most();
                let full = if stuck { "; so many failed that nobody else is begun" } else { "" };
                let away = if waited > self.carried() {
                    format!("; {waited} are away: {}", named(Standing::Away))
                } else {
                    String::new()
                };
                format!(
                    "wave {wave}: {ready} of {total} clusters are ready, {unavailable} on their way{failing}{full}{away}"
                )
            }
        }
    }
}
