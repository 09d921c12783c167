//! `skein`.
fn main() {}
