//! Other people's parsers read what we write.

use gav_formats::{WriteOptions, format_by_name, synthetic, to_bytes};

#[test]
fn the_gltf_crate_reads_our_glb_container() {
    let avatar = synthetic::shell(300, 1, 4);
    let bytes = to_bytes(&avatar, format_by_name("gltf").unwrap(), &WriteOptions::default()).unwrap();
    let glb = gltf::binary::Glb::from_slice(&bytes).expect("a valid GLB");
    let document: serde_json::Value = serde_json::from_slice(&glb.json).expect("JSON");
    let binary = glb.bin.expect("a binary chunk");
    let declared = document["buffers"][0]["byteLength"].as_u64().expect("one buffer");
    assert!(declared <= binary.len() as u64 && binary.len() as u64 - declared < 4);
    assert_eq!(document["extensionsUsed"][0], "KHR_gaussian_splatting");
    assert_eq!(document["accessors"][0]["count"], 300);
}
