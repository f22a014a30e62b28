//! Step 5: a rotation by hand is one version and one entry.

use chancery_client::proto::kms::v1::RotateKeyRequest;
use types::Reason;

use super::super::fault::Fault;
use super::super::records;
use super::super::report::Found;
use super::super::stage::Stage;
use super::KEY;

/// The schedule may rotate between our look and our call; not three times in a row.
const TRIES: usize = 3;

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let first = stage.first()?;
    let start = records::size(&first).await?;
    let Rotated { before, after, request_id } = rotate(stage).await?;
    Fault::check(after == before + 1, || format!("v{before} became v{after}"))?;
    let entries = records::find(&first, start, |record| record.request_id == request_id).await?;
    let versions: Vec<_> = entries.iter().filter_map(|record| records::added_version(record, KEY)).collect();
    Fault::check(versions == [after] && entries.len() == 1, || {
        format!("{} log entries for one rotation, of versions {versions:?}", entries.len())
    })?;
    Ok(Found::Held(format!("v{before} → v{after}, one log entry")))
}

/// A rotation that was acknowledged.
pub(crate) struct Rotated {
    pub(crate) before: u32,
    pub(crate) after: u32,
    pub(crate) request_id: String,
}

/// Rotates exactly the version that is seen.
pub(crate) async fn rotate(stage: &Stage) -> Result<Rotated, Fault> {
    let keys = stage.client()?.keys();
    for _ in 0..TRIES {
        let seen = super::key(stage).await?;
        // Another look is another request.
        let request_id = chancery_client::api::request_id();
        let request = RotateKeyRequest {
            name: KEY.to_owned(),
            etag: seen.etag,
            request_id: request_id.clone(),
            ..RotateKeyRequest::default()
        };
        match keys.rotate(request).await {
            Ok(key) => return Ok(Rotated { before: seen.primary_version, after: key.primary_version, request_id }),
            Err(error) if error.reason() == Some(Reason::PreconditionFailed) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Fault::new("the key has changed under us three times"))
}
