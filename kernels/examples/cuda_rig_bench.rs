//! Times of posing on the first CUDA device.

use gav_kernels::cuda::{
    Device,
    rig::bench::{flame_and_binding, skin_and_blendshapes},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::open(0)?;
    for poses in [1, 8, 32] {
        let times = flame_and_binding(&device, 60_000, poses)?;
        println!("{poses} poses: forward {:.2} us a pose, with backward {:.2} us", times.forward_us, times.both_us);
        for (name, ms) in &times.kernels {
            println!("    {name}: {:.1} us", ms * 1e3);
        }
    }
    println!("skinning and 20 blendshapes, 60,000 splats, 32 poses");
    for (name, ms) in skin_and_blendshapes(&device, 60_000, 32)? {
        println!("    {name}: {:.1} us", ms * 1e3);
    }
    Ok(())
}
