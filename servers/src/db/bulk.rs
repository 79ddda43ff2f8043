//! Making many accounts: the threads that hash and insert, what became of each account, and the summary.

use std::collections::BTreeMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::mpsc::{self, SyncSender};
use std::thread;
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressStyle};
use parking_lot::Mutex;
use thiserror::Error;
use throng_core::clock::unix_ms;
use throng_core::config::{Config, Secret};
use throng_core::limits::{
    ID_CHARS_MAX, ID_CHARS_MIN, NAME_CHARS_MAX, NAME_CHARS_MIN, PASSWORD_BYTES_MAX, PASSWORD_CHARS_MIN,
};
use throng_core::wire::packets::Outcome;

use super::Print;
use super::import::HeaderError;
use crate::dbagent::database::Database;
use crate::dbagent::password::{PasswordCost, PasswordError, Passwords, StoredHashError};
use crate::dbagent::procedures::DbError;
use crate::rules;

mod worker;

use worker::{Connect, Shared, Task, Worker};

/// Accounts that may wait for a thread, for each of the threads.
const LANE: usize = 64;

/// Problems that are listed one by one; the rest are counted.
const LISTED_MAX: usize = 20;

/// Why accounts were not made, or not all of them.
#[derive(Debug, Error)]
pub enum BulkError {
    /// The file cannot be opened, or not even its first line read.
    #[error("cannot read {}: {source}; check the path and who may read it", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The file's first line does not name the columns.
    #[error("{}, line {line}: {source}", path.display())]
    Header {
        /// The file.
        path: PathBuf,
        /// The header's line.
        line: u64,
        /// What is wrong with it.
        source: HeaderError,
    },
    /// The ids and names of a seed would not be permitted ones.
    #[error(
        "the ids and names would be such as {example:?}, but {problem}: \
         give another --prefix, for so many accounts of at most {room} characters"
    )]
    Prefix {
        /// The longest of the ids.
        example: String,
        /// The rule that it breaks.
        problem: Problem,
        /// How long a prefix may be.
        room: usize,
    },
    /// The password of a seed is not a permitted one.
    #[error("{0}: give another --password")]
    Password(Problem),
    /// Something ended it.
    #[error("{cause} ({made} accounts were made before, and stay: the same command again makes the rest)")]
    Stopped {
        /// Accounts made until then.
        made: u64,
        /// What it was.
        cause: Stop,
    },
    /// Standard output is gone.
    #[error("cannot write to standard output: {0}")]
    Output(#[from] io::Error),
}

/// What ends the work on all accounts.
#[derive(Debug, Error)]
pub enum Stop {
    /// The database cannot go on.
    #[error(transparent)]
    Database(#[from] DbError),
    /// Passwords cannot be hashed.
    #[error(transparent)]
    Password(#[from] PasswordError),
    /// The file cannot be read further.
    #[error("{}, line {line}: cannot read on: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The line from which on it cannot.
        line: u64,
        /// What is wrong.
        source: io::Error,
    },
    /// The system gives no thread.
    #[error("cannot start a thread: {0}; look at the limits on processes (ulimit -u) and memory")]
    Thread(io::Error),
}

/// Why one account is not as it was wished for. Shows ids that are permitted ones, and of what else stands in a
/// file, nothing: it may be a password.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Problem {
    /// Refused at a sign-up, too.
    #[error("{}", rule(*.0))]
    Rule(Outcome),
    /// The row and the header do not match.
    #[error(
        "it has {found} columns, and the header has {wanted}: values with commas, such as every password_hash, \
         go into quotation marks"
    )]
    Columns {
        /// Columns of the row.
        found: usize,
        /// Columns of the header.
        wanted: usize,
    },
    /// A quotation mark too many or too few; no id, name or password has a line break.
    #[error(
        "a value goes on over the end of the line: look for a quotation mark that is missing or too many"
    )]
    LineBreak,
    /// Not text.
    #[error("it is not UTF-8: save the file as UTF-8")]
    Encoding,
    /// Nothing that a password could be verified against.
    #[error("the password_hash is not an argon2id hash as a PHC string: {0}")]
    Hash(StoredHashError),
    /// The account is there, and left as it is.
    #[error("\"{0}\" is there already")]
    Exists(String),
    /// The account is there, and has a character.
    #[error("\"{0}\" is there already, with a character of another name")]
    OtherCharacter(String),
    /// The account is there without a character; whether it is the one that is meant is not shown by its password.
    #[error("\"{0}\" is there already with another password, and is not given the character")]
    Stranger(String),
    /// The account is there now, the character is not.
    #[error("\"{0}\" is left without a character: another one has the name")]
    NameTaken(String),
}

