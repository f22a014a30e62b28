//! A backup of a small cluster in memory: what is in it comes back, and every way in which it may be wrong is found.

use std::io;
use std::path::{Path, PathBuf};

use crypto::recipients::{Identity, Recipient};
use crypto::sign::P256Signer;
use crypto::{LockedSecret, SecretBytes};
use kms::wrapping::UnderNamespace;
use state::{Command, Entry, NamespaceSettings, NodeInfo, Proposal, Reply, State};
use types::{
    ClusterId, Generation, KeyId, KeyName, Millis, NamespaceName, NodeId, OperatorName, Principal, SpkiHash, Time,
    TrustDomain, limits,
};

use super::manifest::Maker;
use super::probe::{self, Probe};
use super::restore::{self, Order, Step};
use super::write::{Content, write};
use super::{BackupError, END, MAGIC, Manifest, RootKey, inspect, store, verify};
use crate::config::{Config, SealKind, Settings};
use crate::keyring::{Keyring, WrappedKek};
use crate::root::{FIRST_EPOCH as EPOCH, Root};

const CLUSTER: ClusterId = ClusterId([4; 16]);
const START: Time = Time(1_800_000_000_000);
const ROOT: [u8; 32] = [0xa5; 32];

/// A cluster of one node, in memory.
struct Small {
    state: State,
    keyring: Keyring,
    signer: P256Signer,
    leaves: Vec<Vec<u8>>,
    identity: Identity,
}

impl Small {
    /// Two namespaces, the first with a key of two versions, the other empty.
    fn new() -> Self {
        let signer = P256Signer::generate();
        let keyring = Keyring::new(CLUSTER, [Root::of(EPOCH, LockedSecret::new(&ROOT).expect("locks"))]);
        let mut small =
            Self { state: State::new(), keyring, signer, leaves: Vec::new(), identity: Identity::generate() };
        let default = NamespaceName::default_namespace();
        small.apply(
            Principal::LocalAdmin,
            Command::Init {
                cluster: CLUSTER,
                trust_domain: TrustDomain::parse("test.chancery").expect("parses"),
                cluster_spki: small.signer.spki_der(),
                cluster_key_wrapped: small.keyring.wrap_cluster_key(EPOCH, &small.signer.to_pkcs8()).expect("wraps"),
                node: NodeId(1),
                info: NodeInfo {
                    spki: SpkiHash([1; 32]),
                    peer_address: "127.0.0.1:1".into(),
                    api_address: "127.0.0.1:2".into(),
                },
                operator: OperatorName::parse("root").expect("parses"),
                operator_spki: SpkiHash([2; 32]),
                operator_expires: START.after(limits::ENROLMENT_MAX),
                namespace_kek_wrapped: small.keyring.draw_namespace_key(EPOCH, &default).expect("draws"),
                namespace_id: KeyId([3; 16]),
            },
        );
        let pay = NamespaceName::parse("pay").expect("parses");
        let settings = NamespaceSettings::default();
        let kek_wrapped = small.keyring.draw_namespace_key(EPOCH, &pay).expect("draws");
        small.admin(Command::CreateNamespace { name: pay, id: KeyId([4; 16]), settings, kek_wrapped });
        let (name, id) = (KeyName::parse("invoices").expect("parses"), KeyId([5; 16]));
        small.admin(Command::CreateKey {
            namespace: default.clone(),
            name: name.clone(),
            id,
            algorithm: kms::Algorithm::Aes256Gcm,
            settings: kms::KeySettings::rotating(None),
            material: small.material(&default, id, 1),
        });
        small.admin(Command::AddKeyVersion {
            namespace: default.clone(),
            name,
            expect_last: 1,
            cause: kms::RotationCause::Operator,
            material: small.material(&default, id, 2),
        });
        small
    }

    /// Another key in `default`, whose material is changed before it is proposed.
    fn with_key(
        mut self,
        (number, algorithm): (u8, kms::Algorithm),
        change: impl FnOnce(&mut kms::WrappedMaterial),
    ) -> Self {
        let (namespace, id) = (NamespaceName::default_namespace(), KeyId([number; 16]));
        let bytes = &self.state.namespace(&namespace).expect("is there").kek_wrapped;
        let place = UnderNamespace { namespace: &namespace, key_id: id, version: 1, algorithm };
        let mut material = self.keyring.wrap_material(WrappedKek { epoch: EPOCH, bytes }, place, None).expect("draws");
        change(&mut material);
        let name = KeyName::parse(&format!("key-{number}")).expect("parses");
        self.admin(Command::CreateKey {
            namespace,
            name,
            id,
            algorithm,
            settings: kms::KeySettings::default(),
            material,
        });
        self
    }

