//! How often a source is asked how far an export is.

use super::*;

#[test]
fn looks_grow_rarer_unless_the_source_says_when() {
    let told = |secs| poll_wait(Some(Duration::from_secs(secs)), 9).as_secs();
    assert_eq!(
        [told(0), told(120), told(600), told(3_600)],
        [1, 120, 600, 900]
    );
    let untold: Vec<u64> = (0..8)
        .map(|polls| poll_wait(None, polls).as_secs())
        .collect();
    assert_eq!(untold, [1, 2, 4, 8, 16, 32, 60, 60]);
    assert_eq!(poll_wait(None, u32::MAX).as_secs(), 60);
}
