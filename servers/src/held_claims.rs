//! The claims that a login or chat server holds, and their comparison with the DB agents.
//!
//! An account is online while a server holds a claim on it. Whenever a link to a DB agent comes up,
//! the server sends it the list of its claims. The agent releases the claims of this server that
//! the list lacks, and revokes those that another server has taken meanwhile. So a release that is
//! lost with a link leaves no account online. The link takes no requests until the agent has
//! compared the list.
//!
//! Several agents may serve one database. Requests take turns among them. A claim holds by the
//! lease of the agent that it came by. When the link to an agent is lost, another agent is sent the
//! list and takes the claims over. Claims of requests that were under way to the lost agent are not
//! in that list, and end with the lost agent's lease. Lists are numbered, so that a delayed list
//! cannot undo a later one.
//!
//! A claim whose user has lost its connection is marked as away, and gives way to a new login then.
//! Every agent is told, as of a release, and the one that vouches for the claim marks it. A list
//! clears the marks. An agent that compares one is told nothing meanwhile, and of all claims that
//! are away afterwards. So its marks are those of now, whatever was lost with links.

use std::collections::BTreeMap;

use throng_core::SessionId;
use throng_core::content::Effects;
use throng_core::limits::DB_CONTROL_QUEUE;
use throng_core::links::Links;
use throng_core::wire::List;
use throng_core::wire::packets::{Claim, DbClaimAway, DbHeldClaims, DbReleaseClaim, Role};

/// Most claims that an agent is told to be away after a list. More at once would fill the lane in
/// which it keeps releases and lists too; the others give way when their time is over.
const TOLD_AWAY_MAX: usize = DB_CONTROL_QUEUE / 4;

/// The claims of one server process.
#[derive(Debug, Default)]
pub struct HeldClaims {
    /// By the claim's number.
    held: BTreeMap<u64, Held>,
    /// The links to DB agents that are up.
    agents: Vec<Agent>,
    /// The number of the latest list.
    last_list: u64,
    /// Number of lists that agents have compared.
    comparisons: u64,
    /// Chooses among the agents in turn.
    turn: usize,
}

#[derive(Debug)]
struct Held {
    claim: Claim,
    /// Number of comparisons when it came.
    comparisons: u64,
    /// True while its user has no connection.
    is_away: bool,
}

#[derive(Debug)]
struct Agent {
    link: SessionId,
    /// Lists that the agent has not compared yet.
    lists_in_flight: u32,
    /// True once the agent has compared its first list; it takes requests then.
    is_synced: bool,
    /// True if a claim came while a list was under way that lacks it. The answer that brought the
    /// claim may have crossed the list, and the agent then releases the claim. Another list follows
    /// the comparison, which restores the claim or shows who has taken the account.
    is_list_stale: bool,
    /// Claims that another server took while the agent compares a list that may name them. Should
    /// that server release such a claim before the agent reaches it in the list, the agent takes it
    /// for lost and restores it for this server. The claims are therefore released when the
    /// comparison ends.
    in_doubt: Vec<Claim>,
}

impl Agent {
    fn new(link: SessionId) -> Self {
        Self { link, lists_in_flight: 0, is_synced: false, is_list_stale: false, in_doubt: Vec::new() }
    }
}

impl HeldClaims {
    /// Adds a claim.
    pub fn insert(&mut self, claim: Claim) {
        self.held.insert(claim.id, Held { claim, comparisons: self.comparisons, is_away: false });
        for agent in self.agents.iter_mut().filter(|agent| agent.lists_in_flight > 0) {
            agent.is_list_stale = true;
        }
    }

    /// Returns the number of lists that agents have compared.
    pub fn comparisons(&self) -> u64 {
        self.comparisons
    }

    /// Adds a claim that came over from a login server, requested when
    /// [`comparisons`](Self::comparisons) was `since`. An agent that has compared a list meanwhile
    /// could not tell that the claim is void, so another list follows.
    pub fn insert_moved(&mut self, claim: Claim, since: u64, effects: &mut Effects) {
        self.insert(claim);
        if self.comparisons != since {
            // A list that is under way has become stale and is followed by another.
            let at = self.agents.iter().position(|agent| agent.is_synced && agent.lists_in_flight == 0);
            if let Some(at) = at {
                self.send_list(at, effects);
            }
        }
    }

    /// Records that the user of a claim has lost its connection, or is back. Of a claim that is not
    /// held, and so of number 0, nothing is recorded.
    pub fn set_away(&mut self, claim: Claim, is_away: bool, effects: &mut Effects) {
        let Some(held) = self.held.get_mut(&claim.id).filter(|held| held.is_away != is_away) else { return };
        held.is_away = is_away;
        for agent in self.agents.iter().filter(|agent| agent.lists_in_flight == 0) {
            effects.send(agent.link, DbClaimAway { claim, is_away });
        }
    }

    /// Returns true if the claim is held. Number 0 never is.
    pub fn contains(&self, claim: &Claim) -> bool {
        self.held.contains_key(&claim.id)
    }

