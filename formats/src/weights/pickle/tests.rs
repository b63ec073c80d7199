//! Opcodes of every protocol, and what happens when they make no sense.

use super::{Limits, Node, Tree, read, read_prefix};

fn tree(bytes: &[u8]) -> Tree<'_> {
    read(bytes, &Limits::default()).unwrap()
}

fn root<'t, 'a>(tree: &'t Tree<'a>) -> &'t Node<'a> {
    tree.node(tree.root())
}

fn code(bytes: &[u8]) -> &'static str {
    read(bytes, &Limits::default()).unwrap_err().code()
}

#[test]
fn scalars_of_every_protocol() {
    for (bytes, expected) in [
        (&b"N."[..], Node::None),
        (b"\x88.", Node::Bool(true)),
        (b"I01\n.", Node::Bool(true)),
        (b"I00\n.", Node::Bool(false)),
        (b"I-12\n.", Node::Int(-12)),
        (b"L-123456789012345678901L\n.", Node::Int(-123_456_789_012_345_678_901)),
        (b"K\xff.", Node::Int(255)),
        (b"M\x01\x02.", Node::Int(513)),
        (b"J\xfe\xff\xff\xff.", Node::Int(-2)),
        (b"\x8a\x00.", Node::Int(0)),
        (b"\x8a\x02\x00\x80.", Node::Int(-32768)),
        (b"\x8b\x01\x00\x00\x00\x7f.", Node::Int(127)),
        (b"F1.5e3\n.", Node::Float(1500.0)),
        (b"G\x3f\xf8\x00\x00\x00\x00\x00\x00.", Node::Float(1.5)),
        (b"S'a\\x41'\n.", Node::Bytes(b"aA".as_slice().into())),
        (b"U\x02ab.", Node::Bytes(b"ab".as_slice().into())),
        (b"T\x02\x00\x00\x00ab.", Node::Bytes(b"ab".as_slice().into())),
        (b"\x8e\x01\x00\x00\x00\x00\x00\x00\x00b.", Node::Bytes(b"b".as_slice().into())),
        (b"V\\u20ac\n.", Node::Text("€".into())),
        (b"X\x03\x00\x00\x00\xe2\x82\xac.", Node::Text("€".into())),
        (b"\x80\x04\x95\x04\x00\x00\x00\x00\x00\x00\x00\x8c\x01x.", Node::Text("x".into())),
        (b"\x8c\x01\xff.", Node::Text("\u{fffd}".into())),
    ] {
        assert_eq!(root(&tree(bytes)), &expected, "{}", bytes.escape_ascii());
    }
    let wide = [&b"\x8a\x11"[..], &[1; 17], b"."].concat();
    assert_eq!(root(&tree(&wide)), &Node::WideInt([1u8; 17].as_slice().into()));
}

#[test]
fn containers_marks_and_memory() {
    // {'a': [1, (2, 3)], 'b': same list}
    let tree_of = tree(b"}(U\x01a]q\x05(K\x01K\x02K\x03\x86eU\x01bh\x05u.");
    let (a, b) = (tree_of.get(tree_of.root(), "a").unwrap(), tree_of.get(tree_of.root(), "b").unwrap());
    assert_eq!(a, b);
    let items = tree_of.sequence(a).unwrap();
    assert_eq!(tree_of.int::<u8>(items[0]), Some(1));
    assert_eq!(tree_of.sequence(items[1]).unwrap().len(), 2);
    // a list is filled after it was remembered: both names see it
    let tree_of = tree(b"]p7\nI1\nag7\n\x86.");
    let items = tree_of.sequence(tree_of.root()).unwrap();
    assert_eq!((items[0], tree_of.sequence(items[1]).unwrap().len()), (items[1], 1));
    assert_eq!(root(&tree(b"N(K\x01K\x021.")), &Node::None);
    assert_eq!(root(&tree(b"N(0.")), &Node::None);
    assert!(matches!(root(&tree(b"(K\x01K\x02d.")), Node::Dict(entries) if entries.len() == 1));
    assert!(matches!(root(&tree(b"\x8f(K\x01\x90.")), Node::Set(items) if items.len() == 1));
    assert!(matches!(root(&tree(b"(K\x01\x91.")), Node::Set(items) if items.len() == 1));
    assert!(matches!(root(&tree(b"N2\x86.")), Node::Tuple(items) if items[0] == items[1]));
}

