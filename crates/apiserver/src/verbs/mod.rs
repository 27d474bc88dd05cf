//! What can be done to a resource, one file a verb. Each takes the server and a [`crate::request::Request`], which only a permitted
//! request makes, and gives an answer or a failure; HTTP begins and ends elsewhere.
//!
//! Reading order: [`options`] and [`input`] (what the client says), [`create`], [`get`], [`list`] with [`select`], [`update`] with `turns`, [`patch`],
//! [`delete`], [`delete_collection`], [`watch`] with [`watch_socket`], [`scale`], [`binding`],
//! [`eviction`], [`pod_streams`] with [`typed_options`], [`token_request`], [`review`], [`component_status`].

pub mod apply;
pub mod binding;
pub mod component_status;
pub mod create;
pub mod delete;
pub mod delete_collection;
pub mod eviction;
pub mod get;
pub mod input;
pub mod list;
pub mod options;
pub mod patch;
pub mod pod_streams;
pub mod review;
pub mod scale;
pub mod select;
pub mod token_request;
pub(crate) mod turns;
pub mod typed_options;
pub mod update;
pub mod watch;
pub mod watch_socket;