fn rule(outcome: Outcome) -> String {
    match outcome {
        Outcome::IdInvalid => format!(
            "the id has fewer than {ID_CHARS_MIN} characters, or some that are not for ids \
             (control or invisible ones, blanks at the ends)"
        ),
        Outcome::IdTooLong => format!("the id has more than {ID_CHARS_MAX} characters"),
        Outcome::PasswordInvalid => {
            format!("the password has fewer than {PASSWORD_CHARS_MIN} characters, or control characters")
        }
        Outcome::PasswordTooLong => format!("the password has more than {PASSWORD_BYTES_MAX} bytes"),
        Outcome::NameInvalid => format!(
            "the name has fewer than {NAME_CHARS_MIN} characters, or some that are not for names \
             (control or invisible ones, blanks at the ends)"
        ),
        Outcome::NameTooLong => format!("the name has more than {NAME_CHARS_MAX} characters"),
        other => format!("it was refused ({other:?})"),
    }
}

/// How the owner of an account will prove to be it.
#[derive(Debug, Clone)]
pub(super) enum Credential {
    /// By a password that is still to be hashed.
    Password(Secret),
    /// By a password whose hash, checked, this is.
    Hash(Secret),
}

/// An account to be made, as a sign-up would permit it.
#[derive(Debug)]
pub(super) struct Wish {
    id: String,
    id_key: String,
    credential: Credential,
    character: Option<Name>,
}

#[derive(Debug)]
struct Name {
    name: String,
    key: String,
}

impl Wish {
    /// The account, if it may be made. An empty name is no wish for a character.
    pub(super) fn new(id: &str, credential: Credential, name: &str) -> Result<Self, Problem> {
        let id_key = rules::check_id(id).map_err(Problem::Rule)?;
        if let Credential::Password(password) = &credential {
            rules::check_password(password.expose()).map_err(Problem::Rule)?;
        }
        let character = if name.is_empty() {
            None
        } else {
            let key = rules::check_name(name).map_err(Problem::Rule)?;
            Some(Name { name: name.to_owned(), key })
        };
        Ok(Self { id: id.to_owned(), id_key, credential, character })
    }

    /// The thread that it goes to, of so many. Rows with the same id go to the same one and keep their order, so that
    /// the first of them has it. (Of rows with the same name it is the one whose thread is faster.)
    fn lane(&self, lanes: usize) -> usize {
        let mut hasher = DefaultHasher::new();
        self.id_key.hash(&mut hasher);
        (hasher.finish() % lanes as u64) as usize
    }
}

/// A wish, or why there is none, and where it stands.
#[derive(Debug)]
pub(super) struct Row {
    /// Its line, or number.
    pub(super) at: u64,
    /// By how much the whole is nearer to its end when it is done.
    pub(super) weight: u64,
    /// The account.
    pub(super) wish: Result<Wish, Problem>,
}

/// What the rows of a run are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Plan {
    /// What [`Row::at`] counts.
    pub(super) unit: &'static str,
    /// The weight of all rows.
    pub(super) total: u64,
    /// Whether an account that is there already is what was wanted.
    pub(super) may_exist: bool,
}

/// What became of a row.
enum Made {
    Account,
    /// The account, and it is there without its character.
    AccountOnly(Problem),
    /// It is there already.
    Exists(Problem),
    /// It is there already; the character that it lacked is made.
    Character,
    Refused(Problem),
}

#[derive(Debug, Default)]
struct Tally {
    made: u64,
    made_bare: u64,
    existed: u64,
    completed: u64,
    refused: u64,
    problems: u64,
    /// The first of the problems, by where they are: the threads find them in any order.
    listed: BTreeMap<u64, Problem>,
}

impl Tally {
    fn count(&mut self, plan: &Plan, at: u64, made: Made) {
        let problem = match made {
            Made::Account => {
                self.made += 1;
                None
            }
            Made::AccountOnly(problem) => {
                self.made += 1;
                self.made_bare += 1;
                Some(problem)
            }
            Made::Exists(problem) => {
                self.existed += 1;
                let is_wanted = matches!(problem, Problem::Exists(_) | Problem::OtherCharacter(_));
                (!(plan.may_exist && is_wanted)).then_some(problem)
            }
            Made::Character => {
                self.existed += 1;
                self.completed += 1;
                None
            }
            Made::Refused(problem) => {
                self.refused += 1;
                Some(problem)
            }
        };
        if let Some(problem) = problem {
            self.problems += 1;
            self.listed.insert(at, problem);
            if self.listed.len() > LISTED_MAX {
                self.listed.pop_last();
            }
        }
    }

