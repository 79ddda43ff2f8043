//! What holds for every packet of the table, those to come included.

mod golden;
mod properties;
mod shape;
