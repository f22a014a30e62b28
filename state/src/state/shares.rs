//! Who holds how much of the memory of requests: derived from its table, so that a full memory is taken back from
//! whoever holds the most.

use imbl::{OrdMap, OrdSet};
use types::{Principal, RequestId};

/// The remembered requests by principal.
#[derive(Clone, Default, PartialEq)]
pub(crate) struct Shares {
    /// Each principal's ids, the lowest first.
    ids: OrdSet<(Principal, RequestId)>,
    /// How many each has.
    held: OrdMap<Principal, u64>,
    /// The same, the most last.
    ranking: OrdSet<(u64, Principal)>,
}

impl Shares {
    /// Counts a request that was not counted.
    pub(crate) fn add(&mut self, principal: &Principal, id: RequestId) {
        if self.ids.insert((principal.clone(), id)).is_none() {
            self.hold(principal, self.held(principal).saturating_add(1));
        }
    }

    /// Counts a request out.
    pub(crate) fn remove(&mut self, principal: &Principal, id: RequestId) {
        if self.ids.remove(&(principal.clone(), id)).is_some() {
            self.hold(principal, self.held(principal).saturating_sub(1));
        }
    }

    /// The lowest id of the principal that has the most; of equals, the last by name.
    pub(crate) fn lowest_of_the_largest(&self) -> Option<(RequestId, Principal)> {
        let (_, principal) = self.ranking.get_max()?;
        let from = (principal.clone(), RequestId([0; 16]));
        self.ids.range(from..).next().map(|(principal, id)| (*id, principal.clone()))
    }

    fn held(&self, principal: &Principal) -> u64 {
        self.held.get(principal).copied().unwrap_or_default()
    }

    fn hold(&mut self, principal: &Principal, count: u64) {
        if let Some(old) = self.held.remove(principal) {
            self.ranking.remove(&(old, principal.clone()));
        }
        if count > 0 {
            self.held.insert(principal.clone(), count);
            self.ranking.insert((count, principal.clone()));
        }
    }
}
