//! What happens, drawn from the seed: changes, telemetry and faults; then peace, and a look at what became of it.

use std::time::Duration;

use bytes::Bytes;
use identity::{Clock as _, Entropy as _, SeededEntropy};
use link::Profile;
use link::network::simulated::{Bursts, Conditions};
use protocol::telemetry::TelemetryClass;
use skein_tests::plans;
use telemetry::{Batch, Labels, Sample, Series};

use super::malice;
use super::pace;
use super::world::{Ills, REGIONS, World, edge_address, edge_id, hub_address, region_address, region_of};

/// Within this, in virtual time, everything agrees once nothing disturbs any more.
const PEACE: Duration = Duration::from_secs(240);
/// Within this a plan goes down and its receipt up, however much telemetry is on its way.
const CONTROL: Duration = Duration::from_secs(3);
/// In milliseconds.
const DAY: u64 = 24 * 3600 * 1000;

/// What is told, how long and how large it is.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    /// Of a hub that is away for longer than certificates live, and of nothing else.
    pub(crate) outage: bool,
    /// Of edges that change their region, and of nothing else.
    pub(crate) moving: bool,
    /// Of keys that are replaced, and of nothing else.
    pub(crate) rotating: bool,
    /// How long things happen, in virtual time; a few steps of some seconds if nothing is said.
    pub(crate) time: Option<Duration>,
    /// How many edges; 2 to 20, by the seed, if nothing is said.
    pub(crate) edges: Option<u8>,
}

struct Script {
    world: World,
    /// The story's own, so that what parts draw does not change it.
    entropy: SeededEntropy,
    items: u64,
    /// Seconds of a story of hours, which has long times in which nothing happens; 0 for others.
    seconds: u64,
}

/// Runs the story of a seed. Returns how long it was, in virtual time.
pub(crate) async fn run(seed: u64, size: Size) -> Result<Duration, String> {
    // The whole fleet in every tenth seed.
    let usual = if seed.is_multiple_of(10) { 20 } else { 2 + u8::try_from(seed % 5).unwrap() };
    let edges = size.edges.unwrap_or(usual);
    let profile = if size.time.is_some() { Profile::edge() } else { Profile::near() };
    let world = World::new(seed, edges, profile).await;
    let waiting = world.waiting.clone();
    let entropy = SeededEntropy::new(seed ^ 0x5eed);
    let mut script = Script { world, entropy, items: 0, seconds: size.time.map_or(0, |time| time.as_secs()) };
    let story = async {
        script.happen(seed, size.time).await?;
        let model = script.world.end().await;
        let model = model.lock().unwrap();
        assert!(model.items().0 > 0, "the story of a seed has telemetry");
        model.verdict()
    };
    pace::told(waiting, story).await
}

impl Script {
    fn draw(&mut self, bound: u64) -> u64 {
        self.entropy.below(bound)
    }

    fn any_edge(&mut self) -> usize {
        let edges = self.world.edges.len() as u64;
        usize::try_from(self.draw(edges)).unwrap()
    }

    fn any_region(&mut self) -> usize {
        usize::try_from(self.draw(REGIONS.len() as u64)).unwrap()
    }

    /// Everything, from the first start to the last peace.
    async fn happen(&mut self, seed: u64, time: Option<Duration>) -> Result<(), String> {
        self.begin().await;
        let steps = 12 + self.draw(8);
        let begun = tokio::time::Instant::now();
        let mut step = 0;
        while time.map_or(step < steps, |time| begun.elapsed() < time) {
            self.step().await;
            self.world.model.lock().unwrap().verdict()?;
            step += 1;
        }
        self.cut_off().await?;
        if seed % 4 == 1 {
            malice::cheat(&mut self.world).await?;
        }
        self.peace().await?;
        self.control_beside_bulk().await?;
        self.peace().await?;
        self.world.check_returns().await
    }

    async fn begin(&mut self) {
        let weather = self.weather();
        self.world.network.set_conditions(weather);
        self.world.start_hub().await;
        for region in 0..self.world.regions.len() {
            self.world.start_region(region).await;
        }
        for index in 0..self.world.edges.len() {
            let ills = self.ills();
            self.world.start_edge(index, ills);
        }
    }

    fn ills(&mut self) -> Ills {
        let dies_after_storing = self.draw(4) == 0;
        let slow = (self.draw(8) == 0).then(|| Duration::from_millis(self.draw(3_000)));
        Ills { dies_after_storing, slow }
    }

