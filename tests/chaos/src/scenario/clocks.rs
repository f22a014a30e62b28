//! Nodes whose clocks disagree by hours, and callers whose clocks are wrong: leases run on time that cannot be set, so the
//! cluster goes on, and what a wrong clock may not do is refused in words.

use std::time::Instant;

use crate::Fault;
use crate::verdict::Verdict;

use super::Order;
use super::callers::{Admin, shifted};
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
    let admin = Admin::enrol(&stage.cluster, "skewed").await?;
    for round in 0..order.rounds {
        let leader = stage.cluster.leader().await?;
        let from = Instant::now();
        stage.cluster.node(leader)?.kill()?;
        if !order.of_one() {
            stage.gap(from).await?;
        }
        stage.cluster.node(leader)?.start()?;
        stage.back(leader, from).await?;
        for shift in OF_CALLERS {
            let told = ["create", "describe"].map(|verb| call(&admin, shift, verb, round));
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

/// One command of a caller with that clock, and whether its outcome may be: done, or refused for its clock in words.
fn call(admin: &Admin, shift: &str, verb: &str, round: u32) -> Result<(String, bool), Fault> {
    let name = if verb == "create" {
        format!("of{}-{round}", shift.replace('+', "p").replace('-', "m"))
    } else {
        "probed".into()
    };
    Ok(match admin.run(shift, &["key", verb, &name])? {
        Ok(_) => (format!("key {verb}: done"), true),
        Err(said) => {
            let for_its_clock = verb == "create" && said.contains("REQUEST_ID_EXPIRED");
            (format!("key {verb}: {said}"), for_its_clock)
        }
    })
}
