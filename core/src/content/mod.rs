//! What is done with packets: content threads run the handlers of one role.
//!
//! A session's packets always take the same lane and so keep their order. A handler is a
//! function from (state, session, packet, now) to [`Effects`]; it does no I/O.

mod app;
mod dispatch;
mod effects;
mod handlers;
mod pool;
mod room_keys;

pub use app::{Command, ContentApp, lane_of};
pub use dispatch::Dispatcher;
pub use effects::{Effect, Effects};
pub use handlers::{Call, HandlerTable, Phases};
pub use pool::{ContentPool, Job, Lane, Role};
pub use room_keys::{RoomPolicy, RoomRegistry};
