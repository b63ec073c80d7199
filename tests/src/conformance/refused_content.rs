//! Files whose content must be refused: the splat set, quantisers and codes, rigs, and everything around them.

use gav_formats::{
    Avatar, Profile,
    synthetic::{RigSample, every_rig},
};

use super::{
    Case, Fields, Pack, PackChunk, encode_as,
    handmade::{SPLATS, fast, lossless, quantization},
    pack::{put, u32_at},
    read,
};

pub fn cases() -> Vec<Case> {
    let mut out = splat_set_cases();
    out.extend(quantized_cases());
    out.extend(json_cases());
    out.extend(rig_cases());
    out.extend(blendshape_cases());
    out.extend(other_cases());
    out
}

/// A sample of few splats, without what its rig does not need.
fn small(sample: RigSample) -> Avatar {
    let mut avatar = every_rig(sample);
    avatar.reorder(&(0..8).collect::<Vec<u32>>());
    avatar.clips.clear();
    avatar.rest = None;
    if avatar.template.as_ref().is_none_or(|t| !t.embedded) {
        avatar.mesh = None;
    }
    avatar
}

/// A sample's file without loss after a change to one chunk.
fn changed(sample: RigSample, kind: &[u8; 4], change: impl Fn(&mut PackChunk)) -> Vec<u8> {
    let mut pack = Pack::of(&encode_as(&small(sample), Profile::Lossless));
    change(pack.chunk(kind));
    pack.to_bytes()
}

/// As [`changed`], for the bytes of the parameters.
fn parameters(sample: RigSample, kind: &[u8; 4], at: usize, value: &[u8]) -> Vec<u8> {
    changed(sample, kind, |chunk| put(&mut chunk.parameters, at, value))
}

fn set(at: usize, value: &[u8]) -> Vec<u8> {
    let mut pack = lossless();
    put(&mut pack.chunk(b"SSET").parameters, at, value);
    pack.to_bytes()
}

fn splat_set_cases() -> Vec<Case> {
    let case = |name: &str, about: &str, bytes: Vec<u8>| Case::refused(name, about, bytes, "SPLAT_SET");
    let mut long = lossless();
    long.chunk(b"SSET").parameters.extend([0; 4]);
    let mut short = lossless();
    short.chunk(b"SSET").parameters.truncate(60);
    let mut many = lossless();
    put(&mut many.chunk(b"SSET").parameters, 0, &u32::MAX.to_le_bytes());
    put(&mut many.chunk(b"SSET").parameters, 72, &u32::MAX.to_le_bytes());
    let mut layers = lossless();
    let chunk = layers.chunk(b"SSET");
    put(&mut chunk.parameters, 12, &[2]);
    put(&mut chunk.parameters, 72, &[4]);
    chunk.parameters.extend(6u32.to_le_bytes());
    vec![
        case("degree_5", "SH degree 5", set(4, &[5])),
        case("render_model", "render model 3", set(5, &[3])),
        case("color_space", "colour space 2", set(6, &[2])),
        case("rig_5", "rig kind 5, which is no base", set(7, &[5])),
        case("rig_8", "rig kind 8", set(7, &[8])),
        case("blendshape_flag", "a flag of 2", set(8, &[2])),
        case("frame", "a frame that names one axis twice", set(9, b"RLU")),
        case("frame_case", "a frame in lower case", set(9, b"rub")),
        case("layers_0", "no layer", set(12, &[0])),
        case("layers_17", "17 layers", set(12, &[17])),
        case("set_order", "order 3", set(14, &[3])),
        case("unit_0", "no metre per unit", set(16, &0f64.to_le_bytes())),
        case("unit_nan", "a unit that is not a number", set(16, &f64::NAN.to_le_bytes())),
        case("bounds", "bounds that are not finite", set(24, &f64::INFINITY.to_le_bytes())),
        case("layers_sum", "layers that do not sum to the count", set(72, &[SPLATS as u8 + 1])),
        case("set_long", "parameters behind the last layer", long.to_bytes()),
        case("set_short", "parameters cut short", short.to_bytes()),
        Case::refused("splats_huge", "four billion splats in a small file", many.to_bytes(), "LIMIT"),
        Case::refused("layers_feature", "two layers without their feature bit", layers.to_bytes(), "FEATURE"),
    ]
}

