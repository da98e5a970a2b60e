//! systemd's rules for OEM strings, implemented again from systemd's sources and without the project's own code. The
//! fuzz targets use these rules too.

/// Decodes base64 by the rules of systemd's `unbase64mem_full()`, bit by bit. Tests compare the project's decoder
/// with this decoder on any text.
pub fn unbase64(text: &[u8]) -> Option<Vec<u8>> {
    let mut rest = text.iter().filter(|b| !b" \t\n\r".contains(b));
    let mut bytes = Vec::new();
    loop {
        let group: Vec<u8> = rest.by_ref().take(4).copied().collect();
        if group.is_empty() {
            return Some(bytes);
        }
        let data: Vec<u32> = group
            .iter()
            .map_while(|b| match b {
                b'A'..=b'Z' => Some(u32::from(b - b'A')),
                b'a'..=b'z' => Some(u32::from(b - b'a') + 26),
                b'0'..=b'9' => Some(u32::from(b - b'0') + 52),
                b'+' | b'-' => Some(62),
                b'/' | b'_' => Some(63),
                _ => None,
            })
            .collect();
        if group.len() < 4 || data.len() < 2 || group[data.len()..].iter().any(|&b| b != b'=') {
            return None;
        }
        let bits = data.iter().fold(0, |bits, d| bits << 6 | d) << (6 * (4 - data.len()));
        let [_, whole @ ..] = bits.to_be_bytes();
        let keep = data.len() - 1;
        if whole[keep..].iter().any(|&b| b != 0) {
            return None;
        }
        bytes.extend_from_slice(&whole[..keep]);
        if data.len() < 4 {
            return rest.next().is_none().then_some(bytes);
        }
    }
}

/// Returns name and value of the credential that systemd imports from an OEM string, by the rules of
/// `parse_smbios_strings()` and `credential_name_valid()`. A string ends at its first NUL byte.
pub fn import(string: &[u8]) -> Option<(&[u8], Vec<u8>)> {
    let string = string.split(|&b| b == 0).next().unwrap_or_default();
    let rest = string.strip_prefix(b"io.systemd.credential")?;
    let (binary, rest) = match rest.strip_prefix(b".binary:") {
        Some(rest) => (true, rest),
        None => (false, rest.strip_prefix(b":")?),
    };
    let equals = rest.iter().position(|&b| b == b'=')?;
    let (name, text) = (&rest[..equals], &rest[equals + 1..]);
    // The rules of systemd's filename_is_valid() and fdname_is_valid().
    let is_file_name = !name.is_empty() && name.len() <= 255 && name != b"." && name != b"..";
    if !is_file_name || name.iter().any(|&b| !(b' '..127).contains(&b) || b == b':' || b == b'/') {
        return None;
    }
    let value = if binary { unbase64(text)? } else { text.to_vec() };
    (value.len() <= 1024 * 1024).then_some((name, value))
}
