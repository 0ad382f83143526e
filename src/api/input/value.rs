//! JSON values.
//!
//! Owns: the depth of a text, whole numbers in each of their forms, the phrase about a value of the wrong type. Never:
//! a name.

use crate::error::quoted;
use crate::json::Value;

pub fn depth(body: &[u8]) -> usize {
    enum At {
        Outside,
        Text,
        Escape,
    }
    let (mut at, mut depth, mut deepest) = (At::Outside, 0_usize, 0);
    for byte in body {
        at = match (at, byte) {
            (At::Outside, b'"') | (At::Escape, _) => At::Text,
            (At::Text, b'"') => At::Outside,
            (At::Text, b'\\') => At::Escape,
            (At::Outside, b'[' | b'{') => {
                depth += 1;
                deepest = deepest.max(depth);
                At::Outside
            }
            (At::Outside, b']' | b'}') => {
                depth = depth.saturating_sub(1);
                At::Outside
            }
            (same, _) => same,
        };
    }
    deepest
}

/// The whole number that `value` is, also when it is written as `3e3` or `3000.0`.
pub fn whole(value: &Value) -> Option<u64> {
    /// Up to here floats represent all whole numbers.
    const EXACT: f64 = 9_007_199_254_740_992.0;
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && (0.0..=EXACT).contains(&float)).then_some(float as u64)
    })
}

/// The phrase for `value` in place of `wanted`; fits after the name.
#[cold]
pub fn not_a(wanted: &str, value: &Value) -> String {
    format!("must be {wanted}, not {}", described(value))
}

/// `value`, as part of a sentence.
pub fn described(value: &Value) -> String {
    match value {
        Value::Null => "null".into(),
        Value::Bool(flag) => flag.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("the text {}", quoted(text)),
        Value::Array(_) => "a list".into(),
        Value::Object(_) => "an object".into(),
    }
}