    /// How long nobody comes to help: seconds, in long stories now and then a sixth of all the time.
    fn away(&mut self) -> f64 {
        let seconds = match self.draw(6) {
            0 => self.draw(8.max(self.seconds / 6)),
            1 => self.draw(8.max(self.seconds / 100)),
            _ => self.draw(8),
        };
        f64::from(u32::try_from(seconds).unwrap())
    }

    /// Until something happens again.
    async fn pause(&mut self) {
        let usual = 100 + self.draw(4_000);
        let millis = match self.draw(10) {
            0 => usual.max(self.draw(600_000.min(self.seconds * 10))),
            1 | 2 => usual.max(self.draw(120_000.min(self.seconds * 10))),
            _ => usual,
        };
        self.world.pass(f64::from(u32::try_from(millis).unwrap()) / 1000.0).await;
    }

    /// Loss, also in bursts, delay, reordering and duplication.
    fn weather(&mut self) -> Conditions {
        let share = |drawn: u64| f64::from(u32::try_from(drawn).unwrap()) / 1000.0;
        Conditions {
            latency: Duration::from_millis(1 + self.draw(60)),
            jitter: Duration::from_millis(self.draw(80)),
            loss: share(self.draw(120)),
            duplication: share(self.draw(40)),
            bursts: Bursts { share: share(self.draw(5)), longest: Duration::from_millis(self.draw(3_000)) },
            ..Conditions::default()
        }
    }

    /// A line that is thin behind a deep queue, or that swallows long datagrams.
    fn line(&mut self) -> Conditions {
        let weather = self.weather();
        match self.draw(2) {
            0 => Conditions {
                bandwidth: Some(64_000 + self.draw(1_000_000)),
                queue_bytes: 16_384 + self.draw(500_000),
                ..weather
            },
            _ => Conditions {
                datagram_bytes: Some(1_228 + usize::try_from(self.draw(200)).unwrap()),
                ..weather
            },
        }
    }

    async fn step(&mut self) {
        for _ in 0..=self.draw(3) {
            let index = self.any_edge();
            self.world.edges[index].version += 1;
            self.world.publish(index);
        }
        for _ in 0..=self.draw(4) {
            let (index, count) = (self.any_edge(), 1 + self.draw(25));
            for _ in 0..count {
                self.push(index, 1000);
            }
        }
        self.fault().await;
        self.pause().await;
    }

    async fn fault(&mut self) {
        let (region, index) = (self.any_region(), self.any_edge());
        let edge = self.world.edges[index].number;
        let network = self.world.network.clone();
        let above = region_address(region_of(edge));
        match self.draw(19) {
            0 => network.partition(hub_address(), region_address(region)),
            1 => network.heal(hub_address(), region_address(region)),
            2 => network.partition(above, edge_address(edge)),
            3 => network.heal(above, edge_address(edge)),
            // Only one direction.
            4 => network.cut(edge_address(edge), above),
            5 => {
                self.world.crash_region(region).await;
                let away = self.away();
                self.world.pass(away).await;
                self.world.start_region(region).await;
            }
            6 | 7 => {
                self.world.crash_edge(index).await;
                let ills = self.ills();
                self.world.start_edge(index, ills);
            }
            8 => {
                self.world.crash_hub().await;
                let away = self.away();
                self.world.pass(away).await;
                self.world.start_hub().await;
            }
            9 => {
                let weather = self.weather();
                network.set_conditions(weather);
            }
            10 | 11 => network.rebind(edge_address(edge)),
            12 => {
                let (up, down) = (self.line(), self.line());
                network.set_path(edge_address(edge), above, up);
                network.set_path(above, edge_address(edge), down);
            }
            13 => network.clear_paths(),
            // Somebody sets the machine's clock.
            14 => {
                let off = i64::try_from(self.draw(2 * DAY)).unwrap() - i64::try_from(DAY).unwrap();
                self.world.edges[index].set_clock(&self.world.clock, off);
            }
            // Its cable is unplugged, of which some machines tell.
            15 => {
                network.isolate(edge_address(edge));
                let away = self.away();
                self.world.pass(away).await;
                network.rejoin(edge_address(edge));
            }
            _ => {}
        }
    }

