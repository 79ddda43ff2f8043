//! What is shown while a run is under way, and its timeline: one row a second.
//!
//! Workers write numbers into panels of their own, the main thread reads them: no worker
//! ever waits for the display, and none is told anything by it.

mod display;
mod keyboard;
mod keys;
mod panel;
mod plain;
mod screen;
mod timeline;
mod view;

pub use display::Display;
pub use keys::{Action, RateKey};
pub use panel::{Panel, sum};
pub use plain::Progress;
pub(crate) use screen::Screen;
pub use timeline::{Timeline, add_last_recipients};
pub(crate) use view::{Chart, draw_chart, draw_footer, draw_log, elapsed, fit, titled};
pub use view::{Entering, Facts, Own, Phase, State, Subject, draw};
