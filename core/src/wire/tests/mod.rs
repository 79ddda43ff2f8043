//! What holds for every packet of the table, those to come included.

mod document;
mod golden;
mod properties;
mod shape;
