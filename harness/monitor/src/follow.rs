//! Samples the servers of a data directory, also after they end and restart as other processes.

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

/// Suffix of the names of counters.
const GROWING: &str = "_total";

/// One sample of one server. Unknown values are null.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Sample {
    /// Seconds since the start of the watch.
    pub at_s: f64,
    /// True if the process is running.
    #[serde(rename = "up")]
    pub is_up: bool,
    /// The status that the server reports: `ok`, `stopping`, `no answer`, `no admin port`; or
    /// `DOWN`.
    pub state: String,
    /// The process id.
    pub pid: Option<u32>,
    /// CPU time since the sample before, as a share of one core.
    pub cpu: Option<f64>,
    /// Resident memory in bytes.
    #[serde(serialize_with = "whole")]
    pub rss_bytes: Option<f64>,
    /// Open files, sockets included.
    #[serde(serialize_with = "whole")]
    pub files: Option<f64>,
    /// The process's limit on open files.
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
    /// Links that accept requests.
    #[serde(serialize_with = "whole")]
    pub links_up: Option<f64>,
    /// All links.
    #[serde(serialize_with = "whole")]
    pub links: Option<f64>,
    /// Packets queued for content threads.
    #[serde(serialize_with = "whole")]
    pub content_queue: Option<f64>,
    /// Commands queued for event loops.
    #[serde(serialize_with = "whole")]
    pub mailbox: Option<f64>,
    /// Requests queued for a database.
    #[serde(serialize_with = "whole")]
    pub db_queue: Option<f64>,
    /// Bytes of the log pool, which holds messages not yet delivered to rooms.
    #[serde(serialize_with = "whole")]
    pub log_pool_bytes: Option<f64>,
    /// Packets received a second.
    pub packets_in_per_s: Option<f64>,
    /// Bytes sent a second.
    pub bytes_out_per_s: Option<f64>,
    /// All metrics of the server.
    #[serde(skip)]
    pub metrics: Metrics,
    /// Growth of the counters a second, since the sample before.
    #[serde(skip)]
    pub growth: BTreeMap<String, f64>,
}

/// Writes a count, a float in [`Sample`], as a whole number.
#[allow(clippy::ref_option)] // serde calls it so
fn whole<S: Serializer>(value: &Option<f64>, serializer: S) -> Result<S::Ok, S::Error> {
    #[allow(clippy::cast_possible_truncation)] // it saturates
    value.map(|value| value.round() as i64).serialize(serializer)
}

impl Sample {
    /// A metric's value; of a counter, its growth a second, which the first sample lacks.
    pub fn metric(&self, name: &str) -> Option<f64> {
        if name.ends_with(GROWING) { self.growth.get(name).copied() } else { self.metrics.get(name) }
    }

    /// Computes the growth of the counters since `before`, a sample of the same process.
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

/// The entry of a process in the data directory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Known {
    pid: u32,
    admin: Option<SocketAddr>,
}

/// A server: a process with one or more roles.
#[derive(Debug)]
pub struct Server {
    /// The roles, joined by a plus.
    pub name: String,
    meter: Option<Meter>,
    /// The last sample, and the CPU time of the process then.
    last: Option<(Sample, Duration)>,
    /// A process that has ended, and the modification time of the file that named it. In the same
    /// file its id may since belong to another process.
    exited: Option<(u32, Option<SystemTime>)>,
}

/// The servers of a data directory.
#[derive(Debug)]
pub struct Followed {
    data: PathBuf,
    servers: Vec<Server>,
}

impl Followed {
    /// Finds the servers in the endpoints file of `data`, running or left over.
    pub fn find(data: &Path) -> Result<Self, EndpointsError> {
        let mut followed = Self { data: data.into(), servers: Vec::new() };
        let known = by_process(&Endpoints::read(data)?);
        followed.add_new(&known);
        Ok(followed)
    }

    /// The servers found so far; a server keeps its index.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Samples all servers, `at_s` seconds after the start: one [`Sample`] for each, in the order
    /// of [`Followed::servers`].
    pub fn sample(&mut self, at_s: f64) -> Vec<Sample> {
        // Without the file no server runs. A damaged file counts as missing; it will be rewritten.
        let known = Endpoints::read(&self.data).map(|endpoints| by_process(&endpoints)).unwrap_or_default();
        let modified = fs::metadata(self.data.join(Endpoints::FILE)).and_then(|file| file.modified()).ok();
        self.add_new(&known);
        self.servers.iter_mut().map(|server| server.sample(known.get(&server.name), modified, at_s)).collect()
    }

