//! Damaged files of one node, at the moment when it would hurt most: the only other node that has the newest writes is down.
//! If the damaged node forgot them silently, it and the third, which never had them, would elect a leader without them.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use chancery_client::Client;
use proto::ca::v1 as ca;
use proto::kms::v1 as kms;
use tokio::task::JoinSet;
use types::limits::SNAPSHOT_LOG_BYTES_MIN;

use crate::Fault;
use crate::cluster::{Cluster, last, until};
use crate::figures::Dice;
use crate::tools::run;
use crate::verdict::Verdict;
use crate::workload::versions;

use super::Order;
use super::stage::on_loopback;

/// Written while only two nodes are there to hold it.
const WRITES: usize = 30;
/// The witness follows the log once a second (docs/spec/raft-files.md); damage within that window is documented.
const WITNESSED: Duration = Duration::from_millis(2_500);
/// How long the damaged node and the one that knows less may try to elect each other.
const TOGETHER: Duration = Duration::from_secs(8);

/// Which file, and what is done to it.
#[derive(Clone, Copy, Debug)]
struct Way {
    /// Path in the data folder, up to the file's name.
    folder: &'static str,
    /// Of the file's name. With both empty, any file that there is.
    ending: &'static str,
    harm: Harm,
}

#[derive(Clone, Copy, Debug)]
enum Harm {
    /// One bit, anywhere.
    Flip,
    /// One bit, in the last hundredth.
    FlipEnd,
    /// Everything after some place in the second half.
    Cut,
}

const WAYS: [Way; 13] = [
    Way { folder: "raft/log", ending: ".wal", harm: Harm::Flip },
    Way { folder: "raft/log", ending: ".wal", harm: Harm::Cut },
    Way { folder: "raft/log", ending: ".wal", harm: Harm::FlipEnd },
    Way { folder: "", ending: "raft.witness", harm: Harm::Flip },
    Way { folder: "", ending: "raft.witness", harm: Harm::Cut },
    Way { folder: "raft/snapshots", ending: ".snapshot", harm: Harm::Flip },
    Way { folder: "raft/snapshots", ending: ".snapshot", harm: Harm::Cut },
    Way { folder: "audit/node-", ending: ".log", harm: Harm::Flip },
    Way { folder: "audit/node-", ending: ".log", harm: Harm::Cut },
    Way { folder: "audit/cluster", ending: ".log", harm: Harm::Flip },
    Way { folder: "", ending: "seal.json", harm: Harm::Flip },
    Way { folder: "", ending: "identity.key", harm: Harm::Cut },
    Way { folder: "", ending: "", harm: Harm::Flip },
];

pub(super) async fn play(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut cluster = Cluster::form(&order.folder, on_loopback(order)?).await?;
    grow(&cluster).await?;
    let mut keys = BTreeMap::new();
    let mut dice = Dice::new(order.seed);
    let mut outcomes: BTreeMap<String, u32> = BTreeMap::new();
    for round in 0..usize::try_from(order.rounds)? {
        let Some(way) = WAYS.get((round + dice_offset(order)) % WAYS.len()) else { continue };
        let told = one(&mut cluster, *way, &mut dice, &mut keys).await;
        let told = told.map_err(|error| format!("round {round}, {way:?}: {error}"))?;
        let name = format!("{}{} {:?}: {}", way.folder, way.ending, way.harm, told.outcome);
        *outcomes.entry(name).or_default() += 1;
        told.findings.into_iter().for_each(|finding| verdict.fail(format!("round {round}, {way:?}: {finding}")));
    }
    for (outcome, times) in outcomes {
        verdict.fact(&outcome, times);
    }
    verdict.fact("acknowledged writes, each on every node after each round", keys.len());
    Ok(())
}

/// The short form does not reach all ways: which it begins with is up to the seed.
fn dice_offset(order: &Order) -> usize {
    if usize::try_from(order.rounds).is_ok_and(|rounds| rounds >= WAYS.len()) {
        0
    } else {
        Dice::new(order.seed).below(WAYS.len())
    }
}

struct Told {
    outcome: String,
    findings: Vec<String>,
}

