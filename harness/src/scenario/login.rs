//! Players sign up, create a character, log in and enter the chat, with a new account each.

use std::time::Duration;

use super::{Halt, Run};

/// Everybody comes the whole way and stays for `hold`. How they get in is the plan's, so the
/// phases are those of `connect`; the steps on the way are the workers'.
pub(super) fn run(run: &mut Run<'_>, hold: Duration) -> Result<(), Halt> {
    super::connect::run(run, hold)
}
