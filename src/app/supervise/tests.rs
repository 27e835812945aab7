//! What dies starts again.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::keep;
use crate::edge::clock::Clock;

#[tokio::test]
async fn what_dies_or_ends_starts_again_until_the_stop() {
    let (stop, starts) = (CancellationToken::new(), Arc::new(AtomicU32::new(0)));
    let (told, mut hears) = mpsc::unbounded_channel();
    let (ends, counted) = (stop.clone(), Arc::clone(&starts));
    let start = move || {
        let (nth, ends) = (counted.fetch_add(1, Ordering::Relaxed), ends.clone());
        async move {
            match nth {
                0 => panic!("on purpose"),
                1 => {}
                _ => ends.cancel(),
            }
        }
    };
    let told = move |running| told.send(running).expect("it is heard");
    keep("test", Clock::system(), stop, start, told).await;
    assert_eq!(starts.load(Ordering::Relaxed), 3);
    let mut heard = Vec::new();
    while let Some(running) = hears.recv().await {
        heard.push(running);
    }
    assert_eq!(heard, [false, true, false, true]);
}
