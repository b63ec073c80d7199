//! Good files that the encoder does not write: later minor versions, unknown chunks, every mode of streams and columns.

use gav_formats::{
    Avatar, DType, Limits, Profile, UserAttribute,
    gav::{Reader, feature},
    synthetic::random,
};

use super::{
    Case, Fields, Pack, PackChunk, describe, encode_as,
    pack::{put, seal},
    read,
};

/// Splats of the hand-made files.
pub const SPLATS: usize = 10;

/// The avatar most hand-made files hold.
pub fn sample() -> Avatar {
    random(SPLATS, 0, 31)
}

/// Its file without loss, in parts.
pub fn lossless() -> Pack {
    Pack::of(&encode_as(&sample(), Profile::Lossless))
}

/// The file of another avatar with SH in codec 1, in parts.
pub fn fast() -> Pack {
    Pack::of(&encode_as(&random(SPLATS, 1, 32), Profile::Fast))
}

/// A good file whose content is what the reference reader finds, to the last bit.
fn as_read(name: &str, about: &str, bytes: Vec<u8>) -> Case {
    let (avatar, layers) = read(&bytes).unwrap_or_else(|e| panic!("{name}: {e}"));
    let mut expected = describe(&avatar, &layers, true);
    expected["about"] = serde_json::json!(about);
    Case { name: name.into(), bytes, expected }
}

pub fn cases() -> Vec<Case> {
    let mut out = container_cases();
    out.extend([stream_modes(), attribute_types(), attribute_blocks(), shared_table(), float_modes(), unit_column()]);
    out.extend([order_delta(), order_offset()]);
    out.extend(quantized_cases());
    out
}

fn container_cases() -> Vec<Case> {
    let mut minor = lossless();
    minor.version = (1, 7);
    let mut wide = lossless();
    wide.version = (1, 1);
    wide.extra_entry_bytes = 24;
    let unknown = |kind: &[u8; 4]| PackChunk {
        layer: 9,
        codec: 77,
        decoded: 123,
        priority: 5,
        ..PackChunk::new(kind, 1, 1, vec![1, 2, 3], vec![Fields::default().raw(b"opaque")])
    };
    let strange =
        lossless().with(unknown(b"zzZz")).with(unknown(b"abCd")).with(unknown(b"zzZz")).with(unknown(b"qqQQ"));
    let mut moved = lossless();
    moved.chunks.reverse();
    // a directory in front of the chunks: room is made behind the header
    let mut front = lossless().to_bytes();
    let (start, rows) = (super::pack::u64_at(&front, 24) as usize, lossless().chunks.len());
    let mut directory = front.split_off(start);
    for row in directory.chunks_exact_mut(64) {
        let offset = super::pack::u64_at(row, 8) + 64 * rows as u64;
        put(row, 8, &offset.to_le_bytes());
    }
    front.splice(64..64, directory);
    put(&mut front, 24, &64u64.to_le_bytes());
    seal(&mut front);
    vec![
        Case::exact("minor_version", "version 1.7 with known features is read", minor.to_bytes(), &sample()),
        Case::exact("wide_entries", "directory entries of 88 bytes", wide.to_bytes(), &sample()),
        Case::exact("chunk_order", "chunks in another order", moved.to_bytes(), &sample()),
        Case::exact("directory_first", "directory in front of the chunks", front, &sample()),
        as_read("unknown_chunks", "ancillary chunks that nobody knows, one of them twice", strange.to_bytes()),
    ]
}

fn attribute_chunk(name: &str, dtype: DType, width: u16, block_elements: u32, blocks: Vec<Fields>) -> PackChunk {
    let mut parameters = vec![dtype as u8, 0];
    parameters.extend_from_slice(&width.to_le_bytes());
    parameters.extend_from_slice(name.as_bytes());
    PackChunk::new(b"xATT", SPLATS as u32, block_elements, parameters, blocks)
}

fn with_attributes(name: &str, about: &str, chunks: Vec<(PackChunk, UserAttribute)>) -> Case {
    let (mut avatar, mut pack) = (sample(), lossless());
    for (chunk, attribute) in chunks {
        avatar.attributes.push(attribute);
        pack = pack.with(chunk);
    }
    Case::exact(name, about, pack.to_bytes(), &avatar)
}

/// Rows from columns.
fn rows(columns: &[Vec<u8>]) -> Vec<u8> {
    (0..SPLATS).flat_map(|i| columns.iter().map(move |c| c[i])).collect()
}

