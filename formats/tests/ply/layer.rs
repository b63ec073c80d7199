//! The PLY layer below the splats: headers, encodings, lists, and agreement with an independent parser.

use std::io::Cursor;

use gav_formats::{
    DType, Limits,
    ply::{Encoding, Header, Ply, PropertyType},
};
use ply_rs::{
    parser::Parser,
    ply::{DefaultElement, Property},
};
use proptest::prelude::*;

use crate::support::code;

fn parse(bytes: &[u8]) -> gav_formats::Result<Ply<'_>> {
    Ply::parse(bytes, &Limits::default())
}

#[test]
fn headers_come_with_any_line_end_and_comments_in_any_encoding() {
    let lines: [&[u8]; 8] = [
        b"ply",
        b"format binary_little_endian 1.0",
        b"comment caf\xe9 \xff",
        b"obj_info whatever \xfe",
        b"",
        b"element vertex 1",
        b"  property   uchar\ta.b ",
        b"end_header",
    ];
    for end in [&b"\n"[..], b"\r\n", b"\r"] {
        let mut bytes = lines.join(end);
        bytes.extend_from_slice(end);
        // a payload byte that looks like a line end must not be swallowed
        bytes.push(b'\n');
        let ply = parse(&bytes).unwrap();
        assert_eq!(ply.header.comments, ["caf\u{fffd} \u{fffd}"]);
        assert_eq!(ply.tables[0].columns[0].name, "a.b");
        assert_eq!(&*ply.tables[0].rows, b"\n", "{end:?}");
    }
}

#[test]
fn a_header_survives_being_written() {
    let text = b"ply\nformat ascii 1.0\ncomment x  y\nelement a 2\nproperty list uchar int l\nproperty half h\n\
        element b 0\nproperty double d\nend_header\n";
    let (header, length) = Header::parse(text, &Limits::default()).unwrap();
    assert_eq!(length, text.len());
    assert_eq!(header.to_bytes(), text);
    assert_eq!(header.encoding, Encoding::Ascii);
    assert_eq!(header.element("a").unwrap().properties[0].kind, PropertyType::List(DType::U8, DType::I32));
}

#[test]
fn malformed_headers_are_named() {
    let with = |lines: &str| format!("ply\nformat ascii 1.0\n{lines}\nend_header\n").into_bytes();
    let cases: Vec<(Vec<u8>, &str)> = vec![
        (b"".to_vec(), "HEADER"),
        (b"plyx\n".to_vec(), "HEADER"),
        (b"ply\n".to_vec(), "TRUNCATED"),
        (b"ply\nformat ascii 1.0\nend_header".to_vec(), "TRUNCATED"),
        (b"ply\nend_header\n".to_vec(), "HEADER"),
        (b"ply\nformat ascii 2.0\nend_header\n".to_vec(), "UNSUPPORTED"),
        (b"ply\nformat binary 1.0\nend_header\n".to_vec(), "UNSUPPORTED"),
        (with("format ascii 1.0"), "HEADER"),
        (with("property float x"), "HEADER"),
        (with("element v 1\nproperty float128 x"), "UNSUPPORTED"),
        (with("element v 1\nproperty list float int x"), "HEADER"),
        (with("element v 0\nproperty float x\nproperty float x"), "HEADER"),
        (with("element v 0\nelement v 0"), "HEADER"),
        (with("element v -1"), "HEADER"),
        (with("element v +1"), "HEADER"),
        (with("element v 99999999999999999999"), "HEADER"),
        (with("element v"), "HEADER"),
        (with("bogus"), "HEADER"),
        (with("element v\u{e9} 0\nproperty float \u{e9}"), "OK"),
        (with("element v 0"), "OK"),
        (with("element v 18446744073709551615"), "OK"),
        (with("element v 18446744073709551615\nproperty float x"), "TRUNCATED"),
    ];
    for (bytes, expected) in cases {
        assert_eq!(code(parse(&bytes)), expected, "{}", String::from_utf8_lossy(&bytes));
    }
}

#[test]
fn headers_above_the_limits_are_refused() {
    let long = format!("ply\nformat ascii 1.0\ncomment {}\nend_header\n", "x".repeat(1 << 20));
    assert_eq!(code(parse(long.as_bytes())), "LIMIT");
    let properties: String = (0..5000).map(|i| format!("property float p{i}\n")).collect();
    let many = format!("ply\nformat ascii 1.0\nelement v 0\n{properties}end_header\n");
    assert_eq!(code(parse(many.as_bytes())), "LIMIT");
}

