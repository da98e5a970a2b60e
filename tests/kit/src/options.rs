//! Second implementations of the hypervisors' option parsers, written from measurements and without the project's own
//! code. The fuzz targets use these parsers too.

/// Returns the number of the rendered file that a path stands for.
pub fn file_number(path: &str) -> usize {
    path.strip_prefix("/proc/self/fd/").unwrap().parse().unwrap()
}

/// Reads `-smbios` options as QEMU's option parser does, by `hw/smbios/smbios.c`, `util/qemu-option.c` and
/// measurements.
pub fn qemu_smbios(arguments: &[String]) -> Vec<Vec<(String, String)>> {
    let mut options = Vec::new();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        if argument != "-smbios" && argument != "--smbios" {
            continue;
        }
        let mut pairs = vec![(String::new(), String::new())];
        let mut in_value = false;
        // `name` without a value is `name=on`, and `noname` is `name=off`.
        let flag = |(name, value): &mut (String, String)| {
            *value = "on".into();
            if let Some(rest) = name.strip_prefix("no") {
                (*name, *value) = (rest.into(), "off".into());
            }
        };
        let mut characters = rest.next().unwrap().chars().peekable();
        while let Some(character) = characters.next() {
            let pair = pairs.last_mut().unwrap();
            match (in_value, character) {
                (false, '=') => in_value = true,
                (true, ',') if characters.next_if_eq(&',').is_some() => pair.1.push(','),
                (_, ',') => {
                    if !in_value {
                        flag(pair);
                    }
                    in_value = false;
                    pairs.push((String::new(), String::new()));
                }
                (false, _) => pair.0.push(character),
                (true, _) => pair.1.push(character),
            }
        }
        // A comma at the end begins no further pair.
        match pairs.last_mut() {
            Some((name, _)) if !in_value && name.is_empty() => drop(pairs.pop()),
            Some(pair) if !in_value => flag(pair),
            _ => {}
        }
        options.push(pairs);
    }
    options
}

/// Splits a text as cloud-hypervisor does: at commas outside of quotes and brackets. v48 and newer keep the quotes.
fn ch_split(text: &str, keep_quotes: bool) -> Option<Vec<String>> {
    let (mut depth, mut quoted, mut elements) = (0, false, vec![String::new()]);
    for character in text.trim().chars() {
        let current = elements.last_mut().unwrap();
        match character {
            '"' => {
                quoted = !quoted;
                if keep_quotes {
                    current.push(character);
                }
                continue;
            }
            '[' => depth += 1,
            ']' => depth -= 1,
            ',' if depth == 0 && !quoted => {
                elements.push(String::new());
                continue;
            }
            _ => {}
        }
        if depth < 0 {
            return None;
        }
        elements.last_mut().unwrap().push(character);
    }
    (depth == 0 && !quoted).then_some(elements)
}

/// Returns key and text of every option in the value of `--platform`, as cloud-hypervisor v26 to v47 (`new: false`)
/// or v48 to v53 reads them. An option without `=` is a key with an empty text.
pub fn ch_options(platform: &str, new: bool) -> Option<Vec<(String, String)>> {
    if platform.trim().is_empty() {
        return Some(Vec::new());
    }
    let pair = |option: String| {
        let (key, text) = option.split_once('=').unwrap_or((&option, ""));
        (key.to_owned(), text.trim().to_owned())
    };
    Some(ch_split(platform, new)?.into_iter().map(pair).collect())
}

/// Returns a list in the value of `--platform`, as cloud-hypervisor v26 to v47 (`new: false`) or v48 to v53 reads it.
pub fn ch_list(platform: &str, key: &str, new: bool) -> Option<Vec<String>> {
    let mut options = ch_options(platform, new)?.into_iter();
    let value = options.rfind(|(found, _)| found == key).map(|(_, text)| text);
    let Some(value) = value.filter(|value| !value.is_empty()) else { return Some(Vec::new()) };
    let inside = value.trim_matches(['[', ']']);
    if new { ch_split(inside, true) } else { Some(inside.split(',').map(str::to_owned).collect()) }
}

/// Reads a list of strings as crosvm does (`serde_keyvalue`): quoted by `"` with escapes, by `'` without, or bare.
pub fn crosvm_list(text: &str) -> Option<Vec<String>> {
    let mut rest = text.strip_prefix('[')?;
    let mut strings = Vec::new();
    loop {
        let mut string = String::new();
        if let Some(quoted) = rest.strip_prefix('"') {
            let mut characters = quoted.char_indices();
            loop {
                match characters.next()? {
                    (at, '"') => {
                        rest = &quoted[at + 1..];
                        break;
                    }
                    (_, '\\') => {
                        string.push(characters.next().map(|(_, c)| c).filter(|c| "\\\"".contains(*c))?);
                    }
                    (_, character) => string.push(character),
                }
            }
        } else if let Some(quoted) = rest.strip_prefix('\'') {
            let (inside, behind) = quoted.split_once('\'')?;
            string.push_str(inside);
            rest = behind;
        } else {
            let end = rest.find([',', ']', '[', '"', '\''])?;
            string.push_str(&rest[..end]);
            rest = &rest[end..];
            if string.is_empty() {
                return None;
            }
        }
        strings.push(string);
        match rest.strip_prefix(',') {
            Some(behind) => rest = behind,
            None => return (rest == "]").then_some(strings),
        }
    }
}
