//! Frames of this version and of the one before, each read by the other.
//!
//! `golden/v1.2` holds every frame and body of protocol 1.2 as it was, and is never written again: nothing here blesses
//! it, and a digest stands for all of it. No copy of the reader of 1.2 is kept. Its types are those of today, as the
//! equal bytes show; what it does with what it does not know (skip a kind, keep an extension) is shown with kinds and
//! extensions that nobody knows.

#![allow(clippy::unwrap_used, clippy::panic)]

mod samples;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;

use bytes::Bytes;
use protocol::codec::{Wire, decode, encode};
use protocol::frame::{FRAME_HEADER_BYTES, FrameError, FrameReader, FrameWriter, Header, Message, REQUIRED};
use protocol::id::{AgentId, Digest, EdgeId};
use protocol::lane::{CONTROL, Framed, Lane, REQUEST, RESPONSE};
use protocol::message::{BlobDelivery, Control, Hello, Request, Response, Welcome};
use protocol::session::{Event, Session};
use protocol::telemetry::TelemetryItem;
use protocol::version::{
    Asked, FEATURES, Features, Lacks, MINOR, NEEDED, Speaks, VERSION_EXTENSION, Without, needed, needed_by,
};

/// Over all of `golden/v1.2`: names and contents, in order.
const FROZEN: &str = "f853756c82bf194b3fe642f3fba04b845018ab7dd149c314ec064166e3c9b530";

fn golden(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/golden").join(name)
}

/// The files of a folder of goldens that end like that, by name.
fn files(folder: &str, end: &str) -> BTreeMap<String, String> {
    let entries = std::fs::read_dir(golden(folder)).unwrap().map(|entry| entry.unwrap().path());
    let named = entries.filter(|path| path.is_file()).map(|path| {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        (name, std::fs::read_to_string(path).unwrap())
    });
    named.filter(|(name, _)| name.ends_with(end)).collect()
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<u8> = hex.bytes().filter(u8::is_ascii_hexdigit).collect();
    let pair = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.chunks(2).map(pair).collect()
}

/// The lane of a golden file.
fn lane(name: &str) -> Lane {
    match name.split(['-', '.']).next().unwrap() {
        "telemetry" => Lane::Telemetry,
        "blob" => Lane::Blob,
        "request" => Lane::Request,
        "response" => Lane::Response,
        _ => Lane::Control,
    }
}

/// Reads a message as what its kind says, and writes it again.
fn again(message: &Message) -> Message {
    fn one<T: Framed>(message: &Message) -> Message {
        T::from_message(message).unwrap().to_message().unwrap()
    }
    match message.kind {
        1 => one::<Hello>(message),
        2 => one::<Welcome>(message),
        3 => one::<protocol::enrolment::Refusal>(message),
        kind if kind < 0x200 => one::<Control>(message),
        kind if kind < 0x300 => one::<TelemetryItem>(message),
        kind if kind < REQUEST => one::<BlobDelivery>(message),
        kind if kind < RESPONSE => one::<Request>(message),
        _ => one::<Response>(message),
    }
}

#[test]
fn what_1_2_sent_is_frozen() {
    let mut all = String::new();
    for (name, text) in files("v1.2", "") {
        writeln!(all, "{name}\n{text}").unwrap();
    }
    let digest = Digest::of(all.as_bytes()).to_string();
    assert_eq!(
        digest, FROZEN,
        "protocol/tests/golden/v1.2 was changed: what agents out there send does not change"
    );
}

#[test]
fn what_1_2_sent_is_read_and_would_be_sent_with_the_same_bytes() {
    for (name, text) in files("v1.2", ".hex").into_iter().filter(|(name, _)| !name.starts_with("body-")) {
        let frames = bytes(&text);
        let mut reader = FrameReader::new(lane(&name));
        reader.feed(&frames);
        let message = reader.next().unwrap().unwrap_or_else(|| panic!("{name} is skipped"));
        assert_eq!(reader.finish(), Ok(()), "{name}");
        assert_eq!(FrameWriter::default().write(&again(&message)), frames, "{name}");
    }
}

#[test]
fn no_layout_of_1_2_is_another_one_today() {
    let today = files("", ".hex");
    for (name, text) in files("v1.2", ".hex") {
        assert_eq!(
            today.get(&name),
            Some(&text),
            "{name}: a layout is for good; add a kind or an extension instead"
        );
    }
}

