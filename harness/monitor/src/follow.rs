//! The servers of a data directory, looked at again and again: also when they go away, and come back as other processes.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use serde::{Serialize, Serializer};
use throng_core::endpoints::{Endpoints, EndpointsError};
use throng_harness_model::procstat::{self, Meter};

use super::admin;
use super::metrics::Metrics;

/// The end of the name of a metric that only grows.
const GROWING: &str = "_total";

/// One server at one moment. What is not known is null.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Look {
    /// Seconds since the watching began.
    pub at_s: f64,
    /// Whether the process is there.
    #[serde(rename = "up")]
    pub is_up: bool,
    /// What it says of itself: `ok`, `stopping`, `no answer`, `no admin port`; or `DOWN`.
    pub state: String,
    /// The process.
    pub pid: Option<u32>,
    /// Its CPU time since the look before, as a share of one core.
    pub cpu: Option<f64>,
    /// Resident memory in bytes.
    #[serde(serialize_with = "whole")]
    pub rss_bytes: Option<f64>,
    /// Open files, sockets included.
    #[serde(serialize_with = "whole")]
    pub files: Option<f64>,
    /// How many it may have.
    #[serde(serialize_with = "whole")]
    pub files_max: Option<f64>,
    /// Open sockets.
    #[serde(serialize_with = "whole")]
    pub sockets: Option<f64>,
    /// Sessions, links included.
    #[serde(serialize_with = "whole")]
    pub sessions: Option<f64>,
    /// Users in the chat.
    #[serde(serialize_with = "whole")]
    pub users: Option<f64>,
    /// Links that take requests.
    #[serde(serialize_with = "whole")]
    pub links_up: Option<f64>,
    /// Links that there are.
    #[serde(serialize_with = "whole")]
    pub links: Option<f64>,
    /// Packets that wait for content threads.
    #[serde(serialize_with = "whole")]
    pub content_queue: Option<f64>,
    /// Commands that wait for event loops.
    #[serde(serialize_with = "whole")]
    pub mailbox: Option<f64>,
    /// Requests that wait for a database.
    #[serde(serialize_with = "whole")]
    pub db_queue: Option<f64>,
    /// Bytes that hold what rooms have not yet got.
    #[serde(serialize_with = "whole")]
    pub log_pool_bytes: Option<f64>,
    /// Packets received a second.
    pub packets_in_per_s: Option<f64>,
    /// Bytes sent a second.
    pub bytes_out_per_s: Option<f64>,
    /// All that the server counts.
    #[serde(skip)]
    pub metrics: Metrics,
    /// By how much a second the counters have grown since the look before.
    #[serde(skip)]
    pub growth: BTreeMap<String, f64>,
}

/// Counts are floats here, and whole numbers to readers.
#[allow(clippy::ref_option)] // serde calls it so
fn whole<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[allow(clippy::cast_possible_truncation)] // it saturates
    value.map(|value| value.round() as i64).serialize(serializer)
}

impl Look {
    /// A metric's value; of one that only grows, its growth a second, if there was a look before.
    pub fn metric(&self, name: &str) -> Option<f64> {
        if name.ends_with(GROWING) { self.growth.get(name).copied() } else { self.metrics.get(name) }
    }

    /// Works out what has grown since the look before, by the same process.
    pub fn grown_since(&mut self, before: &Self) {
        let seconds = self.at_s - before.at_s;
        if seconds <= 0.0 {
            return;
        }
        for name in self.metrics.names().filter(|name| name.ends_with(GROWING)) {
            if let (Some(now), Some(before)) = (self.metrics.get(name), before.metrics.get(name)) {
                self.growth.insert(name.to_owned(), (now - before).max(0.0) / seconds);
            }
        }
        self.packets_in_per_s = self.metric("throng_net_packets_in_total");
        self.bytes_out_per_s = self.metric("throng_net_bytes_out_total");
    }
}

/// What the data directory says of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    pid: u32,
    admin: Option<SocketAddr>,
}