#[test]
fn absurd_counts_are_refused_before_anything_is_allocated() {
    let count = u64::MAX / 3;
    for encoding in ["ascii", "binary_little_endian", "binary_big_endian"] {
        for property in ["float x", "list uchar int x", "list uint double x\nproperty uchar y"] {
            let text =
                format!("ply\nformat {encoding} 1.0\nelement v {count}\nproperty {property}\nend_header\n1 2 3 4\n");
            assert!(matches!(code(parse(text.as_bytes())), "TRUNCATED" | "LIMIT"), "{encoding} {property}");
        }
    }
    let text = "ply\nformat binary_little_endian 1.0\nelement v 1\nproperty list uint double x\nend_header\n\u{7f}\u{7f}\u{7f}\u{7f}";
    assert_eq!(code(parse(text.as_bytes())), "TRUNCATED");
    let text = "ply\nformat binary_little_endian 1.0\nelement v 1\nproperty list char double x\nend_header\n\u{7f}";
    let mut negative = text.as_bytes().to_vec();
    *negative.last_mut().unwrap() = 0xff;
    assert_eq!(code(parse(&negative)), "VALUE");
}

#[test]
fn rows_must_fill_the_file_exactly() {
    let head = "ply\nformat binary_little_endian 1.0\nelement v 2\nproperty ushort x\nend_header\n";
    for (payload, expected) in [("abcd", "OK"), ("abc", "TRUNCATED"), ("abcde", "TRAILING")] {
        assert_eq!(code(parse(format!("{head}{payload}").as_bytes())), expected);
    }
    let ascii = head.replace("binary_little_endian", "ascii");
    for (payload, expected) in [("1\n2", "OK"), ("\n 1  2\n\n", "OK"), ("1\n", "TRUNCATED"), ("1 2 3", "TRAILING")] {
        assert_eq!(code(parse(format!("{ascii}{payload}").as_bytes())), expected, "{payload}");
    }
}

#[test]
fn ascii_numbers_are_read_in_every_spelling() {
    let head = |dtype: &str, count: usize| {
        format!("ply\nformat ascii 1.0\nelement v {count}\nproperty {dtype} x\nend_header\n")
    };
    let words = "nan -NaN inf -Inf .5 1E-5 +2 -0 1.#INF -1.#IND -nan(ind) 1e400 16777217";
    let text = head("float", 13) + words;
    let ply = parse(text.as_bytes()).unwrap();
    let values: Vec<f32> = ply.tables[0].rows.chunks(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect();
    assert!(values[0].is_nan() && values[1].is_nan() && values[9].is_nan() && values[10].is_nan());
    assert_eq!(values[2..4], [f32::INFINITY, f32::NEG_INFINITY]);
    assert_eq!(values[4..9], [0.5, 1e-5, 2.0, 0.0, f32::INFINITY]);
    assert!(values[7].is_sign_negative());
    assert_eq!(values[11..], [f32::INFINITY, 16777216.0]);
    for (dtype, word, expected) in [
        ("uchar", "255", "OK"),
        ("uchar", "255.0", "OK"),
        ("uchar", "256", "VALUE"),
        ("uchar", "-1", "VALUE"),
        ("char", "-128", "OK"),
        ("int", "2147483648", "VALUE"),
        ("uint", "4294967295", "OK"),
        ("int", "1.5", "VALUE"),
        ("float", "one", "VALUE"),
        ("half", "65504", "OK"),
    ] {
        assert_eq!(code(parse((head(dtype, 1) + word).as_bytes())), expected, "{dtype} {word}");
    }
}

/// One element as the property test builds it: types and values, all exactly representable.
#[derive(Debug, Clone)]
struct Sample {
    scalars: Vec<(DType, Vec<i32>)>,
    list: Option<(DType, DType, Vec<Vec<i32>>)>,
    rows: usize,
}

const NAMES: [(DType, &str); 8] = [
    (DType::I8, "char"),
    (DType::U8, "uchar"),
    (DType::I16, "int16"),
    (DType::U16, "ushort"),
    (DType::I32, "int"),
    (DType::U32, "uint32"),
    (DType::F32, "float"),
    (DType::F64, "double"),
];

fn name(dtype: DType) -> &'static str {
    NAMES.iter().find(|(d, _)| *d == dtype).unwrap().1
}

fn sample() -> impl Strategy<Value = Sample> {
    let dtype = (0..8usize).prop_map(|i| NAMES[i].0);
    (0..5usize).prop_flat_map(move |rows| {
        let column = (dtype.clone(), prop::collection::vec(0..128i32, rows));
        let lists = prop::collection::vec(prop::collection::vec(0..128i32, 0..4), rows);
        let list = ((0..6usize).prop_map(|i| NAMES[i].0), dtype.clone(), lists);
        (prop::collection::vec(column, 1..5), prop::option::of(list)).prop_map(move |(scalars, list)| Sample {
            scalars,
            list,
            rows,
        })
    })
}

