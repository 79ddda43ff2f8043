//! Event loops with real sockets on port 0: acceptor, shards, dialed and hostile peers.

mod closing;
mod content;
mod copies;
mod dialing;
mod fair;
mod rooms;
mod seats;
mod slow;
mod support;
mod talking;
