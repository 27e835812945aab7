//! Creates or upgrades what [`super::topology`] declares, then compares what the server echoes.
//!
//! Older servers drop options that they do not know without a word, so nothing is believed that
//! was not echoed. Source: broker reference 12.

use async_nats::client::Request;
use async_nats::jetstream::consumer::PullConsumer;
use serde_json::{Map, Value, json};

use super::topology::{self, Consumer};
use super::{Broker, wire};
use crate::config;

/// Why the streams and consumers are not as they must be.
#[derive(Debug, thiserror::Error)]
pub enum TopologyError {
    /// The broker does not answer, or has no leader yet: try again.
    #[error("the broker did not answer when asked to {operation}: is a quorum of it running?")]
    Unavailable {
        /// What was asked.
        operation: String,
    },
    /// The broker refuses: configuration or permissions.
    #[error(
        "the broker refused to {operation}: {reason} ({code}); check its configuration and our \
         permissions (deploy/nats/nats-server.conf shows both)"
    )]
    Refused {
        /// What was asked.
        operation: String,
        /// The broker's code.
        code: u64,
        /// Its words.
        reason: String,
    },
    /// The broker accepted, yet echoes something else.
    #[error(
        "{subject} has {field} = {found}, but needs {wanted}: the server is older than it says or \
         something else manages it; correct it with `nats stream edit`, or upgrade the server"
    )]
    Differs {
        /// The stream or consumer.
        subject: String,
        /// The field of its configuration.
        field: String,
        /// What it must be.
        wanted: String,
        /// What the server says it is.
        found: String,
    },
}

/// Creates or upgrades every stream and durable consumer; doing it again changes nothing.
///
/// # Errors
/// [`TopologyError`] when the broker refuses, or echoes another configuration than was asked for.
pub async fn ensure(
    broker: &Broker,
    nats: &config::Nats,
    runner: &config::Runner,
) -> Result<(), TopologyError> {
    for wanted in topology::streams(nats) {
        ensure_stream(broker, &wanted).await?;
    }
    for consumer in Consumer::ALL {
        ensure_consumer(broker, consumer, runner).await?;
    }
    Ok(())
}

/// Opens a durable consumer for reading.
///
/// # Errors
/// [`TopologyError`] when it does not exist or the broker does not answer.
pub async fn open(broker: &Broker, consumer: Consumer) -> Result<PullConsumer, TopologyError> {
    broker
        .jetstream()
        .get_consumer_from_stream(consumer.name(), consumer.stream())
        .await
        .map_err(|_| TopologyError::Unavailable {
            operation: format!("open the consumer {}", consumer.name()),
        })
}

async fn ensure_stream(broker: &Broker, wanted: &Value) -> Result<(), TopologyError> {
    let name = wanted["name"].as_str().unwrap_or_default().to_owned();
    let info = format!("STREAM.INFO.{name}");
    let mut found = call(
        broker,
        &info,
        &Value::Null,
        format!("describe the stream {name}"),
    )
    .await;
    if let Err(TopologyError::Refused {
        code: STREAM_NOT_FOUND,
        ..
    }) = found
    {
        let create = format!("STREAM.CREATE.{name}");
        let created = call(broker, &create, wanted, format!("create the stream {name}")).await;
        // Another instance may have created it, in another version's shape, at the same moment.
        if !matches!(
            created,
            Err(TopologyError::Refused {
                code: STREAM_NAME_IN_USE,
                ..
            })
        ) {
            created?;
        }
        found = call(
            broker,
            &info,
            &Value::Null,
            format!("describe the stream {name}"),
        )
        .await;
    }
    let echoed = found?;
    if compare(&name, wanted, &echoed["config"]).is_err() {
        let update = overlaid(&echoed["config"], wanted);
        let operation = format!("upgrade the stream {name}");
        call(broker, &format!("STREAM.UPDATE.{name}"), &update, operation).await?;
    }
    let operation = format!("describe the stream {name}");
    let echoed = call(broker, &info, &Value::Null, operation).await?;
    compare(&name, wanted, &echoed["config"])
}

