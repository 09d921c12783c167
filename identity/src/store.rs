//! Where keys rest: one directory per version of an identity, swapped as a whole.
//!
//! ```text
//! <directory>/                 0700
//!   device.key                 PKCS #8 seed of the device, written once, before the first join is sent
//!   secrets/<name>             32 random bytes each, base64
//!   identity-00000007/         the highest number counts; the one before stays until the next
//!     identity.json            who, where, whom to trust: fit for reading
//!     chain.pem  tls.key
//!   pending.key                TLS key of a return that is not answered yet
//!   issuer.pem                 a region's issuing certificate, behind its key
//! ```
//! A version is written beside the others under another name, every file is synced, then the directory is
//! renamed to its number and the parent synced: after a crash at any point the highest number is complete, and
//! a key never meets the certificate of another.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use protocol::UnixMillis;
use protocol::codec::{decode, encode};
use protocol::endpoints::Endpoint;
use protocol::enrolment::{PlanKey, TrustBundle};
use protocol::id::Generation;
use protocol::placement::Site;
use protocol::plan::KeyId;
use protocol::trust::{CHAIN_BYTES_MAX, TrustChain};
use serde::{Deserialize, Serialize};

use crate::agent::AgentIdentity;
use crate::endpoints::Listed;
use crate::entropy::Entropy;
use crate::issuer::RegionIssuer;
use crate::key::{DeviceKey, ED25519_KEY_BYTES, TlsKey};
use crate::pem;
use crate::placement::Placed;

/// Longest file that is read.
const FILE_BYTES_MAX: u64 = 1024 * 1024;
/// The TLS key of a return that is under way.
const PENDING_KEY: &str = "pending.key";
/// A region's issuing key and certificate, in one file so that they belong together.
const ISSUER: &str = "issuer.pem";
/// Begin of the name of a version's directory.
const VERSION_PREFIX: &str = "identity-";

