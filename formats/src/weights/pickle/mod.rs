//! Python pickles as a tree of plain values. Nothing is imported, constructed or called: a global is a name, and a call is a
//! node that says which name would have been called with which values. What such a call means is up to the reader of the tree.
//!
//! Source: the opcode descriptions of CPython's `pickletools`, protocols 0 to 5.

mod machine;
#[cfg(test)]
mod tests;
mod text;
mod tree;

pub use machine::{Limits, read, read_prefix};
pub use tree::{Call, Id, Node, Tree};
