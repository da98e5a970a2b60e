//! Searches a program's file for words that show which kind of program it is. Executes nothing.
//!
//! The ELF image of a program that parses an option contains the option's name. The image of a program that only
//! executes another one, such as env(1) or a compiled wrapper, does not.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use memchr::memmem;

use crate::host::hypervisor::{Features, Hypervisor};

use super::program::{Executable, executable};

/// Bytes that are read at a time. A larger buffer would cost more than it saves for small programs.
const CHUNK: usize = 65_536;

/// Returns the words in a program's image that decide how a hypervisor is started. Returns no words if the program is
/// not a native ELF program.
#[must_use]
pub fn features(hypervisor: &dyn Hypervisor, program: &Path) -> Features {
    let questions = hypervisor.questions();
    if questions.is_empty() {
        return Features::default();
    }
    Features(words(program, questions).unwrap_or_default())
}

/// Whether the file of a native ELF program contains this word.
pub(super) fn has(program: &Path, word: &str) -> io::Result<bool> {
    words(program, &[word]).map(|found| !found.is_empty())
}

/// Returns those of `words` that the image of a native ELF program contains.
fn words<'a>(program: &Path, words: &[&'a str]) -> io::Result<Vec<&'a str>> {
    if executable(program)? != Executable::Native {
        return Ok(Vec::new());
    }
    let longest = words.iter().map(|word| word.len()).max().unwrap_or_default();
    let mut file = File::open(program)?;
    let (mut found, mut window) = (Vec::new(), Vec::with_capacity(CHUNK + longest));
    while found.len() < words.len() {
        // A word may begin in one chunk and end in the next one.
        window.drain(..window.len().saturating_sub(longest));
        if file.by_ref().take(CHUNK as u64).read_to_end(&mut window)? == 0 {
            break;
        }
        for word in words {
            if !found.contains(word) && memmem::find(&window, word.as_bytes()).is_some() {
                found.push(*word);
            }
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn word_across_two_chunks_is_found_in_native_programs_only() {
        let own = std::fs::read("/bin/true").unwrap();
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("program");
        for at in [CHUNK - 9, CHUNK - 5, CHUNK, CHUNK + 1, 2 * CHUNK - 3] {
            let mut bytes = own.clone();
            bytes.resize(at, 0);
            bytes.extend_from_slice(b"oem_strings");
            std::fs::write(&path, &bytes).unwrap();
            assert_eq!(words(&path, &["oem_strings", "absent"]).unwrap(), ["oem_strings"], "{at}");
            bytes.pop();
            std::fs::write(&path, &bytes).unwrap();
            assert!(words(&path, &["oem_strings"]).unwrap().is_empty(), "{at}");
        }
        std::fs::write(&path, "#!/bin/sh\noem_strings").unwrap();
        assert!(words(&path, &["oem_strings"]).unwrap().is_empty());
    }
}
