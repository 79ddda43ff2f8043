//! Sockets that connect to other servers, on request from a chosen address of this machine.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::wire::CloseReason;

/// Reason for which no session could be made for a socket.
#[derive(Debug, Error)]
pub enum DialError {
    /// The event loop is ending and makes no new sessions.
    #[error("this event loop is ending")]
    Stopping,
    /// All seats of the session's kind are taken.
    #[error("every session of this kind is taken")]
    SeatsTaken,
    /// All slots of the session table are taken.
    #[error("the session table is full")]
    TableFull,
    /// The first handshake message could not be made.
    #[error("cannot start the handshake: {}", .0.name())]
    Handshake(CloseReason),
    /// The system has no socket to give, or refuses to connect or to watch it.
    #[error(transparent)]
    Socket(#[from] io::Error),
}

/// Keeps the system's error; the other reasons have kind [`io::ErrorKind::Other`].
impl From<DialError> for io::Error {
    fn from(error: DialError) -> Self {
        match error {
            DialError::Socket(error) => error,
            error => Self::other(error),
        }
    }
}

/// Opens a socket that is connecting to `address`, from `source` if given. Both must be of the same
/// family, and `source` an address of this machine.
pub(super) fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address) };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Lets the system choose the port when it knows both ends. Otherwise it chooses at `bind`, and
    // could not use ports with a connection to another address or with one in TIME_WAIT.
    setsockopt(&socket, IpBindAddressNoPort, &true)?;
    socket.bind(&SocketAddr::new(source, 0).into())?;
    match socket.connect(&address.into()) {
        Err(error) if error.raw_os_error() != Some(nix::libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(socket.into())),
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn a_connection_comes_from_its_source_address() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let sources = [None, Some("127.0.0.1"), Some("127.0.0.7"), Some("127.0.0.7")];
        let sockets = sources.map(|source| {
            let source = source.map(|text| text.parse::<IpAddr>().unwrap());
            let socket = connect(address, source).unwrap();
            let (_, peer) = listener.accept().unwrap();
            assert_eq!(peer.ip(), source.unwrap_or(address.ip()));
            (socket, peer)
        });
        assert_ne!(sockets[2].1, sockets[3].1);
    }

    #[test]
    fn a_source_must_be_ours_and_of_the_family() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let error = connect(address, Some("::1".parse().unwrap())).unwrap_err();
        assert!(error.raw_os_error().is_some(), "{error}");
        let elsewhere = connect(address, Some("192.0.2.1".parse().unwrap())).unwrap_err();
        assert_eq!(elsewhere.kind(), io::ErrorKind::AddrNotAvailable);
    }
}