fn float_attribute(name: &str, columns: &[Vec<f32>]) -> UserAttribute {
    let values: Vec<f32> = (0..SPLATS).flat_map(|i| columns.iter().map(move |c| c[i])).collect();
    UserAttribute::from_f32(name, columns.len() as u32, &values)
}

fn stream_modes() -> Case {
    let columns = [(0..10).collect(), vec![1, 1, 2, 2, 2, 2, 2, 2, 2, 9], vec![7; 10], vec![0; 10]];
    let frame = |data: &[u8]| zstd::bulk::compress(data, 3).expect("zstd");
    let block = Fields::default()
        .stream(&columns[0])
        .stream_as(1, &frame(&columns[1]), 10)
        .stream_as(2, &[7], 10)
        .stream_as(1, &frame(&columns[3]), 10);
    let attribute = UserAttribute { name: "modes".into(), dtype: DType::U8, width: 4, data: rows(&columns) };
    let chunk = attribute_chunk("modes", DType::U8, 4, 16_384, vec![block]);
    with_attributes("stream_modes", "streams of all three modes", vec![(chunk, attribute)])
}

fn attribute_types() -> Case {
    let types = [DType::U8, DType::I8, DType::U16, DType::I16, DType::U32, DType::I32, DType::F16, DType::F64];
    let make = |(k, dtype): (usize, DType)| {
        let name = format!("größe {k}");
        let columns: Vec<Vec<u8>> =
            (0..2 * dtype.size()).map(|c| (0..SPLATS).map(|i| (i * 37 + c * 11 + k) as u8).collect()).collect();
        let block = columns.iter().fold(Fields::default(), |fields, c| fields.stream(c));
        let chunk = attribute_chunk(&name, dtype, 2, 16_384, vec![block]);
        (chunk, UserAttribute { name, dtype, width: 2, data: rows(&columns) })
    };
    let chunks = types.into_iter().enumerate().map(make).collect();
    with_attributes("attribute_types", "user attributes of every type but f32", chunks)
}

fn attribute_blocks() -> Case {
    let column: Vec<u8> = (0..SPLATS as u8).collect();
    let blocks = column.chunks(3).map(|part| Fields::default().stream(part)).collect();
    let chunk = attribute_chunk("blocks", DType::I8, 1, 3, blocks);
    let attribute = UserAttribute { name: "blocks".into(), dtype: DType::I8, width: 1, data: column };
    with_attributes("attribute_blocks", "four blocks of three, three, three and one splats", vec![(chunk, attribute)])
}

fn table(values: &[f32]) -> Fields {
    let mut before = 0;
    let codes: Vec<u32> =
        values.iter().map(|v| v.to_bits().wrapping_sub(std::mem::replace(&mut before, v.to_bits()))).collect();
    Fields::default().raw(&(values.len() as u32).to_le_bytes()).planes(&codes)
}

fn append(fields: Fields, other: Fields) -> Fields {
    let decoded = fields.decoded + other.decoded;
    Fields { bytes: [fields.bytes, other.bytes].concat(), decoded }
}

fn shared_table() -> Case {
    let values = [0.5, -1.0, f32::NAN, 1e30];
    let columns: Vec<Vec<f32>> = (0..2).map(|c| (0..SPLATS).map(|i| values[(i * 3 + c) % 4]).collect()).collect();
    let indices: Vec<u8> = (0..SPLATS).flat_map(|i| (0..2).map(move |c| ((i * 3 + c) % 4) as u8)).collect();
    let block = append(Fields::default().raw(&[1]), table(&values)).stream(&indices);
    let chunk = attribute_chunk("shared", DType::F32, 2, 16_384, vec![block]);
    with_attributes(
        "float_shared_table",
        "float columns with one table for all",
        vec![(chunk, float_attribute("shared", &columns))],
    )
}

/// Bits of floats as integers in the order of their values.
fn ordered(bits: u32) -> u32 {
    if bits >> 31 == 1 { !bits } else { bits | 0x8000_0000 }
}

fn zigzag(value: u32) -> u32 {
    (value << 1) ^ ((value as i32 >> 31) as u32)
}

fn safe(value: f32) -> f64 {
    if value.is_finite() && value.abs() < 1e15 { value.into() } else { 0.0 }
}

fn mean_before(column: &[f32], row: usize) -> f64 {
    let lag = |k: usize| safe(column[row.saturating_sub(k)]);
    if row == 0 { 0.0 } else { (((lag(1) + lag(2)) + lag(3)) + lag(4)) * 0.25 }
}