    fn material(&self, namespace: &NamespaceName, key_id: KeyId, version: u32) -> kms::WrappedMaterial {
        let bytes = &self.state.namespace(namespace).expect("is there").kek_wrapped;
        let kek = WrappedKek { epoch: EPOCH, bytes };
        let place = UnderNamespace { namespace, key_id, version, algorithm: kms::Algorithm::Aes256Gcm };
        self.keyring.wrap_material(kek, place, None).expect("draws")
    }

    fn admin(&mut self, command: Command) {
        self.apply(Principal::Operator(OperatorName::parse("root").expect("parses")), command);
    }

    fn apply(&mut self, actor: Principal, command: Command) -> Reply {
        let basis = matches!(actor, Principal::Operator(_))
            .then(|| self.state.basis(&command, self.state.time().after(limits::DECISION_VALID)));
        let proposal = Proposal { actor, at: START, request: None, basis, command };
        let outcome = self.state.apply(&Entry { index: self.state.index() + 1, proposal });
        self.leaves.extend(outcome.record.map(|leaf| leaf.bytes));
        outcome.reply.expect("is applied")
    }

    fn recipients(&self) -> Vec<Recipient> {
        vec![self.identity.recipient()]
    }

    fn manifest(&self) -> Manifest {
        let maker = Maker { node: NodeId(1), term: 1, now: START };
        Manifest::of(&self.state, maker, vec![EPOCH], &self.recipients()).expect("a manifest")
    }

    fn probes(&self) -> Vec<Probe> {
        probe::make_all(&self.state, &self.keyring).expect("makes")
    }

    /// A whole backup; `change` may make it lie.
    fn backup(&self, change: impl FnOnce(&mut Lie)) -> Vec<u8> {
        let mut lie = Lie {
            manifest: self.manifest(),
            leaves: self.leaves.clone(),
            probes: self.probes(),
            root: ROOT,
            signer: P256Signer::from_pkcs8(self.signer.to_pkcs8().expose()).expect("reads"),
        };
        change(&mut lie);
        let Lie { manifest, leaves, probes, root, signer } = lie;
        let roots = [RootKey { epoch: EPOCH, key: LockedSecret::new(&root).expect("locks") }];
        let content = Content {
            manifest: &manifest,
            recipients: &self.recipients(),
            signer: &signer,
            roots: &roots,
            probes: &probes,
            state: &self.state,
        };
        let mut out = Vec::new();
        write(&mut out, &content, &mut |take| leaves.iter().try_for_each(|leaf| take(leaf))).expect("writes");
        out
    }

    fn identities(&self) -> Vec<Identity> {
        parsed(&self.identity)
    }

    fn check(&self, bytes: &[u8]) -> Result<super::Verified, BackupError> {
        let (_folder, path) = file(bytes);
        verify(&path, &self.identities(), Some(ca::spki_hash(&self.signer.spki_der())), &mut |_| {})
    }
}

/// What a backup may say that is not so.
struct Lie {
    manifest: Manifest,
    leaves: Vec<Vec<u8>>,
    probes: Vec<Probe>,
    root: [u8; 32],
    signer: P256Signer,
}

fn parsed(identity: &Identity) -> Vec<Identity> {
    let line: SecretBytes = identity.to_line();
    Identity::parse_all(std::str::from_utf8(line.expose()).expect("text")).expect("parses")
}

fn file(bytes: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("one.chybackup");
    std::fs::write(&path, bytes).expect("writes");
    (folder, path)
}

fn inspected(bytes: &[u8]) -> Result<super::Inspected, BackupError> {
    let (_folder, path) = file(bytes);
    inspect(&path, &mut |_| {})
}

#[test]
fn a_backup_gives_back_the_state_and_opens_every_key() {
    let small = Small::new();
    let bytes = small.backup(|_| {});
    let verified = small.check(&bytes).expect("holds");
    assert_eq!((verified.keys, verified.versions, verified.probes), (1, 2, 2));
    assert_eq!(verified.audit_leaves, small.leaves.len() as u64);
    let (_folder, path) = file(&bytes);
    let opened = super::verify::open(&path, &small.identities(), None, &mut |_| {}).expect("opens");
    assert_eq!(opened.state.hash(), small.state.hash());
    let mut leaves = Vec::new();
    let read = opened.verified.inspected.leaves(&small.identities(), &mut |leaf| {
        leaves.push(leaf.to_vec());
        Ok(())
    });
    read.expect("reads");
    assert_eq!(leaves, small.leaves);
}

