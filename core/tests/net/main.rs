//! The event loop with real sockets, on port 0: acceptor, shards, dialled and hostile peers.

mod closing;
mod content;
mod dialling;
mod rooms;
mod seats;
mod slow;
mod support;
mod talking;
