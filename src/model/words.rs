//! Values by their words, as each enum lists them in its `ALL`.
//!
//! Owns: the search. Never: the words themselves.

/// Returns the value that is called `word`.
pub fn by_word<T: Copy>(all: &[(&'static str, T)], word: &str) -> Option<T> {
    all.iter().find(|(known, _)| *known == word).map(|(_, value)| *value)
}

/// Returns the words alone.
pub fn words<T>(all: &[(&'static str, T)]) -> Vec<&'static str> {
    all.iter().map(|(word, _)| *word).collect()
}
