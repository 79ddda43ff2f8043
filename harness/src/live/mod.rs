//! What is shown while a run is under way, and its timeline: one row a second.
//!
//! Workers write numbers into panels of their own, the main thread reads them: no worker
//! ever waits for the display, and none is told anything by it.

mod panel;
mod plain;
mod timeline;

pub use panel::{Panel, Totals, sum};
pub use plain::Progress;
pub use timeline::{Second, Timeline};
