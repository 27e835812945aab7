//! The sections of the configuration as types: a field per key, its meaning and its unit. Their
//! values without a file stand in `defaults`.

mod broker;
mod listeners;
mod platform;
mod money;
mod intake;
mod prompt;
mod reuse;

pub use self::broker::{Nats, Retention, Runner};
pub use self::intake::Intake;
pub use self::listeners::{Admin, Api, ListenerLimits, Receiver, TlsFiles, Unsigned};
pub use self::money::{Budget, Cost, MoneyWriter, Pricing, Retry, Thresholds, Usage};
pub use self::platform::{Dispatcher, Kling, Reconciler, Storage};
pub use self::prompt::{Moderation, Prompt};
pub use self::reuse::Reuse;
pub use crate::model::ledger::LimitSetting;
pub use crate::model::policy::{Detector, Sensitive};
