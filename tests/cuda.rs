//! A GPU gives the CPU's bits; without one, errors are clear. The tests that need a GPU run where `MMFREE_TEST_DEVICE` names one,
//! and then all tests of the forward pass, of sessions and of the goldens run on it too.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mmfree::format::Config;
use mmfree::packing::Packing;
use mmfree::{Device, Error, Model, ModelFile, Options, State, Step, Want};

use crate::synthetic::{self, Rng};
use crate::util::{TempDir, device};

fn model(config: &Config, packing: Packing, device: Device) -> Arc<Model> {
    let bytes = synthetic::model(config, packing, 11);
    let options = Options { device, ..Options::default() };
    Model::new(ModelFile::from_bytes("synthetic", &bytes).unwrap(), &options).unwrap()
}

fn tokens(config: &Config, len: usize, seed: u64) -> Vec<u32> {
    let mut rng = Rng(seed);
    (0..len).map(|_| rng.below(config.vocab_size) as u32).collect()
}

fn feed(model: &Model, state: &mut State, ids: &[u32], want: Want) -> Vec<u32> {
    let mut logits = Vec::new();
    model
        .forward(&mut [Step { state, tokens: ids, want, logits: &mut logits, states: None }])
        .unwrap();
    logits.iter().map(|v| v.to_bits()).collect()
}

/// The kinds of the forward tests, and shapes that fill tiles, leave them ragged, or give a block several of them.
fn kinds() -> Vec<(String, Config)> {
    let mut kinds: Vec<_> =
        synthetic::kinds().into_iter().map(|(name, config)| (name.to_owned(), config)).collect();
    for (hidden, inner, vocab) in
        [(128, 256, 128), (200, 1000, 3000), (512, 1536, 9001), (1024, 2816, 515)]
    {
        let config = Config {
            hidden_size: hidden,
            state_size: hidden,
            intermediate_size: inner,
            vocab_size: vocab,
            num_layers: 2,
            ..synthetic::config()
        };
        kinds.push((format!("hidden {hidden}"), config));
    }
    kinds
}

#[test]
fn deep_models_give_the_cpus_bits() {
    if device() == Device::Cpu {
        return;
    }
    let config = Config {
        hidden_size: 64,
        state_size: 64,
        intermediate_size: 136,
        num_layers: 12,
        ..synthetic::config()
    };
    let (cpu, gpu) =
        (model(&config, Packing::T5, Device::Cpu), model(&config, Packing::T5, device()));
    let ids = tokens(&config, 400, 8);
    for chunk in [400, 20, 1] {
        let (mut here, mut there) = (cpu.new_state(), gpu.new_state());
        for (n, ids) in ids.chunks(chunk).enumerate() {
            let expected = feed(&cpu, &mut here, ids, Want::All);
            let got = feed(&gpu, &mut there, ids, Want::All);
            assert!(got == expected, "chunk {n} of {chunk}");
        }
        assert!(here == there, "chunks of {chunk}");
    }
}

#[test]
fn a_gpu_gives_the_cpus_bits() {
    if device() == Device::Cpu {
        return;
    }
    for (kind, config) in kinds() {
        for packing in Packing::ALL {
            let cpu = model(&config, packing, Device::Cpu);
            let gpu = model(&config, packing, device());
            let ids = tokens(&config, 90, 3);
            // By tensor cores, by dot products, token by token.
            for chunk in [90, 13, 1] {
                let (mut here, mut there) = (cpu.new_state(), gpu.new_state());
                for (n, ids) in ids.chunks(chunk).enumerate() {
                    let expected = feed(&cpu, &mut here, ids, Want::All);
                    let got = feed(&gpu, &mut there, ids, Want::All);
                    let what = format!("{kind}, {}, chunk {n} of {chunk}", packing.name());
                    let first = got.iter().zip(&expected).position(|(a, b)| a != b);
                    assert_eq!(first, None, "{what}: logits differ");
                    assert_eq!(got.len(), expected.len(), "{what}");
                    assert!(here == there, "{what}: states differ");
                }
            }
        }
    }
}

