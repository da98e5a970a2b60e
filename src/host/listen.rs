//! The socket on the host at which a guest's receipt arrives.

use std::borrow::Cow;
use std::ffi::{CString, OsStr};
use std::fmt::{self, Display, Formatter};
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Instant;

use crate::format::receipt::Address;
use crate::sys::Errno;
use crate::sys::directory::{Directory, Links};
use crate::sys::socket::{Listener, Stream, connect_unix, listen_unix, listen_vsock};
use crate::sys::stat::Stat;
use crate::text::escape::{Escaped, ShownPath};
use crate::text::help::Help;

/// Longest path of a Unix socket in bytes (`sun_path` minus its NUL, `unix(7)`).
const PATH_MAX: usize = 107;

/// Permission bits of a socket that this program creates.
const SOCKET_MODE: u32 = 0o600;

/// A socket on this host, at which a receipt can arrive.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Socket {
    /// A Unix socket. cloud-hypervisor connects a guest's port N to `SOCKET_N`, where SOCKET is the path in
    /// cloud-hypervisor's `--vsock` option.
    Unix(PathBuf),
    /// A port of an `AF_VSOCK` socket. Guests of QEMU and crosvm can connect to such a port of the host.
    Vsock(u32),
}

/// Why a text does not name a socket.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum SocketError {
    /// The text begins with neither `unix:` nor `vsock:`.
    #[error("it is neither unix:PATH nor vsock:PORT")]
    Kind,
    /// The path is empty, or too long for a Unix socket.
    #[error("the path of a Unix socket has 1 to {PATH_MAX} bytes")]
    Path,
    /// The port is not a number from 1 to 4294967294.
    #[error("the port is not a number from 1 to 4294967294")]
    Port,
}

impl Help for SocketError {
    fn help(&self) -> Option<Cow<'static, str>> {
        matches!(self, Self::Path).then_some("use a shorter path, for example a relative one".into())
    }
}

impl FromStr for Socket {
    type Err = SocketError;

    fn from_str(text: &str) -> Result<Self, SocketError> {
        if let Some(path) = text.strip_prefix("unix:") {
            let fits = (1..=PATH_MAX).contains(&path.len()) && !path.contains('\0');
            return if fits { Ok(Self::Unix(path.into())) } else { Err(SocketError::Path) };
        }
        let port = text.strip_prefix("vsock:").ok_or(SocketError::Kind)?;
        let port = port.parse().map_err(|_| SocketError::Port)?;
        Address::new(port).map(|address| Self::Vsock(address.port())).map_err(|_| SocketError::Port)
    }
}

impl Display for Socket {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix:{}", Escaped::from(path.as_path())),
            Self::Vsock(port) => write!(f, "vsock:{port}"),
        }
    }
}

/// Why this program cannot listen on a socket.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ListenError {
    /// A system call failed.
    #[error("cannot listen on {socket}: {}", .error.desc())]
    System {
        /// The socket on which this program cannot listen.
        socket: Socket,
        /// The kernel's error.
        error: Errno,
    },
    /// The path does not end in a file name.
    #[error("{0} does not end in a name")]
    NoName(ShownPath),
    /// The path exists, but is not a socket that this program created.
    #[error("{0} exists, but is not a socket of this program")]
    Foreign(ShownPath),
    /// Another process listens on the socket.
    #[error("{0} is in use: another process listens on it")]
    InUse(ShownPath),
}

impl Help for ListenError {
    fn help(&self) -> Option<Cow<'static, str>> {
        match self {
            Self::NoName(_) => Some("use a path that ends in a name".into()),
            Self::Foreign(_) => Some("remove it, or use another path".into()),
            Self::InUse(_) => Some("end that process, or use another path".into()),
            Self::System { .. } => None,
        }
    }
}

/// A socket at which receipts arrive. Dropping this value removes the file of a Unix socket.
pub(super) struct Listening {
    listener: Listener,
    file: Option<SocketFile>,
}

