//! Weights as `torch.save` writes them: what is read, and what is refused.

use std::collections::BTreeMap;

use crate::common::*;
use crate::torch::*;

/// The case whose weights are pickled.
fn pickled_case() -> std::path::PathBuf {
    case("a_basic_fp32").with_file_name("e_pytorch_bin_fp32")
}

/// Reads weights, and gives the message.
fn read(bytes: &[u8]) -> Result<(), String> {
    mmfree_convert::fuzzing::weights(bytes, true).map_err(|e| e.to_string())
}

#[track_caller]
fn refuses_bytes(bytes: &[u8], parts: &[&str]) {
    let message = read(bytes).unwrap_err();
    assert!(!message.contains('\n'), "{message}");
    for part in parts {
        assert!(message.contains(part), "no {part:?} in: {message}");
    }
}

#[track_caller]
fn refuses(pickle: impl Into<Vec<u8>>, parts: &[&str]) {
    refuses_bytes(&Zip::default().write(&entries(pickle.into())), parts);
}

/// A checkpoint whose tensors are in shards of `torch.save`, tied ones in one storage.
fn pickled_copy(of: &str, shards: usize, zip: Zip) -> Copy {
    let copy = Copy::of(of);
    let tensors: Vec<_> =
        read_tensors(&copy.path().join("model.safetensors")).into_iter().collect();
    std::fs::remove_file(copy.path().join("model.safetensors")).unwrap();
    let mut map = BTreeMap::new();
    for (n, part) in tensors.chunks(tensors.len().div_ceil(shards)).enumerate() {
        let file = match shards {
            1 => "pytorch_model.bin".to_owned(),
            _ => format!("pytorch_model-{:05}-of-{shards:05}.bin", n + 1),
        };
        // All of a shard in one storage, each tensor at its offset.
        let (mut pickle, mut data) =
            (b"\x80\x02ccollections\nOrderedDict\n)R(".to_vec(), Vec::new());
        let len: usize = part.iter().map(|(_, (_, _, bytes))| bytes.len() / 4).sum();
        for (name, (dtype, shape, bytes)) in part {
            assert_eq!(dtype, "F32");
            text(&mut pickle, name);
            let mut strides = vec![1; shape.len()];
            for i in (1..shape.len()).rev() {
                strides[i - 1] = strides[i] * shape[i];
            }
            let (offset, strides) = (data.len() / 4, &strides[..]);
            Pickled { key: "0", len, offset, shape, strides, ..PLAIN }.write(&mut pickle);
            data.extend(bytes);
            map.insert(name.clone(), file.clone());
        }
        // The attribute that state_dict() sets.
        pickle.extend(b"u}");
        text(&mut pickle, "_metadata");
        pickle.extend(b"}sb.");
        let entries = vec![("a/data.pkl".to_owned(), pickle), ("a/data/0".to_owned(), data)];
        copy.write(&file, zip.write(&entries));
    }
    if shards > 1 {
        let index = serde_json::json!({"metadata": {}, "weight_map": map});
        copy.write("pytorch_model.bin.index.json", index.to_string());
    }
    copy
}

#[test]
fn the_pickled_golden_case_converts() {
    let (_dir, output, summary) = converted(&pickled_case(), &Default::default());
    assert_eq!(mmfree::ModelFile::open(output).unwrap().hash(), summary.hash);
}

#[test]
fn a_pickle_gives_the_same_file_as_safetensors() {
    for name in ["j_odder_sizes", "k_tied_fp32"] {
        let bytes = |folder: &std::path::Path| {
            std::fs::read(converted(folder, &Default::default()).1).unwrap()
        };
        let expected = bytes(&case(name));
        for (shards, wide) in [(1, false), (1, true), (3, false)] {
            let copy = pickled_copy(name, shards, Zip { wide, ..Zip::default() });
            assert!(bytes(copy.path()) == expected, "{name} {shards} {wide}");
        }
    }
}

