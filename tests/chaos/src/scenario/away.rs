//! Thirty days go by: every node, the agent and the admin were off, and one node stays off longer than the others. All come
//! back with what they have on their disks; who was banned does not.

use std::time::{Duration, Instant};

use proto::ca::v1 as ca;
use proto::cluster::v1 as wire;
use proto::kms::v1 as kms;

use crate::Fault;
use crate::cluster::Cluster;
use crate::verdict::Verdict;

use super::Order;
use super::callers::{Admin, Agent, shifted};
use super::stage::on_loopback;

/// How far each absence moves the clocks.
const DAYS: u32 = 30;
const PLAINTEXT: &[u8] = b"attack at dawn";

pub(super) async fn play(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut cluster = Cluster::form(&order.folder, on_loopback(order)?).await?;
    let admin = Admin::enrol(&cluster, "away").await?;
    let banned = Admin::enrol(&cluster, "banned").await?;
    let mut agent = Agent::join(&cluster, "away").await?;
    let mut outcast = Agent::join(&cluster, "outcast").await?;
    let ciphertext = encrypt(&cluster).await?;
    let revoke = wire::RevokeOperatorRequest { name: "operators/banned".into(), ..Default::default() };
    cluster.doors.all.operators().revoke(revoke).await?;
    let revoke = ca::RevokeAgentRequest { name: "agents/outcast".into(), ..Default::default() };
    cluster.doors.all.agents().revoke(revoke).await?;
    let mut served = Vec::new();
    for absence in 1..=order.rounds {
        let shift = format!("+{}d", absence * DAYS);
        agent.kill()?;
        outcast.kill()?;
        for node in &mut cluster.nodes {
            node.kill()?;
            node.place().variables = shifted(&shift)?;
        }
        // With three nodes or more, the last comes when the others have gone on without it.
        let last = cluster.nodes.len() - 1;
        for index in 0..cluster.nodes.len() {
            if index < last || order.of_one() {
                cluster.node(index)?.start()?;
            }
        }
        for index in 0..last {
            cluster.caught_up(index).await?;
        }
        let (back, name) = (Instant::now(), format!("after-{absence}"));
        for words in [&["key", "create", &name][..], &["key", "rotate", "kept"], &["key", "describe", "kept"]] {
            if let Err(why) = come_to(&admin, &shift, words) {
                verdict.fail(format!("the admin, {shift}: `{}`: {why}", words.join(" ")));
            }
        }
        if !order.of_one() {
            cluster.node(last)?.start()?;
        }
        cluster.caught_up(last).await?;
        agent.start(&shift)?;
        if let Err(error) = agent.serves(&shift).await {
            return Err(format!("the agent, {shift}: {error}; {}", authorities(&cluster).await).into());
        }
        served.push(back.elapsed());
        outcast.start(&shift)?;
        refused(&banned, &outcast, &shift, verdict)?;
        for finding in opened(&cluster, &ciphertext).await {
            verdict.fail(format!("{shift}: {finding}"));
        }
    }
    verdict.fact("days away", order.rounds * DAYS);
    verdict.fact("admin, late node and agent all served after", crate::figures::spread(&served));
    Ok(())
}

/// What an admin does who comes back: the command, once more for as long as the cluster is still finding itself.
fn come_to(admin: &Admin, shift: &str, words: &[&str]) -> Result<String, String> {
    let begun = Instant::now();
    loop {
        match admin.run(shift, words).map_err(|error| error.to_string())? {
            Ok(said) => return Ok(said),
            Err(why) if begun.elapsed() > Duration::from_secs(30) => return Err(why),
            Err(_) => std::thread::sleep(Duration::from_millis(200)),
        }
    }
}

/// Who could sign: for the words of a failure.
async fn authorities(cluster: &Cluster) -> String {
    let listed = cluster.doors.all.authorities().list(ca::ListAuthoritiesRequest {}).await;
    let row = |authority: &ca::Authority| {
        let end = authority.expire_time.as_ref().map_or(0, |end| end.seconds);
        format!("{} {} until {end}", authority.node, authority.state().as_str_name())
    };
    match listed {
        Ok(found) => found.authorities.iter().map(row).collect::<Vec<_>>().join(", "),
        Err(error) => error.to_string(),
    }
}

/// The two who were banned get nothing, however long ago it was.
fn refused(banned: &Admin, outcast: &Agent, shift: &str, verdict: &mut Verdict) -> Result<(), Fault> {
    match banned.run(shift, &["key", "describe", "kept"])? {
        Err(why) if why.contains("CREDENTIAL_REJECTED") => {}
        other => verdict.fail(format!("a banned operator, {shift}: {other:?}")),
    }
    let until = Instant::now() + Duration::from_secs(5);
    while Instant::now() < until {
        if let Ok(given) = outcast.fetch(shift)? {
            verdict.fail(format!("a banned agent serves, {shift}: {given}"));
            break;
        }
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

async fn encrypt(cluster: &Cluster) -> Result<Vec<u8>, Fault> {
    let request =
        kms::CreateKeyRequest { parent: "namespaces/default".into(), key_id: "kept".into(), ..Default::default() };
    let name = cluster.doors.all.keys().create(request).await?.name;
    let request = kms::EncryptRequest { name, plaintext: PLAINTEXT.to_vec(), ..Default::default() };
    Ok(cluster.doors.all.crypto().encrypt(request).await?.ciphertext)
}

/// Every node still opens what was encrypted before.
async fn opened(cluster: &Cluster, ciphertext: &[u8]) -> Vec<String> {
    let mut findings = Vec::new();
    for (node, client) in cluster.doors.each.iter().enumerate() {
        let request = kms::DecryptRequest {
            parent: "namespaces/default".into(),
            ciphertext: ciphertext.to_vec(),
            ..Default::default()
        };
        let opened = client.crypto().decrypt(request).await;
        if !opened.as_ref().is_ok_and(|opened| opened.plaintext == PLAINTEXT) {
            findings.push(format!("node {} does not open what was encrypted before: {:?}", node + 1, opened.err()));
        }
    }
    findings
}
