//! What `seal.json` opens at each step of a change, by the seal that is tried on it.

use super::*;
use crate::folder::Folder;
use crate::seal::passphrase::PassphraseSeal;
use crate::seal::shamir::draw;

const CLUSTER: ClusterId = ClusterId([3; 16]);

struct Stage {
    _temporary: tempfile::TempDir,
    folder: Folder,
    record: SealRecord,
    roots: Vec<Root>,
}

/// A record with one seal of shares, whose key is returned, and one root key.
fn stage() -> (Stage, Secret<32>) {
    let temporary = crate::folder::tests::temporary();
    let folder = Folder::open(temporary.path()).expect("opens");
    let roots = vec![Root::draw(1).expect("locks")];
    let (quorum, key) = shares();
    let mut record = SealRecord::new(CLUSTER);
    record.add(Parameters::Shamir { quorum }, &roots, None).expect("adds");
    (Stage { _temporary: temporary, folder, record, roots }, key)
}

fn shares() -> (Quorum, Secret<32>) {
    let (quorum, texts) = draw(CLUSTER, 2, 2).expect("draws");
    let share = |text: &crypto::SecretBytes| {
        quorum.recognise(CLUSTER, std::str::from_utf8(text.expose()).expect("text")).expect("is known")
    };
    let key = quorum.combine(&texts.iter().map(share).collect::<Vec<_>>()).expect("combines");
    (quorum, key)
}

impl Stage {
    /// The epochs that an offer opens; none when it opens nothing.
    fn opens(&self, offer: Offer<'_>) -> Vec<u32> {
        // Through the file's form, as after a crash.
        let stored = serde_json::to_vec(&self.record).expect("encodes");
        let record: SealRecord = serde_json::from_slice(&stored).expect("decodes");
        let opened = record.open(Place { folder: &self.folder, cluster: CLUSTER, token: None }, offer);
        opened.map_or_else(|_| Vec::new(), |opened| opened.roots.iter().map(|root| root.epoch).collect())
    }

    fn next_root(&mut self, quorum: Option<Quorum>) {
        let root = Root::draw(self.record.active_epoch() + 1).expect("locks");
        self.record.stage(&root, quorum, &self.roots).expect("stages");
        self.roots.push(root);
    }
}

#[test]
fn a_new_root_key_is_sealed_without_anybody_who_could_open_it() {
    let (mut stage, key) = stage();
    stage.next_root(None);
    assert_eq!(stage.opens(Offer::Private(&key)), [1, 2]);
    assert_eq!((stage.record.active_epoch(), stage.record.staged().map(|(epoch, _)| epoch)), (1, Some(2)));
    stage.record.activate();
    assert_eq!((stage.record.active_epoch(), stage.record.staged()), (2, None));
    assert_eq!(stage.opens(Offer::Private(&key)), [1, 2]);
    stage.record.retire(1);
    assert_eq!(stage.opens(Offer::Private(&key)), [2]);
    stage.record.retire(2);
    assert_eq!(stage.opens(Offer::Private(&key)), [2], "the one in use is never forgotten");
}

#[test]
fn a_root_key_that_was_given_up_leaves_nothing() {
    let (mut stage, key) = stage();
    let before = serde_json::to_string(&stage.record.slots).expect("encodes");
    stage.next_root(None);
    stage.record.unstage();
    assert_eq!(serde_json::to_string(&stage.record.slots).expect("encodes"), before);
    stage.next_root(None);
    let (first, _) = stage.record.staged().expect("is staged");
    stage.next_root(None);
    assert_eq!(stage.record.staged().expect("is staged").0, first, "one takes the place of the other");
    assert_eq!(stage.opens(Offer::Private(&key)), [1, 2]);
}

#[test]
fn old_shares_never_open_the_new_root_key_and_new_ones_open_everything() {
    let (mut stage, old) = stage();
    let (quorum, new) = shares();
    stage.next_root(Some(quorum));
    assert_eq!(stage.opens(Offer::Private(&old)), [1], "before it is active");
    assert_eq!(stage.opens(Offer::Private(&new)), [1, 2]);
    let given_up = SealRecord { ..stage.record.clone() };
    stage.record.activate();
    assert!(stage.opens(Offer::Private(&old)).is_empty(), "after");
    assert_eq!(stage.opens(Offer::Private(&new)), [1, 2]);
    stage.record = given_up;
    stage.record.unstage();
    assert_eq!(stage.opens(Offer::Private(&old)), [1], "the old shares count on");
    assert!(stage.opens(Offer::Private(&new)).is_empty());
}

