//! Morton order of grid positions: 21 bits an axis, x lowest (`spec/gav.md` 7.3). Other formats sort by it too.

/// Spreads the low 21 bits so that two zero bits follow each.
fn spread(v: u64) -> u64 {
    let mut v = v & 0x1F_FFFF;
    v = (v | v << 32) & 0x001F_0000_0000_FFFF;
    v = (v | v << 16) & 0x001F_0000_FF00_00FF;
    v = (v | v << 8) & 0x100F_00F0_0F00_F00F;
    v = (v | v << 4) & 0x10C3_0C30_C30C_30C3;
    (v | v << 2) & 0x1249_2492_4924_9249
}

fn compact(v: u64) -> u32 {
    let mut v = v & 0x1249_2492_4924_9249;
    v = (v | v >> 2) & 0x10C3_0C30_C30C_30C3;
    v = (v | v >> 4) & 0x100F_00F0_0F00_F00F;
    v = (v | v >> 8) & 0x001F_0000_FF00_00FF;
    v = (v | v >> 16) & 0x001F_0000_0000_FFFF;
    ((v | v >> 32) & 0x1F_FFFF) as u32
}

/// Key of a grid point.
pub(crate) fn key([x, y, z]: [u32; 3]) -> u64 {
    spread(x.into()) | spread(y.into()) << 1 | spread(z.into()) << 2
}

/// Grid point of a key.
pub(crate) fn point(key: u64) -> [u32; 3] {
    [compact(key), compact(key >> 1), compact(key >> 2)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_interleave_x_lowest() {
        assert_eq!(key([1, 0, 0]), 1);
        assert_eq!(key([0, 1, 0]), 2);
        assert_eq!(key([0, 0, 1]), 4);
        assert_eq!(key([3, 0, 0]), 9);
        for p in [[0, 0, 0], [0x1F_FFFF; 3], [12_345, 99_999, 2_000_000], [1 << 20, 1, 7]] {
            assert_eq!(point(key(p)), p);
        }
    }
}
