//! The loop of one target: pick an input, mutate it, execute, keep it when it covers something new. A panic, an abort, too much memory or
//! too long an execution ends the process; the input has been written down before.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::corpus::{self, Coverage};
use super::mutate::{Material, mutate};
use super::rng::Rng;
use super::{Target, probe};

/// No execution takes as long, on however busy a machine.
const EXECUTION_MAX: Duration = Duration::from_secs(20);
/// Mutants of one input before another is picked.
const MUTANTS: usize = 100;

/// How to run.
pub struct Options {
    /// For how long.
    pub length: Duration,
    /// Where chance begins.
    pub seed: u64,
    /// The folder of committed seeds of this target.
    pub seeds: PathBuf,
    /// Where what is found is kept between runs.
    pub found: PathBuf,
    /// The file that holds the input of the moment: its length in eight bytes, then itself.
    pub current: PathBuf,
}

/// What became of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Summary {
    /// The target.
    pub name: String,
    /// Inputs decoded.
    pub executions: u64,
    /// For how long.
    pub seconds: f64,
    /// Edges of the program that were taken.
    pub edges: usize,
    /// Inputs that are worth keeping.
    pub corpus: usize,
    /// Those that this run has found.
    pub found: usize,
    /// Bytes of memory that one execution held at most.
    pub held_bytes: usize,
}

struct Loop<'a> {
    target: &'a Target,
    current: File,
    coverage: Coverage,
    counters: Vec<u8>,
    compares: Vec<(u64, u64)>,
    executions: u64,
    held: usize,
    beat: Arc<AtomicU64>,
}

/// Runs a target until its time is over.
///
/// # Errors
/// What the disk says. Findings do not return: they end the process.
pub fn run(target: &Target, options: &Options) -> io::Result<Summary> {
    let mut this = Loop {
        target,
        current: File::create(&options.current)?,
        coverage: Coverage::default(),
        counters: Vec::new(),
        compares: Vec::new(),
        executions: 0,
        held: 0,
        beat: Arc::default(),
    };
    watch(Arc::clone(&this.beat));
    // Whatever a target makes once and keeps is made here, before memory is counted.
    let made = (target.seeds)().into_iter().map(|input| (String::new(), input));
    let start = Instant::now();
    let mut inputs = vec![Vec::new()];
    this.execute(&[])?;
    let seeds: Vec<_> = corpus::read(&options.seeds)?.into_iter().chain(made).collect();
    for (_, input) in seeds.into_iter().chain(corpus::read(&options.found)?) {
        if this.execute(&input)? {
            inputs.push(input);
        }
    }
    let known = inputs.len();
    let mut rng = Rng::new(options.seed);
    while start.elapsed() < options.length {
        // What was found last leads on more often than what was there first.
        let newest = rng.below(inputs.len().min(16));
        let at = if rng.below(3) == 0 { inputs.len() - 1 - newest } else { rng.below(inputs.len()) };
        let parent = inputs[at].clone();
        this.execute(&parent)?;
        let mut compares = std::mem::take(&mut this.compares);
        for _ in 0..MUTANTS {
            let other = rng.below(inputs.len());
            let material = Material {
                tokens: target.tokens,
                other: &inputs[other],
                compares: &compares,
                bytes_max: target.bytes_max,
            };
            let mut input = parent.clone();
            mutate(&mut rng, &mut input, &material);
            if this.execute(&input)? {
                corpus::write(&options.found, &input)?;
                inputs.push(input);
                compares.clone_from(&this.compares);
            }
            if start.elapsed() >= options.length {
                break;
            }
        }
    }
    Ok(Summary {
        name: target.name.to_owned(),
        executions: this.executions,
        seconds: start.elapsed().as_secs_f64(),
        edges: this.coverage.edges,
        corpus: inputs.len(),
        found: inputs.len() - known,
        held_bytes: this.held,
    })
}

impl Loop<'_> {
    /// Decodes an input; true when that covered something new.
    fn execute(&mut self, input: &[u8]) -> io::Result<bool> {
        let whole = [&(input.len() as u64).to_le_bytes()[..], input].concat();
        self.current.write_all_at(&whole, 0)?;
        self.executions += 1;
        self.beat.store(self.executions, Relaxed);
        let before = probe::live();
        probe::reset();
        (self.target.run)(input);
        let held = probe::held(before);
        probe::counters(&mut self.counters);
        self.compares.clear();
        self.compares.extend(probe::compares());
        self.held = self.held.max(held);
        let most = self.target.held_bytes_max(input);
        assert!(held <= most, "it held {held} bytes for an input of {}, and may hold {most}", input.len());
        Ok(self.coverage.is_new(&self.counters))
    }
}

/// Those of the inputs that take an edge which neither the target's own seeds nor one before has taken; so many bytes of them at most. Longer
/// ones come first, for they stand for many shorter ones, but none that would fill much of the room alone.
#[must_use]
pub fn distil(target: &Target, mut inputs: Vec<Vec<u8>>, bytes_max: usize) -> Vec<Vec<u8>> {
    let (mut coverage, mut counters, mut bytes) = (Coverage::default(), Vec::new(), 0);
    let mut adds = |input: &[u8]| {
        let before = coverage.edges;
        probe::reset();
        (target.run)(input);
        probe::counters(&mut counters);
        coverage.is_new(&counters);
        coverage.edges > before
    };
    for input in (target.seeds)() {
        adds(&input);
    }
    inputs.retain(|input| input.len() <= bytes_max / 8);
    inputs.sort_by(|a, b| (b.len(), a).cmp(&(a.len(), b)));
    inputs.retain(|input| {
        bytes + input.len() <= bytes_max && adds(input) && {
            bytes += input.len();
            true
        }
    });
    inputs
}

/// Ends the process when one execution takes too long.
fn watch(beat: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        let (mut last, mut since) = (0, Instant::now());
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let now = beat.load(Relaxed);
            if now != last {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() > EXECUTION_MAX {
                super::supervise::say(&format!("one execution took more than {EXECUTION_MAX:?}"));
                std::process::abort();
            }
        }
    });
}

/// Decodes one input under the same limit of memory.
pub fn replay(target: &Target, input: &[u8]) {
    let before = probe::live();
    probe::reset();
    (target.run)(input);
    let (held, most) = (probe::held(before), target.held_bytes_max(input));
    assert!(held <= most, "it held {held} bytes for an input of {}, and may hold {most}", input.len());
}
