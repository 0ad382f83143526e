//! Maps and sets of not so many members, as one sorted list.
//!
//! Owns: the order, and that each key is there once. Never: what the members mean.
//!
//! A tree of `std` costs 5 KiB of code for each type of member, a hash table 1 KiB and more memory than members. A list
//! is searched as fast at the sizes there are here, and what comes in its order, as process numbers do, is
//! just put at the end. Not for what comes in any order by the ten thousands.

use std::borrow::Borrow;
use std::slice;
use std::vec;

use serde::{Serialize, Serializer};

mod set;

pub use set::SortedSet;

/// Room for so many members is never worth giving back.
const ROOM_KEPT: usize = 16;

/// A map whose members are in the order of their keys.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sorted<K, V>(Vec<(K, V)>);

impl<K, V> Sorted<K, V> {
    /// How many members there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All members.
    pub fn iter(&self) -> slice::Iter<'_, (K, V)> {
        self.0.iter()
    }

    /// All members, their values to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (&K, &mut V)> {
        self.0.iter_mut().map(|(key, value)| (&*key, value))
    }

    /// All keys.
    pub fn keys(&self) -> impl Iterator<Item = &K> {
        self.0.iter().map(|(key, _)| key)
    }

    /// All values.
    pub fn values(&self) -> impl Iterator<Item = &V> {
        self.0.iter().map(|(_, value)| value)
    }

    /// All values, to be changed.
    pub fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    /// Keeps the members that `wanted` says to.
    pub fn retain(&mut self, mut wanted: impl FnMut(&K, &mut V) -> bool) {
        self.0.retain_mut(|(key, value)| wanted(key, value));
        self.give_back();
    }

    /// The room of many members that were there once is not kept for few.
    // Code for each kind of map, but not for each way to remove something from it.
    #[inline(never)]
    fn give_back(&mut self) {
        if self.0.capacity() > ROOM_KEPT && self.0.len() < self.0.capacity() / 4 {
            self.0.shrink_to(self.0.len() * 2);
        }
    }
}

impl<K: Ord, V> Sorted<K, V> {
    /// The value of `key`.
    pub fn get<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &self.0[place].1)
    }

    /// The value of `key`, to be changed.
    pub fn get_mut<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<&mut V>
    where
        K: Borrow<Q>,
    {
        self.place(key).ok().map(|place| &mut self.0[place].1)
    }

    /// Whether there is a value of `key`.
    pub fn contains_key<Q: Ord + ?Sized>(&self, key: &Q) -> bool
    where
        K: Borrow<Q>,
    {
        self.place(key).is_ok()
    }

    /// Puts `value` in the place of the one that `key` had before, which is returned.
    pub fn insert(&mut self, key: K, value: V) -> Option<V> {
        match self.place(&key) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (key, value));
                None
            }
        }
    }

    /// Takes `key` and its value out.
    pub fn remove<Q: Ord + ?Sized>(&mut self, key: &Q) -> Option<V>
    where
        K: Borrow<Q>,
    {
        let removed = self.0.remove(self.place(key).ok()?).1;
        self.give_back();
        Some(removed)
    }

    /// The value of `key`, which is made if there is none.
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

    /// Where `key` is, or would be. What comes after all others is found at once.
    fn place<Q: Ord + ?Sized>(&self, key: &Q) -> Result<usize, usize>
    where
        K: Borrow<Q>,
    {
        match self.0.last() {
            Some((last, _)) if last.borrow() < key => Err(self.0.len()),
            _ => self.0.binary_search_by(|(other, _)| other.borrow().cmp(key)),
        }
    }
}

impl<K, V> Default for Sorted<K, V> {
    fn default() -> Self {
        Sorted(Vec::new())
    }
}

/// The last of those with the same key counts.
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
