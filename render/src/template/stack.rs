//! Deep templates on small stacks: recursion grows the stack in segments instead of overflowing it.

/// Runs `inner`, on a fresh stack segment when the current one is nearly used up.
pub(crate) fn grow<T>(inner: impl FnOnce() -> T) -> T {
    stacker::maybe_grow(128 * 1024, 2 * 1024 * 1024, inner)
}
