//! Tests of every packet in the table, including packets added later.

mod golden;
mod properties;
mod shape;
