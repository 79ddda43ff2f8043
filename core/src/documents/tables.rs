//! Generates the tables of docs/protocol.md and docs/operations.md, and compares them with the
//! documents.

use std::collections::BTreeSet;
use std::fmt::Write;

use super::root;
use crate::config::{Config, format_duration};
use crate::crypto::{PROTOCOL_VERSION, Ticket};
use crate::limits;
use crate::wire::packets::{ENUMS, STRUCTS, TABLE};
use crate::wire::{EnumInfo, FieldInfo, PacketInfo, Route};

/// Environment variable; 1 makes the tests write the tables instead of comparing them.
const BLESS: &str = "THRONG_BLESS";

/// Columns of generated sentences outside of tables.
const COLUMNS: usize = 100;

/// Chapters of the packet reference, in order.
const ROUTES: &[(Route, &str, &str)] = &[
    (Route::Any, "Every session", "either side to the other"),
    (Route::ClientToLogin, "Client to login server", "client to login server"),
    (Route::LoginToClient, "Login server to client", "login server to client"),
    (Route::ServerToClient, "Login or chat server to client", "login or chat server to client"),
    (Route::ClientToChat, "Client to chat server", "client to chat server"),
    (Route::ChatToClient, "Chat server to client", "chat server to client"),
    (Route::Link, "Every link between servers", "either end of a link to the other"),
    (Route::ToDbAgent, "Login or chat server to DB agent", "login or chat server to DB agent"),
    (Route::FromDbAgent, "DB agent to login or chat server", "DB agent to login or chat server"),
    (Route::LoginToChat, "Login server to chat server", "login server to chat server"),
    (Route::ChatToLogin, "Chat server to login server", "chat server to login server"),
];