/// One byte of a matrix, of a norm, of the embedding: it would go into the model unnoticed.
#[test]
fn a_damaged_entry_is_found_by_its_checksum() {
    let zip = Zip { sums: true, ..Zip::default() };
    for name in ["j_odder_sizes", "k_tied_fp32"] {
        converted(pickled_copy(name, 1, zip).path(), &Default::default());
    }
    let copy = Copy::of_folder(&pickled_case());
    let path = copy.path().join("pytorch_model.bin");
    let bytes = std::fs::read(&path).unwrap();
    // In the data of the first entry and of the last, and in the pickle.
    let at = |needle: &[u8], back: bool| {
        let mut places = bytes.windows(needle.len());
        let place = |w: &[u8]| w == needle;
        if back { places.rposition(place) } else { places.position(place) }.unwrap()
    };
    let directory = at(b"PK\x01\x02", false);
    let last_data = bytes[..directory].windows(6).rposition(|w| w == b"/data/").unwrap();
    for (at, parts) in [
        (at(b"/data/0", false) + 200, &["tensor ", "data/0", "CRC-32"][..]),
        (last_data + 200, &["tensor ", "/data/", "is damaged", "CRC-32"]),
        (at(b"model.embeddings", false) + 3, &["data.pkl", "CRC-32"]),
    ] {
        let mut damaged = bytes.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).unwrap();
        let output = converter().arg(copy.path()).arg("-o").arg(copy.path().join("out")).output();
        assert_fails(&output.unwrap(), &[&["pytorch_model.bin"], parts].concat());
        assert!(!copy.path().join("out").exists());
    }
}

#[test]
fn safetensors_are_preferred() {
    let copy = Copy::of("m_small_activations_eps");
    copy.write("pytorch_model.bin", "not looked at");
    converted(copy.path(), &Default::default());
}

#[test]
fn reads_what_torch_writes() {
    let pickle = one(&PLAIN);
    read(&Zip::default().write(&entries(pickle.clone()))).unwrap();
    read(&Zip { wide: true, ..Zip::default() }.write(&entries(pickle.clone()))).unwrap();
    read(&Zip { comment: b"PK\x05\x06", ..Zip::default() }.write(&entries(pickle))).unwrap();
    // A storage may be larger than its tensor, and a size of 1 or 0 has any stride.
    read(&Zip::default().write(&entries(one(&Pickled {
        offset: 2,
        shape: &[1, 4],
        strides: &[9, 1],
        ..PLAIN
    }))))
    .unwrap();
    read(&Zip::default().write(&entries(one(&Pickled {
        offset: 6,
        shape: &[0, 3],
        strides: &[3, 1],
        ..PLAIN
    }))))
    .unwrap();
    read(&Zip::default().write(&entries(one(&Pickled { shape: &[], strides: &[], ..PLAIN }))))
        .unwrap();
}

#[test]
fn rejects_whatever_is_no_part_of_a_state_dict_by_its_name() {
    refuses(*b"\x80\x02cos\nsystem\n(X\x02\0\0\0idtR.", &["os.system", "not called"]);
    refuses(*b"\x80\x02cbuiltins\neval\n.", &["builtins.eval"]);
    refuses(*b"\x80\x04\x8c\x02os\x8c\x06system\x93.", &["os.system"]);
    refuses(*b"\x80\x02ctorch\nload\n.", &["torch.load"]);
    refuses(*b"\x80\x02c__main__\nA\n)\x81.", &["__main__.A"]);
    refuses(*b"\x80\x02(ios\nsystem\n.", &["opcode INST"]);
    refuses(*b"\x80\x02]\x81.", &["opcode EMPTY_LIST"]);
    refuses(*b"\x80\x02)\x81.", &["opcode NEWOBJ"]);
    refuses(*b"\x80\x02)0.", &["opcode POP"]);
    refuses(*b"\x80\x02\xff", &["opcode 0xff"]);
    refuses(*b"\x80\x01}.", &["protocol 1"]);
    refuses(*b"\x80\x02cos\x1b[31m\nx\n.", &["os\\u{1b}[31m.x"]);
}

