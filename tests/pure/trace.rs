//! `traceparent`: what W3C allows is taken over, anything else is as good as none.

use kling_relay::model::trace::Trace;

const ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

#[track_caller]
fn check(header: &str, expected: Option<&str>) {
    let carried = Trace::parse(header).map(|trace| trace.traceparent(0xabc));
    assert_eq!(carried.as_deref(), expected, "{header:?}");
}

#[test]
fn a_trace_is_carried_on_under_a_span_of_ours() {
    let sampled = format!("00-{ID}-0000000000000abc-01");
    check(&format!("00-{ID}-00f067aa0ba902b7-01"), Some(&sampled));
    let not_sampled = format!("00-{ID}-0000000000000abc-00");
    check(&format!("00-{ID}-00f067aa0ba902b7-00"), Some(&not_sampled));
    // Flags that we do not know are not handed on.
    let known = format!("00-{ID}-0000000000000abc-03");
    check(&format!("00-{ID}-00f067aa0ba902b7-ff"), Some(&known));
    // A later version is read as far as it is known.
    check(&format!("cc-{ID}-00f067aa0ba902b7-01"), Some(&sampled));
    check(&format!("cc-{ID}-00f067aa0ba902b7-01-more"), Some(&sampled));
}

#[test]
fn a_span_is_never_zero() {
    let trace = Trace::parse(&format!("00-{ID}-00f067aa0ba902b7-01")).unwrap();
    assert_eq!(trace.traceparent(0), format!("00-{ID}-0000000000000001-01"));
    let most = trace.traceparent(u64::MAX);
    assert_eq!(most, format!("00-{ID}-ffffffffffffffff-01"));
}

#[test]
fn what_is_no_traceparent_is_none() {
    let long = format!("cc-{ID}-00f067aa0ba902b7-01-{}", "x".repeat(100));
    for header in [
        "",
        "00",
        &format!("00-{ID}-00f067aa0ba902b7"),
        &format!("00-{ID}-00f067aa0ba902b7-1"),
        &format!("00-{ID}-00f067aa0ba902b7-01-"),
        &format!("00-{ID}-00f067aa0ba902b7-01-more"),
        &format!("cc-{ID}-00f067aa0ba902b7-01more"),
        &format!("ff-{ID}-00f067aa0ba902b7-01"),
        &format!("00-{}-00f067aa0ba902b7-01", ID.to_uppercase()),
        &format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
        &format!("00-{ID}-0000000000000000-01"),
        &format!("00-{ID}-00f067aa0ba902bg-01"),
        &format!("00_{ID}_00f067aa0ba902b7_01"),
        &format!("00-{}é-00f067aa0ba902b7-01", &ID[2..]),
        &format!(" 00-{ID}-00f067aa0ba902b7-01"),
        &long,
    ] {
        check(header, None);
    }
}
