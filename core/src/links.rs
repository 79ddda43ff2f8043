//! Links between servers: peers, reconnection, and requests that wait for answers.
//!
//! A link (the predecessor called it a Terminal) is a session like any other: it is sealed with the
//! cluster's key and watched by heartbeats. This module is the state machine above the session, and
//! knows neither sockets nor clocks. A link that ends is dialed again for ever, with growing,
//! jittered pauses. A peer with a host name is looked up for each attempt, and its addresses are
//! tried in turn. The number of links, and of requests that wait, is bounded; every request is
//! answered, expires, or fails with its link.
//!
//! A link that changes its state again and again is logged up to [`LOG_BURST`] times at once, and
//! then once a minute; a peer that cannot be reached likewise once, and then once a minute.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::{self, Write};
use std::mem;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rand::RngExt;

use crate::SessionId;
use crate::content::Effects;
use crate::host::{HostAddress, Lookup};
use crate::limits::{LINKS_MAX, PENDING_REQUESTS_MAX};
use crate::log::{LineBudget, Trouble};
use crate::metrics;
use crate::net::{Closed, Endpoint, Opened};
use crate::wire::CloseReason;
use crate::wire::packets::{LinkHello, Role};

/// A server to connect to.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Role that the server must have.
    pub role: Role,
    /// Address on which it listens for links.
    pub address: HostAddress,
}

/// Bounds of the pauses between attempts to connect.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// First pause.
    pub min: Duration,
    /// Longest pause. Each pause is up to twice as long as the one before.
    pub max: Duration,
}

/// Links of one role.
pub struct Links {
    hello: LinkHello,
    endpoint: Arc<Endpoint>,
    backoff: Backoff,
    outgoing: Vec<Outgoing>,
    /// Links before their LinkHello, with the index of the outgoing link if this server dialed.
    unidentified: HashMap<SessionId, Option<usize>>,
    up: BTreeMap<SessionId, Link>,
    board: Arc<LinkBoard>,
}

/// A link whose peer has identified itself.
#[derive(Debug, Clone)]
pub struct Link {
    /// Identification of the peer.
    pub hello: LinkHello,
    up_since: Instant,
    outgoing: Option<usize>,
}

struct Outgoing {
    peer: Peer,
    state: State,
    /// Pause after the next failure.
    pause: Duration,
    /// Addresses of the peer's name that this attempt has still to try.
    untried: VecDeque<SocketAddr>,
    /// Attempts that have failed since the link was up.
    unreachable: Trouble,
}

#[derive(Debug, Clone)]
enum State {
    Waiting(Instant),
    LookingUp(Lookup),
    Dialing,
    Up,
}

/// Interval at which a look-up is asked whether it is done.
const LOOKUP_POLL: Duration = Duration::from_millis(10);

/// Changes of a link's state that are logged at once; beyond it, one a minute.
pub const LOG_BURST: u32 = 6;
const LOG_REFILL: Duration = Duration::from_mins(1);

impl Outgoing {
    /// Returns the address to dial now, or `Err` with the reason why there is none. `Ok(None)`
    /// means that the name is being looked up.
    fn next_address(&mut self) -> Result<Option<SocketAddr>, String> {
        if let Some(address) = self.untried.pop_front() {
            return Ok(Some(address));
        }
        let (host, port) = match &self.peer.address {
            HostAddress::Ip(address) => return Ok(Some(*address)),
            HostAddress::Name { host, port } => (host, *port),
        };
        let lookup = match mem::replace(&mut self.state, State::Dialing) {
            State::LookingUp(lookup) => lookup,
            _ => Lookup::start(host, port),
        };
        match lookup.take() {
            None => {
                self.state = State::LookingUp(lookup);
                Ok(None)
            }
            Some(Ok(addresses)) => {
                self.untried = addresses.into();
                Ok(self.untried.pop_front())
            }
            Some(Err(error)) => Err(format!("cannot look up {host}: {error}")),
        }
    }

    /// Schedules the next attempt after a failed one, and returns the pause until then.
    fn wait(&mut self, backoff: Backoff, now: Instant) -> Duration {
        let pause = self.pause.mul_f64(rand::rng().random_range(0.5..=1.0));
        self.state = State::Waiting(now + pause);
        self.pause = (self.pause * 2).min(backoff.max);
        pause
    }
}

