//! Step 1: processes that are a cluster. Formed by `Init` and join tokens the first time, found afterwards.

use std::path::{Path, PathBuf};
use std::time::Duration;

use chancery_client::identity::{Folder, Profile, Protection};
use chancery_client::proto::ca::v1::ListAgentsRequest;
use chancery_client::proto::cluster::v1::cluster_service_client::ClusterServiceClient;
use chancery_client::proto::cluster::v1::{CreateJoinTokenRequest, InitRequest, JoinTokenKind};
use chancery_client::{Address, Error, private_file, tls};
use types::{ClusterId, SpkiHash};

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::stage::{Stage, Who};
use super::super::status;
use super::super::wait::{Asked, until};

const TRUST_DOMAIN: &str = "dev.chancery";
const OPERATOR: &str = "root";
/// The agent's id.
pub(crate) const AGENT: &str = "dev";
/// A process is up, a node is admitted, a cluster is whole: each within this time.
const PATIENCE: Duration = Duration::from_secs(20);
const PORTS_FREE: Duration = Duration::from_secs(4);

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    free_ports(stage).await?;
    let is_new = Folder::create(stage.layout.path(Who::Operator.folder()))?.profile()?.is_none();
    if is_new {
        form(stage).await?;
    } else {
        find(stage).await?;
    }
    let leader = whole(stage).await?;
    enrol_agent(stage).await?;
    let ports: Vec<_> = stage.nodes.iter().map(|node| node.ports.api.port().to_string()).collect();
    let (count, ports) = (stage.nodes.len(), ports.join(" "));
    let nodes = if count == 1 { "1 node".to_owned() } else { format!("{count} nodes") };
    let found = if is_new { "" } else { " found again" };
    Ok(Found::Held(format!("{nodes}{found}, node-{leader} leads, api 127.0.0.1:{ports}")))
}

/// A port that was taken in the meantime is said now: a node would only say it in its log. The nodes of a run that was
/// killed are given the time to let their last calls end.
async fn free_ports(stage: &Stage) -> Result<(), Fault> {
    until(PORTS_FREE, async || {
        let taken = stage.nodes.iter().find_map(|node| Some((node.ports.taken()?, &node.name)));
        Ok(taken.map_or(Asked::Yes(()), |(taken, name)| {
            Asked::NotYet(format!(
                "{taken} of {name} is in use, and members know one another by their ports: stop what listens there, \
                 or use another --dir"
            ))
        }))
    })
    .await
}

/// A new cluster: the first node forms it, each other one joins with a token.
async fn form(stage: &mut Stage) -> Result<(), Fault> {
    stage.start(0, None)?;
    let socket = stage.layout.path("node-1").join("admin.sock");
    let profile = init(stage, &socket).await?;
    let admin = Folder::open(stage.layout.path(Who::Operator.folder()))?;
    admin.write_profile(&profile)?;
    let first = stage.nodes.first().map(|node| node.api()).transpose()?;
    stage.connect(first.into_iter().collect()).await?;
    for index in 1..stage.nodes.len() {
        join(stage, index).await?;
    }
    stage.connect(stage.endpoints()?).await
}

/// The operator's key is made here; only its public half is sent.
async fn init(stage: &mut Stage, socket: &Path) -> Result<Profile, Fault> {
    let folder = Folder::open(stage.layout.path(Who::Operator.folder()))?;
    let signer = if folder.has_key() {
        folder.read_key(&|| Err("dev's keys are not encrypted".to_owned()))?
    } else {
        folder.create_key(&Protection::DangerousUnencrypted)?
    };
    let channel = until(PATIENCE, async || {
        stage.check()?;
        Ok(match tls::unix_channel(socket).await {
            Ok(channel) => Asked::Yes(channel),
            Err(error) => Asked::NotYet(format!("nobody listens on `{}`: {error}", socket.display())),
        })
    })
    .await?;
    let request = InitRequest {
        trust_domain: TRUST_DOMAIN.to_owned(),
        operator_name: OPERATOR.to_owned(),
        operator_spki: signer.spki_der(),
        ..InitRequest::default()
    };
    let answer = ClusterServiceClient::new(channel).init(request).await;
    let answer = answer.map_err(|status| Error::from_status(&status))?.into_inner();
    let malformed = || Fault::new("the answer to `Init` is malformed");
    Ok(Profile {
        name: answer.operator,
        cluster_id: ClusterId::from_hex(&answer.cluster_id).ok_or_else(malformed)?,
        cluster_key_hash: SpkiHash::from_hex(&answer.cluster_key_hash).ok_or_else(malformed)?,
        endpoints: stage.endpoints()?,
    })
}

