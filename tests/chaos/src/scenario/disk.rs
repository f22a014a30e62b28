//! Disks that are full or do not sync, one node's at a time: nothing is acknowledged that is not durable, the others go on,
//! and the node comes back when its disk does.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::Fault;
use crate::cluster::last;
use crate::node::Place;
use crate::tools::run;
use crate::verdict::Verdict;

use super::Order;
use super::stage::{Stage, dir, on_loopback};

/// A disk that a node can live on, and that is soon full.
const DISK_BYTES: usize = 192 << 20;
/// How long a fault lasts.
const FAULT: Duration = Duration::from_secs(5);
/// A node whose disk is well again comes back by itself within this time, or its process is started again.
const BY_ITSELF: Duration = Duration::from_secs(10);

/// The disk of a follower, then of the leader, then of a follower… is filled to the last byte.
pub(super) async fn full(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let disks = (1..=order.nodes).map(|number| Disk::mount(&order.folder, number)).collect::<Result<Vec<_>, _>>()?;
    let place = |disk: &Disk| Place::on_loopback(disk.at.join("data"));
    let mut stage = Stage::open(order, disks.iter().map(place).collect::<Result<Vec<_>, _>>()?).await?;
    let mut ways = Vec::new();
    for round in 0..order.rounds {
        let victim = victim(&stage, round).await?;
        let disk = disks.get(victim).ok_or("there is no such disk")?;
        let from = Instant::now();
        disk.fill()?;
        if !order.of_one() {
            stage.gap(from).await?;
        }
        while from.elapsed() < FAULT {
            // What other files freed meanwhile is taken too.
            disk.fill()?;
            last(Duration::from_millis(200)).await;
        }
        if !order.of_one() {
            stage.writes_go_on(20).await?;
        }
        disk.clear()?;
        ways.push(come_back(&mut stage, victim, from).await?);
        stage.writes_go_on(20).await?;
    }
    verdict.fact("the node came back", ways.join(", "));
    stage.close(verdict).await?;
    Ok(())
}

/// fdatasync and fsync of a follower, then of the leader… fail with EIO from one moment on.
pub(super) async fn eio(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut stage = Stage::open(order, on_loopback(order)?).await?;
    let mut ways = Vec::new();
    for round in 0..order.rounds {
        let victim = victim(&stage, round).await?;
        let from = Instant::now();
        let tracer = Tracer::attach(stage.cluster.node(victim)?.pid()?, "error=EIO")?;
        if !order.of_one() {
            stage.gap(from).await?;
        }
        last(FAULT.saturating_sub(from.elapsed())).await;
        if !order.of_one() {
            stage.writes_go_on(20).await?;
        }
        drop(tracer);
        ways.push(come_back(&mut stage, victim, from).await?);
        stage.writes_go_on(20).await?;
    }
    verdict.fact("the node came back", ways.join(", "));
    stage.close(verdict).await?;
    Ok(())
}

/// Every sync of a follower, then of the leader… takes 300 ms longer: slow is no fault, and nobody may be refused anything.
pub(super) async fn stall(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    let mut stage = Stage::open(order, on_loopback(order)?).await?;
    for round in 0..order.rounds {
        let victim = victim(&stage, round).await?;
        let from = Instant::now();
        let tracer = Tracer::attach(stage.cluster.node(victim)?.pid()?, "delay_enter=300000")?;
        stage.gap(from).await?;
        last(FAULT.saturating_sub(from.elapsed())).await;
        stage.writes_go_on(20).await?;
        drop(tracer);
        stage.writes_go_on(20).await?;
    }
    stage.close(verdict).await?;
    Ok(())
}

async fn victim(stage: &Stage, round: u32) -> Result<usize, Fault> {
    if round.is_multiple_of(2) {
        stage.cluster.follower(usize::try_from(round)?).await
    } else {
        stage.cluster.leader().await
    }
}

/// Waits for the node, starts it again when its process ended or does not recover, and says which it was.
async fn come_back(stage: &mut Stage, victim: usize, from: Instant) -> Result<String, Fault> {
    let healed = Instant::now();
    let mut way = "by itself";
    while healed.elapsed() < BY_ITSELF {
        if !stage.cluster.node(victim)?.runs()? {
            way = "started again after it had ended";
            stage.cluster.node(victim)?.start()?;
        }
        let client = stage.cluster.doors.one(victim)?.clone();
        if crate::workload::versions(&client, "namespaces/default/keys/probed").await.is_ok() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if healed.elapsed() >= BY_ITSELF {
        way = "started again after it had not";
        stage.cluster.node(victim)?.kill()?;
        stage.cluster.node(victim)?.start()?;
    }
    stage.back(victim, from).await?;
    Ok(way.to_owned())
}

/// A small file system in memory: full is full.
struct Disk {
    at: PathBuf,
}

impl Disk {
    fn mount(folder: &Path, number: usize) -> Result<Self, Fault> {
        let at = dir(folder, number);
        std::fs::create_dir_all(&at)?;
        let size = format!("size={DISK_BYTES},mode=0700");
        run("mount", ["-t".as_ref(), "tmpfs".as_ref(), "-o".as_ref(), size.as_ref(), "none".as_ref(), at.as_os_str()])?;
        Ok(Self { at })
    }

    /// Writes until nothing goes in any more.
    fn fill(&self) -> Result<(), Fault> {
        let mut file = std::fs::File::options().create(true).append(true).open(self.at.join("filler"))?;
        for block in [1 << 20, 4_096, 1] {
            while file.write_all(&vec![0; block]).is_ok() {}
        }
        Ok(())
    }

    fn clear(&self) -> Result<(), Fault> {
        Ok(std::fs::remove_file(self.at.join("filler"))?)
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a node that has not ended yet must not keep it from going.
        let _ = run("umount", ["-l".as_ref(), self.at.as_os_str()]);
    }
}

/// strace, attached to every thread of a process, doing something to each sync; what is dropped is detached.
struct Tracer(Child);

impl Tracer {
    fn attach(pid: u32, what: &str) -> Result<Self, Fault> {
        let mut command = Command::new("strace");
        command.args(["-qq", "-f", "-o", "/dev/null", "-p", &pid.to_string()]);
        command.args(["-e", "trace=fdatasync,fsync", "-e", &format!("inject=fdatasync,fsync:{what}")]);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
        Ok(Self(child))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // SIGTERM lets it detach; SIGKILL would leave the process to the kernel, which lets it go on too.
        let _ = rustix::process::kill_process(rustix::process::Pid::from_child(&self.0), rustix::process::Signal::TERM);
        let _ = self.0.wait();
    }
}
