//! Lists, a page at a time.

/// A part of a list, and where the next part begins.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Page<T, K> {
    /// The items, in order.
    pub items: Vec<T>,
    /// The last item's key when more follow: the next page comes after it.
    pub next: Option<K>,
}

/// Takes up to `size` items, at least one; `key` names an item.
pub(crate) fn page<T, K>(items: impl Iterator<Item = T>, size: usize, key: impl Fn(&T) -> K) -> Page<T, K> {
    let mut items = items.fuse();
    let taken: Vec<T> = items.by_ref().take(size.max(1)).collect();
    let next = if items.next().is_some() { taken.last().map(key) } else { None };
    Page { items: taken, next }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_end_where_the_list_does() {
        let of = |n: u32, size| page(0..n, size, |n| *n);
        assert_eq!(of(0, 2), Page { items: vec![], next: None });
        assert_eq!(of(2, 2), Page { items: vec![0, 1], next: None });
        assert_eq!(of(3, 2), Page { items: vec![0, 1], next: Some(1) });
        assert_eq!(of(3, 0), Page { items: vec![0], next: Some(0) });
    }
}
