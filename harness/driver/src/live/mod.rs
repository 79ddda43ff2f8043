//! The live display of a run, and its timeline of one row a second.
//!
//! Workers publish numbers in panels of their own, and the main thread reads them: no worker ever
//! waits for the display, or receives anything from it.

mod display;
mod panel;
mod plain;
mod timeline;
mod view;

pub use display::Display;
pub use panel::{Panel, sum};
pub use plain::Progress;
pub use timeline::{Timeline, add_last_recipients};
pub use view::{Entering, Facts, Own, Phase, State, Subject, draw};
