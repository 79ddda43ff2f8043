//! Content threads: they run the handlers of one role.
//!
//! All jobs of a session take one lane and so keep their order. A handler is a function from state,
//! session, packet and time to [`Effects`]; it does no I/O. Lanes are bounded: a shard keeps the
//! packet for which a lane has no room, and stops reading its session.

mod app;
mod command;
mod dispatch;
mod effects;
mod handlers;
mod job;
mod pool;
mod room_keys;

pub use app::ContentApp;
pub use command::{Caused, Command, SessionCommand};
pub use dispatch::{Dispatcher, Outbound};
pub use effects::{Effect, Effects};
pub use handlers::{Call, HandlerTable};
pub use job::{Job, Lane, Task, lane_of};
pub use pool::{ContentPool, Role};
pub use room_keys::{RoomPolicy, RoomRegistry};