/// One round: write to two, damage one of them, let it meet the third, then heal everything and look.
async fn one(
    cluster: &mut Cluster,
    way: Way,
    dice: &mut Dice,
    keys: &mut BTreeMap<String, u32>,
) -> Result<Told, Fault> {
    let (leader, count) = (cluster.leader().await?, cluster.nodes.len());
    let seat = |n: usize| (leader + n) % count;
    // A bare majority holds what is newest, the leader among it; the one of it that is damaged is anyone, by chance.
    let majority: Vec<usize> = (0..=count / 2).map(seat).collect();
    let behind: Vec<usize> = (count / 2 + 1..count).map(seat).collect();
    let victim = majority.get(dice.below(majority.len())).copied().unwrap_or(leader);
    for node in &behind {
        cluster.node(*node)?.kill()?;
    }
    let newest = write(cluster, keys).await?;
    last(WITNESSED).await;
    for node in &majority {
        cluster.node(*node)?.kill()?;
    }
    let folder = cluster.node(victim)?.dir().to_owned();
    let whole = folder.with_extension("whole");
    run("cp", ["-a".as_ref(), folder.as_os_str(), whole.as_os_str()])?;
    let harmed = harm(&folder, way, dice)?;

    cluster.node(victim)?.start()?;
    for node in &behind {
        cluster.node(*node)?.start()?;
    }
    let mut findings = Vec::new();
    let outcome = meet(cluster, victim, &behind, &newest, &mut findings).await?;
    for node in majority.iter().filter(|node| **node != victim) {
        cluster.node(*node)?.start()?;
    }
    if !cluster.node(victim)?.runs()? {
        // It did nothing since the copy was made, so its own files are put back as if the damage had not been.
        std::fs::remove_dir_all(&folder)?;
        std::fs::rename(&whole, &folder)?;
        cluster.node(victim)?.start()?;
    }
    cluster.all_caught_up().await.map_err(|error| format!("after {}: {error}", harmed.display()))?;
    findings.extend(missing(cluster, keys).await?);
    let _ = std::fs::remove_dir_all(&whole);
    Ok(Told { outcome, findings })
}

/// Lets the damaged node and the one that knows less try; says what the damaged one did.
async fn meet(
    cluster: &mut Cluster,
    victim: usize,
    behind: &[usize],
    newest: &[String],
    findings: &mut Vec<String>,
) -> Result<String, Fault> {
    let started = Instant::now();
    while started.elapsed() < TOGETHER {
        if !cluster.node(victim)?.runs()? {
            let said = cluster.node(victim)?.last_words();
            if !said.starts_with("error: ") {
                findings.push(format!("it ended without a word of its own: {said}"));
            }
            // The refusal alone is no proof: the other one must not find anybody else to elect it.
            for node in behind {
                if reads(cluster, *node, newest).await.is_some() {
                    findings.push("the nodes that knew less served reads alone".to_owned());
                }
            }
            return Ok(format!("refused: {}", shortened(&said)));
        }
        for node in behind.iter().copied().chain([victim]) {
            if let Some(absent) = reads(cluster, node, newest).await {
                if absent > 0 {
                    findings.push(format!("node {} serves without {absent} acknowledged writes", node + 1));
                }
                return Ok("repaired, and every acknowledged write was there".to_owned());
            }
        }
    }
    Ok("ran, and nobody was elected".to_owned())
}

/// How many of the newest writes a node that answers reads lacks; nothing while it does not answer.
async fn reads(cluster: &Cluster, node: usize, newest: &[String]) -> Option<usize> {
    let client = cluster.doors.one(node).ok()?;
    let first = tokio::time::timeout(Duration::from_millis(500), versions(client, newest.first()?)).await.ok()?.ok()?;
    let mut absent = usize::from(first.is_empty());
    for key in newest.iter().skip(1) {
        absent += usize::from(versions(client, key).await.ok()?.is_empty());
    }
    Some(absent)
}

/// Everything that was ever acknowledged, asked of every node.
async fn missing(cluster: &Cluster, keys: &BTreeMap<String, u32>) -> Result<Vec<String>, Fault> {
    let mut findings = Vec::new();
    for (node, client) in cluster.doors.each.iter().enumerate() {
        for (key, version) in keys {
            if versions(client, key).await?.last() != Some(version) {
                findings.push(format!("node {} does not have version {version} of {key} as its newest", node + 1));
            }
        }
    }
    Ok(findings)
}

