//! Inclusion and consistency proofs, RFC 9162 §2.1.3 and §2.1.4: that a record is in a log, and that a log only grew.
//!
//! They are built from stored hashes of perfect subtrees ([`Nodes`]) and checked from nothing but two heads.

use crate::{Hash, Head};

/// Where hashes of perfect subtrees come from: leaf hashes in memory, or tiles.
pub trait Nodes {
    /// The root of the leaves from `index << level` on, `1 << level` of them; `None` when they are not all held.
    fn node(&self, level: u32, index: u64) -> Option<Hash>;
}

impl Nodes for [Hash] {
    fn node(&self, level: u32, index: u64) -> Option<Hash> {
        let Some(below) = level.checked_sub(1) else {
            return self.get(usize::try_from(index).ok()?).copied();
        };
        let left = index.checked_mul(2)?;
        Some(Hash::node(self.node(below, left)?, self.node(below, left.checked_add(1)?)?))
    }
}

/// The hashes from the leaf's sibling up that lead from leaf `index` to the root of the first `size` leaves.
///
/// `None` when the leaf is not among them or a hash is not held.
#[must_use]
pub fn inclusion(nodes: &(impl Nodes + ?Sized), index: u64, size: u64) -> Option<Vec<Hash>> {
    let (mut low, mut high) = (0, size);
    let mut path = Vec::new();
    if index >= size {
        return None;
    }
    while let Some(split) = split(low, high) {
        if index < split {
            path.push(range_root(nodes, split, high)?);
            high = split;
        } else {
            path.push(range_root(nodes, low, split)?);
            low = split;
        }
    }
    path.reverse();
    Some(path)
}

/// The hashes that lead from the first `old` leaves to both the old root and the root of the first `new` leaves.
///
/// `None` when the tree would shrink or a hash is not held. From the empty tree, and to itself, the proof is empty.
#[must_use]
pub fn consistency(nodes: &(impl Nodes + ?Sized), old: u64, new: u64) -> Option<Vec<Hash>> {
    if old > new {
        return None;
    }
    if old == 0 || old == new {
        return Some(Vec::new());
    }
    let (mut low, mut high) = (0, new);
    let mut path = Vec::new();
    while old < high {
        let split = split(low, high)?;
        if old <= split {
            path.push(range_root(nodes, split, high)?);
            high = split;
        } else {
            path.push(range_root(nodes, low, split)?);
            low = split;
        }
    }
    // What remains is the old tree itself, known to the verifier, or its right edge.
    if low != 0 {
        path.push(range_root(nodes, low, high)?);
    }
    path.reverse();
    Some(path)
}

/// Whether that leaf is record `index` of the log with this head.
#[must_use]
pub fn verify_inclusion(leaf: Hash, index: u64, head: &Head, path: &[Hash]) -> bool {
    let Some(last) = head.size.checked_sub(1).filter(|last| index <= *last) else { return false };
    let (mut node, mut edge, mut root) = (index, last, leaf);
    for sibling in path {
        if edge == 0 {
            return false;
        }
        if node & 1 == 1 || node == edge {
            root = Hash::node(*sibling, root);
            while node & 1 == 0 && node != 0 {
                (node, edge) = (node >> 1, edge >> 1);
            }
        } else {
            root = Hash::node(root, *sibling);
        }
        (node, edge) = (node >> 1, edge >> 1);
    }
    edge == 0 && root == head.root
}

/// Whether the log of `old` only grew to become the log of `new`.
#[must_use]
pub fn verify_consistency(old: &Head, new: &Head, path: &[Hash]) -> bool {
    if old.log != new.log {
        return false;
    }
    if old.size == 0 {
        return path.is_empty() && old.root == Hash::empty_tree();
    }
    if old.size >= new.size {
        return path.is_empty() && old.size == new.size && old.root == new.root;
    }
    let known = old.size.is_power_of_two().then_some(old.root);
    let mut hashes = known.into_iter().chain(path.iter().copied());
    let Some(first) = hashes.next() else { return false };
    let shift = (old.size - 1).trailing_ones();
    let (mut node, mut edge) = ((old.size - 1) >> shift, (new.size - 1) >> shift);
    let (mut old_root, mut new_root) = (first, first);
    for sibling in hashes {
        if edge == 0 {
            return false;
        }
        if node & 1 == 1 || node == edge {
            old_root = Hash::node(sibling, old_root);
            new_root = Hash::node(sibling, new_root);
            while node & 1 == 0 && node != 0 {
                (node, edge) = (node >> 1, edge >> 1);
            }
        } else {
            new_root = Hash::node(new_root, sibling);
        }
        (node, edge) = (node >> 1, edge >> 1);
    }
    edge == 0 && old_root == old.root && new_root == new.root
}

/// Where RFC 6962 splits the leaves `low..high`: the largest power of two below their number; `None` for one leaf.
fn split(low: u64, high: u64) -> Option<u64> {
    let count = high.checked_sub(low).filter(|count| *count > 1)?;
    Some(low + (1 << (count - 1).ilog2()))
}

