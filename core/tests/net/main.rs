//! The event loop with real sockets, on port 0: acceptor, shards, dialled and hostile peers.

mod closing;
mod content;
mod copies;
mod dialling;
mod fair;
mod rooms;
mod seats;
mod slow;
mod support;
mod talking;
