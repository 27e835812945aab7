//! The real program under hostile clients, in a small form whose bounds hold on any machine;
//! the benchmark `hostile` measures the large one.

mod attack;
mod victim;

use std::time::Duration;

use self::attack::Attack;
use self::victim::Victim;
use crate::broker::until;

const DEADLINE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread")]
async fn good_callbacks_come_through_a_crowd_that_is_larger_than_the_house() {
    let victim = Victim::start(|config| {
        config.receiver.limits.connections_max = 128;
    })
    .await;
    let tls = |alpn: &[u8]| victim.tls(alpn);
    let (leaked, address) = (victim.path("leaked"), victim.config().receiver.listen);
    let mut attack = Attack::new(address, tls(b"http/1.1"), tls(b"h2"), leaked);
    attack.crowd(200, Duration::from_secs(5));
    attack.loud(2, Duration::from_millis(50));
    until("the attack runs", DEADLINE, async || {
        attack.open() > 100 && attack.is_complete()
    })
    .await;
    let waits = victim.good_callbacks("small", 60, 20).await;
    assert!(waits.percentile(99) < Duration::from_secs(20));
    let (_, most) = victim.resident_bytes();
    assert!(most < 200 << 20, "{most} bytes");
}
