//! Bots that talk like people: personalities, phrases and pauses.
//!
//! The whole conversation is a [`Script`], drawn from the seed before the run like the traffic of
//! other scenarios. The same seed gives the same conversation, and every message has a number by
//! which it is accounted for. One thing is decided during the run: a bot does not answer a message
//! that it has not received.

mod lines;
mod people;
mod script;

pub use lines::{Book, Language, Languages, Line, Topic};
pub use people::{Pauses, Personality};
pub use script::{Manner, Script};
