//! Hinges that keep splats near their triangle and small (GaussianAvatars, section 3.3; STGA the same over the trained splats).

/// Which hinge, how strong.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Hinge {
    /// Weight of the mean.
    pub weight: f32,
    /// What is free.
    pub threshold: f32,
    /// Measure metres instead of local units.
    pub metric: bool,
}

/// Weighted mean over the splats of `rows` of relu(|x| − t), or in metres of |relu(k x − t)| by component. Adds its gradient; that by the
/// size k of the triangle is left out.
pub fn xyz(
    hinge: &Hinge,
    means: &[[f32; 3]],
    scales: impl Fn(usize) -> f32,
    rows: &[usize],
    gradient: &mut [[f32; 3]],
) -> f64 {
    let share = f64::from(hinge.weight) / rows.len().max(1) as f64;
    if share == 0.0 {
        return 0.0;
    }
    let threshold = f64::from(hinge.threshold);
    let mut sum = 0.0;
    for row in rows {
        let x = means[*row].map(f64::from);
        let factor = if hinge.metric { f64::from(scales(*row)) } else { 1.0 };
        let (over, slope) = if hinge.metric {
            let parts = x.map(|v| (v * factor - threshold).max(0.0));
            let norm = length(parts);
            (norm, parts.map(|v| v * factor / norm))
        } else {
            let norm = length(x);
            ((norm - threshold).max(0.0), x.map(|v| v / norm))
        };
        // at zero the slope of a norm counts as zero; what is not finite has to go on being seen
        if over > 0.0 || over.is_nan() {
            (0..3).for_each(|k| gradient[*row][k] += (share * slope[k]) as f32);
        }
        sum += over;
    }
    share * sum
}

/// Weighted mean over the splats of `rows` of |relu(e^s − t)|, in local units or metres. Adds its gradient by s.
pub fn scale(
    hinge: &Hinge,
    log_scales: &[[f32; 3]],
    scales: impl Fn(usize) -> f32,
    rows: &[usize],
    gradient: &mut [[f32; 3]],
) -> f64 {
    let share = f64::from(hinge.weight) / rows.len().max(1) as f64;
    if share == 0.0 {
        return 0.0;
    }
    let mut sum = 0.0;
    for row in rows {
        let factor = if hinge.metric { f64::from(scales(*row)) } else { 1.0 };
        let sizes = log_scales[*row].map(|s| f64::from(s).exp() * factor);
        let parts = sizes.map(|v| (v - f64::from(hinge.threshold)).max(0.0));
        let norm = length(parts);
        if norm > 0.0 || norm.is_nan() {
            (0..3).for_each(|k| gradient[*row][k] += (share * parts[k] / norm * sizes[k]) as f32);
        }
        sum += norm;
    }
    share * sum
}

fn length(v: [f64; 3]) -> f64 {
    v.iter().map(|v| v * v).sum::<f64>().sqrt()
}