/// Why an identity cannot be kept or read.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// There is none.
    #[error("no identity in \"{}\": enrol first", path.display())]
    Missing {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// A file or directory could not be read.
    #[error("failed to read \"{}\"", path.display())]
    Read {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file or directory could not be written.
    #[error("failed to write \"{}\"", path.display())]
    Write {
        /// Which one.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A file says something else than it should.
    #[error("\"{}\" is damaged: {detail}", path.display())]
    Damaged {
        /// Which one.
        path: PathBuf,
        /// What is wrong with it.
        detail: String,
    },
}

/// Where an agent keeps who it is: files here; TPM and PKCS #11 fit behind the same trait.
pub trait KeyStore: Send + Sync {
    /// The device's key; made at the first call.
    ///
    /// # Errors
    /// [`StoreError`].
    fn device_key(&self, entropy: &mut dyn Entropy) -> Result<DeviceKey, StoreError>;

    /// The identity, if the agent is enrolled.
    ///
    /// # Errors
    /// [`StoreError`].
    fn load(&self) -> Result<Option<AgentIdentity>, StoreError>;

    /// Replaces the identity; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]; the one before then still counts.
    fn store(&self, identity: &AgentIdentity) -> Result<(), StoreError>;

    /// The TLS key of a return that is under way: made at the first call, the same until an identity is stored, so
    /// that an agent which lost the answer, or its power, asks for the same certificate again and is not taken for
    /// a copy of itself.
    ///
    /// # Errors
    /// [`StoreError`].
    fn pending_key(&self) -> Result<TlsKey, StoreError>;
}

/// One writes at a time: an agent changes its identity for several reasons, and each of them writes the same files first.
static WRITING: Mutex<()> = Mutex::new(());

/// A directory.
#[derive(Debug, Clone)]
pub struct FileStore {
    directory: PathBuf,
}

impl FileStore {
    /// Keeps everything in that directory; it is made when something is written.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self { directory: directory.into() }
    }

    /// 32 random bytes of that name, drawn at the first call and the same ever after, also after a restart.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn secret(&self, name: &str, entropy: &mut dyn Entropy) -> Result<[u8; 32], StoreError> {
        let path = self.directory.join("secrets").join(name);
        self.seed(&path, entropy)
    }

    /// The issuing certificate (DER) and its key that a region keeps; nothing when it has none.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn issuer(&self) -> Result<Option<(Bytes, TlsKey)>, StoreError> {
        let path = self.directory.join(ISSUER);
        let Some(text) = read(&path)? else { return Ok(None) };
        let (key, certificate) =
            text.split_at(text.find("-----BEGIN CERTIFICATE").ok_or_else(|| damaged(&path, "is not PEM"))?);
        let certificate =
            pem::decode("CERTIFICATE", certificate).and_then(|blocks| blocks.into_iter().next());
        let certificate = certificate.ok_or_else(|| damaged(&path, "is not PEM"))?;
        Ok(Some((Bytes::from(certificate), tls_key(&path, key)?)))
    }

    /// Keeps an issuing certificate and its key; durable when it returns.
    ///
    /// # Errors
    /// [`StoreError`]; the one before then still counts.
    pub fn store_issuer(&self, issuer: &RegionIssuer) -> Result<(), StoreError> {
        let key = pem::encode("PRIVATE KEY", issuer.key().pkcs8());
        let text = key + &pem::encode("CERTIFICATE", issuer.certificate());
        self.replace(ISSUER, text.as_bytes())
    }

    /// Writes a file beside the one before, and puts it in its place.
    fn replace(&self, name: &str, content: &[u8]) -> Result<(), StoreError> {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let path = self.directory.join(name);
        make_directory(&self.directory)?;
        let temporary = path.with_extension("new");
        remove_file(&temporary)?;
        write(&temporary, content)?;
        rename(&temporary, &path)?;
        sync_directory(&self.directory)
    }

    fn seed(&self, path: &Path, entropy: &mut dyn Entropy) -> Result<[u8; 32], StoreError> {
        if let Some(text) = read(path)? {
            return STANDARD
                .decode(text.trim())
                .ok()
                .and_then(|bytes| <[u8; ED25519_KEY_BYTES]>::try_from(bytes).ok())
                .ok_or_else(|| damaged(path, "is not the base64 of 32 bytes"));
        }
        let mut seed = [0; ED25519_KEY_BYTES];
        entropy.fill(&mut seed);
        let parent = path.parent().unwrap_or(&self.directory);
        make_directory(&self.directory)?;
        make_directory(parent)?;
        let temporary = path.with_extension("new");
        remove_file(&temporary)?;
        write(&temporary, format!("{}\n", STANDARD.encode(seed)).as_bytes())?;
        rename(&temporary, path)?;
        sync_directory(parent)?;
        Ok(seed)
    }

    /// The numbers of the versions there are, lowest first.
    fn versions(&self) -> Result<Vec<u64>, StoreError> {
        let entries = match fs::read_dir(&self.directory) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(source) => return Err(StoreError::Read { path: self.directory.clone(), source }),
        };
        let mut versions = Vec::new();
        for entry in entries {
            let entry = entry.map_err(|source| StoreError::Read { path: self.directory.clone(), source })?;
            let name = entry.file_name();
            let number: Option<u64> =
                name.to_str().and_then(|name| name.strip_prefix(VERSION_PREFIX)?.parse().ok());
            versions.extend(number);
        }
        versions.sort_unstable();
        Ok(versions)
    }

    fn version(&self, number: u64) -> PathBuf {
        self.directory.join(format!("{VERSION_PREFIX}{number:08}"))
    }
}

impl KeyStore for FileStore {
    fn device_key(&self, entropy: &mut dyn Entropy) -> Result<DeviceKey, StoreError> {
        Ok(DeviceKey::from_seed(self.seed(&self.directory.join("device.key"), entropy)?))
    }

