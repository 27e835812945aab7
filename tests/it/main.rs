//! Tests that need a real nats-server.
#![expect(clippy::unwrap_used, reason = "a test that cannot go on should panic")]

mod alert_hook;
mod api;
mod broker;
mod cli;
mod crowd;
mod demo;
mod download;
mod downloader;
mod full_disk;
mod hostile;
mod histories;
mod http;
mod kit;
mod kling_client;
mod kling_on_sim;
mod log;
mod midnight;
mod money;
mod no_false_success;
mod outages;
mod pipeline;
mod private_server;
mod program;
mod prompt;
mod races;
mod reconcile;
mod recover;
mod schema;
mod scripted_kling;
mod sim;
mod storage;
mod streams;
mod topology;
mod torn;
mod world;
