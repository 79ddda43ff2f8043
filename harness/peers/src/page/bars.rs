//! Bars of the page of `peers`.

use maud::{Markup, html};
use throng_harness_report::html::micros;

use super::{DOUBTFUL, is_doubtful, own};
use crate::Summary;

/// A horizontal bar of one system.
struct Bar<'a> {
    name: &'a str,
    /// Start and end on the axis, which goes from 0 to 1.
    span: (f64, f64),
    value: String,
    /// Number of its color.
    color: usize,
    /// True for a figure that is no evidence.
    is_pale: bool,
}

/// Powers of ten around latencies. A logarithmic axis shows a system's milliseconds beside the
/// seconds of another that does not keep up.
struct Decades {
    low: f64,
    high: f64,
}

/// A bar from p50 to p99 for each system that delivered anything.
pub(super) fn latency_bars(class: &str, found: &[&Summary]) -> Markup {
    let delivered: Vec<_> = found.iter().filter(|summary| summary.deliveries_per_s > 0.0).collect();
    let latencies = delivered.iter().flat_map(|summary| [summary.p50_us, summary.p99_us]);
    let Some(decades) = Decades::around(latencies) else { return Markup::default() };
    let bars = delivered.iter().map(|summary| {
        let [p50, p99] = [summary.p50_us, summary.p99_us];
        Bar {
            name: &summary.system,
            span: (decades.place(p50), decades.place(p99)),
            value: format!("{} to {}", micros(p50), micros(p99)),
            color: 0,
            is_pale: is_doubtful(summary),
        }
    });
    bars_figure(class, "Latency, p50 to p99", &decades.ticks(), &bars.collect::<Vec<_>>())
}

/// A bar for each (name, amount, color), the largest over the whole width; none if all are 0.
pub(super) fn amount_bars(title: &str, show: fn(f64) -> String, amounts: &[(&str, f64, usize)]) -> Markup {
    let largest = amounts.iter().map(|(_, amount, _)| *amount).fold(0.0, f64::max);
    if !(largest > 0.0 && largest.is_finite()) {
        return Markup::default();
    }
    let bars = amounts.iter().map(|(name, amount, color)| {
        let (span, value) = ((0.0, amount / largest), show(*amount));
        Bar { name, span, value, color: *color, is_pale: false }
    });
    bars_figure("narrow", title, &[], &bars.collect::<Vec<_>>())
}

fn bars_figure(class: &str, title: &str, ticks: &[(f64, String)], bars: &[Bar<'_>]) -> Markup {
    // Grid lines at equal distances, one per tick.
    let has_ticks = !ticks.is_empty();
    let lines =
        (ticks.len() > 1).then(|| format!("background-size:{:.3}% 100%", 100.0 / (ticks.len() - 1) as f64));
    html! {
        figure class=(class) {
            figcaption {
                strong { (title) }
                @if bars.iter().any(|bar| bar.is_pale) { span class=(DOUBTFUL) { "pale: INVALID" } }
            }
            .bars {
                @for Bar { name, span: (from, to), value, color, is_pale } in bars {
                    @let [from, to] = [from, to].map(|at| at.clamp(0.0, 1.0) * 100.0);
                    @let class = format!("c{color}{}", if *is_pale { " pale" } else { "" });
                    @let style = format!("margin-left:{from:.2}%;width:{:.2}%", (to - from).max(0.0));
                    span class=[own(name)] { (name) }
                    span.track.lined[has_ticks] style=[&lines] { span class=(class) style=(style) {} }
                    span.value { (value) }
                }
                @if has_ticks {
                    span.ticks {
                        @for (at, label) in ticks { span style=(format!("left:{:.2}%", at * 100.0)) { (label) } }
                    }
                }
            }
        }
    }
}

impl Decades {
    /// The decades around times in microseconds, none without times. A time below 1 us counts as
    /// 1 us.
    fn around(times: impl Iterator<Item = f64>) -> Option<Self> {
        let (low, high) =
            times.fold((f64::INFINITY, 0.0_f64), |(low, high), time| (low.min(time), high.max(time)));
        let (low, high) = (low.max(1.0).log10().floor(), high.max(1.0).log10().ceil());
        (low.is_finite() && high.is_finite()).then_some(Self { low, high: high.max(low + 1.0) })
    }

    fn place(&self, micros: f64) -> f64 {
        (micros.max(1.0).log10() - self.low) / (self.high - self.low)
    }

    fn ticks(&self) -> Vec<(f64, String)> {
        let powers =
            (0..100).map(|place| self.low + f64::from(place)).take_while(|power| *power <= self.high);
        powers.map(|power| 10_f64.powf(power)).map(|time| (self.place(time), micros(time))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn latencies_lie_between_powers_of_ten() {
        let check = |times: &[f64], shown: &str| {
            let decades = Decades::around(times.iter().copied());
            let ticks = decades.map(|decades| decades.ticks()).unwrap_or_default();
            let ticks: Vec<_> = ticks.into_iter().map(|(at, label)| format!("{at:.2} {label}")).collect();
            assert_eq!(ticks.join(", "), shown, "{times:?}");
        };
        check(&[5_500.0, 21_700.0], "0.00 1 ms, 0.50 10 ms, 1.00 100 ms");
        check(&[150.0, 7_000_000.0], "0.00 100 us, 0.20 1 ms, 0.40 10 ms, 0.60 100 ms, 0.80 1 s, 1.00 10 s");
        check(&[1_000.0, 1_000.0], "0.00 1 ms, 1.00 10 ms");
        check(&[0.0, 0.5], "0.00 1 us, 1.00 10 us");
        check(&[], "");
    }
}
