//! The verdict on a run of several steps.

use throng_harness_report::{Checked, Verdict};

use crate::steps::report::judged;
use crate::steps::{LimitedBy, Step, SteppedReport};

impl Step {
    /// Returns the verdict and the reason if the step fails, by its thresholds or by its closed
    /// loop, or cannot be judged. A step that was good in spite of the harness or the machine fails
    /// only where it must be valid.
    fn broken(&self, require_valid: bool) -> Option<(Verdict, &str)> {
        let because = self.because.first().map(String::as_str);
        let unusable = || self.capacity.as_ref()?.unusable_because.as_deref();
        match (self.verdict, unusable()) {
            (Verdict::Fail, _) => Some((Verdict::Fail, because.unwrap_or_default())),
            (_, Some(why)) => Some((Verdict::Fail, why)),
            (Verdict::Invalid, None) if require_valid || !self.good => {
                Some((Verdict::Invalid, because.unwrap_or("its latencies are not valid")))
            }
            _ => None,
        }
    }

    /// Returns true if a delivery went wrong or a client was absent. Both are exact counts,
    /// independent of timing.
    fn has_miscounts(&self) -> bool {
        let (deliveries, clients) = (&self.deliveries, &self.clients);
        let faults = [
            deliveries.missing,
            deliveries.duplicated,
            deliveries.reordered,
            deliveries.leaked,
            deliveries.corrupted,
            deliveries.inconsistent,
        ];
        faults.iter().any(|count| *count > 0)
            || clients.disconnected > 0
            || clients.connected < clients.requested
    }
}

impl SteppedReport {
    /// Checks the whole run: every step must hold, or at least one must be good.
    pub(super) fn check(&self, every_step_counts: bool, is_cut: bool) -> Checked {
        let broken = self.broken_steps().next().map(|(number, _, why)| (number, why));
        let until = if is_cut { ", until the run was cut short" } else { "" };
        let held = if every_step_counts { broken.is_none() } else { self.limit.good.is_some() };
        let found = match (every_step_counts, broken, self.limit.good) {
            (true, Some((number, why)), _) => format!("step {number}: {why}"),
            (true, None, _) => format!("{} of them{until}", judged(&self.steps).count()),
            (false, _, Some(size)) => self.limit.over.show(size),
            (false, _, None) => format!("none{until}"),
        };
        let threshold = if every_step_counts { "all steps" } else { "a good step" };
        Checked { threshold: threshold.into(), found, held }
    }

    /// Iterates over the steps that fail or cannot be judged, each with its verdict and the reason.
    fn broken_steps(&self) -> impl Iterator<Item = (u32, Verdict, &str)> {
        // Repeating a step excuses its times only: a delivery fault counts, however late the
        // harness was.
        let counts = |step: &&Step| {
            let is_miscounted = step.verdict == Verdict::Fail && step.has_miscounts();
            is_miscounted || judged(&self.steps).any(|other| other.number == step.number)
        };
        let require_valid = self.report.require_valid;
        self.steps.iter().filter(counts).filter_map(move |step| {
            let (verdict, why) = step.broken(require_valid)?;
            Some((step.number, verdict, why))
        })
    }

    /// Returns the verdict on the whole run. It is [`Verdict::Invalid`] if the harness or the
    /// machine kept the steps from their answer, and all counts held.
    pub(super) fn judge(&self, every_step_counts: bool, is_cut: bool) -> Verdict {
        let (report, limit) = (&self.report, &self.limit);
        let is_about_server = limit.limited_by.is_none_or(LimitedBy::is_about_server);
        let has_failures = || self.steps.iter().any(|step| step.verdict == Verdict::Fail);
        if is_cut {
            Verdict::Interrupted
        } else if !report.incomplete_because.is_empty() {
            Verdict::Fail
        } else if every_step_counts {
            let mut broken = self.broken_steps().map(|(_, verdict, _)| verdict);
            let first = broken.next().unwrap_or(Verdict::Pass);
            broken.find(|verdict| *verdict == Verdict::Fail).unwrap_or(first)
        } else if limit.good.is_none() && (is_about_server || has_failures()) {
            Verdict::Fail
        } else if !is_about_server || (report.require_valid && !report.valid) {
            Verdict::Invalid
        } else {
            Verdict::Pass
        }
    }
}
