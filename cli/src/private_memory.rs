//! The memory of a process that holds keys is for nobody else: it goes into no core dump, and no other process of the same
//! user may read it or attach to it.

use rustix::process::{DumpableBehavior, Resource, Rlimit, set_dumpable_behavior, setrlimit};

use crate::exit::Exit;
use crate::failure::Failure;

/// Turns core dumps off for the rest of this process, so that a crash leaves no key on a disk.
pub(crate) fn keep() -> Result<(), Failure> {
    let failed = |error| Failure::new(Exit::Failed, format!("core dumps cannot be turned off: {error}"));
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed)?;
    // Where dumps are piped to a program the limit is not asked (core(5)); this is. It also shuts out debuggers and
    // `/proc/PID/mem` for all but root (ptrace(2)).
    set_dumpable_behavior(DumpableBehavior::NotDumpable).map_err(failed)
}

#[cfg(test)]
mod tests {
    use rustix::process::{dumpable_behavior, getrlimit};

    use super::*;

    #[test]
    fn nothing_is_dumped_any_more() {
        keep().expect("takes");
        assert_eq!(dumpable_behavior().expect("tells"), DumpableBehavior::NotDumpable);
        assert_eq!(getrlimit(Resource::Core), Rlimit { current: Some(0), maximum: Some(0) });
    }
}