/// Starts a node with a token and waits until it is a member: one after the other, so that folder and number agree.
async fn join(stage: &mut Stage, index: usize) -> Result<(), Fault> {
    let file = token(stage, JoinTokenKind::Node, "").await?;
    stage.start(index, Some(file.clone()))?;
    until(PATIENCE, async || {
        stage.check()?;
        let status = match status::ask(stage.client()?).await {
            Asked::Yes(status) => status,
            Asked::NotYet(why) => return Ok(Asked::NotYet(why)),
        };
        let node = stage.nodes.get(index).and_then(|node| status::member(&status, node));
        Ok(node.map_or_else(|| Asked::NotYet(format!("node-{} has not joined", index + 1)), |_| Asked::Yes(())))
    })
    .await?;
    Ok(std::fs::remove_file(file)?)
}

/// A cluster that an earlier run formed: no second `Init`. A node that had not joined when it ended joins now.
async fn find(stage: &mut Stage) -> Result<(), Fault> {
    let strangers: Vec<_> = (0..stage.nodes.len()).filter(|index| !has_joined(stage, *index)).collect();
    for index in (0..stage.nodes.len()).filter(|index| !strangers.contains(index)) {
        stage.start(index, None)?;
    }
    let members = (0..stage.nodes.len()).filter(|index| !strangers.contains(index));
    let endpoints = members.filter_map(|index| stage.nodes.get(index)).map(|node| node.api());
    let endpoints = endpoints.collect::<Result<Vec<Address>, Fault>>()?;
    reconnect(stage, &endpoints).await?;
    for index in strangers {
        led(stage).await?;
        join(stage, index).await?;
    }
    stage.connect(stage.endpoints()?).await
}

/// Connects to nodes that are still opening their seals.
async fn reconnect(stage: &mut Stage, endpoints: &[Address]) -> Result<(), Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        let connected = stage.connect(endpoints.to_vec()).await;
        Ok(connected.map_or_else(|fault| Asked::NotYet(fault.to_string()), Asked::Yes))
    })
    .await
}

/// Waits until somebody leads, who can then admit.
async fn led(stage: &mut Stage) -> Result<(), Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        Ok(match status::ask(stage.client()?).await {
            Asked::Yes(status) if status.leader != 0 => Asked::Yes(()),
            Asked::Yes(_) => Asked::NotYet("nobody leads".to_owned()),
            Asked::NotYet(why) => Asked::NotYet(why),
        })
    })
    .await
}

fn has_joined(stage: &Stage, index: usize) -> bool {
    stage.nodes.get(index).is_some_and(|node| stage.layout.path(&node.name).join("node.json").exists())
}

/// Waits until every node is a voter; the leader's number.
async fn whole(stage: &mut Stage) -> Result<u64, Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        let status = match status::ask(stage.client()?).await {
            Asked::Yes(status) => status,
            Asked::NotYet(why) => return Ok(Asked::NotYet(why)),
        };
        let why = status::missing(&status, stage.nodes.len());
        Ok(why.map_or(Asked::Yes(status.leader), Asked::NotYet))
    })
    .await
}

/// Waits until every node may sign certificates.
async fn authorities(stage: &mut Stage) -> Result<(), Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        Ok(match status::ask(stage.client()?).await {
            Asked::Yes(status) => status::without_authority(&status).map_or(Asked::Yes(()), Asked::NotYet),
            Asked::NotYet(why) => Asked::NotYet(why),
        })
    })
    .await
}

/// Starts the agent and waits until the cluster knows it. Until there is an agent nobody can hold an SVID, so every
/// node's authority becomes active at once; one that comes later waits for its root to be known (ADR 0004).
async fn enrol_agent(stage: &mut Stage) -> Result<(), Fault> {
    let is_known = Folder::create(stage.layout.path(Who::Agent.folder()))?.profile()?.is_some();
    let file = if is_known {
        None
    } else {
        authorities(stage).await?;
        Some(token(stage, JoinTokenKind::Agent, AGENT).await?)
    };
    stage.start_agent(file.clone())?;
    let name = format!("agents/{AGENT}");
    until(PATIENCE, async || {
        stage.check()?;
        let agents = stage.client()?.agents().list(ListAgentsRequest::default()).await?.agents;
        let is_listed = agents.iter().any(|agent| agent.name == name && !agent.revoked);
        let is_ready = is_listed && stage.agent_socket().exists();
        Ok(if is_ready { Asked::Yes(()) } else { Asked::NotYet(format!("{name} has not enrolled")) })
    })
    .await?;
    file.map_or(Ok(()), |file| Ok(std::fs::remove_file(file)?))
}

/// A one-time token in a file of mode 0600, never in an argument.
async fn token(stage: &Stage, kind: JoinTokenKind, agent: &str) -> Result<PathBuf, Fault> {
    let request =
        CreateJoinTokenRequest { kind: kind.into(), agent_id: agent.to_owned(), ..CreateJoinTokenRequest::default() };
    let token = stage.client()?.cluster().create_join_token(request).await?.token;
    let file = stage.layout.path("join.token");
    private_file::write(&file, token.as_bytes())?;
    Ok(file)
}
