//! What the tour plays on: the folder, the processes, and the clients of its two identities.

use std::ffi::OsString;
use std::path::PathBuf;
use std::time::Duration;

use chancery_client::identity::{Folder, Profile};
use chancery_client::tls::Identity;
use chancery_client::{Address, Client, Config};

use super::fault::Fault;
use super::layout::{Layout, Memory};
use super::ports::Ports;
use super::process::Process;
use super::sample::Sample;
use crate::values;

/// A call of the tour ends within this time, fail-over included.
const DEADLINE: Duration = Duration::from_secs(10);

/// Everything that is up.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) layout: Layout,
    pub(crate) memory: Memory,
    pub(crate) nodes: Vec<Node>,
    pub(crate) agent: Option<Process>,
    /// What the tour encrypts, once it has.
    pub(crate) sample: Option<Sample>,
    program: PathBuf,
    client: Option<Client>,
}

/// A node of the cluster: its place stays, its process may be killed and started again.
#[derive(Debug)]
pub(crate) struct Node {
    /// `node-1`: its folder and its log are named so.
    pub(crate) name: String,
    pub(crate) ports: Ports,
    pub(crate) process: Option<Process>,
}

/// Whose folder an identity lies in.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Who {
    Operator,
    Agent,
}

impl Stage {
    pub(crate) fn new(layout: Layout, memory: Memory, program: PathBuf) -> Self {
        let node = |(n, ports): (usize, &Ports)| Node { name: format!("node-{}", n + 1), ports: *ports, process: None };
        let nodes = memory.ports.iter().enumerate().map(node).collect();
        Self { layout, memory, nodes, agent: None, sample: None, program, client: None }
    }

    /// The binary that runs, of which every process is made.
    pub(crate) fn program(&self) -> &PathBuf {
        &self.program
    }

    pub(crate) fn agent_socket(&self) -> PathBuf {
        self.layout.path("agent.sock")
    }

    /// The operator's client.
    pub(crate) fn client(&self) -> Result<&Client, Fault> {
        self.client.as_ref().ok_or_else(|| Fault::new("there is no cluster"))
    }

    /// What was encrypted.
    pub(crate) fn sample(&self) -> Result<&Sample, Fault> {
        self.sample.as_ref().ok_or_else(|| Fault::new("nothing was encrypted before"))
    }

    /// The operator's client for one node only.
    pub(crate) fn client_of(&self, node: &Node) -> Result<Client, Fault> {
        let address = node.api()?;
        self.client()?.only(&address).ok_or_else(|| Fault::new(format!("{} has no address", node.name)))
    }

    /// The first node's client: for what each node answers from its own state.
    pub(crate) fn first(&self) -> Result<Client, Fault> {
        let node = self.nodes.first().ok_or_else(|| Fault::new("there is no node"))?;
        self.client_of(node)
    }

    /// Makes the operator's client, from now on for these addresses.
    pub(crate) async fn connect(&mut self, endpoints: Vec<Address>) -> Result<(), Fault> {
        self.client = Some(self.connect_as(Who::Operator, endpoints).await?);
        Ok(())
    }

    /// A client of its own, which tries these addresses in this order.
    pub(crate) async fn connect_as(&self, who: Who, endpoints: Vec<Address>) -> Result<Client, Fault> {
        let folder = Folder::open(self.layout.path(who.folder()))?;
        let unknown = || Fault::new(format!("`{}` holds no enrolled identity", folder.path().display()));
        let profile: Profile = folder.profile()?.ok_or_else(unknown)?;
        let signer = folder.read_key(&|| Err("dev's keys are not encrypted".to_owned()))?;
        let config = Config {
            endpoints,
            identity: Identity::self_signed(&signer, &profile.name, values::now())?,
            cluster_key_hash: profile.cluster_key_hash,
            // The agent's own cache is the agent's to write.
            trust_cache: matches!(who, Who::Operator).then(|| folder.trust_cache()),
            deadline: DEADLINE,
        };
        Ok(Client::connect(config).await?)
    }

    /// The addresses of all nodes.
    pub(crate) fn endpoints(&self) -> Result<Vec<Address>, Fault> {
        self.nodes.iter().map(Node::api).collect()
    }

    /// Starts a node, with a join token if it belongs to no cluster yet.
    pub(crate) fn start(&mut self, index: usize, join_token_file: Option<PathBuf>) -> Result<(), Fault> {
        let (layout, program) = (&self.layout, &self.program);
        let node = self.nodes.get_mut(index).ok_or_else(|| Fault::new(format!("there is no node {}", index + 1)))?;
        let mut arguments: Vec<OsString> = vec![
            "server".into(),
            "--until-stdin-closes".into(),
            "--data-dir".into(),
            layout.path(&node.name).into(),
            "--api-listen".into(),
            node.ports.api.to_string().into(),
            "--peer-listen".into(),
            node.ports.peer.to_string().into(),
            "--health-listen".into(),
            node.ports.health.to_string().into(),
        ];
        if let Some(file) = join_token_file {
            arguments.extend(["--join".into(), file.into()]);
        }
        let log = layout.path("logs").join(format!("{}.log", node.name));
        node.process = Some(Process::start(&node.name, program, &arguments, &log)?);
        Ok(())
    }

    /// Starts the agent, with a join token if it is not enrolled yet.
    pub(crate) fn start_agent(&mut self, join_token_file: Option<PathBuf>) -> Result<(), Fault> {
        let endpoints: Vec<_> = self.nodes.iter().map(|node| node.ports.api.to_string()).collect();
        let mut arguments: Vec<OsString> = vec![
            "agent".into(),
            "--until-stdin-closes".into(),
            "--data-dir".into(),
            self.layout.path(Who::Agent.folder()).into(),
            "--socket".into(),
            self.agent_socket().into(),
            "--addr".into(),
            endpoints.join(",").into(),
        ];
        if let Some(file) = join_token_file {
            arguments.extend(["--join-token-file".into(), file.into()]);
        }
        let log = self.layout.path("logs").join("agent.log");
        self.agent = Some(Process::start("agent", &self.program, &arguments, &log)?);
        Ok(())
    }

    /// An error if a process has ended that should run.
    pub(crate) fn check(&mut self) -> Result<(), Fault> {
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.as_mut());
        nodes.chain(self.agent.as_mut()).try_for_each(Process::check)
    }

    /// Ends every process: the agent first, for the nodes are what it talks to.
    pub(crate) async fn stop(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
        let nodes = self.nodes.iter_mut().filter_map(|node| node.process.take());
        futures::future::join_all(nodes.map(Process::stop)).await;
    }
}

impl Node {
    /// Where clients reach it.
    pub(crate) fn api(&self) -> Result<Address, Fault> {
        Ok(Address::parse(&self.ports.api.to_string())?)
    }
}

impl Who {
    pub(crate) fn folder(self) -> &'static str {
        match self {
            Self::Operator => "admin",
            Self::Agent => "agent",
        }
    }
}
