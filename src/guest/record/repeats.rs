//! The second search of a redaction: finds and replaces text that the first search replaced in one place, but that is
//! repeated in the parts of the table that the copy keeps.

use std::collections::BinaryHeap;
use std::ops::Range;

/// Filler that replaces a byte of text, in the first search and in this second search.
pub(super) const FILLER: u8 = b'x';

/// Filler for a credential whose name was sent before with another value of equal length: after redaction, the two
/// values must still differ.
pub(super) const OTHER_FILLER: u8 = b'y';

/// Length in bytes of the shortest text that the second search looks for. A shorter text, such as `0` or `1.0`, reveals
/// nothing, and would be found in every version string.
const SEARCHED_MIN: usize = 4;

/// Replaces each byte in the `kept` parts of `data` that belongs to a text in `hidden`.
pub(super) fn replace<'a>(
    data: &mut [u8],
    kept: &[Range<usize>],
    hidden: impl IntoIterator<Item = &'a [u8]>,
) {
    let texts = hidden.into_iter().map(<[u8]>::trim_ascii).filter(|text| text.len() >= SEARCHED_MIN);
    let mut hidden: Vec<&[u8]> = texts.collect::<BinaryHeap<_>>().into_sorted_vec();
    hidden.dedup();
    for range in kept {
        let mut text = data.get_mut(range.clone()).unwrap_or_default();
        let mut end = 0;
        // A byte is replaced after the search at its position, so no later search reads this byte.
        while !text.is_empty() {
            end = longest_at_start(&hidden, text).max(end);
            let Some((first, rest)) = text.split_first_mut() else { break };
            if end > 0 {
                *first = FILLER;
            }
            end = end.saturating_sub(1);
            text = rest;
        }
    }
}

/// Returns the length of the longest of the sorted texts with which `text` starts, or 0.
fn longest_at_start(sorted: &[&[u8]], text: &[u8]) -> usize {
    let mut text = text;
    loop {
        // The candidate is the last text in the sorted list that is not greater than `text`. Every text with which
        // `text` starts is the candidate, or stands before it in the list. Every such text is also the start of the
        // part that the candidate and `text` have in common.
        let last = sorted.partition_point(|candidate| *candidate <= text).checked_sub(1);
        let Some(candidate) = last.and_then(|last| sorted.get(last)) else { return 0 };
        let common = candidate.iter().zip(text).take_while(|(a, b)| a == b).count();
        if common == candidate.len() {
            return common;
        }
        text = text.get(..common).unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::replace;

    fn replaced(text: &str, hidden: &[&str]) -> String {
        let mut data = text.as_bytes().to_vec();
        let end = data.len();
        let everything = 0..end;
        replace(&mut data, std::slice::from_ref(&everything), hidden.iter().map(|text| text.as_bytes()));
        String::from_utf8(data).unwrap()
    }

    #[test]
    fn every_repeat_is_replaced_and_nothing_else() {
        let of = |hidden: &[&str]| replaced("a SERIAL-17 and SERIAL", hidden);
        assert_eq!(of(&["SERIAL"]), "a xxxxxx-17 and xxxxxx");
        assert_eq!(of(&["SERIAL", "SERIAL-17"]), "a xxxxxxxxx and xxxxxx");
        assert_eq!(of(&["SERIAL-1799", "SERIAL-", "SERI"]), "a xxxxxxx17 and xxxxAL");
        assert_eq!(of(&["SERIAL-17", "17 and"]), "a xxxxxxxxxxxxx SERIAL");
        assert_eq!(of(&["  SERIAL  "]), "a xxxxxx-17 and xxxxxx");
        assert_eq!(of(&["17", "and", "", "zzzz", "AAAA", "SERIAL+"]), "a SERIAL-17 and SERIAL");
    }

    #[test]
    fn overlapping_repeats_are_replaced_as_a_whole() {
        assert_eq!(replaced("abababab-", &["abab"]), "xxxxxxxx-");
        assert_eq!(replaced("-abcdefgh-", &["abcde", "defgh"]), "-xxxxxxxx-");
    }
}
