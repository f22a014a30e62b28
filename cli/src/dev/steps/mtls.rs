//! Step 9: the two workloads fetch their identities and speak to one another; each checks who the other is.

use super::super::fault::Fault;
use super::super::launch::Workload;
use super::super::report::Found;
use super::super::stage::Stage;
use super::super::workload::Said;
use super::register::{WORKLOADS, program, spiffe_id};

pub(crate) async fn run(stage: &mut Stage) -> Result<Found, Fault> {
    let [frontend, backend] = WORKLOADS;
    let (front_id, back_id) = (spiffe_id(frontend), spiffe_id(backend));
    let socket = stage.agent_socket();
    let mut serving = Workload::start(&program(stage, backend), &socket, &["serve", &front_id])?;
    expect(&mut serving, Said::Identity { spiffe_id: back_id.clone() }).await?;
    let address = match serving.hear().await? {
        Said::Listening { address } => address.to_string(),
        other => return Err(Fault::new(format!("{backend} should listen and said {other:?}"))),
    };
    let mut calling = Workload::start(&program(stage, frontend), &socket, &["call", &back_id, &address])?;
    expect(&mut calling, Said::Identity { spiffe_id: front_id.clone() }).await?;
    expect(&mut calling, met(&back_id)).await?;
    expect(&mut serving, met(&front_id)).await?;
    calling.end().await?;
    serving.end().await?;
    Ok(Found::Held(format!("{frontend} ⇄ {backend}, each checked the other's SPIFFE ID")))
}

/// The peer by its certificate, and by its own words over the connection.
fn met(peer: &str) -> Said {
    Said::Met { peer: peer.to_owned(), heard: format!("this is {peer}") }
}

async fn expect(workload: &mut Workload, expected: Said) -> Result<(), Fault> {
    let said = workload.hear().await?;
    Fault::check(said == expected, || format!("expected {expected:?}, heard {said:?}"))
}