    fn load(&self) -> Result<Option<AgentIdentity>, StoreError> {
        let Some(number) = self.versions()?.pop() else { return Ok(None) };
        let directory = self.version(number);
        let text = |name: &str| {
            let path = directory.join(name);
            read(&path)?.ok_or_else(|| damaged(&path, "is missing"))
        };
        let path = directory.join("identity.json");
        let record: Record = serde_json::from_str(&text("identity.json")?)
            .map_err(|error| damaged(&path, &error.to_string()))?;
        let chain = pem::decode("CERTIFICATE", &text("chain.pem")?)
            .ok_or_else(|| damaged(&directory.join("chain.pem"), "is not PEM"))?;
        let key_path = directory.join("tls.key");
        let tls = tls_key(&key_path, &text("tls.key")?)?;
        let device_path = self.directory.join("device.key");
        if !device_path.exists() {
            return Err(damaged(&device_path, "is missing beside an identity"));
        }
        let device = DeviceKey::from_seed(self.seed(&device_path, &mut NoEntropy)?);
        let chain = chain.into_iter().map(Bytes::from).collect();
        record.identity(chain, tls, device).map_err(|detail| damaged(&path, &detail)).map(Some)
    }

    fn store(&self, identity: &AgentIdentity) -> Result<(), StoreError> {
        let _writing = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        make_directory(&self.directory)?;
        let device_path = self.directory.join("device.key");
        let device = self.seed(&device_path, &mut FixedEntropy(*identity.device.seed()))?;
        if device != *identity.device.seed() {
            return Err(damaged(&device_path, "belongs to another device than the identity to store"));
        }
        let versions = self.versions()?;
        let number = versions.last().map_or(1, |last| last + 1);
        let temporary = self.directory.join("identity.new");
        match fs::remove_dir_all(&temporary) {
            Err(source) if source.kind() != io::ErrorKind::NotFound => {
                return Err(StoreError::Write { path: temporary, source });
            }
            Ok(()) | Err(_) => {}
        }
        make_directory(&temporary)?;
        let path = temporary.join("identity.json");
        let record = serde_json::to_string_pretty(&Record::of(identity))
            .map_err(|error| StoreError::Write { path: path.clone(), source: io::Error::other(error) })?;
        let chain: String = identity.chain.iter().map(|der| pem::encode("CERTIFICATE", der)).collect();
        write(&path, record.as_bytes())?;
        write(&temporary.join("chain.pem"), chain.as_bytes())?;
        write(&temporary.join("tls.key"), pem::encode("PRIVATE KEY", identity.tls.pkcs8()).as_bytes())?;
        sync_directory(&temporary)?;
        rename(&temporary, &self.version(number))?;
        sync_directory(&self.directory)?;
        remove_file(&self.directory.join(PENDING_KEY))?;
        // The one before stays as a way back; older ones go. A leftover does no harm.
        for old in versions.iter().rev().skip(1) {
            let path = self.version(*old);
            fs::remove_dir_all(&path).map_err(|source| StoreError::Write { path, source })?;
        }
        Ok(())
    }

    fn pending_key(&self) -> Result<TlsKey, StoreError> {
        let path = self.directory.join(PENDING_KEY);
        // What a disk has damaged is no reason to stay away.
        let kept = read(&path).ok().flatten().and_then(|text| tls_key(&path, &text).ok());
        if let Some(key) = kept {
            // A crash may have kept it beside the identity that it became part of.
            let used = self.load()?.is_some_and(|identity| identity.tls.spki_hash() == key.spki_hash());
            if !used {
                return Ok(key);
            }
        }
        let key = TlsKey::generate().map_err(|error| damaged(&path, &error.to_string()))?;
        self.replace(PENDING_KEY, pem::encode("PRIVATE KEY", key.pkcs8()).as_bytes())?;
        Ok(key)
    }
}

fn tls_key(path: &Path, text: &str) -> Result<TlsKey, StoreError> {
    let key = pem::decode("PRIVATE KEY", text).and_then(|blocks| blocks.into_iter().next());
    let key = key.ok_or_else(|| damaged(path, "is not PEM"))?;
    TlsKey::from_pkcs8(&key).map_err(|error| damaged(path, &error.to_string()))
}

/// Stands where a seed must exist already.
struct NoEntropy;

impl Entropy for NoEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.fill(0);
    }
}

/// Gives one seed.
struct FixedEntropy([u8; 32]);

