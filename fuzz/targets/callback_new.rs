//! Callback bodies of the new standard.
#![no_main]

mod callback;

use libfuzzer_sys::fuzz_target;

use crate::callback::{Dialect, check};

const DIALECT: Dialect = Dialect {
    id: "id",
    status: "status",
};

fuzz_target!(|body: &[u8]| check(body, &DIALECT));
