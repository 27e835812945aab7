//! Proof and binding: the whole matrix.

use kling_relay::decide::trust::{Belief, UnsignedPolicy, believe};
use kling_relay::model::ids::KlingTaskId;
use kling_relay::model::observation::{Observation, ObservedStatus, Proof};
use kling_relay::model::task::{Status, Task};
use proptest::prelude::*;

use crate::a_task::{observation, task, task_id};

use UnsignedPolicy::{Accept, Confirm, Reject};

#[derive(Debug, PartialEq, Eq)]
enum Worth {
    Believe,
    ReRead,
    Ignore,
    SetAside,
}

fn worth(proof: Proof, policy: UnsignedPolicy, task: Option<&Task>, seen: &Observation) -> Worth {
    match believe(proof, policy, &task_id(), task, seen) {
        Belief::Believe => Worth::Believe,
        Belief::ReReadFirst => Worth::ReRead,
        Belief::Ignore(_) => Worth::Ignore,
        Belief::SetAside(_) => Worth::SetAside,
    }
}

fn with_external_id(id: Option<&str>, mut seen: Observation) -> Observation {
    seen.external_id = id.map(str::to_owned);
    seen
}

fn with_kling_id(id: &str, mut seen: Observation) -> Observation {
    seen.kling_task_id = KlingTaskId::parse(id).unwrap();
    seen
}

const OPEN: [Status; 4] = [
    Status::Requested,
    Status::Dispatching,
    Status::Submitted,
    Status::Processing,
];
const ENDED: [Status; 2] = [Status::Succeeded, Status::Failed];
const SEEN: [ObservedStatus; 4] = [
    ObservedStatus::Submitted,
    ObservedStatus::Processing,
    ObservedStatus::Succeeded,
    ObservedStatus::Failed,
];
const POLICIES: [UnsignedPolicy; 3] = [Confirm, Accept, Reject];

#[test]
fn signed_or_read_and_bound_is_believed_whatever_the_policy() {
    for proof in [Proof::Signed, Proof::Read] {
        for policy in POLICIES {
            for status in OPEN.into_iter().chain(ENDED) {
                for seen in SEEN.map(observation) {
                    assert_eq!(
                        worth(proof, policy, Some(&task(status)), &seen),
                        Worth::Believe
                    );
                }
            }
        }
    }
}

#[test]
fn kling_need_not_repeat_our_id_once_its_own_is_known() {
    let seen = with_external_id(None, observation(ObservedStatus::Succeeded));
    let at_kling = task(Status::Submitted);
    assert_eq!(
        worth(Proof::Signed, Confirm, Some(&at_kling), &seen),
        Worth::Believe
    );
    assert_eq!(
        worth(Proof::Unsigned, Confirm, Some(&at_kling), &seen),
        Worth::ReRead
    );
    let unknown = task(Status::Dispatching);
    assert_eq!(
        worth(Proof::Signed, Confirm, Some(&unknown), &seen),
        Worth::SetAside
    );
    assert_eq!(
        worth(Proof::Unsigned, Confirm, Some(&unknown), &seen),
        Worth::Ignore
    );
}

#[test]
fn a_body_about_another_task_moves_nothing_and_asks_nothing() {
    let other = Some("team-b_01j5zx8q4kfw2m6r7t9v0bcdeg");
    for status in OPEN.into_iter().chain(ENDED) {
        for policy in POLICIES {
            for seen in SEEN.map(observation) {
                let seen = with_kling_id("999", with_external_id(other, seen));
                let task = task(status);
                assert_eq!(
                    worth(Proof::Signed, policy, Some(&task), &seen),
                    Worth::SetAside
                );
                assert_eq!(
                    worth(Proof::Read, policy, Some(&task), &seen),
                    Worth::SetAside
                );
                assert_eq!(
                    worth(Proof::Unsigned, policy, Some(&task), &seen),
                    Worth::Ignore
                );
            }
        }
    }
}

#[test]
fn a_vanished_task_is_never_revived() {
    for proof in [Proof::Signed, Proof::Read, Proof::Unsigned] {
        for seen in SEEN.map(observation) {
            assert_eq!(worth(proof, Confirm, None, &seen), Worth::SetAside);
        }
    }
}

#[test]
fn unsigned_before_submitted_is_read_again_since_it_would_bind_an_id() {
    for status in [Status::Requested, Status::Dispatching] {
        for seen in SEEN.map(observation) {
            assert_eq!(
                worth(Proof::Unsigned, Confirm, Some(&task(status)), &seen),
                Worth::ReRead
            );
        }
    }
}

#[test]
fn unsigned_at_kling_is_read_again_only_for_an_ending() {
    for status in [Status::Submitted, Status::Processing] {
        let task = task(status);
        for (seen, expected) in
            SEEN.into_iter()
                .zip([Worth::Believe, Worth::Believe, Worth::ReRead, Worth::ReRead])
        {
            assert_eq!(
                worth(Proof::Unsigned, Confirm, Some(&task), &observation(seen)),
                expected
            );
        }
    }
}

#[test]
fn unsigned_with_another_kling_id_costs_no_query() {
    for seen in SEEN.map(observation) {
        let seen = with_kling_id("999", seen);
        let task = task(Status::Submitted);
        assert_eq!(
            worth(Proof::Unsigned, Confirm, Some(&task), &seen),
            Worth::Ignore
        );
    }
}

#[test]
fn unsigned_after_the_end_costs_no_query() {
    for status in ENDED {
        for seen in SEEN.map(observation) {
            assert_eq!(
                worth(Proof::Unsigned, Confirm, Some(&task(status)), &seen),
                Worth::Ignore
            );
        }
    }
}

#[test]
fn the_operator_may_accept_or_refuse_what_is_unsigned() {
    for status in OPEN.into_iter().chain(ENDED) {
        for seen in SEEN.map(observation) {
            let task = task(status);
            assert_eq!(
                worth(Proof::Unsigned, Accept, Some(&task), &seen),
                Worth::Believe
            );
            assert_eq!(
                worth(Proof::Unsigned, Reject, Some(&task), &seen),
                Worth::Ignore
            );
        }
    }
}

proptest! {
    /// Whatever an unsigned body says, under `confirm` it ends no task and binds no id by itself.
    #[test]
    fn a_forger_with_the_path_moves_nothing_that_matters(
        status in 0..6_usize,
        seen in 0..4_usize,
        our_id in prop::option::of(prop::bool::ANY),
        kling_id in prop::bool::ANY,
    ) {
        let task = task(OPEN.into_iter().chain(ENDED).nth(status).unwrap());
        let mut seen = observation(SEEN[seen]);
        match our_id {
            Some(true) => {}
            Some(false) => seen = with_external_id(Some("x"), seen),
            None => seen = with_external_id(None, seen),
        }
        if !kling_id {
            seen = with_kling_id("999", seen);
        }
        if worth(Proof::Unsigned, Confirm, Some(&task), &seen) == Worth::Believe {
            prop_assert_eq!(task.kling_task_id, Some(seen.kling_task_id));
            let unfinished = [ObservedStatus::Submitted, ObservedStatus::Processing];
            prop_assert!(unfinished.contains(&seen.status));
        }
    }
}
