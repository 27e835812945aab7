//! Streams and consumers: created, upgraded, and refused when the server says otherwise.

use kling_relay::config;
use kling_relay::edge::nats::topology::{self, Consumer, TopologyError};
use kling_relay::edge::nats::version_is_enough;

use crate::broker::{Node, api, config, connect, open};

#[tokio::test]
async fn topology_is_created_once_and_again() {
    let (node, nats) = (Node::start(), config(1));
    let (broker, _) = open(&node.endpoint(), &nats).await;
    let before = api(&broker, "STREAM.INFO.KLING").await.expect("an answer");
    topology::ensure(&broker, &nats, &config::Runner::default())
        .await
        .expect("doing it again is harmless");
    let after = api(&broker, "STREAM.INFO.KLING").await.expect("an answer");
    assert_eq!(before["created"], after["created"]);
    assert_eq!(before["config"], after["config"]);
    for consumer in Consumer::ALL {
        topology::open(&broker, consumer)
            .await
            .expect("a durable consumer");
    }
}

#[tokio::test]
async fn older_topology_is_upgraded_with_its_messages() {
    let (node, nats) = (Node::start(), config(1));
    let small = config::Nats {
        log_max_bytes: 128 << 20,
        ..nats.clone()
    };
    let (broker, log) = open(&node.endpoint(), &small).await;
    log.probe().await.expect("a probe");
    let runner = config::Runner {
        in_flight_max: 7,
        ..config::Runner::default()
    };
    topology::ensure(&broker, &nats, &runner)
        .await
        .expect("an upgrade");
    let info = api(&broker, "STREAM.INFO.KLING").await.expect("an answer");
    assert_eq!(info["config"]["max_bytes"], nats.log_max_bytes);
    assert_eq!(info["state"]["messages"], 1);
    let consumer = api(&broker, "CONSUMER.INFO.KLING.accountant")
        .await
        .expect("an answer");
    assert_eq!(consumer["config"]["max_ack_pending"], 7 * 16);
}

#[tokio::test]
async fn stream_that_cannot_be_changed_is_refused_by_name() {
    let (node, nats) = (Node::start(), config(1));
    let broker = connect(&node.endpoint(), &nats).await;
    let other = serde_json::json!({
        "name": "KLING", "subjects": [topology::TASK_EVENTS], "storage": "memory",
        "retention": "limits", "discard": "new", "num_replicas": 1,
    });
    broker
        .client()
        .request("$JS.API.STREAM.CREATE.KLING", other.to_string().into())
        .await
        .expect("an answer");
    let error = topology::ensure(&broker, &nats, &config::Runner::default())
        .await
        .expect_err("memory cannot become file");
    assert!(error.to_string().contains("KLING"), "{error}");
}

#[test]
fn differing_echo_names_the_field() {
    let nats = config(1);
    let [wanted, ..] = topology::streams(&nats);
    let mut echoed = wanted.clone();
    topology::compare("KLING", &wanted, &echoed).expect("equal");
    // What a server does that does not know an option: it drops it.
    echoed
        .as_object_mut()
        .expect("an object")
        .remove("allow_atomic");
    let error = topology::compare("KLING", &wanted, &echoed).expect_err("a dropped option");
    let TopologyError::Differs { field, .. } = &error else {
        panic!("{error}");
    };
    assert_eq!(field, "allow_atomic");
    echoed = wanted.clone();
    echoed["subject_delete_marker_ttl"] = 1_000_000_000_u64.into();
    topology::compare("KLING", &wanted, &echoed).expect_err("delete markers");
}

#[test]
fn versions_below_the_floor_are_refused() {
    for enough in ["2.15.0", "2.15.1", "v2.16.0-beta.1", "3.0.0"] {
        assert!(version_is_enough(enough), "{enough}");
    }
    for old in ["2.14.3", "2.9.99", "1.99", "", "nonsense", "2"] {
        assert!(!version_is_enough(old), "{old}");
    }
}

/// A server that says it is old; nothing else of it is needed.
#[tokio::test]
async fn old_server_is_refused_with_what_to_do() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let info = serde_json::json!({
                "server_id": "x", "version": "2.14.3", "max_payload": 1_048_576,
                "headers": true, "jetstream": true,
            });
            let greeting = format!("INFO {info}\r\n");
            socket
                .write_all(greeting.as_bytes())
                .await
                .expect("a socket");
            let mut buffer = [0_u8; 4_096];
            while socket.read(&mut buffer).await.is_ok_and(|read| read > 0) {
                socket.write_all(b"PONG\r\n").await.expect("a socket");
            }
        }
    });
    let endpoint = kling_relay::edge::nats::Endpoint {
        url: format!("nats://{address}"),
        credentials: kling_relay::edge::nats::Credentials::None,
    };
    let error = kling_relay::edge::nats::Broker::connect(&config(1), &endpoint)
        .await
        .expect_err("too old");
    let text = error.to_string();
    assert!(
        text.contains("2.14.3") && text.contains("install.sh"),
        "{text}"
    );
}