#[test]
fn new_shares_change_nothing_about_other_seals() {
    let (mut stage, _old) = stage();
    let words = b"correct horse battery";
    let passphrase = Parameters::Passphrase(PassphraseSeal::draw(words).expect("draws"));
    stage.record.add(passphrase, &stage.roots, None).expect("adds");
    stage.next_root(Some(shares().0));
    stage.record.activate();
    assert_eq!(stage.opens(Offer::Passphrase(words)), [1, 2]);
    assert_eq!(stage.record.kinds(), "passphrase, shamir");
}

#[test]
fn any_seal_opens_and_the_last_one_stays() {
    let (mut stage, key) = stage();
    let words = b"correct horse battery";
    let passphrase = || Parameters::Passphrase(PassphraseSeal::draw(words).expect("draws"));
    let request = Some([7; 16]);
    assert_eq!(stage.record.add(passphrase(), &stage.roots, request).expect("adds"), 2);
    assert_eq!(stage.record.add(passphrase(), &stage.roots, request).expect("adds"), 2, "a repeat adds nothing");
    assert_eq!(stage.opens(Offer::Passphrase(words)), [1]);
    assert_eq!(stage.opens(Offer::Private(&key)), [1]);
    assert!(stage.record.drop_slot(1).expect("drops").is_some());
    assert!(stage.record.drop_slot(1).expect("is gone already").is_none());
    assert!(stage.opens(Offer::Private(&key)).is_empty());
    assert!(matches!(stage.record.drop_slot(2), Err(SealError::LastSlot)));
    assert!(matches!(stage.record.drop_slot(3), Err(SealError::NoSlot(3))));
    assert_eq!(stage.opens(Offer::Passphrase(words)), [1]);
}

#[test]
fn seals_stay_as_they_are_while_a_root_key_is_on_its_way() {
    let (mut stage, _key) = stage();
    let words = b"correct horse battery";
    let passphrase = || Parameters::Passphrase(PassphraseSeal::draw(words).expect("draws"));
    stage.record.add(passphrase(), &stage.roots, None).expect("adds");
    stage.next_root(Some(shares().0));
    assert!(matches!(stage.record.add(passphrase(), &stage.roots, None), Err(SealError::Staged(2))));
    assert!(matches!(stage.record.drop_slot(2), Err(SealError::Staged(2))));
}

/// The drawing of a seal took longer than a rekey: with the roots of before it would never open the node again.
#[test]
fn a_seal_of_another_moment_of_a_rekey_is_not_added() {
    let (mut stage, _key) = stage();
    let words = b"correct horse battery";
    let passphrase = || Parameters::Passphrase(PassphraseSeal::draw(words).expect("draws"));
    stage.next_root(None);
    stage.record.activate();
    assert!(matches!(stage.record.add(passphrase(), &stage.roots[..1], None), Err(SealError::Changing)));
    stage.record.add(passphrase(), &stage.roots, None).expect("adds");
    assert_eq!(stage.opens(Offer::Passphrase(words)), [1, 2]);
}

#[test]
fn a_key_under_anothers_name_is_refused() {
    let (mut stage, key) = stage();
    stage.record.slots[0].roots[0].epoch = 2;
    assert!(stage.opens(Offer::Private(&key)).is_empty(), "another epoch");
    stage.record.slots[0].roots[0].epoch = 1;
    assert_eq!(stage.opens(Offer::Private(&key)), [1]);
    // Whoever can write the file can seal a key of his own for the public half, but not one of that name.
    let recipient = stage.record.slots[0].parameters.recipient();
    let id = RootId(stage.record.slots[0].roots[0].id.0);
    let forged = sealed_box::seal(&recipient, &aad(CLUSTER, 1, id), &[9; 32]).expect("seals");
    stage.record.slots[0].roots[0].sealed = ::hex::encode(forged);
    assert!(stage.opens(Offer::Private(&key)).is_empty(), "another key");
}

#[test]
fn epochs_do_not_pile_up_without_bound() {
    let (mut stage, _key) = stage();
    for _ in 1..limits::ROOT_EPOCHS_MAX {
        stage.next_root(None);
        stage.record.activate();
    }
    let root = Root::draw(stage.record.active_epoch() + 1).expect("locks");
    assert!(matches!(stage.record.stage(&root, None, &stage.roots), Err(SealError::TooManyEpochs)));
    stage.record.retire(1);
    assert!(stage.record.stage(&root, None, &stage.roots).is_ok());
}
