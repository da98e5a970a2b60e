//! Finds the units of systemd that ask for a credential.

use std::time::Duration;

use serde::Serialize;

use crate::format::credential::Name;
use crate::guest::system::System;
use crate::sys::child;
use crate::text::escape::Escaped;

/// Directives by which a unit gets one of the system's credentials (systemd.exec(5)). `SetCredential=` is not in this
/// list: its value is in the unit itself.
const DIRECTIVES: [&str; 3] = ["LoadCredential", "LoadCredentialEncrypted", "ImportCredential"];

/// Longest time that this program waits for the output of `systemctl`.
const PATIENCE: Duration = Duration::from_secs(30);

/// Maximum number of bytes that are read of all unit files together.
const FILES_MAX: u64 = 4 << 20;

/// A unit that asks for a credential.
#[derive(Debug, Serialize)]
pub struct Asking {
    /// The unit's name, escaped.
    pub unit: String,
    /// The directive by which the unit asks for the credential.
    pub directive: &'static str,
}

/// Returns the units that systemd has loaded and that ask for a credential of this name; `None` if systemd does not
/// answer.
///
/// `systemctl show` prints `[unprintable]` for `LoadCredential=` (measured with systemd 252, 254 and 257), so this
/// function reads the unit files, with `systemctl cat`.
pub(in crate::guest) fn asking_for(system: &System, name: &Name) -> Option<Vec<Asking>> {
    if !system.is_booted_with_systemd() {
        return None;
    }
    let kinds = [c"*.service", c"*.socket", c"*.mount", c"*.swap"];
    let command = [c"systemctl", c"cat", c"--no-pager"].into_iter().chain(kinds);
    let files = child::output(&command.collect::<Vec<_>>(), FILES_MAX, PATIENCE)?;
    Some(read(&files, name))
}

/// Parses the output of `systemctl cat`. `systemctl cat` prints a comment with the path before each file, and the
/// drop-ins of a unit after the unit's own file.
fn read(files: &[u8], name: &Name) -> Vec<Asking> {
    let mut asking: Vec<Asking> = Vec::new();
    let mut unit: &[u8] = b"";
    for line in files.split(|&byte| byte == b'\n') {
        if let Some(path) = line.strip_prefix(b"# /") {
            let mut parts = path.rsplit(|&byte| byte == b'/');
            let (file, directory) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            // A file in a directory `NAME.d` is a drop-in: it changes the unit that `systemctl` printed before the
            // drop-in.
            if !directory.ends_with(b".d") {
                unit = file;
            }
            continue;
        }
        let Some((directive, value)) = assignment(line) else { continue };
        let shown = || Escaped(unit).to_string();
        if value.is_empty() {
            asking.retain(|known| known.directive != directive || known.unit != shown());
        } else if asks_for(directive, value, name) {
            asking.push(Asking { unit: shown(), directive });
        }
    }
    asking.dedup_by(|next, known| next.unit == known.unit && next.directive == known.directive);
    asking
}

/// Returns the directive in this line and its value, if the directive is one of [`DIRECTIVES`].
fn assignment(line: &[u8]) -> Option<(&'static str, &[u8])> {
    let at = line.iter().position(|&byte| byte == b'=')?;
    let (key, value) = (line.get(..at)?.trim_ascii(), line.get(at + 1..)?.trim_ascii());
    let directive = DIRECTIVES.into_iter().find(|directive| directive.as_bytes() == key)?;
    Some((directive, value))
}

/// Whether a value asks for a credential of this name. If PATH in `LoadCredential=ID:PATH` has no `/`, PATH is the name
/// of one of the system's credentials. `LoadCredential=ID` without a path asks for the credential with the name ID. The
/// value of `ImportCredential=` may end in `*`, which matches every rest of a name.
fn asks_for(directive: &str, value: &[u8], name: &Name) -> bool {
    let name = name.as_str().as_bytes();
    let mut parts = value.splitn(2, |&byte| byte == b':');
    let (first, second) = (parts.next().unwrap_or_default(), parts.next());
    match (directive, first.strip_suffix(b"*")) {
        ("ImportCredential", Some(prefix)) => name.starts_with(prefix),
        ("ImportCredential", None) => name == first,
        _ => {
            let path = second.unwrap_or(first);
            let is_ours =
                path.starts_with(b"/run/credentials/@system/") || path.starts_with(b"/run/credstore");
            let file =
                if is_ours { path.rsplit(|&byte| byte == b'/').next().unwrap_or_default() } else { path };
            name == file
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(files: &str, name: &str) -> Vec<String> {
        let Ok(name) = Name::new(name) else { panic!("{name}") };
        let asking = read(files.as_bytes(), &name);
        asking.iter().map(|Asking { unit, directive }| format!("{unit} {directive}")).collect()
    }

    #[test]
    fn each_directive_that_gets_a_credential_of_the_system_is_read() {
        let files = "# /etc/systemd/system/a.service\n[Service]\n LoadCredential = db\nLoadCredential=pw:db\n\n\
                     # /run/systemd/system/b.service\nImportCredential=d*\nLoadCredentialEncrypted=db\n\n\
                     # /usr/lib/systemd/system/c.socket\n# LoadCredential=db\n\n\
                     # /etc/systemd/system/c.socket.d/add.conf\nLoadCredential=x:/run/credstore/db\n\n\
                     # /etc/systemd/system/d.service\nLoadCredential=db:/etc/db\nSetCredential=db:secret\nLoadCredential=db2\n\
                     ImportCredential=*:new.\n";
        let all =
            ["a.service LoadCredential", "b.service ImportCredential", "b.service LoadCredentialEncrypted"];
        let all = [&all[..], &["c.socket LoadCredential", "d.service ImportCredential"]].concat();
        assert_eq!(asked(files, "db"), all);
        assert_eq!(asked(files, "d"), ["b.service ImportCredential", "d.service ImportCredential"]);
        assert_eq!(asked("", "db"), Vec::<String>::new());
    }

    #[test]
    fn drop_in_that_clears_a_directive_takes_its_credentials_away() {
        let files = "# /etc/systemd/system/a.service\nLoadCredential=db\nImportCredential=db\n\n\
                     # /etc/systemd/system/a.service.d/none.conf\nLoadCredential=\n\n\
                     # /etc/systemd/system/b\x1b.service\nLoadCredential=db\n";
        assert_eq!(asked(files, "db"), ["a.service ImportCredential", r"b\x1b.service LoadCredential"]);
    }
}
