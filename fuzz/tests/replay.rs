//! Calls the fuzz targets on stable Rust, without libFuzzer, with every file of the committed corpus and with changed
//! copies of these files.

use std::fs;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use smbios_creds_fuzz::{TARGETS, Target};

/// Number of changed copies of corpus files that each fuzz target gets. A fixed number, and not a fixed time, makes
/// every run do the same.
const CHANGED: u64 = 20_000;

/// Size of the largest input in bytes, as in `fuzz/run`.
const SIZE_MAX: usize = 4096;

fn corpus(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus").join(target);
    let file = |entry: std::io::Result<fs::DirEntry>| {
        let path = entry.unwrap().path();
        (path.display().to_string(), fs::read(path).unwrap())
    };
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(file).collect();
    files.sort();
    assert!(files.len() >= 5, "{target}: the corpus is incomplete");
    files
}

/// Calls a target with an input. If the target panics, fails with a message that shows the input.
fn call(target: Target, input: &[u8], what: &str) {
    let passed = catch_unwind(AssertUnwindSafe(|| target(input))).is_ok();
    assert!(passed, "{what}: the target panics with the input \"{}\"", input.escape_ascii());
}

#[test]
fn every_file_of_the_corpus_passes_its_target() {
    for (name, target) in TARGETS {
        for (file, input) in corpus(name) {
            call(target, &input, &file);
        }
        call(target, b"", name);
    }
}

#[test]
fn changed_copies_of_the_corpus_pass_their_target() {
    for (name, target) in TARGETS {
        let corpus = corpus(name);
        let mut random = Random(0x5eed);
        for count in 0..CHANGED {
            let input = random.changed(&corpus);
            call(target, &input, &format!("{name}, changed copy {count}"));
        }
    }
}

/// Every target has a program and a corpus, and no program and no corpus is without a target.
#[test]
fn targets_programs_and_corpora_are_the_same() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let names = |folder: &str| {
        let name = |entry: std::io::Result<fs::DirEntry>| {
            entry.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned()
        };
        let mut names: Vec<_> = fs::read_dir(root.join(folder)).unwrap().map(name).collect();
        names.sort();
        names
    };
    let mut targets: Vec<_> = TARGETS.iter().map(|(name, _)| (*name).to_owned()).collect();
    targets.sort();
    assert_eq!(names("fuzz_targets"), targets);
    assert_eq!(names("corpus"), targets);
}

/// The generator `SplitMix64` (Steele, Lea and Flood, 2014).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut word = self.0;
        word = (word ^ (word >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        word = (word ^ (word >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from((word ^ (word >> 31)) % end).unwrap()
    }

    fn range(&mut self, bytes: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(bytes.len() + 1);
        start..start + self.below((bytes.len() - start).min(64) + 1)
    }

    /// Returns a copy of a corpus file, changed in one to eight places.
    fn changed(&mut self, corpus: &[(String, Vec<u8>)]) -> Vec<u8> {
        let mut input = corpus[self.below(corpus.len())].1.clone();
        for _ in 0..=self.below(8) {
            let at = self.below(input.len() + 1);
            match self.below(6) {
                // Flip a bit, or replace a byte.
                0 if at < input.len() => input[at] ^= 1 << self.below(8),
                1 if at < input.len() => input[at] = b"\0\x01\x7f\xff,=[]\"':@ "[self.below(13)],
                // Remove a part, insert a copy of a part, or insert a part of another file.
                2 => drop(input.drain(self.range(&input))),
                3 => {
                    let part = input[self.range(&input)].to_vec();
                    input.splice(at..at, part);
                }
                4 => {
                    let other = &corpus[self.below(corpus.len())].1;
                    let part = other[self.range(other)].to_vec();
                    input.splice(at..at, part);
                }
                _ => input.truncate(at),
            }
        }
        input.truncate(SIZE_MAX);
        input
    }
}