fn quantized_cases() -> Vec<Case> {
    let case = Case::refused;
    let quantizer = |at: usize, value: &[u8]| {
        let mut pack = fast();
        put(&mut pack.chunk(b"QNTZ").parameters, at, value);
        pack.to_bytes()
    };
    let with = |change: &dyn Fn(&mut Pack)| {
        let mut pack = fast();
        change(&mut pack);
        pack.to_bytes()
    };
    let codes = |kind: &'static [u8; 4], columns: Vec<i32>| {
        with(&move |pack| {
            let fields = columns.iter().fold(Fields::default(), |f, &v| f.ints(&[v; SPLATS]));
            pack.chunk(kind).set(fields);
        })
    };
    let keys = |first: u64, difference: [i32; 2]| {
        let fields = Fields::default().raw(&first.to_le_bytes());
        let fields = difference.into_iter().fold(fields, |f, v| f.ints(&[v; SPLATS]));
        with(&move |pack| pack.chunk(b"POSN").set(fields.clone()))
    };
    let steep = |k: usize, _: usize| if k == 3 { 70_000 } else { 0 };
    vec![
        case("step_zero", "a position step of 0", quantizer(0, &0f64.to_le_bytes()), "QUANTIZATION"),
        case("step_negative", "a negative rotation step", quantizer(32, &(-1f64).to_le_bytes()), "QUANTIZATION"),
        case("step_nan", "a colour step that is not a number", quantizer(40, &f64::NAN.to_le_bytes()), "QUANTIZATION"),
        case("origin", "an origin that is not finite", quantizer(8, &f64::INFINITY.to_le_bytes()), "QUANTIZATION"),
        case("levels_0", "no opacity level", quantizer(56, &[0; 4]), "QUANTIZATION"),
        case("levels_many", "65,536 opacity levels", quantizer(56, &65_536u32.to_le_bytes()), "QUANTIZATION"),
        case("classes_15", "15 classes", quantizer(60, &[15]), "QUANTIZATION"),
        case("quantizer_reserved", "a reserved byte that is not zero", quantizer(61, &[1]), "QUANTIZATION"),
        case(
            "table_huge",
            "a scale table of four billion entries",
            quantizer(64, &u32::MAX.to_le_bytes()),
            "QUANTIZATION",
        ),
        case("scale_steep", "a scale of e^68", with(&|pack| quantization(pack, 3, steep)), "QUANTIZATION"),
        case("codec", "codec 3", with(&|pack| pack.chunk(b"POSN").codec = 3), "CODEC"),
        case("codec_mixed", "codec 0 in a quantised file", with(&|pack| pack.chunk(b"ROTN").codec = 0), "CODEC"),
        case(
            "codec_lossless",
            "codec 1 in a file without quantisers",
            with(&|pack| pack.chunks.retain(|c| c.kind != *b"QNTZ")),
            "CODEC",
        ),
        case(
            "position_layout",
            "position layout 2",
            with(&|pack| pack.chunk(b"POSN").parameters = vec![2]),
            "PARAMETERS",
        ),
        case("position_none", "no position layout", with(&|pack| pack.chunk(b"POSN").parameters.clear()), "PARAMETERS"),
        case("opacity_code", "an opacity code above the levels", codes(b"OPAC", vec![60_000]), "CODE"),
        case("opacity_negative", "an opacity code of 2³² − 1", codes(b"OPAC", vec![-1]), "CODE"),
        case("scale_code", "a scale code behind its table", codes(b"SCAL", vec![1 << 20, 0, 0]), "CODE"),
        case("scale_falling", "a second scale above the first", codes(b"SCAL", vec![1, 2, 0]), "CODE"),
        case("morton_high", "a key of 64 bits", keys(1 << 63, [0, 0]), "CODE"),
        case("morton_wraps", "keys that wrap", keys(5, [-1, -1]), "CODE"),
        case("sh_flag", "an SH basis of flag 2", with(&|pack| pack.chunk(b"SHCO").parameters = vec![2]), "SH_BASIS"),
        case("sh_none", "no SH basis flag", with(&|pack| pack.chunk(b"SHCO").parameters.clear()), "SH_BASIS"),
        case(
            "sh_short",
            "an SH basis that is cut short",
            with(&|pack| pack.chunk(b"SHCO").parameters = vec![1; 100]),
            "SH_BASIS",
        ),
        case(
            "sh_infinite",
            "an SH basis that is not finite",
            with(&|pack| pack.chunk(b"SHCO").parameters = [vec![1], [0, 0x7C].repeat(90)].concat()),
            "SH_BASIS",
        ),
    ]
}

