//! Secrets in memory that the kernel neither swaps, dumps nor hands to a child.
//!
//! The only module with `unsafe` code. Each page is a `memfd_secret(2)` mapping, which even the kernel's own direct map
//! does not show; where the kernel has none, an anonymous page under `mlock(2)`, `MADV_DONTDUMP` and `MADV_DONTFORK`.
//! Both count against `RLIMIT_MEMLOCK`, so a page is cut into 128 slots of 32 bytes, and a secret takes as many neighbours as it
//! needs. When neither can be had, making a secret fails: there is no quiet fall-back to ordinary memory.
//!
//! It does not stop a debugger of the same user, nor root.
#![expect(unsafe_code, reason = "mapping and locking pages has no safe interface; every block says why it is sound")]

use std::{
    io,
    ptr::NonNull,
    sync::{Mutex, MutexGuard, PoisonError},
};

use zeroize::Zeroize as _;

const SLOT_BYTES: usize = 32;
/// One bit of a `u128` for each slot.
const SLOTS_PER_PAGE: usize = 128;
const PAGE_BYTES: usize = SLOT_BYTES * SLOTS_PER_PAGE;

/// Secret bytes in locked memory, wiped on drop.
pub struct LockedBytes {
    bytes: NonNull<[u8]>,
    page: usize,
    slots: u128,
}

/// 32 secret bytes in locked memory, wiped on drop.
pub struct LockedSecret(LockedBytes);

/// What keeps a page from leaving memory.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Protection {
    /// `mlock`, `MADV_DONTDUMP` and `MADV_DONTFORK`.
    LockedPages,
    /// `memfd_secret`: all of that, and unmapped from the kernel.
    SecretMemory,
}

/// No more memory can be locked.
#[derive(Debug, thiserror::Error)]
#[error("no memory could be locked for keys: {0}; raise RLIMIT_MEMLOCK (`LimitMEMLOCK=` in systemd, `ulimit -l`)")]
pub struct LockError(#[from] io::Error);

impl LockedBytes {
    /// The longest secret: a page of them.
    pub const BYTES_MAX: usize = PAGE_BYTES;

    /// Copies the bytes into locked memory: one at least, [`Self::BYTES_MAX`] at most.
    ///
    /// # Errors
    /// When a new page is needed and cannot be locked, or the secret is longer than a page.
    pub fn new(bytes: &[u8]) -> Result<Self, LockError> {
        let mut arena = arena();
        let secret = arena.take(bytes.len())?;
        // Copied from place to place: a value that is written could lie on the stack on its way.
        // SAFETY: the slots lie in a live mapping, hold `bytes.len()` bytes, are aligned (align 1), and their bits were just set
        // under the lock, so that nothing else reads or writes them.
        unsafe { secret.bytes.cast().copy_from_nonoverlapping(NonNull::from(bytes).cast::<u8>(), bytes.len()) };
        Ok(secret)
    }

    /// Bytes of locked memory that it takes: its slots, or the whole page when no other of its length fits beside it.
    #[must_use]
    pub fn footprint(&self) -> usize {
        let bytes = self.expose().len().div_ceil(SLOT_BYTES).saturating_mul(SLOT_BYTES);
        if bytes > PAGE_BYTES / 2 { PAGE_BYTES } else { bytes }
    }

    /// The bytes. Whoever calls this promises not to copy them to where they are not wiped.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        // SAFETY: pages are never unmapped, the slots are ours until drop, and no one writes to them while `self` is borrowed.
        unsafe { self.bytes.as_ref() }
    }
}

impl LockedSecret {
    /// Copies the bytes into locked memory.
    ///
    /// # Errors
    /// When a new page is needed and cannot be locked.
    pub fn new(bytes: &[u8; SLOT_BYTES]) -> Result<Self, LockError> {
        LockedBytes::new(bytes).map(Self)
    }

    /// The bytes. Whoever calls this promises not to copy them to where they are not wiped.
    #[must_use]
    #[expect(clippy::expect_used, reason = "it was made of exactly so many")]
    pub fn expose(&self) -> &[u8; SLOT_BYTES] {
        self.0.expose().try_into().expect("one slot")
    }
}

