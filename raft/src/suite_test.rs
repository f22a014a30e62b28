//! openraft's own storage suite over our log and applier: it proves the contract, never durability.

use std::io::{self, Read};
use std::sync::Arc;

use openraft::StorageError;
use openraft::testing::log::{StoreBuilder, Suite};
use tokio::sync::watch;
use types::{ClusterId, NodeId};

use crate::apply::Applier;
use crate::config::Config;
use crate::envelope::{Envelope, FileKind, Owner, Tampered};
use crate::log::{self, LogStore};
use crate::machine::Machine;
use crate::member::Members;
use crate::snapshot::{Cipher, Shelf};
use crate::type_config::TypeConfig;

/// Seals nothing: the suite is about order.
pub(crate) struct Clear;

impl Envelope for Clear {
    fn seal(&self, _: FileKind, _: &[u8], plain: &[u8]) -> Vec<u8> {
        plain.to_vec()
    }

    fn open(&self, _: FileKind, _: &[u8], sealed: &[u8]) -> Result<Vec<u8>, Tampered> {
        Ok(sealed.to_vec())
    }
}

/// Remembers the last payload.
#[derive(Default)]
struct Last(Arc<Vec<u8>>);

impl Machine for Last {
    type Snapshot = Arc<Vec<u8>>;

    fn apply(&mut self, _: u64, payload: &[u8]) -> Vec<u8> {
        self.0 = Arc::new(payload.to_vec());
        Vec::new()
    }

    fn applied_members(&mut self, _: u64, _: &Members) {}

    fn snapshot(&self) -> Arc<Vec<u8>> {
        Arc::clone(&self.0)
    }

    fn write_snapshot(snapshot: &Arc<Vec<u8>>, out: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
        out(snapshot)
    }

    fn read_snapshot(&mut self, input: &mut dyn Read) -> io::Result<()> {
        let mut bytes = Vec::new();
        input.read_to_end(&mut bytes)?;
        self.0 = Arc::new(bytes);
        Ok(())
    }
}

struct Stores;

impl StoreBuilder<TypeConfig, LogStore, Applier<Last>, tempfile::TempDir> for Stores {
    async fn build(&self) -> Result<(tempfile::TempDir, LogStore, Applier<Last>), StorageError<TypeConfig>> {
        let folder = tempfile::tempdir().unwrap();
        let config = Config::new(ClusterId([1; 16]), NodeId(1), folder.path());
        let envelope: Arc<dyn Envelope> = Arc::new(Clear);
        let log = log::open(&config, Arc::clone(&envelope)).unwrap();
        let owner = Owner { cluster: config.cluster, node: config.node };
        let shelf = Shelf::open(config.snapshot_folder(), Cipher { owner, envelope }).unwrap();
        let (members, _) = watch::channel(Arc::new(Members::default()));
        let applier = Applier::start(Last::default(), shelf, None, members).unwrap();
        Ok((folder, log, applier))
    }
}

#[tokio::test]
async fn openrafts_storage_suite_holds() {
    Suite::test_all(Stores).await.unwrap();
}