/// A server: the process that runs one or more roles.
#[derive(Debug)]
pub struct Server {
    /// Its roles, with a plus between them.
    pub name: String,
    meter: Option<Meter>,
    /// The last look, and the CPU time that the process had used then.
    last: Option<(Look, Duration)>,
    /// A process that is gone, and how old the file was that named it: whoever has its number later is somebody else.
    gone: Option<(u32, Option<SystemTime>)>,
}

/// The servers of a data directory.
#[derive(Debug)]
pub struct Followed {
    data: PathBuf,
    servers: Vec<Server>,
}

impl Followed {
    /// Finds the servers that run on `data`, or that the last to run there has left behind.
    pub fn find(data: &Path) -> Result<Self, EndpointsError> {
        let mut followed = Self { data: data.into(), servers: Vec::new() };
        let known = by_process(&Endpoints::read(data)?);
        followed.add_new(&known);
        Ok(followed)
    }

    /// The servers so far; a server keeps its place.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Looks at all of them, `at_s` seconds after the beginning: one look for each server.
    pub fn look(&mut self, at_s: f64) -> Vec<Look> {
        // Without the file nobody runs; a damaged one is as good as none, and will be written anew.
        let known = Endpoints::read(&self.data).map(|endpoints| by_process(&endpoints)).unwrap_or_default();
        let written = fs::metadata(self.data.join(Endpoints::FILE)).and_then(|file| file.modified()).ok();
        self.add_new(&known);
        self.servers.iter_mut().map(|server| server.look(known.get(&server.name), written, at_s)).collect()
    }

    fn add_new(&mut self, known: &BTreeMap<String, Known>) {
        for name in known.keys() {
            if !self.servers.iter().any(|server| server.name == *name) {
                self.servers.push(Server { name: name.clone(), meter: None, last: None, gone: None });
            }
        }
    }
}

impl Server {
    fn look(&mut self, known: Option<&Known>, written: Option<SystemTime>, at_s: f64) -> Look {
        let down = Look { at_s, state: "DOWN".into(), ..Look::default() };
        let Some(known) = known else {
            (self.meter, self.last) = (None, None);
            return down;
        };
        if self.gone == Some((known.pid, written)) {
            return down;
        }
        if self.meter.as_ref().is_none_or(|meter| meter.usage().pid != known.pid) {
            self.last = None;
            match Meter::start(known.pid) {
                Ok(meter) => self.meter = Some(meter),
                Err(error) => {
                    self.meter = None;
                    // What else is wrong may pass.
                    self.gone = error.is_gone().then_some((known.pid, written));
                }
            }
        }
        let Some(meter) = &mut self.meter else { return down };
        let sample = *meter.look();
        if !meter.usage().alive {
            (self.meter, self.last, self.gone) = (None, None, Some((known.pid, written)));
            return down;
        }
        let mut look = self.look_at(*known, sample, at_s);
        if let Some((before, _)) = &self.last {
            look.grown_since(before);
        }
        self.last = Some((look.clone(), sample.cpu));
        look
    }

    fn look_at(&self, known: Known, sample: procstat::Sample, at_s: f64) -> Look {
        let files = procstat::files(known.pid).ok();
        let share = self
            .last
            .as_ref()
            .filter(|(before, _)| before.at_s < at_s)
            .map(|(before, cpu)| sample.cpu.saturating_sub(*cpu).as_secs_f64() / (at_s - before.at_s));
        let answers = match known.admin {
            Some(address) => admin::ask(address),
            None => admin::Answers { health: "no admin port".into(), ..admin::Answers::default() },
        };
        let metric = |name| answers.metrics.get(name);
        Look {
            at_s,
            is_up: true,
            pid: Some(known.pid),
            cpu: share,
            rss_bytes: Some(sample.rss_bytes as f64),
            files: files.map(|files| files.open as f64),
            files_max: files.and_then(|files| files.max).map(|max| max as f64),
            sockets: files.map(|files| files.sockets as f64),
            sessions: metric("throng_net_sessions"),
            users: metric("throng_chat_users"),
            links_up: answers.links.map(|(up, _)| up as f64),
            links: answers.links.map(|(_, all)| all as f64),
            content_queue: metric("throng_content_queue"),
            mailbox: metric("throng_net_mailbox"),
            db_queue: metric("throng_db_queue"),
            log_pool_bytes: metric("throng_net_log_pool_bytes"),
            state: answers.health,
            metrics: answers.metrics,
            ..Look::default()
        }
    }
}

