//! Draws of earlier versions: what a seed gives stays what it was.

use super::*;

fn rows() -> [(usize, Vec<f32>, u64); 4] {
    let row = |len: usize, width: f32, step: f32, seed: u64| {
        let mut number = numbers(seed);
        let mut logit = || {
            let sum = number() + number() + number() + number() - 2.0;
            (sum * width / step).trunc() * step
        };
        (len, (0..len).map(|_| logit()).collect(), seed)
    };
    [
        row(32000, 12.0, 1e-4, 1),
        row(32000, 3.0, 0.125, 2),
        row(777, 30.0, 1e-3, 3),
        row(32000, 0.05, 1e-5, 4),
    ]
}

#[test]
fn draws_are_those_recorded_before_there_were_filters() {
    let warm = || SamplerOptions { temperature: 0.8, ..Default::default() };
    let greedy = SamplerOptions::default;
    let recorded: [(SamplerOptions, u64, [u32; 8]); 8] = [
        (greedy(), 0x9a22_5c43_2ac1_25ed, [29083, 29083, 13367, 13367, 771, 771, 10322, 10322]),
        (
            SamplerOptions { repeat_penalty: 1.3, ..greedy() },
            0x4c2d_d5e5_a2e7_8285,
            [13875, 13875, 18262, 18262, 320, 320, 26441, 26441],
        ),
        (warm(), 0x4247_ddf7_2d37_cb05, [18047, 13875, 1145, 22992, 320, 771, 21355, 21612]),
        (
            SamplerOptions { top_k: 40, ..warm() },
            0x4758_a2af_2028_efc3,
            [18947, 13875, 1469, 22012, 320, 771, 24960, 26241],
        ),
        (
            SamplerOptions { top_p: 0.9, ..warm() },
            0xf271_6451_ccb5_3d99,
            [18745, 13875, 1145, 22758, 320, 771, 21378, 21637],
        ),
        (
            SamplerOptions { min_p: 0.05, ..warm() },
            0x6568_6bf5_87c9_04d7,
            [21583, 17076, 1225, 22630, 320, 771, 21355, 21612],
        ),
        (
            SamplerOptions {
                temperature: 1.3,
                top_k: 500,
                top_p: 0.95,
                min_p: 0.02,
                repeat_penalty: 1.1,
                ..warm()
            },
            0x3443_3c11_1f85_9eef,
            [13731, 11599, 1225, 22012, 320, 771, 20709, 21159],
        ),
        (
            SamplerOptions { temperature: 2.5, top_p: 0.5, repeat_penalty: 0.7, ..warm() },
            0x3b2e_ec69_9deb_5d5a,
            [28858, 25339, 1134, 22745, 771, 771, 21400, 21656],
        ),
    ];
    let rows = rows();
    for (options, expected, first) in recorded {
        let mut hash = 0xcbf2_9ce4_8422_2325u64;
        let mut some = Vec::new();
        for (len, logits, seed) in &rows {
            let mut so_far: Vec<u32> = (0..300).map(|i| i * 7919 % *len as u32).collect();
            so_far.extend([29083, 13367, 771, 10322]);
            let mut sampler = sampler(SamplerOptions { seed: seed << 40 | 5, ..options.clone() });
            for position in 0..200u64 {
                let id = sample(&mut sampler, logits, &so_far, position * position).unwrap();
                if position < 2 {
                    some.push(id);
                }
                hash = (hash ^ u64::from(id)).wrapping_mul(0x100_0000_01b3);
            }
        }
        assert_eq!(some, first, "{options:?}");
        assert_eq!(hash, expected, "{options:?}");
    }
}
