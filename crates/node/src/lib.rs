//! The machine that the program runs on: what is asked of its kernel that neither std nor a safe crate can ask.
//!
//! The only crate with `unsafe`: module by module, each block with its proof. Nothing here knows of requests, objects or the store.
//!
//! Reading order: `program_pages` (memory that holds what of the program is not being used).

pub mod program_pages;
