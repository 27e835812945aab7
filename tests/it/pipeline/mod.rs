//! The whole pipeline against the stand-in platform, with everything that goes wrong between them.

mod callbacks;
mod creates;
mod forgeries;
mod money;
mod plain;
mod retries;
mod replays;
mod reuse;
mod slots;
