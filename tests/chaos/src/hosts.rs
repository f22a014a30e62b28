//! Hosts without machines: a network namespace for each node and one for the callers, on a bridge in a namespace of its own.
//! Nothing of it touches the machine's own network, and all of it goes when the run ends.

use std::ffi::OsString;
use std::net::Ipv4Addr;

use crate::Fault;
use crate::tools::{run, run_words};

/// Of names: `chaos{pid}-{number}`.
const NAME: &str = "chaos";

/// The namespaces of one scenario. Number 0 is the callers', 1… the nodes'.
#[derive(Debug)]
pub(crate) struct Hosts {
    name: String,
    nodes: usize,
}

/// Addresses and filters of hosts that stand already.
#[derive(Clone, Debug)]
pub(crate) struct Network {
    name: String,
}

impl Hosts {
    /// Makes them. Those of runs that ended badly go first.
    pub(crate) fn make(nodes: usize) -> Result<Self, Fault> {
        reap();
        let hosts = Self { name: format!("{NAME}{}", std::process::id()), nodes };
        let (switch, name) = (format!("{}-sw", hosts.name), &hosts.name);
        run_words(&format!("ip netns add {switch}"))?;
        run_words(&format!("ip -n {switch} link add br0 type bridge"))?;
        run_words(&format!("ip -n {switch} link set br0 up"))?;
        for number in 0..=nodes {
            let host = format!("{name}-{number}");
            run_words(&format!("ip netns add {host}"))?;
            run_words(&format!("ip -n {switch} link add v{number} type veth peer name eth0 netns {host}"))?;
            run_words(&format!("ip -n {switch} link set v{number} master br0 up"))?;
            run_words(&format!("ip -n {host} addr add {}/24 dev eth0", address(number)?))?;
            run_words(&format!("ip -n {host} link set eth0 up"))?;
            run_words(&format!("ip -n {host} link set lo up"))?;
        }
        Ok(hosts)
    }

    /// What a scenario is given to find them.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// What runs a program on the callers' host.
    pub(crate) fn through(&self) -> Vec<OsString> {
        Network { name: self.name.clone() }.through(0)
    }
}

impl Drop for Hosts {
    fn drop(&mut self) {
        for host in (0..=self.nodes).map(|number| number.to_string()).chain(["sw".to_owned()]) {
            let _ = run("ip", ["netns", "del", &format!("{}-{host}", self.name)]);
        }
    }
}

impl Network {
    /// The hosts of that name.
    pub(crate) fn new(name: String) -> Self {
        Self { name }
    }

    /// What runs a program on a host.
    pub(crate) fn through(&self, number: usize) -> Vec<OsString> {
        ["ip", "netns", "exec", &format!("{}-{number}", self.name)].map(OsString::from).to_vec()
    }

    /// The host of a node (from 0) no longer hears another one; what it says still arrives there.
    pub(crate) fn deafen(&self, node: usize, to: usize) -> Result<(), Fault> {
        let (host, from) = (node + 1, address(to + 1)?);
        run_words(&format!("ip netns exec {}-{host} iptables -w -A INPUT -s {from} -j DROP", self.name))?;
        Ok(())
    }

    /// Every host hears every other again.
    pub(crate) fn heal(&self, nodes: usize) -> Result<(), Fault> {
        for host in 1..=nodes {
            run_words(&format!("ip netns exec {}-{host} iptables -w -F INPUT", self.name))?;
        }
        Ok(())
    }
}

/// The address of a host.
pub(crate) fn address(number: usize) -> Result<Ipv4Addr, Fault> {
    Ok(Ipv4Addr::new(10, 99, 7, u8::try_from(number + 1)?))
}

/// Removes the hosts of processes that are gone.
fn reap() {
    let listed = run("ip", ["netns", "list"]).unwrap_or_default();
    for host in listed.lines().filter_map(|line| line.split_whitespace().next()) {
        let pid =
            host.strip_prefix(NAME).and_then(|rest| rest.split('-').next()).and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !std::path::Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = run("ip", ["netns", "del", host]);
        }
    }
}
