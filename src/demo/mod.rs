//! The whole pipeline on this machine, against the simulator: `demo` and `dev`.

mod stand;
mod audit;
mod summary;
mod run;
mod dev;

pub use self::dev::dev;
pub use self::run::demo;
