//! Where: the world we call, one place per neighbour.

pub mod clock;
pub mod development;
pub mod port;
pub mod file_lock;
pub mod fetch;
pub mod storage;
pub mod moderation;
pub mod kling;
pub mod nats;
pub mod alert_hook;