/// Zigzag codes of a column by mode 1.
fn linear_codes(column: &[f32], weights: &[f32], used: &[&[f32]]) -> Vec<u32> {
    let w: Vec<f64> = weights.iter().map(|&w| w.into()).collect();
    (0..column.len())
        .map(|row| {
            let own = if row == 0 { 0.0 } else { safe(column[row - 1]) };
            let mut sum = w[0];
            sum += w[1] * own;
            sum += w[2] * mean_before(column, row);
            for (k, other) in used.iter().enumerate() {
                sum += w[3 + 2 * k] * safe(other[row]);
                sum += w[4 + 2 * k] * mean_before(other, row);
            }
            zigzag(ordered(column[row].to_bits()).wrapping_sub(ordered((sum as f32).to_bits())))
        })
        .collect()
}

fn weight_bytes(weights: &[f32]) -> Vec<u8> {
    weights.iter().flat_map(|w| w.to_le_bytes()).collect()
}

fn float_modes() -> Case {
    let wave = |a: f32, b: f32| (0..SPLATS).map(|i| a * (i as f32 * b - 2.0) * (i as f32)).collect::<Vec<f32>>();
    let mut columns =
        vec![wave(0.3, 0.7), wave(1.1, 0.2), wave(-3.0, 0.5), wave(1e-3, 1.0), wave(2.0, 2.0), wave(0.5, 0.25)];
    columns[4][2] = f32::INFINITY;
    columns[4][5] = f32::NAN;
    columns[4][6] = -0.0;
    columns[2][3] = 1e20;
    columns[2][4] = f32::NEG_INFINITY;
    columns[5] = (0..SPLATS).map(|i| [0.125, -7.5, f32::NAN][i % 3]).collect();
    let plain = |c: usize| columns[c].iter().map(|v| v.to_bits().rotate_left(1)).collect::<Vec<u32>>();
    let own = [0.25, 0.5, 0.375];
    let cross = [-0.1, 0.3, 0.0, 0.9, -0.2, 0.01, 0.7];
    // a prediction beyond f32
    let huge = [3e38, 1e30, 0.0, 0.1, 1e25];
    let block = Fields::default()
        .raw(&[0, 3, 0])
        .planes(&plain(3))
        .raw(&[1, 1, 0])
        .raw(&weight_bytes(&own))
        .planes(&linear_codes(&columns[1], &own, &[]))
        .raw(&[4, 0])
        .planes(&plain(4))
        .raw(&[2, 1, 2, 4, 1])
        .raw(&weight_bytes(&cross))
        .planes(&linear_codes(&columns[2], &cross, &[&columns[4], &columns[1]]))
        .raw(&[0, 1, 1, 2])
        .raw(&weight_bytes(&huge))
        .planes(&linear_codes(&columns[0], &huge, &[&columns[2]]));
    let indices: Vec<u32> = (0..SPLATS as u32).map(|i| i % 3).collect();
    let block = append(block.raw(&[5, 3]), table(&[0.125, -7.5, f32::NAN])).planes(&indices);
    let chunk = attribute_chunk("modes", DType::F32, 6, 16_384, vec![block]);
    with_attributes(
        "float_modes",
        "float columns of every mode, out of order",
        vec![(chunk, float_attribute("modes", &columns))],
    )
}

fn unit_column() -> Case {
    let (mut avatar, mut pack) = (sample(), lossless());
    avatar.splats.rotations[3] = [f32::NAN, 2.0, 0.5, 0.5];
    avatar.splats.rotations[4] = [-0.5, f32::INFINITY, 0.5, 0.5];
    let column = |c: usize| avatar.splats.rotations.iter().map(|q| q[c]).collect::<Vec<f32>>();
    let block = [3, 1, 2].into_iter().fold(Fields::default().raw(&[0]), |fields, c| {
        fields.raw(&[c as u8, 0]).planes(&column(c).iter().map(|v| v.to_bits().rotate_left(1)).collect::<Vec<_>>())
    });
    let guess = |q: &[f32; 4]| {
        let [a, b, c] = [safe(q[1]), safe(q[2]), safe(q[3])];
        ((1.0 - ((a * a + b * b) + c * c)).max(0.0).sqrt() as f32).to_bits()
    };
    let code = |q: &[f32; 4]| zigzag((q[0].to_bits() & 0x7FFF_FFFF).wrapping_sub(guess(q)));
    let codes: Vec<u32> = avatar.splats.rotations.iter().map(code).collect();
    let mut signs = [0u8; SPLATS.div_ceil(8)];
    for (i, q) in avatar.splats.rotations.iter().enumerate() {
        signs[i / 8] |= ((q[0].to_bits() >> 31) as u8) << (i % 8);
    }
    pack.chunk(b"ROTN").set(block.raw(&[0, 2]).planes(&codes).stream(&signs));
    Case::exact("float_unit", "the column that makes a quaternion one unit long", pack.to_bytes(), &avatar)
}

