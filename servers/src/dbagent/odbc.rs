//! Database servers through ODBC: PostgreSQL and SQL Server (or Babelfish), with the logic in
//! stored procedures.
//!
//! Nothing here depends on one driver. A procedure is called by ODBC's escape `{CALL p(?)}` or, on
//! PostgreSQL, selected from. Parameters are bound as BIGINT, INTEGER and wide text. A call is one
//! statement with a commit of its own, so a connection carries no state between calls: if it
//! breaks, a procedure took effect entirely or not at all.
//!
//! ```text
//!   Stored (Procedures) -- QueryStatement --> OdbcConnection -- bound, prepared once --> driver
//!          ^                                        |
//!          +--------------- QueryRecords -----------+
//! ```

mod connection;
mod driver;
mod fault;
mod settings;
mod sqlite;
mod stored;

pub use super::dialect::Dialect;
pub use connection::OdbcConnection;
pub use driver::{DriverError, find_driver};
pub use settings::OdbcSource;
pub use sqlite::connect_sqlite;
pub use stored::Stored;
