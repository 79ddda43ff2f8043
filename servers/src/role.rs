//! The roles that a process can run.

use std::fmt;

use throng_core::config::{Config, Origin};
use throng_core::wire::packets;

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

    /// Returns the role as packets and metrics name it.
    pub fn on_the_wire(self) -> packets::Role {
        match self {
            Self::Login => packets::Role::Login,
            Self::Chat => packets::Role::Chat,
            Self::DbAgent => packets::Role::DbAgent,
        }
    }

    /// Distance of the role's admin port from the default of `admin.listen`.
    fn admin_port_offset(self) -> u16 {
        match self {
            Self::DbAgent => 0,
            Self::Login => 1,
            Self::Chat => 2,
        }
    }
}

/// Gives a process of one role the defaults of that role, so that three processes share a machine
/// and a data directory: `throng-ROLE.log`, and an admin port of its own. Values that any source
/// has set stay as they are.
pub fn set_role_defaults(config: &mut Config, roles: &[Role]) {
    let [role] = roles else { return };
    if config.origin("log.file") == Origin::Default {
        config.log.file = Some(format!("throng-{role}.log").into());
    }
    if config.origin("admin.listen") == Origin::Default
        && let Some(listen) = &mut config.admin.listen
    {
        listen.set_port(listen.port() + role.admin_port_offset());
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use throng_core::config::Sources;

    use super::*;

    fn effective(roles: &[Role], sets: &[&str]) -> (String, String) {
        let sources = sets.iter().fold(Sources::default(), |sources, set| sources.set(*set));
        let mut config = Config::load(&sources).unwrap();
        set_role_defaults(&mut config, roles);
        let file = config.log.file.as_deref().map(Path::display);
        (
            file.map(|file| file.to_string()).unwrap_or_default(),
            config.admin.listen.map(|address| address.to_string()).unwrap_or_default(),
        )
    }

    #[test]
    fn three_processes_with_one_configuration_share_neither_admin_port_nor_log() {
        let check = |roles: &[Role], sets: &[&str], log: &str, admin: &str| {
            assert_eq!(effective(roles, sets), (log.into(), admin.into()), "{roles:?} {sets:?}");
        };
        check(Role::ALL, &[], "throng.log", "127.0.0.1:9400");
        check(&[Role::DbAgent], &[], "throng-dbagent.log", "127.0.0.1:9400");
        check(&[Role::Login], &[], "throng-login.log", "127.0.0.1:9401");
        check(&[Role::Chat], &[], "throng-chat.log", "127.0.0.1:9402");
        check(&[Role::Chat], &["log.file=all.log", "admin.listen=127.0.0.1:0"], "all.log", "127.0.0.1:0");
        check(&[Role::Chat], &["log.file=", "admin.listen="], "", "");
    }
}
