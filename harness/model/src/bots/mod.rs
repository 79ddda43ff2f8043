//! Bots that talk like people: who they are, what they say, and when.
//!
//! The whole conversation is a [`Script`], drawn from the seed before the run, as the traffic of other scenarios is: so the
//! same seed gives the same conversation, every message has its number, and all of them can be accounted for. Only one thing is
//! decided while it goes on: a bot does not answer what it has not heard.

mod lines;
mod people;
mod script;

pub use lines::{Book, Language, Languages, Line, Topic};
pub use people::{Pauses, Personality};
pub use script::{Manner, Script};
