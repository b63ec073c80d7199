//! H.264 in MP4. Encoder: OpenH264 (BSD), built from the sources in its crate; the boxes around it are ours (`mp4`).
//!
//! Colours are BT.709 in the narrow range, 4:2:0, and both the stream and the container say so, with the transfer function
//! of sRGB: players that guess by the size of the picture show wrong colours otherwise.

use std::ffi::c_int;

use openh264::{
    OpenH264API, Timestamp,
    encoder::{
        BitRate, Complexity, Encoder, EncoderConfig, FrameRate, FrameType, IntraFramePeriod, QpRange, RateControlMode,
        TransferCharacteristics, VuiConfig,
    },
    formats::YUVSlices,
};

use openh264_sys2::ENCODER_OPTION_TRACE_LEVEL;

use super::mp4::{Sample, Track};

/// Smallest and largest quantiser: around 20 is hard to tell from the original.
const QUANTISERS: [u8; 2] = [12, 22];
/// Pictures between two that can be jumped to.
const KEY_INTERVAL: u32 = 50;
/// Ticks of the time line for one frame: rates such as 23.976 stay exact to a millionth.
const TICKS_PER_FRAME: u32 = 1000;
/// Sides the encoder takes: longer and shorter one.
pub(crate) const MAX_SIDES: [u32; 2] = [3840, 2160];
/// Smallest side.
pub(crate) const MIN_SIDE: u32 = 16;

/// A film being made.
pub(crate) struct Film {
    encoder: Encoder,
    width: usize,
    height: usize,
    rate: f64,
    parameters: Vec<Vec<u8>>,
    samples: Vec<Sample>,
}

impl Film {
    /// For pictures of `width` × `height` pixels, `rate` a second. Odd sides gain a column or row that repeats the last.
    pub(crate) fn new([width, height]: [u32; 2], rate: f64) -> Result<Self, String> {
        let pixels = f64::from(width) * f64::from(height);
        // an upper bound only: the quantisers decide; half a byte for each pixel is more than they need
        let bits = (pixels * rate * 4.0).clamp(1e6, 2e8) as u32;
        let config = EncoderConfig::new()
            .bitrate(BitRate::from_bps(bits))
            .max_frame_rate(FrameRate::from_hz(rate as f32))
            .rate_control_mode(RateControlMode::Quality)
            .qp(QpRange::new(QUANTISERS[0], QUANTISERS[1]))
            .complexity(Complexity::High)
            .intra_frame_period(IntraFramePeriod::from_num_frames(KEY_INTERVAL))
            .scene_change_detect(false)
            .background_detection(false)
            .skip_frames(false)
            // several threads cut pictures into slices, and how many depends on the machine
            .num_threads(1)
            .vui(VuiConfig::bt709().transfer_characteristics(TransferCharacteristics::Srgb));
        let mut encoder = Encoder::with_api_config(OpenH264API::from_source(), config).map_err(|e| e.to_string())?;
        silence(&mut encoder);
        let (width, height) = (width as usize, height as usize);
        Ok(Self { encoder, width, height, rate, parameters: Vec::new(), samples: Vec::new() })
    }

    /// Adds a picture: 8-bit RGB, row-major.
    pub(crate) fn push(&mut self, rgb: &[u8]) -> Result<(), String> {
        let planes = Planes::from_rgb(rgb, self.width, self.height);
        let (width, height) = planes.size;
        let slices = YUVSlices::new((&planes.y, &planes.u, &planes.v), (width, height), (width, width / 2, width / 2));
        let milliseconds = (self.samples.len() as f64 * 1000.0 / self.rate) as u64;
        let stream =
            self.encoder.encode_at(&slices, Timestamp::from_millis(milliseconds)).map_err(|e| e.to_string())?;
        let key = matches!(stream.frame_type(), FrameType::IDR | FrameType::I);
        let bytes = stream.to_vec();
        let mut data = Vec::with_capacity(bytes.len());
        for unit in units(&bytes) {
            // sequence and picture parameters belong into the container's header
            match unit.first().map(|b| b & 31) {
                Some(7 | 8) if self.parameters.len() < 2 => self.parameters.push(unit.to_vec()),
                Some(7 | 8) | None => {}
                Some(_) => {
                    data.extend((unit.len() as u32).to_be_bytes());
                    data.extend_from_slice(unit);
                }
            }
        }
        if data.is_empty() {
            return Err(format!("the H.264 encoder left out picture {}", self.samples.len()));
        }
        self.samples.push(Sample { data, key });
        Ok(())
    }