#[test]
fn rejects_a_damaged_pickle() {
    for (pickle, part) in [
        (&b""[..], "cut short"),
        (b".", "empty stack"),
        (b"t.", "no mark"),
        (b"(Q.", "empty stack"),
        (b"}(K\x01u.", "not pairs"),
        (b"K\x01K\x02K\x03s.", "not pairs"),
        (b"}(s", "empty stack"),
        (b"h\x07.", "value 7 was not kept"),
        (b"q\x00.", "empty stack"),
        (b"X\xff\xff\xff\xffx.", "cut short"),
        (b"X\x01\0\0\0\xff.", "not UTF-8"),
        (b"\x8a\x09123456789.", "9 bytes"),
        (b"K\x01)R.", "no function"),
        (b"K\x01Q.", "no storage"),
        (b"ccollections\nOrderedDict\n)\x85R.", "other arguments"),
        (b"K\x01.", "must be a dictionary"),
        (b"}K\x01K\x02s.", "for a key"),
        (b"}X\x01\0\0\0a}s.", "a is a dictionary, must be a tensor"),
        (b"}}K\x01b.", "attributes"),
        (b"cnoend", "a name has no end"),
    ] {
        refuses([b"\x80\x02", pickle].concat(), &["data.pkl", part]);
    }
    let whole = one(&PLAIN);
    for len in 0..whole.len() {
        read(&Zip::default().write(&entries(whole[..len].to_vec()))).unwrap_err();
    }
}

