//! The folder of converted weight files that networks load from; the files themselves are read by [`gav_formats::weights`].

pub mod store;
