//! What is probably wrong where nobody gets in.

use throng_core::wire::CloseReason;
use throng_harness_model::results::Findings;
use throng_harness_model::target::{Entrance, TargetSource};

/// What to look at, if all clients were turned away at once for one reason that tells of it. That is all that a client can know: who has
/// another key closes at the first message that it cannot read.
pub(super) fn hint(findings: &Findings, source: &TargetSource, entrance: Entrance) -> Option<String> {
    let mut reasons = findings.clients.reasons.keys();
    let (Some(reason), None) = (reasons.next(), reasons.next()) else { return None };
    if findings.clients.connected > 0 {
        return None;
    }
    let (_, reason) = reason.split_once(": ")?;
    let has_connected = findings.phases.keys().any(|phase| phase.starts_with("dial_"));
    if reason == CloseReason::HandshakeFailed.name() && !has_connected {
        Some(format!(
            "every client failed in its first handshake, so what listens there may have another key than was given: {}",
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
                TargetSource::Data(data) => format!(
                    "the servers of --data {} may be gone and others in their place; start `throng up --data {}` again",
                    data.display(),
                    data.display()
                ),
            }
        ))
    } else if reason == CloseReason::TicketInvalid.name() && entrance == Entrance::Ticket {
        Some(format!(
            "the server took nobody's ticket, so it may have another cluster's key than {}",
            match source {
                TargetSource::Flags { .. } => "the file of --cluster-key".to_owned(),
                TargetSource::Data(data) => format!("there is in --data {}", data.display()),
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

    fn found(connected: u64, reasons: &[&str], phases: &[&'static str]) -> Findings {
        let reasons = reasons.iter().map(|reason| ((*reason).to_owned(), 3)).collect();
        let phases: BTreeMap<_, _> = phases.iter().map(|phase| ((*phase).into(), Latencies::new())).collect();
        Findings {
            clients: Clients { connected, reasons, ..Clients::default() },
            phases,
            ..Findings::default()
        }
    }

    #[test]
    fn only_what_all_were_turned_away_for_is_told() {
        let flags =
            TargetSource::Flags { server: "10.0.0.1:9000".into(), server_key: [7; 32], cluster_key: None };
        let data = TargetSource::Data("d".into());
        let check = |findings: Findings, source, entrance, parts: &[&str]| {
            let hint = hint(&findings, source, entrance);
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
        let handshake = ["failed: HandshakeFailed"];
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
            &["--data d may be gone", "`throng up --data d` again"],
        );
        check(
            found(0, &["refused: TicketInvalid"], &["dial_chat"]),
            &flags,
            ticket,
            &["file of --cluster-key"],
        );
        check(
            found(0, &["refused: TicketInvalid"], &["dial_chat"]),
            &data,
            ticket,
            &["there is in --data d"],
        );
        // The login server's key was right; the chat server's came from it, as did tickets.
        check(found(0, &handshake, &["dial_login", "log_in"]), &flags, login, &[]);
        check(found(0, &["refused: TicketInvalid"], &["dial_login", "dial_chat"]), &flags, login, &[]);
        check(found(1, &handshake, &["dial_chat"]), &flags, ticket, &[]);
        check(found(0, &["failed: HandshakeFailed", "failed: ConnectFailed"], &[]), &flags, ticket, &[]);
        check(found(0, &["failed: ConnectFailed"], &[]), &flags, ticket, &[]);
        check(found(0, &[], &[]), &flags, ticket, &[]);
    }
}
