//! The boxes of an MP4 file (ISO/IEC 14496-12 and -15) with one H.264 track, its index in front of the data, so that players
//! can begin before they have all of it.

/// One picture, as units with lengths in front.
pub(super) struct Sample {
    pub data: Vec<u8>,
    /// Can decoding begin here?
    pub key: bool,
}

/// A film in memory.
pub(super) struct Track {
    /// Width and height in pixels.
    pub size: [u16; 2],
    pub ticks_per_second: u32,
    pub ticks_per_frame: u32,
    /// Sequence parameter set.
    pub sequence: Vec<u8>,
    /// Picture parameter set.
    pub picture: Vec<u8>,
    pub samples: Vec<Sample>,
}

/// Colours are BT.709, the transfer function is sRGB's, the matrix BT.709's (ISO/IEC 23091-2: 1, 13, 1), narrow range.
const COLOR: [u8; 11] = [b'n', b'c', b'l', b'x', 0, 1, 0, 13, 0, 1, 0];
/// Rows of the matrix that leaves pictures as they are, 16.16 fixed point, the last column 2.30.
const IDENTITY: [u32; 9] = [0x1_0000, 0, 0, 0, 0x1_0000, 0, 0, 0, 0x4000_0000];
/// Language `und`, three letters of five bits.
const UNDETERMINED: u16 = 0x55C4;

impl Track {
    /// The bytes of the file.
    pub(super) fn file(&self) -> Result<Vec<u8>, String> {
        let kind = boxed(b"ftyp", &[b"isom", &be(0x200), b"isomiso2avc1mp41"]);
        // the index tells where the data begins, and its length does not depend on that
        let length = kind.len() + self.index(0).len() + 8;
        let data: usize = self.samples.iter().map(|s| s.data.len()).sum();
        let end = u32::try_from(length + data).map_err(|_| "MP4: the film is larger than 4 GB".to_owned())?;
        let mut bytes = Vec::with_capacity(end as usize);
        bytes.extend(kind);
        bytes.extend(self.index(length as u32));
        bytes.extend(be(data as u32 + 8));
        bytes.extend(b"mdat");
        self.samples.iter().for_each(|sample| bytes.extend_from_slice(&sample.data));
        Ok(bytes)
    }

    /// The box `moov`; the data begins at the byte `offset`.
    fn index(&self, offset: u32) -> Vec<u8> {
        let count = self.samples.len() as u32;
        let duration = count * self.ticks_per_frame;
        let matrix: Vec<u8> = IDENTITY.iter().flat_map(|v| v.to_be_bytes()).collect();
        let [width, height] = self.size;
        let movie = full(
            b"mvhd",
            0,
            0,
            &[
                &[0; 8],
                &be(self.ticks_per_second),
                &be(duration),
                &be(0x1_0000), // speed 1
                &[1, 0],       // volume 1
                &[0; 10],
                &matrix,
                &[0; 24],
                &be(2), // the next track's number
            ],
        );
        // flags: enabled, in the film, in its preview
        let header = full(
            b"tkhd",
            0,
            7,
            &[
                &[0; 8],
                &be(1),
                &[0; 4],
                &be(duration),
                &[0; 16],
                &matrix,
                &be(u32::from(width) << 16),
                &be(u32::from(height) << 16),
            ],
        );
        let media = full(
            b"mdhd",
            0,
            0,
            &[&[0; 8], &be(self.ticks_per_second), &be(duration), &UNDETERMINED.to_be_bytes(), &[0; 2]],
        );
        let handler = full(b"hdlr", 0, 0, &[&[0; 4], b"vide", &[0; 12], b"gav\0"]);
        // flag 1: the data is in this file
        let place = full(b"dref", 0, 0, &[&be(1), &full(b"url ", 0, 1, &[])]);
        let sizes: Vec<u8> = self.samples.iter().flat_map(|s| be(s.data.len() as u32)).collect();
        let keys: Vec<u8> = (1u32..).zip(&self.samples).filter(|(_, s)| s.key).flat_map(|(n, _)| be(n)).collect();
        let table = boxed(
            b"stbl",
            &[
                &full(b"stsd", 0, 0, &[&be(1), &self.sample_entry()]),
                &full(b"stts", 0, 0, &[&be(1), &be(count), &be(self.ticks_per_frame)]),
                &full(b"stss", 0, 0, &[&be(keys.len() as u32 / 4), &keys]),
                // one chunk holds all samples
                &full(b"stsc", 0, 0, &[&be(1), &be(1), &be(count), &be(1)]),
                &full(b"stsz", 0, 0, &[&be(0), &be(count), &sizes]),
                &full(b"stco", 0, 0, &[&be(1), &be(offset)]),
            ],
        );
        let information = boxed(b"minf", &[&full(b"vmhd", 0, 1, &[&[0; 8]]), &boxed(b"dinf", &[&place]), &table]);
        let media = boxed(b"mdia", &[&media, &handler, &information]);
        boxed(b"moov", &[&movie, &boxed(b"trak", &[&header, &media])])
    }

    /// The box `avc1`: what the stream is, for the decoder.
    fn sample_entry(&self) -> Vec<u8> {
        let set = |data: &[u8]| [&(data.len() as u16).to_be_bytes(), data].concat();
        // version, profile, constraints and level; lengths of 4 bytes; one set of each kind
        let configuration = boxed(
            b"avcC",
            &[&[1], &self.sequence[1..4], &[0xFF, 0xE1], &set(&self.sequence), &[1], &set(&self.picture)],
        );
        let [width, height] = self.size.map(u16::to_be_bytes);
        boxed(
            b"avc1",
            &[
                &[0, 0, 0, 0, 0, 0, 0, 1],
                &[0; 16],
                &width,
                &height,
                &be(72 << 16), // pixels an inch, both ways
                &be(72 << 16),
                &[0; 4],
                &[0, 1], // frames in a sample
                &[0; 32],
                &[0, 24, 0xFF, 0xFF], // bits a pixel, no colour table
                &configuration,
                &boxed(b"colr", &[&COLOR]),
            ],
        )
    }
}

fn be(value: u32) -> [u8; 4] {
    value.to_be_bytes()
}

fn boxed(kind: &[u8; 4], parts: &[&[u8]]) -> Vec<u8> {
    let length = 8 + parts.iter().map(|p| p.len()).sum::<usize>();
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(be(length as u32));
    bytes.extend(kind);
    parts.iter().for_each(|part| bytes.extend_from_slice(part));
    bytes
}

fn full(kind: &[u8; 4], version: u8, flags: u32, parts: &[&[u8]]) -> Vec<u8> {
    let head = be(u32::from(version) << 24 | flags);
    let all: Vec<&[u8]> = [&head[..]].into_iter().chain(parts.iter().copied()).collect();
    boxed(kind, &all)
}