/// The root of the leaves `low..high`, where `low` stands on a split of the whole tree.
fn range_root(nodes: &(impl Nodes + ?Sized), low: u64, high: u64) -> Option<Hash> {
    let count = high.checked_sub(low).filter(|count| *count > 0)?;
    if count.is_power_of_two() {
        return nodes.node(count.ilog2(), low >> count.ilog2());
    }
    let split = split(low, high)?;
    Some(Hash::node(range_root(nodes, low, split)?, range_root(nodes, split, high)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::vectors::{ROOTS, leaves};
    use crate::{Frontier, LogName, leaf_hash};
    use proptest::prelude::*;

    fn hashes(count: u64) -> Vec<Hash> {
        (0..count).map(|i| leaf_hash(&i.to_be_bytes())).collect()
    }

    fn head(leaves: &[Hash], size: u64) -> Head {
        let mut frontier = Frontier::new();
        for leaf in &leaves[..size as usize] {
            frontier.append(*leaf);
        }
        frontier.head(LogName::Cluster)
    }

    /// Paths of the RFC 6962 test data (certificate-transparency `merkle_tree_test.cc`): index or old size, size, path.
    #[test]
    fn rfc_6962_paths() {
        let leaves: Vec<Hash> = leaves().iter().map(|leaf| leaf_hash(leaf)).collect();
        let hex = |path: Vec<Hash>| path.iter().map(Hash::to_string).collect::<Vec<_>>();
        assert_eq!(head(&leaves, 8).root.to_string(), ROOTS[8]);
        assert_eq!(
            hex(inclusion(&leaves[..], 0, 8).expect("held")),
            [
                "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
                "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
                "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
            ]
        );
        assert_eq!(
            hex(inclusion(&leaves[..], 5, 8).expect("held")),
            [
                "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
        assert_eq!(
            hex(consistency(&leaves[..], 6, 8).expect("held")),
            [
                "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
                "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
                "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
            ]
        );
    }

    #[test]
    fn every_proof_of_a_small_tree_verifies_and_no_other_does() {
        let leaves = hashes(20);
        for size in 0..=20 {
            let new = head(&leaves, size);
            for index in 0..20 {
                let path = inclusion(&leaves[..], index, size);
                assert_eq!(path.is_some(), index < size);
                let Some(path) = path else { continue };
                for other in 0..20 {
                    let holds = verify_inclusion(leaves[other as usize], index, &new, &path);
                    assert_eq!(holds, other == index, "leaf {other} as {index} of {size}");
                    let moved = verify_inclusion(leaves[index as usize], other, &new, &path);
                    assert_eq!(moved, other == index, "leaf {index} at {other} of {size}");
                }
            }
            for old in 0..=20 {
                let path = consistency(&leaves[..], old, size);
                assert_eq!(path.is_some(), old <= size);
                let Some(path) = path else { continue };
                let old = head(&leaves, old);
                assert!(verify_consistency(&old, &new, &path), "{} to {size}", old.size);
                if old.size > 0 {
                    let forked = Head { root: leaf_hash(b"another history"), ..old };
                    assert!(!verify_consistency(&forked, &new, &path), "{} to {size}", old.size);
                }
            }
        }
    }

    #[test]
    fn the_empty_log_and_other_logs() {
        let leaves = hashes(3);
        let (empty, three) = (Head::empty(LogName::Cluster), head(&leaves, 3));
        assert!(!verify_inclusion(leaves[0], 0, &empty, &[]));
        assert!(verify_consistency(&empty, &three, &[]));
        assert!(!verify_consistency(&Head { root: leaves[0], ..empty }, &three, &[]));
        assert!(!verify_consistency(&three, &empty, &[]));
        assert!(!verify_consistency(&Head { log: LogName::Node(types::NodeId(1)), ..three }, &three, &[]));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn proofs_of_larger_trees(
            size in 1u64..600, a in any::<u64>(), b in any::<u64>(), flip in any::<(usize, u8)>(),
        ) {
            let leaves = hashes(size);
            let (index, old) = (a % size, b % (size + 1));
            let (new, old) = (head(&leaves, size), head(&leaves, old));
            let leaf = leaves[index as usize];
            let mut path = inclusion(&leaves[..], index, size).expect("held");
            prop_assert!(verify_inclusion(leaf, index, &new, &path));
            let mut longer = path.clone();
            longer.push(leaf);
            prop_assert!(!verify_inclusion(leaf, index, &new, &longer));
            let mut grown = consistency(&leaves[..], old.size, size).expect("held");
            prop_assert!(verify_consistency(&old, &new, &grown));
            for (path, includes) in [(&mut path, true), (&mut grown, false)] {
                let at = flip.0 % path.len().max(1);
                let Some(hash) = path.get_mut(at) else { continue };
                hash.0[flip.0 % 32] ^= flip.1 | 1;
                let holds = |path: &[Hash]| match includes {
                    true => verify_inclusion(leaf, index, &new, path),
                    false => verify_consistency(&old, &new, path),
                };
                prop_assert!(!holds(path));
                path.pop();
                prop_assert!(!holds(path));
            }
        }
    }
}
