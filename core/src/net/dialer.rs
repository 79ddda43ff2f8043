//! Sockets that connect from an address of ours that somebody has chosen.

use std::io;
use std::net::{IpAddr, SocketAddr};

use mio::net::TcpStream;
use nix::sys::socket::{setsockopt, sockopt::IpBindAddressNoPort};
use socket2::{Domain, Protocol, Socket, Type};

/// A socket that is connecting to `address`, from `source` if there is one, else from where the system likes.
/// Both must be of the same family, and `source` an address of this machine.
pub(super) fn connect(address: SocketAddr, source: Option<IpAddr>) -> io::Result<TcpStream> {
    let Some(source) = source else { return TcpStream::connect(address) };
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_nonblocking(true)?;
    // Else the system would choose the port when the socket is bound, before it knows where to: a port that
    // a connection to elsewhere has, or one that is only about to be forgotten, would be out of reach.
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
    fn a_connection_comes_from_where_it_was_told_to() {
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
