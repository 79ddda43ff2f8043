//! Protocols of the other systems that the harness measures.

use throng_harness_peers::registry;
use throng_harness_peers::system::{Frame, Step};

use crate::Target;

pub(crate) const PEERS: Target = Target { name: "peers", check, seeds, mutations: 10_000 };

/// Answers of each system, in the order of [`registry::PEERS`].
fn seeds() -> Vec<Vec<u8>> {
    let answers: [&[&[u8]]; 5] = [
        &[
            b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n$7\r\nmodules\r\n*0\r\n",
            b">3\r\n$9\r\nsubscribe\r\n$4\r\nroom\r\n:1\r\n",
            b">3\r\n$7\r\nmessage\r\n$4\r\nroom\r\n$4\r\na\r\nb\r\n:12\r\n-ERR no\r\n",
            b"*1\r\n~2\r\n#t\r\n,1.5\r\n_\r\n",
        ],
        &[
            b"INFO {\"server_id\":\"x\"}\r\nPONG\r\n+OK\r\nPING\r\n",
            b"MSG room 1 reply 3\r\nabc\r\n-ERR 'no'\r\n",
        ],
        &[
            b":irc.localhost 001 m1 :Welcome\r\n:irc.localhost 366 m1 #room :End\r\nPING :x\r\n",
            b":m2!m@h PRIVMSG #room :hello\r\n:s CAP * NAK :echo-message\r\nERROR :gone\r\n433 * m1\r\n",
        ],
        &[&[0x20, 2, 0, 0, 0x90, 3, 0, 1, 0], b"\x30\x08\x00\x04roomhi\x30\x88\x00\x00\x04roomhi\xd0\x00"],
        &[
            b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
              Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\x82\x05hello",
            b"HTTP/1.1 503 Full\r\nContent-Length: 0\r\n\r\n",
            b"\x89\x01x\x8a\x00\x82\x7e\x00\x80",
            b"\x88\x06\x03\xf1gone\x88\x00",
        ],
    ];
    let of = |(peer, answers): (usize, &&[&[u8]])| {
        answers.iter().map(move |answer| [&[peer as u8, 3], *answer].concat()).collect::<Vec<_>>()
    };
    answers.iter().enumerate().flat_map(of).collect()
}

/// Parses a stream as a member does. A frame is the same however much of it has arrived before.
fn check(input: &[u8]) {
    let [peer, cut, stream @ ..] = input else { return };
    let peer = registry::PEERS[usize::from(*peer) % registry::PEERS.len()];
    let mut rest = stream;
    while !rest.is_empty() {
        let step = peer.parse(rest);
        let early = peer.parse(&rest[..rest.len().min(usize::from(*cut))]);
        match step {
            Step::Frame(used, frame) => {
                assert!((1..=rest.len()).contains(&used), "{used} of {}", rest.len());
                if let Frame::Payload(part) | Frame::Ask(part) = frame {
                    assert!(part.len() <= used);
                }
                assert!(early == Step::More || early == step, "{early:?}, later {step:?}");
                assert!(early == Step::More || used <= usize::from(*cut), "{early:?} from less than a frame");
                rest = &rest[used..];
            }
            Step::More => {
                assert_eq!(early, Step::More);
                return;
            }
            Step::Bad(why) => {
                assert!(
                    !why.is_empty() && (early == Step::More || early == step),
                    "{early:?}, later {step:?}"
                );
                return;
            }
        }
    }
}
