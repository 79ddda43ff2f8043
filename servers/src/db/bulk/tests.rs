use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use throng_core::config::Secret;

use super::*;
use crate::dbagent::database_fixture::{Script, When};
use crate::dbagent::migrate::migrate_sqlite;
use crate::dbagent::procedures::{DbError, Fault};
use crate::dbagent::sqlite::SqliteFile;

const CHEAP: PasswordCost = PasswordCost { memory_kib: 8, iterations: 1 };
const BUSY: Duration = Duration::from_mins(1);

type Faults = [(&'static str, &'static [(Fault, When)])];

/// Creates these accounts, each with a character of its name, on a database with scripted faults.
fn create(dir: &Path, ids: &[&str], faults: &Faults) -> (Summary, Result<(), Stop>) {
    let path = dir.join("throng.db");
    migrate_sqlite(&path, BUSY, 0).unwrap();
    let file = SqliteFile::new(path, BUSY);
    let script = Arc::new(Script::default());
    for (procedure, faults) in faults {
        script.fail(procedure, faults);
    }
    let connect = || script.open(|| Ok(Box::new(file.connect()?)));
    let rows = ids.iter().zip(1..).map(|(id, number)| {
        let credential = Credential::Password(Secret::new("password"));
        Ok(Row { number, weight: 1, account: AccountSpec::new(id, credential, id) })
    });
    let summary = Mutex::default();
    let plan = Plan { unit: "line", total: ids.len() as u64, may_exist: false };
    let crew = Crew { threads: 2, cost: CHEAP, connect: &connect, plan };
    let result = crew.create_all(&summary, rows);
    (summary.into_inner(), result)
}

#[test]
fn transient_faults_are_retried_and_own_rows_recognized() {
    let dir = tempfile::tempdir().unwrap();
    let faults: &Faults = &[
        ("account_select", &[(Fault::Busy, When::Before), (Fault::Lost, When::After)]),
        (
            "account_insert",
            &[(Fault::Lost, When::After), (Fault::Conflict, When::Before), (Fault::Lost, When::Before)],
        ),
        ("character_insert", &[(Fault::Lost, When::After), (Fault::Full, When::Before)]),
    ];
    let (summary, result) = create(dir.path(), &["first", "second", "third"], faults);
    result.unwrap();
    assert_eq!((summary.created, summary.existing, summary.problems), (3, 0, 0), "{summary:?}");
}

#[test]
fn a_permanent_fault_stops_the_run() {
    let dir = tempfile::tempdir().unwrap();
    let ids: Vec<String> = (0..1000).map(|number| format!("id-{number}")).collect();
    let ids: Vec<&str> = ids.iter().map(String::as_str).collect();
    let (summary, result) =
        create(dir.path(), &ids, &[("account_insert", &[(Fault::Damaged, When::Before)])]);
    assert!(matches!(result, Err(Stop::Database(DbError { fault: Fault::Damaged, .. }))), "{result:?}");
    assert!(summary.created < 999, "{summary:?}");
}

#[test]
fn an_interrupted_run_is_completed_by_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let interrupted: &Faults = &[("character_insert", &[(Fault::Refused, When::Before)])];
    create(dir.path(), &["first"], interrupted).1.unwrap_err();
    let (summary, result) = create(dir.path(), &["first", "FIRST", "second"], &[]);
    result.unwrap();
    assert_eq!((summary.created, summary.existing, summary.completed), (1, 2, 1), "{summary:?}");
    assert_eq!(
        summary.listed.into_iter().collect::<Vec<_>>(),
        [(2, Problem::OtherCharacter("FIRST".into()))]
    );
}
