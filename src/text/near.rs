//! Finds the name that a user probably meant when the user mistyped a name.

/// Maximum number of edits between the typed name and the name that the user may have meant.
const EDITS_MAX: usize = 2;

/// Number of bytes that the typed name must have for each allowed edit. If fewer bytes were enough, all short names
/// would be near each other.
const BYTES_PER_EDIT: usize = 3;

/// Returns the name that differs from `typed` by the fewest edits. If several names differ by equally few edits,
/// returns the first of these names. Returns `None` if every name differs by too many edits. An edit adds, removes or
/// replaces a byte, or swaps two neighboring bytes. Upper-case and lower-case letters count as equal.
///
/// ```
/// use smbios_creds::text::near::nearest;
/// assert_eq!(nearest("db-pasword", ["tls-key", "db-password"]), Some("db-password"));
/// assert_eq!(nearest("a", ["b", "c"]), None);
/// ```
#[must_use]
pub fn nearest<'a>(
    typed: &str,
    names: impl IntoIterator<Item = &'a str, IntoIter: Clone>,
) -> Option<&'a str> {
    let names = names.into_iter();
    (0..=EDITS_MAX.min(typed.len() / BYTES_PER_EDIT))
        .find_map(|edits| names.clone().find(|name| is_within(edits, typed.as_bytes(), name.as_bytes())))
}

/// Whether at most `edits` edits turn `this` into `that`. Each edit is tried only at the first byte in which the two
/// names differ. So the time grows with the length of the names, and not with the square of the length: a table may
/// contain thousands of names.
fn is_within(edits: usize, this: &[u8], that: &[u8]) -> bool {
    if this.len().abs_diff(that.len()) > edits {
        return false;
    }
    let same = this.iter().zip(that).take_while(|(a, b)| a.eq_ignore_ascii_case(b)).count();
    let (this, that) = (this.get(same..).unwrap_or_default(), that.get(same..).unwrap_or_default());
    let ([a, after_a @ ..], [b, after_b @ ..]) = (this, that) else {
        // All bytes of one name were compared. At most `edits` bytes of the other name are left, so `edits` edits are
        // enough.
        return true;
    };
    let Some(left) = edits.checked_sub(1) else { return false };
    let is_swapped = || match (after_a, after_b) {
        ([c, after_a @ ..], [d, after_b @ ..]) => {
            a.eq_ignore_ascii_case(d) && b.eq_ignore_ascii_case(c) && is_within(left, after_a, after_b)
        }
        _ => false,
    };
    is_within(left, after_a, after_b)
        || is_within(left, after_a, that)
        || is_within(left, this, after_b)
        || is_swapped()
}
