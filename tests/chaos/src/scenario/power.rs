//! Power cuts: every node lives on an ext4 image of its own, which loses what was not synced. SIGKILL cannot show that: the
//! kernel still writes what a killed process had written.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chancery_client::Client;
use proto::kms::v1 as kms;
use tokio::task::JoinHandle;

use crate::Fault;
use crate::cluster::{Cluster, Doors, until};
use crate::figures::Dice;
use crate::node::Place;
use crate::tools::run;
use crate::verdict::Verdict;

use super::Order;
use super::stage::dir;

/// Acknowledged between two cuts; six cuts make more than ten thousand.
const WRITES_A_ROUND: usize = 1_800;
const WRITERS: usize = 48;
const IMAGE_BYTES: u64 = 512 << 20;
/// Cuts the power of mount points that it has checked to be ours.
const CUT: &str = include_str!("cut.py");
const PLAINTEXT: &[u8] = b"attack at dawn";
/// Ciphertexts kept, to be opened on every node after each cut.
const CIPHERTEXTS_MAX: usize = 200;

pub(super) async fn play(order: &Order, verdict: &mut Verdict) -> Result<(), Fault> {
    std::fs::create_dir_all(&order.folder)?;
    let disks = (1..=order.nodes).map(|n| Disk::make(&order.folder, n)).collect::<Result<Vec<_>, _>>()?;
    prove(&order.folder, disks.first().ok_or("no disk")?)?;
    verdict.fact("a file written without a sync", "lost, as it has to be; a synced one was there");
    let place = |disk: &Disk| Place::on_loopback(disk.at.join("data"));
    let mut cluster = Cluster::form(&order.folder, disks.iter().map(place).collect::<Result<Vec<_>, _>>()?).await?;
    let lies = lying(&mut cluster)?;
    let writers = Writers::start(&cluster.doors).await?;
    let (mut dice, mut recovered, mut cuts) = (Dice::new(order.seed), Vec::new(), vec![0; order.nodes]);
    let mut in_the_cut = 0;
    for round in 0..usize::try_from(order.rounds)? {
        let wanted = (round + 1) * WRITES_A_ROUND;
        until_written(&writers, wanted).await?;
        let count = round % order.nodes + 1;
        // Of one node it is the leader in one cycle and a follower in the next.
        let first =
            if round % 2 == 0 { cluster.leader().await? } else { cluster.follower(dice.below(order.nodes)).await? };
        let cut: Vec<usize> = (0..count).map(|n| (first + n) % order.nodes).collect();
        if let Some(cuts) = cuts.get_mut(count - 1) {
            *cuts += 1;
        }
        let before = writers.told();
        power_off(&order.folder, &disks, &cut)?;
        let from = Instant::now();
        for node in &cut {
            cluster.node(*node)?.kill()?;
        }
        for node in &cut {
            disks.get(*node).ok_or("no disk")?.replug()?;
            cluster.node(*node)?.start()?;
        }
        in_the_cut += writers.doubt(&before);
        cluster.all_caught_up().await.map_err(|error| format!("after the cut of nodes {cut:?}: {error}"))?;
        recovered.push(from.elapsed());
        for finding in writers.check(&cluster.doors).await? {
            verdict.fail(format!("round {round}, cut of nodes {cut:?}: {finding}"));
        }
        if !verdict.failures.is_empty() {
            break;
        }
    }
    drop(lies);
    let acknowledged = writers.stop().await?;
    verdict.fact("acknowledged writes", acknowledged);
    verdict.fact("answers that came during a cut, not counted", in_the_cut);
    verdict.fact("cuts of one node, of two…", format!("{cuts:?}"));
    verdict.fact("all nodes read again after", crate::figures::spread(&recovered));
    verdict.fact("lost writes", verdict.failures.len());
    Ok(())
}

