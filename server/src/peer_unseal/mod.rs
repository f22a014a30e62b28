//! Members that open one another: a voter that restarts asks the others for the root key, and the leader hands it out under
//! guards and after a committed record (docs/spec/seal.md). Off until an admin switches it on.

mod asking;
pub(crate) mod by_hand;
mod releasing;

pub(crate) use asking::ask;
pub(crate) use releasing::{Releasing, release};