/// Decode with a ring of weights that goes round many times a token, more units of rows than blocks, runs of several batches, and
/// rows of which a thread holds several words.
#[test]
fn decode_gives_the_cpus_bits_whatever_its_blocks_and_ring() {
    if device() == Device::Cpu {
        return;
    }
    // 320 threads and 256 that compute, with others that help, above and below 1024 columns.
    let shapes =
        [(1100, 1100, 3000, 4), (2100, 2300, 5003, 2), (1400, 1400, 2900, 3), (500, 250, 1400, 5)];
    for (hidden, width, inner, layers) in shapes {
        let config = Config {
            hidden_size: hidden,
            state_size: width,
            intermediate_size: inner,
            vocab_size: 3001,
            num_layers: layers,
            lower_bounds: hidden == width,
            ..synthetic::config()
        };
        let cpu = model(&config, Packing::I2, Device::Cpu);
        let ids = tokens(&config, 23, 4);
        let mut here = cpu.new_state();
        let expected = feed(&cpu, &mut here, &ids, Want::All);
        // As the GPU has them; then few blocks, rings with pieces of one tile, of several, and a rest.
        for (blocks, ring, notes) in
            [(usize::MAX, 512, 64), (3, 8, 64), (7, 61, 1), (40, 16, 5), (100, 23, 2)]
        {
            let gpu = mmfree::cuda::with_limits(blocks, ring, notes, || {
                model(&config, Packing::I2, device())
            });
            let mut there = gpu.new_state();
            let mut got = Vec::new();
            for &id in &ids[..11] {
                got.extend(feed(&gpu, &mut there, &[id], Want::All));
            }
            got.extend(feed(&gpu, &mut there, &ids[11..], Want::All));
            let what = format!("hidden {hidden}, {blocks} blocks, ring of {ring}, {notes} notes");
            let first = got.iter().zip(&expected).position(|(a, b)| a != b);
            assert_eq!(first, None, "{what}: logits differ");
            assert!(here == there && got.len() == expected.len(), "{what}");
        }
    }
}

/// A token that follows soon on another of its sequence finds its launch waiting. It does not matter what comes between them, how
/// late it is, nor when the launch gives up.
#[test]
fn launches_ahead_of_their_tokens_change_nothing() {
    if device() == Device::Cpu {
        return;
    }
    let config = Config { hidden_size: 300, state_size: 300, ..synthetic::config() };
    let (cpu, gpu) =
        (model(&config, Packing::I2, Device::Cpu), model(&config, Packing::I2, device()));
    let ids = tokens(&config, 1200, 5);
    let mut here = cpu.new_state();
    let expected = feed(&cpu, &mut here, &ids, Want::All);
    let expected: Vec<&[u32]> = expected.chunks(config.vocab_size).collect();
    let other_expected = feed(&cpu, &mut cpu.new_state(), &ids[7..9], Want::All);

    let other_model = model(&config, Packing::I2, device());
    let folder = TempDir::new();
    let saved = folder.path("state");
    let mut rng = Rng(6);
    let mut there = gpu.new_state();
    let mut n = 0;
    while n < ids.len() {
        // Some tokens in a row, then something in between.
        for _ in 0..1 + rng.below(5) {
            if n < ids.len() {
                assert!(
                    feed(&gpu, &mut there, &ids[n..=n], Want::Last) == expected[n],
                    "token {n}"
                );
                n += 1;
            }
        }
        let between = rng.below(9);
        match between {
            // About as long as a launch waits, less or more.
            0..3 => {
                let wait = Duration::from_micros(rng.below(500) as u64);
                let start = Instant::now();
                while start.elapsed() < wait {
                    std::hint::spin_loop();
                }
            }
            3 => {
                let mut other = gpu.new_state();
                let got = feed(&gpu, &mut other, &ids[7..9], Want::All);
                assert!(got == other_expected, "another sequence at {n}");
            }
            // A clone goes on in the sequence's stead, which may leave its place to it.
            4 => {
                let clone = there.clone();
                if rng.below(2) == 0 {
                    feed(&gpu, &mut there, &ids[..1], Want::Last);
                }
                there = clone;
            }
            // To the host and back, perhaps to the same place.
            5 => {
                there.save(&saved).unwrap();
                if rng.below(2) == 0 {
                    there = gpu.load_state(&saved).unwrap();
                }
            }
            6 if n < ids.len() => {
                feed(&gpu, &mut there, &ids[n..=n], Want::None);
                n += 1;
            }
            7 if n + 20 <= ids.len() => {
                let got = feed(&gpu, &mut there, &ids[n..n + 20], Want::Last);
                n += 20;
                assert!(got == expected[n - 1], "token {n}");
            }
            // Another model on the same GPU, in turn with this one.
            8 => {
                let got = feed(&other_model, &mut other_model.new_state(), &ids[7..9], Want::All);
                assert!(got == other_expected, "another model at {n}");
            }
            _ => (),
        }
    }
    assert!(there == here);
}

