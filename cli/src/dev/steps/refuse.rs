//! Step 10: a process of the same user that nobody registered gets no identity.

use types::Reason;

use super::super::fault::Fault;
use super::super::launch::Workload;
use super::super::report::Found;
use super::super::stage::Stage;
use super::super::workload::Said;

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let mut stranger = Workload::start(stage.program(), &stage.agent_socket(), &["fetch"])?;
    match stranger.hear().await? {
        Said::Refused { reason } if reason == Reason::PermissionDenied.as_str() => {}
        other => return Err(Fault::new(format!("an unregistered process should be refused and said {other:?}"))),
    }
    stranger.end().await?;
    Ok(Found::Held("unregistered process: no identity issued".to_owned()))
}
