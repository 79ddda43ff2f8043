//! The terminal of the load harness: its screen, its keyboard, and the parts that views share.

mod chart;
pub mod fit;
mod keyboard;
mod keys;
mod panes;
mod screen;

pub use chart::{Chart, draw_chart};
pub use keys::{Action, RateKey};
pub use panes::{draw_footer, draw_lines, draw_log, elapsed, titled};
pub use screen::{Screen, stdout_columns};
