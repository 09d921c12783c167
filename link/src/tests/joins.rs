//! Joining, with good tokens and bad.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use identity::join::{accept_grant, unknown_token};
use identity::token::TokenScope;
use identity::{
    AgentIdentity, DeviceKey, JoinToken, KeyKind, TlsKey, TokenRecord, TokenRole, check_join,
    make_join_request,
};
use protocol::enrolment::{JoinGrant, JoinRequest, Refusal, RefusalReason};
use protocol::message::Response;

use super::world::{Above, PORT, START, World, address, region, simulate};
use crate::network::simulated::Conditions;
use crate::{DownlinkEvent, JoinError, JoinParams, join};

const HOUR: u64 = 3_600_000;

fn token(world: &mut World) -> (JoinToken, TokenRecord) {
    let scope = TokenScope {
        endpoints: vec![format!("{}:{PORT}", address(1))],
        pins: world.authority.pins(),
        not_after: START + HOUR,
        region: region("eu"),
        role: TokenRole::Edge,
    };
    let (token, public_key) = JoinToken::mint(scope, &mut world.entropy);
    let record = TokenRecord {
        public_key,
        not_after: token.not_after,
        uses_max: 1,
        uses: Vec::new(),
        revoked: false,
        region: token.region.clone(),
        role: token.role,
        name: None,
        labels: BTreeMap::from([("tier".to_owned(), "shop".to_owned())]),
    };
    (token, record)
}

/// A device with its keys.
struct Device {
    key: DeviceKey,
    tls: TlsKey,
}

impl Device {
    fn new(world: &mut World) -> Self {
        let key = DeviceKey::generate(&mut world.entropy);
        let tls = TlsKey::generate_kind(KeyKind::Ed25519, &mut world.entropy).unwrap();
        Self { key, tls }
    }

    fn request(&self, token: &JoinToken) -> JoinRequest {
        let none = BTreeMap::new;
        make_join_request(token, &self.key, &self.tls, "shop-1", none(), none()).unwrap()
    }
}

/// One join: the device asks over the network, the hub decides by the record.
async fn attempt(
    world: &mut World,
    above: &mut Above,
    token: &JoinToken,
    request: JoinRequest,
    record: &mut TokenRecord,
) -> Result<JoinGrant, JoinError> {
    let network = world.network.node(address(7));
    let clock = Arc::new(world.clock.clone());
    let now = identity::Clock::now(&*clock);
    let deadline = Duration::from_secs(30);
    let mut entropy = identity::SeededEntropy::new(5);
    let params = JoinParams { token, request, network, clock, entropy: &mut entropy, deadline };
    let authority = &world.authority;
    let decide = async {
        let DownlinkEvent::Join { request, responder, .. } = above.next().await else { panic!("no join") };
        let decision = match check_join(&request, record, now) {
            Ok(decision) => decision,
            Err(refusal) => return responder.respond(Response::Refused(refusal)),
        };
        record.uses.extend(decision.binding);
        let mut entropy = identity::SeededEntropy::new(6);
        responder.respond(Response::Joined(JoinGrant {
            chain: authority.issue(&decision.agent, &request.csr, now, &mut entropy).unwrap(),
            agent: decision.agent,
            name: decision.name,
            region: record.region.clone(),
            trust: authority.trust(),
            endpoints: vec![format!("{}:{PORT}", address(1))],
            time: now,
            ext: vec![authority.vouch(&authority.trust()).unwrap()],
        }));
    };
    // A join that is refused in the handshake never reaches the hub.
    tokio::select! {
        biased;
        (answer, ()) = async { tokio::join!(join(params), decide) } => answer,
        () = tokio::time::sleep(Duration::from_secs(40)) => Err(JoinError::Deadline(deadline)),
    }
}

fn refusal(answer: Result<JoinGrant, JoinError>) -> Refusal {
    match answer {
        Err(JoinError::Refused(refusal)) => refusal,
        other => panic!("expected a refusal, got {other:?}"),
    }
}

