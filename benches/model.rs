//! Whole models: decoding, prompts, loading, tokenising. The demo model, and one of 20 M random weights, 64 tokens to a
//! prompt; the default threads. At the published sizes `mmfree-infer bench` measures the first two.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use mmfree::packing::Packing;
use mmfree::{Model, ModelFile, Options, Step, Tokenizer, Want};
use mmfree_convert::{Pack, Size, synthesize};

const PROMPT: usize = 64;

struct Files {
    _folder: tempfile::TempDir,
    demo: std::path::PathBuf,
    random: [(Packing, std::path::PathBuf); 2],
}

impl Files {
    fn new() -> Files {
        let folder = tempfile::tempdir().expect("a folder for temporary files");
        let size = Size { hidden: 512, layers: 4, intermediate: None, vocab: 4096 };
        let random = [Packing::T5, Packing::I2].map(|packing| {
            let path = folder.path().join(format!("random-{}.mmfree", packing.name()));
            let options =
                mmfree_convert::Options { pack: Pack::Only(packing), ..Default::default() };
            synthesize(size, 1, &path, &options).expect("a small model");
            (packing, path)
        });
        let demo = concat!(env!("CARGO_MANIFEST_DIR"), "/models/demo.mmfree").into();
        Files { _folder: folder, demo, random }
    }

    fn models(&self) -> Vec<(String, Arc<Model>)> {
        let model = |path| {
            Model::new(ModelFile::open(path).expect("a model file"), &Options::default())
                .expect("a model")
        };
        let random = self.random.iter();
        let random =
            random.map(|(packing, path)| (format!("random {}", packing.name()), model(path)));
        [("demo".to_owned(), model(&self.demo))].into_iter().chain(random).collect()
    }
}

fn forward(c: &mut Criterion) {
    let files = Files::new();
    let mut decode = c.benchmark_group("decode");
    for (name, model) in files.models() {
        for batch in [1, 8] {
            decode.throughput(Throughput::Elements(batch as u64));
            let mut states: Vec<_> = (0..batch).map(|_| model.new_state()).collect();
            let mut logits = vec![Vec::new(); batch];
            let mut id = 0;
            decode.bench_function(format!("{name}, {batch} sequences"), |x| {
                x.iter(|| {
                    id = (id + 1) % model.config().vocab_size as u32;
                    let tokens = [id];
                    let sequences = states.iter_mut().zip(&mut logits);
                    let mut steps: Vec<_> = sequences
                        .map(|(state, logits)| {
                            let want = Want::Last;
                            Step { state, tokens: &tokens, want, logits, states: None }
                        })
                        .collect();
                    model.forward(&mut steps).expect("finite values");
                });
            });
        }
    }
    decode.finish();
    let mut prefill = c.benchmark_group("prefill");
    prefill.throughput(Throughput::Elements(PROMPT as u64));
    for (name, model) in files.models() {
        let vocabulary = model.config().vocab_size;
        let tokens: Vec<u32> = (0..PROMPT).map(|i| (i * 37 % vocabulary) as u32).collect();
        let mut logits = Vec::new();
        prefill.bench_function(name, |x| {
            x.iter_batched_ref(
                || model.new_state(),
                |state| {
                    let logits = &mut logits;
                    let step =
                        Step { state, tokens: &tokens, want: Want::Last, logits, states: None };
                    model.forward(&mut [step]).expect("finite values");
                },
                BatchSize::SmallInput,
            );
        });
    }
    prefill.finish();
}

fn load(c: &mut Criterion) {
    let files = Files::new();
    let mut group = c.benchmark_group("load");
    group.bench_function("demo, header", |x| {
        x.iter(|| ModelFile::open(&files.demo).expect("a file"))
    });
    group.bench_function("random t5, header", |x| {
        x.iter(|| ModelFile::open(&files.random[0].1).expect("a file"));
    });
    group.bench_function("demo, ready to run", |x| {
        x.iter(|| {
            let file = ModelFile::open(&files.demo).expect("a file");
            Model::new(file, &Options::default()).expect("a model")
        });
    });
    group.bench_function("demo, tokenizer", |x| {
        let file = ModelFile::open(&files.demo).expect("a file");
        x.iter(|| Tokenizer::from_file(&file).expect("a tokenizer"));
    });
    group.finish();
}

fn tokenise(c: &mut Criterion) {
    let files = Files::new();
    let file = ModelFile::open(&files.demo).expect("a file");
    let tokenizer = Tokenizer::from_file(&file).expect("a tokenizer").expect("the demo has one");
    let text =
        "Once upon a time there was a king who had three daughters, and the youngest was so fair \
                that the sun himself wondered whenever he shone upon her face. "
            .repeat(16);
    let ids = tokenizer.encode_prompt(&text).expect("ids");
    let mut group = c.benchmark_group("tokenise");
    group.throughput(Throughput::Bytes(text.len() as u64));
    group.bench_function("text to ids", |x| {
        x.iter(|| tokenizer.encode_prompt(black_box(&text)).expect("ids"));
    });
    group.bench_function("ids to text, one by one", |x| {
        x.iter(|| {
            let mut stream = tokenizer.stream_after(&ids[..1]).expect("a stream");
            ids[1..].iter().map(|&id| stream.push(id).expect("a piece").len()).sum::<usize>()
        });
    });
    group.finish();
}

criterion_group!(benches, forward, load, tokenise);
criterion_main!(benches);
