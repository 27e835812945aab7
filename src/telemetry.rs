//! Log set-up, and every metric name, unit and label in one table.
//!
//! Nobody logs a secret, a signed URL, a capability path, a prompt or a body; `logs` keeps the
//! libraries below us from doing it when somebody asks for more detail.

mod logs;
mod recorder;

pub use logs::{InvalidFilter, LogForm, LogSettings, chain, init_logs, log_panics, subscriber};
pub use recorder::{Recorder, recorder};

/// A metric: its name, unit and labels. Labels never hold ids.
#[derive(Clone, Copy, Debug)]
pub struct Metric {
    /// With the `kling_relay_` prefix.
    pub name: &'static str,
    /// `counter`, `gauge` or `histogram`.
    pub kind: &'static str,
    /// The names of its labels.
    pub labels: &'static [&'static str],
    /// What it counts, with the unit.
    pub help: &'static str,
}

macro_rules! metrics_table {
    ($($ident:ident = $name:literal $kind:literal [$($label:literal),*] $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $ident: &str = $name;
        )*
        /// Every metric.
        pub const METRICS: &[Metric] = &[
            $(Metric { name: $name, kind: $kind, labels: &[$($label),*], help: $help },)*
        ];
    };
}

metrics_table! {
    INFO = "kling_relay_info" "gauge" ["environment", "version"]
        "Always 1: which environment this is and which version runs.";
    CONNECTIONS = "kling_relay_connections" "gauge" ["listener"]
        "Connections that stand, by listener: receiver, api, admin.";
    CONNECTIONS_EVICTED = "kling_relay_connections_evicted_total" "counter" ["listener"]
        "Connections that had to make room for others, by listener.";
    HANDSHAKES_FAILED = "kling_relay_handshakes_failed_total" "counter" ["listener"]
        "TLS handshakes that failed or took too long, by listener.";
    REQUESTS_LATE = "kling_relay_requests_late_total" "counter" ["listener"]
        "Requests that did not arrive whole, or whose answer was not taken, in time, by listener.";
    CALLBACKS_RECEIVED = "kling_relay_callbacks_received_total" "counter" ["result"]
        "Callbacks by result: stored, duplicate, refused, bad-signature, malformed, too-large, \
         too-often, cut-off, busy, unavailable.";
    CALLBACK_LATENESS = "kling_relay_callback_lateness_seconds" "histogram" []
        "From Kling's own update time to the callback's arrival, seconds.";
    CALLBACK_TO_COMPLETION = "kling_relay_callback_to_completion_seconds" "histogram" []
        "From the arrival of the deciding callback to the committed completion, seconds.";
    CALLBACKS_DECIDED = "kling_relay_callbacks_decided_total" "counter" ["decision"]
        "Stored callbacks by what the completer made of them.";
    KLING_REQUEST = "kling_relay_kling_request_seconds" "histogram" ["endpoint", "result"]
        "Calls to Kling's API by endpoint and result, seconds.";
    KLING_QUERIES = "kling_relay_kling_queries_total" "counter" ["reason"]
        "Queries to Kling by reason: confirm, billing, quiet, lookup, outputs, reconcile.";
    RECONCILE_DIFFERENCES = "kling_relay_reconcile_differences" "gauge" ["class"]
        "Tasks of the last audited day that differ from Kling's figures, by class.";
    TASKS_ENDED = "kling_relay_tasks_ended_total" "counter" ["status", "model"]
        "Tasks by terminal status and model.";
    TASKS_ACCEPTED = "kling_relay_tasks_accepted_total" "counter" ["product"]
        "Tasks accepted, by product.";
    TASKS_REFUSED = "kling_relay_tasks_refused_total" "counter" ["code"]
        "Requests refused, by problem code.";
    RETRIES = "kling_relay_retries_total" "counter" ["result"]
        "Failed tasks tried again as new ones, by result: accepted, budget, price.";
    PROMPTS_REFUSED = "kling_relay_prompts_refused_total" "counter" ["rule"]
        "Requests that the prompt policy refused, by rule; those of the hook count as moderation.";
    PROMPTS_REDACTED = "kling_relay_prompts_redacted_total" "counter" ["rule"]
        "Passages taken out of prompts, by detector; those of estimates count too.";
    MODERATION_SECONDS = "kling_relay_moderation_seconds" "histogram" ["result"]
        "Calls of the moderation hook by result (allowed, refused, unavailable), seconds.";
    TASKS_IN_FLIGHT = "kling_relay_tasks_in_flight" "gauge" ["status"]
        "Open tasks by status.";
    SLOTS_IN_USE = "kling_relay_slots_in_use" "gauge" ["pool"]
        "Slots at Kling in use, by model version and pack type.";
    HOLDS = "kling_relay_holds_total" "counter" ["unit"]
        "Amounts held, by unit.";
    DEDUCTIONS = "kling_relay_deductions_total" "counter" ["unit"]
        "Amounts deducted, by unit.";
    OVERRUNS = "kling_relay_overruns_total" "counter" ["unit"]
        "Amounts deducted above their hold, by unit.";
    ESTIMATED = "kling_relay_estimated_total" "counter" ["model", "unit"]
        "What was estimated for successes that Kling billed, by model and unit.";
    BILLED = "kling_relay_billed_total" "counter" ["model", "unit"]
        "What Kling billed for them: apart from the estimates the price book drifts. Where the \
         longest is held (avatar, lip sync, motion control) it always does.";
    SAVED = "kling_relay_saved_total" "counter" ["unit"]
        "Prices of tasks that an earlier result answered, by unit.";
    BUDGET_USED = "kling_relay_budget_used_ratio" "gauge" ["tenant", "unit"]
        "Held and deducted as a share of the day's limit.";
    BUDGET_ALERTS = "kling_relay_budget_alerts_total" "counter" ["tenant", "unit"]
        "Budget thresholds crossed.";
    DOWNLOAD_SECONDS = "kling_relay_download_seconds" "histogram" ["result"]
        "Downloads by result, seconds.";
    DOWNLOAD_BYTES = "kling_relay_download_bytes_total" "counter" []
        "Bytes stored.";
    DEAD_LETTERS = "kling_relay_dead_letters_total" "counter" ["stage"]
        "Messages set aside, by stage.";
    DEAD_LETTERS_KEPT = "kling_relay_dead_letters_kept" "gauge" []
        "Messages that are set aside now and wait for a person.";
    CONSUMER_LAG = "kling_relay_consumer_lag" "gauge" ["consumer"]
        "Messages that a stage has not acknowledged yet.";
    RECOVERED = "kling_relay_reconciled_tasks_total" "counter" []
        "Tasks whose end came by the reconciler's query, not by a callback.";
    STALLED = "kling_relay_stalled_total" "counter" []
        "Reports of tasks without news for too long.";
    PUBLISH_SECONDS = "kling_relay_publish_seconds" "histogram" ["kind", "result"]
        "Commits to the broker by kind (event, money, callback, dead, probe) and result, seconds.";
    UNSIGNED_AFTER_SIGNED = "kling_relay_unsigned_after_signed_total" "counter" []
        "Unsigned callbacks although webhook secrets are set: somebody should look.";
}
