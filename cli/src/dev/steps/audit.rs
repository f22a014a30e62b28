//! Step 13: every log is read leaf by leaf and verified here, against the heads that every node holds and that Raft has
//! anchored.

use std::collections::BTreeMap;
use std::time::Duration;

use ::audit::verify::Verifier;
use ::audit::{Hash, Head, LogName, Report};
use chancery_client::Client;
use chancery_client::proto::audit::v1::{self as wire, GetHeadsRequest};

use super::super::fault::Fault;
use super::super::records;
use super::super::report::Found;
use super::super::stage::Stage;
use super::super::wait::{Asked, until};
use super::KEY;
use super::failover::thousands;

/// A head is anchored about a second after its records were written.
const ANCHORED: Duration = Duration::from_secs(10);

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let heads = anchored(stage).await?;
    let (mut count, mut gaps, mut logs) = (0, 0, 0);
    let mut rotations = Rotations::default();
    let mut verified: Vec<LogName> = Vec::new();
    for node in &stage.nodes {
        let client = stage.client_of(node)?;
        for log in held_by(&client).await?.into_iter().map(|head| head.log) {
            // The cluster's log is everybody's; once is enough, for every node's head of it is compared.
            if verified.contains(&log) {
                continue;
            }
            let report = verify(&client, log, &heads, &mut rotations).await?;
            verified.push(log);
            (count, gaps, logs) = (count + report.head.size, gaps + report.gaps, logs + 1);
        }
    }
    Fault::check(logs == stage.nodes.len() + 1, || format!("there are {logs} logs"))?;
    rotations.check()?;
    Ok(Found::Held(format!("{} records, {logs} logs verified, {gaps} gaps", thousands(count))))
}

/// Every head that is known: what nodes hold and what is anchored. Waits until each node's log is anchored at all.
async fn anchored(stage: &mut Stage) -> Result<Vec<Head>, Fault> {
    until(ANCHORED, async || {
        stage.check()?;
        let mut heads = Vec::new();
        for node in &stage.nodes {
            let answer = stage.client_of(node)?.audit().heads(GetHeadsRequest {}).await?;
            let own = answer.held.iter().filter(|head| head.log != records::CLUSTER);
            let anchors = |log: &str| answer.anchored.iter().any(|head| head.log == log && head.size > 0);
            if let Some(head) = own.into_iter().find(|head| !anchors(&head.log)) {
                return Ok(Asked::NotYet(format!("the log {} is not anchored", head.log)));
            }
            for head in answer.held.iter().chain(&answer.anchored) {
                heads.push(parse(head)?);
            }
        }
        Ok(Asked::Yes(heads))
    })
    .await
}

async fn held_by(client: &Client) -> Result<Vec<Head>, Fault> {
    client.audit().heads(GetHeadsRequest {}).await?.held.iter().map(parse).collect()
}

fn parse(head: &wire::Head) -> Result<Head, Fault> {
    let malformed = || Fault::new(format!("a head of log `{}` is malformed", head.log));
    let root = <[u8; 32]>::try_from(head.root.as_slice()).map_err(|_| malformed())?;
    Ok(Head { log: LogName::parse(&head.log).ok_or_else(malformed)?, size: head.size, root: Hash(root) })
}

/// Hashes the leaves as they came; nothing that the node says about them is believed.
async fn verify(client: &Client, log: LogName, heads: &[Head], rotations: &mut Rotations) -> Result<Report, Fault> {
    let name = log.to_string();
    let mut verifier = Verifier::new(log, heads);
    records::read(client, &name, 0, |record| {
        verifier.take(&record.leaf);
        rotations.take(&record);
        Ok(())
    })
    .await?;
    let report = verifier.finish();
    let first = report.findings.first().map(ToString::to_string).unwrap_or_default();
    Fault::check(report.is_sound() && report.gaps == 0, || format!("log {name}: {first}"))?;
    Ok(report)
}

/// How often each version of the tour's key was added.
#[derive(Debug, Default)]
struct Rotations(BTreeMap<u32, u32>);

impl Rotations {
    fn take(&mut self, record: &wire::Record) {
        if let Some(version) = records::added_version(record, KEY) {
            *self.0.entry(version).or_default() += 1;
        }
    }

    /// Each version has one entry and none is missing between two.
    fn check(&self) -> Result<(), Fault> {
        if let Some((version, times)) = self.0.iter().find(|(_, times)| **times != 1) {
            return Err(Fault::new(format!("v{version} of the key was added {times} times")));
        }
        let (first, last) = (self.0.keys().next(), self.0.keys().last());
        let span = first.zip(last).map_or(0, |(first, last)| (last - first + 1) as usize);
        Fault::check(span == self.0.len(), || format!("{} of {span} versions have a record", self.0.len()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_version_added_twice_or_never_is_noticed() {
        let rotations = |versions: &[u32]| {
            let mut rotations = Rotations::default();
            for version in versions {
                rotations.take(&wire::Record {
                    action: "KeyService.RotateKey".to_owned(),
                    outcome: "allow".to_owned(),
                    resource: KEY.to_owned(),
                    detail: [("version".to_owned(), version.to_string())].into(),
                    ..wire::Record::default()
                });
            }
            rotations.check().map_err(|fault| fault.to_string())
        };
        assert_eq!(rotations(&[]), Ok(()));
        assert_eq!(rotations(&[2, 3, 4]), Ok(()));
        assert_eq!(rotations(&[2, 3, 3]), Err("v3 of the key was added 2 times".to_owned()));
        assert_eq!(rotations(&[2, 4]), Err("2 of 3 versions have a record".to_owned()));
    }

    #[test]
    fn heads_are_parsed_strictly() {
        let head = wire::Head { log: "node-2".to_owned(), size: 1, root: vec![0; 32] };
        assert_eq!(parse(&head).expect("a head").size, 1);
        assert!(parse(&wire::Head { root: vec![0; 31], ..head.clone() }).is_err());
        assert!(parse(&wire::Head { log: "node-02".to_owned(), ..head }).is_err());
    }
}