/// The sample's splats stored in another order, with the order chunk to go with them.
fn ordered_pack(order: &[u32], block: Fields) -> Vec<u8> {
    let mut stored = sample();
    stored.reorder(order);
    let chunk = PackChunk::new(b"oRDR", SPLATS as u32, 16_384, Vec::new(), vec![block]);
    Pack::of(&encode_as(&stored, Profile::Lossless)).with(chunk).to_bytes()
}

fn order_delta() -> Case {
    let order: Vec<u32> = (0..SPLATS as u32).map(|i| (i * 3 + 4) % SPLATS as u32).collect();
    // differences from a base so far away that the first addition wraps
    let mut before = i32::MAX;
    let codes: Vec<u32> = order
        .iter()
        .map(|&v| zigzag((v as i32).wrapping_sub(std::mem::replace(&mut before, v as i32)) as u32))
        .collect();
    let head = Fields::default().raw(&[1, 4]).raw(&i32::MAX.to_le_bytes());
    let block = (0..4).fold(head, |f, k| f.stream(&codes.iter().map(|c| (c >> (8 * k)) as u8).collect::<Vec<_>>()));
    Case::exact("int_delta", "an integer column of differences that wrap", ordered_pack(&order, block), &sample())
}

fn order_offset() -> Case {
    let order: Vec<u32> = (0..SPLATS as u32).rev().collect();
    let codes: Vec<u8> = order.iter().map(|&v| v as u8 + 5).collect();
    let block = Fields::default().raw(&[0, 1]).raw(&(-5i32).to_le_bytes()).stream(&codes);
    Case::exact(
        "int_offset",
        "an integer column of one plane above a negative base",
        ordered_pack(&order, block),
        &sample(),
    )
}

/// `QNTZ` of `classes` classes for the fast sample, whose codes stand without contexts.
pub fn quantization(pack: &mut Pack, classes: usize, tables: impl Fn(usize, usize) -> i32) {
    let chunk = pack.chunk(b"QNTZ");
    let levels = super::pack::u32_at(&chunk.parameters, 56) as usize;
    chunk.parameters[60] = classes as u8;
    put(&mut chunk.parameters, 64, &60_000u32.to_le_bytes());
    put(&mut chunk.parameters, 68, &60_000u32.to_le_bytes());
    let lengths = [levels + 1, classes, classes + 1, classes + 1, 60_000, 60_000];
    let column = |k: usize| (0..lengths[k]).map(|i| tables(k, i)).collect::<Vec<i32>>();
    let frame = |data: &[u8]| zstd::bulk::compress(data, 3).expect("zstd");
    let block = (0..6).fold(Fields::default(), |fields, k| {
        let codes = column(k);
        (0..4).fold(fields.raw(&[0, 4, 0, 0, 0, 0]), |f, p| {
            let plane: Vec<u8> = codes.iter().map(|&c| (c as u32 >> (8 * p)) as u8).collect();
            f.stream_as(1, &frame(&plane), plane.len())
        })
    });
    chunk.set(block);
}

fn quantized_cases() -> Vec<Case> {
    let lossy = |name: &str, about: &str, pack: Pack| {
        let bytes = pack.to_bytes();
        assert!(Reader::new(&bytes, &Limits::default()).is_ok(), "{name}");
        Case::lossy(name, about, bytes)
    };
    // smooth tables of no meaning: what counts is which entry is taken
    let entry = |k: usize, i: usize| match k {
        0 => -3000 + 20 * i as i32,
        1 => -100 - 400 * i as i32,
        2 => -1000 - 900 * i as i32,
        3 => -9000 + i as i32,
        _ => -8000 + (i as i32 % 7000),
    };
    let (mut none, mut many, mut plain) = (fast(), fast(), fast());
    quantization(&mut none, 0, entry);
    quantization(&mut many, 14, entry);
    plain.chunk(b"SHCO").parameters = vec![0];
    let mut zeros = lossless();
    zeros.features = feature::ZSTD | feature::TEMPLATE;
    vec![
        lossy("classes_0", "a quantised file with one class", none),
        lossy("classes_14", "a quantised file with 15 classes", many),
        lossy("sh_identity", "SH codes without a basis", plain),
        as_read("feature_bits", "known feature bits without their chunks", zeros.to_bytes()),
    ]
}
