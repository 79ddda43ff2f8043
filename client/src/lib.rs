//! The players' side of Throng: a client for games, bots and chat programs.
//!
//! ```text
//!   commands ──▶ ┌────────┐ ◀── bytes, time ──┐
//!                │ Client │                   │   Driver: a thread, the sockets
//!   events  ◀── └────────┘ ── bytes, Io ────▶┘
//! ```
//!
//! [`Client`] is the protocol without sockets, clocks or threads; [`Driver`] runs one on a thread
//! of its own. A program calls the driver's commands and polls its events. There are no callbacks.
//!
//! A client survives the loss of its connection: it resumes its place in the chat, gets what it has
//! missed, and sends what it could not send. If the place is lost, it logs in again.
//! docs/protocol.md describes what it does on the wire.

#![forbid(unsafe_code)]

mod backoff;
mod client;
mod dial;
mod driver;
mod event;
mod line;
mod place;
mod requests;

pub use client::{Client, Io, LineId, Settings, parse_key};
pub use driver::Driver;
pub use event::{Audience, CommandError, Event, LoginStep, Message, Stamp};
pub use throng_core::crypto::PublicKey;
pub use throng_core::roster;
pub use throng_core::text::{escaped, is_control};
pub use throng_core::wire::CloseReason;
pub use throng_core::wire::packets::{ChannelInfo, ChatText, Name, Outcome, User, WishedChannel};