    /// An item of telemetry like no other.
    fn push(&mut self, index: usize, noise: usize) {
        self.items += 1;
        let now = self.world.clock.now();
        let mut disk = self.world.edges[index].disk.lock().unwrap();
        if self.items.is_multiple_of(2) {
            #[expect(clippy::cast_precision_loss, reason = "a story has few items")]
            let sample = Sample::new(i64::try_from(now + self.items).unwrap(), self.items as f64);
            let labels = Labels::from_pairs([("__name__", "items_total"), ("job", "shop")]);
            let payload =
                telemetry::wire::encode(&Batch { series: vec![Series { labels, samples: vec![sample] }] });
            disk.push(TelemetryClass::Metrics, payload, now);
        } else {
            let mut bytes = vec![0; noise];
            SeededEntropy::new(self.items).fill(&mut bytes);
            let payload = [self.items.to_be_bytes().as_slice(), &bytes].concat();
            disk.push(TelemetryClass::Logs, Bytes::from(payload), now);
        }
    }

    /// A region that is cut off is named in answers (invariant 10).
    async fn cut_off(&mut self) -> Result<(), String> {
        let region = self.any_region();
        let name = REGIONS[region];
        self.world.network.partition(hub_address(), region_address(region));
        let asked = self.world.clock.now();
        let warnings = self.world.ask().await?;
        if !warnings.iter().any(|text| text.contains(&format!("region \"{name}\" is missing"))) {
            return Err(format!("10: region {name} is cut off and the answer does not say so: {warnings:?}"));
        }
        let took = self.world.clock.now() - asked;
        if took > 40_000 {
            return Err(format!("10: an answer without region {name} took {took} ms"));
        }
        Ok(())
    }

    /// Ends all faults; soon everything agrees.
    async fn peace(&mut self) -> Result<(), String> {
        let network = self.world.network.clone();
        let latency = Duration::from_millis(10);
        network.set_conditions(Conditions { latency, ..Conditions::default() });
        network.clear_paths();
        (0..REGIONS.len()).for_each(|region| network.heal(hub_address(), region_address(region)));
        for index in 0..self.world.edges.len() {
            let number = self.world.edges[index].number;
            network.heal(region_address(region_of(number)), edge_address(number));
            // Some died between storing and acting, and none may die any more.
            self.world.crash_edge(index).await;
            self.world.start_edge(index, Ills::default());
        }
        let since = self.world.clock.now();
        loop {
            let missing: Vec<_> = match self.world.ask().await {
                Ok(warnings) => warnings.into_iter().filter(|text| text.contains("is missing")).collect(),
                Err(error) => vec![error],
            };
            let unsettled = self.world.unsettled();
            let waiting = self.world.waiting();
            self.world.model.lock().unwrap().verdict()?;
            if unsettled.is_none() && waiting == 0 && missing.is_empty() {
                return Ok(());
            }
            if u128::from(self.world.clock.now() - since) > PEACE.as_millis() {
                return Err(format!("no agreement: {unsettled:?}, {waiting} items wait, {missing:?}"));
            }
            self.world.pass(0.5).await;
        }
    }

    /// A plan passes telemetry that fills a thin line (invariant 7).
    async fn control_beside_bulk(&mut self) -> Result<(), String> {
        let index = self.any_edge();
        let number = self.world.edges[index].number;
        let latency = Duration::from_millis(20);
        let thin = Conditions { latency, bandwidth: Some(2_000_000), ..Conditions::default() };
        self.world.network.set_path(edge_address(number), region_address(region_of(number)), thin);
        // 1.9 MB: more than seven seconds.
        for _ in 0..64 {
            self.push(index, 60_000);
        }
        self.world.pass(1.0).await;
        self.world.edges[index].version += 1;
        // Blobs are bulk themselves: this is about what fits the control lane.
        if plans::is_big(self.world.edges[index].version) {
            self.world.edges[index].version += 1;
        }
        self.world.publish(index);
        let published = tokio::time::Instant::now();
        while let Some(reason) = self.world.unsettled() {
            if published.elapsed() > CONTROL {
                return Err(format!("7: a plan for {} waits behind telemetry: {reason}", edge_id(number)));
            }
            self.world.pass(0.02).await;
        }
        if self.world.waiting() == 0 {
            return Err("7: the telemetry was too little to be in the way".to_owned());
        }
        self.world.network.clear_paths();
        Ok(())
    }
}
