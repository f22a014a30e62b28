//! A key that the cluster rotates by itself every few seconds, whoever leads: each due time is served once, and by one version.

use std::time::{Duration, Instant};

use proto::cluster::v1 as cluster;
use proto::kms::v1 as kms;

use crate::Fault;
use crate::cluster::Doors;
use crate::verdict::Verdict;

const PERIOD: Duration = Duration::from_secs(2);
const NAMESPACE: &str = "namespaces/scheduled";
const KEY: &str = "namespaces/scheduled/keys/scheduled";

/// When it was made.
pub(super) struct Schedule(Instant);

impl Schedule {
    /// Makes the key.
    pub(super) async fn begin(doors: &Doors) -> Result<Self, Fault> {
        let namespace = cluster::Namespace { rotation_floor: Some(PERIOD.try_into()?), ..Default::default() };
        let request = cluster::CreateNamespaceRequest {
            namespace_id: "scheduled".into(),
            namespace: Some(namespace),
            ..Default::default()
        };
        doors.all.namespaces().create(request).await?;
        let request = kms::CreateKeyRequest {
            parent: NAMESPACE.into(),
            key_id: "scheduled".into(),
            rotation_period: Some(PERIOD.try_into()?),
            ..Default::default()
        };
        doors.all.keys().create(request).await?;
        Ok(Self(Instant::now()))
    }

    /// Looks at every version that there is: no due time may have been served twice, and most were served.
    pub(super) async fn judge(self, doors: &Doors, verdict: &mut Verdict) -> Result<(), Fault> {
        let (mut versions, mut page_token) = (Vec::new(), String::new());
        loop {
            let request = kms::ListKeyVersionsRequest { parent: KEY.into(), page_size: 1_000, page_token };
            let page = doors.all.keys().versions(request).await?;
            versions.extend(page.versions);
            page_token = page.next_page_token;
            if page_token.is_empty() {
                break;
            }
        }
        versions.sort_by_key(|version| version.version);
        let due = self.0.elapsed().as_secs() / PERIOD.as_secs();
        let made = u64::try_from(versions.len().saturating_sub(1))?;
        verdict.fact("rotations by schedule", format!("{made} of {due}"));
        if made > due + 1 {
            verdict.fail(format!("the schedule was due {due} times and was served {made} times"));
        }
        for (older, newer) in versions.iter().zip(versions.iter().skip(1)) {
            if newer.version != older.version + 1 || newer.cause() != kms::RotationCause::Schedule {
                verdict.fail(format!("version {} of the schedule after version {}", newer.version, older.version));
            }
        }
        Ok(())
    }
}
