use super::*;
use crate::dbagent::migrate::migrate_sqlite;
use crate::dbagent::procedures::{AccountInsert, Holder, NewAccount, NewCharacter, Procedures};
use crate::dbagent::suite::suite;
use std::collections::HashSet;
use std::fs;
use throng_core::wire::packets::Claim;

const BUSY: Duration = Duration::from_mins(1);

fn database() -> (tempfile::TempDir, Arc<SqliteFile>) {
    let dir = tempfile::tempdir().unwrap();
    let file = SqliteFile::new(dir.path().join("throng.db"), BUSY);
    migrate_sqlite(&file.path, BUSY, 0).unwrap();
    (dir, file)
}

fn sign_up(db: &mut Sqlite, id: &str) -> Result<AccountInsert, DbError> {
    let hash = "h".repeat(2000);
    db.account_insert(&NewAccount { id, id_key: id, password_hash: &hash, now_ms: 1 })
}

#[test]
fn sqlite_passes_the_suite() {
    let (_dir, file) = database();
    let make = || file.connect().map(|db| Box::new(db) as Box<dyn Procedures>);
    let checks = suite(&make).unwrap_or_else(|failure| panic!("{failure}"));
    assert!(checks > 10);
}

#[test]
fn closing_moves_the_log_into_the_file() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    sign_up(&mut db, "bob").unwrap();
    let log = file.path.with_extension("db-wal");
    assert!(log.exists());
    Box::new(db).close().unwrap();
    assert!(!log.exists(), "the log is moved into the file");
    let mut db = file.connect().unwrap();
    assert_eq!(db.account_select("bob").unwrap().unwrap().id, "bob");
}

#[test]
fn accounts_are_flushed_and_online_state_is_not() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    let level =
        |db: &Sqlite| -> i64 { db.0.conn.query_row("PRAGMA synchronous", (), |row| row.get(0)).unwrap() };
    let normal = 1;
    let full = 2;
    db.holder_renew(Holder { instance: 1, agent: 1 }, 10).unwrap();
    assert_eq!(level(&db), normal);
    sign_up(&mut db, "bob").unwrap();
    assert_eq!(level(&db), full);
    db.online_release(&Claim { account: 1, id: 1 }, 1).unwrap();
    assert_eq!(level(&db), normal);
    let new = NewCharacter { account: 1, name: "x", name_key: "x", now_ms: 1 };
    db.character_insert(&new).unwrap();
    assert_eq!(level(&db), full);
}

#[test]
fn a_blocked_writer_waits_and_then_reports_busy() {
    let (_dir, file) = database();
    let file = SqliteFile::new(&file.path, Duration::from_millis(20));
    let mut db = file.connect().unwrap();
    let other = connect(&file.path, OpenFlags::SQLITE_OPEN_READ_WRITE, BUSY).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    assert_eq!(sign_up(&mut db, "bob").unwrap_err().fault, Fault::Busy);
    assert_eq!(db.account_select("bob").unwrap(), None, "readers do not wait");
    other.execute_batch("COMMIT").unwrap();
    let turn = file.writing.lock();
    assert_eq!(sign_up(&mut db, "bob").unwrap_err().fault, Fault::Busy, "writers of this process wait too");
    drop(turn);
    assert!(matches!(sign_up(&mut db, "bob"), Ok(AccountInsert::Inserted(_))));
}

#[test]
fn a_full_disk_is_reported_and_leaves_the_connection_usable() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    let pages: i64 = db.0.conn.query_row("PRAGMA page_count", (), |row| row.get(0)).unwrap();
    db.0.conn.pragma_update_and_check(None, "max_page_count", pages + 2, |_| Ok(())).unwrap();
    let mut made = 0;
    let error = loop {
        match sign_up(&mut db, &format!("bob{made}")) {
            Ok(_) => made += 1,
            Err(error) => break error,
        }
        assert!(made < 1000);
    };
    assert_eq!(error.fault, Fault::Full, "{error}");
    assert!(db.account_select("bob0").unwrap().is_some());
    db.0.conn.pragma_update_and_check(None, "max_page_count", pages + 100, |_| Ok(())).unwrap();
    assert!(matches!(sign_up(&mut db, "bob"), Ok(AccountInsert::Inserted(_))));
}

#[test]
fn unusable_files_have_distinct_faults() {
    let (dir, file) = database();
    let check = |file: &Arc<SqliteFile>, flags, expected: Fault| {
        let error = file.connect_with(flags).unwrap_err();
        assert_eq!(error.fault, expected, "{error}");
        let path = file.path.display().to_string();
        assert!(error.to_string().starts_with(&path), "the file is named: {error}");
    };
    let at = |name: &str| SqliteFile::new(dir.path().join(name), BUSY);
    let write = OpenFlags::SQLITE_OPEN_READ_WRITE;

    check(&at("absent.db"), write, Fault::Schema);
    check(&file, OpenFlags::SQLITE_OPEN_READ_ONLY, Fault::ReadOnly);
    check(&SqliteFile::new(dir.path(), BUSY), write, Fault::Lost);

    fs::write(dir.path().join("empty.db"), "").unwrap();
    check(&at("empty.db"), write, Fault::Schema);
    fs::write(dir.path().join("text.db"), "no database at all ".repeat(1000)).unwrap();
    check(&at("text.db"), write, Fault::Damaged);

    let newer = "INSERT INTO schema_migrations VALUES (99, 'later', 'x', 1)";
    connect(&file.path, write, BUSY).unwrap().execute(newer, ()).unwrap();
    check(&file, write, Fault::Schema);
}