impl Entropy for FixedEntropy {
    fn fill(&mut self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&self.0[..bytes.len()]);
    }
}

/// What `identity.json` says.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Record {
    agent: String,
    name: String,
    region: String,
    endpoints: Vec<String>,
    not_before: UnixMillis,
    not_after: UnixMillis,
    /// Whether the certificate was asked for by a program that tells its sealing key (see [`crate::sealing::told`]).
    #[serde(default)]
    sealing: bool,
    #[serde(default)]
    returns: u64,
    #[serde(default)]
    clock_ahead_ms: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    placed: Option<PlacedRecord>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    listed: Option<ListedRecord>,
    trust: TrustRecord,
    /// The encoded [`TrustChain`], base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    lineage: Option<String>,
}

/// What the last placement said beside the region and its endpoints.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlacedRecord {
    term: u64,
    counter: u64,
    elsewhere: Vec<SiteRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SiteRecord {
    region: String,
    endpoints: Vec<String>,
}

/// The list of endpoints that was taken last.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ListedRecord {
    term: u64,
    counter: u64,
    /// As they are told on a command line.
    endpoints: Vec<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    before: Vec<String>,
}

impl ListedRecord {
    fn of(listed: &Listed) -> Self {
        let Listed { generation: Generation { term, counter }, endpoints, before } = listed.clone();
        Self { term, counter, endpoints: endpoints.iter().map(Endpoint::to_string).collect(), before }
    }

    fn listed(self) -> Result<Listed, String> {
        let Self { term, counter, endpoints, before } = self;
        let read = |text: &String| text.parse().map_err(|error| format!("listed: {error}"));
        let endpoints = endpoints.iter().map(read).collect::<Result<_, _>>()?;
        Ok(Listed { generation: Generation { term, counter }, endpoints, before })
    }
}

impl PlacedRecord {
    fn of(placed: &Placed) -> Option<Self> {
        let Generation { term, counter } = placed.generation?;
        let site =
            |site: &Site| SiteRecord { region: site.region.to_string(), endpoints: site.endpoints.clone() };
        Some(Self { term, counter, elsewhere: placed.elsewhere.iter().map(site).collect() })
    }