#[test]
fn what_is_new_today_is_skipped_or_kept_by_whoever_does_not_know_it() {
    let version = |minor| Speaks::of_minor(minor).tell().unwrap();
    let lacks = Lacks::of(Features::of_minor(MINOR)).tell().unwrap();
    let unknown = (0xfff0, Bytes::from_static(b"what nobody knows"));
    let mut hello = samples::hello();
    hello.ext = vec![version(MINOR), lacks.clone(), unknown.clone()];
    let mut welcome = samples::welcome();
    welcome.ext = vec![version(1), lacks, unknown.clone()];
    let mut body = samples::plan_body();
    body.units[0].ext.push(unknown.clone());
    body.ext.push(unknown);
    fn kept<T: Wire + PartialEq + std::fmt::Debug>(value: &T) {
        assert_eq!(decode::<T>(&encode(value), 1 << 20).as_ref(), Ok(value));
    }
    kept(&hello);
    kept(&welcome);
    kept(&body);
    // A reader takes a kind that it does not know for nothing, and goes on behind it.
    let ping = Control::Ping { nonce: 1, reply: true }.to_message().unwrap();
    let later = Message { kind: CONTROL + 0xf0, body: Bytes::from_static(b"a message of later") };
    let mut writer = FrameWriter::default();
    let mut reader = FrameReader::new(Lane::Control);
    reader.feed(&writer.write(&later));
    reader.feed(&writer.write(&ping));
    assert_eq!(reader.next(), Ok(Some(ping)));
    // Unless it must not.
    let header = Header { length: 0, kind: later.kind, flags: REQUIRED, sequence: 0 }.encode();
    assert_eq!(header.len(), FRAME_HEADER_BYTES);
    let mut reader = FrameReader::new(Lane::Control);
    reader.feed(&header);
    assert_eq!(reader.next(), Err(FrameError::UnknownRequired { kind: later.kind, lane: "control" }));
}

#[test]
fn a_session_of_today_greets_one_of_before_and_of_later() {
    for ext in [Vec::new(), vec![(VERSION_EXTENSION, Bytes::from_static(&[0xff; 40]))], vec![]] {
        let hello = Hello { ext, features: u64::MAX, ..samples::hello() };
        let mut upper = Session::upper(0);
        upper.handle_frame(&hello.to_message().unwrap());
        let Some(Event::Hello(said)) = upper.poll_event() else { panic!("no hello") };
        // What cannot be read is nothing.
        assert_eq!(Speaks::told(&said.ext), Speaks::SILENT);
    }
}

/// Constants of that form in a source file: their values, each once.
fn constants(source: &str, is: impl Fn(&str) -> bool) -> Vec<u16> {
    let lines = source.lines().filter_map(|line| line.strip_prefix("pub const ")?.split_once(": u16 = "));
    lines
        .filter(|(name, _)| is(name))
        .map(|(_, value)| value.trim_end_matches(';').parse().unwrap())
        .collect()
}

#[test]
fn every_extension_of_a_unit_and_every_later_kind_has_a_row_that_decides() {
    let tags = constants(include_str!("../src/policy.rs"), |_| true);
    let row = |asked: &dyn Fn(Asked) -> bool| FEATURES.iter().filter(|feature| asked(feature.asked)).count();
    for tag in &tags {
        assert_eq!(row(&|asked| asked == Asked::Unit(*tag)), 1, "tag {tag} of a unit");
    }
    assert_eq!(tags.len(), 11, "every tag is read from the source");
    let kinds = |lane: Lane, first: u16| (0..0x100).filter(move |at| lane.limit(first + at).is_some());
    // What was there from the start needs no row.
    for kind in kinds(Lane::Control, CONTROL).filter(|kind| *kind > 12) {
        let has = |asked| matches!(asked, Asked::Control(kinds) if kinds.contains(&kind));
        assert_eq!(row(&has), 1, "control {kind}");
    }
    for kind in kinds(Lane::Request, REQUEST).filter(|kind| *kind > 3) {
        let has = |asked| matches!(asked, Asked::Request(kinds) if kinds.contains(&kind));
        assert_eq!(row(&has), 1, "request {kind}");
    }
}

#[test]
fn no_tag_of_an_extension_is_used_twice() {
    let sources = [
        include_str!("../src/delegation.rs"),
        include_str!("../src/enrolment.rs"),
        include_str!("../src/placement.rs"),
        include_str!("../src/recovery.rs"),
        include_str!("../src/sealed.rs"),
        include_str!("../src/trust.rs"),
        include_str!("../src/version.rs"),
    ];
    let all = sources.iter().flat_map(|source| constants(source, |name| name.ends_with("_EXTENSION")));
    let all: Vec<u16> = all.collect();
    let once: BTreeSet<u16> = all.iter().copied().collect();
    assert_eq!((all.len(), once), (11, (1..=11).collect()));
}

