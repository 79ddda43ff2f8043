//! InspIRCd: one IRC channel.

use std::ffi::OsString;
use std::io::Write;
use std::path::Path;

use super::system::{Frame, Peer, ROOM, Step, line};

/// `inspircd`.
#[derive(Debug)]
pub(super) struct InspIrcd;

/// Most bytes of a line: IRC's 512, and tags.
const LINE_MAX: usize = 1024;
/// Backlog of the listening socket; the system's limit by default.
const SOMAXCONN: usize = 4096;
/// Bytes of an IRC line that remain for the text, whatever the prefix.
const TEXT_MAX: usize = 400;

impl Peer for InspIrcd {
    fn name(&self) -> &'static str {
        "inspircd"
    }

    fn package(&self) -> &'static str {
        "inspircd"
    }

    fn program(&self) -> &'static str {
        "inspircd"
    }

    fn configuration(&self, port: u16, dir: &Path) -> String {
        let dir = dir.display();
        format!(
            r#"<server name="irc.localhost" description="-" network="Local" id="001">
<admin name="-" nick="-" email="-">
<bind address="127.0.0.1" port="{port}" type="clients">
# Members may send without limit (no fake lag, no recvq that cuts off), none is cut off for
# being slow (sendq), and all may come from one address.
<connect name="members" allow="*" timeout="60" pingfreq="3600" fakelag="no" threshold="1000000"
 commandrate="1000000000" recvq="16777216" softsendq="1073741824" hardsendq="1073741824"
 localmax="20000" globalmax="20000" maxconnwarn="no" resolvehostnames="no" useident="no" limit="20000">
<performance softlimit="20000" somaxconn="{SOMAXCONN}" netbuffersize="65534" quietbursts="yes" clonesonconnect="no">
<channels users="10">
# A channel of members that do not see each other come and go: 9,000 of them would read 40 million
# notices before the first message.
<module name="auditorium">
<auditorium opvisible="no" opcansee="no" opercansee="no">
<options prefixquit="" defaultmodes="u" syntaxhints="no" pingwarning="0" splitwhois="no">
# The sender is a recipient, as in the other systems.
<module name="cap">
<module name="ircv3_echomessage">
<security maxtargets="1">
<dns server="127.0.0.1" timeout="1">
<pid file="{dir}/inspircd.pid">
<log method="file" type="* -USERINPUT -USEROUTPUT" level="default" target="{dir}/inspircd.log">
"#
        )
    }

    fn arguments(&self, config: &Path) -> Vec<OsString> {
        let config = format!("--config={}", config.display());
        vec!["--nofork".into(), "--runasroot".into(), config.into()]
    }

    fn payload_max(&self) -> usize {
        TEXT_MAX
    }
    fn in_flight(&self) -> usize {
        // The server accepts connections once a second.
        SOMAXCONN / 2
    }

    fn greet(&self, member: u32, out: &mut Vec<u8>) {
        let _ = write!(out, "CAP REQ :echo-message\r\nNICK m{member}\r\nUSER m 0 * :m\r\nCAP END\r\n");
    }

    fn join(&self, _member: u32, out: &mut Vec<u8>) {
        let _ = write!(out, "JOIN #{ROOM}\r\n");
    }

    fn publish(&self, payload: &[u8], out: &mut Vec<u8>) {
        let _ = write!(out, "PRIVMSG #{ROOM} :");
        out.extend_from_slice(payload);
        out.extend_from_slice(b"\r\n");
    }

    fn answer(&self, token: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(b"PONG ");
        out.extend_from_slice(token);
        out.extend_from_slice(b"\r\n");
    }

    fn parse<'a>(&self, bytes: &'a [u8]) -> Step<'a> {
        let Some((text, used)) = line(bytes) else {
            return if bytes.len() < LINE_MAX { Step::More } else { Step::Bad("a line without an end") };
        };
        // `:who COMMAND ...`, or `COMMAND ...` from the server itself.
        let command = match text.strip_prefix(b":") {
            Some(rest) => after_space(rest).unwrap_or_default(),
            None => text,
        };
        let (name, parameters) = match memchr::memchr(b' ', command) {
            Some(end) => (&command[..end], &command[end + 1..]),
            None => (command, [].as_slice()),
        };
        let frame = match name {
            b"PRIVMSG" => match after_space(parameters).and_then(|text| text.strip_prefix(b":")) {
                Some(payload) => Frame::Payload(payload),
                None => return Step::Bad("a message without a text"),
            },
            b"PING" => Frame::Ask(parameters),
            // Welcome; the end of the list of names, which ends a join.
            b"001" => Frame::Greeted,
            b"366" => Frame::Joined,
            b"ERROR" => Frame::Refused(parameters),
            // Capability refused; no such channel, or too many; bad nickname.
            b"CAP" if has_word(parameters, b"NAK") => Frame::Refused(parameters),
            b"403" | b"405" | b"432" | b"433" | b"471" | b"473" | b"474" | b"404" => Frame::Refused(command),
            _ => Frame::Other,
        };
        Step::Frame(used, frame)
    }
}