impl Listening {
    /// Listens on a socket. If a killed process of this program has left a Unix socket at the path, replaces this old
    /// socket.
    pub(super) fn to(socket: &Socket) -> Result<Self, ListenError> {
        let failed = |error| ListenError::System { socket: socket.clone(), error };
        match socket {
            Socket::Vsock(port) => {
                let listener = listen_vsock(*port).map_err(failed)?;
                Ok(Self { listener, file: None })
            }
            Socket::Unix(path) => {
                let mut file = SocketFile::new(path, failed)?;
                let listener = match listen_unix(&file.path) {
                    Err(Errno::EADDRINUSE) => {
                        file.remove_stale(failed)?;
                        listen_unix(&file.path)
                    }
                    result => result,
                };
                let listener = listener.map_err(failed)?;
                file.made = Some(file.directory.stat_of(&*file.name).map_err(failed)?);
                Ok(Self { listener, file: Some(file) })
            }
        }
    }

    /// Waits until another program connects, or until data arrives on one of `streams`. Returns the stream of a new
    /// connection, if another program has connected.
    pub(super) fn accept<'a>(
        &self,
        streams: impl Iterator<Item = &'a Stream>,
        deadline: Instant,
    ) -> Result<Option<Stream>, Errno> {
        self.listener.wait(streams, deadline)?;
        match self.listener.accept(Instant::now()) {
            Err(Errno::ETIMEDOUT) => Ok(None),
            result => result.map(Some),
        }
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        if let Some(file) = &self.file {
            file.remove_own();
        }
    }
}

/// The file of a Unix socket.
struct SocketFile {
    /// The path for the kernel's socket calls, which do not support a directory descriptor.
    path: CString,
    shown: ShownPath,
    directory: Directory,
    name: CString,
    /// The file that this process created for the socket. `None` before this process has created it.
    made: Option<Stat>,
}

impl SocketFile {
    fn new(path: &Path, failed: impl Fn(Errno) -> ListenError) -> Result<Self, ListenError> {
        let shown = ShownPath::from(path);
        let text = |text: &OsStr| CString::new(text.as_bytes());
        let no_name = || ListenError::NoName(shown.clone());
        let name = path.file_name().and_then(|name| text(name).ok()).ok_or_else(no_name)?;
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
        let directory = Directory::open(parent.unwrap_or(Path::new(".")), Links::Follow).map_err(&failed)?;
        let path = text(path.as_os_str()).map_err(|_| no_name())?;
        Ok(Self { path, shown, directory, name, made: None })
    }

    /// Removes the socket's file if an earlier process of this program has left it. This is assumed if the current user
    /// owns the file, its mode is 0600, and no process listens on the socket.
    fn remove_stale(&self, failed: impl Fn(Errno) -> ListenError) -> Result<(), ListenError> {
        let found = self.directory.stat_of(&*self.name).map_err(&failed)?;
        if !found.is_socket() || !found.is_own() || found.mode() & 0o777 != SOCKET_MODE {
            return Err(ListenError::Foreign(self.shown.clone()));
        }
        match connect_unix(&self.path, Instant::now()) {
            Err(Errno::ECONNREFUSED) => self.directory.remove_file(&*self.name).map_err(failed),
            Err(error) if error != Errno::EAGAIN => Err(failed(error)),
            _ => Err(ListenError::InUse(self.shown.clone())),
        }
    }

    /// Removes the socket's file, unless another file has replaced it.
    fn remove_own(&self) {
        let found = self.directory.stat_of(&*self.name);
        if let (Some(made), Ok(found)) = (&self.made, found)
            && made.is_same(&found)
        {
            // If the removal fails, the socket's file remains. The kernel refuses connections to it, and the next
            // process of this program replaces it.
            _ = self.directory.remove_file(&*self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn address_to_listen_to_is_a_path_or_a_port() {
        let socket = |text: &str| text.parse::<Socket>();
        assert_eq!(socket("unix:notify.vsock_8889"), Ok(Socket::Unix("notify.vsock_8889".into())));
        assert_eq!(socket("vsock:8889"), Ok(Socket::Vsock(8889)));
        for (text, error) in [
            ("", SocketError::Kind),
            ("/run/receipt", SocketError::Kind),
            ("vsock-stream:2:8889", SocketError::Kind),
            ("unix:", SocketError::Path),
            (&format!("unix:{}", "a".repeat(108)), SocketError::Path),
            ("vsock:", SocketError::Port),
            ("vsock:0", SocketError::Port),
            ("vsock:4294967295", SocketError::Port),
            ("vsock:3:8889", SocketError::Port),
        ] {
            assert_eq!(socket(text), Err(error), "{text}");
        }
        assert!(socket(&format!("unix:{}", "a".repeat(107))).is_ok());
    }
}
