//! Nodes whose clocks disagree by hours, and callers whose clocks are wrong: leases run on time that cannot be set, so the
//! cluster goes on, and what a wrong clock may not do is refused in words.

use std::process::Command;
use std::time::Instant;

use chancery_client::identity::{Folder, Profile, Protection};
use proto::cluster::v1 as wire;

use crate::Fault;
use crate::tools::faketime;
use crate::verdict::Verdict;

use super::Order;
use super::stage::{Stage, on_loopback};

/// Of the first node, the second, the third, and again.
const OF_NODES: [&str; 3] = ["+1h", "-1h", "+0"];
const OF_CALLERS: [&str; 3] = ["+1h", "-1h", "-2d"];

pub(super) async fn play(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut places = on_loopback(order)?;
    for (place, shift) in places.iter_mut().zip(OF_NODES.iter().cycle()) {
        place.variables = shifted(shift)?;
    }
    let mut stage = Stage::open(order, places).await?;
    let folder = enrol(&stage).await?;
    for round in 0..order.rounds {
        let leader = stage.cluster.leader().await?;
        let from = Instant::now();
        stage.cluster.node(leader)?.kill()?;
        stage.gap(from).await?;
        stage.cluster.node(leader)?.start()?;
        stage.back(leader, from).await?;
        for shift in OF_CALLERS {
            let told = ["create", "describe"].map(|verb| call(&folder, shift, verb, round));
            for told in told {
                let (line, good) = told?;
                if round == 0 || !good {
                    verdict.fact(&format!("a caller at {shift}"), &line);
                }
                if !good {
                    verdict.fail(line);
                }
            }
        }
    }
    stage.close(verdict).await?;
    Ok(())
}

/// What shifts a process's clock and leaves its monotonic time alone.
fn shifted(by: &str) -> Result<Vec<(String, String)>, Fault> {
    let library = faketime().ok_or("libfaketime is not installed")?;
    let pairs = [("LD_PRELOAD", library), ("FAKETIME", by), ("FAKETIME_DONT_FAKE_MONOTONIC", "1")];
    Ok(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec())
}

/// An identity folder for the command line, enrolled as an admin of keys.
async fn enrol(stage: &Stage) -> Result<Folder, Fault> {
    let folder = Folder::create(stage.cluster.folder().join("identity"))?;
    let signer = folder.create_key(&Protection::DangerousUnencrypted)?;
    let doors = &stage.cluster.doors;
    let request =
        wire::EnrolOperatorRequest { operator_id: "skewed".into(), spki: signer.spki_der(), ..Default::default() };
    doors.all.operators().enrol(request).await?;
    for role in ["key-admin", "key-user"] {
        let binding = wire::Binding {
            principal: "operators/skewed".into(),
            role: role.into(),
            scope: "namespaces/default".into(),
        };
        doors
            .all
            .operators()
            .grant_role(wire::GrantRoleRequest { binding: Some(binding), ..Default::default() })
            .await?;
    }
    let profile = Profile {
        name: "operators/skewed".into(),
        cluster_id: doors.cluster_id,
        cluster_key_hash: doors.cluster_key_hash,
        endpoints: doors.addresses.clone(),
    };
    folder.write_profile(&profile)?;
    Ok(folder)
}

/// One command of a caller with that clock, and whether its outcome may be: done, or refused for its clock in words.
fn call(folder: &Folder, shift: &str, verb: &str, round: u32) -> Result<(String, bool), Fault> {
    let name = if verb == "create" {
        format!("of{}-{round}", shift.replace('+', "p").replace('-', "m"))
    } else {
        "probed".into()
    };
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["chancery", "key", verb, &name]).envs(shifted(shift)?);
    let output = command.env("CHANCERY_IDENTITY", folder.path()).stdin(std::process::Stdio::null()).output()?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    if output.status.success() {
        return Ok((format!("key {verb}: done"), true));
    }
    Ok((format!("key {verb}: {said}"), verb == "create" && said.contains("REQUEST_ID_EXPIRED")))
}
