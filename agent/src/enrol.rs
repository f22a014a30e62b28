//! Enrolment: the agent draws a key, proves it holds it, and a one-time join token makes the cluster remember it. From
//! then on the key alone says who the agent is.

use std::fs::File;
use std::time::Duration;

use chancery_client::identity::{Folder, Profile, Protection};
use chancery_client::tls::Identity;
use chancery_client::token::{JoinToken, TokenKind};
use chancery_client::{Address, Client, Config as ClientConfig, Error};
use crypto::SecretBytes;
use proto::ca::v1::RedeemAgentTokenRequest;
use proto::cluster::v1::WhoAmIRequest;
use rustix::fs::FlockOperation;
use types::{AgentName, Reason};

use crate::clock;
use crate::config::Config;
use crate::error::AgentError;

const LOCK_FILE: &str = "agent.lock";
/// A call of the agent ends within this time, retries over all nodes included.
const CALL_DEADLINE: Duration = Duration::from_secs(10);

/// An agent that its cluster knows.
#[derive(Debug)]
pub(crate) struct Enrolled {
    folder: Folder,
    identity: Identity,
    profile: Profile,
    /// Addresses to try first.
    preferred: Vec<Address>,
    client: Client,
    /// Held for as long as the agent runs: two agents in one folder would be one agent to the cluster.
    _lock: File,
}

impl Enrolled {
    /// `agents/{id}`.
    pub(crate) fn name(&self) -> &str {
        &self.profile.name
    }

    /// The connection that enrolment used.
    pub(crate) fn client(&self) -> &Client {
        &self.client
    }

    /// A connection over these addresses.
    ///
    /// # Errors
    /// When no address is given, or the trust document cannot be had.
    pub(crate) async fn connect(&self, endpoints: Vec<Address>) -> Result<Client, Error> {
        connect(&self.folder, &self.identity, &self.profile, endpoints).await
    }

    /// Where the cluster is, as far as is known: what was configured, what the trust document lists, what the
    /// enrolment remembers.
    pub(crate) fn endpoints(&self) -> Vec<Address> {
        let trust = self.client.trust();
        let listed = trust.statement().nodes.iter().map(|node| node.api_address.clone());
        let mut known: Vec<Address> = Vec::new();
        for address in self.preferred.iter().cloned().chain(listed).chain(self.profile.endpoints.iter().cloned()) {
            if !known.contains(&address) {
                known.push(address);
            }
        }
        known
    }
}

/// Opens the agent's folder, and redeems the join token when the agent is not enrolled yet.
///
/// # Errors
/// When the folder cannot be used, there is no token, or the cluster refuses it.
pub(crate) async fn enrol(config: &Config) -> Result<Enrolled, AgentError> {
    let folder = Folder::create(&config.data_dir)?;
    let lock = lock(&folder)?;
    let signer = if folder.has_key() {
        folder.read_key(&no_passphrase)?
    } else {
        folder.create_key(&Protection::DangerousUnencrypted)?
    };
    let (profile, token) = match (folder.profile()?, &config.join_token) {
        (Some(profile), token) => (check_same_cluster(profile, token.as_ref())?, None),
        (None, Some(token)) => (profile_of(token, &config.endpoints)?, Some(token)),
        (None, None) => return Err(AgentError::NotEnrolled),
    };
    let identity = Identity::self_signed(&signer, &profile.name, clock::now())?;
    let preferred = config.endpoints.clone();
    let endpoints = if preferred.is_empty() { profile.endpoints.clone() } else { preferred.clone() };
    let client = connect(&folder, &identity, &profile, endpoints).await?;
    if let Some(token) = token {
        redeem(&client, token, &profile.name).await?;
        folder.write_profile(&profile)?;
    }
    Ok(Enrolled { folder, identity, profile, preferred, client, _lock: lock })
}

fn lock(folder: &Folder) -> Result<File, AgentError> {
    let path = folder.path().join(LOCK_FILE);
    let failed = |source: std::io::Error| AgentError::Lock { path: path.clone(), source };
    let file = File::create(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(AgentError::AlreadyRunning { folder: folder.path().to_owned() }),
        Err(error) => Err(failed(error.into())),
    }
}

/// An agent starts without anybody at hand, so its key is stored as it is, in a file that only it may read.
fn no_passphrase() -> Result<SecretBytes, String> {
    Err("the agent's key must not be encrypted".to_owned())
}

fn check_same_cluster(profile: Profile, token: Option<&JoinToken>) -> Result<Profile, AgentError> {
    match token {
        Some(token) if token.cluster_id != profile.cluster_id => {
            Err(AgentError::OtherCluster { enrolled: profile.cluster_id, token: token.cluster_id })
        }
        Some(_) => {
            tracing::info!(agent = %profile.name, "enrolled already: the join token is not used");
            Ok(profile)
        }
        None => Ok(profile),
    }
}

fn profile_of(token: &JoinToken, preferred: &[Address]) -> Result<Profile, AgentError> {
    let TokenKind::Agent(name) = &token.kind else {
        return Err(AgentError::TokenForNode);
    };
    let endpoints = if preferred.is_empty() { token.endpoints.clone() } else { preferred.to_vec() };
    Ok(Profile {
        name: resource_name(name),
        cluster_id: token.cluster_id,
        cluster_key_hash: token.cluster_key_hash,
        endpoints,
    })
}

fn resource_name(name: &AgentName) -> String {
    format!("agents/{name}")
}

async fn connect(
    folder: &Folder,
    identity: &Identity,
    profile: &Profile,
    endpoints: Vec<Address>,
) -> Result<Client, Error> {
    Client::connect(ClientConfig {
        endpoints,
        identity: identity.clone(),
        cluster_key_hash: profile.cluster_key_hash,
        trust_cache: Some(folder.trust_cache()),
        deadline: CALL_DEADLINE,
    })
    .await
}

async fn redeem(client: &Client, token: &JoinToken, name: &str) -> Result<(), AgentError> {
    let text = token.encode()?;
    let request = RedeemAgentTokenRequest { token: text.to_string(), request_id: String::new() };
    match client.agents().redeem_token(request).await {
        Ok(agent) if agent.name == name => Ok(()),
        Ok(agent) => Err(AgentError::EnrolledAsOther { wanted: name.to_owned(), got: agent.name }),
        // A crash after the cluster enrolled us and before we wrote it down: the token is spent, and on us.
        Err(error) if error.reason() == Some(Reason::TokenRejected) && is_known_as(client, name).await => Ok(()),
        Err(error) if error.reason() == Some(Reason::TokenRejected) => {
            Err(AgentError::TokenRejected { name: name.to_owned() })
        }
        Err(error) => Err(error.into()),
    }
}

async fn is_known_as(client: &Client, name: &str) -> bool {
    client.cluster().who_am_i(WhoAmIRequest {}).await.is_ok_and(|answer| answer.principal == name)
}
