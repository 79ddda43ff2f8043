//! Tests of `throng db seed` and `throng db import-accounts` as processes, on SQLite and
//! PostgreSQL.

use std::fs;
use std::process::{Command, Output, Stdio};

use throng_servers::dbagent::odbc::Stored;
use throng_servers::dbagent::password::{PasswordCost, Passwords};
use throng_servers::dbagent::procedures::{AccountInsert, NewAccount, Procedures};
use throng_servers::dbagent::sqlite::SqliteFile;
use throng_servers::rules::{self, Password};

use crate::support::{Home, PATIENCE, Postgres};

/// An account in the database.
#[derive(Debug, PartialEq, Eq)]
struct Found {
    account: u64,
    id: String,
    password_hash: String,
    name: Option<String>,
}

/// A migrated database that `throng db` and the test share.
struct BulkTest {
    home: Home,
    settings: Vec<String>,
    database: Box<dyn Procedures>,
    passwords: Passwords,
}

impl BulkTest {
    fn new(home: Home, settings: Vec<String>, database: Box<dyn Procedures>) -> Self {
        let passwords = Passwords::new(PasswordCost { memory_kib: 8, iterations: 1 }).unwrap();
        Self { home, settings, database, passwords }
    }

    fn sqlite() -> Self {
        let home = Home::new();
        fs::create_dir(home.path()).unwrap();
        let output = throng(&home, &["db", "migrate"], &[]).output().unwrap();
        assert!(output.status.success(), "{output:?}");
        let file = SqliteFile::new(home.path().join("throng.db"), PATIENCE);
        let database = Box::new(file.connect().unwrap());
        Self::new(home, Vec::new(), database)
    }

    fn postgres(database: &crate::support::Database<'_>) -> Self {
        let connection = Stored::connect(&database.as_agent()).unwrap();
        Self::new(Home::new(), database.settings(), Box::new(connection))
    }

    fn command(&self, words: &[&str]) -> Command {
        throng(&self.home, words, &self.settings)
    }

    /// Returns the exit code and standard output.
    fn run(&self, words: &[&str]) -> (Option<i32>, String) {
        exit_and_output(&self.command(words).output().unwrap())
    }

    /// Imports a file with this text.
    fn import(&self, text: &str) -> (Option<i32>, String) {
        let file = self.home.path().with_extension("csv");
        fs::write(&file, text).unwrap();
        self.run(&["db", "import-accounts", file.to_str().unwrap()])
    }

    fn find(&mut self, id: &str) -> Option<Found> {
        let account = self.database.account_select(&rules::check_id(id).unwrap()).unwrap()?;
        let character = self.database.character_select(account.account).unwrap();
        Some(Found {
            account: account.account,
            id: account.id,
            password_hash: account.password_hash,
            name: character.map(|character| character.name.to_string()),
        })
    }

    /// Asserts that the account with this id has this password and character.
    fn assert_account(&mut self, id: &str, password: &str, name: Option<&str>) -> Found {
        let found = self.find(id).unwrap_or_else(|| panic!("there is no account {id}"));
        assert_eq!((found.id.as_str(), found.name.as_deref()), (id, name));
        assert!(self.passwords.verify(&found.password_hash, &Password::to_check(password)).unwrap(), "{id}");
        found
    }

    /// Creates an account without a character.
    fn sign_up(&mut self, id: &str, password: &str) {
        let password_hash = self.passwords.hash(&Password::to_check(password)).unwrap();
        let id_key = rules::check_id(id).unwrap();
        let new = NewAccount { id, id_key: &id_key, password_hash: &password_hash, now_ms: 1 };
        assert!(matches!(self.database.account_insert(&new).unwrap(), AccountInsert::Inserted(_)));
    }
}

fn throng(home: &Home, words: &[&str], settings: &[String]) -> Command {
    let mut throng = Command::new(env!("CARGO_BIN_EXE_throng"));
    throng.env_clear().args(words).arg("--data").arg(home.path());
    let cheap = ["dbagent.argon2_memory=8KiB", "dbagent.argon2_iterations=1", "dbagent.threads=3"];
    let settings = settings.iter().map(String::as_str);
    throng.args(cheap.into_iter().chain(settings).flat_map(|setting| ["--set", setting]));
    throng.stdin(Stdio::null());
    throng
}