#[test]
fn a_device_joins_and_links_with_what_it_was_given() {
    simulate(async {
        let mut world = World::new(30, Conditions::bad());
        let mut above = world.region().await;
        let (token, mut record) = token(&mut world);
        let device = Device::new(&mut world);
        let request = device.request(&token);
        let grant = attempt(&mut world, &mut above, &token, request, &mut record).await.unwrap();
        assert_eq!(grant.name, "shop-1");
        let identity: AgentIdentity = accept_grant(&token, device.key, device.tls, grant).unwrap();
        let mut below = world.dial(identity, 7, 1);
        below.up().await;
        above.up().await;
    });
}

#[test]
fn the_same_device_asking_again_gets_the_same_answer_and_another_is_refused() {
    simulate(async {
        let mut world = World::new(31, Conditions::default());
        let mut above = world.region().await;
        let (token, mut record) = token(&mut world);
        let (first, second) = (Device::new(&mut world), Device::new(&mut world));
        let request = first.request(&token);
        let one = attempt(&mut world, &mut above, &token, request, &mut record).await.unwrap();
        let request = first.request(&token);
        let again = attempt(&mut world, &mut above, &token, request, &mut record).await.unwrap();
        assert_eq!(one.agent, again.agent);
        let request = second.request(&token);
        let refused = refusal(attempt(&mut world, &mut above, &token, request, &mut record).await);
        assert_eq!(refused.reason, RefusalReason::TokenUsed);
        // Whoever listened cannot replay the request for a key of their own.
        let mut stolen = first.request(&token);
        stolen.device_key = second.key.public();
        let refused = refusal(attempt(&mut world, &mut above, &token, stolen, &mut record).await);
        assert_eq!(refused.reason, RefusalReason::ProofInvalid);
        assert_eq!(record.uses.len(), 1);
    });
}

#[test]
fn an_expired_withdrawn_or_forged_token_is_refused_with_its_reason() {
    simulate(async {
        let mut world = World::new(32, Conditions::default());
        let mut above = world.region().await;
        let (good, mut record) = token(&mut world);
        let device = Device::new(&mut world);
        let (mut forged, _) = token(&mut world);
        forged.id = good.id;
        let request = device.request(&forged);
        let refused = refusal(attempt(&mut world, &mut above, &good, request, &mut record).await);
        assert_eq!(refused.reason, RefusalReason::ProofInvalid);
        record.revoked = true;
        let request = device.request(&good);
        let refused = refusal(attempt(&mut world, &mut above, &good, request, &mut record).await);
        assert_eq!(refused.reason, RefusalReason::TokenRevoked);
        record.revoked = false;
        world.clock.shift(2 * 3_600_000);
        let request = device.request(&good);
        let refused = refusal(attempt(&mut world, &mut above, &good, request, &mut record).await);
        assert_eq!(refused.reason, RefusalReason::TokenExpired);
        assert!(refused.message.contains("3600 s ago"), "{}", refused.message);
        assert!(unknown_token(good.id).message.contains("not known here"));
    });
}

#[test]
fn a_listener_with_another_root_than_the_pinned_is_not_told_the_request() {
    simulate(async {
        let mut world = World::new(33, Conditions::default());
        let mut above = world.region().await;
        let (mut token, _) = token(&mut world);
        token.pins = vec![[7; 32]];
        let device = Device::new(&mut world);
        let request = device.request(&token);
        let network = world.network.node(address(7));
        let clock = Arc::new(world.clock.clone());
        let mut entropy = identity::SeededEntropy::new(5);
        let deadline = Duration::from_secs(30);
        let params = JoinParams { token: &token, request, network, clock, entropy: &mut entropy, deadline };
        let answer = join(params).await;
        assert!(matches!(&answer, Err(JoinError::Unreachable(text)) if text.contains("pins")), "{answer:?}");
        // Nothing but this second, good join reaches the hub.
        let (good, mut record) = self::token(&mut world);
        let request = device.request(&good);
        attempt(&mut world, &mut above, &good, request, &mut record).await.unwrap();
    });
}
