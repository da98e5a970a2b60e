//! Searches a program's executable file for words that show which kind of program it is. Executes nothing.
//!
//! If a program parses an option, its executable file (ELF) contains the option's name. The file of a program that only
//! executes another program, such as env(1) or a compiled wrapper, does not contain the name.
//!
//! The launcher (the process that starts a program) searches this program's file, and sends the result to the tracer.
//! The tracer searches the files of all programs that are executed after the first program. For the first program's
//! file, the tracer uses the launcher's result, unless the file may have changed since the launcher's search (see
//! `Stamp`).

use std::fs::{File, Metadata};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use memchr::memmem::Finder;
use nix::time::ClockId;

use crate::host::hypervisor::{Features, Hypervisor};

use super::program::Executable;

/// Number of bytes of an executable file that are read at a time. For small programs, a larger buffer would cost more
/// time than it saves.
const CHUNK: usize = 65_536;

/// Minimum length in bytes of a beginning that several words share. The search looks for the shared beginning instead
/// of each word. A shorter beginning would be found too often in places where the file contains none of the words.
const BEGINNING_MIN: usize = 8;

/// Minimum age in seconds of a file's last change, if the file has a [`Stamp`]. If the last change is at least this
/// old, the next change certainly gets a different time. File systems may round times to two seconds, and kernels to
/// ten milliseconds.
const SETTLED: i64 = 3;

/// Identifies one version of a file: after a change, the file has a different stamp. A file that was changed less than
/// three seconds ago has no stamp.
///
/// Each change of the file's content sets the inode's time of change (`ctime`) to the current time, and no program can
/// set it to another time. A write through a shared memory mapping may leave the time unchanged. Only a program that
/// may write to the file can have such a mapping. Such a program could also write the searched word to the file.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Stamp {
    /// Device, inode, size in bytes, and seconds and nanoseconds of the last change of the content and of the inode.
    numbers: [i64; 7],
}

impl Stamp {
    /// Number of bytes that [`Stamp::to_bytes`] returns.
    pub(super) const SIZE: usize = 7 * size_of::<i64>();

    fn of(file: &Metadata) -> Option<Self> {
        let (modified, changed) = (file.mtime(), file.ctime());
        // If the clock cannot be read, every file counts as just changed, so no file has a stamp. In this case,
        // `SystemTime::now()` would panic.
        let settled = ClockId::CLOCK_REALTIME.now().ok()?.tv_sec().checked_sub(SETTLED)?;
        if changed >= settled || modified >= settled {
            return None;
        }
        let [device, inode, size] = [file.dev(), file.ino(), file.size()].map(u64::cast_signed);
        let numbers = [device, inode, size, modified, file.mtime_nsec(), changed, file.ctime_nsec()];
        Some(Self { numbers })
    }

    /// Returns the stamp as bytes. The launcher sends them to the tracer.
    pub(super) fn to_bytes(self) -> [u8; Self::SIZE] {
        let mut bytes = [0; Self::SIZE];
        for (to, number) in bytes.as_chunks_mut::<8>().0.iter_mut().zip(self.numbers) {
            *to = number.to_ne_bytes();
        }
        bytes
    }

    /// Returns the stamp from the bytes that [`Stamp::to_bytes`] returned.
    pub(super) fn from_bytes(bytes: [u8; Self::SIZE]) -> Self {
        let mut numbers = [0; 7];
        for (to, bytes) in numbers.iter_mut().zip(bytes.as_chunks::<8>().0) {
            *to = i64::from_ne_bytes(*bytes);
        }
        Self { numbers }
    }
}

/// The result of searching a file for one word. The result applies only while the file has the stamp in `file`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Answer {
    /// The file's stamp.
    pub(super) file: Stamp,
    /// Whether the file contains the word.
    pub(super) has: bool,
}

/// The result of the last search by [`features`] in this process.
struct Search {
    file: Stamp,
    words: &'static [&'static str],
    found: Vec<&'static str>,
}

/// The last search by [`features`]. It is stored in a static variable, because the steps between the search and the
/// start of the program do not use its result.
static LAST: Mutex<Option<Search>> = Mutex::new(None);

/// Searches a program's executable file for the words that decide how the hypervisor is started. Returns those words
/// that the file contains. Returns none of them if the program is not an ELF program for this machine's architecture.
#[must_use]
pub fn features(hypervisor: &dyn Hypervisor, program: &Path) -> Features {
    let questions = hypervisor.questions();
    if questions.is_empty() {
        return Features::default();
    }
    let searched = File::open(program).and_then(|mut file| {
        let before = Stamp::of(&file.metadata()?);
        let found = words(&mut file, questions)?;
        let after = Stamp::of(&file.metadata()?);
        Ok((found, before.filter(|_| before == after)))
    });
    let Ok((found, stamp)) = searched else { return Features::default() };
    let search = stamp.map(|file| Search { file, words: questions, found: found.clone() });
    *LAST.lock().unwrap_or_else(PoisonError::into_inner) = search;
    Features(found)
}

/// Returns whether the file that [`features`] searched last contains this word, together with the file's stamp. Returns
/// `None` if the file has no stamp, or if [`features`] did not search for this word.
pub(super) fn answer(word: &str) -> Option<Answer> {
    let last = LAST.lock().unwrap_or_else(PoisonError::into_inner);
    let Search { file, words, found } = last.as_ref()?;
    words.contains(&word).then(|| Answer { file: *file, has: found.contains(&word) })
}

