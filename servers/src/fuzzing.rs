//! A door for the crate `throng-fuzz`, and no part of the library.

use std::net::SocketAddr;
use std::path::Path;

use axum::Router;

use crate::admin::{self, AdminSources};
use crate::db::{self, ImportError};

pub use crate::db::ImportRow;

/// Reads the accounts of a file as `throng db import-accounts` does.
pub fn read_accounts(text: &[u8]) -> Result<Vec<ImportRow>, ImportError> {
    db::read_accounts(text, Path::new("accounts.csv"))
}

/// Returns the admin port's answers to requests, without its listener.
pub fn admin_router(sources: AdminSources, address: SocketAddr) -> Router {
    admin::router(sources, address)
}
