//! The messages between the launcher and its tracer, over a socket that no other process can open.
//!
//! ```text
//!  tracer -> launcher   the tracer's PID (4 bytes)            the tracer is protected
//!  launcher -> tracer   a request                             contains the secret values
//!  tracer -> launcher   1 byte                                the tracer has all values
//!  launcher -> tracer   1 byte                                attach now
//!  tracer -> launcher   0 or an errno (4 bytes)               attached, or the error of attaching
//!  launcher -> tracer   1 byte                                detach: the program was not executed
//! ```
//!
//! Launcher and tracer are processes of the same program, so numbers are in the machine's own byte order.

use std::ffi::OsStr;
use std::io::{Error, ErrorKind, Read, Result, Write};
use std::os::unix::ffi::OsStrExt as _;

use zeroize::Zeroizing;

use super::files::InFiles;
use super::stack::Replacement;
use crate::host::hypervisor::Part;
use crate::host::launch::image::{Answer, Stamp};

/// The message of one byte that tells the receiver to continue.
pub(super) const GO: [u8; 1] = [b'+'];

/// Maximum length in bytes of a text in a message, and maximum number of items in a list. No kernel accepts an argument
/// of this length, so the launcher never sends a longer text or a longer list.
const LENGTH_MAX: usize = 64 * 1_048_576;

/// The launcher's request to the tracer.
pub(super) struct Request {
    /// The PID of the launcher.
    pub(super) launcher: u32,
    /// A word that the hypervisor's executable file contains, such as `oem_strings`. A wrapper's file does not contain
    /// this word.
    pub(super) word: String,
    /// Whether the executable file of the program that the launcher starts contains [`Self::word`]. `None` if the
    /// launcher did not search the file, or if the result may be out of date.
    pub(super) known: Option<Answer>,
    /// The arguments whose text is secret.
    pub(super) replacements: Vec<Replacement>,
    /// The arguments with the paths of files that only the hypervisor has.
    pub(super) files: Vec<InFiles>,
}

/// Marks in a message whether the result of a search for [`Request::word`] is known, and what it is.
const UNKNOWN: [u8; 1] = [b'?'];
const HAS_WORD: [u8; 1] = [b'y'];
const HAS_NO_WORD: [u8; 1] = [b'n'];

/// Marks in a message whether a part of an argument is text or the content of a file.
const TEXT: [u8; 1] = [b't'];
const FILE: [u8; 1] = [b'f'];

impl Request {
    pub(super) fn write(&self, out: &mut impl Write) -> Result<()> {
        out.write_all(&self.launcher.to_ne_bytes())?;
        write_bytes(out, self.word.as_bytes())?;
        match self.known {
            None => out.write_all(&UNKNOWN)?,
            Some(Answer { file, has }) => {
                out.write_all(if has { &HAS_WORD } else { &HAS_NO_WORD })?;
                out.write_all(&file.to_bytes())?;
            }
        }
        write_length(out, self.replacements.len())?;
        for Replacement { placeholder, value } in &self.replacements {
            write_bytes(out, placeholder)?;
            write_bytes(out, value.expose())?;
        }
        write_length(out, self.files.len())?;
        for InFiles { placeholder, parts } in &self.files {
            write_bytes(out, placeholder)?;
            write_length(out, parts.len())?;
            for part in parts {
                let (kind, bytes) = match part {
                    Part::Text(text) => (TEXT, text.as_bytes()),
                    Part::File(content) => (FILE, content.expose()),
                };
                out.write_all(&kind)?;
                write_bytes(out, bytes)?;
            }
        }
        Ok(())
    }

    pub(super) fn read(input: &mut impl Read) -> Result<Self> {
        let launcher = u32::from_ne_bytes(read_array(input)?);
        let word = String::from_utf8(read_bytes(input)?.to_vec()).map_err(|_| ErrorKind::InvalidData)?;
        let known = match read_array(input)? {
            UNKNOWN => None,
            kind => Some(Answer { file: Stamp::from_bytes(read_array(input)?), has: kind == HAS_WORD }),
        };
        let mut replacements = Vec::new();
        for _ in 0..read_length(input)? {
            let placeholder = read_bytes(input)?.to_vec();
            let value = read_bytes(input)?.into();
            replacements.push(Replacement { placeholder, value });
        }
        let mut files = Vec::new();
        for _ in 0..read_length(input)? {
            let placeholder = read_bytes(input)?.to_vec();
            let parts = (0..read_length(input)?).map(|_| read_part(input)).collect::<Result<_>>()?;
            files.push(InFiles { placeholder, parts });
        }
        Ok(Self { launcher, word, known, replacements, files })
    }

    /// Returns the placeholder of each private argument: the text that other processes see instead.
    pub(super) fn placeholders(&self) -> impl Iterator<Item = &[u8]> {
        let arguments = self.replacements.iter().map(|argument| &argument.placeholder);
        arguments.chain(self.files.iter().map(|argument| &argument.placeholder)).map(Vec::as_slice)
    }
}

fn read_part(input: &mut impl Read) -> Result<Part> {
    let kind: [u8; 1] = read_array(input)?;
    let bytes = read_bytes(input)?;
    match kind {
        TEXT => Ok(Part::Text(OsStr::from_bytes(&bytes).to_owned())),
        FILE => Ok(Part::File(bytes.into())),
        _ => Err(ErrorKind::InvalidData.into()),
    }
}

fn write_length(out: &mut impl Write, length: usize) -> Result<()> {
    out.write_all(&(length as u64).to_ne_bytes())
}

fn write_bytes(out: &mut impl Write, bytes: &[u8]) -> Result<()> {
    write_length(out, bytes.len())?;
    out.write_all(bytes)
}

fn read_length(input: &mut impl Read) -> Result<usize> {
    let length = usize::try_from(u64::from_ne_bytes(read_array(input)?)).ok();
    length.filter(|&length| length <= LENGTH_MAX).ok_or_else(|| Error::from(ErrorKind::InvalidData))
}

fn read_bytes(input: &mut impl Read) -> Result<Zeroizing<Vec<u8>>> {
    // The buffer has its full size from the beginning. If a buffer grows, copies of its content stay in memory.
    let mut bytes = Zeroizing::new(vec![0; read_length(input)?]);
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Reads a message of `N` bytes.
pub(super) fn read_array<const N: usize>(input: &mut impl Read) -> Result<[u8; N]> {
    let mut bytes = [0; N];
    input.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// Whether the launcher has asked the tracer to detach (sent one byte), or has closed its socket. Does not wait.
pub(super) fn gave_up(launcher: &mut impl Read) -> bool {
    let nothing_yet = |error: Error| error.kind() == ErrorKind::WouldBlock;
    !launcher.read_exact(&mut [0]).is_err_and(nothing_yet)
}