#[test]
fn objects_in_every_spelling() {
    for bytes in [
        &b"cm\nC\nK\x07\x85R}b."[..],
        b"cm\nC\nK\x07\x85\x81}b.",
        b"\x8c\x01m\x8c\x01C\x93K\x07\x85\x81}b.",
        b"(K\x07im\nC\n}b.",
        b"(cm\nC\nK\x07o}b.",
    ] {
        let tree = tree(bytes);
        let (module, name, arguments, call) = tree.call(tree.root()).unwrap();
        assert_eq!((module, name, arguments.len(), call.state.is_some()), ("m", "C", 1, true));
    }
    // keyword arguments become one more argument
    let tree_of = tree(b"cm\nC\n)}\x92.");
    assert_eq!(tree_of.call(tree_of.root()).unwrap().2.len(), 1);
    let tree_of = tree(b"Pthe id\n.");
    assert!(matches!(root(&tree_of), Node::Persistent(id) if tree_of.text(*id) == Some("the id")));
    assert!(matches!(root(&tree(b"K\x01Q.")), Node::Persistent(_)));
}

#[test]
fn nonsense_has_a_code() {
    assert_eq!(code(b""), "TRUNCATED");
    assert_eq!(code(b"K"), "TRUNCATED");
    assert_eq!(code(b"X\xff\xff\xff\x7fab"), "TRUNCATED");
    assert_eq!(code(b"\x8e\xff\xff\xff\xff\xff\xff\xff\xff"), "TRUNCATED");
    assert_eq!(code(b"I12"), "TRUNCATED");
    assert_eq!(code(b"."), "STACK");
    assert_eq!(code(b"K\x01\x86."), "STACK");
    assert_eq!(code(b"K\x01(\x85."), "STACK");
    assert_eq!(code(b"t."), "STACK");
    assert_eq!(code(b"(K\x01d."), "STACK");
    assert_eq!(code(b"K\x01K\x02a."), "STACK");
    assert_eq!(code(b"K\x01K\x02b."), "STACK");
    assert_eq!(code(b"(o."), "STACK");
    assert_eq!(code(b"h\x00."), "VALUE");
    assert_eq!(code(b"\x80\x06N."), "VALUE");
    assert_eq!(code(b"Ix\n."), "VALUE");
    assert_eq!(code(b"K\x01K\x02\x93."), "VALUE");
    assert_eq!(code(b"\xfe."), "OPCODE");
    assert_eq!(code(b"\x82\x01."), "OPCODE");
    assert_eq!(code(b"\x97."), "OPCODE");
    assert_eq!(code(b"N.N"), "TRAILING");
    let limits = Limits { values: 3, ..Limits::default() };
    assert!(read(b"NNN.", &limits).is_ok());
    assert_eq!(read(b"NNNN.", &limits).unwrap_err().code(), "LIMIT");
    let (_, used) = read_prefix(b"N.rest", &limits).unwrap();
    assert_eq!(used, 2);
}

#[test]
fn bytes_of_old_protocols_are_decoded() {
    let tree_of = tree(b"c_codecs\nencode\nX\x03\x00\x00\x00a\xc3\xbfX\x06\x00\x00\x00latin1\x86R.");
    assert_eq!(tree_of.bytes(tree_of.root()).unwrap().as_ref(), b"a\xff");
    let tree_of = tree(b"c__builtin__\nbytes\n)R.");
    assert!(tree_of.bytes(tree_of.root()).unwrap().is_empty());
}