impl Drop for LockedBytes {
    fn drop(&mut self) {
        let mut arena = arena();
        // SAFETY: as in `expose`; `&mut self` makes this the only reference. `zeroize` writes are not optimised away.
        unsafe { self.bytes.as_mut() }.zeroize();
        arena.give_back(self.page, self.slots);
    }
}

// SAFETY: the slots belong to exactly one `LockedBytes`, are only read through `&self`, and are written only by `new` and
// `drop`; nothing is bound to the thread that made them.
unsafe impl Send for LockedBytes {}
// SAFETY: as above; shared references only read.
unsafe impl Sync for LockedBytes {}

impl std::fmt::Debug for LockedBytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "LockedBytes({} bytes, redacted)", self.expose().len())
    }
}

impl std::fmt::Debug for LockedSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LockedSecret(redacted)")
    }
}

/// The weakest protection in use, for the line that a node logs at start; maps the first page if there is none.
///
/// # Errors
/// When no memory can be locked.
pub fn protection() -> Result<Protection, LockError> {
    let mut arena = arena();
    if arena.pages.is_empty() {
        arena.grow()?;
    }
    let weakest = arena.pages.iter().map(|page| page.protection).min();
    Ok(weakest.unwrap_or(Protection::LockedPages))
}

/// All pages of the process. Global, because `RLIMIT_MEMLOCK` is, and because a page must outlive every secret in it.
struct Arena {
    pages: Vec<Page>,
}

struct Page {
    base: NonNull<[u8; SLOT_BYTES]>,
    used: u128,
    protection: Protection,
}

// SAFETY: `base` points to a mapping of the whole process, not of a thread.
unsafe impl Send for Page {}

static ARENA: Mutex<Arena> = Mutex::new(Arena { pages: Vec::new() });

fn arena() -> MutexGuard<'static, Arena> {
    // The bitmaps are changed by single assignments: a panic elsewhere cannot leave them half done.
    ARENA.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Arena {
    fn take(&mut self, len: usize) -> Result<LockedBytes, LockError> {
        let wanted = len.div_ceil(SLOT_BYTES);
        if !(1..=SLOTS_PER_PAGE).contains(&wanted) {
            let text = format!("a secret of {len} bytes: it has 1 to {PAGE_BYTES}");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, text).into());
        }
        if self.pages.iter().all(|page| first_run(page.used, wanted).is_none()) {
            self.grow()?;
        }
        let room = |(at, page): (usize, &mut Page)| first_run(page.used, wanted).map(|slot| (at, slot));
        let found = self.pages.iter_mut().enumerate().find_map(room);
        let (at, slot) = found.ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let page = self.pages.get_mut(at).ok_or_else(|| io::Error::from(io::ErrorKind::OutOfMemory))?;
        let slots = run(wanted) << slot;
        page.used |= slots;
        // SAFETY: `slot + wanted` ≤ 128 because so many bits of `used` were zero, and the page has 128 slots: `len` bytes from
        // there lie in it.
        let start = unsafe { page.base.add(slot as usize) }.cast::<u8>();
        Ok(LockedBytes { bytes: NonNull::slice_from_raw_parts(start, len), page: at, slots })
    }

    fn give_back(&mut self, page: usize, slots: u128) {
        if let Some(page) = self.pages.get_mut(page) {
            page.used &= !slots;
        }
    }

    /// Pages are kept once mapped: keys come back, and unmapping would race with `expose`.
    fn grow(&mut self) -> Result<(), LockError> {
        let (base, protection) = match map_secret() {
            Ok(base) => (base, Protection::SecretMemory),
            Err(_) => (map_locked()?, Protection::LockedPages),
        };
        self.pages.push(Page { base: base.cast(), used: 0, protection });
        Ok(())
    }
}

/// So many ones, from the lowest bit on: 1 to 128.
const fn run(slots: usize) -> u128 {
    u128::MAX >> (SLOTS_PER_PAGE - slots)
}