impl Links {
    /// Creates the links of the server that identifies itself with `hello`. It dials `peers`, at
    /// most [`LINKS_MAX`]. `board` shows the state of all links.
    pub fn new(
        hello: LinkHello,
        endpoint: Arc<Endpoint>,
        backoff: Backoff,
        peers: Vec<Peer>,
        now: Instant,
        board: Arc<LinkBoard>,
    ) -> Self {
        let outgoing: Vec<Outgoing> = peers
            .into_iter()
            .take(LINKS_MAX)
            .map(|peer| Outgoing {
                peer,
                state: State::Waiting(now),
                pause: backoff.min,
                untried: VecDeque::new(),
                unreachable: Trouble::new(),
            })
            .collect();
        let links = Self {
            hello,
            endpoint,
            backoff,
            outgoing,
            unidentified: HashMap::new(),
            up: BTreeMap::new(),
            board,
        };
        for token in 0..links.outgoing.len() {
            links.show(token, "not connected yet");
        }
        links
    }

    /// Returns the number that this process drew at its start.
    pub fn instance(&self) -> u64 {
        self.hello.instance
    }

    /// Dials the peers whose pause is over. Returns the time for the next call, if one is needed.
    pub fn tick(&mut self, now: Instant, effects: &mut Effects) -> Option<Instant> {
        if self.board.is_ending.load(Relaxed) {
            return None;
        }
        let mut next: Option<Instant> = None;
        for token in 0..self.outgoing.len() {
            let outgoing = &mut self.outgoing[token];
            let wake_at = match outgoing.state {
                State::Waiting(at) if at > now => Some(at),
                State::Waiting(_) | State::LookingUp(_) => match outgoing.next_address() {
                    Ok(Some(address)) => {
                        outgoing.state = State::Dialing;
                        effects.dial(address, self.endpoint.clone(), token as u64);
                        None
                    }
                    Ok(None) => Some(now + LOOKUP_POLL),
                    Err(reason) => Some(now + self.failed(token, &reason, now)),
                },
                State::Dialing | State::Up => None,
            };
            next = [next, wake_at].into_iter().flatten().min();
        }
        next
    }

    /// Handles an attempt that has failed for all addresses of a peer. Returns the pause until the
    /// next one.
    fn failed(&mut self, token: usize, reason: &str, now: Instant) -> Duration {
        let outgoing = &mut self.outgoing[token];
        let pause = outgoing.wait(self.backoff, now);
        let Peer { role, address } = &outgoing.peer;
        tracing::debug!(%address, role = role.name(), ?pause, reason, "will dial again");
        if let Some(lasting) = outgoing.unreachable.occurs(now) {
            tracing::warn!(
                "{} cannot reach the {} {address}{lasting}: {reason}; it goes on trying",
                self.hello.name,
                title(*role),
            );
        }
        self.show(token, &format!("down ({reason}), dialing again"));
        pause
    }

    /// Shows the state of an outgoing link on the board.
    fn show(&self, token: usize, state: &str) {
        let outgoing = &self.outgoing[token];
        let key = format!("{} -> {} {}", self.hello.name, outgoing.peer.role.name(), outgoing.peer.address);
        self.board.set_outgoing(&key, &self.hello.name, &outgoing.peer, state);
    }

    /// Handles the opening of a link: sends it our identification. The link stays unidentified
    /// until it sends its own.
    pub fn opened(&mut self, id: SessionId, opened: &Opened, effects: &mut Effects) {
        self.unidentified.insert(id, opened.dialed.map(|token| token as usize));
        effects.send(id, self.hello.clone());
    }

    /// Returns true if the session is an identified link.
    pub fn is_up(&self, id: SessionId) -> bool {
        self.up.contains_key(&id)
    }

