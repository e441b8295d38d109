//! What a run says, for people: a page to explore, tables for documents, CSV.

pub mod csv;
pub mod markdown;
pub mod page;
pub mod plot;
pub mod text;
