//! The prompt policy: what is sanitised, refused, taken out and added.

mod sanitised;
mod sensitive;
mod terms;
mod safety;

use kling_relay::decide::prompt::{Policy, Refused, SafetyTerms, Screened, Terms};
use kling_relay::model::policy::{Detector, Sensitive};
use serde_json::{Value, json};

use crate::requests::request;

/// Every detector, and no rule of an operator's.
fn policy(sensitive: Sensitive) -> Policy {
    Policy {
        sensitive,
        detectors: Detector::ALL.to_vec(),
        terms: Terms::default(),
        safety: SafetyTerms::default(),
    }
}

fn with_terms(file: &str) -> Policy {
    Policy {
        terms: Terms::parse(file).expect("the rules can be read"),
        ..policy(Sensitive::Allow)
    }
}

fn of_prompt(prompt: &str) -> Value {
    json!({"product": "text-to-video", "prompt": prompt})
}

#[track_caller]
fn screened(policy: &Policy, body: &Value) -> Screened {
    match policy.screen(&request(body)) {
        Ok(screened) => screened,
        Err(refused) => panic!("{body}: {refused}"),
    }
}

/// Returns field and rule of a refusal, and checks its words.
#[track_caller]
fn refused(policy: &Policy, body: &Value) -> (String, String) {
    match policy.screen(&request(body)) {
        Ok(_) => panic!("it passed: {body}"),
        Err(Refused::Invalid(refusal)) => panic!("{refusal}"),
        Err(Refused::ByRule {
            field,
            rule,
            message,
        }) => {
            assert!(message.contains(&field), "{message:?} lacks {field:?}");
            assert!(message.contains(&rule), "{message:?} lacks {rule:?}");
            (field, rule)
        }
    }
}
