//! Suggestions for mistyped names.
//!
//! Owns: the search for the nearest known name. Never: the sentence around it.

/// Returns the candidate nearest to `word`, if at most a third of the letters of the shorter one differ. A swapped pair
/// counts once; case and the difference between `_` and `-` do not count.
pub fn nearest<'a>(word: &str, candidates: &[&'a str]) -> Option<&'a str> {
    let word = plain(word);
    candidates
        .iter()
        .map(|candidate| (distance(&word, &plain(candidate)), *candidate))
        .filter(|(distance, candidate)| {
            let length = candidate.chars().count().min(word.len());
            *distance < length && *distance <= length.max(3) / 3
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// The longest word that is compared, in characters. No option is that long.
const LENGTH_MAX: usize = 64;

fn plain(word: &str) -> Vec<char> {
    word.chars().take(LENGTH_MAX).map(|letter| if letter == '_' { '-' } else { letter.to_ascii_lowercase() }).collect()
}

/// The optimal string alignment distance: insertions, deletions, substitutions and swaps of neighbours.
fn distance(a: &[char], b: &[char]) -> usize {
    let mut before: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for (i, &from) in a.iter().enumerate() {
        let mut row = vec![i + 1];
        for (j, &to) in b.iter().enumerate() {
            let mut best = (last[j] + usize::from(from != to)).min(last[j + 1] + 1).min(row[j] + 1);
            if i > 0 && j > 0 && from == b[j - 1] && a[i - 1] == to {
                best = best.min(before[j - 1] + 1);
            }
            row.push(best);
        }
        before = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: [&str; 5] = ["restart_policy", "restart_delay_ms", "port", "path", "slug"];

    #[test]
    fn a_slip_finds_its_word() {
        for (slip, word) in [
            ("restart-policy", "restart_policy"),
            ("restartpolicy", "restart_policy"),
            ("prot", "port"),
            ("Path", "path"),
        ] {
            assert_eq!(nearest(slip, &WORDS), Some(word), "{slip}");
        }
    }

    #[test]
    fn something_else_finds_nothing() {
        for word in ["", "x", "description", &"p".repeat(10_000)] {
            assert_eq!(nearest(word, &WORDS), None, "{word}");
        }
    }

    #[test]
    fn distances() {
        for (a, b, expected) in
            [("", "", 0), ("abc", "", 3), ("abc", "abc", 0), ("abcd", "acbd", 1), ("kitten", "sitting", 3)]
        {
            assert_eq!(distance(&plain(a), &plain(b)), expected, "{a} {b}");
        }
    }
}
