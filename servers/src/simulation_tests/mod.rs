//! Login server, chat server and a model of two DB agents on one database in one thread, without sockets or
//! clocks: packets wait in queues until the test delivers them, links are cut at any moment, DB
//! threads finish in any order, players change their minds. Whatever happens, in the end nobody is
//! online who is not there.

mod agents;
mod invariants;
mod world;