    fn add_new(&mut self, known: &BTreeMap<String, Known>) {
        for name in known.keys() {
            if !self.servers.iter().any(|server| server.name == *name) {
                self.servers.push(Server { name: name.clone(), meter: None, last: None, exited: None });
            }
        }
    }
}

impl Server {
    fn sample(&mut self, known: Option<&Known>, modified: Option<SystemTime>, at_s: f64) -> Sample {
        let down = Sample { at_s, state: "DOWN".into(), ..Sample::default() };
        let Some(known) = known else {
            (self.meter, self.last) = (None, None);
            return down;
        };
        if self.exited == Some((known.pid, modified)) {
            return down;
        }
        if self.meter.as_ref().is_none_or(|meter| meter.usage().pid != known.pid) {
            self.last = None;
            match Meter::start(known.pid) {
                Ok(meter) => self.meter = Some(meter),
                Err(error) => {
                    self.meter = None;
                    // Other errors may pass.
                    self.exited = error.is_gone().then_some((known.pid, modified));
                }
            }
        }
        let Some(meter) = &mut self.meter else { return down };
        let usage = *meter.sample();
        if !meter.usage().alive {
            (self.meter, self.last, self.exited) = (None, None, Some((known.pid, modified)));
            return down;
        }
        let mut sample = self.sample_running(*known, usage, at_s);
        if let Some((before, _)) = &self.last {
            sample.grown_since(before);
        }
        self.last = Some((sample.clone(), usage.cpu));
        sample
    }

    fn sample_running(&self, known: Known, usage: procstat::Sample, at_s: f64) -> Sample {
        let files = procstat::files(known.pid).ok();
        let share = self
            .last
            .as_ref()
            .filter(|(before, _)| before.at_s < at_s)
            .map(|(before, cpu)| usage.cpu.saturating_sub(*cpu).as_secs_f64() / (at_s - before.at_s));
        let answers = match known.admin {
            Some(address) => admin::ask(address),
            None => admin::Answers { health: "no admin port".into(), ..admin::Answers::default() },
        };
        let metric = |name| answers.metrics.get(name);
        Sample {
            at_s,
            is_up: true,
            pid: Some(known.pid),
            cpu: share,
            rss_bytes: Some(usage.rss_bytes as f64),
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
            ..Sample::default()
        }
    }
}

/// The processes of the endpoints, by their joined roles.
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
    fn a_server_is_followed_through_its_end_and_restart() {
        let dir = tempfile::tempdir().expect("a temporary directory");
        let write = |pid| {
            let endpoints = Endpoints { pid, chat: Some(endpoint(pid)), ..Endpoints::default() };
            endpoints.write(dir.path()).expect("written");
        };
        assert!(Followed::find(dir.path()).is_err());
        let mut first = sleeper();
        write(first.id());
        let mut followed = Followed::find(dir.path()).expect("there is a file");
        let mut sample = |at_s| {
            let [sample]: [Sample; 1] = followed.sample(at_s).try_into().expect("one server");
            sample
        };
        let found = sample(0.0);
        assert!(found.is_up && found.state == "no admin port" && found.cpu.is_none(), "{found:?}");
        assert_eq!(found.pid, Some(first.id()));
        let found = sample(1.0);
        assert!(
            found.cpu.is_some_and(|cpu| cpu < 0.5) && found.rss_bytes.is_some_and(|rss| rss > 0.0),
            "{found:?}"
        );
        assert!(found.files.is_some_and(|files| files >= 3.0), "{found:?}");

        first.kill().and_then(|()| first.wait()).expect("it is ours");
        let found = sample(2.0);
        assert!(!found.is_up && found.state == "DOWN" && found.pid.is_none(), "{found:?}");
        assert!(!sample(3.0).is_up);

        let mut second = sleeper();
        write(second.id());
        let found = sample(4.0);
        assert!(
            found.is_up && found.cpu.is_none(),
            "CPU time is not compared with the old process: {found:?}"
        );
        assert_eq!(found.pid, Some(second.id()));
        // An orderly end removes the file.
        fs::remove_file(dir.path().join(Endpoints::FILE)).expect("it is there");
        assert!(!sample(5.0).is_up);
        second.kill().and_then(|()| second.wait()).expect("it is ours");
    }
}
