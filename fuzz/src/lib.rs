//! What the fuzz targets and the seed maker share.

pub mod decoders;