#[test]
fn a_private_key_is_held_against_its_public_half() {
    let pair = kms::Algorithm::EcdsaP256Sha256;
    let sound = Small::new().with_key((6, pair), |_| {}).with_key((7, kms::Algorithm::HmacSha512), |_| {});
    let verified = sound.check(&sound.backup(|_| {})).expect("holds");
    assert_eq!((verified.keys, verified.versions, verified.probes), (3, 4, 2));
    let other = kms::NewMaterial::draw(pair).expect("draws").public;
    let unsound = Small::new().with_key((6, pair), |material| material.public = other);
    let error = unsound.check(&unsound.backup(|_| {})).expect_err("another's public half");
    assert!(error.to_string().contains("do not belong together"), "{error}");
}

#[test]
fn the_root_key_is_nowhere_in_clear() {
    let small = Small::new();
    let bytes = small.backup(|_| {});
    assert!(!bytes.windows(16).any(|window| window == &ROOT[..16]), "of the root key");
    let pkcs8 = small.signer.to_pkcs8();
    assert!(!bytes.windows(32).any(|window| pkcs8.expose().windows(32).any(|secret| secret == window)));
}

#[test]
fn a_changed_byte_a_cut_and_an_addition_are_found_without_an_identity() {
    let bytes = Small::new().backup(|_| {});
    inspected(&bytes).expect("is whole");
    for at in (0..bytes.len()).step_by(61).chain(bytes.len() - 200..bytes.len()) {
        let mut changed = bytes.clone();
        changed[at] ^= 1;
        assert!(inspected(&changed).is_err(), "byte {at} of {}", bytes.len());
    }
    for length in (0..bytes.len()).step_by(97).chain(bytes.len() - 170..bytes.len()) {
        assert!(inspected(&bytes[..length]).is_err(), "cut at {length}");
    }
    assert!(inspected(&[&bytes[..], &[0]].concat()).is_err());
    assert!(inspected(&[&bytes[..], &bytes[..]].concat()).is_err());
}

#[test]
fn an_impossible_length_is_refused_before_anything_is_allocated() {
    let bytes = Small::new().backup(|_| {});
    for length in [0, u32::MAX, 1 << 20] {
        let mut changed = bytes.clone();
        changed[MAGIC.len()..MAGIC.len() + 4].copy_from_slice(&u32::to_be_bytes(length));
        let refused = inspected(&changed).expect_err("is refused");
        assert!(refused.to_string().contains("impossible length"), "{refused}");
    }
    assert!(matches!(inspected(&END), Err(BackupError::NotABackup { .. })));
    assert!(matches!(inspected(&[7; 4_096]), Err(BackupError::NotABackup { .. })));
}

#[test]
fn a_whole_file_that_lies_is_found_with_an_identity() {
    let small = Small::new();
    type Change = fn(&mut Lie);
    let lies: [(&str, Change); 9] = [
        ("generation", |lie| lie.manifest.generation += 1),
        ("index", |lie| lie.manifest.index += 1),
        ("state time", |lie| lie.manifest.state_time_ms += 1),
        ("number of keys", |lie| lie.manifest.keys += 1),
        ("audit records", |lie| drop(lie.leaves.pop())),
        ("audit records", |lie| lie.leaves[0].push(0)),
        ("more audit records", |lie| lie.leaves.push(vec![7])),
        ("no probe of namespace `pay`", |lie| lie.probes.retain(|probe| probe.namespace.as_str() != "pay")),
        ("does not open", |lie| lie.root = [9; 32]),
    ];
    for (what, change) in lies {
        let bytes = small.backup(change);
        inspected(&bytes).expect("its structure holds");
        let found = small.check(&bytes).expect_err(what);
        assert!(found.is_damage() && found.to_string().contains(what), "{what}: {found}");
    }
}

#[test]
fn a_probe_of_another_namespace_or_moment_does_not_pass() {
    let mut small = Small::new();
    let before = small.probes();
    let swapped = small.backup(|lie| {
        let (first, second) = (lie.probes[0].namespace.clone(), lie.probes[1].namespace.clone());
        (lie.probes[0].namespace, lie.probes[1].namespace) = (second, first);
    });
    assert!(small.check(&swapped).is_err());
    let pay = NamespaceName::parse("pay").expect("parses");
    let settings = NamespaceSettings { rotation_floor: Millis::from_hours(2), ..NamespaceSettings::default() };
    small.admin(Command::UpdateNamespace { name: pay, settings });
    assert!(small.check(&small.backup(|lie| lie.probes = before)).is_err(), "made at another entry");
}

