//! Pairs of sessions in virtual time, and the whole event x state matrix as a golden file.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

mod samples;

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;

use bytes::Bytes;
use proptest::prelude::*;
use protocol::enrolment::{Refusal, RefusalReason};
use protocol::frame::{FrameError, FrameReader, Message};
use protocol::lane::{CONTROL, Framed as _, HELLO, Lane};
use protocol::message::Control;
use protocol::session::{Close, CloseCode, DRAIN_MS, Ending, Event, GREETING_MS, Session, State, Transmit};

fn refusal() -> Refusal {
    let message = "not today".to_owned();
    Refusal { reason: RefusalReason::Unavailable, message, retry_after_ms: Some(1000) }
}

fn message(control: &Control) -> Message {
    control.to_message().unwrap()
}

const PING: Control = Control::Ping { nonce: 1, reply: false };
const PONG: Control = Control::Ping { nonce: 1, reply: true };

/// One end with its reader and what it told.
struct End {
    session: Session,
    reader: FrameReader,
    events: Vec<Event>,
}

/// Two ends and the bytes between them, each way with a delay.
struct Pair {
    now: u64,
    ends: [End; 2],
    flights: BTreeMap<(u64, u64), (usize, Flight)>,
    sequence: u64,
    delay: u64,
    cut: bool,
}

enum Flight {
    Bytes(Bytes),
    Close(String),
}

impl Pair {
    fn new(delay: u64) -> Self {
        let end = |session| End { session, reader: FrameReader::new(Lane::Control), events: Vec::new() };
        let lower = Session::lower(&samples::hello(), 0).unwrap();
        Self {
            now: 0,
            ends: [end(lower), end(Session::upper(0))],
            flights: BTreeMap::new(),
            sequence: 0,
            delay,
            cut: false,
        }
    }

    /// Runs until nothing is under way and no deadline is left, or until `until`.
    fn run(&mut self, until: u64) {
        loop {
            self.drain();
            let flight = self.flights.first_key_value().map(|((at, _), _)| *at);
            let deadline =
                self.ends.iter().filter_map(|end| end.session.poll_timeout()).map(|(at, _)| at).min();
            let Some(next) = [flight, deadline].into_iter().flatten().min().filter(|at| *at <= until) else {
                self.now = until;
                return;
            };
            self.now = next;
            if flight == Some(next)
                && let Some((_, (to, flight))) = self.flights.pop_first()
            {
                self.deliver(to, &flight);
            }
            for end in &mut self.ends {
                end.session.handle_timeout(next);
            }
        }
    }

    fn drain(&mut self) {
        for (index, end) in self.ends.iter_mut().enumerate() {
            while let Some(transmit) = end.session.poll_transmit() {
                let flight = match transmit {
                    Transmit::Frames(bytes) => Flight::Bytes(bytes),
                    Transmit::Close(close) => Flight::Close(close.reason),
                };
                if !self.cut {
                    self.sequence += 1;
                    self.flights.insert((self.now + self.delay, self.sequence), (1 - index, flight));
                }
            }
            while let Some(event) = end.session.poll_event() {
                end.events.push(event);
            }
        }
    }

    fn deliver(&mut self, to: usize, flight: &Flight) {
        let end = &mut self.ends[to];
        match flight {
            Flight::Close(reason) => end.session.handle_lost(reason.clone()),
            Flight::Bytes(bytes) => {
                end.reader.feed(bytes);
                while let Some(message) = end.reader.next().unwrap() {
                    end.session.handle_frame(&message);
                }
            }
        }
    }

    fn up(&mut self) {
        self.run(self.now + 2 * self.delay);
        assert!(matches!(self.ends[1].events.pop(), Some(Event::Hello(hello)) if *hello == samples::hello()));
        self.ends[1].session.welcome(&samples::welcome());
        self.run(self.now + 2 * self.delay);
        assert!(
            matches!(self.ends[0].events.pop(), Some(Event::Up(welcome)) if *welcome == samples::welcome())
        );
    }

    fn states(&self) -> [State; 2] {
        [self.ends[0].session.state(), self.ends[1].session.state()]
    }
}

#[test]
fn a_link_is_up_below_only_after_the_welcome() {
    let mut pair = Pair::new(50);
    pair.run(60);
    assert_eq!(pair.states(), [State::AwaitingWelcome, State::Deciding]);
    assert_eq!(pair.ends[0].session.send(&message(&PONG)), Err(protocol::session::NotUp));
    pair.ends[1].session.welcome(&samples::welcome());
    pair.run(100);
    assert_eq!(pair.states(), [State::AwaitingWelcome, State::Up]);
    pair.run(200);
    assert_eq!(pair.states(), [State::Up, State::Up]);
}

