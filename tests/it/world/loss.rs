//! The loss of everything that the broker holds.

use kling_relay::app::App;
use kling_relay::config::Role;
use kling_relay::edge::clock::Clock;
use kling_relay::edge::nats::topology;
use kling_relay::telemetry;

use super::World;
use crate::broker;

impl World {
    /// Stops the service, takes everything that the broker holds away, and starts the service anew.
    pub(crate) async fn lose_the_log(mut self) -> Self {
        self.app.stop().await;
        let broker = broker::connect(&self._node.endpoint(), &self.config.nats).await;
        for stream in [
            topology::LOG,
            topology::CALLBACKS,
            topology::DEAD,
            topology::REPLAY,
        ] {
            let deleted = broker::api(&broker, &format!("STREAM.DELETE.{stream}")).await;
            assert!(deleted.is_some(), "{stream} is gone");
        }
        let recorder = telemetry::recorder("test");
        let app = App::start(&self.config, &Role::ALL, Clock::system(), recorder).await;
        self.app = app.expect("the service starts on an empty broker");
        self
    }
}