/// Shows on a disk that a cut loses what was not synced, and only that: else this scenario could not fail.
fn prove(scratch: &Path, disk: &Disk) -> Result<(), Fault> {
    let (kept, lost) = (disk.at.join("kept"), disk.at.join("lost"));
    let mut synced = File::create(&kept)?;
    synced.write_all(b"written")?;
    synced.sync_all()?;
    File::open(&disk.at)?.sync_all()?;
    std::fs::write(&lost, b"written")?;
    let mut tail = File::options().append(true).open(&kept)?;
    tail.write_all(b" and more")?;
    power_off(scratch, std::slice::from_ref(disk), &[0])?;
    drop((synced, tail));
    disk.replug()?;
    if std::fs::read(&kept)? != b"written" {
        return Err(
            "the cut does not do what it has to: a synced file was lost, or a tail without a sync was kept".into()
        );
    }
    if std::fs::read(&lost).is_ok_and(|content| content == b"written") {
        return Err("the cut does not do what it has to: a file without a sync survived it".into());
    }
    let _ = std::fs::remove_file(&lost);
    Ok(std::fs::remove_file(&kept)?)
}

fn power_off(scratch: &Path, disks: &[Disk], cut: &[usize]) -> Result<(), Fault> {
    let mut words = vec!["-c".into(), CUT.into(), scratch.as_os_str().to_owned()];
    words.extend(cut.iter().filter_map(|node| disks.get(*node)).map(|disk| disk.at.clone().into_os_string()));
    run("python3", words).map(drop)
}

/// With `--lying-sync`, strace answers every sync with success and does nothing: what is then lost must be found.
fn lying(cluster: &mut Cluster) -> Result<Vec<Tracer>, Fault> {
    if std::env::var_os("CHAOS_LYING_SYNC").is_none() {
        return Ok(Vec::new());
    }
    (0..cluster.nodes.len()).map(|node| Tracer::attach(cluster.node(node)?.pid()?)).collect()
}

async fn until_written(writers: &Writers, wanted: usize) -> Result<(), Fault> {
    until("writes", async || writers.count() >= wanted).await.map_err(|error| {
        format!("{error}: {} of {wanted}, last error: {}", writers.count(), writers.book.last_error()).into()
    })
}

/// An ext4 image, mounted.
struct Disk {
    image: PathBuf,
    at: PathBuf,
}

impl Disk {
    fn make(folder: &Path, number: usize) -> Result<Self, Fault> {
        let (image, at) = (folder.join(format!("disk-{number}.img")), dir(folder, number));
        std::fs::create_dir_all(&at)?;
        File::create(&image)?.set_len(IMAGE_BYTES)?;
        run("mkfs.ext4", ["-q".as_ref(), "-F".as_ref(), image.as_os_str()])?;
        let disk = Self { image, at };
        disk.mount()?;
        Ok(disk)
    }

    fn mount(&self) -> Result<(), Fault> {
        run("mount", ["-o".as_ref(), "loop".as_ref(), self.image.as_os_str(), self.at.as_os_str()]).map(drop)
    }

    /// The power is back: what the disk holds is what there is.
    fn replug(&self) -> Result<(), Fault> {
        run("umount", [&self.at])?;
        self.mount()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = run("umount", ["-l".as_ref(), self.at.as_os_str()]);
    }
}

struct Tracer(Child);

