//! The ports of a development cluster: the usual ones when they are free, else whichever are.

use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};

use serde::{Deserialize, Serialize};

/// API port of the first node; the peer and health ports follow, the next node's are ten higher.
const FIRST_PORT: u16 = 7443;
const STEP: u16 = 10;

/// The three ports of a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Ports {
    pub(crate) api: SocketAddr,
    pub(crate) peer: SocketAddr,
    pub(crate) health: SocketAddr,
}

/// Held until it is known that no two nodes get the same.
struct Held([TcpListener; 3]);

impl Ports {
    /// Ports for `count` nodes.
    pub(crate) fn choose(count: u8) -> io::Result<Vec<Self>> {
        Self::choose_from(FIRST_PORT, count)
    }

    fn choose_from(first: u16, count: u8) -> io::Result<Vec<Self>> {
        let bases = (0..u16::from(count)).map(|n| first.saturating_add(n.saturating_mul(STEP)));
        let held = bases.map(Held::at_or_free).collect::<io::Result<Vec<_>>>()?;
        held.iter().map(Held::ports).collect()
    }

    /// The port of these that something listens on, if one is taken.
    pub(crate) fn taken(&self) -> Option<SocketAddr> {
        [self.api, self.peer, self.health].into_iter().find(|address| TcpListener::bind(address).is_err())
    }
}

impl Held {
    fn at_or_free(base: u16) -> io::Result<Self> {
        let at = |offset: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, base.saturating_add(offset)));
        if let (Ok(api), Ok(peer), Ok(health)) = (at(0), at(1), at(2)) {
            return Ok(Self([api, peer, health]));
        }
        let free = || TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
        Ok(Self([free()?, free()?, free()?]))
    }

    fn ports(&self) -> io::Result<Ports> {
        let Self([api, peer, health]) = self;
        Ok(Ports { api: api.local_addr()?, peer: peer.local_addr()?, health: health.local_addr()? })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn taken_ports_are_avoided_and_no_two_are_the_same() {
        let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("binds");
        let address = taken.local_addr().expect("bound");
        let ports = Ports::choose_from(address.port() - 1, 5).expect("chooses");
        let all: BTreeSet<_> = ports.iter().flat_map(|ports| [ports.api, ports.peer, ports.health]).collect();
        assert_eq!(all.len(), 15);
        assert!(!all.contains(&address));
    }

    #[test]
    fn a_taken_port_is_named() {
        let ports = *Ports::choose_from(1, 1).expect("chooses").first().expect("one");
        assert_eq!(ports.taken(), None);
        let _taken = TcpListener::bind(ports.peer).expect("binds");
        assert_eq!(ports.taken(), Some(ports.peer));
    }
}
