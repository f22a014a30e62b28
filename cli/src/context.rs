//! What the global options come to: an identity, a client, a way to print.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use chancery_client::identity::{Folder, Profile};
use chancery_client::tls::Identity;
use chancery_client::{Address, Client, Config};
use crypto::SecretBytes;
use etcetera::BaseStrategy as _;
use types::{AgentName, EntryName, KeyName, NameError, NamespaceName};

use crate::args::Globals;
use crate::exit::Exit;
use crate::failure::Failure;
use crate::output::{self, Format, Show};
use crate::{passphrase, values};

/// How long a command waits for a newer list of members before it goes by the one it has.
const REFRESH_PATIENCE: std::time::Duration = std::time::Duration::from_secs(3);

/// The global options, ready for a command.
#[derive(Debug)]
pub(crate) struct Context {
    globals: Globals,
    /// The client that was made, if any: it knows how new the answers were.
    client: OnceLock<Client>,
}

impl Context {
    pub(crate) fn new(globals: Globals) -> Self {
        Self { globals, client: OnceLock::new() }
    }

    /// How answers are printed.
    pub(crate) fn format(&self) -> Format {
        self.globals.output
    }

    /// The namespace of short names.
    pub(crate) fn namespace(&self) -> &NamespaceName {
        &self.globals.namespace
    }

    /// `namespaces/{ns}`.
    pub(crate) fn parent(&self) -> String {
        format!("namespaces/{}", self.globals.namespace)
    }

    /// The time a call may take.
    pub(crate) fn timeout(&self) -> std::time::Duration {
        self.globals.timeout.to_std()
    }

    /// Addresses given by flag or variable.
    pub(crate) fn addresses(&self) -> &[Address] {
        &self.globals.addr
    }

    /// The file that holds the passphrase, if one was named.
    pub(crate) fn passphrase_file(&self) -> Option<&Path> {
        self.globals.passphrase_file.as_deref()
    }

    /// Prints an answer.
    pub(crate) fn print(&self, answer: &impl Show) -> Result<(), Failure> {
        output::print(self.format(), answer)
    }

    /// The resource name of a key.
    pub(crate) fn key(&self, text: &str) -> Result<String, Failure> {
        self.in_namespace(text, "keys", KeyName::parse)
    }

    /// The resource name of a key, or of an alias that stands for one.
    pub(crate) fn key_or_alias(&self, text: &str) -> Result<String, Failure> {
        values::key_or_alias(text, self.namespace()).map_err(|why| Failure::new(Exit::Invalid, why))
    }

    /// The resource name of an alias.
    pub(crate) fn alias(&self, text: &str) -> Result<String, Failure> {
        values::alias(text, self.namespace()).map_err(|why| Failure::new(Exit::Invalid, why))
    }

    /// The resource name of an entry.
    pub(crate) fn entry(&self, text: &str) -> Result<String, Failure> {
        self.in_namespace(text, "entries", EntryName::parse)
    }

    /// The resource name of an agent.
    pub(crate) fn agent(text: &str) -> Result<String, Failure> {
        values::in_cluster(text, "agents", AgentName::parse).map_err(|why| Failure::new(Exit::Invalid, why))
    }

    /// The identity's folder: the flag, the variable, or the default one.
    pub(crate) fn identity_folder(&self) -> Result<PathBuf, Failure> {
        if let Some(folder) = &self.globals.identity {
            return Ok(folder.clone());
        }
        let base = etcetera::choose_base_strategy().map_err(|error| {
            Failure::new(Exit::Usage, format!("there is no home folder ({error})")).hint("--identity DIR")
        })?;
        Ok(base.config_dir().join("chancery").join("default"))
    }

