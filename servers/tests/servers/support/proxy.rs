//! A TCP proxy that can stop forwarding, as a network does that drops packets, and go on again; or
//! that loses its connections.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;

/// A proxy that runs until the test ends.
pub(crate) struct Proxy {
    pub(crate) port: u16,
    valve: Arc<Valve>,
}

#[derive(Default)]
struct Valve {
    is_closed: Mutex<bool>,
    changed: Condvar,
    /// Both ends of all connections so far.
    ends: Mutex<Vec<TcpStream>>,
}

impl Valve {
    fn set(&self, is_closed: bool) {
        *self.is_closed.lock().unwrap_or_else(PoisonError::into_inner) = is_closed;
        self.changed.notify_all();
    }

    fn wait_until_open(&self) {
        let is_closed = self.is_closed.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.changed.wait_while(is_closed, |is_closed| *is_closed));
    }
}

impl Proxy {
    /// Starts a proxy to a port of this machine.
    pub(crate) fn to(port: u16) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let proxy = Self { port: listener.local_addr().unwrap().port(), valve: Arc::default() };
        let valve = Arc::clone(&proxy.valve);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let valve = Arc::clone(&valve);
                thread::spawn(move || {
                    valve.wait_until_open();
                    let Ok(server) = TcpStream::connect((Ipv4Addr::LOCALHOST, port)) else { return };
                    let (from, to) = (client.try_clone().unwrap(), server.try_clone().unwrap());
                    let ends = [&client, &server].map(|end| end.try_clone().unwrap());
                    valve.ends.lock().unwrap_or_else(PoisonError::into_inner).extend(ends);
                    let other = Arc::clone(&valve);
                    thread::spawn(move || forward(from, to, &other));
                    forward(server, client, &valve);
                });
            }
        });
        proxy
    }

    /// Forwards nothing from now on.
    pub(crate) fn stop(&self) {
        self.valve.set(true);
    }

    /// Ends all connections. New ones are forwarded.
    pub(crate) fn cut(&self) {
        for end in self.valve.ends.lock().unwrap_or_else(PoisonError::into_inner).drain(..) {
            // One that has ended already cannot be shut down.
            let _ = end.shutdown(Shutdown::Both);
        }
    }

    /// Forwards again, also what arrived meanwhile.
    pub(crate) fn resume(&self) {
        self.valve.set(false);
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.resume();
    }
}

/// Forwards bytes in one direction until either end is closed.
fn forward(mut from: TcpStream, mut to: TcpStream, valve: &Valve) {
    let mut buffer = vec![0; 16 * 1024];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        valve.wait_until_open();
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            // The ends of a connection that is gone already cannot be shut down.
            let _ = to.shutdown(Shutdown::Write);
            return;
        }
    }
}
