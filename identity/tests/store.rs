//! Identities on disk, also after a crash.

#![allow(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::wildcard_enum_match_arm)]

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;

use identity::store::StoreError;
use identity::{
    AgentIdentity, Authority, DeviceKey, FileStore, KeyKind, KeyStore as _, SeededEntropy, SystemEntropy,
    TlsKey,
};
use protocol::id::{AgentId, EdgeId};

const NOW: u64 = 1_790_000_000_000;

fn identity(device: DeviceKey, name: &str) -> AgentIdentity {
    let mut entropy = SeededEntropy::new(9);
    let authority = Authority::create("fleet.example", NOW, &mut entropy).unwrap();
    let tls = TlsKey::generate_kind(KeyKind::P256, &mut entropy).unwrap();
    let agent = AgentId::Edge(EdgeId([7; 16]));
    let chain = authority.issue(&agent, &tls.signing_request().unwrap(), NOW, &mut entropy).unwrap();
    let (not_before, not_after) = identity::certificate::validity(&chain[0]).unwrap();
    AgentIdentity {
        agent,
        name: name.to_owned(),
        region: "eu".parse().unwrap(),
        chain,
        tls,
        device,
        trust: authority.trust(),
        endpoints: vec!["eu.example:4433".to_owned()],
        not_before,
        not_after,
        returns: 0,
        clock_ahead_ms: 0,
        placed: identity::Placed::default(),
        lineage: protocol::trust::TrustChain::default(),
    }
}

fn files(directory: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(directory)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn an_identity_reads_back_as_it_was_and_only_its_owner_can_read_it() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("edge");
    let store = FileStore::new(&directory);
    assert!(store.load().unwrap().is_none());
    assert!(matches!(AgentIdentity::load(&directory), Err(StoreError::Missing { .. })));
    let device = store.device_key(&mut SystemEntropy).unwrap();
    assert_eq!(store.device_key(&mut SystemEntropy).unwrap().public(), device.public());
    let first = identity(device, "shop-1");
    first.store(&directory).unwrap();
    let loaded = AgentIdentity::load(&directory).unwrap();
    assert_eq!((&loaded.agent, &loaded.name, &loaded.chain), (&first.agent, &first.name, &first.chain));
    assert_eq!((&loaded.trust, &loaded.endpoints), (&first.trust, &first.endpoints));
    assert_eq!((loaded.not_before, loaded.not_after), (first.not_before, first.not_after));
    assert_eq!(loaded.tls.spki_hash(), first.tls.spki_hash());
    assert_eq!(loaded.device.public(), first.device.public());
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&directory), 0o700);
    assert_eq!(mode(&directory.join("device.key")), 0o600);
    for name in ["chain.pem", "identity.json", "tls.key"] {
        assert_eq!(mode(&directory.join("identity-00000001").join(name)), 0o600);
    }
}

#[test]
fn an_identity_from_before_sealing_is_due_for_renewal_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    let device = store.device_key(&mut SystemEntropy).unwrap();
    store.store(&identity(device, "shop-1")).unwrap();
    assert!(!store.load().unwrap().unwrap().renewal_due(NOW));
    let file = directory.path().join("identity-00000001").join("identity.json");
    let mut record: serde_json::Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
    record.as_object_mut().unwrap().remove("sealing").expect("it is written");
    fs::write(&file, record.to_string()).unwrap();
    let old = store.load().unwrap().unwrap();
    assert!(old.renewal_due(NOW));
    // What is renewed for another reason meanwhile is still due.
    store.store(&old).unwrap();
    assert!(store.load().unwrap().unwrap().renewal_due(NOW));
}

#[test]
fn a_crash_while_storing_leaves_the_one_before() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    let device = store.device_key(&mut SystemEntropy).unwrap();
    store.store(&identity(device.clone(), "first")).unwrap();
    // As left by a crash between the files and the rename.
    let half = directory.path().join("identity.new");
    fs::create_dir(&half).unwrap();
    fs::write(half.join("tls.key"), "half").unwrap();
    assert_eq!(store.load().unwrap().unwrap().name, "first");
    for name in ["second", "third", "fourth"] {
        store.store(&identity(device.clone(), name)).unwrap();
        assert_eq!(store.load().unwrap().unwrap().name, name);
    }
    assert_eq!(files(directory.path()), ["device.key", "identity-00000003", "identity-00000004"]);
}

