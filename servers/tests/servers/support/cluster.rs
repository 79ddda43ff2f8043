//! The three roles as three processes, each of which can be killed and restarted.

use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::atomic::{AtomicU16, Ordering};

use super::{Home, Server, ServerAddr, wait_until};

/// Three processes that share a data directory, and more DB agents, each with a directory of its
/// own.
pub(crate) struct Cluster {
    settings: Vec<String>,
    pub(crate) dbagent: Option<Server>,
    pub(crate) chat: Option<Server>,
    pub(crate) login: Option<Server>,
    pub(crate) others: Vec<OtherAgent>,
    // The last field: servers that are dropped in a failing test read their logs in it.
    pub(crate) home: Home,
}

/// Another DB agent.
pub(crate) struct OtherAgent {
    settings: Vec<String>,
    pub(crate) server: Option<Server>,
    home: Home,
}

impl OtherAgent {
    /// Starts the agent, on the same addresses as before.
    pub(crate) fn start(&mut self) {
        self.server = Some(self.home.start("dbagent", &self.settings));
    }
}

impl Cluster {
    /// Starts a linked cluster with these settings besides the usual ones.
    pub(crate) fn start(settings: &[&str]) -> Self {
        Self::start_with(1, settings)
    }

    /// Starts a linked cluster with this number of DB agents.
    pub(crate) fn start_with(agents: usize, settings: &[impl AsRef<str>]) -> Self {
        let ports: Vec<u16> = (0..agents).map(|_| spare_port()).collect();
        let agents: Vec<String> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let links = spare_port();
        let mut all = vec![
            format!("login.dbagent={}", agents.join(",")),
            format!("chat.dbagent={}", agents.join(",")),
            format!("chat.listen=127.0.0.1:{}", spare_port()),
            format!("chat.link_listen=127.0.0.1:{links}"),
            format!("login.chat=127.0.0.1:{links}"),
            format!("login.listen=127.0.0.1:{}", spare_port()),
        ];
        all.extend(settings.iter().map(|setting| setting.as_ref().to_owned()));
        let home = Home::with_keys();
        let mut others = Vec::new();
        for (number, agent) in agents.iter().enumerate().skip(1) {
            let own = Home::with_keys();
            fs::copy(home.path().join("cluster.key"), own.path().join("cluster.key")).unwrap();
            let mut settings = all.clone();
            settings
                .extend([format!("dbagent.listen={agent}"), format!("dbagent.name=dbagent-{}", number + 1)]);
            others.push(OtherAgent { home: own, settings, server: None });
        }
        all.push(format!("dbagent.listen={}", agents[0]));
        let mut cluster = Self { home, settings: all, dbagent: None, chat: None, login: None, others };
        cluster.start_dbagent();
        cluster.others.iter_mut().for_each(OtherAgent::start);
        cluster.start_chat();
        cluster.start_login();
        cluster.linked();
        cluster
    }

    /// Starts the role, on the same addresses as before.
    pub(crate) fn start_dbagent(&mut self) {
        self.dbagent = Some(self.home.start("dbagent", &self.settings));
    }

    /// Starts the role, on the same addresses as before.
    pub(crate) fn start_chat(&mut self) {
        self.chat = Some(self.home.start("chat", &self.settings));
    }

    /// Starts the role, on the same addresses as before.
    pub(crate) fn start_login(&mut self) {
        self.login = Some(self.home.start("login", &self.settings));
    }

    /// Waits until every running server is linked to every other.
    pub(crate) fn linked(&self) {
        let others = || self.others.iter().filter_map(|agent| agent.server.as_ref());
        let agents = others().count() + usize::from(self.dbagent.is_some());
        wait_until("the servers are linked", || {
            let fronts = [&self.chat, &self.login].into_iter().flatten();
            let fronts = fronts.map(|server| (server, 1 + agents));
            let agents = self.dbagent.iter().chain(others()).map(|server| (server, 2));
            fronts.chain(agents).all(|(server, links)| server.links_up() == links)
        });
    }

    pub(crate) fn login_addr(&self) -> ServerAddr {
        self.login.as_ref().expect("it runs").login()
    }

    pub(crate) fn chat_addr(&self) -> ServerAddr {
        self.chat.as_ref().expect("it runs").chat()
    }
}

/// Returns a port that stays free while the process that listens on it is killed and restarted:
/// below the ports that the system gives to outgoing connections.
pub(crate) fn spare_port() -> u16 {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = std::process::id() as u16;
    loop {
        let port = 12_000 + start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}
