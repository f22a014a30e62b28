//! Step 12: the leader is killed under load. Nothing acknowledged is lost, callers see no error, another node leads, and
//! the killed one catches up.

use std::time::{Duration, Instant};

use chancery_client::envelope::{KeyUse as _, ServiceKeys};
use chancery_client::proto::cluster::v1::ClusterStatus;
use chancery_client::proto::kms::v1::{ListKeyVersionsRequest, UpdateKeyRequest};

use super::super::fault::Fault;
use super::super::report::Found;
use super::super::sample::{bound, is_start};
use super::super::stage::Stage;
use super::super::status;
use super::super::wait::{Asked, until};
use super::load::{Counts, Load};
use super::{KEY, PERIOD_S, rotate};

/// An election and the first write after it, or a node's return.
const PATIENCE: Duration = Duration::from_secs(20);
/// Calls that must have been answered before and after, so that zero errors means something.
const DECRYPTS_MIN: u64 = 20;
const SVIDS_MIN: u64 = 3;

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    if stage.nodes.len() == 1 {
        return Ok(Found::Skipped("one node: nobody can take over".to_owned()));
    }
    let before = asked(stage).await?;
    let victim = status::leader(stage, &before)?;
    let load = Load::start(stage).await?;
    busy(stage, &load, &Counts::default()).await?;
    let acknowledged = rotate::rotate(stage).await?.after;

    kill(stage, victim).await?;
    let killed = Instant::now();
    let answered = load.counts();
    write(stage).await?;
    let took = killed.elapsed();
    let after = led_by_another(stage, before.leader).await?;
    busy(stage, &load, &answered).await?;
    is_kept(stage, acknowledged).await?;

    stage.start(victim, None)?;
    caught_up(stage, victim).await?;
    let counts = load.stop().await?;
    counts.check()?;
    decrypts(stage, victim).await?;
    Ok(Found::Held(format!(
        "killed node-{}; node-{} leads, writes after {:.1} s;\nmeanwhile {} decrypts, {} SVIDs, 0 errors; node-{} is back",
        before.leader,
        after.leader,
        took.as_secs_f64(),
        thousands(counts.decrypts),
        thousands(counts.svids),
        before.leader
    )))
}

async fn asked(stage: &mut Stage) -> Result<ClusterStatus, Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        Ok(status::ask(stage.client()?).await)
    })
    .await
}

async fn kill(stage: &mut Stage, victim: usize) -> Result<(), Fault> {
    let process = stage.nodes.get_mut(victim).and_then(|node| node.process.take());
    let mut process = process.ok_or_else(|| Fault::new("the leader has no process"))?;
    Ok(process.kill().await?)
}

/// Waits until callers have been answered often enough since `since`.
async fn busy(stage: &mut Stage, load: &Load, since: &Counts) -> Result<(), Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        let now = load.counts();
        now.check()?;
        let (decrypts, svids) = (now.decrypts - since.decrypts, now.svids - since.svids);
        let enough = decrypts >= DECRYPTS_MIN && svids >= SVIDS_MIN;
        Ok(if enough { Asked::Yes(()) } else { Asked::NotYet(format!("{decrypts} decrypts and {svids} SVIDs")) })
    })
    .await
}

/// A write that changes nothing that others look at. The same one, again and again: its request id makes it one.
async fn write(stage: &mut Stage) -> Result<(), Fault> {
    let request = UpdateKeyRequest {
        name: KEY.to_owned(),
        rotation_period: Some(prost_types::Duration { seconds: PERIOD_S, nanos: 0 }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["rotation_period".to_owned()] }),
        request_id: chancery_client::api::request_id(),
        ..UpdateKeyRequest::default()
    };
    until(PATIENCE, async || {
        stage.check()?;
        Ok(match stage.client()?.keys().update(request.clone()).await {
            Ok(_) => Asked::Yes(()),
            Err(error) => Asked::NotYet(error.to_string()),
        })
    })
    .await
}

async fn led_by_another(stage: &mut Stage, old: u64) -> Result<ClusterStatus, Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        Ok(match status::ask(stage.client()?).await {
            Asked::Yes(status) if status.leader != 0 && status.leader != old => Asked::Yes(status),
            Asked::Yes(status) => Asked::NotYet(format!("node-{} leads", status.leader)),
            Asked::NotYet(why) => Asked::NotYet(why),
        })
    })
    .await
}

/// What was acknowledged a moment before the leader died is there.
async fn is_kept(stage: &Stage, acknowledged: u32) -> Result<(), Fault> {
    let request =
        ListKeyVersionsRequest { parent: KEY.to_owned(), page_size: 100, ..ListKeyVersionsRequest::default() };
    let versions = stage.client()?.keys().versions(request).await?.versions;
    Fault::check(versions.iter().any(|version| version.version == acknowledged), || {
        format!("v{acknowledged} was acknowledged before the leader died and is gone")
    })
}

/// Waits until the node that was killed has applied all that was committed when we first looked.
async fn caught_up(stage: &mut Stage, index: usize) -> Result<(), Fault> {
    let committed = asked(stage).await?.commit_index;
    until(PATIENCE, async || {
        stage.check()?;
        let status = match status::ask(stage.client()?).await {
            Asked::Yes(status) => status,
            Asked::NotYet(why) => return Ok(Asked::NotYet(why)),
        };
        if let Some(why) = status::missing(&status, stage.nodes.len()) {
            return Ok(Asked::NotYet(why));
        }
        let node = stage.nodes.get(index).and_then(|node| status::member(&status, node));
        let applied = node.map_or(0, |node| node.applied_index);
        let has_all = applied >= committed;
        Ok(if has_all { Asked::Yes(()) } else { Asked::NotYet(format!("it has applied {applied} of {committed}")) })
    })
    .await
}

/// The node itself answers again, from its own state.
async fn decrypts(stage: &mut Stage, index: usize) -> Result<(), Fault> {
    until(PATIENCE, async || {
        stage.check()?;
        let node = stage.nodes.get(index).ok_or_else(|| Fault::new("the killed node is gone"))?;
        let (keys, sample) = (ServiceKeys::to_decrypt(stage.client_of(node)?), stage.sample()?);
        Ok(match keys.decrypt(&sample.unary, &bound()?).await {
            Ok(opened) if is_start(sample, opened.plaintext.expose()) => Asked::Yes(()),
            Ok(_) => return Err(Fault::new(format!("{} opens it to something else", node.name))),
            Err(error) => Asked::NotYet(format!("{}: {error}", node.name)),
        })
    })
    .await
}

/// `1,204`.
pub(crate) fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_for_people() {
        for (number, text) in [(0, "0"), (999, "999"), (1_204, "1,204"), (12_345_678, "12,345,678")] {
            assert_eq!(thousands(number), text);
        }
    }
}
