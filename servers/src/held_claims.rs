//! The claims that a login or chat server holds, and their agreement with the DB agents.
//!
//! An account is online because somebody holds a claim on it. Whenever a link to a DB
//! agent comes up, the whole list is sent; what the agent has too many is released there,
//! what has gone to somebody else meanwhile is revoked here. So a release that was lost with a
//! link leaves no ghost, and until the agent has answered, the link takes no requests.
//!
//! Several agents may be up, over one database. Requests take turns among them. A claim holds by the lease
//! of the agent that it came by; when the link to an agent is lost, another one is sent the list
//! and takes the claims over. What was under way to the lost one is not in that list, and is free
//! when the lost agent's lease ends. Lists are numbered, so that none that was delayed undoes a later one.

use std::collections::HashMap;

use throng_core::SessionId;
use throng_core::content::Effects;
use throng_core::links::Links;
use throng_core::wire::List;
use throng_core::wire::packets::{Claim, DbHeldClaims, DbReleaseClaim, Role};

/// The claims of one server process.
#[derive(Debug, Default)]
pub struct HeldClaims {
    /// By the claim's number.
    held: HashMap<u64, Claim>,
    /// The links to DB agents that are up.
    agents: Vec<Agent>,
    /// The number of the last list.
    last_list: u64,
    /// Chooses among agents in turn.
    turn: usize,
}

#[derive(Debug)]
struct Agent {
    link: SessionId,
    /// Lists that it has yet to compare.
    lists_in_flight: u32,
    /// Whether it has compared its first list: it takes requests.
    is_synced: bool,
    /// Claims that went to somebody else while the agent compares a list, in which they may
    /// stand. Should whoever got one give it up before the agent comes to it, the agent takes
    /// it for one that it lost, and calls its account online for us.
    in_doubt: Vec<Claim>,
}

impl HeldClaims {
    /// A claim is ours.
    pub fn insert(&mut self, claim: Claim) {
        self.held.insert(claim.id, claim);
    }

    /// Whether a claim is ours. Number 0 never is.
    pub fn contains(&self, claim: &Claim) -> bool {
        self.held.contains_key(&claim.id)
    }

    /// A claim is ours no more, because it went to somebody else. Says whether it was.
    pub fn remove_transferred(&mut self, claim: &Claim) -> bool {
        let was_held = self.held.remove(&claim.id).is_some();
        if was_held {
            for agent in self.agents.iter_mut().filter(|agent| agent.lists_in_flight > 0) {
                agent.in_doubt.push(*claim);
            }
        }
        was_held
    }

    /// Gives a claim up, held or only perhaps ours: a DB agent ignores what we do not hold. While
    /// no link is up nothing is sent; the next list tells it.
    ///
    /// Every agent is told. The one that the claim came by must be among them: should its link be lost
    /// before it has done it, the claim ends with its lease. And one that compares a list may find the claim in it.
    pub fn release(&mut self, claim: Claim, effects: &mut Effects) {
        self.held.remove(&claim.id);
        for agent in &self.agents {
            effects.send(agent.link, DbReleaseClaim { claim });
        }
    }

    /// A link over which a DB agent can be asked, if there is one; each in its turn.
    pub fn next_agent(&mut self) -> Option<SessionId> {
        let ready = || self.agents.iter().filter(|agent| agent.is_synced);
        let count = ready().count();
        self.turn = self.turn.wrapping_add(1);
        let index = self.turn % count.max(1);
        ready().nth(index).map(|agent| agent.link)
    }

    /// Links to DB agents came up or went down.
    pub fn links_changed(&mut self, links: &Links, effects: &mut Effects) {
        let before = self.agents.len();
        self.agents.retain(|agent| links.is_up(agent.link));
        if self.agents.len() < before {
            // The claims that came by the lost agent need another one to vouch for them.
            let successor = self.agents.iter().position(|agent| agent.is_synced);
            let successor = successor.or_else(|| (!self.agents.is_empty()).then_some(0));
            if let Some(successor) = successor {
                self.send_list(successor, effects);
            }
        }
        for (link, _) in links.up(Role::DbAgent) {
            if self.agents.iter().all(|agent| agent.link != link) {
                self.agents.push(Agent { link, lists_in_flight: 0, is_synced: false, in_doubt: Vec::new() });
                self.send_list(self.agents.len() - 1, effects);
            }
        }
    }

    /// Sends an agent the list.
    fn send_list(&mut self, agent: usize, effects: &mut Effects) {
        let Some(agent) = self.agents.get_mut(agent) else { return };
        agent.lists_in_flight += 1;
        self.last_list += 1;
        let mut claims = self.held.values().copied().peekable();
        loop {
            let page = List::take_from(&mut claims);
            let last = claims.peek().is_none();
            effects.send(agent.link, DbHeldClaims { list: self.last_list, claims: page, last });
            if last {
                break;
            }
        }
    }

    /// A DB agent has compared a list.
    pub fn synced(&mut self, link: SessionId, effects: &mut Effects) {
        if let Some(agent) = self.agents.iter_mut().find(|agent| agent.link == link) {
            agent.is_synced = true;
            agent.lists_in_flight = agent.lists_in_flight.saturating_sub(1);
            if agent.lists_in_flight == 0 {
                for claim in agent.in_doubt.drain(..) {
                    effects.send(link, DbReleaseClaim { claim });
                }
            }
        }
    }
}
