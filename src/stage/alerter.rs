//! Budget alerts to people: each is posted once to the configured address.
//!
//! It runs without an address as well, and takes note of the alerts then: an address that is set
//! later is not told of every alert of the past, nor is one whose consumer begins anew.

use jiff::SignedDuration;
use rust_decimal::Decimal;
use serde::Serialize;

use crate::edge::alert_hook::AlertHook;
use crate::edge::clock::Clock;
use crate::model::ledger::BudgetAlert;
use crate::stage::runner::{Handler, Message, Outcome};
use crate::telemetry;

/// An older alert is no news to anybody.
const AGE_MAX: SignedDuration = SignedDuration::from_hours(24);

/// Posts budget alerts.
#[derive(Debug)]
pub struct Alerter {
    hook: Option<AlertHook>,
    clock: Clock,
    environment: String,
}

/// What is posted: the words that a chat service shows, and the figures beside them.
#[derive(Debug, Serialize)]
struct Notice<'a> {
    text: String,
    environment: &'a str,
    #[serde(flatten)]
    alert: &'a BudgetAlert,
}

impl Alerter {
    /// Makes the stage; the environment's name stands in what it posts.
    #[must_use]
    pub fn new(hook: Option<AlertHook>, clock: Clock, environment: &str) -> Self {
        Self {
            hook,
            clock,
            environment: environment.to_owned(),
        }
    }
}

impl Handler for Alerter {
    const STAGE: &'static str = "alerter";

    async fn handle(&self, message: &Message) -> Outcome {
        let alert = match message.recorded.budget_alert() {
            Ok(alert) => alert,
            Err(error) => return error.into(),
        };
        let Some(hook) = &self.hook else {
            return Outcome::Done;
        };
        let age = self.clock.now().duration_since(message.recorded.stored_at);
        if age > AGE_MAX {
            return Outcome::Done;
        }
        let notice = Notice {
            text: text(&alert, &self.environment),
            environment: &self.environment,
            alert: &alert,
        };
        match hook.post(&notice).await {
            Ok(()) => Outcome::Done,
            Err(error) => Outcome::Retry(telemetry::chain(&error).to_string()),
        }
    }
}

fn text(alert: &BudgetAlert, environment: &str) -> String {
    let BudgetAlert {
        tenant,
        day,
        unit,
        used,
        limit,
        ..
    } = alert;
    let share = (alert.threshold * Decimal::ONE_HUNDRED).normalize();
    format!(
        "kling-relay ({environment}): {tenant} has used {used} of {limit} {unit} on {day}; \
         the alert is set at {share} %"
    )
}
