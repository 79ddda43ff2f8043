//! What a run shows of itself while it is under way.

use super::Run;
use crate::cli::{Job, Scenario};
use crate::clock::Nanos;
use crate::crowd::Speech;
use crate::live::{Facts, Phase, Totals};
use crate::target::Target;

/// What stays the same for the whole run.
pub(super) fn facts(job: &Job, target: &Target) -> Facts {
    let is_to_all = match &job.scenario {
        Scenario::Broadcast(broadcast) => {
            let setting = &broadcast.setting;
            setting.speech == Speech::World && setting.deaf + setting.slow == 0
        }
        Scenario::Bots(_) => true,
        _ => false,
    };
    Facts {
        scenario: job.scenario.name(),
        target: target.server.address.to_string(),
        seed: job.seed,
        requested: u64::from(job.clients) * u64::from(job.scenario.rounds()),
        is_to_all,
        has_rate: false,
    }
}

impl Run<'_> {
    /// The run does something else from now on; a clock may decide when that ends.
    pub(super) fn phase(&mut self, phase: Phase, until: Option<Nanos>) {
        let now = self.now();
        self.display.phase(phase, now, until);
    }

    /// Shows how things stand, and does what a key wants.
    pub(super) fn display_totals(&mut self, totals: &Totals, now: Nanos) {
        let read_lag = self.fleet.panels().iter().map(|panel| panel.read_lag()).max().unwrap_or(0);
        self.display.look(now, totals, read_lag, self.shutdown);
    }
}
