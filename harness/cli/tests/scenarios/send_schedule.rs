//! Rates that may be changed during a run.

use throng_harness_model::spec::Scenario;

use crate::stub::{Script, Stub};
use crate::{CLIENTS, driven, job};

// Only the live view makes a rate adjustable, so there is no command line.
#[test]
fn an_unchanged_adjustable_rate_equals_a_fixed_one() {
    let stub = Stub::start(Script::default());
    let line = "--clients 8 --seed 1 --warmup 20ms --interval 7ms --duration 300ms --plain";
    let job = job(&stub, "broadcast", line);
    let run = |is_adjustable| {
        let mut job = job.clone();
        let Scenario::Broadcast(broadcast) = &mut job.scenario else { panic!("{job:?}") };
        broadcast.is_adjustable = is_adjustable;
        driven(&job)
    };
    let (adjustable, fixed) = (run(true), run(false));
    // At 0 to 294 ms.
    assert_eq!((adjustable.sent, fixed.sent), (43, 43));
    for found in [&adjustable, &fixed] {
        let deliveries = found.deliveries.as_ref().unwrap();
        assert_eq!((deliveries.received, deliveries.missing), (43 * CLIENTS, 0));
        assert_eq!(found.incomplete_because, Vec::<String>::new());
        assert_eq!(found.spread.last.count(), 43);
    }
    assert!((adjustable.rates.offered_per_s - 43.0 / 0.3).abs() < 0.1, "{:?}", adjustable.rates);
}
