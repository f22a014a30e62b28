//! File streaming through the SDK against the bare AEAD: bytes per second of CPU, wall rates, and peak memory.
//!
//! Each pass is a process of its own over a file that is in the page cache. The data key comes from `kms` in place of a
//! node: one call a file, measured in `unary`, would only blur this figure.

use std::path::Path;
use std::time::{Duration, Instant};

use chancery_client::envelope::{self, Bound, DataKey, EncryptionContext, EnvelopeError, KeyUse, Unwrapped};
use clap::ValueEnum;
use crypto::aead;
use kms::{Algorithm, KeyMaterial};
use serde::{Deserialize, Serialize};
use types::{KeyId, NamespaceName};

use crate::child::{self, Child};
use crate::load::as_f64;
use crate::report::{Row, median};
use crate::usage::Usage;
use crate::{Effort, Fault};

const SEGMENT_BYTES: usize = 64 * 1_024;

/// What a child process does with the file.
#[derive(Clone, Copy, PartialEq, Eq, Debug, ValueEnum)]
pub(crate) enum Pass {
    /// Encrypts it; to nowhere without an output.
    Seal,
    /// Decrypts it; to nowhere without an output.
    Open,
    /// AES-256-GCM over its bytes in memory, 64 KiB at a time.
    BareSeal,
    /// The same in the other direction.
    BareOpen,
}

/// What a pass took.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Cost {
    bytes: u64,
    cpu: Duration,
    wall: Duration,
    peak_kib: u64,
}

/// One direction of the comparison.
struct Direction {
    name: &'static str,
    ours: Pass,
    bare: Pass,
    /// A large and a small input.
    inputs: [std::path::PathBuf; 2],
}

/// Both directions.
pub(crate) async fn compare(folder: &Path, effort: Effort) -> Result<Vec<Row>, Fault> {
    let path = |name: &str| folder.join(name);
    let [large, small] = effort.file_bytes;
    for (name, bytes) in [("large", large), ("small", small)] {
        write_file(&path(name), bytes)?;
        cost(Pass::Seal, &path(name), Some(&path(&format!("{name}.sealed")))).await?;
    }
    let directions = [
        Direction {
            name: "encrypt file",
            ours: Pass::Seal,
            bare: Pass::BareSeal,
            inputs: [path("large"), path("small")],
        },
        Direction {
            name: "decrypt file",
            ours: Pass::Open,
            bare: Pass::BareOpen,
            inputs: [path("large.sealed"), path("small.sealed")],
        },
    ];
    let mut rows = Vec::new();
    for direction in &directions {
        rows.extend(compare_direction(direction, &path("large"), &path("output"), effort).await?);
    }
    for name in ["large", "small", "large.sealed", "small.sealed", "output"] {
        std::fs::remove_file(path(name))?;
    }
    Ok(rows)
}

async fn compare_direction(
    direction: &Direction,
    plain: &Path,
    output: &Path,
    effort: Effort,
) -> Result<[Row; 4], Fault> {
    let [large, small] = &direction.inputs;
    let (mut streamed, mut stored, mut bare, mut little) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for _ in 0..effort.runs {
        streamed.push(cost(direction.ours, large, None).await?);
        bare.push(cost(direction.bare, plain, None).await?);
        stored.push(cost(direction.ours, large, Some(output)).await?);
        little.push(cost(direction.ours, small, None).await?);
    }
    let name = format!("{} of {} MiB", direction.name, effort.file_bytes[0] / 1_024 / 1_024);
    let against = "AES-256-GCM in memory, 64 KiB segments";
    let row = |name: String, ours: &[Cost], unit, figure: &dyn Fn(&Cost) -> f64| Row {
        name,
        value: median(ours.iter().map(figure)),
        unit,
        against: against.to_owned(),
        against_value: median(bare.iter().map(figure)),
        ratio: median(ours.iter().zip(&bare).map(|(ours, bare)| figure(ours) / figure(bare))),
    };
    let per_core = |cost: &Cost| as_f64(cost.bytes) / cost.cpu.as_secs_f64() / 1e9;
    let by_wall = |cost: &Cost| as_f64(cost.bytes) / cost.wall.as_secs_f64() / 1e9;
    let peak = |costs: &[Cost]| median(costs.iter().map(|cost| as_f64(cost.peak_kib) / 1_024.0));
    let (peak_large, peak_small) = (peak(&streamed), peak(&little));
    Ok([
        row(format!("{name}, streamed"), &streamed, "GB/s per core", &per_core),
        row(format!("{name}, streamed, wall"), &streamed, "GB/s", &by_wall),
        row(format!("{name}, to a file, synced, wall"), &stored, "GB/s", &by_wall),
        Row {
            name: format!("{name}, peak memory"),
            value: peak_large,
            unit: "MiB resident",
            against: format!("the same of {} MiB", effort.file_bytes[1] / 1_024 / 1_024),
            against_value: peak_small,
            ratio: peak_small / peak_large,
        },
    ])
}

/// Runs one pass in a child process.
async fn cost(pass: Pass, input: &Path, output: Option<&Path>) -> Result<Cost, Fault> {
    let name = pass.to_possible_value().ok_or("a pass has a name")?;
    let pass = Path::new(name.get_name());
    let mut child = Child::start([Path::new("file"), pass, input].into_iter().chain(output))?;
    let cost = child.answer().await?;
    child.stop().await?;
    Ok(cost)
}

/// One pass in this process.
pub(crate) async fn pass(pass: Pass, input: &Path, output: Option<&Path>) -> Result<(), Fault> {
    let cost = match pass {
        Pass::Seal | Pass::Open => streamed(pass, input, output).await?,
        Pass::BareSeal => bare_seal(&std::fs::read(input)?)?,
        Pass::BareOpen => bare_open(&std::fs::read(input)?)?,
    };
    child::tell(&cost)
}