fn exit_and_output(output: &Output) -> (Option<i32>, String) {
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(stderr.is_empty(), "{stderr}");
    (output.status.code(), String::from_utf8(output.stdout.clone()).unwrap())
}

fn check_seeding(mut test: BulkTest) {
    let (code, said) = test.run(&["db", "seed", "--count", "50"]);
    assert!(
        code == Some(0) && said.starts_with("50 accounts made, 0 there already, 0 refused, in "),
        "{said}"
    );
    assert!(said.ends_with("/s)\n") && said.lines().count() == 1, "{said}");
    let first = test.assert_account("seed-000050", "seed-password", Some("seed-000050"));
    assert!(first.password_hash.starts_with("$argon2id$v=19$m=8,t=1,p=1$"), "{}", first.password_hash);
    assert_eq!(test.find("seed-000051"), None);

    let (code, said) = test.run(&["db", "seed", "--count", "80"]);
    assert!(code == Some(0) && said.starts_with("30 accounts made, 50 there already, 0 refused"), "{said}");
    assert_eq!(test.find("seed-000050"), Some(first), "an existing account was changed");
    let mut hashes: Vec<String> = (1..=80)
        .map(|number| format!("seed-{number:06}"))
        .map(|id| test.assert_account(&id, "seed-password", Some(&id)).password_hash)
        .collect();
    hashes.sort();
    hashes.dedup();
    assert_eq!(hashes.len(), 80, "two accounts share a salt");
    assert_eq!(test.find("seed-000081"), None);

    // One account was interrupted before its character was created, and one belongs to another
    // player.
    test.sign_up("봇-000001", "하나하나하나하나");
    test.sign_up("봇-000002", "somebody else's");
    let (code, said) =
        test.run(&["db", "seed", "--count", "3", "--prefix", "봇", "--password", "하나하나하나하나"]);
    assert!(
        code == Some(1) && said.contains("number 2: \"봇-000002\" is there already with another"),
        "{said}"
    );
    assert!(said.contains("1 accounts made, 2 there already (1 of them given the character"), "{said}");
    test.assert_account("봇-000001", "하나하나하나하나", Some("봇-000001"));
    test.assert_account("봇-000002", "somebody else's", None);
}

#[test]
fn sqlite_is_seeded() {
    check_seeding(BulkTest::sqlite());
}

#[test]
fn postgres_is_seeded() {
    let database = Postgres::shared().database();
    check_seeding(BulkTest::postgres(&database));
    assert_eq!(database.sql("SELECT count(*) FROM throng.accounts"), "83");
    // Accounts are created by the database's clock.
    let late = "SELECT count(*) FROM throng.accounts WHERE created_ms > 1 AND \
                abs(created_ms - extract(epoch FROM now()) * 1000) > 60000";
    assert_eq!(database.sql(late), "0");
}

fn check_imports(mut test: BulkTest) {
    check_import_of_passwords(&mut test);
    check_import_of_hashes(&mut test);
    let (code, said) = test.import("id,password\nall well,password-1\n");
    assert!(code == Some(0) && said.starts_with("1 accounts made, 0 there already, 0 refused"), "{said}");
    check_import_of_an_unchanged_file(&mut test);
}

