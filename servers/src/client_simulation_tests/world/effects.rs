//! Jobs of the chat server's role, and what follows from them.

use super::*;

impl World {
    pub(super) fn job(&mut self, job: Job<()>) {
        let mut effects = Effects::default();
        self.chat.job(lift(job), self.now, &mut effects);
        self.carry_out(&mut effects);
    }

    fn pipe_of(&self, id: SessionId) -> Option<usize> {
        self.pipes.iter().position(|pipe| pipe.id == id)
    }

    pub(super) fn carry_out(&mut self, effects: &mut Effects) {
        for effect in effects.drain().collect::<Vec<_>>() {
            match effect {
                Effect::ToSession(to, SessionCommand::Send(packet)) => self.send(to, &packet),
                Effect::ToSession(to, SessionCommand::SendEncoded(begin, rest)) => {
                    let packet =
                        Packet::decode(&[&*begin, &*rest].concat()).expect("the role encodes packets");
                    self.send(to, &packet);
                }
                Effect::ToSession(id, SessionCommand::Close(reason)) => {
                    if let Some(at) = self.pipe_of(id) {
                        self.close(at, reason);
                    }
                }
                Effect::Join(id, room) => assert!(self.rooms.insert((id, room))),
                Effect::Leave(id, room) | Effect::Expel(id, room) => {
                    assert!(self.rooms.remove(&(id, room)));
                    self.keys.remove(&room);
                    if let Some(at) = self.pipe_of(id) {
                        self.pipes[at].dropped.remove(&room);
                    }
                }
                Effect::Revoke(room) => drop(self.keys.remove(&room)),
                Effect::Broadcast(room, class, packet) => self.broadcast(room, class, &packet),
                Effect::Multicast(_, to, packet) => {
                    if let Packet::ChatMessage(message) = &packet {
                        self.texts.insert(message.text.to_string());
                    }
                    for to in to {
                        self.send(to, &packet);
                    }
                }
                Effect::Settle(_) | Effect::Dial(..) => {}
            }
        }
    }

    fn send(&mut self, to: SessionId, packet: &Packet) {
        self.trace(|| format!("{to} <- {packet:?}"));
        if let Some(at) = self.pipe_of(to)
            && let Some(session) = &mut self.pipes[at].session
        {
            session.send(packet, &mut self.pool);
        }
    }

    fn broadcast(&mut self, room: RoomId, class: Class, packet: &Packet) {
        self.trace(|| format!("{room:?} <- {packet:?}"));
        let is_sector = room.0 > RoomId::CHANNEL_MAX;
        if let Packet::ChatMessage(message) = packet
            && !is_sector
        {
            let text = message.text.to_string();
            assert!(self.texts.insert(text.clone()), "{text} is said twice");
            let before = self.said.insert((self.start, room.0, message.sequence), text);
            assert_eq!(before, None, "a number comes twice");
        }
        let members: Vec<SessionId> =
            self.rooms.iter().filter(|member| member.1 == room).map(|member| member.0).collect();
        let is_keyed = !is_sector && members.len() >= KEY_FROM;
        if is_keyed && !self.keys.contains_key(&room) {
            self.keys_made += 1;
            let secret = [self.keys_made as u8; 32];
            self.keys.insert(room, (RoomSealer::new(self.keys_made, secret), BTreeSet::new()));
        }
        let mut frame = Vec::new();
        let key = if let Some((sealer, holders)) = self.keys.get_mut(&room).filter(|_| is_keyed) {
            let key = sealer.packet(room);
            sealer.seal(class, &mut frame, |out| packet.encode(out));
            Some((key, members.iter().filter(|id| holders.insert(**id)).copied().collect::<Vec<_>>()))
        } else {
            None
        };
        for id in members {
            if let Some((key, newcomers)) = &key
                && newcomers.contains(&id)
            {
                self.send(id, key);
            }
            let at = self.pipe_of(id).expect("a session in a room is open");
            if !self.is_calm && !is_sector && self.dice.one_in(30) {
                self.count("dropped for a slow line");
                match class {
                    Class::Chat => *self.pipes[at].dropped.entry(room).or_default() += 1,
                    Class::Notice => drop(self.pipes[at].stale.insert(room.0)),
                }
                continue;
            }
            match class {
                Class::Chat => self.tell_dropped(at),
                Class::Notice => drop(self.pipes[at].stale.remove(&room.0)),
            }
            let Some(session) = &mut self.pipes[at].session else { continue };
            if key.is_some() {
                session.queue_sealed(&frame, &mut self.pool);
            } else {
                session.send(packet, &mut self.pool);
            }
        }
    }

    /// Tells a client of the messages that were dropped for it.
    pub(super) fn tell_dropped(&mut self, at: usize) {
        let id = self.pipes[at].id;
        for (room, missed) in std::mem::take(&mut self.pipes[at].dropped) {
            let (scope, channel) = room.address();
            self.send(id, &ChatGap { scope, channel, missed }.into());
        }
    }
}
