//! Flags of `login`.

use std::time::Duration;

use clap::Args;
use throng_core::config::parse_duration;
use throng_core::limits::NAME_CHARS_MAX;
use throng_core::wire::SecretText;
use throng_harness_model::identity::Seeded;
use throng_harness_model::limits::ENTRIES_MAX;
use throng_harness_model::spec::{Login, Stay};

use super::common::Common;
use super::examples;

#[derive(Debug, Args)]
#[command(next_help_heading = "Logins", after_help = examples::LOGIN)]
pub(super) struct RawLogin {
    /// Time that all clients stay once all have entered
    #[arg(long, value_name = "TIME", default_value = "0s", value_parser = parse_duration)]
    pub(super) duration: Duration,
    /// Most logins in progress at any time; the other clients wait
    #[arg(long, value_name = "N", default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) in_flight: u32,
    /// Use accounts made by `throng db seed --prefix PREFIX`, from PREFIX-000001, without sign-up
    #[arg(long, value_name = "PREFIX")]
    pub(super) seeded: Option<String>,
    /// Password of the seeded accounts; the report shows `[secret]` instead
    #[arg(long, value_name = "TEXT", default_value = "seed-password", requires = "seeded")]
    pub(super) password: String,
    /// Each client leaves as soon as it has entered and has the user list
    #[arg(long)]
    pub(super) leave: bool,
    /// Logins of each client, one after the other (with --leave)
    #[arg(long, value_name = "R", default_value_t = 1, requires = "leave", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) rounds: u32,
    #[command(flatten)]
    pub(super) common: Common,
}

impl RawLogin {
    pub(super) fn check(&self) -> Result<Login, String> {
        let clients = self.common.clients();
        let seeded = self.seeded.as_ref().map(|prefix| self.accounts(prefix)).transpose()?;
        if self.leave && !self.duration.is_zero() {
            return Err(
                "--duration is how long clients stay, and with --leave none stays: leave one of them out"
                    .into(),
            );
        }
        if clients.checked_mul(self.rounds).is_none_or(|entries| entries > ENTRIES_MAX) {
            return Err(format!(
                "--clients {clients} and --rounds {} make more than {ENTRIES_MAX} logins: use fewer of either",
                self.rounds
            ));
        }
        let stay = if self.leave { Stay::Leave { rounds: self.rounds } } else { Stay::Hold(self.duration) };
        Ok(Login { in_flight: self.in_flight, seeded, stay })
    }

    fn accounts(&self, prefix: &str) -> Result<Seeded, String> {
        let Ok(password) = SecretText::new(self.password.as_str()) else {
            return Err("--password is longer than any password may be".into());
        };
        let seeded = Seeded { prefix: prefix.into(), password };
        // The last id is the longest. A name may have fewer characters than an id.
        let last = seeded.id(self.common.clients() - 1);
        if last.chars().count() > NAME_CHARS_MAX {
            return Err(format!(
                "--seeded {prefix}: `{last}` has more than the {NAME_CHARS_MAX} characters of a name, so no such account exists"
            ));
        }
        Ok(seeded)
    }
}
