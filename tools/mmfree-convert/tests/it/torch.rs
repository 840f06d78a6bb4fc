//! Files as `torch.save` writes them, and as it does not: for tests, and for seeds of the fuzzers.

/// Names and bytes of the entries of a zip file.
pub type Entries = Vec<(String, Vec<u8>)>;

/// How a zip file is to be written.
#[derive(Clone, Copy, Default)]
pub struct Zip {
    /// Every size and offset in zip64 fields, as in an archive above 4 GiB.
    pub wide: bool,
    pub method: u16,
    pub flags: u16,
    pub comment: &'static [u8],
    /// With checksums; else 0, as torch writes it when told to compute none.
    pub sums: bool,
}

impl Zip {
    pub fn write(self, entries: &Entries) -> Vec<u8> {
        let (mut out, mut directory) = (Vec::new(), Vec::new());
        let wide = |value: usize| if self.wide { u32::MAX } else { value as u32 }.to_le_bytes();
        for (name, bytes) in entries {
            let offset = out.len();
            let mut extra = Vec::new();
            if self.wide {
                // Another field before it, which is passed over.
                extra.extend([0x55, 0x54, 1, 0, 0, 1, 0, 24, 0]);
                for value in [bytes.len(), bytes.len(), offset] {
                    extra.extend((value as u64).to_le_bytes());
                }
            }
            let mut middle = [20u16, self.flags, self.method, 0, 0].map(u16::to_le_bytes).concat();
            let crc = if self.sums { crc32fast::hash(bytes) } else { 0 };
            middle.extend(crc.to_le_bytes());
            middle.extend([wide(bytes.len()), wide(bytes.len())].concat());
            middle.extend((name.len() as u16).to_le_bytes());
            out.extend([b"PK\x03\x04", &middle[..], &[5, 0], name.as_bytes(), b"extra"].concat());
            out.extend(bytes);
            middle.extend((extra.len() as u16).to_le_bytes());
            middle.extend([0; 10]);
            middle.extend(wide(offset));
            directory.extend([b"PK\x01\x02\x2d\0", &middle[..], name.as_bytes(), &extra].concat());
        }
        let start = out.len();
        out.extend(&directory);
        if self.wide {
            let end = out.len() as u64;
            out.extend(b"PK\x06\x06");
            out.extend(44u64.to_le_bytes());
            out.extend([45, 0, 45, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            for value in [entries.len(), entries.len(), directory.len(), start] {
                out.extend((value as u64).to_le_bytes());
            }
            out.extend([b"PK\x06\x07\0\0\0\0", &end.to_le_bytes()[..], &[1, 0, 0, 0]].concat());
        }
        let count = if self.wide { u16::MAX } else { entries.len() as u16 }.to_le_bytes();
        out.extend([b"PK\x05\x06\0\0\0\0", &count[..], &count].concat());
        out.extend([wide(directory.len()), wide(start)].concat());
        out.extend((self.comment.len() as u16).to_le_bytes());
        out.extend(self.comment);
        out
    }
}

pub fn text(out: &mut Vec<u8>, text: &str) {
    out.push(b'X');
    out.extend((text.len() as u32).to_le_bytes());
    out.extend(text.as_bytes());
}

fn sizes(out: &mut Vec<u8>, values: &[usize]) {
    out.push(b'(');
    for &value in values {
        out.push(b'J');
        out.extend((value as u32).to_le_bytes());
    }
    out.push(b't');
}

/// A tensor, as torch writes it but for the memo.
pub struct Pickled<'a> {
    pub storage: &'a str,
    pub key: &'a str,
    pub len: usize,
    pub offset: usize,
    pub shape: &'a [usize],
    pub strides: &'a [usize],
}

impl Pickled<'_> {
    pub fn write(&self, out: &mut Vec<u8>) {
        out.extend(b"ctorch._utils\n_rebuild_tensor_v2\n((");
        text(out, "storage");
        out.extend([b"ctorch\n", self.storage.as_bytes(), b"\n"].concat());
        text(out, self.key);
        text(out, "cpu");
        out.push(b'J');
        out.extend((self.len as u32).to_le_bytes());
        out.extend(b"tQJ");
        out.extend((self.offset as u32).to_le_bytes());
        sizes(out, self.shape);
        sizes(out, self.strides);
        out.extend(b"\x89ccollections\nOrderedDict\n)RtR");
    }
}

/// A pickle of one tensor called `x`.
pub fn one(tensor: &Pickled<'_>) -> Vec<u8> {
    let mut out = b"\x80\x02}".to_vec();
    text(&mut out, "x");
    tensor.write(&mut out);
    out.extend(b"s.");
    out
}

pub const PLAIN: Pickled<'_> = Pickled {
    storage: "FloatStorage",
    key: "0",
    len: 6,
    offset: 0,
    shape: &[2, 3],
    strides: &[3, 1],
};

pub fn entries(pickle: Vec<u8>) -> Entries {
    vec![
        ("archive/data.pkl".into(), pickle),
        ("archive/byteorder".into(), b"little".to_vec()),
        ("archive/data/0".into(), vec![0; 24]),
    ]
}
