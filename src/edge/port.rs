//! Addresses that must be known before somebody listens on them.

use std::io;
use std::net::SocketAddr;

use tokio::net::TcpSocket;

/// A TCP port of this machine that the system gives to nobody else, neither to who asks for any
/// port nor to an outgoing connection. Who asks for it by its number may listen on it.
#[derive(Debug)]
pub struct Port {
    address: SocketAddr,
    /// Elsewhere than on Linux a bound socket keeps the expected listener out as well.
    _kept: Option<TcpSocket>,
}

impl Port {
    /// Keeps the port of an address; 0 stands for any.
    ///
    /// # Errors
    /// When somebody has it, or the address is not this machine's.
    pub fn keep(address: SocketAddr) -> io::Result<Self> {
        let socket = match address {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        socket.set_reuseaddr(true)?;
        socket.bind(address)?;
        Ok(Self {
            address: socket.local_addr()?,
            _kept: cfg!(target_os = "linux").then_some(socket),
        })
    }

    /// Keeps that port, or any other of the same address when somebody has it.
    ///
    /// # Errors
    /// When none is free, or the address is not this machine's.
    pub fn keep_or_any(address: SocketAddr) -> io::Result<Self> {
        Self::keep(address).or_else(|_| Self::keep(SocketAddr::new(address.ip(), 0)))
    }

    /// Returns where to listen.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, TcpListener};

    use super::*;

    const ANY: (Ipv4Addr, u16) = (Ipv4Addr::LOCALHOST, 0);

    #[test]
    fn who_knows_its_number_listens_on_it_again_and_again() {
        let port = Port::keep(ANY.into()).unwrap();
        for _ in 0..2 {
            drop(TcpListener::bind(port.address()).unwrap());
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn nobody_else_gets_it_while_it_is_kept() {
        let port = Port::keep(ANY.into()).unwrap();
        // As an outgoing connection does, or one that asks for any port.
        assert!(TcpSocket::new_v4().unwrap().bind(port.address()).is_err());
    }

    #[test]
    fn a_port_that_somebody_has_is_exchanged_for_another() {
        let taken = TcpListener::bind(ANY).unwrap();
        let address = taken.local_addr().unwrap();
        assert!(Port::keep(address).is_err());
        let other = Port::keep_or_any(address).unwrap().address();
        assert_eq!(other.ip(), address.ip());
        assert_ne!(other, address);
    }
}
