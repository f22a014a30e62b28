//! What the compiler's instrumentation and the allocator tell: which edges an execution took, what it compared, how much memory it held
//! at most. It judges nothing. Besides `crypto/src/locked.rs` the only module with `unsafe`; nothing of it is in what is shipped.
//!
//! `make fuzz` builds with `-Cpasses=sancov-module`, which stable Rust takes: each edge gets a counter of eight bits, and each comparison
//! calls a function with both sides. LLVM instruments no function whose name begins with `__sanitizer_`, so these do not call themselves.
#![expect(
    unsafe_code,
    reason = "the counters are raw memory, the callbacks are C functions, and an allocator is unsafe to write"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};

/// No decoder asks for as much at once; one that does gets none, which ends the process.
const ALLOCATION_BYTES_MAX: usize = 1 << 30;
/// Comparisons that are kept: the last ones, which are nearest to where an input was refused.
const COMPARES: usize = 1_024;

static START: AtomicUsize = AtomicUsize::new(0);
static STOP: AtomicUsize = AtomicUsize::new(0);
static LEFT: [AtomicU64; COMPARES] = [const { AtomicU64::new(0) }; COMPARES];
static RIGHT: [AtomicU64; COMPARES] = [const { AtomicU64::new(0) }; COMPARES];
static COMPARED: AtomicUsize = AtomicUsize::new(0);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// Counters in this binary; none when it was built without instrumentation.
#[must_use]
pub fn edges() -> usize {
    STOP.load(Relaxed).saturating_sub(START.load(Relaxed))
}

/// Before an execution.
pub fn reset() {
    COMPARED.store(0, Relaxed);
    PEAK.store(LIVE.load(Relaxed), Relaxed);
    let edges = edges();
    if edges > 0 {
        // SAFETY: the linker's section of counters, as it was handed to the callback below; bytes, for which every value is good.
        unsafe { std::ptr::write_bytes(START.load(Relaxed) as *mut u8, 0, edges) };
    }
}

/// After an execution: how often each edge was taken, modulo 256.
pub fn counters(into: &mut Vec<u8>) {
    let edges = edges();
    into.clear();
    into.resize(edges, 0);
    if edges > 0 {
        // SAFETY: as above; `into` has just been given that many bytes. A count that a thread changes meanwhile is one that is off.
        unsafe { std::ptr::copy_nonoverlapping(START.load(Relaxed) as *const u8, into.as_mut_ptr(), edges) };
    }
}

/// Both sides of the last comparisons that did not hold.
pub fn compares() -> impl Iterator<Item = (u64, u64)> {
    let pairs = LEFT.iter().zip(&RIGHT).take(COMPARED.load(Relaxed));
    pairs.map(|(left, right)| (left.load(Relaxed), right.load(Relaxed)))
}

/// Bytes that were held at most since [`reset`], beyond what was held then.
#[must_use]
pub fn held(before: usize) -> usize {
    PEAK.load(Relaxed).saturating_sub(before)
}

/// Bytes that are held now.
#[must_use]
pub fn live() -> usize {
    LIVE.load(Relaxed)
}

#[inline(always)]
fn compared(left: u64, right: u64) {
    if left != right {
        let at = COMPARED.fetch_add(1, Relaxed) % COMPARES;
        if let (Some(l), Some(r)) = (LEFT.get(at), RIGHT.get(at)) {
            l.store(left, Relaxed);
            r.store(right, Relaxed);
        }
    }
}

#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(start: *mut u8, stop: *mut u8) {
    START.store(start as usize, Relaxed);
    STOP.store(stop as usize, Relaxed);
}

macro_rules! compare_callbacks {
    ($($name:ident: $number:ty),*) => {$(
        #[unsafe(no_mangle)]
        extern "C" fn $name(left: $number, right: $number) {
            compared(u64::from(left), u64::from(right));
        }
    )*};
}

compare_callbacks! {
    __sanitizer_cov_trace_cmp2: u16, __sanitizer_cov_trace_const_cmp2: u16,
    __sanitizer_cov_trace_cmp4: u32, __sanitizer_cov_trace_const_cmp4: u32,
    __sanitizer_cov_trace_cmp8: u64, __sanitizer_cov_trace_const_cmp8: u64
}

// One byte is found by trying.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_cmp1(_: u8, _: u8) {}
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_const_cmp1(_: u8, _: u8) {}
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_trace_switch(_: u64, _: *const u64) {}

/// The system's allocator, counting.
struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

#[inline]
fn took(bytes: usize) {
    PEAK.fetch_max(LIVE.fetch_add(bytes, Relaxed) + bytes, Relaxed);
}

// SAFETY: every call is the system's, with the same arguments; a null pointer is the answer that the trait has for a refusal.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.size() > ALLOCATION_BYTES_MAX {
            return std::ptr::null_mut();
        }
        took(layout.size());
        // SAFETY: the caller's promises are the system allocator's.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.size() > ALLOCATION_BYTES_MAX {
            return std::ptr::null_mut();
        }
        took(layout.size());
        // SAFETY: as above.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        if size > ALLOCATION_BYTES_MAX {
            return std::ptr::null_mut();
        }
        took(size);
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.realloc(at, layout, size) }
    }
}