/// The table, as it is committed.
fn table() -> String {
    let mut text = String::new();
    for feature in &FEATURES {
        let asked = match feature.asked {
            Asked::Unit(tag) => format!("unit extension {tag}"),
            Asked::Setting(name) => format!("setting \"{name}\" of a plan"),
            Asked::Control(kinds) => format!("control {kinds:?}"),
            Asked::Request(kinds) => format!("request {kinds:?}"),
            Asked::Nothing => "nothing".to_owned(),
        };
        let without = match feature.without {
            Without::Sent => "sent",
            Without::Withheld => "withheld",
        };
        let (bit, since) = (feature.bit, feature.since);
        writeln!(
            text,
            "{bit:>2} 1.{since} {:<18} {:?}; {asked}; {without}: {}",
            feature.name, feature.of, feature.lost
        )
        .unwrap();
    }
    text
}

#[test]
fn bits_names_and_decisions_are_those_that_were_committed() {
    let path = golden("features.txt");
    if std::env::var_os("SKEIN_BLESS").is_some() {
        std::fs::write(&path, table()).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&path).unwrap_or_default(), table(), "SKEIN_BLESS=1 writes it anew");
    let (mut bits, mut names) = (BTreeSet::new(), BTreeSet::new());
    for (at, feature) in FEATURES.iter().enumerate() {
        assert!(bits.insert(feature.bit) && names.insert(feature.name), "{}", feature.name);
        assert_eq!(usize::from(feature.bit), at);
        assert!(feature.since <= MINOR && feature.bit < 64, "{}", feature.name);
        assert_eq!(Features::named(feature.name), Some(Features(1 << feature.bit)));
    }
    // A bit stands for what it stood for, and a feature was there since it was.
    let heads =
        |text: &str| text.lines().map(|line| line.split_once(';').unwrap().0.to_owned()).collect::<Vec<_>>();
    let (before, now) = (heads(&files("v1.2", "features.txt")["features.txt"]), heads(&table()));
    assert_eq!(now[..before.len()], before);
    for (feature, named) in [
        (Features::HOLD, "hold"),
        (Features::INQUIRY, "inquiry"),
        (Features::DELEGATED_RENEWAL, "delegated-renewal"),
        (Features::PLACEMENT, "placement"),
        (Features::TRUST_CHAIN, "trust-chain"),
    ] {
        assert_eq!(Features::named(named), Some(feature));
    }
}

#[test]
fn a_unit_needs_what_must_not_be_ignored_and_nothing_else() {
    let mut body = samples::plan_body();
    body.units[0].ext.clear();
    body.units[0].set_rollback_after(Some(3));
    body.units[0].set_reloads(true);
    assert_eq!(needed_by(&body), Features::default());
    body.units[0].set_dry_run(true);
    body.units[0].set_not_after(Some(7));
    let needs = Features::named("dry-run").unwrap().and(Features::named("not-after").unwrap());
    assert_eq!(needed(&body.units[0]), needs);
    body.settings.insert("hold".to_owned(), "{}".to_owned());
    assert_eq!(needed_by(&body), needs.and(Features::HOLD));
    assert!(NEEDED.has(needed_by(&body)) && Speaks::SILENT.features.has(NEEDED));
    assert_eq!(needed_by(&body).without(Speaks::of_minor(0).features), needed_by(&body));
}

#[test]
fn each_tier_lacks_only_what_it_can_have() {
    let lacks = |agent: &AgentId| Lacks::of(Speaks::of_minor(1).lacking(agent, Speaks::HERE)).to_string();
    let (edge, region) = (AgentId::Edge(EdgeId([1; 16])), AgentId::Region("eu".parse().unwrap()));
    assert!(!lacks(&edge).contains("delegated-renewal") && lacks(&region).contains("delegated-renewal"));
    assert!(lacks(&edge).contains("placement (1.2): it stays in its region"), "{}", lacks(&edge));
    assert_eq!(Speaks::HERE.lacking(&edge, Speaks::HERE), Features::default());
    // What the upper side has not either is not lacking.
    assert_eq!(Speaks::of_minor(1).lacking(&edge, Speaks::of_minor(1)), Features::default());
}