    /// A client of the cluster that the identity belongs to.
    pub(crate) async fn client(&self) -> Result<Client, Failure> {
        let path = self.identity_folder()?;
        let folder = Folder::open(&path).map_err(|error| {
            if error.is_missing() {
                Failure::new(Exit::Usage, format!("there is no identity in `{}`", path.display()))
                    .hint("set CHANCERY_IDENTITY, or make one with `chancery operator key new`")
            } else {
                error.into()
            }
        })?;
        let Some(profile) = folder.profile()? else {
            let message = format!("the identity in `{}` belongs to no cluster yet", path.display());
            return Err(Failure::new(Exit::Usage, message).hint("chancery operator key join"));
        };
        let signer = folder.read_key(&|| self.identity_passphrase())?;
        let identity = Identity::self_signed(&signer, &profile.name, values::now())
            .map_err(|error| Failure::new(Exit::Failed, error.to_string()))?;
        let config = Config {
            endpoints: self.endpoints(&folder, &profile),
            identity,
            cluster_key_hash: profile.cluster_key_hash,
            trust_cache: Some(folder.trust_cache()),
            deadline: self.timeout(),
        };
        let mut client = Client::connect(config).await?;
        if self.globals.stale {
            client = client.stale();
        }
        if let Some(token) = self.globals.after {
            client = client.after(token);
        }
        // A command makes one client; of several, the first speaks.
        let _ = self.client.set(client.clone());
        Ok(client)
    }

    /// Keeps the cluster's newest trust document, so that the next command knows the members of now: it may be they who are left.
    pub(crate) async fn learn_members(&self) {
        let Some(client) = self.client.get().filter(|client| client.is_trust_behind()) else { return };
        // The command is done; whoever could not be asked now is asked after the next one.
        let _ = tokio::time::timeout(REFRESH_PATIENCE, client.refresh_trust()).await;
    }

    /// Says how new the answers were, for whoever asked about it.
    pub(crate) fn footnotes(&self) {
        let Some(client) = self.client.get() else { return };
        if let Some(age) = client.age().filter(|_| self.globals.stale) {
            output::note(&format!("note: the answer may be {:.1} s old", age.as_secs_f32()));
        }
        if client.unledgered() {
            output::note(
                "note: the leader keeps no ledger, so a restore of an older backup brings this back, in quarantine: set `ledger.file` \
                 (docs/operate/ledger.md)",
            );
        }
        if let Some(index) = client.seen().filter(|_| self.globals.show_index) {
            output::note(&format!("index: {index}"));
        }
    }

    /// Every member, each with a client of its own: the addresses that were typed, else those that the cluster vouches
    /// for now, so that a member which has been added since the last command is not left out.
    pub(crate) async fn members(&self, client: &Client) -> Vec<(Address, Client)> {
        let mut addresses: Vec<Address> = self.addresses().to_vec();
        if addresses.is_empty() {
            // Without an answer the cached document has to do: sealing and verifying are also for clusters in trouble.
            let refreshed = tokio::time::timeout(REFRESH_PATIENCE, client.refresh_trust()).await;
            if !matches!(refreshed, Ok(Ok(()))) {
                output::note("note: the list of members could not be refreshed; members added lately may be missing");
            }
            let trust = client.trust();
            addresses = trust.statement().nodes.iter().map(|node| node.api_address.clone()).collect();
        }
        let one = |address: Address| client.at(&address).ok().map(|client| (address, client));
        addresses.into_iter().filter_map(one).collect()
    }

    /// The passphrase of the identity's key.
    pub(crate) fn identity_passphrase(&self) -> Result<SecretBytes, String> {
        passphrase::existing(self.passphrase_file(), "passphrase of the identity: ")
    }

    /// What was typed; else every node that the cluster vouches for, then what the identity was made with.
    fn endpoints(&self, folder: &Folder, profile: &Profile) -> Vec<Address> {
        if !self.globals.addr.is_empty() {
            return self.globals.addr.clone();
        }
        // A damaged cache is reported when the client loads it; here it only names no nodes.
        let cached = folder.trust_cache().load(profile.cluster_key_hash).ok().flatten();
        let known = cached.iter().flat_map(|document| &document.statement().nodes).map(|node| &node.api_address);
        let mut endpoints: Vec<Address> = Vec::new();
        for address in known.chain(&profile.endpoints) {
            if !endpoints.contains(address) {
                endpoints.push(address.clone());
            }
        }
        endpoints
    }

    fn in_namespace<N: std::fmt::Display>(
        &self,
        text: &str,
        collection: &'static str,
        parse: impl Fn(&str) -> Result<N, NameError>,
    ) -> Result<String, Failure> {
        values::in_namespace(text, self.namespace(), collection, parse).map_err(|why| Failure::new(Exit::Invalid, why))
    }
}
