//! Kept reports remain readable by every later version.

use std::fs;
use std::path::Path;

use throng_harness_driver::steps::WrittenReport;
use throng_harness_peers::PeersReport;
use throng_harness_report::{Document, ReadError};

#[test]
fn kept_results_can_be_read() {
    let results = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../results");
    let mut read = 0;
    for folder in fs::read_dir(&results).expect("results of measurements") {
        let folder = folder.expect("an entry").path();
        let files = fs::read_dir(&folder).into_iter().flatten();
        for path in files.map(|file| file.expect("an entry").path()) {
            if path.extension().is_none_or(|extension| extension != "json") {
                continue;
            }
            let text = fs::read_to_string(&path).expect("readable");
            let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
            match (json["scenario"].as_str(), WrittenReport::read(&path)) {
                (None, _) => {}
                (Some("peers"), Err(ReadError::Scenario { .. })) => {
                    let report = PeersReport::read(&path).unwrap_or_else(|error| panic!("{error}"));
                    assert!(!report.cases.is_empty() && report.to_html().contains("</html>"));
                }
                (Some(scenario), Ok(written)) => {
                    read += 1;
                    let page = written.document().to_html();
                    let report = written.into_report();
                    assert_eq!(scenario, report.scenario);
                    assert_eq!(json["latency_us"]["count"], report.latency_us.count, "{}", path.display());
                    assert!(report.entries_requested() > 0 && page.contains("</html>"));
                }
                (_, Err(error)) => panic!("{error}"),
            }
        }
    }
    assert!(read > 50, "only {read} reports");
}
