//! The terminal of the load harness: its screen, its keyboard, and the parts that views share.

pub mod ascii;
mod chart;
pub mod fit;
mod keyboard;
mod keys;
mod panes;
mod screen;

pub use chart::{Chart, draw_chart};
pub use keys::{Action, RateKey};
pub use panes::{draw_bar, draw_footer, draw_help, draw_lines, draw_log, elapsed, titled};
pub use screen::{Screen, stdout_columns};
