//! stub
use crate::*;
/// stub
pub struct HeadOptions;
/// stub
pub fn head(count: usize, seed: u64) -> Avatar {
    super::random(count, 0, seed)
}
/// stub
pub fn head_rigged(count: usize, seed: u64) -> Avatar {
    super::random(count, 0, seed)
}
