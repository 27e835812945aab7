//! What we say: plain data, a file per noun. No clock, no IO, no randomness.

pub mod ids;
pub mod amount;
pub mod request;
pub mod task;
pub mod observation;
pub mod deduction;
pub mod reply;
pub mod event;
pub mod ledger;
pub mod usage;
pub mod dead_letter;
pub mod audit;
pub mod policy;
pub mod problem;
pub mod submission;
pub mod trace;
pub mod advice;
pub mod answer;
pub mod window;
pub mod operator;
