//! `/run/smbios-creds/report.json`: what the last import did, for whoever asks later. It holds no value, and is for
//! root alone all the same, since it says which secrets this machine has.

use std::fs::File;
use std::io::{Read as _, Write as _};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::{OFlag, openat, renameat};
use nix::sys::stat::{Mode, SFlag, fchmod, fstat};
use nix::unistd::{UnlinkatFlags, unlinkat};
use serde::{Deserialize, Serialize};

use super::listing::Verdict;
use crate::guest::place::error::{Folder, SinkError};
use crate::guest::place::mount::StateFolder;
use crate::guest::place::{Mended, publish as directory};

/// Where the report is, below the root folder.
pub const PATH: &str = "run/smbios-creds/report.json";

const FILE: &str = "report.json";
const PART: &str = "report.json.part";

/// What an import did.
#[derive(Serialize)]
pub struct Report<'a> {
    /// The version of this program.
    pub version: &'static str,
    /// How it ended, in the words of the log.
    pub summary: String,
    /// Its exit code.
    pub exit: u8,
    /// The folder that was chosen; `None` if it did not come to that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub folder: Option<String>,
    /// Why it was chosen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    /// What systemd had cut or lost, and has whole now.
    pub repaired: Vec<Mended>,
    /// What arrived, and everything there is to say about it; `None` if no table could be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivery: Option<Verdict<'a>>,
}

/// What is read of a report later.
#[derive(Deserialize)]
pub struct Summary {
    /// The version that wrote it.
    pub version: String,
    /// How the import ended.
    pub summary: String,
}

/// Puts a report, as JSON, in the place of the last one.
///
/// # Errors
/// [`SinkError`] says what is in the way.
pub fn write(root: &Path, json: &[u8]) -> Result<(), SinkError> {
    let state = StateFolder::lock(root)?;
    let shown = Folder::new(&state.path);
    let error = |error| shown.error("write the report to", error);
    // Whatever else has that name.
    match unlinkat(&state.folder, PART, UnlinkatFlags::NoRemoveDir) {
        Ok(()) | Err(Errno::ENOENT) => {}
        Err(errno) => return Err(error(errno)),
    }
    let flags = OFlag::O_WRONLY | OFlag::O_CREAT | OFlag::O_EXCL | OFlag::O_NOFOLLOW | OFlag::O_CLOEXEC;
    let mode = Mode::S_IRUSR | Mode::S_IWUSR;
    let mut file = File::from(openat(&state.folder, PART, flags, mode).map_err(error)?);
    fchmod(&file, mode).map_err(error)?;
    file.write_all(json).map_err(|e| error(e.raw_os_error().map_or(Errno::EIO, Errno::from_raw)))?;
    renameat(&state.folder, PART, &state.folder, FILE).map_err(error)
}

/// Reads what the last report said, if there is one, it is ours, and it may be read.
#[must_use]
pub fn read(root: &Path) -> Option<Summary> {
    let mut json = Vec::new();
    open(root)?.read_to_end(&mut json).ok()?;
    serde_json::from_slice(&json).ok()
}

/// Whether there is a report.
#[must_use]
pub fn exists(root: &Path) -> bool {
    open(root).is_some()
}

/// Opens the report. Nothing that somebody else has put there is followed, waited for or believed.
fn open(root: &Path) -> Option<File> {
    let folder = directory::open(root.join(PATH).parent()?, false).ok()?;
    if !directory::is_ours(&folder).ok()? {
        return None;
    }
    let flags = OFlag::O_RDONLY | OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = openat(&folder, FILE, flags, Mode::empty()).ok()?;
    let stat = fstat(&file).ok()?;
    directory::is_kind(&stat, SFlag::S_IFREG).then(|| file.into())
}