/// Creates or upgrades one durable consumer.
///
/// # Errors
/// As [`ensure`].
pub(super) async fn ensure_consumer(
    broker: &Broker,
    consumer: Consumer,
    runner: &config::Runner,
) -> Result<(), TopologyError> {
    let wanted = &topology::consumer(consumer, runner);
    let (name, stream) = (consumer.name(), consumer.stream());
    let body = json!({ "stream_name": stream, "config": wanted, "action": "" });
    let create = format!("CONSUMER.CREATE.{stream}.{name}");
    let operation = format!("create or upgrade the consumer {name}");
    call(broker, &create, &body, operation).await?;
    let info = format!("CONSUMER.INFO.{stream}.{name}");
    let operation = format!("describe the consumer {name}");
    let echoed = call(broker, &info, &Value::Null, operation).await?;
    compare(name, wanted, &echoed["config"])
}

const STREAM_NOT_FOUND: u64 = 10_059;
const STREAM_NAME_IN_USE: u64 = 10_058;

/// Compares every field that is wanted with what the server echoes; an absent field has its
/// type's empty value.
///
/// # Errors
/// [`TopologyError::Differs`] with the first field that differs.
pub fn compare(subject: &str, wanted: &Value, echoed: &Value) -> Result<(), TopologyError> {
    for (field, wanted) in wanted.as_object().into_iter().flatten() {
        let found = echoed.get(field).unwrap_or(&Value::Null);
        if !same(field, wanted, found) {
            return Err(TopologyError::Differs {
                subject: subject.to_owned(),
                field: field.clone(),
                wanted: wanted.to_string(),
                found: found.to_string(),
            });
        }
    }
    Ok(())
}

fn same(field: &str, wanted: &Value, found: &Value) -> bool {
    // The server echoes one filter in the singular.
    if wanted == found || (is_empty(wanted) && is_empty(found)) {
        return true;
    }
    match (field, wanted.as_array(), found.as_array()) {
        // A newer version beside this one may have added subjects; they stay.
        ("subjects", Some(wanted), Some(found)) => wanted.iter().all(|one| found.contains(one)),
        ("filter_subjects", Some(wanted), Some(found)) => {
            wanted.len() == found.len() && wanted.iter().all(|one| found.contains(one))
        }
        (_, _, _) => false,
    }
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(set) => !set,
        Value::Number(number) => number.as_i64() == Some(0),
        Value::String(text) => text.is_empty(),
        Value::Array(list) => list.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}

/// Lays what is wanted over what is there, so that placement and metadata of an operator stay, and
/// the subjects of a newer version.
fn overlaid(existing: &Value, wanted: &Value) -> Value {
    let mut fields = existing.as_object().cloned().unwrap_or_default();
    let mut wanted: Map<String, Value> = wanted.as_object().cloned().unwrap_or_default();
    let kept = fields.get("subjects").and_then(Value::as_array).cloned();
    if let Some(Value::Array(subjects)) = wanted.get_mut("subjects") {
        let more = kept.into_iter().flatten();
        let more: Vec<Value> = more.filter(|one| !subjects.contains(one)).collect();
        subjects.extend(more);
    }
    fields.extend(wanted);
    Value::Object(fields)
}

async fn call(
    broker: &Broker,
    api: &str,
    body: &Value,
    operation: String,
) -> Result<Value, TopologyError> {
    let payload = match body {
        Value::Null => Vec::new(),
        body => body.to_string().into_bytes(),
    };
    let request = Request::new()
        .payload(payload.into())
        .timeout(Some(wire::MANAGE_TIMEOUT));
    let unavailable = |_| TopologyError::Unavailable {
        operation: operation.clone(),
    };
    let answer = broker
        .client()
        .send_request(format!("$JS.API.{api}"), request)
        .await
        .map_err(unavailable)?;
    let Ok(answer) = serde_json::from_slice::<Value>(&answer.payload) else {
        return Err(TopologyError::Unavailable { operation });
    };
    let Some(error) = answer.get("error") else {
        return Ok(answer);
    };
    match error["err_code"].as_u64().unwrap_or_default() {
        wire::CLUSTER_UNAVAILABLE => Err(TopologyError::Unavailable { operation }),
        code => Err(TopologyError::Refused {
            operation,
            code,
            reason: error["description"].as_str().unwrap_or_default().to_owned(),
        }),
    }
}