/// The lowest of so many neighbouring zeros.
fn first_run(used: u128, slots: usize) -> Option<u32> {
    // A bit stays set where as many free ones follow as it was shifted down.
    let (mut starts, mut width) = (!used, 1);
    while width < slots && starts != 0 {
        let step = width.min(slots - width);
        starts &= starts >> step;
        width += step;
    }
    (starts != 0).then(|| starts.trailing_zeros())
}

/// A page of `memfd_secret(2)` (Linux 5.14; on by default since 6.5), which is locked and never dumped by its nature.
fn map_secret() -> io::Result<NonNull<libc::c_void>> {
    // SAFETY: takes flags only and gives a new descriptor or −1.
    let fd = unsafe { libc::syscall(libc::SYS_memfd_secret, libc::O_CLOEXEC) };
    let fd = libc::c_int::try_from(fd).ok().filter(|fd| *fd >= 0).ok_or_else(io::Error::last_os_error)?;
    // SAFETY: `fd` is ours and open; the mapping keeps the memory alive after `close`.
    let sized = unsafe { libc::ftruncate(fd, PAGE_BYTES as libc::off_t) };
    let mapped = if sized == 0 { map(libc::MAP_SHARED, fd) } else { Err(io::Error::last_os_error()) };
    // SAFETY: `fd` is ours and closed exactly once.
    unsafe { libc::close(fd) };
    protect(mapped?, &[libc::MADV_DONTFORK])
}

/// An anonymous page, locked and kept out of core dumps and children.
fn map_locked() -> io::Result<NonNull<libc::c_void>> {
    let base = map(libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)?;
    // SAFETY: the range is the mapping just made.
    if unsafe { libc::mlock(base.as_ptr(), PAGE_BYTES) } != 0 {
        let error = io::Error::last_os_error();
        unmap(base);
        return Err(error);
    }
    protect(base, &[libc::MADV_DONTDUMP, libc::MADV_DONTFORK])
}

fn map(flags: libc::c_int, fd: libc::c_int) -> io::Result<NonNull<libc::c_void>> {
    // SAFETY: a new mapping at an address of the kernel's choice touches no memory that exists.
    let base =
        unsafe { libc::mmap(std::ptr::null_mut(), PAGE_BYTES, libc::PROT_READ | libc::PROT_WRITE, flags, fd, 0) };
    NonNull::new(base).filter(|base| base.as_ptr() != libc::MAP_FAILED).ok_or_else(io::Error::last_os_error)
}

fn protect(base: NonNull<libc::c_void>, advice: &[libc::c_int]) -> io::Result<NonNull<libc::c_void>> {
    for advice in advice {
        // SAFETY: the range is a mapping of ours, and neither advice changes what it holds.
        if unsafe { libc::madvise(base.as_ptr(), PAGE_BYTES, *advice) } != 0 {
            let error = io::Error::last_os_error();
            unmap(base);
            return Err(error);
        }
    }
    Ok(base)
}

