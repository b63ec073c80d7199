//! Times of posing on the first CUDA device, by kernel.

use gav_kernels::cuda::{
    Device,
    rig::bench::{FlameAndSplats, skin_and_blendshapes},
};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let device = Device::open(0)?;
    let show = |what: &str, kernels: Vec<(&'static str, f64)>| {
        println!("{what}");
        for (name, ms) in kernels {
            println!("    {name}: {:.1} us", ms * 1e3);
        }
    };
    for poses in [1, 8, 32] {
        let scene = FlameAndSplats::new(&device, 60_000, poses)?;
        let both = || scene.forward().and_then(|()| scene.backward());
        both()?;
        device.synchronize()?;
        show(&format!("FLAME and 60,000 splats bound to it, {poses} poses"), device.profile(both)?);
    }
    show("skinning and 20 blendshapes, 60,000 splats, 32 poses", skin_and_blendshapes(&device, 60_000, 32)?);
    Ok(())
}
