//! The report for people: a stranger should understand it without a manual.

use std::fmt;

use throng_harness_model::breakdown::SAMPLE;
use throng_harness_model::procstat::Usage;
use throng_harness_model::record::LatencyUs;
use throng_harness_model::results::{Churned, Fairness};
use throng_harness_model::text::{format_bytes, format_count, format_nanos, format_rate};

use super::{Report, Verdict};
use crate::Checked;

/// CPU seconds below which a figure for each delivery is not shown: the kernel counts in 10 ms.
pub(super) const CPU_MIN_S: f64 = 0.1;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.write_with(f, |_| Ok(()))
    }
}

impl Report {
    /// Writes the report for people, with what `steps` writes below the verdict.
    pub fn write_with(
        &self,
        f: &mut fmt::Formatter<'_>,
        steps: impl FnOnce(&mut fmt::Formatter<'_>) -> fmt::Result,
    ) -> fmt::Result {
        let verdict = match self.verdict {
            Verdict::Pass => "PASS: all thresholds held",
            Verdict::Fail => "FAIL: see what is BROKEN below",
            Verdict::Interrupted => "INTERRUPTED: the results cover what was done until then",
        };
        let measured = format_nanos(self.measured_s * 1e9);
        writeln!(f, "\n{} for {measured}, seed {}", self.scenario, self.seed)?;
        writeln!(f, "{verdict}\n")?;
        steps(f)?;
        self.write_counts(f)?;
        self.write_latencies(f)?;
        self.write_usage(f)?;
        self.write_thresholds(f)
    }

    fn write_counts(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let clients = &self.clients;
        let [connected, requested] = [clients.connected, self.entries_requested()].map(format_count);
        let others = named(&[
            (clients.refused, "refused"),
            (clients.failed, "failed"),
            (clients.disconnected, "disconnected"),
        ]);
        let rounds = self.in_rounds();
        writeln!(f, "  clients     {connected} of {requested} connected{rounds}, {others}")?;
        for (reason, count) in &clients.reasons {
            writeln!(f, "              {:>9}  {reason}", format_count(*count))?;
        }
        for (reason, count) in &clients.retries {
            writeln!(f, "              {:>9}  tried again: {reason}", format_count(*count))?;
        }
        let again = &self.reconnects;
        if again.asked > 0 {
            let [asked, back] = [again.asked, again.back].map(format_count);
            let storm = again.storm_s.map_or(String::new(), |seconds| {
                format!("; all back {} after the storm began", format_nanos(seconds * 1e9))
            });
            writeln!(f, "  reconnects  {back} of {asked} back{storm}")?;
        }
        let lists = &self.lists;
        if lists.kept > 0 {
            let [kept, exact] = [lists.kept, lists.exact].map(format_count);
            let when = |seconds: f64| format_nanos(seconds * 1e9);
            let exact_after =
                lists.exact_s.map_or("not all of them".to_owned(), |after| format!("after {}", when(after)));
            writeln!(
                f,
                "  lists       all in after {}, last page after {}; {exact} of {kept} exact {exact_after}",
                when(lists.entered_s),
                when(lists.complete_s)
            )?;
            let counts = named(&[
                (lists.notices, "notices"),
                (lists.incomplete, "without all names"),
                (lists.resyncs, "lists fetched anew"),
                (lists.head_count_mismatches, "of the wrong length"),
            ]);
            writeln!(f, "              {counts}")?;
        }
        let rates = &self.rates;
        let (offered, achieved) = (rates.offered_per_s, rates.achieved_per_s);
        if let Some(logins) = rates.logins_per_s {
            writeln!(f, "  logins      {logins:.1}/s from the first beginning to the last entry")?;
        }
        if self.sent == 0 {
            let planned = planned(offered);
            return writeln!(f, "  rate        {achieved:.1} clients/s in the chat, {planned}");
        }
        let sent = format_count(self.sent);
        writeln!(f, "  messages    {sent} sent, {achieved:.1}/s of {offered:.1}/s offered")?;
        self.write_rate_changes(f)?;
        let deliveries = &self.deliveries;
        let [received, expected] = [deliveries.received, deliveries.expected].map(format_count);
        let per_second = format_rate(rates.deliveries_per_s);
        writeln!(f, "  deliveries  {received} of {expected} received, {per_second}/s")?;
        let faults = named(&[
            (deliveries.missing, "missing"),
            (deliveries.duplicated, "duplicated"),
            (deliveries.reordered, "reordered"),
            (deliveries.leaked, "leaked"),
            (deliveries.corrupted, "corrupted"),
        ]);
        writeln!(f, "              {faults}")?;
        if deliveries.inconsistent > 0 {
            writeln!(
                f,
                "              {} messages numbered inconsistently",
                format_count(deliveries.inconsistent)
            )?;
        }
        if deliveries.unheard_messages > 0 {
            writeln!(
                f,
                "              {} messages reached nobody",
                format_count(deliveries.unheard_messages)
            )?;
        }
        if deliveries.indeterminate > 0 {
            let count = format_count(deliveries.indeterminate);
            writeln!(f, "              {count} undecidable: the recipient was entering or leaving")?;
        }
        if self.gaps.told > 0 {
            let [told, messages] = [self.gaps.told, self.gaps.messages].map(format_count);
            let times = if self.gaps.told == 1 { "time" } else { "times" };
            writeln!(f, "              {messages} missed by clients that were told {told} {times}")?;
        }
        self.write_others(f)?;
        if deliveries.foreign > 0 {
            writeln!(f, "              {} messages of others seen", format_count(deliveries.foreign))?;
        }
        for pair in &deliveries.missing_examples {
            writeln!(f, "              missing: message {} at client {}", pair.message, pair.client)?;
        }
        Ok(())
    }

    /// Those who came and went, those who did not read, and what bots said.
    fn write_others(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Churned { joins, leaves, skipped } = self.churn;
        if joins + leaves > 0 {
            let churn =
                named(&[(joins, "joined"), (leaves, "left"), (skipped, "were waiting for an answer")]);
            writeln!(f, "  channels    {churn}")?;
        }
        if self.moves.made > 0 {
            let moves =
                named(&[(self.moves.made, "made"), (self.moves.skipped, "turns of clients on their way")]);
            writeln!(f, "  moves       {moves}")?;
        }
        let impaired = &self.impaired;
        if impaired.deaf + impaired.slow > 0 {
            let who = named(&[
                (impaired.deaf, "did not read"),
                (impaired.slow, "read slowly"),
                (impaired.closed, "of them closed"),
                (self.deliveries.behind, "deliveries not come to"),
            ]);
            writeln!(f, "  impaired    {who}")?;
            for (reason, count) in &impaired.reasons {
                writeln!(f, "              {:>9}  {reason}", format_count(*count))?;
            }
        }
        if let Some(bots) = &self.bots {
            bots.write(f)?;
        }
        Ok(())
    }

    /// How often each client came in, where that is not once.
    pub(super) fn in_rounds(&self) -> String {
        if self.rounds > 1 {
            format!(" in {} rounds", format_count(self.rounds.into()))
        } else {
            String::new()
        }
    }

    /// Every latency that was measured at all, with its name; one that belongs to the row above
    /// it is indented.
    pub(super) fn measured_latencies(&self) -> Vec<(&str, &LatencyUs)> {
        let whole = [("latency", &self.latency_us), ("  uncorrected", &self.latency_uncorrected_us)];
        let others = [
            ("first recipient", &self.first_recipient_us),
            ("last recipient", &self.last_recipient_us),
            ("  skew", &self.recipient_skew_us),
            ("sender's delay", &self.sender_delay_us),
            ("read lag", &self.read_lag_us),
        ];
        let phases = self.phases_us.iter().map(|(name, latency)| (name.as_str(), latency));
        let rows = whole.into_iter().chain(self.breakdown_us.parts()).chain(others);
        rows.chain(phases).filter(|(_, latency)| latency.count > 0).collect()
    }

    fn write_latencies(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rows = self.measured_latencies();
        if rows.is_empty() {
            return Ok(());
        }
        let heads = ["mean", "p50", "p90", "p99", "p99.9", "max"];
        write!(f, "\n  {:<16}", "")?;
        heads.iter().try_for_each(|head| write!(f, "{head:>10}"))?;
        writeln!(f)?;
        for (name, l) in rows {
            write!(f, "  {name:<16}")?;
            for micros in [l.mean, l.p50, l.p90, l.p99, l.p999, l.max] {
                write!(f, "{:>10}", format_nanos(micros * 1e3))?;
            }
            writeln!(f)?;
        }
        if self.latency_us.count > 0 {
            writeln!(
                f,
                "  (latency: from the time a message should have been sent to its arrival; uncorrected: from"
            )?;
            writeln!(
                f,
                "  the time it was sent; first, last recipient and skew: one value for each message)"
            )?;
        }
        if let Some(fairness) = &self.fairness {
            write_fairness(fairness, f)?;
        }
        if let Some(clock) = &self.server_clock {
            writeln!(
                f,
                "  (network in to network out: of one delivery in {SAMPLE}, from the time it was sent; the server's clock is"
            )?;
            let error = format_nanos(clock.error_us as f64 * 1e3);
            writeln!(f, "  known to {error} from {} pings)", format_count(clock.pings))?;
        }
        Ok(())
    }

    fn write_usage(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        if let Some(server) = &self.server {
            let each = self.shown_cpu_per_delivery().map_or(String::new(), |each| format!(", {each}"));
            let gone = if server.alive { "" } else { " (the process is GONE)" };
            writeln!(f, "  server      {:.2} s CPU{each}, {}{gone}", server.cpu_s, memory(server))?;
        }
        if let Some(harness) = &self.harness {
            let load = self.harness_load * 100.0;
            writeln!(
                f,
                "  harness     {:.2} s CPU ({load:.0}% of its threads), {}; {} bytes for each client",
                harness.cpu_s,
                memory(harness),
                format_rate(self.harness_memory.per_client_bytes)
            )?;
        }
        writeln!(f, "  machine     {}", self.machine)
    }

    fn write_rate_changes(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.rate_changes.is_empty() {
            return Ok(());
        }
        writeln!(f, "              {}", self.shown_rate_changes())
    }

    /// That the rate was not the planned one all the time.
    pub(super) fn shown_rate_changes(&self) -> String {
        let changes = self.rate_changes.iter();
        let shown: Vec<String> = changes
            .map(|change| {
                format!("{:.1}/s from {}", 1e6 / change.interval_us, format_nanos(change.at_s * 1e9))
            })
            .collect();
        format!("the rate was CHANGED by hand: {}", shown.join(", "))
    }

    /// Thresholds that could be broken: those of deliveries only where something was sent, those of user lists only where any
    /// were kept.
    pub(super) fn telling_thresholds(&self) -> impl Iterator<Item = &Checked> {
        let is_silent = self.sent == 0 && self.deliveries.expected == 0;
        self.thresholds
            .iter()
            .filter(move |checked| !(is_silent && checked.held && checked.is_about_deliveries()))
            .filter(|checked| !(self.lists.kept == 0 && checked.held && checked.is_about_lists()))
    }

    /// The server's CPU time for each delivery, if it had enough to tell.
    pub(super) fn shown_cpu_per_delivery(&self) -> Option<String> {
        let is_enough = self.server.is_some_and(|server| server.cpu_s >= CPU_MIN_S);
        let each = self.server_cpu_us_per_delivery.filter(|_| is_enough);
        each.map(|micros| format!("{micros:.2} us per delivery"))
    }

    fn write_thresholds(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f)?;
        for checked in self.telling_thresholds() {
            let sign = if checked.held { "held  " } else { "BROKEN" };
            writeln!(f, "  {sign}  {:<24} found {}", checked.threshold, checked.found)?;
        }
        for reason in &self.incomplete_because {
            writeln!(f, "  BROKEN  {reason}")?;
        }
        if !self.valid {
            let weight = if self.require_valid {
                "and --require-valid is set"
            } else {
                "deliveries are exact all the same"
            };
            writeln!(f, "\n  INVALID: these latencies are no evidence about the server ({weight})")?;
            self.invalid_because.iter().try_for_each(|reason| writeln!(f, "    - {reason}"))?;
        }
        Ok(())
    }
}

