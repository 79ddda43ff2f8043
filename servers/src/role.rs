//! The roles that a process can run.

use std::fmt;

/// A role of a server process; `throng up` runs all of them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The login server.
    Login,
    /// The chat server.
    Chat,
    /// The DB agent.
    DbAgent,
}

impl Role {
    /// Every role.
    pub const ALL: &'static [Self] = &[Self::Login, Self::Chat, Self::DbAgent];

    /// Returns the name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Login => "login",
            Self::Chat => "chat",
            Self::DbAgent => "dbagent",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
