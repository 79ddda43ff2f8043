//! Chat servers with one world over a real NATS: the load harness accounts for every delivery while
//! connections, servers and NATS itself are lost.

use std::fs;
use std::thread::{self, JoinHandle};

use rustix::process::Signal;
use throng_harness_report::{Report, Verdict};

use crate::resume::run_harness;
use crate::support::{Home, Nats, Server, spare_port, wait_until};

const NODES: usize = 3;
const CLIENTS: u64 = 90;

/// A chat server of a fleet.
struct Node {
    home: Home,
    settings: Vec<String>,
    server: Option<Server>,
}

impl Node {
    fn start(&mut self) {
        let server = self.home.start("chat", &self.settings);
        wait_until("the server takes part in the fleet", || server.metric("throng_fleet_current") == 1);
        self.server = Some(server);
    }

    fn metric(&self, name: &str) -> u64 {
        self.server.as_ref().map_or(0, |server| server.metric(name))
    }

    fn kill(&mut self) {
        if let Some(server) = self.server.take() {
            server.kill();
        }
    }

    /// Has the server end in order, and starts it again.
    fn restart(&mut self) {
        let server = self.server.take().expect("it runs");
        server.signal(Signal::TERM);
        assert_eq!(server.exit_code(), Some(0));
        self.start();
    }
}

struct Fleet {
    nodes: Vec<Node>,
    nats: Nats,
}

impl Fleet {
    fn start() -> Self {
        let nats = Nats::start();
        let mut nodes: Vec<Node> = Vec::new();
        for number in 1..=NODES {
            let home = Home::with_keys();
            if let Some(first) = nodes.first() {
                fs::copy(first.home.path().join("cluster.key"), home.path().join("cluster.key")).unwrap();
            }
            let settings = vec![
                format!("fleet.nats=127.0.0.1:{}", nats.port),
                // A busy machine stops a process for longer than an idle one is silent.
                "fleet.dead_after=3s".into(),
                format!("chat.name=chat-{number}"),
                format!("chat.listen=127.0.0.1:{}", spare_port()),
            ];
            nodes.push(Node { home, settings, server: None });
        }
        nodes.iter_mut().for_each(Node::start);
        let fleet = Self { nodes, nats };
        fleet.wait_for_all();
        fleet
    }

    fn wait_for_all(&self) {
        let sees_all = |node: &Node| node.metric("throng_fleet_nodes") == NODES as u64;
        wait_until("all nodes know each other", || self.nodes.iter().all(sees_all));
    }

    /// Runs a broadcast over all nodes.
    fn run(&self, flags: &str) -> Report {
        self.begin(flags).join().unwrap()
    }

    /// As [`Self::run`], with `disturb` once messages to the world flow.
    fn run_and(&mut self, flags: &str, disturb: impl FnOnce(&mut Self)) -> Report {
        let said = |fleet: &Self| fleet.nodes[0].metric("throng_chat_broadcasts_total");
        let before = said(self);
        let run = self.begin(flags);
        wait_until("messages flow", || said(self) > before + 50);
        disturb(self);
        run.join().unwrap()
    }

    fn begin(&self, flags: &str) -> JoinHandle<Report> {
        let data: Vec<_> = self.nodes.iter().map(|node| node.home.path().display().to_string()).collect();
        let line = format!(
            "throng-harness broadcast --plain --clients {CLIENTS} --interval 5ms --seed 1 --resume {flags} --data {}",
            data.join(",")
        );
        thread::spawn(move || run_harness(line.split_whitespace().map(Into::into).collect()))
    }
}

/// Asserts that nothing is missing, doubled or out of order, that all who lost their connections
/// are back, and that no notice names them.
#[track_caller]
fn check(report: &Report) {
    assert_eq!(report.verdict, Verdict::Pass, "{report}");
    let resume = &report.resume;
    assert_eq!((resume.resumed, resume.false_notices, resume.gaps), (resume.cuts, 0, 0), "{report}");
    assert_eq!(report.deliveries.indeterminate, 0, "{report}");
}

#[test]
fn clients_that_are_cut_resume_at_other_nodes_and_miss_nothing() {
    let fleet = Fleet::start();
    for scope in ["world", "channel --channels 5", "whisper"] {
        let report = fleet.run(&format!("--duration 3s --cut 20%/s --scope {scope}"));
        check(&report);
        assert!(report.resume.cuts >= CLIENTS / 2, "{report}");
    }
}

#[test]
fn the_death_of_a_node_costs_its_users_nothing() {
    let mut fleet = Fleet::start();
    let report = fleet.run_and("--duration 5s", |fleet| fleet.nodes[1].kill());
    check(&report);
    assert_eq!(report.resume.cuts, CLIENTS / NODES as u64, "{report}");
    wait_until("it is declared dead", || fleet.nodes[0].metric("throng_fleet_nodes") == NODES as u64 - 1);
}

#[test]
fn nodes_restart_one_after_the_other_and_their_users_notice_nothing() {
    let mut fleet = Fleet::start();
    let report = fleet.run_and("--duration 12s", |fleet| {
        for at in 0..NODES {
            fleet.nodes[at].restart();
            fleet.wait_for_all();
        }
    });
    check(&report);
    assert!(report.resume.cuts >= CLIENTS, "{report}");
}

#[test]
fn a_node_with_another_key_is_refused_and_says_why() {
    let nats = Nats::start();
    let settings = vec![format!("fleet.nats=127.0.0.1:{}", nats.port)];
    let mut first = Node { home: Home::with_keys(), settings: settings.clone(), server: None };
    first.start();
    let home = Home::with_keys();
    let second = home.start("chat", &settings);
    wait_until("it says why", || second.log().contains("was made with another cluster key"));
    assert!(second.unready().contains("cut off from its fleet"), "{}", second.unready());
    assert_eq!((second.metric("throng_fleet_current"), first.metric("throng_fleet_nodes")), (0, 1));
}

/// Messages accepted before NATS went away are delivered once it is back, and those refused
/// meanwhile are not.
#[test]
fn a_nats_that_starts_again_under_load_has_lost_nothing_that_was_accepted() {
    let mut fleet = Fleet::start();
    let current = |fleet: &Fleet, wanted| {
        let are = |node: &Node| node.metric("throng_fleet_current") == wanted;
        wait_until("all nodes are cut off, or back", || fleet.nodes.iter().all(are));
    };
    let report = fleet.run_and("--duration 10s", |fleet| {
        fleet.nats.kill();
        current(fleet, 0);
        fleet.nats.resume();
        current(fleet, 1);
    });
    let Report { deliveries, clients, .. } = &report;
    assert_eq!((clients.connected, clients.disconnected), (CLIENTS, 0), "{report}");
    assert_eq!(
        (deliveries.missing, deliveries.duplicated, deliveries.reordered, deliveries.leaked),
        (0, 0, 0, 0),
        "{report}"
    );
    let refused: u64 = fleet.nodes.iter().map(|node| node.metric("throng_fleet_refused_total")).sum();
    assert!(refused > 0, "{report}");
    fleet.wait_for_all();
    check(&fleet.run("--duration 2s"));
    assert!(fleet.nodes.iter().all(|node| node.metric("throng_fleet_unreadable_total") == 0));
}
