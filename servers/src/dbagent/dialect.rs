//! SQL dialects of database servers.

use throng_core::config::Engine;

/// SQL dialect of a database server.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL.
    Postgres,
    /// T-SQL: SQL Server or Babelfish.
    MsSql,
}

impl Dialect {
    /// Returns the dialect of an engine, or `None` for the embedded SQLite.
    pub fn of(engine: Engine) -> Option<Self> {
        match engine {
            Engine::Sqlite => None,
            Engine::Postgres => Some(Self::Postgres),
            Engine::MsSql => Some(Self::MsSql),
        }
    }

    /// Name of the schema that holds all tables and procedures.
    pub fn schema(self) -> &'static str {
        match self {
            Self::Postgres => "throng",
            Self::MsSql => "dbo",
        }
    }
}