    /// The bytes of the file.
    pub(crate) fn finish(self) -> Result<Vec<u8>, String> {
        let [sequence, picture]: [Vec<u8>; 2] =
            self.parameters.try_into().map_err(|_| "the H.264 encoder gave no parameters".to_owned())?;
        let ticks_per_second = (self.rate * f64::from(TICKS_PER_FRAME)).round() as u32;
        Track {
            size: [even(self.width) as u16, even(self.height) as u16],
            ticks_per_second,
            ticks_per_frame: TICKS_PER_FRAME,
            sequence,
            picture,
            samples: self.samples,
        }
        .file()
    }
}

/// Keeps the encoder from writing on standard error: its configuration does that only after it has begun.
fn silence(encoder: &mut Encoder) {
    let mut level: c_int = 0;
    // SAFETY: this option reads one int from the pointer before the call returns, and may be set at any time (`SetOption` in
    // welsEncoderExt.cpp). What it returns does not matter: an encoder that stays loud still encodes.
    unsafe {
        encoder.raw_api().set_option(ENCODER_OPTION_TRACE_LEVEL, (&raw mut level).cast());
    }
}

fn even(side: usize) -> usize {
    side.next_multiple_of(2)
}

/// The units of a byte stream, without the start codes between them (H.264, annex B).
fn units(stream: &[u8]) -> impl Iterator<Item = &[u8]> {
    let codes: Vec<usize> = (0..stream.len().saturating_sub(2)).filter(|&i| stream[i..i + 3] == [0, 0, 1]).collect();
    let ends: Vec<usize> = codes.iter().skip(1).copied().chain([stream.len()]).collect();
    codes.into_iter().zip(ends).map(|(start, end)| {
        let unit = &stream[start + 3..end];
        // zeros before the next start code belong to it
        let length = unit.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1);
        &unit[..length]
    })
}

/// Luma, and chroma of half its size.
struct Planes {
    size: (usize, usize),
    y: Vec<u8>,
    u: Vec<u8>,
    v: Vec<u8>,
}

/// Weights of red and blue in the luma of BT.709.
const RED: f32 = 0.2126;
const BLUE: f32 = 0.0722;

impl Planes {
    /// BT.709, narrow range: luma 16 to 235, chroma 16 to 240; chroma is the mean of 2 × 2 pixels.
    fn from_rgb(rgb: &[u8], width: usize, height: usize) -> Self {
        let size = (even(width), even(height));
        let at = |x: usize, y: usize| -> [f32; 3] {
            let index = (y.min(height - 1) * width + x.min(width - 1)) * 3;
            std::array::from_fn(|c| f32::from(rgb[index + c]) / 255.0)
        };
        let luma = |[r, g, b]: [f32; 3]| RED * r + (1.0 - RED - BLUE) * g + BLUE * b;
        let mut y = Vec::with_capacity(size.0 * size.1);
        for row in 0..size.1 {
            y.extend((0..size.0).map(|column| (16.5 + 219.0 * luma(at(column, row))) as u8));
        }
        let (mut u, mut v) = (Vec::with_capacity(y.len() / 4), Vec::with_capacity(y.len() / 4));
        for row in (0..size.1).step_by(2) {
            for column in (0..size.0).step_by(2) {
                let four = [at(column, row), at(column + 1, row), at(column, row + 1), at(column + 1, row + 1)];
                let mean: [f32; 3] = std::array::from_fn(|c| four.iter().map(|p| p[c]).sum::<f32>() / 4.0);
                let light = luma(mean);
                u.push((128.5 + 224.0 * (mean[2] - light) / (2.0 * (1.0 - BLUE))) as u8);
                v.push((128.5 + 224.0 * (mean[0] - light) / (2.0 * (1.0 - RED))) as u8);
            }
        }
        Self { size, y, u, v }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_hold_the_published_values_of_pure_colours() {
        // BT.709-6, narrow range: white 235 128 128, red 63 102 240, blue 32 240 118
        for (color, expected) in
            [([255, 255, 255], [235, 128, 128]), ([255, 0, 0], [63, 102, 240]), ([0, 0, 255], [32, 240, 118])]
        {
            let planes = Planes::from_rgb(&color.repeat(9), 3, 3);
            assert_eq!(planes.size, (4, 4));
            assert_eq!([planes.y[15], planes.u[3], planes.v[3]], expected);
        }
    }

    #[test]
    fn streams_are_cut_at_start_codes() {
        let stream = [0, 0, 0, 1, 7, 9, 0, 0, 1, 8, 0, 0, 0, 1, 5, 0, 3];
        assert_eq!(units(&stream).collect::<Vec<_>>(), [&[7, 9][..], &[8], &[5, 0, 3]]);
    }
}
