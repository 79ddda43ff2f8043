//! The claims that a login or chat server holds, and their agreement with the DB agent.
//!
//! An account is online because somebody holds a claim on it. Whenever a link to a DB
//! agent comes up, the whole list is sent; what the agent has too many is released there,
//! what has gone to somebody else meanwhile is revoked here. So a release that was lost with a
//! link leaves no ghost, and until the agent has answered, the link takes no requests.

use std::collections::HashMap;

use throng_core::SessionId;
use throng_core::content::Effects;
use throng_core::terminal::Terminals;
use throng_core::wire::List;
use throng_core::wire::packets::{Claim, DbHeldClaims, DbReleaseClaim, Role};

/// The claims of one server process.
#[derive(Debug, Default)]
pub struct Holdings {
    /// By the claim's number.
    held: HashMap<u64, Claim>,
    /// The link to the DB agent in use.
    agent: Option<Agent>,
    /// Claims that went to somebody else while the DB agent compares the list, in which they may
    /// stand. Should whoever got one give it up before the agent comes to it, the agent takes
    /// it for one that it lost, and calls its account online for us.
    in_doubt: Vec<Claim>,
}

#[derive(Debug, Clone, Copy)]
struct Agent {
    link: SessionId,
    is_synced: bool,
}

impl Holdings {
    /// A claim is ours.
    pub fn hold(&mut self, claim: Claim) {
        self.held.insert(claim.id, claim);
    }

    /// Whether a claim is ours. Number 0 never is.
    pub fn holds(&self, claim: &Claim) -> bool {
        self.held.contains_key(&claim.id)
    }

    /// A claim is ours no more, because it went to somebody else. Says whether it was.
    pub fn forget(&mut self, claim: &Claim) -> bool {
        let was_held = self.held.remove(&claim.id).is_some();
        if was_held && self.agent.is_some_and(|agent| !agent.is_synced) {
            self.in_doubt.push(*claim);
        }
        was_held
    }

    /// Gives a claim up, held or only perhaps ours: the DB agent ignores what we do not hold. While
    /// no link is up nothing is sent; the next list tells it.
    pub fn release(&mut self, claim: Claim, effects: &mut Effects) {
        self.held.remove(&claim.id);
        if let Some(agent) = self.agent {
            effects.send(agent.link, DbReleaseClaim { claim });
        }
    }

    /// The link over which the DB agent can be asked, if there is one.
    pub fn agent(&self) -> Option<SessionId> {
        self.agent.filter(|agent| agent.is_synced).map(|agent| agent.link)
    }

    /// Links to DB agents came up or went down.
    pub fn links_changed(&mut self, terminals: &Terminals, effects: &mut Effects) {
        if self.agent.is_some_and(|agent| terminals.is_up(agent.link)) {
            return;
        }
        self.agent = None;
        self.in_doubt.clear();
        if let Some((link, _)) = terminals.up(Role::DbAgent).next() {
            self.agent = Some(Agent { link, is_synced: false });
            let mut claims = self.held.values().copied().peekable();
            loop {
                let page = List::take_from(&mut claims);
                let last = claims.peek().is_none();
                effects.send(link, DbHeldClaims { claims: page, last });
                if last {
                    break;
                }
            }
        }
    }

    /// The DB agent has compared the list.
    pub fn synced(&mut self, link: SessionId, effects: &mut Effects) {
        if let Some(agent) = self.agent.as_mut().filter(|agent| agent.link == link) {
            agent.is_synced = true;
            for claim in self.in_doubt.drain(..) {
                effects.send(link, DbReleaseClaim { claim });
            }
        }
    }
}