/// Whether a program's executable file contains this word. Returns `false` if the program is not an ELF program for
/// this machine's architecture. `known` is the result of an earlier search. If the stamp of `known` shows that the
/// earlier search read the same version of the same file, the file is not searched again.
pub(super) fn has(program: &Path, word: &str, known: Option<Answer>) -> io::Result<bool> {
    let mut file = File::open(program)?;
    if let Some(Answer { file: stamp, has }) = known
        && Stamp::of(&file.metadata()?) == Some(stamp)
    {
        return Ok(has);
    }
    words(&mut file, &[word]).map(|found| !found.is_empty())
}

/// Returns those of `words` that the file contains. Returns none of them if the file is not an ELF program for this
/// machine's architecture.
fn words<'a>(file: &mut File, words: &[&'a str]) -> io::Result<Vec<&'a str>> {
    let longest = words.iter().map(|word| word.len()).max().unwrap_or_default();
    let mut families = Family::of(words);
    let (mut found, mut window) = (Vec::new(), Vec::with_capacity(CHUNK + longest));
    let mut is_first = true;
    while !families.is_empty() {
        // A word may begin in one chunk and end in the next chunk, so the window keeps the end of the previous chunk.
        window.drain(..window.len().saturating_sub(longest));
        if file.take(CHUNK as u64).read_to_end(&mut window)? == 0 {
            break;
        }
        if std::mem::take(&mut is_first) && Executable::of(&window) != Executable::Native {
            break;
        }
        families.retain_mut(|family| family.search(&window, &mut found));
    }
    Ok(found)
}

/// Words that begin with the same bytes. The search looks for this common beginning instead of each word.
struct Family<'a> {
    beginning: Finder<'a>,
    left: Vec<&'a str>,
}

impl<'a> Family<'a> {
    /// Groups the words by their common beginnings.
    fn of(words: &[&'a str]) -> Vec<Self> {
        let mut families: Vec<(&str, Vec<&str>)> = Vec::new();
        for &word in words {
            let common = |other: &str| {
                let same = word.bytes().zip(other.bytes()).take_while(|(one, other)| one == other).count();
                word.get(..same).filter(|same| same.len() >= BEGINNING_MIN)
            };
            match families.iter_mut().find_map(|family| Some((common(family.0)?, family))) {
                Some((same, (beginning, family))) => {
                    *beginning = same;
                    family.push(word);
                }
                None => families.push((word, vec![word])),
            }
        }
        families
            .into_iter()
            .map(|(beginning, left)| Self { beginning: Finder::new(beginning), left })
            .collect()
    }

    /// Moves the words that these bytes contain from `left` to `found`. Returns whether `left` still contains words.
    fn search(&mut self, bytes: &[u8], found: &mut Vec<&'a str>) -> bool {
        for at in self.beginning.find_iter(bytes) {
            let rest = bytes.get(at..).unwrap_or_default();
            let (here, left) = self.left.iter().partition(|word| rest.starts_with(word.as_bytes()));
            self.left = left;
            found.extend::<Vec<&str>>(here);
        }
        !self.left.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(path: &Path, asked: &[&'static str]) -> Vec<&'static str> {
        words(&mut File::open(path).unwrap(), asked).unwrap()
    }

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
            assert_eq!(found(&path, &["oem_strings", "absent"]), ["oem_strings"], "{at}");
            bytes.pop();
            std::fs::write(&path, &bytes).unwrap();
            assert!(found(&path, &["oem_strings"]).is_empty(), "{at}");
        }
        // Three of these words share a beginning. No word may be found in a place where the file contains only another
        // word.
        for at in [CHUNK - 12, CHUNK - 5, CHUNK + 2] {
            let words = ["oem_strings", "oem_string_paths", "SMBIOS", "oem_string_none"];
            for (text, expected) in [
                ("oem_string_paths oem_strings", vec![words[1], words[0]]),
                ("oem_strings SMBIOS", vec![words[0], words[2]]),
                ("oem_string_path oem_string", vec![]),
            ] {
                let mut bytes = own.clone();
                bytes.resize(at, 0);
                bytes.extend_from_slice(text.as_bytes());
                std::fs::write(&path, &bytes).unwrap();
                let mut found = found(&path, &words);
                found.sort_unstable_by_key(|word| expected.iter().position(|other| other == word));
                assert_eq!(found, expected, "{at}");
            }
        }
        std::fs::write(&path, "#!/bin/sh\noem_strings").unwrap();
        assert!(found(&path, &["oem_strings"]).is_empty());
    }

    #[test]
    fn answer_counts_for_the_same_unchanged_file_only() {
        let old = Path::new("/bin/true");
        let stamp = Stamp::of(&std::fs::metadata(old).unwrap()).unwrap();
        assert_eq!(Stamp::from_bytes(stamp.to_bytes()), stamp);
        let known = Some(Answer { file: stamp, has: true });
        assert!(has(old, "oem_strings", known).unwrap());
        for at in 0..stamp.numbers.len() {
            let mut other = stamp;
            other.numbers[at] ^= 1;
            assert!(!has(old, "oem_strings", Some(Answer { file: other, has: true })).unwrap(), "{at}");
        }
        assert!(!has(Path::new("/bin/false"), "oem_strings", known).unwrap());
        // If a file was just written, its next change may get the same time as this write, so the file has no stamp.
        let new = tempfile::NamedTempFile::new().unwrap();
        assert_eq!(Stamp::of(&new.as_file().metadata().unwrap()), None);
    }
}