/// In a process of its own, since all of a process lose the GPU together.
#[test]
fn a_lost_gpu_is_an_error_each_time() {
    use cudarc::driver::{CudaContext, LaunchConfig};

    let Device::Cuda(number) = device() else {
        return;
    };
    const LOSE: &str = "MMFREE_TEST_LOSE_DEVICE";
    if std::env::var_os(LOSE).is_none() {
        let output = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "cuda::a_lost_gpu_is_an_error_each_time", "--nocapture"])
            .env(LOSE, "1")
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !text.contains("panicked"), "{text}");
        return;
    }
    let config = synthetic::config();
    let gpu = model(&config, Packing::I2, device());
    let mut state = gpu.new_state();
    feed(&gpu, &mut state, &[1, 2, 3], Want::Last);
    let mut fork = state.clone();

    let trap = ".version 6.0\n.target sm_50\n.address_size 64\n.visible .entry lose() { trap; }";
    let context = CudaContext::new(number).unwrap();
    let module = context.load_module(cudarc::nvrtc::Ptx::from_src(trap)).unwrap();
    let function = module.load_function("lose").unwrap();
    let stream = context.default_stream();
    let one = LaunchConfig { grid_dim: (1, 1, 1), block_dim: (1, 1, 1), shared_mem_bytes: 0 };
    // SAFETY: the kernel takes nothing and touches no memory.
    unsafe { stream.launch_builder(&function).launch(one) }.unwrap();

    let clear = |error: Error| {
        assert!(matches!(error, Error::Device { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.starts_with(&format!("cuda:{number}: ")) && !text.contains('\n'), "{text}");
        println!("{text}");
    };
    // What a state has there; then token by token and by passes, with a state from there and from here.
    let folder = TempDir::new();
    clear(fork.save(&folder.path("state")).unwrap_err());
    assert!(fork.recurrence().iter().all(|v| v.is_nan()));
    for ids in [vec![4; 1], vec![5; 40], vec![6; 2], vec![7; 300]] {
        for state in [&mut state, &mut fork] {
            let mut logits = Vec::new();
            let logits = &mut logits;
            let step = Step { state, tokens: &ids, want: Want::All, logits, states: None };
            clear(gpu.forward(&mut [step]).unwrap_err());
            state.reset();
        }
    }
    let bytes = synthetic::model(&config, Packing::I2, 1);
    let options = Options { device: device(), ..Options::default() };
    clear(Model::new(ModelFile::from_bytes("synthetic", &bytes).unwrap(), &options).err().unwrap());
    clear(mmfree::cuda::copy_bandwidth(number, 1 << 20, 1).unwrap_err());
    drop((state, fork, gpu));
}

#[test]
fn a_state_goes_from_device_to_device() {
    if device() == Device::Cpu {
        return;
    }
    let folder = TempDir::new();
    for (kind, config) in synthetic::kinds() {
        let cpu = model(&config, Packing::T5, Device::Cpu);
        let gpu = model(&config, Packing::I2, device());
        let ids = tokens(&config, 60, 5);
        let mut state = cpu.new_state();
        let expected = feed(&cpu, &mut state, &ids, Want::All);
        // Ten tokens on each in turn: passed on by a file, in memory, and as a fork.
        let mut moving = gpu.new_state();
        let mut got = Vec::new();
        for (n, ids) in ids.chunks(10).enumerate() {
            let at = if n % 2 == 0 { &gpu } else { &cpu };
            if n % 3 == 1 {
                let path = folder.path(format!("{n}.state"));
                moving.save(&path).unwrap();
                moving = at.load_state(&path).unwrap();
            }
            let before = moving.clone();
            let mut fork = moving.clone();
            got.extend(feed(at, &mut moving, ids, Want::All));
            assert_eq!(feed(at, &mut fork, ids, Want::Last), got[got.len() - config.vocab_size..]);
            assert!(fork == moving && before != moving, "{kind}");
        }
        assert!(got == expected, "{kind}");
        assert!(moving == state, "{kind}");
    }
}

#[test]
fn a_gpu_gives_the_same_bits_each_time() {
    if device() == Device::Cpu {
        return;
    }
    let config = Config {
        hidden_size: 512,
        state_size: 512,
        intermediate_size: 1408,
        vocab_size: 5000,
        ..synthetic::config()
    };
    let gpu = model(&config, Packing::T5, device());
    let ids = tokens(&config, 700, 9);
    let run = || {
        let mut state = gpu.new_state();
        let mut logits = feed(&gpu, &mut state, &ids, Want::Last);
        for &id in &ids[..100] {
            logits.extend(feed(&gpu, &mut state, &[id], Want::Last));
        }
        (logits, state)
    };
    let first = run();
    for _ in 0..5 {
        assert!(run() == first);
    }
}

#[test]
fn without_a_gpu_the_error_says_so() {
    if device() != Device::Cpu {
        return;
    }
    let config = synthetic::config();
    let bytes = synthetic::model(&config, Packing::I2, 1);
    let options = Options { device: Device::Cuda(0), ..Options::default() };
    let file = ModelFile::from_bytes("synthetic", &bytes).unwrap();
    // A machine with a GPU runs it.
    if let Err(e) = Model::new(file, &options) {
        assert!(matches!(e, Error::Device { .. }), "{e}");
        let text = e.to_string();
        assert!(text.starts_with("cuda:0: ") && !text.contains('\n'), "{text}");
        let (auto, reason) = Device::auto();
        assert_eq!(auto, Device::Cpu);
        assert_eq!(reason.unwrap().to_string(), text);
    }
}

#[test]
fn a_gpu_that_is_not_there_is_an_error() {
    let config = synthetic::config();
    let bytes = synthetic::model(&config, Packing::I2, 1);
    let options = Options { device: Device::Cuda(99), ..Options::default() };
    let file = ModelFile::from_bytes("synthetic", &bytes).unwrap();
    let error = Model::new(file, &options).err().unwrap();
    assert!(matches!(error, Error::Device { .. }), "{error}");
}

#[test]
fn the_kernels_compile_for_every_gpu() {
    // Where NVRTC is: CI brings it, see tools/check-kernels.
    if std::env::var_os("MMFREE_TEST_NVRTC").is_none() {
        return;
    }
    for capability in [75, 80, 86, 87, 89, 90] {
        for image in mmfree::cuda::compile_for(capability).unwrap() {
            assert!(image.starts_with(b"\x7fELF"), "sm_{capability}");
        }
    }
    let error = mmfree::cuda::compile_for(12).unwrap_err();
    assert!(error.contains("sm_12") && !error.contains('\n'), "{error}");
}