impl Tracer {
    fn attach(pid: u32) -> Result<Self, Fault> {
        let mut command = Command::new("strace");
        command.args(["-qq", "-f", "-o", "/dev/null", "-p", &pid.to_string()]);
        command.args(["-e", "trace=fdatasync,fsync", "-e", "inject=fdatasync,fsync:retval=0"]);
        Ok(Self(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What callers had been told at one moment.
struct Told {
    keys: BTreeSet<String>,
    ciphertexts: usize,
}

/// Callers that create keys as fast as they are acknowledged.
struct Writers {
    book: Arc<Book>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Book {
    stop: AtomicBool,
    next: AtomicU32,
    /// Name and key id of every key that was acknowledged.
    acknowledged: Mutex<BTreeMap<String, String>>,
    ciphertexts: Mutex<Vec<Vec<u8>>>,
    last_error: Mutex<String>,
}

impl Writers {
    async fn start(doors: &Doors) -> Result<Self, Fault> {
        let book = Arc::new(Book::default());
        let mut clients = Vec::new();
        for first in 0..4 {
            clients.push(doors.another(first).await?);
        }
        let writer = |client: Client| tokio::spawn(write(Arc::clone(&book), client));
        let tasks = clients.iter().cycle().take(WRITERS).cloned().map(writer).collect();
        Ok(Self { book, tasks })
    }

    fn count(&self) -> usize {
        self.book.acknowledged().len()
    }

    /// What callers have been told by now.
    fn told(&self) -> Told {
        let ciphertexts = self.book.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner).len();
        Told { keys: self.book.acknowledged().keys().cloned().collect(), ciphertexts }
    }

    /// Forgets what callers were told since: a machine without power tells nobody anything, but the kernel's cut lets a sync
    /// that is under way return success and drops what it was for (two of sixty cuts, with a plain append and fdatasync).
    fn doubt(&self, before: &Told) -> usize {
        let mut acknowledged = self.book.acknowledged();
        let told = acknowledged.len();
        acknowledged.retain(|name, _| before.keys.contains(name));
        self.book.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner).truncate(before.ciphertexts);
        told - acknowledged.len()
    }

    /// What was acknowledged before this call and is not on every node as it was told.
    async fn check(&self, doors: &Doors) -> Result<Vec<String>, Fault> {
        let acknowledged = self.book.acknowledged().clone();
        let ciphertexts = self.book.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let mut findings = Vec::new();
        for (node, client) in doors.each.iter().enumerate() {
            let found = keys(client).await?;
            let wrong = acknowledged.iter().filter(|(name, id)| found.get(*name) != Some(id));
            let wrong: Vec<&String> = wrong.map(|(name, _)| name).collect();
            if let Some(first) = wrong.first() {
                findings.push(format!("node {} lacks {} acknowledged keys, {first} first", node + 1, wrong.len()));
            }
            for ciphertext in &ciphertexts {
                let request = kms::DecryptRequest {
                    parent: "namespaces/default".into(),
                    ciphertext: ciphertext.clone(),
                    ..Default::default()
                };
                let opened = client.crypto().decrypt(request).await;
                if !opened.as_ref().is_ok_and(|opened| opened.plaintext == PLAINTEXT) {
                    findings.push(format!("node {} does not open a ciphertext: {:?}", node + 1, opened.err()));
                    break;
                }
            }
        }
        Ok(findings)
    }

    /// Ends the writing; how many writes were acknowledged.
    async fn stop(self) -> Result<usize, Fault> {
        self.book.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await?;
        }
        Ok(self.book.acknowledged().len())
    }
}

impl Book {
    fn acknowledged(&self) -> std::sync::MutexGuard<'_, BTreeMap<String, String>> {
        self.acknowledged.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn last_error(&self) -> String {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn write(book: Arc<Book>, client: Client) {
    while !book.stop.load(Ordering::Relaxed) {
        let number = book.next.fetch_add(1, Ordering::Relaxed);
        let request = kms::CreateKeyRequest {
            parent: "namespaces/default".into(),
            key_id: format!("p{number}"),
            ..Default::default()
        };
        match client.keys().create(request).await {
            Ok(key) => {
                if usize::try_from(number).is_ok_and(|number| number % 97 == 0) {
                    keep_ciphertext(&book, &client, &key.name).await;
                }
                book.acknowledged().insert(key.name, key.key_id);
            }
            Err(error) => {
                *book.last_error.lock().unwrap_or_else(PoisonError::into_inner) = error.to_string();
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
}

async fn keep_ciphertext(book: &Book, client: &Client, name: &str) {
    let request = kms::EncryptRequest { name: name.into(), plaintext: PLAINTEXT.to_vec(), ..Default::default() };
    if let Ok(sealed) = client.crypto().encrypt(request).await {
        let mut kept = book.ciphertexts.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() < CIPHERTEXTS_MAX {
            kept.push(sealed.ciphertext);
        }
    }
}

/// Name and key id of every key that a node lists.
async fn keys(client: &Client) -> Result<BTreeMap<String, String>, Fault> {
    let (mut found, mut page_token) = (BTreeMap::new(), String::new());
    loop {
        let request = kms::ListKeysRequest { parent: "namespaces/default".into(), page_size: 1_000, page_token };
        let page = client.keys().list(request).await?;
        found.extend(page.keys.into_iter().map(|key| (key.name, key.key_id)));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}
