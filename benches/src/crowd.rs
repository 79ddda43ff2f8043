//! Members of a room with open sessions, served as by a shard, but without sockets.

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_core::SessionId;
use throng_core::crypto::{Credentials, Initiator, StaticKey};
use throng_core::limits::CLIENT_BODY_MAX;
use throng_core::net::membership::Rooms;
use throng_core::net::table::Table;
use throng_core::net::{Endpoint, LogLimits, PeerKind};
use throng_core::room::{Class, RoomId};
use throng_core::session::outbox::BufferPool;
use throng_core::session::{Event, Session};

/// Bounds of the logs in all benchmarks.
pub const LIMITS: LogLimits = LogLimits { segments: [16, 8], pool: 256 };

/// The only room.
pub const ROOM: RoomId = RoomId(0);

/// The members of one room.
pub struct Crowd {
    rooms: Rooms,
    table: Table<Member>,
    pool: BufferPool,
    dirty: VecDeque<SessionId>,
    now: Instant,
}

struct Member {
    session: Session,
    in_dirty: bool,
}

impl Crowd {
    /// Returns `members` members with completed handshakes.
    pub fn new(members: usize) -> Self {
        let key = Arc::new(StaticKey::from_private([7; 32]));
        let to_server = Credentials::Client(*key.public());
        let endpoint = Arc::new(endpoint(Credentials::Server(key)));
        // The server accepts the same first bytes from every session.
        let (_, first) = Initiator::start(&to_server).expect("the system has randomness");
        let now = Instant::now();
        let mut pool = BufferPool::default();
        let mut rooms = Rooms::new(LIMITS);
        let mut table = Table::new(0, members);
        for _ in 0..members {
            let mut session = Session::accepted(endpoint.clone(), now);
            let event = session.handle_frame(&mut first.clone(), now, &mut pool);
            assert!(matches!(event, Ok(Some((_, Event::Opened)))), "{event:?}");
            session.clear_outbox(&mut pool);
            let id = table.insert_with(|_| Member { session, in_dirty: false }).expect("there is room");
            rooms.join(id, ROOM);
        }
        Self { rooms, table, pool, dirty: VecDeque::new(), now }
    }

    /// Sends a copy to each member, sealed with the session's key, and returns the bytes that a
    /// shard would have written.
    pub fn broadcast_by_copies(&mut self, encoded: &[u8]) -> usize {
        let members: Vec<_> = self.rooms.members(ROOM).collect();
        for id in members {
            let Some(member) = self.table.get_mut(id) else { continue };
            let session = &mut member.session;
            let limit = session.room_for(Class::Chat);
            self.rooms.drain_pending_of(id, ROOM, limit, |bytes| session.queue_sealed(bytes, &mut self.pool));
            if session.room_for(Class::Chat) > 0 {
                session.send_encoded(encoded, &mut self.pool);
            }
            if !session.is_too_slow() && !std::mem::replace(&mut member.in_dirty, true) {
                self.dirty.push_back(id);
            }
        }
        let mut written = 0;
        while let Some(id) = self.dirty.pop_front() {
            written += self.serve(id);
        }
        written
    }

    /// Appends a frame, sealed with the room's key, to the room's log and returns the bytes that a
    /// shard would have written.
    pub fn broadcast_by_log(&mut self, frame: &[u8]) -> usize {
        self.rooms.append(ROOM, Class::Chat, frame, self.now);
        self.rooms.stamp_unstamped(self.now, |micros| {
            black_box(micros);
        });
        let mut written = 0;
        while let Some(id) = self.rooms.next_visit() {
            written += self.serve(id);
        }
        written
    }

    /// Performs one write except for the system call.
    fn serve(&mut self, id: SessionId) -> usize {
        let Some(member) = self.table.get_mut(id) else { return 0 };
        member.in_dirty = false;
        assert!(self.rooms.take_gap(id).is_none(), "a member was slow");
        let own = black_box(member.session.poll_transmit()).len();
        let shared = self.rooms.pending(id).map(|piece| black_box(piece).len()).sum::<usize>();
        member.session.handle_transmitted(own, &mut self.pool);
        if shared > 0 {
            self.rooms.advance(id, shared, |_| unreachable!("all of it was written"));
        }
        own + shared
    }
}

fn endpoint(credentials: Credentials) -> Endpoint {
    Endpoint {
        peer: PeerKind::Client,
        credentials,
        body_max: CLIENT_BODY_MAX,
        outbox_max: 256 * 1024,
        handshake_timeout: Duration::from_secs(5),
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: Duration::from_secs(1),
    }
}
