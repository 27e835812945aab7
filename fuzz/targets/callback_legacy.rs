//! Callback bodies of the legacy standard.
#![no_main]

mod callback;

use libfuzzer_sys::fuzz_target;

use crate::callback::{Dialect, check};

const DIALECT: Dialect = Dialect {
    id: "task_id",
    status: "task_status",
};

fuzz_target!(|body: &[u8]| check(body, &DIALECT));