/// A dictionary that holds itself, tuples without end, a memo that grows: all within bounds.
#[test]
fn rejects_pickles_that_want_too_much() {
    refuses([&b"\x80\x02)"[..], &[0x85; 100_000]].concat(), &["deep"]);
    refuses([&b"\x80\x02"[..], &[b'('; 2_000_000]].concat(), &["opcodes"]);
    refuses(vec![b'N'; 9 << 20], &["at most"]);
    refuses(*b"\x80\x02}q\x00X\x01\0\0\0ah\x00s.", &["a is a dictionary"]);
    // A long shape, taken again and again.
    let (long, again) = (b"K\x01".repeat(20_000), b"h\x01h\x00R".repeat(100_000));
    let storage = b"(X\x07\0\0\0storagectorch\nFloatStorage\nX\x01\0\0\x000X\x03\0\0\0cpuK\x06tQ";
    let pickle = [
        &b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\nq\x01("[..],
        storage,
        b"K\x00(",
        &long,
        b"tq\x02h\x02tq\x00",
        &again,
        b".",
    ];
    refuses(pickle.concat(), &["20000 dimensions", "at most 8"]);
    let doubling = [&b"\x80\x02)"[..], &b"q\x00h\x00\x86".repeat(14), b"."].concat();
    refuses(doubling, &["a tuple"]);
}

#[test]
fn rejects_tensors_that_are_not_in_their_storage() {
    for (tensor, parts) in [
        (Pickled { key: "../../etc/passwd", ..PLAIN }, &["tensor x", "etc/passwd is missing"][..]),
        (Pickled { len: 7, ..PLAIN }, &["24 bytes", "7 values"]),
        (Pickled { storage: "DoubleStorage", ..PLAIN }, &["6 values of 8 bytes"]),
        (Pickled { storage: "QInt8Storage", ..PLAIN }, &["torch.QInt8Storage"]),
        (Pickled { offset: 1, ..PLAIN }, &["6 values from number 1", "holds 6"]),
        (Pickled { strides: &[1, 2], ..PLAIN }, &["not stored row by row", "[1, 2]"]),
        (Pickled { strides: &[1], ..PLAIN }, &["2 dimensions and 1 strides"]),
        (Pickled { shape: &[1; 9], strides: &[1; 9], ..PLAIN }, &["9 dimensions", "at most 8"]),
        (Pickled { shape: &[1 << 30; 4], strides: &[1; 4], ..PLAIN }, &["too large"]),
        (Pickled { offset: usize::MAX, ..PLAIN }, &["-1 elements"]),
    ] {
        refuses(one(&tensor), parts);
    }
}

#[test]
fn rejects_archives_that_torch_does_not_write() {
    let good = entries(one(&PLAIN));
    let write = |zip: Zip| zip.write(&good);
    refuses_bytes(&write(Zip { method: 8, ..Zip::default() }), &["byteorder", "deflate", "zip -0"]);
    refuses_bytes(&write(Zip { flags: 1, ..Zip::default() }), &["encrypted"]);
    refuses_bytes(b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8", &["before 1.6"]);
    refuses_bytes(b"something else", &["no zip file"]);
    let big = [("a/data.pkl", one(&PLAIN)), ("a/byteorder", b"big".to_vec())];
    let big: Entries = big.map(|(name, bytes)| (name.to_owned(), bytes)).into();
    refuses_bytes(&Zip::default().write(&big), &["byte order is big"]);
    refuses_bytes(&Zip::default().write(&good[1..].to_vec()), &["0 entries called data.pkl"]);
    let twice = [good.clone(), good[..1].to_vec()].concat();
    refuses_bytes(&Zip::default().write(&twice), &["twice"]);
}

/// Each byte of both kinds of archive changed, and each truncation: an error or valid tensors.
#[test]
fn damage_is_refused_or_harmless() {
    for wide in [false, true] {
        let bytes = Zip { wide, ..Zip::default() }.write(&entries(one(&PLAIN)));
        for len in 0..bytes.len() {
            read(&bytes[..len]).unwrap_err();
        }
        for at in 0..bytes.len() {
            for change in [0x01, 0x80, 0xFF] {
                let mut bytes = bytes.clone();
                bytes[at] ^= change;
                let _ = read(&bytes);
            }
        }
    }
}

/// Python's `pickle.dumps({"model": .., "optimizer": ..})` and its kin, as training writes them.
#[test]
fn a_larger_dictionary_says_how_to_save_the_state_dict_alone() {
    let mut state = b"}(".to_vec();
    text(&mut state, "x");
    PLAIN.write(&mut state);
    state.push(b'u');
    // {"state": {}, "param_groups": [{"lr": 0.1}]}: a list and a float, which no state dict has.
    let mut optimizer = b"}(".to_vec();
    text(&mut optimizer, "state");
    optimizer.push(b'}');
    text(&mut optimizer, "param_groups");
    optimizer.extend(b"]}");
    text(&mut optimizer, "lr");
    optimizer.extend(b"G\x3f\xb9\x99\x99\x99\x99\x99\x9asau");
    let epoch = b"K\x03".to_vec();
    let pickle = |entries: &[(&str, &Vec<u8>)]| {
        let mut out = b"\x80\x02}(".to_vec();
        for (key, value) in entries {
            text(&mut out, key);
            out.extend(*value);
        }
        [&out[..], b"u."].concat()
    };
    let load = "torch.save(torch.load(NAME, map_location=\"cpu\")";
    for (entries, parts) in [
        (
            &[("model", &state), ("optimizer", &optimizer)][..],
            &["model is a dictionary, must be a tensor", load, "[\"model\"], NAME)"][..],
        ),
        (
            &[("epoch", &epoch), ("state_dict", &state), ("optimizer", &optimizer)],
            &["epoch is a number", "{epoch, state_dict, ", load, "[\"state_dict\"], NAME)"],
        ),
        (&[("epoch", &epoch), ("model", &state)], &["{epoch, model}", "[\"model\"], NAME)"]),
        (
            &[("optimizer", &optimizer), ("model", &state)],
            &["optimizer is a dictionary", "torch.save(model.state_dict(), NAME)"],
        ),
    ] {
        refuses(pickle(entries), &[&["data.pkl", "the state dict alone"], parts].concat());
    }
    // A whole module names its class.
    refuses(
        *b"\x80\x02cmmfreelm.models\nHGRNBitForCausalLM\n)\x81.",
        &[
            "mmfreelm.models.HGRNBitForCausalLM",
            "not called",
            "torch.save(model.state_dict(), NAME)",
        ],
    );
}

/// With `_use_new_zipfile_serialization=False`, in each protocol, and before that in a tar archive.
#[test]
fn rejects_files_of_old_torch_with_what_saves_them_again() {
    let magic = b"\x8a\x0a\x6c\xfc\x9c\x46\xf9\x20\x6a\xa8\x50\x19.";
    let mut tar = vec![0; 1024];
    tar[..9].copy_from_slice(b"sys_info\0");
    tar[257..262].copy_from_slice(b"ustar");
    for bytes in [
        [b"\x80\x02", &magic[..], b"\x80\x02M\xe9\x03."].concat(),
        [b"\x80\x03", &magic[..], b"\x80\x03M\xe9\x03."].concat(),
        [b"\x80\x04\x95\x0d\0\0\0\0\0\0\0", &magic[..]].concat(),
        [b"\x80\x05\x95\x0d\0\0\0\0\0\0\0", &magic[..]].concat(),
        tar,
    ] {
        refuses_bytes(&bytes, &["before 1.6", "torch.save(torch.load(NAME, map_location"]);
    }
    refuses_bytes(b"\x80\x04\x95\x10\0\0\0\0\0\0\0}\x94.", &["a bare pickle", "with torch.save"]);
}
