//! A simulation of a login server, a chat server and two DB agents on one database, for tests.
//!
//! Everything runs in one thread, without sockets or clocks. Packets wait in queues until the test
//! delivers them, links are cut at any moment, DB threads finish in any order, and players change
//! their minds. In the end, no account may be online without its player.

mod agents;
mod invariants;
mod world;
