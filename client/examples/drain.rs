//! Has a client take messages, without a network, and prints how many events it gives a
//! millisecond. `scripts/measure/client` counts its allocations with valgrind.
//!
//! usage: drain MESSAGES

use std::sync::Arc;
use std::time::{Duration, Instant};

use throng_client::{Client, Event, Io, LineId, Settings};
use throng_core::crypto::{Credentials, StaticKey};
use throng_core::limits::CLIENT_BODY_MAX;
use throng_core::session::{BufferPool, Endpoint, PeerKind, Session};
use throng_core::wire::packets::{
    ChatMessage, EnterAnswer, LoginGranted, Packet, ResumeTokenBytes, Scope, ServerTimes, TicketBytes, User,
};
use throng_core::wire::{Line, Text};

/// Messages that arrive at once, as in a crowd.
const BATCH: u64 = 1_000;

/// The server's end of the client's newest connection.
struct Server {
    endpoint: Arc<Endpoint>,
    session: Session,
    line: LineId,
    pool: BufferPool,
    now: Instant,
}

impl Server {
    /// Accepts the connection that the client wants.
    fn accept(client: &mut Client, endpoint: Arc<Endpoint>, now: Instant) -> Self {
        let line = loop {
            match client.poll_io() {
                Some(Io::Connect(line, _)) => break line,
                Some(Io::Disconnect(_)) => {}
                None => panic!("the client wants no connection"),
            }
        };
        let session = Session::accepted(endpoint.clone(), now);
        let mut server = Self { endpoint, session, line, pool: BufferPool::default(), now };
        client.handle_connected(line, now);
        server.read(client);
        server.write(client);
        server.read(client);
        server
    }

    fn read(&mut self, client: &mut Client) {
        let mut bytes = client.poll_transmit(self.line).to_vec();
        client.handle_transmitted(self.line, bytes.len());
        let mut at = 0;
        while at < bytes.len() {
            let result = self.session.handle_frame(&mut bytes[at..], self.now, &mut self.pool);
            at += result.expect("the client keeps to the protocol").expect("a whole frame").0;
        }
    }

    /// Hands what the server has written to the client. Returns the time that it takes.
    fn write(&mut self, client: &mut Client) -> Duration {
        let bytes = self.session.poll_transmit().to_vec();
        self.session.handle_transmitted(bytes.len(), &mut self.pool);
        let begin = Instant::now();
        client.handle_received(self.line, &bytes, self.now);
        begin.elapsed()
    }

    fn send(&mut self, packet: impl Into<Packet>) {
        self.session.send(&packet.into(), &mut self.pool);
    }
}

fn main() {
    let words: Vec<String> = std::env::args().collect();
    let [_, count] = &words[..] else { return eprintln!("usage: drain MESSAGES") };
    let count: u64 = count.parse().expect("a number of messages");

    let now = Instant::now();
    let key = StaticKey::generate().expect("randomness");
    let public = *key.public();
    let endpoint = Arc::new(Endpoint {
        peer: PeerKind::Client,
        credentials: Credentials::Server(Arc::new(key)),
        body_max: CLIENT_BODY_MAX,
        outbox_max: 1 << 20,
        handshake_timeout: Duration::from_secs(5),
        first_packet_timeout: None,
        heartbeat: None,
        idle_timeout: None,
        linger: Duration::from_secs(1),
    });
    let mut client = Client::new(Settings::new("server:1", public), 1, now);
    client.log_in("bee", "a long password", now).expect("nothing else is under way");
    let mut login = Server::accept(&mut client, endpoint, now);
    login.send(LoginGranted {
        chat_address: Text::truncated("server:2"),
        chat_key: public,
        name: Line::truncated("Bee"),
        ticket: TicketBytes::default(),
        ticket_lifetime_ms: 5_000,
    });
    login.write(&mut client);
    let mut chat = Server::accept(&mut client, login.endpoint, now);
    chat.send(EnterAnswer {
        user: User { id: 1, name: Line::truncated("Bee") },
        head_count: 1,
        shard: 0,
        token: ResumeTokenBytes::default(),
        resume_ms: 0,
        heartbeat_ms: 45_000,
    });
    chat.write(&mut client);
    assert!(matches!(client.poll_event(), Some(Event::Entered { .. })));

    let (mut events, mut spent) = (0_u64, Duration::ZERO);
    for sequence in 1..=count {
        chat.send(ChatMessage {
            scope: Scope::World,
            target: 0,
            sequence,
            sender: User { id: 2, name: Line::truncated("Ant") },
            stamp: sequence,
            times: ServerTimes { received_us: 0, queued_us: 0, handled_us: 0 },
            text: Text::truncated("A text of the length that people write in a chat, about so long."),
        });
        if sequence % BATCH == 0 || sequence == count {
            spent += chat.write(&mut client);
            let begin = Instant::now();
            while let Some(event) = client.poll_event() {
                assert!(matches!(event, Event::Message(_)));
                events += 1;
            }
            spent += begin.elapsed();
        }
    }
    assert_eq!(events, count);
    println!("{:.0} events/ms", events as f64 / (spent.as_secs_f64() * 1e3));
}