#[test]
fn damage_is_named_with_its_file() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    let device = store.device_key(&mut SystemEntropy).unwrap();
    store.store(&identity(device, "shop-1")).unwrap();
    let version = directory.path().join("identity-00000001");
    for name in ["chain.pem", "identity.json", "tls.key"] {
        let path = version.join(name);
        let good = fs::read(&path).unwrap();
        fs::write(&path, "damaged").unwrap();
        let error = store.load().unwrap_err().to_string();
        assert!(error.contains(name) && error.contains("damaged"), "{error}");
        fs::remove_file(&path).unwrap();
        assert!(store.load().unwrap_err().to_string().contains("is missing"));
        fs::write(&path, good).unwrap();
    }
    fs::write(directory.path().join("device.key"), "x").unwrap();
    assert!(store.load().unwrap_err().to_string().contains("device.key"));
}

#[test]
fn another_device_s_identity_is_not_stored() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    store.device_key(&mut SystemEntropy).unwrap();
    let stranger = DeviceKey::generate(&mut SystemEntropy);
    assert!(matches!(store.store(&identity(stranger, "shop-1")), Err(StoreError::Damaged { .. })));
    assert!(store.load().unwrap().is_none());
}

#[test]
fn a_named_secret_is_drawn_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    let secret = store.secret("link", &mut SystemEntropy).unwrap();
    assert_eq!(FileStore::new(directory.path()).secret("link", &mut SystemEntropy).unwrap(), secret);
    assert_ne!(store.secret("other", &mut SystemEntropy).unwrap(), secret);
}

#[test]
fn the_key_of_a_return_stays_until_it_is_answered_and_is_used_once() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    let device = store.device_key(&mut SystemEntropy).unwrap();
    store.store(&identity(device.clone(), "before")).unwrap();
    let key = store.pending_key().unwrap();
    // Also for the program after this one.
    let again = FileStore::new(directory.path());
    assert_eq!(again.pending_key().unwrap().spki_hash(), key.spki_hash());
    let mode = fs::metadata(directory.path().join("pending.key")).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode, 0o600);
    let returned =
        AgentIdentity { tls: key.clone(), returns: 3, clock_ahead_ms: -5, ..identity(device, "after") };
    store.store(&returned).unwrap();
    assert!(!directory.path().join("pending.key").exists());
    let loaded = store.load().unwrap().unwrap();
    assert_eq!((loaded.returns, loaded.clock_ahead_ms), (3, -5));
    // A crash may have left the key beside the identity it belongs to.
    let tls = fs::read(directory.path().join("identity-00000002/tls.key")).unwrap();
    fs::write(directory.path().join("pending.key"), tls).unwrap();
    assert_ne!(store.pending_key().unwrap().spki_hash(), key.spki_hash());
    fs::write(directory.path().join("pending.key"), "nonsense").unwrap();
    let made = store.pending_key().unwrap();
    assert_eq!(store.pending_key().unwrap().spki_hash(), made.spki_hash());
}

#[test]
fn an_identity_that_a_newer_program_wrote_is_read_as_far_as_it_is_known() {
    let parent = tempfile::tempdir().unwrap();
    let directory = parent.path().join("edge");
    let store = FileStore::new(&directory);
    let mut kept = identity(store.device_key(&mut SystemEntropy).unwrap(), "till-7");
    let later = (0xfff0, bytes::Bytes::from_static(b"what nobody knows"));
    kept.lineage.ext.push(later.clone());
    store.store(&kept).unwrap();
    let path = directory.join("identity-00000001/identity.json");
    let text = fs::read_to_string(&path).unwrap();
    let text = text.replacen('{', "{\"fieldOfLater\": {\"a\": [1]},", 1);
    fs::write(&path, text.replacen("\"trust\": {", "\"trust\": {\"alsoLater\": true,", 1)).unwrap();
    let read = store.load().unwrap().unwrap();
    assert_eq!((read.agent, read.name.as_str()), (kept.agent, "till-7"));
    assert_eq!((read.trust, read.lineage.ext), (kept.trust, vec![later]));
}

#[test]
fn identities_that_are_stored_at_once_are_not_mixed() {
    let directory = tempfile::tempdir().unwrap();
    let store = FileStore::new(directory.path());
    let device = store.device_key(&mut SystemEntropy).unwrap();
    let base = identity(device, "base");
    let identities: Vec<AgentIdentity> = (0..4)
        .map(|number| {
            let tls = TlsKey::generate().unwrap();
            AgentIdentity { name: format!("edge-{number}"), tls, ..base.clone() }
        })
        .collect();
    std::thread::scope(|scope| {
        for identity in &identities {
            // Whoever stores has a store of its own, as the parts of an agent do.
            let store = FileStore::new(directory.path());
            scope.spawn(move || (0..25).for_each(|_| store.store(identity).unwrap()));
        }
    });
    let kept = store.load().unwrap().unwrap();
    let stored = identities.iter().find(|identity| identity.name == kept.name).unwrap();
    assert_eq!(kept.tls.spki_hash(), stored.tls.spki_hash());
}