fn json_cases() -> Vec<Case> {
    let meta = |text: &[u8]| {
        let mut pack = lossless();
        pack.chunk(b"mETa").set_text(text);
        pack.to_bytes()
    };
    let skeleton = |change: &dyn Fn(&mut serde_json::Value)| {
        let sample = small(RigSample::Skinned);
        let gav_formats::RigBase::Skinned { skeleton, .. } = &sample.rig.base else { unreachable!("a skinned sample") };
        let mut value = serde_json::to_value(skeleton).expect("plain data");
        change(&mut value);
        changed(RigSample::Skinned, b"SKEL", |chunk| chunk.set_text(value.to_string()))
    };
    let deep = format!("{{\"x\":{}{}}}", "[".repeat(40), "]".repeat(40));
    let case = Case::refused;
    let mut two = lossless();
    two.chunk(b"mETa").elements = 2;
    two.chunk(b"mETa").block_elements = 2;
    vec![
        case("json_broken", "JSON that ends early", meta(b"{\"name\": "), "JSON"),
        case("json_type", "JSON of another type", meta(b"[1, 2]"), "JSON"),
        case("json_utf8", "JSON that is not UTF-8", meta(b"{\"name\": \"\xC3\x28\"}"), "JSON"),
        case("json_deep", "JSON nested 41 deep", meta(deep.as_bytes()), "LIMIT"),
        case("json_elements", "two elements in a JSON chunk", two.to_bytes(), "ELEMENTS"),
        case(
            "name_control",
            "a joint whose name moves the cursor",
            skeleton(&|v| v["joints"][0]["name"] = "a\u{1b}[2J".into()),
            "NAME",
        ),
        case(
            "name_delete",
            "a name with the control character U+0085",
            skeleton(&|v| v["joints"][0]["name"] = "a\u{85}".into()),
            "NAME",
        ),
        case(
            "name_long",
            "a name above 64 KiB",
            skeleton(&|v| v["joints"][0]["name"] = "a".repeat(65_537).into()),
            "NAME",
        ),
        case(
            "joint_key",
            "a joint without a translation",
            skeleton(&|v| {
                v["joints"][0].as_object_mut().expect("an object").remove("translation");
            }),
            "JSON",
        ),
        case(
            "joint_cycle",
            "a joint that is its own ancestor",
            skeleton(&|v| v["joints"][0]["parent"] = 1.into()),
            "INCONSISTENT",
        ),
        case(
            "joint_self",
            "a joint that is its own parent",
            skeleton(&|v| v["joints"][1]["parent"] = 1.into()),
            "INCONSISTENT",
        ),
        case("joint_negative", "a parent of −1", skeleton(&|v| v["joints"][1]["parent"] = (-1).into()), "JSON"),
        case(
            "joint_none",
            "weights for a joint that does not exist",
            skeleton(&|v| {
                v["joints"].as_array_mut().expect("an array").truncate(1);
            }),
            "INCONSISTENT",
        ),
    ]
}