#[test]
fn a_damaged_page_is_reported() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    for number in 0..50 {
        sign_up(&mut db, &format!("bob{number}")).unwrap();
    }
    Box::new(db).close().unwrap();
    let mut bytes = fs::read(&file.path).unwrap();
    // The pages of the schema stay intact.
    bytes[8 * 4096..].fill(0xa5);
    fs::write(&file.path, bytes).unwrap();
    let mut db = file.connect().unwrap();
    let faults: HashSet<Fault> = (0..50)
        .filter_map(|number| db.account_select(&format!("bob{number}")).err())
        .map(|error| error.fault)
        .collect();
    assert_eq!(faults, HashSet::from([Fault::Damaged]));
}

/// Damages pages in the middle of the file.
fn damage(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    bytes[20 * 4096..24 * 4096].fill(0xa5);
    fs::write(path, bytes).unwrap();
}

#[test]
fn the_check_finds_an_overwritten_page() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    for number in 0..50 {
        sign_up(&mut db, &format!("bob{number}")).unwrap();
    }
    Box::new(db).close().unwrap();
    assert_eq!(file.check_pages().unwrap(), fs::metadata(&file.path).unwrap().len());
    file.check_at_start().unwrap();
    file.quick_check(&START_TABLES).unwrap();
    damage(&file.path);
    for checked in [file.check_pages().map(|_| ()), file.check_at_start()] {
        let error = checked.unwrap_err();
        assert_eq!(error.fault, Fault::Damaged, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("restore the last backup") && !text.contains('\n') && text.len() < 2000,
            "{text}"
        );
    }
    // A file without a schema that can be read is damaged too.
    let mut bytes = fs::read(&file.path).unwrap();
    bytes[100..4096].fill(0xa5);
    fs::write(&file.path, bytes).unwrap();
    assert_eq!(file.quick_check(&START_TABLES).unwrap_err().fault, Fault::Damaged);
    let none = SqliteFile::new(file.path.with_extension("none"), BUSY);
    none.check_at_start().unwrap();
    assert!(!none.path.exists());
}

#[test]
fn the_log_shrinks_after_a_reader_that_kept_it() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    let look = |db: &mut Sqlite| {
        file.care.lock().looked_at = None;
        db.look_after()
    };
    assert!(!look(&mut db));
    let reader = connect(&file.path, OpenFlags::SQLITE_OPEN_READ_ONLY, BUSY).unwrap();
    reader.execute_batch("BEGIN; SELECT count(*) FROM accounts").unwrap();
    let bytes = LOG_LIMIT + 1_000_000;
    db.0.conn.execute_batch(&format!("CREATE TABLE filler AS SELECT zeroblob({bytes}) x")).unwrap();
    assert!(look(&mut db) && file.log_bytes() > LOG_LIMIT, "the reader keeps the log");
    assert!(db.look_after(), "between two looks it stays large");
    sign_up(&mut db, "bob").unwrap();
    reader.execute_batch("COMMIT").unwrap();
    assert!(!look(&mut db));
    assert_eq!(file.log_bytes(), 0);
    assert!(db.account_select("bob").unwrap().is_some());
    let busy: i64 = db.0.conn.query_row("PRAGMA busy_timeout", (), |row| row.get(0)).unwrap();
    assert_eq!(busy, BUSY.as_millis() as i64);
}

#[test]
fn an_impossible_record_is_reported() {
    let (_dir, file) = database();
    let mut db = file.connect().unwrap();
    let AccountInsert::Inserted(account) = sign_up(&mut db, "bob").unwrap() else { panic!() };
    let new = NewCharacter { account, name: "x", name_key: "x", now_ms: 1 };
    db.character_insert(&new).unwrap();
    let mut check = |change: &str, expected: Result<u64, Fault>| {
        db.0.conn.execute_batch(change).unwrap();
        let found = db.character_select(account).map(|found| found.unwrap().experience);
        assert_eq!(found.map_err(|error| error.fault), expected, "{change}");
    };
    check("UPDATE characters SET experience = -1", Ok(u64::MAX));
    check(&format!("UPDATE characters SET name = '{}'", "x".repeat(97)), Err(Fault::BadRecord));
    check("UPDATE characters SET name = CAST(X'FF' AS TEXT)", Err(Fault::BadRecord));
}
