//! Databases through ODBC: PostgreSQL and SQL Server (or Babelfish), with the logic in stored procedures.
//!
//! Nothing here is special to one driver. A procedure is called by ODBC's escape `{CALL p(?)}` or, on
//! PostgreSQL, selected from; parameters are bound as BIGINT, INTEGER and wide text; a
//! call is one statement, committed by itself. So a connection carries no state from one call to the next, and
//! whatever becomes of it, a procedure was done or not.
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
