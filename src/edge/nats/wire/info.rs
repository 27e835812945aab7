//! What a stream's leader says of the stream.

use std::time::Duration;

use async_nats::client::Request;
use serde_json::{Value, json};

use super::ReadFailure;
use crate::edge::nats::Broker;

/// Returns the sequence of the stream's newest message, from its leader; 0 for an empty stream.
pub(in crate::edge::nats) async fn last_sequence(
    broker: &Broker,
    stream: &str,
    timeout: Duration,
) -> Result<u64, ReadFailure> {
    state(broker, stream, timeout, "last_seq").await
}

/// Returns how many messages a stream holds.
pub(in crate::edge::nats) async fn message_count(
    broker: &Broker,
    stream: &str,
    timeout: Duration,
) -> Result<u64, ReadFailure> {
    state(broker, stream, timeout, "messages").await
}

/// Returns how many more bytes the stream takes and how many at all; none where it has no bound.
pub(in crate::edge::nats) async fn room(
    broker: &Broker,
    stream: &str,
    timeout: Duration,
) -> Result<Option<(u64, u64)>, ReadFailure> {
    let answer = info(broker, stream, &json!({}), timeout).await?;
    let bytes = answer["state"]["bytes"].as_u64();
    let bytes = bytes.ok_or(ReadFailure::Unavailable)?;
    // A stream without a bound says -1.
    let most = answer["config"]["max_bytes"].as_u64();
    Ok(most.map(|most| (most.saturating_sub(bytes), most)))
}

async fn state(
    broker: &Broker,
    stream: &str,
    timeout: Duration,
    field: &str,
) -> Result<u64, ReadFailure> {
    let answer = info(broker, stream, &json!({}), timeout).await?;
    answer["state"][field]
        .as_u64()
        .ok_or(ReadFailure::Unavailable)
}

/// Lists the subjects that match a filter, each with how many messages it has.
pub(in crate::edge::nats) async fn subjects(
    broker: &Broker,
    stream: &str,
    filter: &str,
    timeout: Duration,
) -> Result<Vec<(String, u64)>, ReadFailure> {
    let mut found = Vec::new();
    loop {
        let query = json!({ "subjects_filter": filter, "offset": found.len() });
        let answer = info(broker, stream, &query, timeout).await?;
        let state = answer.get("state").ok_or(ReadFailure::Unavailable)?;
        let page = state["subjects"].as_object().into_iter().flatten();
        let before = found.len();
        found.extend(page.filter_map(|(name, count)| Some((name.clone(), count.as_u64()?))));
        let total = answer["total"].as_u64().unwrap_or_default();
        let is_all = u64::try_from(found.len()).is_ok_and(|count| count >= total);
        if is_all || found.len() == before {
            return Ok(found);
        }
    }
}

/// Asks the stream's leader about the stream.
///
/// A server that is cut off from its cluster answers as well, with what it has, and names no
/// leader: whoever believed it would stay with that server and see an old state.
async fn info(
    broker: &Broker,
    stream: &str,
    query: &Value,
    timeout: Duration,
) -> Result<Value, ReadFailure> {
    let request = Request::new()
        .payload(query.to_string().into())
        .timeout(Some(timeout));
    let sent = broker
        .client()
        .send_request(format!("$JS.API.STREAM.INFO.{stream}"), request);
    let answer = match tokio::time::timeout(timeout, sent).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(_)) | Err(_) => return Err(ReadFailure::Unavailable),
    };
    let answer: Value =
        serde_json::from_slice(&answer.payload).map_err(|_| ReadFailure::Unreadable)?;
    let leader = answer["cluster"]["leader"].as_str().unwrap_or_default();
    if leader.is_empty() {
        return Err(ReadFailure::Unavailable);
    }
    Ok(answer)
}
