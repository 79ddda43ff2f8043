//! The stub's login.

use throng_core::SessionId;
use throng_core::clock::unix_ms;
use throng_core::crypto::Ticket;
use throng_core::net::Sessions;
use throng_core::wire::packets::{
    CreateCharacterAnswer, LoginGranted, LoginQueued, LoginRefused, Name, Outcome, SignUpAnswer,
};
use throng_core::wire::{Packet, Text};

use super::StubApp;

impl StubApp {
    /// True if an account is online, in fact or by the script.
    fn is_online(&mut self, id: &str) -> bool {
        let has_been_in = self.seen.lock().unwrap().entries.contains_key(id);
        let lingers = has_been_in && self.lingers > 0;
        self.lingers -= u32::from(lingers);
        lingers || (self.script.online)(id)
    }

    pub(super) fn login(&mut self, sessions: &mut Sessions, id: SessionId, packet: Packet) {
        for position in self.script.queue {
            sessions.send(id, &LoginQueued { position: *position, wait_ms: 10 }.into());
        }
        let is_later = self.later > 0;
        self.later = self.later.saturating_sub(1);
        let outcome = if is_later { Outcome::TryAgainLater } else { Outcome::Ok };
        let answer: Packet = match packet {
            Packet::SignUpRequest(_) => {
                self.seen.lock().unwrap().sign_ups += 1;
                SignUpAnswer { outcome }.into()
            }
            Packet::CreateCharacterRequest(_) => CreateCharacterAnswer { outcome }.into(),
            Packet::LoginRequest(request)
                if self.script.password.is_some_and(|right| right != request.password.expose()) =>
            {
                LoginRefused { outcome: Outcome::BadCredentials }.into()
            }
            Packet::LoginRequest(request) if self.is_online(&request.id) => {
                LoginRefused { outcome: Outcome::AlreadyOnline }.into()
            }
            Packet::LoginRequest(request) => {
                let name = Name::truncated(&request.id);
                self.logins.insert(name.to_string(), id);
                let mut seen = self.seen.lock().unwrap();
                seen.most_on_the_way = seen.most_on_the_way.max(self.logins.len());
                drop(seen);
                let (issued_ms, expires_ms) = (unix_ms(), unix_ms() + 10_000);
                let chat_key = self.key;
                let ticket = Ticket {
                    account: 1,
                    claim: 1,
                    character: 1,
                    name: name.clone(),
                    chat_key,
                    issued_ms,
                    expires_ms,
                };
                LoginGranted {
                    chat_address: Text::new(self.address.to_string()).unwrap(),
                    chat_key,
                    name,
                    ticket: ticket.mint(&self.cluster).unwrap(),
                    ticket_lifetime_ms: 10_000,
                }
                .into()
            }
            other => panic!("the harness sent {}", other.name()),
        };
        sessions.send(id, &answer);
    }
}