/// How alike clients were served.
fn write_fairness(fairness: &Fairness, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let time = |micros: f64| format_nanos(micros * 1e3);
    let [p5, p95, slowest] = [fairness.p5_us, fairness.p95_us, fairness.slowest.mean_us].map(time);
    writeln!(
        f,
        "\n  fairness    {:.3} of 1 (Jain's index); nine tenths of {} clients had a mean latency of {p5} to {p95}, client {} the longest, {slowest}",
        fairness.jain,
        format_count(fairness.clients),
        fairness.slowest.client
    )?;
    let groups = fairness.by_entry.len();
    if groups > 1 {
        writeln!(
            f,
            "              by order of entry: group {} of {groups} waited {:.2} times as long as the fastest",
            fairness.slowest_by_entry(),
            fairness.by_entry_ratio
        )?;
    }
    if fairness.by_shard.len() > 1 {
        let shards = fairness.by_shard.iter();
        let shards: Vec<_> =
            shards.map(|shard| format!("{} {}", shard.shard, time(shard.group.mean_us))).collect();
        writeln!(f, "              by the server's event loop: {}", shards.join(", "))?;
    }
    Ok(())
}

/// How often clients were to begin their way in; with no time between them there is no such rate.
pub(super) fn planned(per_second: f64) -> String {
    if per_second > 0.0 { format!("{per_second:.1}/s planned") } else { "as many as were let in".into() }
}

fn named(counts: &[(u64, &str)]) -> String {
    let each = counts.iter().map(|(count, name)| format!("{} {name}", format_count(*count)));
    each.collect::<Vec<_>>().join(", ")
}

/// A process's memory at the end of a run and at its start.
pub(super) fn memory(usage: &Usage) -> String {
    format!("{} ({} at the start)", format_bytes(usage.rss_bytes), format_bytes(usage.rss_start_bytes))
}
