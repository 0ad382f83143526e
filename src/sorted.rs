//! Small maps and sets as one sorted vector.
//!
//! Owns: the order, and the uniqueness of keys. Never: the meaning of members.
//!
//! `BTreeMap` in its place makes the binary 161 KiB larger (5 KiB for each type of member); a hash table takes 1 KiB
//! each, and more memory than its members. At the sizes here a vector is searched as fast, and members that arrive in
//! order, as process ids do, are appended. Not for ten thousands of members in random order.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::slice;
use std::vec;

use serde::{Serialize, Serializer};

mod set;

pub use set::SortedSet;

/// A capacity up to this is never shrunk.
const ROOM_KEPT: usize = 16;

/// A map, sorted by key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Sorted<K, V> {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Removes the members for which `wanted` is false.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| wanted(key, value));
        self.give_back();
    }

    /// Shrinks the capacity if less than a quarter of it is used.
    // Not inlined: code for each type, but not for each call.
    #[inline(never)]
    fn give_back(&mut self) {
        if self.0.capacity() > ROOM_KEPT && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}

impl<K: Ord, V> Sorted<K, V> {
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &self.0[place].1)
    }

    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &mut self.0[place].1)
    }

    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Sets the value of `key`; returns the previous one.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = self.0.remove(self.place(key).ok()?).1;
        self.give_back();
        Some(removed)
    }

    /// Returns the value of `key`, inserting the default if there is none.
    pub fn entry(&mut self, key: K) -> &mut V
    where
        V: Default,
    {
        let place = match self.place(&key) {
            Ok(place) => place,
            Err(place) => {
                self.0.insert(place, (key, V::default()));
                place
            }
        };
        &mut self.0[place].1
    }

    /// The index of `key`, or where to insert it.
    #[inline(never)]
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        search(self.0.len(), &|at| self.0[at].0.borrow().cmp(key))
    }
}

/// The index that is `Equal`, or the first one that is `Greater`. The position after the last one is found without a
/// search. Not generic: linked once, not once for each type of member.
fn search(length: usize, compare: &dyn Fn(usize) -> Ordering) -> Result<usize, usize> {
    let (mut low, mut high) = (0, length);
    let mut at = length.saturating_sub(1);
    while low < high {
        match compare(at) {
            Ordering::Less => low = at + 1,
            Ordering::Equal => return Ok(at),
            Ordering::Greater => high = at,
        }
        at = low.midpoint(high);
    }
    Err(low)
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted(Vec::new())
    }
}

/// Of duplicate keys the last one counts.
impl<K: Ord, V> FromIterator<(K, V)> for Sorted<K, V> {
    fn from_iter<I: IntoIterator<Item = (K, V)>>(members: I) -> Self {
        let mut sorted = Sorted::default();
        for (key, value) in members {
            sorted.insert(key, value);
        }
        sorted
    }
}

impl<K: Ord, V, const N: usize> From<[(K, V); N]> for Sorted<K, V> {
    fn from(members: [(K, V); N]) -> Self {
        members.into_iter().collect()
    }
}

impl<K, V> IntoIterator for Sorted<K, V> {
    type Item = (K, V);
    type IntoIter = vec::IntoIter<(K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl<'a, K, V> IntoIterator for &'a Sorted<K, V> {
    type Item = &'a (K, V);
    type IntoIter = slice::Iter<'a, (K, V)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.iter()
    }
}

impl<K: Serialize, V: Serialize> Serialize for Sorted<K, V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(key, value)| (key, value)))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn it_is_as_a_map_is() {
        let (mut sorted, mut model) = (Sorted::default(), BTreeMap::new());
        // Every key of 0 to 31 in a mixed order, and all of them three times.
        for step in 0..96_u32 {
            let key = step * 13 % 32;
            assert_eq!(sorted.insert(key, step), model.insert(key, step));
            if step % 5 == 0 {
                let other = step * 7 % 32;
                assert_eq!(sorted.remove(&other), model.remove(&other));
            }
            assert_eq!(sorted.get(&key), model.get(&key));
            assert!(sorted.iter().map(|(key, value)| (key, value)).eq(model.iter()));
        }
        sorted.retain(|key, _| key % 2 == 0);
        model.retain(|key, _| key % 2 == 0);
        *sorted.entry(3) += 1;
        *model.entry(3).or_default() += 1;
        *sorted.entry(3) += 1;
        *model.entry(3).or_default() += 1;
        assert!(sorted.values().eq(model.values()));
        assert_eq!((sorted.len(), sorted.is_empty(), sorted.contains_key(&3)), (model.len(), false, true));
        assert!(sorted.into_iter().eq(model));
    }

    #[test]
    fn room_for_many_is_given_back_when_few_are_left() {
        let all = || (0..1000).map(|key| (key, key)).collect::<Sorted<u32, u32>>();
        let (mut retained, mut removed) = (all(), all());
        retained.retain(|key, _| *key < 10);
        (10..1000).rev().for_each(|key| assert_eq!(removed.remove(&key), Some(key)));
        for sorted in [retained, removed] {
            assert!(sorted.0.capacity() <= 64, "room for {}", sorted.0.capacity());
            assert!(sorted.into_iter().eq((0..10).map(|key| (key, key))));
        }
    }

    #[test]
    fn of_two_with_the_same_key_the_last_one_counts() {
        let sorted = Sorted::from([("b", 1), ("a", 2), ("b", 3)]);
        assert_eq!(sorted, Sorted::from([("a", 2), ("b", 3)]));
    }
}
