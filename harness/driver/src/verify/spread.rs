//! Delivery times of whole messages, over all their recipients.

use throng_harness_model::clock::Nanos;
use throng_harness_model::record::Spread;
use throng_harness_model::send_schedule::SendSchedule;

use super::MessageLog;

impl MessageLog {
    /// Returns the spread of all messages, with `schedule` as their due times.
    pub fn spread(&self, schedule: &SendSchedule) -> Spread {
        let mut spread = Spread::default();
        for (index, message) in self.iter().enumerate().filter(|(_, message)| message.was_received()) {
            let intended = schedule.intended(index as u32);
            spread.first.record(message.first.saturating_sub(intended));
            spread.last.record(message.last.saturating_sub(intended));
            spread.skew.record(message.last.saturating_sub(message.first));
        }
        spread
    }

    /// Returns the due time of each received message and the time that its last recipient took, in
    /// order of the due times.
    pub fn last_recipients(&self, schedule: &SendSchedule) -> impl Iterator<Item = (Nanos, Nanos)> {
        let received = self.iter().enumerate().filter(|(_, message)| message.was_received());
        received.map(move |(index, message)| {
            let due = schedule.intended(index as u32);
            (due, message.last.saturating_sub(due))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use throng_harness_model::fixture::near;
    use throng_harness_model::schedule::Traffic;

    use super::*;
    use crate::verify::{DeliveryLedger, settle};

    const MS: Nanos = 1_000_000;

    #[test]
    fn first_and_last_recipients_are_found_over_workers() {
        let traffic = Arc::new(Traffic::of(vec![0, 0], 2));
        let mut ledgers = [0, 1].map(|id| DeliveryLedger::new(traffic.clone(), [id]));
        ledgers[0].sent(0, 100 * MS);
        ledgers[0].delivered(0, 0, 1, 103 * MS);
        ledgers[1].delivered(0, 0, 1, 110 * MS);
        let settlement = settle(ledgers.into()).expect("two ledgers");
        let spread = settlement.log.spread(&SendSchedule::even(100 * MS, Duration::from_millis(1)));
        near(spread.first.summary().max, 3_000.0);
        near(spread.last.summary().max, 10_000.0);
        near(spread.skew.summary().max, 7_000.0);
        assert_eq!(spread.last.count(), 1, "a message that no client received has no last recipient");
    }
}