/// A skin chunk of one influence per splat, or of what `counts` says, all with weight `weight`.
fn skin(counts: u8, weight: f32) -> Vec<u8> {
    changed(RigSample::Skinned, b"SKIN", |chunk| {
        let n = chunk.elements as usize;
        let mut fields = Fields::default().stream(&vec![counts; n]);
        for slot in 0..8 {
            let used = if slot < counts { n } else { 0 };
            fields = fields.ints(&vec![0; used]).raw(&[0, 0, 0]).planes(&vec![weight.to_bits().rotate_left(1); used]);
        }
        chunk.set(fields);
    })
}

fn without(sample: RigSample, kind: &[u8; 4]) -> Vec<u8> {
    let mut pack = Pack::of(&encode_as(&small(sample), Profile::Lossless));
    pack.chunks.retain(|c| c.kind != *kind);
    pack.to_bytes()
}

fn rig_cases() -> Vec<Case> {
    let case = Case::refused;
    sound(skin(1, 1.0));
    sound(skin(8, 0.125));
    let triangles = |value: i32| {
        changed(RigSample::GaussianAvatars, b"TRIB", move |chunk| {
            let n = chunk.elements as usize;
            chunk.set(Fields::default().ints(&vec![value; n]));
        })
    };
    let barycentric = changed(RigSample::RgbAvatar, b"TRIB", |chunk| {
        let n = chunk.elements as usize;
        let half = vec![0.5f32.to_bits().rotate_left(1); n];
        let head = Fields::default().ints(&vec![0; n]).raw(&[0]);
        chunk.set((0..3).fold(head, |f, c| f.raw(&[c, 0]).planes(&half)));
    });
    let frames = changed(RigSample::Frames, b"FRMS", |chunk| {
        let block = chunk.blocks[0].clone();
        // the times are the first column; a constant one does not rise
        let mut fields = Fields::default().raw(&[0, 0, 0, 0, 0, 0]);
        let planes = usize::from(block[1]);
        let mut at = 6;
        for _ in 0..planes {
            at += 5 + u32_at(&block, at + 1) as usize;
        }
        fields.bytes.extend_from_slice(&block[at..]);
        chunk.decoded -= planes as u64 * u64::from(chunk.elements);
        chunk.blocks = vec![fields.bytes];
    });
    vec![
        case("skin_count_0", "a splat without any joint", skin(0, 1.0), "SKIN"),
        case("skin_count_9", "a splat with nine joints", skin(9, 1.0 / 9.0), "SKIN"),
        case("weights_sum", "weights that sum to 1.5", skin(3, 0.5), "INCONSISTENT"),
        case("weights_nan", "weights that are not numbers", skin(1, f32::NAN), "INCONSISTENT"),
        case("weight_bits", "weights of 17 bits", parameters(RigSample::Skinned, b"SKIN", 1, &[17]), "PARAMETERS"),
        case("skin_flags", "unknown skin flags", parameters(RigSample::Skinned, b"SKIN", 0, &[2]), "PARAMETERS"),
        case("skin_missing", "a skeleton without weights", without(RigSample::Skinned, b"SKIN"), "RIG_KIND"),
        case("skeleton_missing", "weights without a skeleton", without(RigSample::Skinned, b"SKEL"), "MISSING_CHUNK"),
        case("binding_missing", "no triangle binding", without(RigSample::Stga, b"TRIB"), "RIG_KIND"),
        case("blendshapes_missing", "no blendshapes", without(RigSample::Blendshapes, b"GBLS"), "RIG_KIND"),
        case("morphs_missing", "no morphs", without(RigSample::MorphSkinned, b"MRPH"), "RIG_KIND"),
        case(
            "rig_kind",
            "triangle frames of another kind",
            parameters(RigSample::GaussianAvatars, b"TRIB", 8, &[3]),
            "RIG_KIND",
        ),
        case(
            "triangle_kind",
            "triangle frames of kind 5",
            parameters(RigSample::GaussianAvatars, b"TRIB", 8, &[5]),
            "PARAMETERS",
        ),
        case("triangle_far", "a triangle that the template does not have", triangles(1 << 20), "INCONSISTENT"),
        case("triangle_negative", "a triangle of −1", triangles(-1), "INCONSISTENT"),
        case("barycentric_sum", "barycentric coordinates that sum to 1.5", barycentric, "INCONSISTENT"),
        case(
            "morph_step",
            "a negative step",
            parameters(RigSample::MorphSkinned, b"MRPH", 0, &(-1f64).to_le_bytes()),
            "STEP",
        ),
        case(
            "morph_step_nan",
            "a step that is not a number",
            parameters(RigSample::MorphSkinned, b"MRPH", 0, &f64::NAN.to_le_bytes()),
            "STEP",
        ),
        case(
            "morph_names",
            "more driver names than targets",
            changed(RigSample::MorphSkinned, b"MRPH", |chunk| {
                chunk.parameters.truncate(8);
                chunk.parameters.extend(br#"["a","b","c","d","e","f","g","h","i","j"]"#);
            }),
            "ELEMENTS",
        ),
        case("frame_bits", "unknown frame attributes", parameters(RigSample::Frames, b"FRMS", 4, &[16]), "PARAMETERS"),
        case("frame_ticks", "no ticks per second", parameters(RigSample::Frames, b"FRMS", 0, &[0; 4]), "INCONSISTENT"),
        case("frame_times", "frame times that do not rise", frames, "INCONSISTENT"),
    ]
}

/// Blendshapes with a network of zeros, whose safetensors header went through `change`.
fn network(change: &dyn Fn(&str) -> String) -> Vec<u8> {
    let header = r#"{"__metadata__":{"inputs":"[\"a\"]","activations":"[\"none\"]"},"0.weight":{"dtype":"F32","shape":[3,1],"data_offsets":[0,12]},"0.bias":{"dtype":"F32","shape":[3],"data_offsets":[12,24]}}"#;
    let header = change(header);
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.extend([0; 24]);
    without_drivers().with(PackChunk::new(b"MLPW", 1, 1, Vec::new(), vec![Fields::default().run(&file)])).to_bytes()
}

/// A file that differs from refused ones by nothing but their fault must be read.
fn sound(bytes: Vec<u8>) {
    if let Err(error) = read(&bytes) {
        panic!("a sound file is refused: {error}");
    }
}

/// Three blendshapes that want their weights from a network.
fn without_drivers() -> Pack {
    let mut pack = Pack::of(&encode_as(&small(RigSample::Blendshapes), Profile::Lossless));
    let names = &mut pack.chunk(b"GBLS").parameters;
    names.truncate(25);
    names.extend(b"null");
    pack
}

fn blendshape_cases() -> Vec<Case> {
    let case = Case::refused;
    sound(network(&|header: &str| header.to_owned()));
    let swap = |from: &'static str, to: &'static str| network(&move |header: &str| header.replace(from, to));
    vec![
        case(
            "blendshape_bits",
            "unknown blendshape attributes",
            parameters(RigSample::Blendshapes, b"GBLS", 24, &[8]),
            "PARAMETERS",
        ),
        case(
            "blendshape_step",
            "an infinite step",
            parameters(RigSample::Blendshapes, b"GBLS", 8, &f64::INFINITY.to_le_bytes()),
            "STEP",
        ),
        case(
            "blendshape_names",
            "fewer driver names than bases",
            changed(RigSample::Blendshapes, b"GBLS", |chunk| {
                chunk.parameters.truncate(25);
                chunk.parameters.extend(br#"["a"]"#);
            }),
            "INCONSISTENT",
        ),
        case(
            "network_missing",
            "weights from a network that is not there",
            without_drivers().to_bytes(),
            "MISSING_CHUNK",
        ),
        case(
            "network_outputs",
            "a network with too few outputs",
            network(&|h: &str| {
                h.replace("[3,1]", "[2,2]")
                    .replace("[3]", "[2]")
                    .replace("[0,12]", "[0,16]")
                    .replace("[12,24]", "[16,24]")
                    .replace(r#"[\"a\"]"#, r#"[\"a\",\"b\"]"#)
            }),
            "INCONSISTENT",
        ),
        case("network_activation", "an unknown activation", swap("none", "gelu"), "MLP"),
        case("network_metadata", "a network without its inputs", swap("inputs", "outputs"), "MLP"),
        case("network_tensor", "a network without a bias", swap("0.bias", "1.bias"), "MLP"),
        case("network_type", "a network of another type", swap("F32\",\"shape\":[3]", "I32\",\"shape\":[3]"), "MLP"),
        case("network_offsets", "tensors behind the end", swap("[12,24]", "[12,4000]"), "MLP"),
        case(
            "network_deep",
            "nine layers",
            network(&|header: &str| header.replace("[\\\"none\\\"]", &format!("[{}]", ["\\\"none\\\""; 9].join(",")))),
            "MLP",
        ),
    ]
}

fn other_cases() -> Vec<Case> {
    let case = Case::refused;
    let order = |values: &[i32]| {
        let block = Fields::default().ints(values);
        lossless().with(PackChunk::new(b"oRDR", SPLATS as u32, 16_384, Vec::new(), vec![block])).to_bytes()
    };
    let attribute = |parameters: &[u8]| {
        let block = (0..4).fold(Fields::default(), |f, _| f.stream(&[0; SPLATS]));
        lossless().with(PackChunk::new(b"xATT", SPLATS as u32, 16_384, parameters.to_vec(), vec![block])).to_bytes()
    };
    let clip_of = |codec: u16, list: usize, interpolation: &str, times: [i32; 2], values: &dyn Fn(Fields) -> Fields| {
        let header = format!(
            r#"{{"name":"c","ticks_per_second":30,"keys":[2],"tracks":[{{"target":"t","width":1,"times":{list},"interpolation":"{interpolation}"}}]}}"#
        );
        let block = values(Fields::default().run(header.as_bytes()).ints(&times));
        let mut chunk = PackChunk::new(b"aNIm", 1, 1, Vec::new(), vec![block]);
        chunk.codec = codec;
        lossless().with(chunk).to_bytes()
    };
    let clip = |codec: u16, interpolation: &str, times: [i32; 2]| {
        clip_of(codec, 0, interpolation, times, &|block| block.raw(&[0, 0, 0]).planes(&[0, 0]))
    };
    // one residual in steps, of this class out of this many
    let steps = |step: f64, predictor: u8, classes: u8, class: i32| {
        clip_of(2, 0, "linear", [0, 1], &|block| {
            let block = block.raw(&step.to_le_bytes()).raw(&[predictor]).ints(&[5]).raw(&[classes]).ints(&[class]);
            let counts: Vec<i32> = (0..classes).map(|_| 1).collect();
            let stream: Vec<u8> =
                [0u32, 0, 1 << 16, 1 << 16, 1 << 16, 1 << 16].iter().flat_map(|w| w.to_le_bytes()).collect();
            block.ints(&counts).ints(&counts).raw(&stream)
        })
    };
    let drivers = br#"{"drivers":[],"maps":[{"name":"m","inputs":["a"],"outputs":["b"],"matrix":[1,2],"offset":[0]}]}"#;
    let mesh = |faces: u32| {
        let header = r#"{"positions":{"dtype":"F32","shape":[1,3],"data_offsets":[0,12]},"faces":{"dtype":"U32","shape":[1,3],"data_offsets":[12,24]}}"#;
        let mut file = (header.len() as u64).to_le_bytes().to_vec();
        file.extend_from_slice(header.as_bytes());
        file.extend([0; 12]);
        (0..3).for_each(|_| file.extend(faces.to_le_bytes()));
        file
    };
    let proxy = |file: &[u8]| {
        lossless().with(PackChunk::new(b"mESh", 1, 1, Vec::new(), vec![Fields::default().run(file)])).to_bytes()
    };
    sound(order(&[9, 1, 2, 3, 4, 5, 6, 7, 8, 0]));
    sound(attribute(&[0, 0, 4, 0, b'a']));
    sound(clip(0, "linear", [0, 1]));
    sound(steps(0.5, 0, 1, 0));
    sound(proxy(&mesh(0)));
    let mut wrong_shape = mesh(0);
    let text = String::from_utf8_lossy(&wrong_shape).replace("[1,3],\"data_offsets\":[0", "[3,1],\"data_offsets\":[0");
    wrong_shape = text.into_bytes();
    let thumbnail = PackChunk::new(b"tHMB", 1, 1, vec![0xFF, 0xFE], vec![Fields::default().run(&[1])]);
    let driver_chunk = PackChunk::new(b"dRVr", 1, 1, Vec::new(), vec![Fields::default().run(drivers)]);
    let short =
        PackChunk::new(b"xATT", SPLATS as u32 - 1, 16_384, vec![0, 0, 1, 0], vec![Fields::default().stream(&[0; 9])]);
    vec![
        case("order_twice", "a splat that comes twice", order(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 8]), "ORDER"),
        case("order_far", "a splat that does not exist", order(&[0, 1, 2, 3, 4, 5, 6, 7, 8, 10]), "ORDER"),
        case("order_negative", "a splat of −1", order(&[-1, 1, 2, 3, 4, 5, 6, 7, 8, 9]), "ORDER"),
        case("attribute_type", "an attribute of type 9", attribute(&[9, 0, 1, 0, b'a']), "ATTRIBUTE"),
        case("attribute_width", "an attribute of width 0", attribute(&[0, 0, 0, 0, b'a']), "ATTRIBUTE"),
        case("attribute_reserved", "a reserved byte that is not zero", attribute(&[0, 1, 4, 0, b'a']), "ATTRIBUTE"),
        case("attribute_name", "a name that is not UTF-8", attribute(&[0, 0, 4, 0, 0xFF]), "ATTRIBUTE"),
        case("attribute_control", "a name with a line break", attribute(&[0, 0, 4, 0, b'\n']), "NAME"),
        case("attribute_count", "an attribute of fewer splats", lossless().with(short).to_bytes(), "ELEMENTS"),
        case("clip_codec", "a clip of codec 1", clip(1, "linear", [0, 1]), "CODEC"),
        case("clip_step", "a negative step", steps(-0.5, 0, 1, 0), "CLIP"),
        case("clip_step_nan", "a step that is no number", steps(f64::NAN, 0, 1, 0), "CLIP"),
        case("clip_predictor", "predictor 3", steps(0.5, 3, 1, 0), "CLIP"),
        case("clip_class", "a class that is not there", steps(0.5, 0, 1, 1), "CLIP"),
        case("clip_classes", "nine classes", steps(0.5, 0, 9, 0), "CLIP"),
        case(
            "clip_list",
            "a list of times that is not there",
            clip_of(0, 1, "linear", [0, 1], &|block| block.raw(&[0, 0, 0]).planes(&[0, 0])),
            "CLIP",
        ),
        case("clip_interpolation", "an unknown interpolation", clip(0, "cubic", [0, 1]), "CLIP"),
        case("clip_times", "key times that do not rise", clip(0, "linear", [4, 4]), "INCONSISTENT"),
        case(
            "driver_matrix",
            "a driver map with a matrix of another size",
            lossless().with(driver_chunk).to_bytes(),
            "DRIVERS",
        ),
        case("mesh_face", "a face without its vertex", proxy(&mesh(1)), "MESH"),
        case("mesh_shape", "positions of width 1", proxy(&wrong_shape), "MESH"),
        case("mesh_tensors", "no safetensors file", proxy(b"not a file"), "TENSORS"),
        case("thumbnail", "a media type that is no text", lossless().with(thumbnail).to_bytes(), "THUMBNAIL"),
    ]
}
