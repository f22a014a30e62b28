//! An open node's `seal.json`: read once when the node opens, and from then on changed here only, whole and synced.

use std::sync::Arc;

use tokio::sync::Mutex;
use types::RootId;

use super::file::FileSeal;
use super::record::SealRecord;
use super::shamir::Quorum;
use super::slot::Parameters;
use super::{NewSeal, SEAL_FILE, SealError, passphrase};
use crate::keyring::Keyring;
use crate::node::Node;
use crate::root::Root;

/// The seals of an open node.
#[derive(Debug)]
pub(crate) struct SealDesk {
    record: Mutex<SealRecord>,
}

/// What is to be added, with its secret where it has one.
#[derive(Debug)]
pub(crate) enum Addition {
    /// A key file.
    File,
    /// A passphrase.
    Passphrase(crypto::SecretBytes),
    /// Shares that somebody has.
    Quorum(Quorum),
    /// A key in the node's token.
    Pkcs11,
}

impl SealDesk {
    /// The desk over what the file says.
    pub(crate) fn new(record: SealRecord) -> Self {
        Self { record: Mutex::new(record) }
    }

    /// Looks at the record.
    pub(crate) async fn look<T>(&self, ask: impl FnOnce(&SealRecord) -> T) -> T {
        ask(&*self.record.lock().await)
    }

    /// Keeps a root key on the disk that is not active yet, in the place of any other such.
    ///
    /// # Errors
    /// When there is no room or the disk refuses; the file is then as it was.
    pub(crate) async fn stage(
        &self,
        node: &Arc<Node>,
        root: &Root,
        quorum: Option<Quorum>,
        held: &[Arc<Root>],
    ) -> Result<(), SealError> {
        let held = held.iter().map(AsRef::as_ref);
        self.change(node, |record| record.stage(root, quorum, held)).await
    }

    /// The root key of that name is the active one: from now on it is what the node writes under.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn activate(&self, node: &Arc<Node>, id: RootId) -> Result<(), SealError> {
        self.change(node, |record| {
            if record.staged().is_some_and(|(_, staged)| staged == id) {
                record.activate();
            }
            Ok(())
        })
        .await
    }

    /// No root key is on its way any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn unstage(&self, node: &Arc<Node>) -> Result<(), SealError> {
        self.change(node, |record| {
            record.unstage();
            Ok(())
        })
        .await
    }

    /// Nothing is written under that epoch any more.
    ///
    /// # Errors
    /// When the disk refuses.
    pub(crate) async fn retire(&self, node: &Arc<Node>, epoch: u32) -> Result<(), SealError> {
        self.change(node, |record| {
            record.retire(epoch);
            Ok(())
        })
        .await
    }

    /// Adds a seal; returns its number.
    ///
    /// # Errors
    /// When it cannot be made, there is no room, or a root key is on its way.
    pub(crate) async fn add(
        &self,
        node: &Arc<Node>,
        addition: Addition,
        keyring: &Keyring,
        request: [u8; 16],
    ) -> Result<u32, SealError> {
        if let Some(before) = self.look(|record| record.added_by(request)).await {
            return Ok(before);
        }
        if let Addition::Passphrase(words) = &addition {
            passphrase::check(words.expose())?;
        }
        if matches!(addition, Addition::File) && self.look(|record| record.has("file")).await {
            return Err(SealError::SecondFile);
        }
        let drawing = Arc::clone(node);
        let cluster = self.look(SealRecord::cluster).await;
        // argon2id takes its time and its memory, and a token its time: not on a thread that answers others.
        let drawn = tokio::task::spawn_blocking(move || {
            let with = match &addition {
                Addition::File => NewSeal::File,
                Addition::Passphrase(words) => NewSeal::Passphrase(words.expose()),
                Addition::Quorum(quorum) => NewSeal::Quorum(quorum.clone()),
                Addition::Pkcs11 => NewSeal::Pkcs11,
            };
            with.draw(drawing.seal_place(cluster))
        });
        let drawn = drawn.await.map_err(|_| SealError::DoesNotOpen)??;
        self.change(node, |record| {
            // As they are now: the drawing may have taken longer than a rekey.
            let held = keyring.roots();
            record.add(drawn, held.iter().map(AsRef::as_ref), Some(request))
        })
        .await
    }

    /// Takes a seal away.
    ///
    /// # Errors
    /// When it is the last, was never there, or a root key is on its way.
    pub(crate) async fn drop_slot(&self, node: &Arc<Node>, slot: u32) -> Result<(), SealError> {
        let dropped = self.change(node, |record| record.drop_slot(slot)).await?;
        if let Some(Parameters::File(_)) = dropped {
            FileSeal::forget(&node.folder)?;
        }
        Ok(())
    }

    /// Changes a copy, writes it, and only then goes on with it.
    async fn change<T>(
        &self,
        node: &Arc<Node>,
        change: impl FnOnce(&mut SealRecord) -> Result<T, SealError>,
    ) -> Result<T, SealError> {
        let mut record = self.record.lock().await;
        let mut next = record.clone();
        let changed = change(&mut next)?;
        let (folder, written) = (Arc::clone(node), next.clone());
        let writing = tokio::task::spawn_blocking(move || folder.folder.write_json(SEAL_FILE, &written));
        match writing.await {
            Ok(outcome) => outcome?,
            Err(panic) => std::panic::resume_unwind(panic.into_panic()),
        }
        *record = next;
        Ok(changed)
    }
}
