//! Which connections to the peer port are open: whether the holder of a key is there twice is a question that only the port
//! can answer.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use types::SpkiHash;

/// The connections that are open, by a number each.
#[derive(Clone, Debug, Default)]
pub(super) struct Sessions(Arc<Mutex<Open>>);

#[derive(Debug, Default)]
struct Open {
    last: u64,
    keys: BTreeMap<u64, SpkiHash>,
}

/// One connection, for as long as it, or a request on it, is there.
#[derive(Clone, Debug)]
pub struct Session(Arc<Place>);

#[derive(Debug)]
struct Place {
    number: u64,
    key: SpkiHash,
    sessions: Sessions,
}

impl Sessions {
    /// A connection whose handshake has proved that key.
    pub(super) fn begin(&self, key: SpkiHash) -> Session {
        let mut open = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.last = open.last.saturating_add(1);
        let number = open.last;
        open.keys.insert(number, key);
        drop(open);
        Session(Arc::new(Place { number, key, sessions: self.clone() }))
    }
}

impl Session {
    /// Whether another connection is open whose handshake has proved the same key.
    #[must_use]
    pub fn has_a_twin(&self) -> bool {
        let Place { number, key, sessions } = self.0.as_ref();
        let open = sessions.0.lock().unwrap_or_else(PoisonError::into_inner);
        open.keys.iter().any(|(other, held)| other != number && held == key)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sessions.0.lock().unwrap_or_else(PoisonError::into_inner).keys.remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_is_there_twice_is_seen_until_one_of_them_goes() {
        let (sessions, key) = (Sessions::default(), SpkiHash([1; 32]));
        let first = sessions.begin(key);
        let other = sessions.begin(SpkiHash([2; 32]));
        assert!(!first.has_a_twin() && !other.has_a_twin());
        let second = sessions.begin(key);
        let request = second.clone();
        assert!(first.has_a_twin() && second.has_a_twin() && !other.has_a_twin());
        drop(second);
        assert!(first.has_a_twin(), "a request of its is still being answered");
        drop(request);
        assert!(!first.has_a_twin());
    }
}
