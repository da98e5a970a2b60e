//! QEMU's instruction clock, by which the benchmarks measure what a unit costs a boot.

use std::thread::sleep;
use std::time::Duration;

use testkit::machine::{Machine, Release};

/// Boots a systemd by the instruction clock, and returns the kernel's time at the end, in nanoseconds.
fn end_of_boot(seed: u32) -> String {
    let machine = Machine::new("clock").release(Release::Backports).instruction_clock(seed).systemd("");
    let results = machine.boot("result now grep ^now /proc/timer_list");
    results["now"].text().to_owned()
}

#[test]
fn boots_of_one_image_by_the_instruction_clock_take_the_same_time() {
    let first = end_of_boot(1);
    assert!(first.starts_with("now at "), "{first}");
    // The files of the second image are made in another second.
    sleep(Duration::from_secs(1));
    assert_eq!(end_of_boot(1), first);
    // The boots would also take the same time if the kernel did not count the time.
    assert_ne!(end_of_boot(2), first);
}