fn after_space(text: &[u8]) -> Option<&[u8]> {
    Some(&text[memchr::memchr(b' ', text)? + 1..])
}

fn has_word(text: &[u8], word: &[u8]) -> bool {
    text.split(|byte| *byte == b' ').any(|other| other == word)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::system::tests::{Seen, check, check_any, check_bad};

    fn delivery(text: &str) -> Vec<u8> {
        format!(":m17!m@127.0.0.1 PRIVMSG #room :{text}\r\n").into_bytes()
    }

    #[test]
    fn commands_are_encoded() {
        let mut out = Vec::new();
        InspIrcd.greet(7, &mut out);
        InspIrcd.join(7, &mut out);
        InspIrcd.publish(b"hi there", &mut out);
        InspIrcd.answer(b":irc.localhost", &mut out);
        assert_eq!(
            String::from_utf8(out).expect("text"),
            "CAP REQ :echo-message\r\nNICK m7\r\nUSER m 0 * :m\r\nCAP END\r\nJOIN #room\r\n\
             PRIVMSG #room :hi there\r\nPONG :irc.localhost\r\n"
        );
    }

    #[test]
    fn frames_are_parsed() {
        let stream = [
            b":irc.localhost NOTICE * :*** looking\r\nPING :abc\r\n:irc.localhost 001 m7 :Welcome\r\n"
                .as_slice(),
            b":irc.localhost CAP m7 ACK :echo-message\r\n:m7!m@h JOIN :#room\r\n",
            b":irc.localhost 353 m7 = #room :m1 m2\r\n:irc.localhost 366 m7 #room :End of /NAMES list.\r\n",
            &delivery("one  :two "),
            &delivery(""),
            b"ERROR :Closing link\r\n:irc.localhost CAP m7 NAK :x\r\n",
        ]
        .concat();
        let expected = [
            Seen::Ask(b":abc".into()),
            Seen::Greeted,
            Seen::Joined,
            Seen::Payload(b"one  :two ".into()),
            Seen::Payload(b"".into()),
            Seen::Refused(b":Closing link".into()),
            Seen::Refused(b"m7 NAK :x".into()),
        ];
        check(&InspIrcd, &stream, &expected);
    }

    #[test]
    fn bad_irc_is_refused() {
        check_bad(&InspIrcd, b":m1 PRIVMSG #room\r\n", "a message without a text");
        check_bad(&InspIrcd, &[b'x'; LINE_MAX], "a line without an end");
    }

    proptest! {
        #[test]
        fn any_text_comes_through(text in "[^\r\n\0]{0,100}", piece in 1_usize..40) {
            let stream = [delivery(&text), delivery(&text)].concat();
            check_any(&InspIrcd, &stream, piece);
            let used = delivery(&text).len();
            prop_assert_eq!(InspIrcd.parse(&stream), Step::Frame(used, Frame::Payload(text.as_bytes())));
        }

        #[test]
        fn any_bytes_are_judged_without_panic(bytes: Vec<u8>, head in "(:m1 PRIVMSG #room :)?", piece in 1_usize..9) {
            check_any(&InspIrcd, &[head.as_bytes(), &bytes].concat(), piece);
        }
    }
}
