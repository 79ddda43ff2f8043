//! The probable mistake when no client gets in.

use throng_core::wire::CloseReason;
use throng_harness_model::results::{Event, Findings, Reasons};
use throng_harness_model::target::{Entrance, TargetSource};

/// A hint for the user, if all clients failed for one reason that points to a wrong key. A client
/// cannot know more: a server with another key closes the connection at the first message that it
/// cannot decrypt.
pub(super) fn hint(
    findings: &Findings,
    reasons: &Reasons,
    source: &TargetSource,
    entrance: Entrance,
) -> Option<String> {
    let reason = reasons.only().filter(|_| findings.clients.connected == 0)?;
    let has_connected = findings.phases.keys().any(|phase| phase.starts_with("dial_"));
    if reason == (Event::Failed, CloseReason::HandshakeFailed.name()) && !has_connected {
        Some(format!(
            "every client failed in its first handshake, so the server may have another key than the given one: {}",
            match source {
                TargetSource::Flags { server, .. } => {
                    let (role, other) = match entrance {
                        Entrance::Login => ("login", "chat"),
                        Entrance::Ticket => ("chat", "login"),
                    };
                    format!(
                        "compare --server-key with the key that the {role} server at {server} printed when it started (the {other} server \
                         has another)"
                    )
                }
                TargetSource::Fleet(_) => "the servers of --data may have been replaced by others".into(),
                TargetSource::Data(data) => format!(
                    "the servers of --data {} may have been replaced by others; start `throng up --data {}` again",
                    data.display(),
                    data.display()
                ),
            }
        ))
    } else if reason == (Event::Refused, CloseReason::TicketInvalid.name()) && entrance == Entrance::Ticket {
        Some(format!(
            "the server accepted no ticket, so its cluster key may differ from {}",
            match source {
                TargetSource::Flags { .. } => "the file of --cluster-key".to_owned(),
                TargetSource::Fleet(_) => "the key in the first directory of --data".into(),
                TargetSource::Data(data) => format!("the key in --data {}", data.display()),
            }
        ))
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use throng_harness_model::record::Latencies;
    use throng_harness_model::results::Clients;

    use super::*;

    fn found(
        connected: u64,
        reasons: &[(Event, CloseReason)],
        phases: &[&'static str],
    ) -> (Findings, Reasons) {
        let phases: BTreeMap<_, _> = phases.iter().map(|phase| ((*phase).into(), Latencies::new())).collect();
        let clients = Clients { connected, ..Clients::default() };
        let mut counted = Reasons::default();
        for (event, reason) in reasons {
            counted.count(*event, reason.name(), 3);
        }
        (Findings { clients, phases, ..Findings::default() }, counted)
    }

    #[test]
    fn a_hint_needs_one_reason_that_all_clients_share() {
        let flags =
            TargetSource::Flags { server: "10.0.0.1:9000".into(), server_key: [7; 32], cluster_key: None };
        let data = TargetSource::Data("d".into());
        let check = |(findings, reasons): (Findings, Reasons), source, entrance, parts: &[&str]| {
            let hint = hint(&findings, &reasons, source, entrance);
            match (&hint, parts) {
                (None, []) => {}
                (Some(hint), [_, ..]) => {
                    for part in parts {
                        assert!(hint.contains(part), "{part}: {hint}");
                    }
                }
                (hint, parts) => panic!("{hint:?} and not {parts:?}"),
            }
        };
        let (login, ticket) = (Entrance::Login, Entrance::Ticket);
        let handshake = [(Event::Failed, CloseReason::HandshakeFailed)];
        let ticket_invalid = [(Event::Refused, CloseReason::TicketInvalid)];
        let unreachable = (Event::Failed, CloseReason::ConnectFailed);
        check(
            found(0, &handshake, &[]),
            &flags,
            login,
            &["--server-key", "login server at 10.0.0.1:9000", "(the chat"],
        );
        check(found(0, &handshake, &[]), &flags, ticket, &["chat server at 10.0.0.1:9000"]);
        check(
            found(0, &handshake, &[]),
            &data,
            ticket,
            &["--data d may have been replaced", "`throng up --data d` again"],
        );
        check(found(0, &ticket_invalid, &["dial_chat"]), &flags, ticket, &["file of --cluster-key"]);
        check(found(0, &ticket_invalid, &["dial_chat"]), &data, ticket, &["the key in --data d"]);
        // After a login its server's key was right, and the tickets and the chat server's key came
        // from it.
        check(found(0, &handshake, &["dial_login", "log_in"]), &flags, login, &[]);
        check(found(0, &ticket_invalid, &["dial_login", "dial_chat"]), &flags, login, &[]);
        check(found(1, &handshake, &["dial_chat"]), &flags, ticket, &[]);
        check(found(0, &[handshake[0], unreachable], &[]), &flags, ticket, &[]);
        check(found(0, &[unreachable], &[]), &flags, ticket, &[]);
        check(found(0, &[], &[]), &flags, ticket, &[]);
    }
}
