//! Files whose container must be refused: header, directory, heads, blocks, streams.

use super::{
    Case, Fields, PackChunk,
    handmade::{SPLATS, fast, lossless},
    pack::{put, seal, seal_header, u32_at, u64_at},
};

pub fn cases() -> Vec<Case> {
    let mut out = header_cases();
    out.extend(directory_cases());
    out.extend(chunk_cases());
    out.extend(stream_cases());
    out.extend(entropy_cases());
    out
}

/// The good file after a change to its bytes.
fn changed(change: impl Fn(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = lossless().to_bytes();
    change(&mut bytes);
    bytes
}

/// The good file after a change to its header, with a header hash that fits.
fn header(at: usize, value: &[u8]) -> Vec<u8> {
    changed(|b| {
        put(b, at, value);
        seal_header(b);
    })
}

/// The good file after a change to the directory row of a chunk, with hashes that fit.
fn row(kind: &[u8; 4], at: usize, value: &[u8]) -> Vec<u8> {
    changed(|b| {
        let start = u64_at(b, 24) as usize;
        let rows = u32_at(b, 32) as usize;
        let place = (0..rows).map(|k| start + 64 * k).find(|&p| b[p..p + 4] == *kind).expect("a chunk of the sample");
        put(b, place + at, value);
        seal(b);
    })
}

fn header_cases() -> Vec<Case> {
    let case = Case::refused;
    let text_mode = changed(|b| {
        b.remove(4);
    });
    vec![
        case("empty", "no byte at all", Vec::new(), "TRUNCATED"),
        case("short_header", "the first 40 bytes", changed(|b| b.truncate(40)), "TRUNCATED"),
        case("truncated", "the last byte is missing", changed(|b| b.truncate(b.len() - 1)), "TRUNCATED"),
        case("trailing", "one byte too many", changed(|b| b.push(0)), "TRAILING"),
        case("magic", "another first byte", header(0, &[0x88]), "MAGIC"),
        case("text_mode", "a transfer that turned CR LF into LF", text_mode, "MAGIC"),
        case("version_2", "major version 2", header(8, &[2]), "VERSION"),
        case("version_0", "major version 0", header(8, &[0]), "VERSION"),
        case("feature", "an unknown required feature", header(40, &[1, 2]), "FEATURE"),
        case("feature_high", "the highest feature bit", header(47, &[0x80]), "FEATURE"),
        case("header_hash", "a changed bit in the header", changed(|b| b[12] ^= 64), "HEADER_HASH"),
        case(
            "directory_hash",
            "a changed bit in the directory",
            changed(|b| *b.last_mut().unwrap() ^= 1),
            "DIRECTORY_HASH",
        ),
        case("directory_outside", "a directory behind the end", header(24, &(1u64 << 20).to_le_bytes()), "DIRECTORY"),
        case("directory_far", "a directory at the end of numbers", header(24, &(!63u64).to_le_bytes()), "DIRECTORY"),
        case("directory_in_header", "a directory at byte 0", header(24, &0u64.to_le_bytes()), "DIRECTORY"),
        case("directory_unaligned", "a directory at byte 72", header(24, &72u64.to_le_bytes()), "DIRECTORY"),
        case("entry_short", "directory entries of 56 bytes", header(36, &56u32.to_le_bytes()), "DIRECTORY"),
        case("entry_odd", "directory entries of 68 bytes", header(36, &68u32.to_le_bytes()), "DIRECTORY"),
        case("entry_wide", "directory entries of 4104 bytes", header(36, &4104u32.to_le_bytes()), "DIRECTORY"),
        case("entries_many", "four billion directory entries", header(32, &u32::MAX.to_le_bytes()), "LIMIT"),
    ]
}

fn directory_cases() -> Vec<Case> {
    let case = Case::refused;
    let offset = |kind: &[u8; 4]| {
        let bytes = lossless().to_bytes();
        let start = u64_at(&bytes, 24) as usize;
        let place = bytes[start..].chunks_exact(64).find(|r| r[..4] == *kind).expect("a chunk of the sample");
        u64_at(place, 8).to_le_bytes()
    };
    let far = 1u64 << 40;
    vec![
        case("entry_reserved", "a reserved field that is not zero", row(b"POSN", 6, &[1]), "ENTRY_RESERVED"),
        case("entry_reserved_end", "a reserved field that is not zero", row(b"POSN", 60, &[1]), "ENTRY_RESERVED"),
        case("chunk_digit", "a digit in a chunk type", row(b"mETa", 0, b"m3Ta"), "CHUNK_TYPE"),
        case("chunk_third_letter", "a lower-case third letter", row(b"mETa", 0, b"mEta"), "CHUNK_TYPE"),
        case("chunk_outside", "a chunk behind the end", row(b"mETa", 8, &far.to_le_bytes()), "CHUNK_RANGE"),
        case("chunk_unaligned", "a chunk at an odd place", row(b"mETa", 8, &[72]), "CHUNK_RANGE"),
        case("chunk_in_header", "a chunk at byte 0", row(b"mETa", 8, &0u64.to_le_bytes()), "CHUNK_RANGE"),
        case("chunk_endless", "a length that wraps", row(b"mETa", 16, &u64::MAX.to_le_bytes()), "CHUNK_RANGE"),
        case("overlap", "two chunks at one place", row(b"OPAC", 8, &offset(b"POSN")), "OVERLAP"),
        case("block_elements_0", "elements, but none per block", row(b"POSN", 36, &[0; 4]), "CHUNK_BLOCKS"),
        case(
            "elements_huge",
            "more blocks than the chunk has room for",
            row(b"mETa", 40, &u32::MAX.to_le_bytes()),
            "CHUNK_BLOCKS",
        ),
        case(
            "parameters_huge",
            "parameters longer than the chunk",
            row(b"SSET", 44, &u32::MAX.to_le_bytes()),
            "CHUNK_BLOCKS",
        ),
        case("decoded_huge", "decoded bytes beyond any budget", row(b"POSN", 24, &u64::MAX.to_le_bytes()), "LIMIT"),
        case("decoded_bytes", "decoded bytes one off", row(b"COLR", 24, &[0xFF]), "DECODED_BYTES"),
        case("elements", "one element too few", row(b"OPAC", 40, &[SPLATS as u8 - 1]), "ELEMENTS"),
        case("block_size", "attributes with blocks of different sizes", row(b"OPAC", 36, &[1, 64]), "BLOCK_SIZE"),
    ]
}

fn chunk_cases() -> Vec<Case> {
    let case = Case::refused;
    let without = |kind: &[u8; 4]| {
        let mut pack = lossless();
        pack.chunks.retain(|c| c.kind != *kind);
        pack.to_bytes()
    };
    let twice = |kind: &[u8; 4]| {
        let mut pack = lossless();
        let copy = pack.chunk(kind).clone();
        pack.with(copy).to_bytes()
    };
    let unknown = PackChunk::new(b"ZZZz", 0, 1, vec![1], Vec::new());
    // its block is the last thing before the padding in front of the directory
    let strange = {
        let block = Fields::default().raw(b"last bytes");
        let mut bytes = lossless().with(PackChunk::new(b"zzZz", 1, 1, Vec::new(), vec![block])).to_bytes();
        let place = bytes.windows(10).position(|w| w == b"last bytes").expect("the block");
        bytes[place] ^= 1;
        bytes
    };
    let start = |kind: &[u8; 4]| {
        let bytes = lossless().to_bytes();
        let directory = u64_at(&bytes, 24) as usize;
        let place = bytes[directory..].chunks_exact(64).find(|r| r[..4] == *kind).expect("a chunk of the sample");
        u64_at(place, 8) as usize
    };
    let (set, positions) = (start(b"SSET"), start(b"POSN"));
    let resized = |change: fn(&mut Vec<u8>)| {
        let mut pack = lossless();
        change(&mut pack.chunk(b"POSN").blocks[0]);
        pack.to_bytes()
    };
    // a block table whose lengths do not fill the chunk, under hashes that fit
    let lengths = {
        let mut pack = lossless();
        let chunk = pack.chunk(b"POSN");
        let block = chunk.blocks[0].clone();
        chunk.blocks = vec![block];
        chunk.parameters = Vec::new();
        let mut bytes = pack.to_bytes();
        let length = u32_at(&bytes, positions) - 1;
        put(&mut bytes, positions, &length.to_le_bytes());
        let head = xxhash_rust::xxh3::xxh3_64(&bytes[positions..positions + 8]);
        let directory = u64_at(&bytes, 24) as usize;
        let row = bytes[directory..].chunks_exact(64).position(|r| r[..4] == *b"POSN").expect("POSN");
        put(&mut bytes, directory + 64 * row + 48, &head.to_le_bytes());
        seal(&mut bytes);
        bytes
    };
    vec![
        case("critical", "an unknown critical chunk", lossless().with(unknown).to_bytes(), "CRITICAL_CHUNK"),
        case("duplicate_meta", "two metadata chunks", twice(b"mETa"), "DUPLICATE_CHUNK"),
        case("duplicate_colors", "two colour chunks in one layer", twice(b"COLR"), "DUPLICATE_CHUNK"),
        case("unknown_block", "a changed bit in a chunk that nobody knows", strange, "BLOCK_HASH"),
        case("missing_set", "no splat set", without(b"SSET"), "MISSING_CHUNK"),
        case("missing_rotations", "no rotations", without(b"ROTN"), "MISSING_CHUNK"),
        case("chunk_hash", "a changed bit in parameters", changed(|b| b[set + 30] ^= 1), "CHUNK_HASH"),
        case("table_hash", "a changed bit in a block table", changed(|b| b[positions + 5] ^= 1), "CHUNK_HASH"),
        case("block_hash", "a changed bit in a block", changed(|b| b[positions + 40] ^= 1), "BLOCK_HASH"),
        case("block_length", "a block shorter than its chunk", lengths, "BLOCK_LENGTH"),
        case("block_short", "a block without its last byte", resized(|b| b.truncate(b.len() - 1)), "BLOCK_SHORT"),
        case("block_empty", "a block without any byte", resized(Vec::clear), "BLOCK_SHORT"),
        case("block_long", "a block with one byte too many", resized(|b| b.push(0)), "BLOCK_LONG"),
    ]
}

/// The good file with another metadata block.
fn meta(fields: Fields) -> Vec<u8> {
    let mut pack = lossless();
    pack.chunk(b"mETa").set(fields);
    pack.to_bytes()
}

fn stream_cases() -> Vec<Case> {
    let case = Case::refused;
    let count = |n: u32| Fields::default().raw(&n.to_le_bytes());
    let frame = |data: &[u8]| zstd::bulk::compress(data, 3).expect("zstd");
    let blank = vec![b' '; 1 << 20];
    let half = frame(&blank[..100]);
    let unsized_frame = {
        let mut encoder = zstd::stream::Encoder::new(Vec::new(), 3).expect("zstd");
        std::io::Write::write_all(&mut encoder, b"{}").expect("memory");
        encoder.finish().expect("memory")
    };
    let mut cut = frame(&blank[..81]);
    cut.truncate(cut.len() - 3);
    let long = count(3).stream_as(0, b"{} {", 3);
    vec![
        case("stream_mode", "a stream of mode 3", meta(count(2).stream_as(3, b"{}", 2)), "STREAM_MODE"),
        case("stream_long", "a plain stream of another length", meta(long), "STREAM_LENGTH"),
        case(
            "stream_constant",
            "a constant stream of two bytes",
            meta(count(2).stream_as(2, b"  ", 2)),
            "STREAM_LENGTH",
        ),
        case(
            "zstd_bomb",
            "a frame of a megabyte where 100 bytes belong",
            meta(count(100).stream_as(1, &frame(&blank), 100)),
            "STREAM_LENGTH",
        ),
        case(
            "zstd_short",
            "a frame of 100 bytes where 200 belong",
            meta(count(200).stream_as(1, &half, 200)),
            "STREAM_LENGTH",
        ),
        case(
            "zstd_unsized",
            "a frame that does not declare its size",
            meta(count(2).stream_as(1, &unsized_frame, 2)),
            "STREAM_LENGTH",
        ),
        case(
            "zstd_two_frames",
            "two frames in one stream",
            meta(count(100).stream_as(1, &[half.clone(), frame(b"")].concat(), 100)),
            "ZSTD",
        ),
        case("zstd_garbage", "no frame at all", meta(count(2).stream_as(1, b"no frame", 2)), "ZSTD"),
        case("zstd_cut", "a frame that is cut short", meta(count(81).stream_as(1, &cut, 81)), "ZSTD"),
        case("run_length", "a JSON run of a gigabyte", meta(count(1 << 30).stream_as(2, b" ", 1 << 30)), "RUN_LENGTH"),
    ]
}

fn entropy_cases() -> Vec<Case> {
    let case = Case::refused;
    let positions = |block: Fields| {
        let mut pack = lossless();
        pack.chunk(b"POSN").set(block);
        pack.to_bytes()
    };
    let zeros = [0u32; SPLATS];
    let column = |f: Fields, number: u8| f.raw(&[number, 0]).planes(&zeros);
    let start = || Fields::default().raw(&[0]);
    let two = column(column(start(), 0), 1);
    let order = |head: [u8; 2]| {
        let block = Fields::default().raw(&head).raw(&[0; 4]);
        lossless().with(PackChunk::new(b"oRDR", SPLATS as u32, 16_384, Vec::new(), vec![block])).to_bytes()
    };
    let one_entry = || Fields::default().raw(&[1]).raw(&1u32.to_le_bytes()).planes(&[0]);
    let mut indices = [0u8; 3 * SPLATS];
    indices[7] = 1;
    let far = [SPLATS as u32; SPLATS];
    let table = two.clone().raw(&[2, 3]).raw(&1u32.to_le_bytes()).planes(&[5]).planes(&far);
    // a table set of one context: a count column and a code column of filter 0
    let tables = |count: i32, codes: &[i32]| Fields::default().ints(&[count]).ints(codes).bytes;
    let zero_stream = |state: u32, words: u32, raw: u32| {
        let head = Fields::default().raw(&words.to_le_bytes()).raw(&raw.to_le_bytes());
        let fields = (0..4).fold(head, |f, _| f.raw(&state.to_le_bytes()));
        fields.raw(&vec![0; 2 * words as usize + raw as usize])
    };
    // planar positions of one context: three table sets, three streams, of which the first is at fault
    let planar = |first: Vec<u8>, block: Fields| {
        let mut pack = fast();
        let chunk = pack.chunk(b"POSN");
        chunk.codec = 2;
        chunk.parameters = [vec![1], first, tables(1, &[1]), tables(1, &[1])].concat();
        let rest = zero_stream(65_536, 0, 0).bytes;
        chunk.set(block.raw(&rest).raw(&rest));
        pack
    };
    let good = || tables(1, &[1]);
    let edited = |change: fn(&mut PackChunk)| {
        let mut pack = planar(good(), zero_stream(65_536, 0, 0));
        change(pack.chunk(b"POSN"));
        pack.to_bytes()
    };
    let sound = edited(|_| {});
    assert!(super::read(&sound).is_ok(), "planar positions");
    let mut short = fast();
    short.chunk(b"OPAC").codec = 2;
    vec![
        case("int_filter", "an integer column of filter 2", order([2, 0]), "INT_COLUMN"),
        case("int_planes", "an integer column of five planes", order([0, 5]), "INT_COLUMN"),
        case("float_layout", "float columns of layout 2", positions(Fields::default().raw(&[2])), "FLOAT_COLUMN"),
        case("float_twice", "a float column that comes twice", positions(column(two.clone(), 1)), "FLOAT_COLUMN"),
        case("float_number", "a float column that does not exist", positions(column(two.clone(), 3)), "FLOAT_COLUMN"),
        case("float_mode", "a float column of mode 4", positions(two.clone().raw(&[2, 4])), "FLOAT_COLUMN"),
        case("float_cross", "prediction from five columns", positions(two.clone().raw(&[2, 1, 5])), "FLOAT_COLUMN"),
        case(
            "float_later",
            "prediction from the column itself",
            positions(two.clone().raw(&[2, 1, 1, 2])),
            "FLOAT_COLUMN",
        ),
        case("float_unit", "a unit column among three", positions(two.clone().raw(&[2, 2])), "FLOAT_COLUMN"),
        case("float_table", "an index behind the table", positions(table), "FLOAT_COLUMN"),
        case(
            "float_table_long",
            "a table of more than 65,536 entries",
            positions(two.raw(&[2, 3]).raw(&65_537u32.to_le_bytes())),
            "FLOAT_COLUMN",
        ),
        case(
            "float_shared",
            "an index behind the shared table",
            positions(one_entry().stream(&indices)),
            "FLOAT_COLUMN",
        ),
        case(
            "tokens_many",
            "897 tokens in a table",
            planar(tables(897, &[1; 897]), zero_stream(65_536, 0, 0)).to_bytes(),
            "FREQUENCIES",
        ),
        case(
            "tokens_negative",
            "a negative number of tokens",
            planar(tables(-1, &[]), zero_stream(65_536, 0, 0)).to_bytes(),
            "FREQUENCIES",
        ),
        case(
            "frequency_code",
            "a frequency code of 40",
            planar(tables(2, &[1, 40]), zero_stream(65_536, 0, 0)).to_bytes(),
            "FREQUENCIES",
        ),
        case(
            "context_unused",
            "a context without tokens is used",
            planar(tables(0, &[]), zero_stream(65_536, 0, 0)).to_bytes(),
            "ENTROPY",
        ),
        case(
            "context_zero",
            "a context whose codes are all 0 is used",
            planar(tables(3, &[0; 3]), zero_stream(65_536, 0, 0)).to_bytes(),
            "ENTROPY",
        ),
        case(
            "rans_state",
            "states that end elsewhere",
            planar(good(), zero_stream(65_537, 0, 0)).to_bytes(),
            "ENTROPY",
        ),
        case("rans_words", "a word is left over", planar(good(), zero_stream(65_536, 1, 0)).to_bytes(), "ENTROPY"),
        case("rans_missing", "words are missing", planar(good(), zero_stream(1, 0, 0)).to_bytes(), "ENTROPY"),
        case("rans_bits", "raw bits are left over", planar(good(), zero_stream(65_536, 0, 1)).to_bytes(), "ENTROPY"),
        case("rans_short", "a stream without its words", edited(|chunk| chunk.blocks[0].truncate(30)), "BLOCK_SHORT"),
        case("tables_long", "parameters behind the last table", edited(|chunk| chunk.parameters.push(0)), "BLOCK_LONG"),
        case("tables_missing", "codec 2 without tables", short.to_bytes(), "BLOCK_SHORT"),
    ]
}