/// The processes that run the roles, by the roles that each runs.
fn by_process(endpoints: &Endpoints) -> BTreeMap<String, Known> {
    let roles = [("login", &endpoints.login), ("chat", &endpoints.chat), ("dbagent", &endpoints.dbagent)];
    let mut processes = BTreeMap::<u32, (Vec<&str>, Option<SocketAddr>)>::new();
    for (role, endpoint) in roles {
        let Some(endpoint) = endpoint else { continue };
        let process = processes.entry(endpoint.pid.unwrap_or(endpoints.pid)).or_default();
        process.0.push(role);
        process.1 = process.1.or(endpoint.admin);
    }
    processes.into_iter().map(|(pid, (roles, admin))| (roles.join("+"), Known { pid, admin })).collect()
}

#[cfg(test)]
mod tests {
    use std::process::{Child, Command};

    use throng_core::endpoints::Endpoint;

    use super::*;

    fn sleeper() -> Child {
        Command::new("sleep").arg("60").spawn().expect("sleep is everywhere")
    }

    fn endpoint(pid: u32) -> Endpoint {
        Endpoint { pid: Some(pid), ..Endpoint::new(([127, 0, 0, 1], 9).into(), None) }
    }

    #[test]
    fn roles_of_one_process_are_one_server() {
        let mut endpoints = Endpoints {
            pid: 1,
            login: Some(endpoint(1)),
            chat: Some(endpoint(1)),
            dbagent: Some(endpoint(1)),
        };
        endpoints.set_admin(Some(([127, 0, 0, 1], 94).into()));
        let names = |endpoints: &Endpoints| by_process(endpoints).into_keys().collect::<Vec<_>>().join(" ");
        assert_eq!(names(&endpoints), "login+chat+dbagent");
        assert_eq!(by_process(&endpoints)["login+chat+dbagent"].admin, Some(([127, 0, 0, 1], 94).into()));
        endpoints.chat = Some(endpoint(2));
        assert_eq!(names(&endpoints), "chat login+dbagent");
    }

    #[test]
    fn a_server_is_followed_through_its_end_and_its_return() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |pid| {
            let endpoints = Endpoints { pid, chat: Some(endpoint(pid)), ..Endpoints::default() };
            endpoints.write(dir.path()).expect("written");
        };
        assert!(Followed::find(dir.path()).is_err());
        let mut first = sleeper();
        write(first.id());
        let mut followed = Followed::find(dir.path()).expect("there is a file");
        let mut look = |at_s| {
            let [look]: [Look; 1] = followed.look(at_s).try_into().expect("one server");
            look
        };
        let found = look(0.0);
        assert!(found.is_up && found.state == "no admin port" && found.cpu.is_none(), "{found:?}");
        assert_eq!(found.pid, Some(first.id()));
        let found = look(1.0);
        assert!(
            found.cpu.is_some_and(|cpu| cpu < 0.5) && found.rss_bytes.is_some_and(|rss| rss > 0.0),
            "{found:?}"
        );
        assert!(found.files.is_some_and(|files| files >= 3.0), "{found:?}");

        first.kill().and_then(|()| first.wait()).expect("it is ours");
        let found = look(2.0);
        assert!(!found.is_up && found.state == "DOWN" && found.pid.is_none(), "{found:?}");
        assert!(!look(3.0).is_up);

        let mut second = sleeper();
        write(second.id());
        let found = look(4.0);
        assert!(found.is_up && found.cpu.is_none(), "its CPU time is not compared with another's: {found:?}");
        assert_eq!(found.pid, Some(second.id()));
        // An orderly end takes the file away.
        fs::remove_file(dir.path().join(Endpoints::FILE)).expect("it is there");
        assert!(!look(5.0).is_up);
        second.kill().and_then(|()| second.wait()).expect("it is ours");
    }
}