/// A generated part of a document: the name in its markers, and its text.
type Part = (&'static str, String);

/// Appends a line. Writing to a String cannot fail.
macro_rules! line {
    ($out:expr $(, $($what:tt)*)?) => {{ let _ = writeln!($out $(, $($what)*)?); }};
}

fn constants() -> String {
    format!(
        "Fixed by the protocol:\n\n{}\nDefaults of the configuration, which an operator can change:\n\n{}",
        fixed(),
        defaults()
    )
}

/// Numbers that the protocol fixes.
fn fixed() -> String {
    let rows = [
        ("protocol version", u64::from(PROTOCOL_VERSION), "first byte of the preface"),
        ("frame header", limits::FRAME_HEADER as u64, "bytes before a frame's body"),
        ("seal's tag", limits::SEAL_TAG as u64, "bytes at the end of a sealed body"),
        ("handshake body", limits::HANDSHAKE_BODY_MAX as u64, "most bytes before the handshake is done"),
        ("client's body", limits::CLIENT_BODY_MAX as u64, "most bytes that a server accepts from a client"),
        (
            "server's body",
            limits::SERVER_BODY_MAX as u64,
            "most bytes that a client or another server accepts from a server",
        ),
        ("room header", limits::ROOM_HEADER as u64, "bytes of a room frame's body before the sealed packet"),
        ("rekey interval", limits::REKEY_INTERVAL, "frames of one direction sealed with one key"),
        ("room key's frames", limits::ROOM_KEY_FRAMES, "most frames sealed with one room key"),
        (
            "room keys",
            limits::ROOM_KEYS_PER_SESSION as u64,
            "room keys that a client keeps, one for each room that it is in",
        ),
        ("id", limits::ID_CHARS_MAX as u64, "most characters of an account id"),
        ("password", limits::PASSWORD_BYTES_MAX as u64, "most bytes of a password"),
        ("name", limits::NAME_CHARS_MAX as u64, "most characters of a character's name"),
        ("text", limits::CHAT_TEXT_MAX as u64, "most bytes of a chat message"),
        ("channel", limits::CHANNEL_CHARS_MAX as u64, "most characters of a channel's name"),
        ("user page", limits::USER_PAGE as u64, "most users in one UserList"),
        ("entered", limits::ENTERED_MAX as u64, "most users that one UsersChanged names as having entered"),
        ("left", limits::LEFT_MAX as u64, "most users that one UsersChanged names as having left"),
        ("channel page", limits::CHANNEL_PAGE as u64, "most channels in one ChannelList"),
        ("claim page", limits::CLAIM_PAGE as u64, "most claims in one DbHeldClaims"),
    ];
    let mut out = String::from("| name | value | meaning |\n|---|---|---|\n");
    for (name, value, meaning) in rows {
        line!(out, "| {name} | {value} | {meaning} |");
    }
    out
}

/// Keys of the configuration that the other side of a connection can observe.
fn defaults() -> String {
    let Config { net, content, link, login, ticket, dbagent, .. } = Config::default();
    let durations = [
        ("net.handshake_timeout", net.handshake_timeout, "from connecting to the end of the handshake"),
        (
            "net.first_packet_timeout",
            net.first_packet_timeout,
            "from the handshake to a client's first packet",
        ),
        ("net.heartbeat", net.heartbeat, "silence of a client before it is sent a Heartbeat"),
        ("net.idle_timeout", net.idle_timeout, "silence of a client before its session ends"),
        ("net.linger", net.linger, "wait for the peer's own close after Close"),
        (
            "net.slow_timeout",
            net.slow_timeout,
            "time for which a client may take nothing while data waits for it",
        ),
        (
            "login.request_timeout",
            login.request_timeout,
            "wait for each step of a request to the login server",
        ),
        ("ticket.lifetime", ticket.lifetime, "life of a ticket from its issue"),
        ("content.key_lifetime", content.key_lifetime, "life of a room's key"),
        ("link.heartbeat", link.heartbeat, "silence of a link before a Heartbeat is sent"),
        ("link.timeout", link.timeout, "silence of a link before it is dropped"),
        ("link.retry_min", link.retry_min, "first pause before a link is reconnected"),
        ("link.retry_max", link.retry_max, "longest pause before a link is reconnected"),
        ("dbagent.lease", dbagent.lease, "life of a server's claims if the DB agent goes down"),
        ("dbagent.lease_grace", dbagent.lease_grace, "life of a server's claims after its last link"),
    ];
    let mut out = String::from("| key | default | meaning |\n|---|---|---|\n");
    for (key, value, meaning) in durations {
        line!(out, "| `{key}` | {} | {meaning} |", format_duration(value));
    }
    line!(out, "| `net.outbox` | {} | most bytes that wait for a client that does not read |", net.outbox);
    line!(
        out,
        "| `content.log_from` | {} | members from which on a room has a key of its own |",
        content.log_from
    );
    out
}

fn packets() -> String {
    let mut out = String::from("| number | packet | from and to | predecessor |\n|---|---|---|---|\n");
    let mut by_number = TABLE.to_vec();
    by_number.sort_by_key(|packet| packet.number);
    for packet in &by_number {
        let PacketInfo { number, name, legacy, route, .. } = packet;
        let legacy = predecessors(legacy).map(|name| format!("`{name}`")).collect::<Vec<_>>().join(", ");
        let (_, _, from_to) = ROUTES.iter().find(|(of, ..)| of == route).expect("every route has a chapter");
        line!(
            out,
            "| `{number:#06x}` | [{name}](#{number:#06x}-{}) | {from_to} | {legacy} |",
            name.to_lowercase()
        );
    }
    for (route, title, _) in ROUTES {
        line!(out, "\n#### {title}");
        for packet in TABLE.iter().filter(|packet| packet.route == *route) {
            line!(out, "\n##### `{:#06x}` {}\n\n{}\n", packet.number, packet.name, sentence(packet.docs));
            fields(&mut out, packet.fields);
        }
    }
    out
}

/// Splits the predecessor's names for a packet: none, one or several.
fn predecessors(legacy: &'static str) -> impl Iterator<Item = &'static str> {
    legacy.split(", ").filter(|name| !name.is_empty())
}

fn fields(out: &mut String, fields: &[FieldInfo]) {
    if fields.is_empty() {
        line!(out, "No fields.");
        return;
    }
    line!(out, "| field | type | meaning |\n|---|---|---|");
    for field in fields {
        line!(out, "| `{}` | `{}` | {} |", field.name, (field.type_name)(), sentence(field.docs));
    }
}

fn enumerations() -> String {
    let mut out = String::new();
    for EnumInfo { name, docs, variants } in ENUMS {
        line!(out, "#### {name}\n\n{}\n\n| value | name | meaning |\n|---|---|---|", sentence(docs));
        for (value, name, docs) in *variants {
            line!(out, "| {value} | {name} | {} |", sentence(docs));
        }
        line!(out);
    }
    out
}

fn groups() -> String {
    let mut out = String::new();
    // A ticket is not the field of a packet, but is encoded like one.
    for (name, members) in STRUCTS.iter().chain([&("Ticket", Ticket::FIELDS)]) {
        line!(out, "#### {name}\n");
        fields(&mut out, members);
        line!(out);
    }
    out
}

fn sentence(docs: &[&str]) -> String {
    let text = docs.iter().map(|line| line.trim()).collect::<Vec<_>>().join(" ");
    assert!(!text.contains('|'), "a bar would end the cell of the table: {text}");
    text
}

/// Returns `document` with `content` between the markers called `name`.
fn replaced(document: &str, name: &str, content: &str) -> String {
    let begin = format!("<!-- {name}:begin -->\n");
    let end = format!("<!-- {name}:end -->");
    let (before, rest) = document.split_once(&begin).unwrap_or_else(|| panic!("no marker {begin}"));
    let (_, after) = rest.split_once(&end).unwrap_or_else(|| panic!("no marker {end}"));
    format!("{before}{begin}{}\n{end}{after}", wrapped(content.trim_end()))
}

/// Breaks the sentences between tables at [`COLUMNS`].
fn wrapped(content: &str) -> String {
    let lines =
        content.lines().map(|line| if line.starts_with('|') { line.to_owned() } else { wrapped_line(line) });
    lines.collect::<Vec<_>>().join("\n")
}

/// Breaks a sentence at [`COLUMNS`], between words only.
fn wrapped_line(line: &str) -> String {
    let options = textwrap::Options::new(COLUMNS).break_words(false);
    textwrap::fill(line, options.word_splitter(textwrap::WordSplitter::NoHyphenation))
}

/// Compares a document's tables with the code, or writes them.
fn check(name: &str, parts: &[Part]) {
    let path = root().join("docs").join(name);
    let document = std::fs::read_to_string(&path).unwrap();
    let wanted = parts.iter().fold(document.clone(), |text, (name, part)| replaced(&text, name, part));
    if std::env::var_os(BLESS).is_some_and(|value| value == "1") {
        std::fs::write(&path, &wanted).unwrap();
        return;
    }
    for (number, (has, wants)) in document.lines().zip(wanted.lines()).enumerate() {
        assert_eq!(has, wants, "docs/{name}, line {}: write the tables with {BLESS}=1", number + 1);
    }
    assert_eq!(document, wanted, "docs/{name} lacks lines of the tables: write them with {BLESS}=1");
}

#[test]
fn the_protocol_has_the_tables_of_the_code() {
    let parts = [
        ("constants", constants()),
        ("packets", packets()),
        ("enumerations", enumerations()),
        ("groups", groups()),
    ];
    check("protocol.md", &parts);
}

#[test]
fn the_operations_have_the_keys_of_the_configuration() {
    check("operations.md", &[("config", format!("{}\n", Config::markdown()))]);
}

#[test]
fn numbers_and_names_are_unique_and_everything_is_explained() {
    let numbers: BTreeSet<u16> = TABLE.iter().map(|packet| packet.number).collect();
    let names: BTreeSet<&str> = TABLE.iter().map(|packet| packet.name).collect();
    assert_eq!((numbers.len(), names.len()), (TABLE.len(), TABLE.len()), "a number or name is used twice");
    let legacy: Vec<&str> = TABLE.iter().flat_map(|packet| predecessors(packet.legacy)).collect();
    assert_eq!(
        legacy.iter().collect::<BTreeSet<_>>().len(),
        legacy.len(),
        "a predecessor's name is used twice"
    );
    let groups = STRUCTS.iter().map(|(name, fields)| (*name, *fields));
    let packets = TABLE.iter().map(|packet| (packet.name, packet.fields));
    for (owner, fields) in packets.chain(groups).chain([("Ticket", Ticket::FIELDS)]) {
        let unexplained = fields.iter().find(|field| sentence(field.docs).is_empty());
        assert!(unexplained.is_none(), "{owner}: {} has no doc comment", unexplained.unwrap().name);
        let names: BTreeSet<&str> = fields.iter().map(|field| field.name).collect();
        assert_eq!(names.len(), fields.len(), "{owner} has two fields of one name");
    }
    for packet in TABLE {
        assert!(!sentence(packet.docs).is_empty(), "{} has no doc comment", packet.name);
    }
    for EnumInfo { name, docs, variants } in ENUMS {
        assert!(!sentence(docs).is_empty(), "{name} has no doc comment");
        assert!(
            variants.iter().all(|(_, _, docs)| !sentence(docs).is_empty()),
            "{name}: explain every value"
        );
        let values: BTreeSet<u8> = variants.iter().map(|(value, ..)| *value).collect();
        assert_eq!(values.len(), variants.len(), "{name} uses a value twice");
    }
}