    #[cfg(test)]
    pub(crate) fn count(&self) -> usize {
        self.held.len()
    }

    /// Returns the number of claims that are released when a comparison ends.
    #[cfg(test)]
    pub(crate) fn in_doubt(&self) -> usize {
        self.agents.iter().map(|agent| agent.in_doubt.len()).sum()
    }

    /// Removes a claim that another server has taken. An agent that compared a list may have
    /// restored it for this server, if the other server had released it by then.
    pub fn remove_transferred(&mut self, claim: &Claim, effects: &mut Effects) {
        let Some(Held { comparisons, .. }) = self.held.remove(&claim.id) else { return };
        for agent in &mut self.agents {
            if agent.lists_in_flight > 0 {
                agent.in_doubt.push(*claim);
            } else if comparisons != self.comparisons {
                effects.send(agent.link, DbReleaseClaim { claim: *claim });
            }
        }
    }

    /// Removes a claim whose user has resumed at another server, which takes the claim over.
    pub fn hand_over(&mut self, claim: &Claim) {
        self.held.remove(&claim.id);
    }

    /// Adds a claim whose user has resumed here, and which may have ended with the server that held
    /// it. The DB agents take it up, or revoke it.
    pub fn take_up(&mut self, claim: Claim, effects: &mut Effects) {
        self.insert(claim);
        let at = self.agents.iter().position(|agent| agent.is_synced && agent.lists_in_flight == 0);
        if let Some(at) = at {
            self.send_list(at, effects);
        }
    }

    /// Releases a claim that is held, or may be: a DB agent ignores a claim that this server does
    /// not hold. Without a link nothing is sent, and the next list settles it.
    ///
    /// The release goes to every agent. One of them is the agent that the claim came by: if its
    /// link is lost before it acts, the claim ends with its lease. Another may be comparing a list
    /// that names the claim.
    pub fn release(&mut self, claim: Claim, effects: &mut Effects) {
        self.held.remove(&claim.id);
        for agent in &self.agents {
            effects.send(agent.link, DbReleaseClaim { claim });
        }
    }

    /// Returns the link to the next DB agent that takes requests, in turn.
    pub fn next_agent(&mut self) -> Option<SessionId> {
        self.ready_agents().first().copied()
    }

    /// Returns the number of DB agents that take requests.
    pub fn ready_count(&self) -> usize {
        self.agents.iter().filter(|agent| agent.is_synced).count()
    }

    /// Returns the links to all DB agents that take requests, beginning with the next one in turn.
    pub fn ready_agents(&mut self) -> Vec<SessionId> {
        let ready = self.agents.iter().filter(|agent| agent.is_synced);
        let mut ready: Vec<SessionId> = ready.map(|agent| agent.link).collect();
        self.turn = self.turn.wrapping_add(1);
        let first = self.turn % ready.len().max(1);
        ready.rotate_left(first);
        ready
    }

    /// Adjusts to links to DB agents that came up or went down.
    pub fn links_changed(&mut self, links: &Links, effects: &mut Effects) {
        let before = self.agents.len();
        self.agents.retain(|agent| links.is_up(agent.link));
        if self.agents.len() < before {
            // The claims that came by the lost agent need another one that vouches for them.
            let successor = self.agents.iter().position(|agent| agent.is_synced);
            let successor = successor.or_else(|| (!self.agents.is_empty()).then_some(0));
            if let Some(successor) = successor {
                self.send_list(successor, effects);
            }
        }
        for (link, _) in links.up(Role::DbAgent) {
            if self.agents.iter().all(|agent| agent.link != link) {
                self.agents.push(Agent::new(link));
                self.send_list(self.agents.len() - 1, effects);
            }
        }
    }

    fn send_list(&mut self, agent: usize, effects: &mut Effects) {
        let Some(agent) = self.agents.get_mut(agent) else { return };
        agent.lists_in_flight += 1;
        self.last_list += 1;
        let mut claims = self.held.values().map(|held| held.claim).peekable();
        loop {
            let page = List::take_from(&mut claims);
            let last = claims.peek().is_none();
            effects.send(agent.link, DbHeldClaims { list: self.last_list, claims: page, last });
            if last {
                break;
            }
        }
    }

    /// Records that a DB agent has compared a list.
    pub fn synced(&mut self, link: SessionId, effects: &mut Effects) {
        let Some(at) = self.agents.iter().position(|agent| agent.link == link) else { return };
        let agent = &mut self.agents[at];
        agent.is_synced = true;
        self.comparisons += 1;
        agent.lists_in_flight = agent.lists_in_flight.saturating_sub(1);
        if agent.lists_in_flight > 0 {
            return;
        }
        for claim in agent.in_doubt.drain(..) {
            effects.send(link, DbReleaseClaim { claim });
        }
        if std::mem::take(&mut agent.is_list_stale) {
            return self.send_list(at, effects);
        }
        for held in self.held.values().filter(|held| held.is_away).take(TOLD_AWAY_MAX) {
            effects.send(link, DbClaimAway { claim: held.claim, is_away: true });
        }
    }
}
