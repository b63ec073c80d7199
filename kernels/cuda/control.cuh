// What the kernels of a training step tell each other, and in the end the host. The same as the words in
// src/cuda/train/control.rs.
struct Control {
    // of this step; `judge` leaves zeros for the next
    u32 bad, visible;      // a gradient is not finite; rows whose footprint meets the picture
    double means, scales;  // weighted sums of the hinges
    u32 skip, pad;         // the verdict on the last step
    // of all steps
    u32 step, bad_steps, cut_steps, counted;
    double sums[4];        // L1, SSIM, hinges of means and of scales, over `counted` steps
    u64 entries;           // most that the tile lists needed
};
static_assert(sizeof(Control) == 88, "the words in control.rs");