#[test]
fn control_arrives_in_order_and_a_ping_is_answered_by_the_session_itself() {
    let mut pair = Pair::new(10);
    pair.up();
    let all: VecDeque<Control> = samples::controls()
        .into_iter()
        .map(|(_, control)| control)
        .filter(|control| !matches!(control, Control::Goodbye(_) | Control::Ping { .. }))
        .collect();
    for control in &all {
        pair.ends[0].session.send(&message(control)).unwrap();
    }
    pair.ends[0].session.send(&message(&PING)).unwrap();
    pair.run(1_000);
    let got: VecDeque<Control> = pair.ends[1]
        .events
        .iter()
        .map(|event| match event {
            Event::Control(control) => control.clone(),
            other @ (Event::Hello(_) | Event::Up(_) | Event::Closed(_)) => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(got, all);
    assert_eq!(pair.ends[0].events, [Event::Control(PONG)]);
}

#[test]
fn a_refused_peer_learns_why_and_both_sides_end() {
    let mut pair = Pair::new(50);
    pair.run(100);
    pair.ends[1].events.clear();
    pair.ends[1].session.refuse(refusal(), pair.now);
    assert_eq!(pair.states()[1], State::Draining);
    pair.run(10_000);
    assert_eq!(pair.states(), [State::Closed, State::Closed]);
    assert_eq!(pair.ends[0].events, [Event::Closed(Ending::Peer(refusal()))]);
    let close = Close::new(CloseCode::GoingAway, "not today");
    assert_eq!(pair.ends[1].events, [Event::Closed(Ending::Local(close))]);
}

#[test]
fn either_side_can_say_goodbye() {
    for index in [0, 1] {
        let mut pair = Pair::new(50);
        pair.up();
        let now = pair.now;
        pair.ends[index].session.close(refusal(), now);
        pair.run(10_000);
        assert_eq!(pair.states(), [State::Closed, State::Closed]);
        assert_eq!(pair.ends[1 - index].events, [Event::Closed(Ending::Peer(refusal()))]);
    }
}

#[test]
fn a_peer_that_does_not_leave_is_left_after_the_drain_time() {
    let mut pair = Pair::new(50);
    pair.up();
    pair.cut = true;
    let now = pair.now;
    pair.ends[1].session.close(refusal(), now);
    pair.run(now + DRAIN_MS - 1);
    assert_eq!(pair.states()[1], State::Draining);
    pair.run(now + DRAIN_MS);
    assert_eq!(pair.states()[1], State::Closed);
}

#[test]
fn silence_in_the_greeting_ends_both_sides_at_their_deadline() {
    let mut pair = Pair::new(50);
    pair.cut = true;
    pair.run(GREETING_MS - 1);
    assert_eq!(pair.states(), [State::AwaitingWelcome, State::AwaitingHello]);
    pair.run(GREETING_MS);
    assert_eq!(pair.states(), [State::Closed, State::Closed]);
    let reason = |end: &End| match &end.events[..] {
        [Event::Closed(Ending::Local(close))] => close.reason.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(reason(&pair.ends[0]), "no welcome within 10 s");
    assert_eq!(reason(&pair.ends[1]), "no hello within 10 s");
}

#[test]
fn nothing_comes_after_closed() {
    let mut pair = Pair::new(50);
    pair.up();
    pair.ends[0].session.handle_lost("cable");
    pair.run(100);
    pair.ends[0].events.clear();
    for (_, input) in inputs() {
        input(&mut pair.ends[0].session);
    }
    pair.run(100_000);
    assert!(pair.ends[0].events.is_empty());
    assert_eq!(pair.ends[0].session.poll_timeout(), None);
}

type Input = Box<dyn Fn(&mut Session)>;

/// Everything that can happen to a session.
fn inputs() -> Vec<(&'static str, Input)> {
    fn frame(message: Message) -> Input {
        Box::new(move |session| session.handle_frame(&message))
    }
    let garbage = |kind| Message { kind, body: Bytes::from_static(b"\xff\xff") };
    vec![
        ("hello", frame(samples::hello().to_message().unwrap())),
        ("welcome", frame(samples::welcome().to_message().unwrap())),
        ("refused", frame(refusal().to_message().unwrap())),
        ("control", frame(message(&Control::ReportAck { edge: None, sequence: 1 }))),
        ("ping", frame(message(&PING))),
        ("pong", frame(message(&PONG))),
        ("goodbye", frame(message(&Control::Goodbye(refusal())))),
        ("garbled hello", frame(garbage(HELLO))),
        ("garbled control", frame(garbage(CONTROL))),
        (
            "frame error",
            Box::new(|session| session.handle_error(&FrameError::Reordered { expected: 1, got: 2 })),
        ),
        ("deadline", Box::new(|session| session.handle_timeout(u64::MAX))),
        ("lost", Box::new(|session| session.handle_lost("cable"))),
        ("fault", Box::new(|session| session.handle_fault(Close::new(CloseCode::TooSlow, "slow")))),
        ("welcome()", Box::new(|session| session.welcome(&samples::welcome()))),
        ("refuse()", Box::new(|session| session.refuse(refusal(), 0))),
        (
            "send()",
            Box::new(|session| {
                let _ = session.send(&message(&Control::ReportAck { edge: None, sequence: 1 }));
            }),
        ),
        ("close()", Box::new(|session| session.close(refusal(), 0))),
    ]
}

/// A session in each state it can have.
fn states() -> Vec<(&'static str, Session)> {
    let lower = || Session::lower(&samples::hello(), 0).unwrap();
    let deciding = || {
        let mut session = Session::upper(0);
        session.handle_frame(&samples::hello().to_message().unwrap());
        session
    };
    let lower_up = || {
        let mut session = lower();
        session.handle_frame(&samples::welcome().to_message().unwrap());
        session
    };
    let upper_up = || {
        let mut session = deciding();
        session.welcome(&samples::welcome());
        session
    };
    let closed = |mut session: Session| {
        session.close(refusal(), 0);
        session
    };
    let lost = |mut session: Session| {
        session.handle_lost("cable");
        session
    };
    vec![
        ("lower AwaitingWelcome", lower()),
        ("lower Up", lower_up()),
        ("lower Draining", closed(lower_up())),
        ("lower Closed", lost(lower_up())),
        ("upper AwaitingHello", Session::upper(0)),
        ("upper Deciding", deciding()),
        ("upper Up", upper_up()),
        ("upper Draining", closed(upper_up())),
        ("upper Closed", lost(upper_up())),
    ]
}

fn describe(session: &mut Session) -> String {
    let mut text = format!("{:?}", session.state());
    while let Some(transmit) = session.poll_transmit() {
        match transmit {
            Transmit::Frames(bytes) => {
                let mut reader = FrameReader::new(Lane::Control);
                // Numbers do not matter here: every frame is looked at as if it were the first.
                let mut first = bytes.to_vec();
                first[8..16].fill(0);
                reader.feed(&first);
                let message = reader.next().unwrap().unwrap();
                write!(text, ", writes {:#06x}", message.kind).unwrap();
            }
            Transmit::Close(close) => write!(text, ", closes {:?} \"{}\"", close.code, close.reason).unwrap(),
        }
    }
    while let Some(event) = session.poll_event() {
        match event {
            Event::Hello(_) => text.push_str(", tells Hello"),
            Event::Up(_) => text.push_str(", tells Up"),
            Event::Control(control) => write!(text, ", tells {:#06x}", control.kind()).unwrap(),
            Event::Closed(Ending::Peer(refusal)) => {
                write!(text, ", tells Closed by peer \"{}\"", refusal.message).unwrap();
            }
            Event::Closed(Ending::Lost(detail)) => write!(text, ", tells Closed lost \"{detail}\"").unwrap(),
            Event::Closed(Ending::Local(close)) => {
                write!(text, ", tells Closed here {:?}", close.code).unwrap()
            }
        }
    }
    text
}

#[test]
fn the_event_by_state_matrix_is_as_committed() {
    let mut text = String::new();
    let names: Vec<&str> = states().iter().map(|(name, _)| *name).collect();
    for (index, name) in names.iter().enumerate() {
        writeln!(text, "{name}").unwrap();
        for (input, apply) in inputs() {
            let (_, mut session) = states().swap_remove(index);
            while session.poll_transmit().is_some() {}
            while session.poll_event().is_some() {}
            apply(&mut session);
            writeln!(text, "  {input:<16} -> {}", describe(&mut session)).unwrap();
        }
    }
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/session-matrix.txt");
    if std::env::var_os("SKEIN_BLESS").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), text, "SKEIN_BLESS=1 writes it anew");
}

proptest! {
    #[test]
    fn whatever_happens_a_session_ends_once_and_says_nothing_afterwards(
        start in 0_usize..9,
        steps in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let inputs = inputs();
        let (_, mut session) = states().swap_remove(start);
        while session.poll_transmit().is_some() {}
        while session.poll_event().is_some() {}
        let mut ended = session.state() == State::Closed;
        let mut closed = ended;
        for step in steps {
            let (_, input) = step.get(&inputs);
            input(&mut session);
            while let Some(transmit) = session.poll_transmit() {
                prop_assert!(!closed, "{transmit:?} after the close");
                closed = matches!(transmit, Transmit::Close(_));
            }
            while let Some(event) = session.poll_event() {
                prop_assert!(!ended, "{event:?} after the end");
                ended = matches!(event, Event::Closed(_));
            }
            prop_assert_eq!(ended, session.state() == State::Closed);
            // A deadline exists exactly while something is waited for.
            let waits = !matches!(session.state(), State::Up | State::Deciding | State::Closed);
            prop_assert_eq!(session.poll_timeout().is_some(), waits);
            closed |= ended;
        }
    }
}