async fn write(cluster: &Cluster, keys: &mut BTreeMap<String, u32>) -> Result<Vec<String>, Fault> {
    let first = keys.len();
    let mut written = Vec::new();
    for number in first..first + WRITES {
        let request = kms::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: format!("d{number}"),
            ..Default::default()
        };
        let key = cluster.doors.all.keys().create(request).await?;
        keys.insert(key.name.clone(), key.primary_version);
        written.push(key.name);
    }
    Ok(written)
}

/// Damages the newest file of that kind; says which.
fn harm(folder: &Path, way: Way, dice: &mut Dice) -> Result<PathBuf, Fault> {
    let mut files = files_under(folder)?;
    files.retain(|file| {
        let path = file.strip_prefix(folder).map(|path| path.to_string_lossy().into_owned()).unwrap_or_default();
        path.starts_with(way.folder) && path.ends_with(way.ending)
    });
    files.sort();
    let any = way.folder.is_empty() && way.ending.is_empty();
    files.retain(|file| !any || file.metadata().is_ok_and(|file| file.len() > 0));
    let at = if any { dice.below(files.len()) } else { files.len().saturating_sub(1) };
    let path = files.get(at).cloned().ok_or("there is no such file")?;
    let file = File::options().read(true).write(true).open(&path)?;
    let length = file.metadata()?.len();
    let within = |from: u64, dice: &mut Dice| from + dice.next() % (length - from).max(1);
    match way.harm {
        Harm::Cut => file.set_len(within(length / 2, dice))?,
        Harm::Flip | Harm::FlipEnd => {
            let at = within(if matches!(way.harm, Harm::Flip) { 0 } else { length - length / 100 - 1 }, dice);
            let mut byte = [0];
            file.read_exact_at(&mut byte, at)?;
            byte[0] ^= 1 << (dice.next() % 8);
            file.write_all_at(&byte, at)?;
        }
    }
    file.sync_all()?;
    Ok(path)
}

fn files_under(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let (mut files, mut folders) = (Vec::new(), vec![folder.to_owned()]);
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            match entry.file_type()? {
                kind if kind.is_dir() => folders.push(entry.path()),
                kind if kind.is_file() => files.push(entry.path()),
                _ => {}
            }
        }
    }
    Ok(files)
}

/// The first words of a refusal, without the paths and numbers that differ each time.
fn shortened(said: &str) -> String {
    let said = said.trim_start_matches("error: ");
    let words = said.split(' ').filter(|word| !word.contains('/') && !word.chars().any(|c| c.is_ascii_digit()));
    words.take(12).collect::<Vec<_>>().join(" ")
}

/// Writes until every node has a snapshot: one is taken when the log has grown by so much.
async fn grow(cluster: &Cluster) -> Result<(), Fault> {
    let mut growing = JoinSet::new();
    for writer in 0..8 {
        growing.spawn(grow_part(cluster.doors.all.clone(), writer));
    }
    while let Some(grown) = growing.join_next().await {
        grown??;
    }
    for node in &cluster.nodes {
        let folder = node.dir().join("raft/snapshots");
        let is_snapshot = |file: &PathBuf| file.extension().is_some_and(|ending| ending == "snapshot");
        until("a snapshot", async || files_under(&folder).is_ok_and(|files| files.iter().any(is_snapshot))).await?;
    }
    Ok(())
}

/// An eighth of that, and a little more: the largest entries that there may be, over and over.
async fn grow_part(client: Client, writer: usize) -> Result<(), Fault> {
    let longest = |n: usize| format!("unix:path:/{n:02}{}", "x".repeat(4_000));
    let mut entry = ca::Entry {
        path: format!("/ns/default/e{writer}"),
        parent_agent: "agents/dev".into(),
        selectors: (0..16).map(longest).collect(),
        ..Default::default()
    };
    let create = ca::CreateEntryRequest {
        parent: "namespaces/default".into(),
        entry_id: format!("e{writer}"),
        entry: Some(entry.clone()),
        ..Default::default()
    };
    entry.name = client.entries().create(create).await?.name;
    for _ in 0..SNAPSHOT_LOG_BYTES_MIN * 17 / 16 / (16 * 4_000) / 8 {
        client.entries().update(ca::UpdateEntryRequest { entry: Some(entry.clone()), ..Default::default() }).await?;
    }
    Ok(())
}