    fn rows(&self) -> u64 {
        self.made + self.existed + self.refused
    }

    fn print(&self, plan: &Plan, took: Duration, print: &mut Print<'_>) -> io::Result<()> {
        for (at, problem) in &self.listed {
            print(&format!("{} {at}: {problem}\n", plan.unit))?;
        }
        let unlisted = self.problems - self.listed.len() as u64;
        if unlisted > 0 {
            print(&format!("and {unlisted} more\n"))?;
        }
        let some = |count: u64, what: &str| match count {
            0 => String::new(),
            _ => format!(" ({count} of them {what})"),
        };
        let seconds = took.as_secs_f64();
        print(&format!(
            "{} accounts made{}, {} there already{}, {} refused, in {seconds:.1} s ({:.1}/s)\n",
            self.made,
            some(self.made_bare, "without their character"),
            self.existed,
            some(self.completed, "given the character that they lacked"),
            self.refused,
            self.made as f64 / seconds.max(f64::EPSILON),
        ))
    }
}

/// Makes the accounts of the rows, and prints what became of them. False: some are not as they were wished for.
pub(super) fn run(
    config: &Config,
    database: &Database,
    plan: Plan,
    rows: impl Iterator<Item = Result<Row, Stop>>,
    print: &mut Print<'_>,
) -> Result<bool, BulkError> {
    let cost = PasswordCost {
        memory_kib: config.dbagent.argon2_memory.as_kib(),
        iterations: config.dbagent.argon2_iterations,
    };
    let began = Instant::now();
    let tally = Mutex::new(Tally::default());
    let done = make_all(config.dbagent.threads, cost, &|| database.connect(), plan, &tally, rows);
    let tally = tally.into_inner();
    // What was done before something ended it is worth telling, too.
    if done.is_ok() || tally.rows() > 0 {
        tally.print(&plan, began.elapsed(), print)?;
    }
    match done {
        Ok(()) => Ok(tally.problems == 0),
        Err(cause) => Err(BulkError::Stopped { made: tally.made, cause }),
    }
}

/// Deals the rows to threads, and waits until they are done.
fn make_all(
    threads: usize,
    cost: PasswordCost,
    connect: &Connect<'_>,
    plan: Plan,
    tally: &Mutex<Tally>,
    rows: impl Iterator<Item = Result<Row, Stop>>,
) -> Result<(), Stop> {
    // A database that is not there is told of at once; one that goes away later is waited for.
    let mut first = connect()?;
    let ahead_ms = first.clock()?.cast_signed().wrapping_sub(unix_ms().cast_signed());
    let passwords = (0..threads).map(|_| Passwords::new(cost)).collect::<Result<Vec<_>, _>>()?;
    let shared = Shared {
        connect,
        plan,
        ahead_ms,
        began: Instant::now(),
        bar: bar(plan.total),
        tally,
        is_stopped: AtomicBool::new(false),
    };
    let mut first = Some(first);
    let done = thread::scope(|scope| {
        let (mut lanes, mut workers) = (Vec::new(), Vec::new());
        for (number, passwords) in passwords.into_iter().enumerate() {
            let (lane, tasks) = mpsc::sync_channel(LANE);
            let worker = Worker::new(&shared, passwords, first.take());
            let thread = thread::Builder::new().name(format!("db-{number}"));
            workers.push(thread.spawn_scoped(scope, move || worker.run(&tasks)).map_err(Stop::Thread)?);
            lanes.push(lane);
        }
        let dealt = deal(&shared, &lanes, rows);
        drop(lanes);
        let ended: Vec<Result<(), Stop>> = workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect();
        dealt.and(ended.into_iter().collect())
    });
    shared.bar.finish_and_clear();
    done
}

fn deal(
    shared: &Shared<'_>,
    lanes: &[SyncSender<Task>],
    rows: impl Iterator<Item = Result<Row, Stop>>,
) -> Result<(), Stop> {
    for row in rows {
        let Row { at, weight, wish } = row?;
        if shared.is_stopped.load(Relaxed) {
            break;
        }
        match wish {
            Ok(wish) => {
                // It fails when the thread has ended, which then says why.
                if lanes[wish.lane(lanes.len())].send(Task { at, weight, wish }).is_err() {
                    break;
                }
            }
            Err(problem) => shared.count(at, weight, Made::Refused(problem)),
        }
    }
    Ok(())
}

/// Shows itself only on a terminal.
fn bar(total: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {msg}  {eta} left");
    ProgressBar::new(total).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}