    /// Handles the identification of a link. A link that we dialed must have its configured role,
    /// any other one of the `allowed` roles; otherwise it is closed. Returns the link if it is now
    /// up.
    pub fn identify(
        &mut self,
        id: SessionId,
        hello: LinkHello,
        allowed: &[Role],
        now: Instant,
        effects: &mut Effects,
    ) -> Option<&Link> {
        let outgoing = self.unidentified.remove(&id)?;
        let expected = outgoing.and_then(|token| self.outgoing.get(token)).map(|outgoing| &outgoing.peer);
        let fits = expected.map_or(allowed.contains(&hello.role), |peer| peer.role == hello.role);
        if !fits {
            static WRONG: LineBudget = LineBudget::new(LOG_BURST, LOG_REFILL);
            if let Some(suppressed) = WRONG.take(now) {
                let suppressed = (suppressed > 0).then_some(suppressed);
                let address = expected.map(|peer| peer.address.to_string());
                tracing::error!(
                    peer = ?hello.name, role = hello.role.name(), address, suppressed,
                    "this server is of the wrong role for the link: check the addresses in the configuration",
                );
            }
            effects.close(id, CloseReason::WrongPeer);
            // Its end is reported later, and must find the outgoing link.
            self.unidentified.insert(id, outgoing);
            return None;
        }
        if let Some(outgoing) = outgoing.and_then(|token| self.outgoing.get_mut(token)) {
            outgoing.state = State::Up;
            outgoing.untried.clear();
            outgoing.unreachable.ends(now);
        }
        let key = self.board_key(outgoing, &hello);
        if let Some(suppressed) = self.board.line(&key, now) {
            let suppressed = (suppressed > 0).then_some(suppressed);
            tracing::info!(
                peer = ?hello.name, role = hello.role.name(), session = %id, suppressed, "link up"
            );
        }
        metrics::LINKS_CONNECTED.of(hello.role).inc();
        metrics::LINKS_UP.add(1);
        // A DB agent accepts requests only after both sides have compared claims.
        let state = if hello.role == Role::DbAgent { COMPARING } else { UP };
        self.board.set(&key, state);
        Some(self.up.entry(id).or_insert(Link { hello, up_since: now, outgoing }))
    }

    /// Marks a link as accepting requests. For a DB agent, once claims are compared.
    pub fn ready(&self, id: SessionId) {
        if let Some(link) = self.up.get(&id) {
            self.board.set(&self.board_key(link.outgoing, &link.hello), UP);
        }
    }

    /// Handles the end of a link or of an attempt to dial one, and schedules the next attempt.
    /// Returns the link if it was up.
    pub fn closed(&mut self, id: SessionId, closed: &Closed, now: Instant) -> Option<Link> {
        self.unidentified.remove(&id);
        let link = self.up.remove(&id);
        if let Some(link) = &link {
            metrics::LINKS_LOST.of(link.hello.role).inc();
            metrics::LINKS_UP.add(-1);
            let key = self.board_key(link.outgoing, &link.hello);
            self.board.set(&key, "down");
            // A server that ends in order says so, and is no cause for alarm.
            let is_planned = closed.reason == CloseReason::ServerShutdown;
            if let Some(suppressed) = self.board.line(&key, now) {
                let suppressed = (suppressed > 0).then_some(suppressed);
                let (peer, role, reason) = (&link.hello.name, link.hello.role.name(), closed.reason.name());
                if is_planned {
                    tracing::info!(?peer, role, reason, suppressed, "link closed");
                } else {
                    tracing::warn!(?peer, role, reason, suppressed, "link down");
                }
            }
        }
        if let Some(token) = closed.dialed.map(|token| token as usize)
            && let Some(outgoing) = self.outgoing.get_mut(token)
        {
            if link.is_none() && !outgoing.untried.is_empty() {
                // The next address of the name, at once.
                outgoing.state = State::Waiting(now);
                return link;
            }
            // Only a link that was up for a while resets the pause. A peer that accepts and closes
            // at once must not be dialed in a tight loop.
            if link.as_ref().is_some_and(|link| now.duration_since(link.up_since) >= self.backoff.max) {
                outgoing.pause = self.backoff.min;
            }
            if link.is_some() {
                outgoing.wait(self.backoff, now);
                self.show(token, &format!("down ({}), dialing again", closed.reason.name()));
            } else {
                self.failed(token, closed.reason.name(), now);
            }
        }
        link
    }

    /// Returns all links that are up.
    pub fn all(&self) -> impl Iterator<Item = (SessionId, &Link)> {
        self.up.iter().map(|(id, link)| (*id, link))
    }