#[test]
fn another_cluster_and_another_identity_are_refused() {
    let (small, other) = (Small::new(), Small::new());
    let bytes = other.backup(|_| {});
    assert!(matches!(small.check(&bytes), Err(BackupError::OtherCluster { .. })));
    // A forger has the recipient and a cluster key of its own, and says that it is ours.
    let forged = small.backup(|lie| lie.signer = P256Signer::generate());
    assert!(matches!(small.check(&forged), Err(BackupError::Damaged(_))));
    let (_folder, path) = file(&small.backup(|_| {}));
    let refused = verify(&path, &parsed(&Identity::generate()), None, &mut |_| {});
    assert!(matches!(refused, Err(BackupError::NoIdentity { .. })));
}

#[test]
fn a_later_version_of_the_state_machine_is_refused() {
    let small = Small::new();
    let bytes = small.backup(|lie| lie.manifest.state_version = state::VERSION_NEWEST + 1);
    assert!(matches!(small.check(&bytes), Err(BackupError::Newer { .. })));
}

/// Keeps a backup that was made so many days after the first.
fn keep(small: &Small, folder: &Path, day: u64) -> String {
    let mut manifest = None;
    let bytes = small.backup(|lie| {
        lie.manifest.created_time_ms += day * 86_400_000;
        manifest = Some(lie.manifest.clone());
    });
    store::keep(folder, &manifest.expect("is made"), |out| out.write_all(&bytes)).expect("is kept")
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<_> = std::fs::read_dir(folder)
        .expect("lists")
        .map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn the_oldest_go_and_what_is_not_ours_stays() {
    let (small, folder) = (Small::new(), tempfile::tempdir().expect("a folder"));
    let all: Vec<_> = (0..5).map(|day| keep(&small, folder.path(), day)).collect();
    std::fs::write(folder.path().join("notes.txt"), "mine").expect("writes");
    std::fs::write(folder.path().join("zz.chybackup"), "no backup").expect("writes");
    let mut foreign = small.manifest();
    foreign.node = 2;
    assert_eq!(store::trim(folder.path(), &foreign, 1).expect("trims"), 0, "another node's");
    assert_eq!(store::trim(folder.path(), &small.manifest(), 2).expect("trims"), 3);
    let left = names(folder.path());
    assert_eq!(left, [all[3].clone(), all[4].clone(), "notes.txt".into(), "zz.chybackup".into()]);
    assert_eq!(store::newest(folder.path(), &CLUSTER.to_hex(), 1), Some(START.after(Millis::from_days(4))));
}

#[test]
fn a_damaged_backup_does_not_push_out_a_sound_one() {
    let (small, folder) = (Small::new(), tempfile::tempdir().expect("a folder"));
    let all: Vec<_> = (0..3).map(|day| keep(&small, folder.path(), day)).collect();
    let newest = folder.path().join(&all[2]);
    let mut bytes = std::fs::read(&newest).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(&newest, bytes).expect("writes");
    assert_eq!(store::trim(folder.path(), &small.manifest(), 1).expect("trims"), 1);
    assert_eq!(names(folder.path()), [all[1].clone(), all[2].clone()], "the sound one and the damaged one");
}

#[test]
fn a_full_disk_and_a_short_write_leave_what_was_there() {
    let (small, folder) = (Small::new(), tempfile::tempdir().expect("a folder"));
    let before = keep(&small, folder.path(), 0);
    let bytes = small.backup(|lie| lie.manifest.created_time_ms += 86_400_000);
    let mut manifest = small.manifest();
    manifest.created_time_ms += 86_400_000;
    let full = store::keep(folder.path(), &manifest, |out| {
        out.write_all(&bytes[..bytes.len() / 2])?;
        Err(io::ErrorKind::StorageFull.into())
    });
    assert!(matches!(full, Err(BackupError::Io { .. })));
    let short = store::keep(folder.path(), &manifest, |out| out.write_all(&bytes[..bytes.len() - 1]));
    assert!(short.is_err(), "it is read back before it counts");
    assert_eq!(names(folder.path()), [before.as_str()]);
    // What a process that died has left is removed by the next attempt.
    let partial = folder.path().join("chancery-20200101T000000.000Z-node-1.chybackup-partial");
    std::fs::write(&partial, "half").expect("writes");
    let next = store::keep(folder.path(), &manifest, |out| out.write_all(&bytes)).expect("is kept");
    assert_eq!(names(folder.path()), [before, next]);
}

/// Where a backup of it lies, and where it is to be restored to.
fn order(small: &Small, folder: &Path) -> Order {
    let backup = folder.join("one.chybackup");
    std::fs::write(&backup, small.backup(|_| {})).expect("writes");
    let mut settings = Settings { data_dir: Some(folder.join("data")), ..Settings::default() };
    settings.api.advertise = Some("kms.example.org:7443".into());
    settings.peer.advertise = Some("kms.example.org:7444".into());
    settings.audit.reserve_bytes = Some(4_096);
    let config = Config::resolve(settings).expect("resolves");
    let pinned = Some(ca::spki_hash(&small.signer.spki_der()));
    let identities = small.identities();
    let (ledgers, seen) = (Vec::new(), Generation::NONE);
    // What is restored here was made at a time of its own.
    Order { config, backup, ledgers, trusts_clock: true, identities, pinned, compromised: false, seen, shares: None }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_dies_at_any_step_leaves_nothing_and_the_next_one_succeeds() {
    let (small, folder) = (Small::new(), tempfile::tempdir().expect("a folder"));
    let order = order(&small, folder.path());
    let data = order.config.data_dir.clone();
    let done = tokio::task::spawn_blocking(move || {
        let temporary = restore::beside(&data).expect("a name");
        let stops = [Step::Opened, Step::Sealed, Step::Audited, Step::Seeded, Step::Written];
        for stop in stops {
            let died = restore::restore_beside(&order, &temporary, &mut |step| {
                if step == stop { Err(BackupError::Failed("died".into())) } else { Ok(()) }
            });
            assert_eq!(died.expect_err("dies").to_string(), "died");
            assert!(!data.exists(), "nothing has its name after {stop:?}");
        }
        assert!(temporary.join("node.json").exists(), "a whole one was left behind, without its name");
        let first = std::fs::read(temporary.join("identity.key")).expect("reads");
        let restored = restore::restore(&order, &mut |_| Ok(())).expect("restores");
        assert!(!temporary.exists(), "what was left is gone");
        let second = std::fs::read(data.join("identity.key")).expect("reads");
        assert_ne!(first, second, "nothing of the one that died was used");
        let again = restore::restore(&order, &mut |_| Ok(()));
        assert!(matches!(again, Err(BackupError::NotEmpty { .. })), "it is not written over");
        assert_eq!(std::fs::read(data.join("identity.key")).expect("reads"), second);
        restored
    });
    let restored = done.await.expect("ends");
    assert_eq!((restored.generation.get(), restored.quarantined), (2, 2));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restore_that_fails_by_itself_cleans_up() {
    let (small, folder) = (Small::new(), tempfile::tempdir().expect("a folder"));
    let order = order(&small, folder.path());
    let done = tokio::task::spawn_blocking(move || {
        let full = restore::restore(&order, &mut |step| match step {
            Step::Audited => Err(BackupError::io(Path::new("disk"))(io::ErrorKind::StorageFull.into())),
            _ => Ok(()),
        });
        assert!(matches!(full, Err(BackupError::Io { .. })));
        let mut bytes = std::fs::read(&order.backup).expect("reads");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&order.backup, bytes).expect("writes");
        let damaged = restore::restore(&order, &mut |_| Ok(()));
        assert!(damaged.expect_err("is refused").is_damage());
    });
    done.await.expect("ends");
    assert_eq!(names(folder.path()), ["one.chybackup"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn addresses_and_seals_that_do_not_do_are_refused_before_anything_is_read() {
    let (small, folder) = (Small::new(), tempfile::tempdir().expect("a folder"));
    let mut order = order(&small, folder.path());
    let mut refused = |change: fn(&mut Order)| {
        change(&mut order);
        let steps: restore::Steps<'_> = &mut |step| panic!("{step:?}");
        assert!(matches!(restore::restore(&order, steps), Err(BackupError::Settings(_))));
    };
    refused(|order| order.config.seal = SealKind::Shamir);
    refused(|order| order.config.seal = SealKind::Passphrase);
    refused(|order| (order.config.seal, order.shares) = (SealKind::File, Some((5, 3))));
    refused(|order| (order.config.peer.advertise, order.shares) = (None, None));
}
