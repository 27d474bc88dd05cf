//! What the rules files say, as methods of the views and as tables: generated when the crate is built (`build/rules.rs`).

#![allow(clippy::doc_markdown, clippy::single_match, clippy::useless_conversion, unused_imports)]

use portcullis_model::schema::TypeId;

use crate::views;
use crate::vocabulary::{Errors, Path, frozen, names, number};

include!(concat!(env!("OUT_DIR"), "/rules.rs"));