fn check_import_of_an_unchanged_file(test: &mut BulkTest) {
    let hash = test.passwords.hash(&Password::to_check("password-2")).unwrap();
    for file in [
        "id,password,name\nbefore,password-1,Before\nnobody,password-1,\n".to_owned(),
        format!("id,password_hash\nhashed before,\"{hash}\"\n"),
    ] {
        assert_eq!(test.import(&file).0, Some(0));
        let (code, said) = test.import(&file);
        assert!(code == Some(0) && said.starts_with("0 accounts made, "), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
    }
    // The account of another player is no such account.
    let (code, said) = test.import("id,password\nnobody,password-x\nBEFORE,password-1\n");
    let told = said.contains("line 2: \"nobody\" is there already with another password\n")
        && said.contains("line 3: \"BEFORE\" is there already\n");
    assert!(code == Some(1) && told, "{said}");
}

fn check_import_of_passwords(test: &mut BulkTest) {
    test.sign_up("Taken", "somebody else's");
    test.sign_up("interrupted", "password-4");
    let file = "\u{FEFF}name,id,password\r\n\
        김철수,\"김,철수\",\"비밀번호 \"\"하나\"\"\"\r\n\
        \"😀 O'Brien; DROP TABLE--\",👩‍👩‍👧‍👦 emoji😀,password-2\r\n\
        ,nameless,password-3\r\n\
        \r\n\
        Taken,TAKEN,password-x\r\n\
        Four,interrupted,password-4\r\n\
        Five,no,password-x\r\n\
        김철수,name-taken,password-6\r\n\
        Seven,seven,short-x\r\n\
        \"Eight\r\nEighty\",eight,password-x\r\n\
        Nine,nine,password-9,password-x\r\n\
        Ten,ten,password-10";
    let (code, said) = test.import(file);
    let (problems, summary) = said.trim_end().rsplit_once('\n').unwrap();
    let expected = [
        "line 6: \"TAKEN\" is there already with another password, and is not given the character",
        "line 8: the id has fewer than 3 characters, or some that are not for ids (control or invisible ones, blanks at the ends, letters of scripts that do not mix)",
        "line 9: \"name-taken\" is left without a character: another one has the name",
        "line 10: the password has fewer than 8 characters, or some that are not for passwords (control, invisible or unassigned ones)",
        "line 11: a value goes on over the end of the line: look for a quotation mark that is missing or too many",
        "line 13: it has 4 columns, and the header has 3: values with commas, such as every password_hash, go into quotation marks",
    ];
    let mut problems: Vec<&str> = problems.lines().collect();
    let mut expected = expected.to_vec();
    // Two rows request one name, and either thread may be first.
    let first = "line 2: \"김,철수\" is left without a character: another one has the name";
    let is_first_nameless = problems[0] == first;
    if is_first_nameless {
        expected.remove(2);
        problems.remove(0);
    }
    assert_eq!(problems, expected);
    assert_eq!(code, Some(1));
    let wanted = "5 accounts made (1 of them without their character), \
                  2 there already (1 of them given the character that they lacked), 4 refused, in ";
    assert!(summary.starts_with(wanted), "{summary}");
    assert!(!said.contains("password-") && !said.contains("short-x"), "{said}");

    let names = if is_first_nameless { [None, Some("김철수")] } else { [Some("김철수"), None] };
    let there = [
        ("김,철수", "비밀번호 \"하나\"", names[0]),
        ("👩‍👩‍👧‍👦 emoji😀", "password-2", Some("😀 O'Brien; DROP TABLE--")),
        ("nameless", "password-3", None),
        ("Taken", "somebody else's", None),
        ("interrupted", "password-4", Some("Four")),
        ("name-taken", "password-6", names[1]),
        ("ten", "password-10", Some("Ten")),
    ];
    let found: Vec<Found> =
        there.iter().map(|(id, password, name)| test.assert_account(id, password, *name)).collect();
    assert!(["seven", "eight", "nine"].iter().all(|id| test.find(id).is_none()));

    let (code, said) = test.import(file);
    assert!(code == Some(1) && said.contains("\n0 accounts made, 7 there already, 4 refused, in "), "{said}");
    assert!(!said.contains("nameless"), "an account that is as the file says is no problem: {said}");
    let again: Vec<Found> =
        there.iter().map(|(id, password, name)| test.assert_account(id, password, *name)).collect();
    assert_eq!(again, found);
}

/// Imports hashes that another system computed at another cost.
fn check_import_of_hashes(test: &mut BulkTest) {
    let mut costly = Passwords::new(PasswordCost { memory_kib: 64, iterations: 2 }).unwrap();
    let [one, two] =
        ["password-1", "password-2"].map(|password| costly.hash(&Password::to_check(password)).unwrap());
    let hashes = format!(
        "id,password_hash,name\n\"hashed one\",\"{one}\",Hashed One\nhashed two,\"{two}\",\"\"\n\
         no-hash,hunter2-hunter2,None\nbcrypt,$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW,None\n"
    );
    let (code, said) = test.import(&hashes);
    assert!(code == Some(1) && said.contains("\n2 accounts made, 0 there already, 2 refused"), "{said}");
    assert!(said.contains("line 4: the password_hash is not an argon2id hash as a PHC string"), "{said}");
    assert!(!said.contains("hunter2") && !said.contains("$2b$"), "{said}");
    assert_eq!(test.assert_account("hashed one", "password-1", Some("Hashed One")).password_hash, one);
    assert_eq!(test.assert_account("hashed two", "password-2", None).password_hash, two);
    assert_eq!((test.find("no-hash"), test.find("bcrypt")), (None, None));
}

#[test]
fn sqlite_takes_imports() {
    check_imports(BulkTest::sqlite());
}

#[test]
fn postgres_takes_imports() {
    check_imports(BulkTest::postgres(&Postgres::shared().database()));
}

#[test]
fn the_first_of_many_rows_with_one_id_is_imported_and_problems_are_listed_up_to_a_limit() {
    let mut test = BulkTest::sqlite();
    let rows: Vec<String> = (0..500).map(|row| format!("same,password-{row},Same {row}\n")).collect();
    let (code, said) = test.import(&format!("id,password,name\n{}", rows.concat()));
    assert_eq!(code, Some(1));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 22, "{said}");
    assert_eq!(lines[0], "line 3: \"same\" is there already, with a character of another name");
    assert!(lines[19].starts_with("line 22: ") && lines[20] == "and 479 more", "{said}");
    assert!(lines[21].starts_with("1 accounts made, 499 there already, 0 refused"), "{said}");
    test.assert_account("same", "password-0", Some("Same 0"));
}

