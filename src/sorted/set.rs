//! A set for few members, as one sorted list.
//!
//! Owns: the order, and that each member is there once. Never: what the members mean.

use std::borrow::Borrow;

use super::Sorted;

/// A set whose members are in their order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SortedSet<K>(Sorted<K, ()>);

impl<K> SortedSet<K> {
    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(member, ())| member)
    }

    /// Keeps the members that `wanted` says to.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K) -> bool) {
        self.0.retain(|member, ()| wanted(member));
    }
}

impl<K: Ord> SortedSet<K> {
    pub fn contains<Q: Ord + ?Sized>(&self, member: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.contains_key(member)
    }

    /// Puts `member` in; whether it was not there yet.
    pub fn insert(&mut self, member: K) -> bool {
        self.0.insert(member, ()).is_none()
    }

    /// Takes `member` out; whether it was there.
    pub fn remove<Q: Ord + ?Sized>(&mut self, member: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.0.remove(member).is_some()
    }
}

impl<K> Default for SortedSet<K> {
    fn default() -> Self {
        SortedSet(Sorted::default())
    }
}

impl<K: Ord> Extend<K> for SortedSet<K> {
    fn extend<I: IntoIterator<Item = K>>(&mut self, members: I) {
        for member in members {
            self.insert(member);
        }
    }
}

impl<K: Ord> FromIterator<K> for SortedSet<K> {
    fn from_iter<I: IntoIterator<Item = K>>(members: I) -> Self {
        let mut set = SortedSet::default();
        set.extend(members);
        set
    }
}

impl<K: Ord, const N: usize> From<[K; N]> for SortedSet<K> {
    fn from(members: [K; N]) -> Self {
        members.into_iter().collect()
    }
}

impl<K> IntoIterator for SortedSet<K> {
    type Item = K;
    type IntoIter = std::iter::Map<std::vec::IntoIter<(K, ())>, fn((K, ())) -> K>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter().map(|(member, ())| member)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_member_is_in_it_once() {
        let mut set = SortedSet::from([3, 1, 3]);
        assert!(set.insert(2) && !set.insert(1));
        assert!(set.remove(&3) && !set.remove(&3));
        assert!(set.iter().eq(&[1, 2]));
        assert!(set.contains(&2) && !set.contains(&3));
        set.retain(|member| *member != 1);
        assert_eq!((set.len(), set.is_empty()), (1, false));
        assert!(set.into_iter().eq([2]));
    }
}