    fn placed(self) -> Result<Placed, String> {
        let generation = Some(Generation { term: self.term, counter: self.counter });
        let site = |site: SiteRecord| {
            let region = site.region.parse().map_err(|error: protocol::id::IdError| error.to_string())?;
            Ok::<_, String>(Site { region, endpoints: site.endpoints })
        };
        let elsewhere = self.elsewhere.into_iter().map(site).collect::<Result<_, _>>()?;
        Ok(Placed { generation, elsewhere, listed: None })
    }
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct TrustRecord {
    sequence: u64,
    trust_domain: String,
    roots: Vec<String>,
    plan_keys: Vec<PlanKeyRecord>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct PlanKeyRecord {
    id: String,
    public_key: String,
}

impl Record {
    fn of(identity: &AgentIdentity) -> Self {
        let trust = &identity.trust;
        let plan_key = |key: &PlanKey| PlanKeyRecord {
            id: hex::encode(key.id.0),
            public_key: STANDARD.encode(&key.public_key),
        };
        Self {
            agent: identity.agent.to_string(),
            name: identity.name.clone(),
            region: identity.region.to_string(),
            endpoints: identity.endpoints.clone(),
            not_before: identity.not_before,
            not_after: identity.not_after,
            sealing: true,
            returns: identity.returns,
            clock_ahead_ms: identity.clock_ahead_ms,
            placed: PlacedRecord::of(&identity.placed),
            listed: identity.placed.listed.as_ref().map(ListedRecord::of),
            trust: TrustRecord {
                sequence: trust.sequence,
                trust_domain: trust.trust_domain.clone(),
                roots: trust.roots.iter().map(|root| STANDARD.encode(root)).collect(),
                plan_keys: trust.plan_keys.iter().map(plan_key).collect(),
            },
            lineage: (identity.lineage != TrustChain::default())
                .then(|| STANDARD.encode(encode(&identity.lineage))),
        }
    }

    fn identity(self, chain: Vec<Bytes>, tls: TlsKey, device: DeviceKey) -> Result<AgentIdentity, String> {
        let bytes = |text: &String| STANDARD.decode(text).map(Bytes::from).map_err(|error| error.to_string());
        let plan_key = |key: &PlanKeyRecord| {
            let mut id = [0; 8];
            hex::decode_to_slice(&key.id, &mut id).map_err(|error| error.to_string())?;
            Ok::<_, String>(PlanKey { id: KeyId(id), public_key: bytes(&key.public_key)? })
        };
        Ok(AgentIdentity {
            agent: self.agent.parse().map_err(|error: protocol::id::IdError| error.to_string())?,
            name: self.name,
            region: self.region.parse().map_err(|error: protocol::id::IdError| error.to_string())?,
            chain,
            tls,
            device,
            trust: TrustBundle {
                sequence: self.trust.sequence,
                trust_domain: self.trust.trust_domain,
                roots: self.trust.roots.iter().map(bytes).collect::<Result<_, _>>()?,
                plan_keys: self.trust.plan_keys.iter().map(plan_key).collect::<Result<_, _>>()?,
            },
            lineage: match &self.lineage {
                Some(text) => {
                    decode(&bytes(text)?, CHAIN_BYTES_MAX).map_err(|error| format!("lineage: {error}"))?
                }
                None => TrustChain::default(),
            },
            endpoints: self.endpoints,
            // An identity from before sealing: its half-life is over at once, for only a renewal tells the sealing
            // key, and until then nothing confidential can be sent here. The certificate itself says what is valid.
            not_before: if self.sealing { self.not_before } else { 0 },
            not_after: self.not_after,
            returns: self.returns,
            clock_ahead_ms: self.clock_ahead_ms,
            placed: Placed {
                listed: self.listed.map(ListedRecord::listed).transpose()?,
                ..self.placed.map(PlacedRecord::placed).transpose()?.unwrap_or_default()
            },
        })
    }
}

impl AgentIdentity {
    /// Reads the identity kept in a directory.
    ///
    /// # Errors
    /// [`StoreError`], also when there is none.
    pub fn load(directory: &Path) -> Result<Self, StoreError> {
        let store = FileStore::new(directory);
        store.load()?.ok_or_else(|| StoreError::Missing { path: directory.to_owned() })
    }

    /// Keeps the identity in a directory, replacing the one before as a whole.
    ///
    /// # Errors
    /// [`StoreError`].
    pub fn store(&self, directory: &Path) -> Result<(), StoreError> {
        FileStore::new(directory).store(self)
    }
}

fn damaged(path: &Path, detail: &str) -> StoreError {
    StoreError::Damaged { path: path.to_owned(), detail: detail.to_owned() }
}

/// The text of a file, nothing when it does not exist.
fn read(path: &Path) -> Result<Option<String>, StoreError> {
    let wrong = |source| StoreError::Read { path: path.to_owned(), source };
    let size = match fs::metadata(path) {
        Ok(metadata) => metadata.len(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(wrong(source)),
    };
    if size > FILE_BYTES_MAX {
        return Err(damaged(path, &format!("has {size} bytes, at most {FILE_BYTES_MAX} are read")));
    }
    fs::read_to_string(path).map(Some).map_err(wrong)
}

/// A new file that only its owner can read, on disk when this returns.
fn write(path: &Path, content: &[u8]) -> Result<(), StoreError> {
    let written =
        OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).and_then(|mut file| {
            file.write_all(content)?;
            file.sync_all()
        });
    written.map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })
}

fn remove_file(path: &Path) -> Result<(), StoreError> {
    match fs::remove_file(path) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::Write { path: path.to_owned(), source })
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

fn rename(from: &Path, to: &Path) -> Result<(), StoreError> {
    fs::rename(from, to).map_err(|source| StoreError::Write { path: to.to_owned(), source })
}

fn sync_directory(path: &Path) -> Result<(), StoreError> {
    File::open(path)
        .and_then(|directory| directory.sync_all())
        .map_err(|source| StoreError::Write { path: path.to_owned(), source })
}