#[test]
fn commands_that_cannot_start_say_why() {
    let check = |home: &Home, words: &[&str], wanted: &[&str]| {
        let output = throng(home, words, &[]).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{words:?}: {stderr}");
        assert!(wanted.iter().all(|wanted| stderr.contains(wanted)), "{words:?}: {stderr}");
        assert!(output.stdout.is_empty(), "{words:?}: {output:?}");
    };
    check(
        &Home::new(),
        &["db", "seed", "--count", "1"],
        &["throng.db", "run `throng db migrate`", "0 accounts"],
    );
    let test = BulkTest::sqlite();
    let home = &test.home;
    check(
        home,
        &["db", "seed", "--count", "1", "--prefix", "far too long a prefix"],
        &["24 characters", "--prefix"],
    );
    check(home, &["db", "seed", "--count", "1", "--password", "geheim"], &["8 characters", "--password"]);
    check(
        home,
        &["db", "import-accounts", "/nowhere/accounts.csv"],
        &["/nowhere/accounts.csv", "check the path"],
    );
    check(home, &["db", "import-accounts", "/"], &["cannot read /"]);
    let file = home.path().with_extension("csv");
    fs::write(&file, "id,password,mail\n").unwrap();
    check(home, &["db", "import-accounts", file.to_str().unwrap()], &["line 1", "unknown columns: \"mail\""]);
}

#[test]
fn broken_connections_lose_no_account() {
    const COUNT: usize = 3000;
    let database = Postgres::shared().database();
    let mut test = BulkTest::postgres(&database);
    let mut seeding = test
        .command(&["db", "seed", "--count", &COUNT.to_string()])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // Each interruption breaks each thread's connection once, and a thread retries a call ten
    // times. One follows another only after accounts were created in between.
    let mut interruptions = 0;
    let mut created = 0;
    while interruptions < 5 && seeding.try_wait().unwrap().is_none() {
        let count = database.sql("SELECT count(*) FROM throng.accounts").parse().unwrap();
        if count > created {
            Postgres::shared().terminate_all(&database.name);
            interruptions += 1;
            created = count;
        }
    }
    let (code, said) = exit_and_output(&seeding.wait_with_output().unwrap());
    assert!(interruptions > 0, "the seeding ended without an interruption: {said}");
    assert!(code == Some(0) && said.starts_with("3000 accounts made, 0 there already, 0 refused"), "{said}");
    assert_eq!(database.sql("SELECT count(*) FROM throng.characters"), COUNT.to_string());
    test.database = Box::new(Stored::connect(&database.as_agent()).unwrap());
    test.assert_account("seed-003000", "seed-password", Some("seed-003000"));
}
