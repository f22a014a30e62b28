//! Step 11: the schedule rotates the key when it is due, once, whatever number of nodes looks at the clock.

use std::time::Duration;

use chancery_client::proto::kms::v1::{Key, KeyVersion, ListKeyVersionsRequest, RotationCause};
use tokio::time::sleep;

use super::super::fault::Fault;
use super::super::records;
use super::super::report::Found;
use super::super::stage::Stage;
use super::super::wait::{Asked, until};
use super::{KEY, PERIOD_S};
use crate::values::from_wire_time;

/// How late a rotation may be: state time follows the nodes' clocks within their reports, one a second.
const LATE: Duration = Duration::from_secs(8);
/// A second rotation for the same moment would come at once.
const AFTERWARDS: Duration = Duration::from_secs(1);

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let first = stage.first()?;
    let start = records::size(&first).await?;
    let before = super::key(stage).await?;
    let period = Duration::from_secs(PERIOD_S.unsigned_abs());
    let after = until(period + LATE, async || {
        stage.check()?;
        let key = super::key(stage).await?;
        let is_new = key.primary_version > before.primary_version;
        Ok(if is_new { Asked::Yes(key) } else { Asked::NotYet(format!("v{} is the primary", key.primary_version)) })
    })
    .await?;
    let (from, to) = (before.primary_version, after.primary_version);
    Fault::check(to == from + 1, || format!("v{from} became v{to} in one go"))?;
    by_schedule(&before, &version(stage, to).await?)?;
    sleep(AFTERWARDS).await;
    let later = super::key(stage).await?.primary_version;
    Fault::check(later == to, || format!("v{to} became v{later} before it was due"))?;
    let entries = records::find(&first, start, |record| records::added_version(record, KEY) == Some(to)).await?;
    Fault::check(entries.len() == 1, || format!("v{to} has {} log entries", entries.len()))?;
    Ok(Found::Held(format!("v{from} → v{to} by schedule, exactly once")))
}

async fn version(stage: &Stage, number: u32) -> Result<KeyVersion, Fault> {
    let request = ListKeyVersionsRequest { parent: KEY.to_owned(), page_size: 10, ..ListKeyVersionsRequest::default() };
    let versions = stage.client()?.keys().versions(request).await?.versions;
    let version = versions.into_iter().find(|version| version.version == number);
    version.ok_or_else(|| Fault::new(format!("v{number} is the primary and is not listed")))
}

/// It was the schedule, and not before its time.
fn by_schedule(before: &Key, version: &KeyVersion) -> Result<(), Fault> {
    let number = version.version;
    Fault::check(version.cause() == RotationCause::Schedule, || {
        format!("v{number} was made by {}", version.cause().as_str_name())
    })?;
    let due = before.next_rotation_time.as_ref().map(from_wire_time);
    let made = version.create_time.as_ref().map(from_wire_time);
    Fault::check(due.is_some() && made >= due, || format!("v{number} was made before it was due"))
}

#[cfg(test)]
mod tests {
    use prost_types::Timestamp;

    use super::*;

    #[test]
    fn neither_an_operator_nor_an_early_clock_is_the_schedule() {
        let at = |seconds| Some(Timestamp { seconds, nanos: 0 });
        let before = Key { next_rotation_time: at(100), ..Key::default() };
        let version = |seconds, cause: RotationCause| KeyVersion {
            version: 2,
            create_time: at(seconds),
            cause: cause.into(),
            ..KeyVersion::default()
        };
        assert!(by_schedule(&before, &version(100, RotationCause::Schedule)).is_ok());
        assert!(by_schedule(&before, &version(99, RotationCause::Schedule)).is_err());
        assert!(by_schedule(&before, &version(100, RotationCause::Operator)).is_err());
        assert!(by_schedule(&Key::default(), &version(100, RotationCause::Schedule)).is_err());
    }
}