    /// Returns the links to servers of one role that are up.
    pub fn up(&self, role: Role) -> impl Iterator<Item = (SessionId, &Link)> {
        self.all().filter(move |(_, link)| link.hello.role == role)
    }

    /// Returns the session of the link to the process that drew `instance`, if it is up.
    pub fn of_instance(&self, instance: u64) -> Option<SessionId> {
        self.up.iter().find(|(_, link)| link.hello.instance == instance).map(|(id, _)| *id)
    }

    /// Returns the link of a session, if it is up.
    pub fn get(&self, id: SessionId) -> Option<&Link> {
        self.up.get(&id)
    }

    fn board_key(&self, outgoing: Option<usize>, peer: &LinkHello) -> String {
        match outgoing.and_then(|token| self.outgoing.get(token)) {
            Some(outgoing) => {
                format!("{} -> {} {}", self.hello.name, outgoing.peer.role.name(), outgoing.peer.address)
            }
            None => format!("{} <- {} {}", self.hello.name, peer.role.name(), peer.name),
        }
    }
}

/// State of a link that accepts requests.
const UP: &str = "up";

/// State of a link that is up but whose ends have still to compare claims.
const COMPARING: &str = "comparing claims";

/// State of every link of a process, for operators.
#[derive(Debug, Default)]
pub struct LinkBoard {
    links: Mutex<BTreeMap<String, Shown>>,
    is_ending: AtomicBool,
}

/// A link on the board.
#[derive(Debug)]
struct Shown {
    state: String,
    /// For a link that this process dials: the name of its role, and the peer.
    needed: Option<(Name, Peer)>,
    /// Lines about this link.
    lines: LineBudget,
}

type Name = crate::wire::Text<64>;

impl Shown {
    fn new(state: &str) -> Self {
        Self { state: state.to_owned(), needed: None, lines: LineBudget::new(LOG_BURST, LOG_REFILL) }
    }
}

/// A need of a server that is not met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Missing {
    /// The need, which stays the same as long as it is not met.
    pub what: String,
    /// Its details at the moment; may be empty.
    pub detail: String,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)?;
        if self.detail.is_empty() { Ok(()) } else { write!(f, " ({})", self.detail) }
    }
}

/// Peers of one kind that [`Missing::detail`] names.
const NAMED_MAX: usize = 3;

impl LinkBoard {
    /// Has no link of the process dialed any more, because the process is ending.
    pub fn end(&self) {
        self.is_ending.store(true, Relaxed);
    }

    fn set(&self, link: &str, state: &str) {
        let mut board = self.links.lock();
        if let Some(shown) = board.get_mut(link) {
            state.clone_into(&mut shown.state);
        } else if board.len() < LINKS_MAX * 2 {
            // Names of peers come from the network, so past the limit only known links are updated.
            board.insert(link.to_owned(), Shown::new(state));
        }
    }

    /// As [`Self::set`], for a link that the server `own` dials.
    fn set_outgoing(&self, link: &str, own: &str, peer: &Peer, state: &str) {
        let mut board = self.links.lock();
        let shown = board.entry(link.to_owned()).or_insert_with(|| Shown::new(state));
        state.clone_into(&mut shown.state);
        shown.needed.get_or_insert_with(|| (Name::truncated(own), peer.clone()));
    }

    /// Takes a log line about a link, as [`LineBudget::take`] does.
    fn line(&self, link: &str, now: Instant) -> Option<u64> {
        self.links.lock().get(link).map_or(Some(0), |shown| shown.lines.take(now))
    }

    /// Returns the number of links that accept requests.
    pub fn up(&self) -> usize {
        self.links.lock().values().filter(|shown| shown.state == UP).count()
    }

    /// Returns the kinds of servers that a server of this process needs, and has no link to that
    /// accepts requests.
    pub fn missing(&self) -> Vec<Missing> {
        let board = self.links.lock();
        let mut needs = BTreeMap::<(&str, u8), (bool, Vec<&Shown>)>::new();
        for shown in board.values() {
            if let Some((own, peer)) = &shown.needed {
                let need = needs.entry((own, peer.role as u8)).or_default();
                need.0 |= shown.state == UP;
                need.1.push(shown);
            }
        }
        let unmet = needs.into_iter().filter(|(_, (is_met, _))| !is_met);
        unmet.map(|((own, _), (_, links))| missing_link(own, &links)).collect()
    }

