//! A network in memory.
