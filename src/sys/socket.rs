//! Stream sockets between a guest and its host: `AF_VSOCK` sockets, and Unix sockets, through which cloud-hypervisor
//! passes on the connections of its guest.
//!
//! A call that is not finished at its deadline fails with `ETIMEDOUT`.

use std::ffi::CStr;
use std::os::fd::{AsFd as _, AsRawFd as _, OwnedFd};
use std::time::Instant;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::{
    AddressFamily, Backlog, MsgFlags, Shutdown, SockFlag, SockType, SockaddrLike, UnixAddr, VsockAddr, bind,
    connect, getpeername, getsockopt, listen, recv, send, shutdown, socket, sockopt,
};
use nix::sys::stat::{Mode, fchmod};
use rustix::net::{SocketFlags, accept_with};

use super::{Errno, errno};

/// The wildcard that stands for every CID of this machine (`VMADDR_CID_ANY`, Linux `include/uapi/linux/vm_sockets.h`).
const CID_ANY: u32 = u32::MAX;

/// Mode of a Unix socket: only its owner may connect.
const SOCKET_MODE: Mode = Mode::S_IRUSR.union(Mode::S_IWUSR);

/// A connected stream.
pub(crate) struct Stream(OwnedFd);

/// A socket that accepts streams.
pub(crate) struct Listener(OwnedFd);

/// Connects to a vsock port of the machine with this CID.
pub(crate) fn connect_vsock(cid: u32, port: u32, deadline: Instant) -> Result<Stream, Errno> {
    connect_to(AddressFamily::Vsock, &VsockAddr::new(cid, port), deadline)
}

/// Connects to a Unix socket.
pub(crate) fn connect_unix(path: &CStr, deadline: Instant) -> Result<Stream, Errno> {
    connect_to(AddressFamily::Unix, &UnixAddr::new(path)?, deadline)
}

fn connect_to(family: AddressFamily, address: &dyn SockaddrLike, deadline: Instant) -> Result<Stream, Errno> {
    let stream = Stream(open(family)?);
    match connect(stream.0.as_raw_fd(), address) {
        Err(Errno::EINPROGRESS | Errno::EINTR) => {}
        result => return result.map(|()| stream),
    }
    wait(&stream.0, PollFlags::POLLOUT, deadline)?;
    match getsockopt(&stream.0, sockopt::SocketError)? {
        0 => Ok(stream),
        error => Err(Errno::from_raw(error)),
    }
}

/// Listens on a vsock port of this machine. Every virtual machine on this machine can connect to this port.
pub(crate) fn listen_vsock(port: u32) -> Result<Listener, Errno> {
    let listener = open(AddressFamily::Vsock)?;
    bind(listener.as_raw_fd(), &VsockAddr::new(CID_ANY, port))?;
    listen(&listener, Backlog::MAXCONN)?;
    Ok(Listener(listener))
}

/// Listens on a new Unix socket with mode 0600. Fails with `EADDRINUSE` if the path exists.
pub(crate) fn listen_unix(path: &CStr) -> Result<Listener, Errno> {
    let listener = open(AddressFamily::Unix)?;
    // bind(2) makes a file with the mode of the socket (`unix_bind_bsd()`, Linux `net/unix/af_unix.c`).
    fchmod(&listener, SOCKET_MODE)?;
    bind(listener.as_raw_fd(), &UnixAddr::new(path)?)?;
    listen(&listener, Backlog::MAXCONN)?;
    Ok(Listener(listener))
}

fn open(family: AddressFamily) -> Result<OwnedFd, Errno> {
    socket(family, SockType::Stream, SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK, None)
}

impl Listener {
    /// Waits for a stream, and accepts it. A stream that ended before it was accepted is skipped.
    pub(crate) fn accept(&self, deadline: Instant) -> Result<Stream, Errno> {
        loop {
            wait(&self.0, PollFlags::POLLIN, deadline)?;
            match accept_with(&self.0, SocketFlags::CLOEXEC | SocketFlags::NONBLOCK).map_err(errno) {
                Err(Errno::EAGAIN | Errno::EINTR | Errno::ECONNABORTED) => {}
                result => return result.map(Stream),
            }
        }
    }

    /// Waits until a new stream connects, or one of `streams` has data to receive.
    pub(crate) fn wait<'a>(
        &self,
        streams: impl Iterator<Item = &'a Stream>,
        deadline: Instant,
    ) -> Result<(), Errno> {
        let all = std::iter::once(&self.0).chain(streams.map(|stream| &stream.0));
        let mut all: Vec<_> = all.map(|socket| PollFd::new(socket.as_fd(), PollFlags::POLLIN)).collect();
        wait_all(&mut all, deadline)
    }
}

impl Stream {
    /// Returns the CID of the machine at the other end of the stream; `None` if the socket is a Unix socket.
    pub(crate) fn peer_cid(&self) -> Option<u32> {
        getpeername::<VsockAddr>(self.0.as_raw_fd()).ok().map(|address| address.cid())
    }

    /// Sends all bytes.
    pub(crate) fn send(&self, mut bytes: &[u8], deadline: Instant) -> Result<(), Errno> {
        while !bytes.is_empty() {
            wait(&self.0, PollFlags::POLLOUT, deadline)?;
            match send(self.0.as_raw_fd(), bytes, MsgFlags::MSG_NOSIGNAL) {
                Ok(sent) => bytes = bytes.get(sent..).unwrap_or_default(),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Tells the other end of the stream that no more bytes follow.
    pub(crate) fn finish(&self) -> Result<(), Errno> {
        shutdown(self.0.as_raw_fd(), Shutdown::Write)
    }

    /// Receives some bytes. Returns 0 at the end of the stream.
    pub(crate) fn receive(&self, buffer: &mut [u8], deadline: Instant) -> Result<usize, Errno> {
        loop {
            wait(&self.0, PollFlags::POLLIN, deadline)?;
            match recv(self.0.as_raw_fd(), buffer, MsgFlags::empty()) {
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                result => return result,
            }
        }
    }
}

/// Waits until a socket is ready for one of `events`, or has an error.
fn wait(socket: &OwnedFd, events: PollFlags, deadline: Instant) -> Result<(), Errno> {
    wait_all(&mut [PollFd::new(socket.as_fd(), events)], deadline)
}

fn wait_all(sockets: &mut [PollFd<'_>], deadline: Instant) -> Result<(), Errno> {
    loop {
        // The timeout is rounded up to the next millisecond, so that poll(2) does not return before the deadline.
        let left = deadline.saturating_duration_since(Instant::now()).as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX);
        match poll(sockets, timeout) {
            Ok(0) if left == 0 => return Err(Errno::ETIMEDOUT),
            Ok(0) | Err(Errno::EINTR) => {}
            Ok(_) => return Ok(()),
            Err(error) => return Err(error),
        }
    }
}