    /// Returns a JSON object from links to states.
    pub fn to_json(&self) -> String {
        let mut out = String::from("{");
        for (number, (link, shown)) in self.links.lock().iter().enumerate() {
            let comma = if number == 0 { "" } else { ",\n " };
            // Writing to a String cannot fail.
            let _ = write!(out, "{comma}{}:{}", quoted(link), quoted(&shown.state));
        }
        out + "}\n"
    }
}

fn missing_link(own: &str, links: &[&Shown]) -> Missing {
    let needed = links.iter().filter_map(|link| Some((&link.needed.as_ref()?.1, &link.state)));
    let mut role = "server";
    let mut detail = Vec::new();
    for (peer, state) in needed {
        role = title(peer.role);
        if detail.len() < NAMED_MAX {
            detail.push(format!("{}: {state}", peer.address));
        }
    }
    if links.len() > NAMED_MAX {
        detail.push(format!("and {} more", links.len() - NAMED_MAX));
    }
    Missing { what: format!("{own} has no link to a {role}"), detail: detail.join("; ") }
}

/// Returns the words for a role.
fn title(role: Role) -> &'static str {
    match role {
        Role::Login => "login server",
        Role::Chat => "chat server",
        Role::DbAgent => "DB agent",
    }
}

/// Writes a text as a JSON string.
pub fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c.is_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out + "\""
}

/// Requests that wait for an answer over a link, each with a context of type `T`. Every request is
/// answered, expires, or fails with its link. At most [`PENDING_REQUESTS_MAX`] wait at a time.
pub struct Pending<T> {
    last: u64,
    timeout: Duration,
    waiting: BTreeMap<u64, (SessionId, T)>,
    /// In order, because all requests have one timeout. Answered requests stay until their
    /// deadline.
    deadlines: VecDeque<(Instant, u64)>,
}

impl<T> Pending<T> {
    /// Creates an empty table of requests that expire after `timeout`.
    pub fn new(timeout: Duration) -> Self {
        Self { last: 0, timeout, waiting: BTreeMap::new(), deadlines: VecDeque::new() }
    }

    /// Adds a request over `link`. Returns the number that its answer must carry, or gives
    /// `context` back if too many requests wait already.
    pub fn add(&mut self, link: SessionId, context: T, now: Instant) -> Result<u64, T> {
        if self.waiting.len() >= PENDING_REQUESTS_MAX {
            return Err(context);
        }
        // Bounds the deadlines of requests that were answered long before their time.
        if self.deadlines.len() >= 2 * PENDING_REQUESTS_MAX {
            self.deadlines.retain(|(_, request)| self.waiting.contains_key(request));
        }
        self.last += 1;
        self.waiting.insert(self.last, (link, context));
        self.deadlines.push_back((now + self.timeout, self.last));
        Ok(self.last)
    }

    /// Removes the request that an answer over `link` belongs to. None if the request has ended or
    /// was sent over another link.
    pub fn answered(&mut self, link: SessionId, request: u64) -> Option<T> {
        if self.waiting.get(&request)?.0 != link {
            return None;
        }
        self.waiting.remove(&request).map(|(_, context)| context)
    }

    /// Returns the requests that wait, oldest first.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.waiting.values_mut().map(|(_, context)| context)
    }

    /// Removes the requests that wait for a link that has ended, oldest first.
    pub fn fail_link(&mut self, link: SessionId) -> Vec<T> {
        self.waiting.extract_if(.., |_, (over, _)| *over == link).map(|(_, (_, context))| context).collect()
    }

    /// Removes the requests whose deadline has passed.
    pub fn expire(&mut self, now: Instant) -> Vec<T> {
        let mut expired = Vec::new();
        while let Some((_, request)) = self.deadlines.pop_front_if(|(deadline, _)| *deadline <= now) {
            expired.extend(self.waiting.remove(&request).map(|(_, context)| context));
        }
        expired
    }

    /// Returns the time for [`Self::expire`], if a deadline is pending.
    pub fn next_deadline(&self) -> Option<Instant> {
        self.deadlines.front().map(|(deadline, _)| *deadline)
    }

    /// Returns the number of requests that wait.
    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    /// Returns true if no request waits.
    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }
}

#[cfg(test)]
mod tests;
