//! Step 10: a process of the same user that nobody registered gets no identity. On a cluster that is kept, its owner may
//! have registered one that matches every process of the user; then that one is right, and only those of the tour are not.

use types::Reason;

use super::super::fault::Fault;
use super::super::launch::Workload;
use super::super::report::Found;
use super::super::stage::Stage;
use super::super::workload::Said;
use super::register::{WORKLOADS, spiffe_id};

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let mut stranger = Workload::start(stage.program(), &stage.agent_socket(), &["fetch"])?;
    let found = judge(stranger.hear().await?)?;
    stranger.end().await?;
    Ok(found)
}

fn judge(said: Said) -> Result<Found, Fault> {
    match said {
        Said::Refused { reason } if reason == Reason::PermissionDenied.as_str() => {
            Ok(Found::Held("unregistered process: no identity issued".to_owned()))
        }
        Said::Identity { spiffe_id: served } if WORKLOADS.iter().all(|name| spiffe_id(name) != served) => {
            Ok(Found::Skipped(format!("served by an entry of yours: {served}")))
        }
        other => Err(Fault::new(format!("an unregistered process should be refused and said {other:?}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_entry_of_somebody_else_may_serve_a_stranger() {
        let identity = |spiffe_id: String| judge(Said::Identity { spiffe_id });
        assert!(matches!(identity("spiffe://td.test/ns/default/all".to_owned()), Ok(Found::Skipped(_))));
        for name in WORKLOADS {
            assert!(identity(spiffe_id(name)).is_err(), "{name}");
        }
        let refused = |reason: Reason| judge(Said::Refused { reason: reason.as_str().to_owned() });
        assert!(matches!(refused(Reason::PermissionDenied), Ok(Found::Held(_))));
        assert!(refused(Reason::Internal).is_err());
    }
}
