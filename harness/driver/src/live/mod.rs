//! What is shown while a run is under way, and its timeline: one row a second.
//!
//! Workers write numbers into panels of their own, the main thread reads them: no worker
//! ever waits for the display, and none is told anything by it.

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