async fn streamed(pass: Pass, input: &Path, output: Option<&Path>) -> Result<Cost, Fault> {
    let keys = LocalKeys::new()?;
    let bound = Bound {
        namespace: NamespaceName::default_namespace(),
        context: EncryptionContext::new([("tenant", "acme")])?,
        aad: Vec::new(),
    };
    // As `chancery encrypt --in` reads it.
    let mut file = tokio::fs::File::open(input).await?;
    file.set_max_buf_size(1_024 * 1_024);
    let meter = Meter::start()?;
    let bytes = match (pass, output) {
        (Pass::Open, Some(output)) => envelope::open_to_file(&keys, &bound, file, output, |_| {}).await?.bytes,
        (Pass::Open, None) => envelope::open(&keys, &bound, file, tokio::io::sink(), |_| {}).await?.bytes,
        (_, Some(output)) => envelope::seal_to_file(&keys, &bound, file, output, |_| {}).await?.bytes,
        (_, None) => envelope::seal(&keys, &bound, file, tokio::io::sink(), |_| {}).await?.bytes,
    };
    meter.stop(bytes)
}

fn bare_seal(data: &[u8]) -> Result<Cost, Fault> {
    let key = aead::Key::new(crypto::entropy::secret().expose());
    let mut out = Vec::with_capacity(SEGMENT_BYTES + aead::TAG_BYTES);
    let meter = Meter::start()?;
    for (n, segment) in (0_u64..).zip(data.chunks(SEGMENT_BYTES)) {
        out.clear();
        key.seal_into(nonce(n), b"", segment, &mut out)?;
        std::hint::black_box(&out);
    }
    meter.stop(data.len() as u64)
}

fn bare_open(data: &[u8]) -> Result<Cost, Fault> {
    let key = aead::Key::new(crypto::entropy::secret().expose());
    let mut sealed = Vec::with_capacity(data.len() + data.len() / SEGMENT_BYTES * 32 + 32);
    for (n, segment) in (0_u64..).zip(data.chunks(SEGMENT_BYTES)) {
        key.seal_into(nonce(n), b"", segment, &mut sealed)?;
    }
    let mut out = Vec::with_capacity(SEGMENT_BYTES + aead::TAG_BYTES);
    let meter = Meter::start()?;
    for (n, segment) in (0_u64..).zip(sealed.chunks(SEGMENT_BYTES + aead::TAG_BYTES)) {
        out.clear();
        key.open_into(nonce(n), b"", segment, &mut out)?;
        std::hint::black_box(&out);
    }
    meter.stop(data.len() as u64)
}

fn nonce(n: u64) -> [u8; aead::NONCE_BYTES] {
    let mut nonce = [0; aead::NONCE_BYTES];
    for (to, from) in nonce.iter_mut().rev().zip(n.to_le_bytes()) {
        *to = from;
    }
    nonce
}

/// A node's part, done in place.
struct LocalKeys(KeyMaterial);

impl LocalKeys {
    /// The same key in every process: what one sealed, another opens.
    fn new() -> Result<Self, Fault> {
        Ok(Self(KeyMaterial::new(KeyId([7; 16]), 1, Algorithm::Aes256Gcm, &[9; 32])?))
    }

    fn sealed(&self, plaintext: &[u8], bound: &Bound) -> Result<Vec<u8>, EnvelopeError> {
        let binding = kms::Binding::new(&bound.namespace, &bound.context, &bound.aad)?;
        Ok(kms::encrypt(&self.0, &binding, crypto::entropy::array(), plaintext)?)
    }
}

impl KeyUse for LocalKeys {
    async fn encrypt(&self, plaintext: &[u8], bound: &Bound) -> Result<(Vec<u8>, u32), EnvelopeError> {
        Ok((self.sealed(plaintext, bound)?, 1))
    }

    async fn data_key(&self, bound: &Bound) -> Result<DataKey, EnvelopeError> {
        let plaintext = crypto::entropy::secret::<32>();
        let wrapped = self.sealed(plaintext.expose(), bound)?;
        Ok(DataKey { plaintext, wrapped, version: 1 })
    }

    async fn decrypt(&self, ciphertext: &[u8], bound: &Bound) -> Result<Unwrapped, EnvelopeError> {
        let binding = kms::Binding::new(&bound.namespace, &bound.context, &bound.aad)?;
        let plaintext = kms::decrypt(&self.0, &binding, &kms::Ciphertext::parse(ciphertext)?)?;
        Ok(Unwrapped { plaintext, key: crate::unary::KEY.to_owned(), version: 1 })
    }
}

/// Measures this process from here on.
struct Meter {
    usage: Usage,
    wall: Instant,
}

impl Meter {
    fn start() -> Result<Self, Fault> {
        Ok(Self { usage: Usage::now()?, wall: Instant::now() })
    }

    fn stop(self, bytes: u64) -> Result<Cost, Fault> {
        let (wall, usage) = (self.wall.elapsed(), Usage::now()?);
        Ok(Cost { bytes, cpu: usage.cpu_since(&self.usage), wall, peak_kib: usage.peak_kib })
    }
}

/// Bytes that are not all alike, written so that they are in the page cache.
fn write_file(path: &Path, bytes: u64) -> Result<(), Fault> {
    let mut file = std::io::BufWriter::with_capacity(1_024 * 1_024, std::fs::File::create(path)?);
    for n in 0..bytes / 8 {
        std::io::Write::write_all(&mut file, &n.wrapping_mul(0x9E37_79B9_7F4A_7C15).to_le_bytes())?;
    }
    Ok(file.into_inner()?.sync_all()?)
}
