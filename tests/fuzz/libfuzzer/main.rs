//! One target under libFuzzer: the environment's `SKEIN_FUZZ_TARGET` names it, the arguments are libFuzzer's.
#![no_main]

#[path = "../targets/mod.rs"]
mod targets;

use std::sync::LazyLock;

static TARGET: LazyLock<targets::Target> = LazyLock::new(|| {
    let name = std::env::var("SKEIN_FUZZ_TARGET").unwrap_or_default();
    let found = targets::TARGETS.iter().find(|(target, _)| *target == name);
    let Some((_, target)) = found else {
        let names: Vec<&str> = targets::TARGETS.iter().map(|(name, _)| *name).collect();
        eprintln!("SKEIN_FUZZ_TARGET is \"{name}\", there are: {}", names.join(" "));
        std::process::exit(2);
    };
    *target
});

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| TARGET(bytes));
