//! Values by their names, as each enum lists them in its `ALL`.
//!
//! Owns: the search. Never: the names themselves.

/// Returns the value with this `name`.
pub fn by_name<T: Copy>(all: &[(&'static str, T)], name: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
}

/// Returns the names alone.
pub fn names<T>(all: &[(&'static str, T)]) -> Vec<&'static str> {
    all.iter().map(|(name, _)| *name).collect()
}
