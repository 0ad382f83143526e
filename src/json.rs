//! JSON as values, for what has no type of its own.
//!
//! Owns: the form of a value in memory. Never: the syntax, which is `serde_json`'s, and the meaning of a member.
//!
//! `serde_json` has such a type too. Its objects are a `BTreeMap`, whose code alone is 9 KiB.

use std::fmt;
use std::io;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};
use serde_json::Number;

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum Value {
    #[default]
    Null,
    Bool(bool),
    Number(Number),
    String(String),
    Array(Vec<Value>),
    Object(Map),
}

impl Value {
    pub fn is_null(&self) -> bool {
        matches!(self, Value::Null)
    }

    pub fn as_bool(&self) -> Option<bool> {
        if let Value::Bool(flag) = self { Some(*flag) } else { None }
    }

    pub fn as_u64(&self) -> Option<u64> {
        if let Value::Number(number) = self { number.as_u64() } else { None }
    }

    pub fn as_i64(&self) -> Option<i64> {
        if let Value::Number(number) = self { number.as_i64() } else { None }
    }

    pub fn as_f64(&self) -> Option<f64> {
        if let Value::Number(number) = self { number.as_f64() } else { None }
    }

    pub fn as_str(&self) -> Option<&str> {
        if let Value::String(text) = self { Some(text) } else { None }
    }

    pub fn as_array(&self) -> Option<&[Value]> {
        if let Value::Array(list) = self { Some(list) } else { None }
    }

    pub fn as_object(&self) -> Option<&Map> {
        if let Value::Object(members) = self { Some(members) } else { None }
    }

    /// The member `name`, if this is an object that has one.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.as_object()?.get(name)
    }
}

impl From<u64> for Value {
    fn from(number: u64) -> Value {
        Value::Number(number.into())
    }
}

impl Serialize for Value {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Value::Null => serializer.serialize_unit(),
            Value::Bool(flag) => serializer.serialize_bool(*flag),
            Value::Number(number) => number.serialize(serializer),
            Value::String(text) => serializer.serialize_str(text),
            Value::Array(list) => serializer.collect_seq(list),
            Value::Object(members) => members.serialize(serializer),
        }
    }
}

/// The members of an object, sorted by name; each name is there once.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Map(Vec<(String, Value)>);

impl Map {
    pub fn new() -> Map {
        Map::default()
    }

    pub fn iter(&self) -> impl Iterator<Item = (&String, &Value)> {
        self.0.iter().map(|(name, value)| (name, value))
    }

    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    pub fn get(&self, name: &str) -> Option<&Value> {
        self.place(name).ok().map(|place| &self.0[place].1)
    }

    pub fn get_mut(&mut self, name: &str) -> Option<&mut Value> {
        self.place(name).ok().map(|place| &mut self.0[place].1)
    }

    pub fn contains_key(&self, name: &str) -> bool {
        self.place(name).is_ok()
    }

    /// Sets a member. Not for very many: each moves those behind it.
    pub fn insert(&mut self, name: String, value: Value) {
        match self.place(&name) {
            Ok(place) => self.0[place].1 = value,
            Err(place) => self.0.insert(place, (name, value)),
        }
    }

    pub fn remove(&mut self, name: &str) -> Option<Value> {
        self.place(name).ok().map(|place| self.0.remove(place).1)
    }

    #[inline(never)]
    fn place(&self, name: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(other, _)| other.as_str().cmp(name))
    }

    /// Of members with the same name the last one counts.
    #[inline(never)]
    fn of(mut members: Vec<(String, Value)>, twice: Option<&mut Vec<String>>) -> Map {
        members.sort_by(|(one, _), (other, _)| one.cmp(other));
        let mut found = Vec::new();
        members.dedup_by(|later, earlier| {
            let is_same = later.0 == earlier.0;
            if is_same {
                std::mem::swap(&mut later.1, &mut earlier.1);
                found.push(std::mem::take(&mut later.0));
            }
            is_same
        });
        if let Some(twice) = twice {
            *twice = found;
        }
        Map(members)
    }
}

impl IntoIterator for Map {
    type Item = (String, Value);
    type IntoIter = std::vec::IntoIter<(String, Value)>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl Serialize for Map {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.iter())
    }
}

/// Reads the value that is all of `text`.
///
/// # Errors
/// It is not valid JSON.
pub fn parse(text: &[u8]) -> serde_json::Result<Value> {
    read(text, None)
}

/// The same; also returns the names that the outermost object has more than once.
///
/// # Errors
/// As [`parse`].
pub fn parse_noting(text: &[u8]) -> serde_json::Result<(Value, Vec<String>)> {
    let mut twice = Vec::new();
    let value = read(text, Some(&mut twice))?;
    Ok((value, twice))
}

#[inline(never)]
fn read(text: &[u8], twice: Option<&mut Vec<String>>) -> serde_json::Result<Value> {
    let mut source = serde_json::Deserializer::from_slice(text);
    let value = ValueReader { twice }.deserialize(&mut source)?;
    source.end()?;
    Ok(value)
}

struct ValueReader<'a> {
    /// Where the names go that an object has more than once.
    twice: Option<&'a mut Vec<String>>,
}

impl<'de> DeserializeSeed<'de> for ValueReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Value, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ValueReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(Value::Number(number.into()))
    }

    fn visit_f64<E>(self, number: f64) -> Result<Value, E> {
        Ok(Number::from_f64(number).map_or(Value::Null, Value::Number))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(value) = source.next_element_seed(ValueReader { twice: None })? {
            list.push(value);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Value, A::Error> {
        let mut members = Vec::new();
        while let Some(name) = source.next_key()? {
            members.push((name, source.next_value_seed(ValueReader { twice: None })?));
        }
        Ok(Value::Object(Map::of(members, self.twice)))
    }
}

/// What can be written as JSON: not generic, so that the code around it is linked once.
pub trait ToJson {
    /// The text, on one line.
    ///
    /// # Errors
    /// Its own `Serialize` fails.
    fn to_json(&self) -> serde_json::Result<Vec<u8>>;
}

impl<T: Serialize> ToJson for T {
    fn to_json(&self) -> serde_json::Result<Vec<u8>> {
        serde_json::to_vec(self)
    }
}

/// Adds a value to `text`.
///
/// # Errors
/// As [`ToJson::to_json`].
pub fn append(text: &mut Vec<u8>, value: &dyn ToJson) -> io::Result<()> {
    text.extend_from_slice(&value.to_json().map_err(io::Error::other)?);
    Ok(())
}

/// Tests write values as `serde_json` does.
#[cfg(test)]
macro_rules! json {
    ($($tokens:tt)*) => { $crate::json::Value::from(serde_json::json!($($tokens)*)) };
}

#[cfg(test)]
pub(crate) use json;

#[cfg(test)]
mod tests;
