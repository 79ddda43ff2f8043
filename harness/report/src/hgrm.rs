//! Distributions as text, in HdrHistogram's original format, which its plotters read.

use std::fmt::Write;

use throng_harness_model::record::Latencies;

/// Lines for each halving of the rest of the distribution; the usual number.
const TICKS: u32 = 5;
/// Nanoseconds of the unit: plotters assume milliseconds by default.
const UNIT: f64 = 1e6;

/// The distribution's percentiles in milliseconds, a line each, followed by its figures.
pub(super) fn text(latencies: &Latencies) -> String {
    let histogram = latencies.histogram();
    let mut text =
        format!("{:>12} {:>14} {:>10} {:>14}\n\n", "Value", "Percentile", "TotalCount", "1/(1-Percentile)");
    let mut total = 0_u64;
    for step in histogram.iter_quantiles(TICKS) {
        total = total.saturating_add(step.count_since_last_iteration());
        let (value, quantile) = (step.value_iterated_to() as f64 / UNIT, step.quantile_iterated_to());
        let _ = write!(text, "{value:12.3} {quantile:2.12} {total:10}");
        // The last line has no value in the fourth column.
        let _ =
            if quantile < 1.0 { writeln!(text, " {:14.2}", 1.0 / (1.0 - quantile)) } else { writeln!(text) };
    }
    let [mean, deviation, longest] =
        [histogram.mean(), histogram.stdev(), histogram.max() as f64].map(|nanos| nanos / UNIT);
    let sub_buckets = 1 << sub_bucket_bits(histogram.sigfig());
    let _ = writeln!(text, "#[Mean    = {mean:12.3}, StdDeviation   = {deviation:12.3}]");
    let _ = writeln!(text, "#[Max     = {longest:12.3}, Total count    = {:12}]", histogram.len());
    let _ = writeln!(text, "#[Buckets = {:12}, SubBuckets     = {sub_buckets:12}]", histogram.buckets());
    text
}

/// Bits that tell apart twice as many values as `digits` decimal digits do.
fn sub_bucket_bits(digits: u8) -> u32 {
    (2 * 10_u32.pow(digits.into())).next_power_of_two().trailing_zeros()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_that_of_hdrhistogram() {
        let mut latencies = Latencies::new();
        for (millis, count) in [(1_u64, 50), (2, 40), (5, 9), (100, 1)] {
            (0..count).for_each(|_| latencies.record(millis * 1_000_000));
        }
        // As Java's `outputPercentileDistribution` with 5 ticks and a unit of a million writes it.
        let expected = r"       Value     Percentile TotalCount 1/(1-Percentile)

       1.000 0.000000000000         50           1.00
       1.000 0.100000000000         50           1.11
       1.000 0.200000000000         50           1.25
       1.000 0.300000000000         50           1.43
       1.000 0.400000000000         50           1.67
       1.000 0.500000000000         50           2.00
       2.001 0.550000000000         90           2.22
       2.001 0.600000000000         90           2.50
       2.001 0.650000000000         90           2.86
       2.001 0.700000000000         90           3.33
       2.001 0.750000000000         90           4.00
       2.001 0.775000000000         90           4.44
       2.001 0.800000000000         90           5.00
       2.001 0.825000000000         90           5.71
       2.001 0.850000000000         90           6.67
       2.001 0.875000000000         90           8.00
       2.001 0.887500000000         90           8.89
       5.001 0.900000000000         99          10.00
       5.001 0.912500000000         99          11.43
       5.001 0.925000000000         99          13.33
       5.001 0.937500000000         99          16.00
       5.001 0.943750000000         99          17.78
       5.001 0.950000000000         99          20.00
       5.001 0.956250000000         99          22.86
       5.001 0.962500000000         99          26.67
       5.001 0.968750000000         99          32.00
       5.001 0.971875000000         99          35.56
       5.001 0.975000000000         99          40.00
       5.001 0.978125000000         99          45.71
       5.001 0.981250000000         99          53.33
       5.001 0.984375000000         99          64.00
       5.001 0.985937500000         99          71.11
       5.001 0.987500000000         99          80.00
       5.001 0.989062500000         99          91.43
     100.008 0.990625000000        100         106.67
     100.008 1.000000000000        100
#[Mean    =        2.750, StdDeviation   =        9.836]
#[Max     =      100.008, Total count    =          100]
#[Buckets =           23, SubBuckets     =         2048]
";
        assert_eq!(text(&latencies), expected);
    }

    #[test]
    fn an_empty_distribution_has_no_lines() {
        assert_eq!(
            text(&Latencies::new()),
            "       Value     Percentile TotalCount 1/(1-Percentile)\n\n\
             #[Mean    =        0.000, StdDeviation   =        0.000]\n\
             #[Max     =        0.000, Total count    =            0]\n\
             #[Buckets =           23, SubBuckets     =         2048]\n"
        );
    }
}
