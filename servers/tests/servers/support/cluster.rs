//! The three roles as three processes, each of which can die and come back.

use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Door, Home, Server, wait_until};

/// Three processes that share a data directory.
pub(crate) struct Cluster {
    pub(crate) home: Home,
    settings: Vec<String>,
    pub(crate) dbagent: Option<Server>,
    pub(crate) chat: Option<Server>,
    pub(crate) login: Option<Server>,
}

impl Cluster {
    /// Linked and ready, with these settings besides the usual ones.
    pub(crate) fn start(settings: &[&str]) -> Self {
        let agent = spare_port();
        let links = spare_port();
        let mut all = vec![
            format!("dbagent.listen=127.0.0.1:{agent}"),
            format!("login.dbagent=127.0.0.1:{agent}"),
            format!("chat.dbagent=127.0.0.1:{agent}"),
            format!("chat.listen=127.0.0.1:{}", spare_port()),
            format!("chat.link_listen=127.0.0.1:{links}"),
            format!("login.chat=127.0.0.1:{links}"),
            format!("login.listen=127.0.0.1:{}", spare_port()),
        ];
        all.extend(settings.iter().map(|setting| (*setting).to_owned()));
        let mut cluster =
            Self { home: Home::with_keys(), settings: all, dbagent: None, chat: None, login: None };
        cluster.start_dbagent();
        cluster.start_chat();
        cluster.start_login();
        cluster.linked();
        cluster
    }

    /// Starts the role where it was before.
    pub(crate) fn start_dbagent(&mut self) {
        self.dbagent = Some(self.home.start("dbagent", &self.settings));
    }

    /// Starts the role where it was before.
    pub(crate) fn start_chat(&mut self) {
        self.chat = Some(self.home.start("chat", &self.settings));
    }

    /// Starts the role where it was before.
    pub(crate) fn start_login(&mut self) {
        self.login = Some(self.home.start("login", &self.settings));
    }

    /// Waits until every server that runs is linked to every other.
    pub(crate) fn linked(&self) {
        wait_until("the servers have found each other", || {
            let links = |server: &Option<Server>| server.as_ref().map(Server::links_up);
            [&self.dbagent, &self.chat, &self.login].into_iter().filter_map(links).all(|up| up == 2)
        });
    }

    pub(crate) fn login_door(&self) -> Door {
        self.login.as_ref().expect("it runs").login()
    }

    pub(crate) fn chat_door(&self) -> Door {
        self.chat.as_ref().expect("it runs").chat()
    }
}

/// A port to listen on that stays ours when the process that has it is killed: below those
/// that the system gives to outgoing connections.
fn spare_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16;
    loop {
        let port = 12_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