fn unmap(base: NonNull<libc::c_void>) {
    // SAFETY: only called for a mapping that failed to be protected and that nothing points to yet.
    unsafe { libc::munmap(base.as_ptr(), PAGE_BYTES) };
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_do_not_share_a_slot_and_free_slots_are_used_again() {
        let pattern = |n: usize| [u8::try_from(n % 251).expect("small"); 32];
        let mut secrets: Vec<_> = (0..1_000).map(|n| (n, LockedSecret::new(&pattern(n)).expect("locks"))).collect();
        secrets.retain(|(n, _)| n % 3 != 0);
        secrets.extend((2_000..2_200).map(|n| (n, LockedSecret::new(&pattern(n)).expect("locks"))));
        for (n, secret) in &secrets {
            assert_eq!(secret.expose(), &pattern(*n));
        }
        assert_eq!(format!("{:?}", secrets[0].1), "LockedSecret(redacted)");
    }

    #[test]
    fn secrets_of_any_length_take_neighbouring_slots() {
        let lens = [1, 31, 32, 33, 138, 1_218, 2_375, 4_095, PAGE_BYTES];
        let pattern = |len: usize, round: usize| vec![u8::try_from((len + round) % 251).expect("small"); len];
        let mut kept = Vec::new();
        for round in 0..20 {
            for len in lens {
                kept.push((LockedBytes::new(&pattern(len, round)).expect("locks"), pattern(len, round)));
            }
            let mut at = 0;
            kept.retain(|_| {
                at += 1;
                at % 3 != 0
            });
        }
        assert!(kept.iter().all(|(secret, bytes)| secret.expose() == bytes.as_slice()));
        assert_eq!(format!("{:?}", kept[0].0), "LockedBytes(1 bytes, redacted)");
        assert!(LockedBytes::new(&[]).is_err() && LockedBytes::new(&[0; PAGE_BYTES + 1]).is_err());
    }

    #[test]
    fn the_first_run_is_the_lowest_that_is_long_enough() {
        let slow = |used: u128, slots: usize| {
            (0..=SLOTS_PER_PAGE - slots).find(|at| used & (run(slots) << at) == 0).map(|at| at as u32)
        };
        let mut used = 0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c834_u128;
        for round in 0..200_u32 {
            used = used.rotate_left(round).wrapping_mul(3) & used.rotate_right(7 * round % 128);
            for slots in [1, 2, 3, 5, 8, 39, 75, 127, 128] {
                assert_eq!(first_run(used, slots), slow(used, slots), "{used:x}, {slots}");
                assert_eq!(first_run(used & (u128::MAX << 80), slots), slow(used & (u128::MAX << 80), slots));
            }
        }
        assert_eq!((first_run(0, 128), first_run(1, 128), first_run(u128::MAX, 1)), (Some(0), None, None));
    }

    #[test]
    fn threads_make_and_drop_at_once() {
        std::thread::scope(|scope| {
            for thread in 0..4_u8 {
                scope.spawn(move || {
                    for n in 0..500_u16 {
                        let mut bytes = [thread; 32];
                        bytes[..2].copy_from_slice(&n.to_be_bytes());
                        let secret = LockedSecret::new(&bytes).expect("locks");
                        assert_eq!(secret.expose(), &bytes);
                    }
                });
            }
        });
    }

    #[test]
    fn a_dropped_secret_is_wiped() {
        let secret = LockedBytes::new(&[0x5a; 100]).expect("locks");
        let slots = secret.bytes;
        drop(secret);
        let _arena = arena();
        // SAFETY: pages are never unmapped, and holding the arena keeps every writer out.
        let left = unsafe { slots.as_ref() };
        assert_ne!(&left[64..], [0x5a; 36], "all of its slots");
    }

    /// `dd`: not in core dumps; `dc`: not copied to children; `lo`: locked (proc(5), VmFlags).
    #[test]
    fn the_kernel_says_that_both_kinds_of_page_are_locked_undumped_and_uncopied() {
        let secret = map_secret();
        if let Err(error) = &secret {
            // Written past the harness, which hides what a passing test prints.
            let line = format!("\nSKIPPED for memfd_secret pages: {error}\n");
            io::Write::write_all(&mut io::stderr(), line.as_bytes()).expect("writes");
        }
        for base in secret.into_iter().chain([map_locked().expect("locks")]) {
            let flags = vm_flags(base.as_ptr() as usize);
            for flag in ["dd", "dc", "lo"] {
                assert!(flags.split_whitespace().any(|f| f == flag), "{flag} is missing in {flags}");
            }
            unmap(base);
        }
    }

    fn vm_flags(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("reads");
        let mut found = false;
        for line in maps.lines() {
            if let Some((from, to)) = line.split_whitespace().next().and_then(|range| range.split_once('-'))
                && let (Ok(from), Ok(to)) = (usize::from_str_radix(from, 16), usize::from_str_radix(to, 16))
            {
                found = (from..to).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| found) {
                return flags.to_owned();
            }
        }
        panic!("no mapping at {address:x}");
    }

    #[test]
    fn the_protection_told_is_the_best_that_this_kernel_has() {
        let best = map_secret().map_or(Protection::LockedPages, |base| {
            unmap(base);
            Protection::SecretMemory
        });
        assert_eq!(protection().expect("locks"), best);
    }
}
