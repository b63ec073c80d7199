//! Prints the table of `gav_kernels::cuda::bench`: `cuda_bench [FILTER [REPEATS]]`.

use gav_kernels::cuda::{CudaError, Device, bench};

fn main() -> Result<(), CudaError> {
    let mut arguments = std::env::args().skip(1);
    let filter = arguments.next().unwrap_or_default();
    let repeats = arguments.next().and_then(|n| n.parse().ok()).unwrap_or(50);
    let device = Device::open(0)?;
    println!("{}", device.name()?);
    for row in bench::table(&device, repeats, &filter)? {
        let [low, high] = row.spread_ms;
        let [must, goal] = row.targets_ms;
        println!(
            "{:52} {:8.4} ms ({low:.4} to {high:.4})  must {must}  goal {goal}  {} {:?}",
            row.case, row.ms, row.rival, row.rival_ms
        );
        for (name, ms) in row.kernels {
            println!("    {name:20} {:8.2} us", ms * 1e3);
        }
    }
    Ok(())
}
