//! Relations that must hold between keys.

use super::keys::Config;
use super::load::Loader;
use super::problem::Problem;
use super::table::Settings;

/// A relation between two keys.
struct Check {
    left: &'static str,
    relation: &'static str,
    right: &'static str,
    reason: &'static str,
    holds: fn(&Config) -> bool,
}

const CHECKS: &[Check] = &[
    Check {
        left: "net.idle_timeout",
        relation: "longer than",
        right: "net.heartbeat",
        reason: "a silent client would be closed before its first heartbeat",
        holds: |config| config.net.idle_timeout > config.net.heartbeat,
    },
    Check {
        left: "link.timeout",
        relation: "longer than",
        right: "link.heartbeat",
        reason: "a silent link would be closed before its first heartbeat",
        holds: |config| config.link.timeout > config.link.heartbeat,
    },
    Check {
        left: "link.retry_min",
        relation: "at most",
        right: "link.retry_max",
        reason: "the pause between two attempts grows from the first to the second",
        holds: |config| config.link.retry_min <= config.link.retry_max,
    },
    Check {
        left: "dbagent.lease",
        relation: "longer than",
        right: "link.timeout",
        reason: "accounts would be released while the link of their holder still counts as alive",
        holds: |config| config.dbagent.lease > config.link.timeout,
    },
    Check {
        left: "dbagent.lease_grace",
        relation: "shorter than",
        right: "dbagent.lease",
        reason: "the grace period is the shorter of the two",
        holds: |config| config.dbagent.lease_grace < config.dbagent.lease,
    },
    Check {
        left: "dbagent.request_timeout",
        relation: "shorter than",
        right: "login.request_timeout",
        reason: "the DB agent would answer after the login server has given up",
        holds: |config| config.dbagent.request_timeout < config.login.request_timeout,
    },
    Check {
        left: "fleet.dead_after",
        relation: "longer than",
        right: "fleet.heartbeat",
        reason: "a chat server would be declared dead before it says that it is alive",
        holds: |config| config.fleet.dead_after > config.fleet.heartbeat,
    },
    Check {
        left: "chat.listen",
        relation: "different from",
        right: "chat.link_listen",
        reason: "clients and servers need separate listeners",
        holds: |config| config.chat.listen.port() == 0 || config.chat.listen != config.chat.link_listen,
    },
];

/// Reports every relation that does not hold.
pub(super) fn run(loader: &mut Loader<Config>) {
    let Loader { config, problems, bad } = loader;
    for check in CHECKS {
        // A key whose value was refused still has its default, which the operator did not ask for.
        if bad.contains(&check.left) || bad.contains(&check.right) || (check.holds)(config) {
            continue;
        }
        let value = |name| {
            let key = Config::keys().find(|key| key.name == name);
            key.map(|key| (key.toml)(config)).unwrap_or_default()
        };
        problems.push(Problem::Contradiction {
            left: check.left,
            left_value: value(check.left),
            left_origin: config.origin(check.left),
            relation: check.relation,
            right: check.right,
            right_value: value(check.right),
            right_origin: config.origin(check.right),
            reason: check.reason,
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn checks_name_keys_that_exist() {
        for check in CHECKS {
            for name in [check.left, check.right] {
                let key = Config::keys().find(|key| key.name == name).unwrap_or_else(|| panic!("{name}"));
                assert!(!key.secret, "{name} would be shown");
            }
        }
    }
}