fn push(out: &mut Vec<u8>, encoding: &str, dtype: DType, value: i32) {
    if encoding == "ascii" {
        // ply-rs wants plain decimal numbers
        return out.extend(format!("{value} ").bytes());
    }
    let start = out.len();
    match dtype {
        DType::F32 => out.extend((value as f32).to_le_bytes()),
        DType::F64 => out.extend(f64::from(value).to_le_bytes()),
        _ => out.extend(&value.to_le_bytes()[..dtype.size()]),
    }
    if encoding.ends_with("big_endian") {
        out[start..].reverse();
    }
}

fn encode(samples: &[Sample], encoding: &str) -> Vec<u8> {
    let mut out = format!("ply\nformat {encoding} 1.0\ncomment made by a test\n").into_bytes();
    for (e, sample) in samples.iter().enumerate() {
        out.extend(format!("element e{e} {}\n", sample.rows).bytes());
        for (p, (dtype, _)) in sample.scalars.iter().enumerate() {
            out.extend(format!("property {} p{p}\n", name(*dtype)).bytes());
        }
        if let Some((length, item, _)) = &sample.list {
            out.extend(format!("property list {} {} l\n", name(*length), name(*item)).bytes());
        }
    }
    out.extend(b"end_header\n");
    for sample in samples {
        for row in 0..sample.rows {
            for (dtype, values) in &sample.scalars {
                push(&mut out, encoding, *dtype, values[row]);
            }
            if let Some((length, item, lists)) = &sample.list {
                push(&mut out, encoding, *length, lists[row].len() as i32);
                lists[row].iter().for_each(|value| push(&mut out, encoding, *item, *value));
            }
            if encoding == "ascii" {
                out.push(b'\n');
            }
        }
    }
    out
}

fn numbers(property: &Property) -> Vec<f64> {
    match property {
        Property::Char(v) => vec![f64::from(*v)],
        Property::UChar(v) => vec![f64::from(*v)],
        Property::Short(v) => vec![f64::from(*v)],
        Property::UShort(v) => vec![f64::from(*v)],
        Property::Int(v) => vec![f64::from(*v)],
        Property::UInt(v) => vec![f64::from(*v)],
        Property::Float(v) => vec![f64::from(*v)],
        Property::Double(v) => vec![*v],
        Property::ListChar(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListUChar(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListShort(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListUShort(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListInt(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListUInt(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListFloat(v) => v.iter().map(|v| f64::from(*v)).collect(),
        Property::ListDouble(v) => v.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(200) })]

    /// Header and rows agree with `ply-rs` in all three encodings, for every type and with lists.
    #[test]
    fn an_independent_parser_reads_the_same(samples in prop::collection::vec(sample(), 1..4)) {
        for encoding in ["ascii", "binary_little_endian", "binary_big_endian"] {
            let bytes = encode(&samples, encoding);
            let ours = parse(&bytes).unwrap();
            let theirs = Parser::<DefaultElement>::new().read_ply(&mut Cursor::new(&bytes)).unwrap();
            prop_assert_eq!(&ours.header.comments, &theirs.header.comments);
            for table in &ours.tables {
                let rows = &theirs.payload[&table.name];
                prop_assert_eq!(table.count, rows.len());
                for (i, row) in rows.iter().enumerate() {
                    for column in &table.columns {
                        prop_assert_eq!(vec![column.f64(table.row(i))], numbers(&row[&column.name]));
                    }
                    for list in &table.lists {
                        let column = gav_formats::ply::Column { name: String::new(), dtype: list.dtype, offset: 0 };
                        let values: Vec<f64> = list.row(i).chunks(list.dtype.size()).map(|b| column.f64(b)).collect();
                        prop_assert_eq!(values, numbers(&row[&list.name]));
                    }
                }
            }
        }
    }

    /// No bytes after a valid beginning make the parser panic.
    #[test]
    fn random_bytes_never_panic(tail in prop::collection::vec(any::<u8>(), 0..200), big in any::<bool>()) {
        let order = if big { "big" } else { "little" };
        let mut bytes = format!(
            "ply\nformat binary_{order}_endian 1.0\nelement a 3\nproperty list short double l\nproperty half h\nend_header\n"
        ).into_bytes();
        bytes.extend(&tail);
        let _ = parse(&bytes);
        let mut header = b"ply\n".to_vec();
        header.extend(&tail);
        let _ = parse(&header);
    }
}
