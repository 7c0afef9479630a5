//! The executor on the emulated driver: a `libcuda.so.1` made from the same kernels for the CPU. The loader looks where
//! libraries are only when a process starts, so each test here starts this program again.

mod kernels;
mod maps;

use super::*;
use crate::error::ErrorKind;
use crate::exec::naive::Naive;
use crate::exec::tests::{Random, inputs, nmse, run, weights};
use crate::graph::cases::{Case, cases};
use crate::graph::{Border, Builder, Padding};
use crate::weights::MemoryWeights;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::sync::atomic::AtomicBool;

/// Whether this process is to run on the emulated driver.
pub(crate) fn emulated() -> bool {
    std::env::var_os("SSMOESR_TEST_EMULATED").is_some()
}

/// Whether tests that compare executors are to do so with the GPU that the driver finds.
pub(crate) fn on_gpu() -> bool {
    emulated() || std::env::var_os("SSMOESR_TEST_GPU").is_some()
}

/// The folder of the emulated driver, which is built first; nothing where there is no compiler.
fn driver() -> Option<&'static Path> {
    static FOLDER: OnceLock<Option<PathBuf>> = OnceLock::new();
    let build = || {
        if Command::new("g++").arg("--version").output().is_err() {
            eprintln!("there is no g++: nothing is run on the emulated driver");
            return None;
        }
        let folder = Path::new(env!("OUT_DIR")).join("emulated");
        std::fs::create_dir_all(&folder).unwrap();
        let sources = Path::new(env!("CARGO_MANIFEST_DIR"));
        // Another test program may be doing the same.
        let made = folder.join(format!("{}.so", std::process::id()));
        let built = Command::new("g++")
            .args(["-std=c++17", "-O2", "-Wall", "-Werror", "-Wno-unknown-pragmas", "-shared", "-fPIC", "-o"])
            .arg(&made)
            .arg("-I")
            .arg(sources.join("src/exec/cuda/kernels"))
            .arg("-I")
            .arg(sources.join("../tests/cuda"))
            .arg(sources.join("../tests/cuda/driver.cpp"))
            .output()
            .unwrap();
        assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
        // Both names are looked for, this one first.
        std::fs::copy(&made, folder.join("libcuda.so")).unwrap();
        std::fs::rename(&made, folder.join("libcuda.so.1")).unwrap();
        Some(folder)
    };
    FOLDER.get_or_init(build).as_deref()
}

/// Runs tests of this program on the emulated driver, steered by `environment`, and gives what they wrote.
fn on_driver(tests: &[&str], environment: &[(&str, &str)]) -> Option<String> {
    let folder = driver()?;
    Some(again(tests, environment, folder))
}

fn again(tests: &[&str], environment: &[(&str, &str)], libraries: &Path) -> String {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--include-ignored", "--nocapture"])
        .args(tests)
        .env("LD_LIBRARY_PATH", libraries)
        .env("SSMOESR_TEST_EMULATED", "1")
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    let text = [output.stdout, output.stderr].map(|t| String::from_utf8_lossy(&t).into_owned()).concat();
    assert!(output.status.success(), "{tests:?} {environment:?}\n{text}");
    // A test that was renamed would pass by not being there.
    assert!(text.contains(&format!("{} passed", tests.len())), "{text}");
    text
}

/// This module's tests as the program knows them.
fn own(name: &str) -> String {
    format!("exec::cuda::tests::{name}")
}

#[test]
fn every_operation_agrees_on_the_emulated_driver() {
    let tests = [
        "exec::tests::every_executor_agrees_with_the_twin_on_every_case",
        "exec::tests::lengths_and_weights_that_do_not_fit_are_errors",
        "exec::tests::chains_of_operations_agree_with_the_twin",
        "exec::tests::of_equal_codes_the_lowest_is_taken",
    ];
    on_driver(&tests, &[]);
}

#[test]
fn whole_networks_agree_on_the_emulated_driver() {
    on_driver(&["model::published::tests::vector_families_at_small_widths"], &[]);
}

#[test]
fn the_shipped_network_agrees_on_the_emulated_driver() {
    on_driver(&["engine::tests::vector_native_agrees_with_training"], &[]);
}

#[test]
fn pictures_are_those_of_the_cpu() {
    on_driver(&["engine::tests::gpu::a_picture_is_that_of_the_cpu"], &[("SSMOESR_DEVICE", "cuda")]);
}

#[test]
fn halves_are_packed_in_pairs() {
    let values: Vec<f32> = (0..16 * 17).map(|i| (i as f32 - 100.0) * 0.37).collect();
    for (precision, of) in [
        (Precision::Bf16, (|v: u16| half::bf16::from_bits(v).to_f32()) as fn(u16) -> f32),
        (Precision::F16, |v| half::f16::from_bits(v).to_f32()),
    ] {
        let blocks = pack::Blocks { outs: 16, channels: 17, taps: 1, precision };
        let form = Form::Blocks(blocks);
        let packed = form.make(values.clone());
        assert_eq!(packed.len(), form.len());
        for (i, word) in packed.iter().enumerate() {
            let (row, o) = (i / pack::OUTS, i % pack::OUTS);
            let halves = [word.to_bits() as u16, (word.to_bits() >> 16) as u16].map(of);
            for (c, found) in [2 * row, 2 * row + 1].into_iter().zip(halves) {
                let wanted = if o < 16 && c < 17 { values[o * 17 + c] } else { 0.0 };
                assert!((found - wanted).abs() <= wanted.abs() / 256.0, "{c} {o}: {found} {wanted}");
            }
        }
    }
}

#[test]
fn sixteen_bits_keep_the_picture() {
    on_driver(&["engine::tests::gpu::sixteen_bits_keep_the_picture"], &[]);
}

#[test]
fn a_gpu_that_fails_is_left_for_the_cpu() {
    let test = ["engine::tests::gpu::a_gpu_that_fails_is_left_for_the_cpu"];
    // Lost in the middle of a network; no memory for the results; a context that is not to be had.
    for fail in
        ["cuLaunchKernel:40:719", "cuMemAlloc:3:2", "cuDevicePrimaryCtxRetain:0:2", "cuMemcpyDtoHAsync:1:700"]
    {
        on_driver(&test, &[("SSMOESR_EMULATED_FAIL", fail)]);
    }
}

/// A small graph that needs weights, tables and space on the way.
fn small() -> Case {
    let mut g = Builder::new();
    let x = g.input("x", [2, 8, 6, 5]).unwrap();
    let y = g.group_norm("n", x, 2, 1e-5).unwrap();
    let y = g.conv3("c", y, 8, Border::Zero).unwrap();
    let y = g.frequency_filter("f", y, None, 2, 2, 0.1, 0.01, true).unwrap();
    let out = g.add("a", x, y).unwrap();
    let inputs = vec![crate::graph::cases::Data::Real];
    Case { name: "small".to_owned(), limit: 1e-10, inputs, graph: g.finish(&[out]) }
}

fn right(device: &dyn Executor, seed: u64) -> Result<()> {
    let case = small();
    let random = &mut Random(seed);
    let (weights, inputs) = (weights(&case.graph, random), inputs(&case, random));
    let wanted = run(&Naive, &case, &weights, &inputs);
    let found = try_run(device, &case, &weights, &inputs)?;
    let error = nmse(&found, &wanted);
    assert!(error <= case.limit, "{error:.1e}");
    Ok(())
}

/// Three runs: launch by launch, recorded, and played again.
fn try_run(
    device: &dyn Executor,
    case: &Case,
    weights: &MemoryWeights,
    inputs: &[Vec<f32>],
) -> Result<Vec<f32>> {
    let graph = Arc::new(case.graph.clone());
    let loaded = device.load(&graph, weights)?;
    let mut prepared = device.prepare(Arc::clone(&graph))?;
    let slices: Vec<&[f32]> = inputs.iter().map(Vec::as_slice).collect();
    let mut all = Vec::new();
    for _ in 0..3 {
        let mut out = vec![f32::NAN; graph.shape(graph.outputs[0]).iter().product()];
        prepared.run(&loaded, &slices, &mut [&mut out], &AtomicBool::new(false), None)?;
        all.push(out);
    }
    assert!(all[0] == all[1] && all[1] == all[2], "runs differ");
    Ok(all.swap_remove(0))
}

/// Whatever the driver refuses, whenever: an error in words, nothing lost, and the next time it works.
#[test]
fn each_call_that_fails_is_an_error_and_leaves_nothing() {
    // Name, how often three runs of `small` call it.
    let calls = [
        ("cuInit", 1),
        ("cuDeviceGetCount", 1),
        ("cuDevicePrimaryCtxRetain", 1),
        ("cuModuleLoadData", 1),
        ("cuModuleGetFunction", launch::NAMES.len()),
        ("cuStreamCreate", 3),
        ("cuMemAlloc", 3),
        ("cuMemcpyHtoDAsync", 12),
        ("cuMemcpyDtoHAsync", 3),
        ("cuStreamSynchronize", 15),
        ("cuLaunchKernel", 18),
        ("cuStreamBeginCapture", 1),
        ("cuStreamEndCapture", 1),
        ("cuGraphInstantiate", 1),
        ("cuGraphLaunch", 2),
    ];
    for (call, times) in calls {
        for n in 1..=times {
            // Out of memory everywhere: of all codes the one that every call may give.
            let fail = format!("{call}:{n}:2");
            let environment = [("SSMOESR_EMULATED_FAIL", fail.as_str())];
            on_driver(&[&own("one_failure")], &environment);
        }
        // One more would never fail: the list above is complete.
        let fail = format!("{call}:{}:2", times + 1);
        on_driver(&[&own("no_failure")], &[("SSMOESR_EMULATED_FAIL", &fail)]);
    }
}

#[test]
#[ignore = "run on the emulated driver by each_call_that_fails_is_an_error_and_leaves_nothing"]
fn one_failure() {
    let first = Cuda::new(0, "f32").and_then(|device| right(&device, 1));
    let e = first.unwrap_err();
    assert_eq!(e.kind(), ErrorKind::Limit, "{e}");
    let text = e.to_string();
    assert!(text.starts_with("cuda: the GPU is out of memory (") && text.contains("device=cpu"), "{text}");
    let device = Cuda::new(0, "f32").unwrap();
    let before = device.free().unwrap();
    right(&device, 2).unwrap();
    drop(device);
    let device = Cuda::new(0, "f32").unwrap();
    assert_eq!(device.free().unwrap(), before, "memory was lost");
}

#[test]
#[ignore = "run on the emulated driver by each_call_that_fails_is_an_error_and_leaves_nothing"]
fn no_failure() {
    right(&Cuda::new(0, "f32").unwrap(), 1).unwrap();
}

/// Codes that drivers of later years may have: told by number, in one line, and nothing is lost.
#[test]
fn codes_that_nobody_knows_are_errors_in_words() {
    for call in
        ["cuInit:1", "cuDevicePrimaryCtxRetain:1", "cuMemAlloc:1", "cuLaunchKernel:2", "cuGraphLaunch:1"]
    {
        for code in ["9999", "-7"] {
            let fail = format!("{call}:{code}");
            on_driver(
                &[&own("unknown_code")],
                &[("SSMOESR_EMULATED_FAIL", &fail), ("SSMOESR_TEST_TEXT", code)],
            );
        }
    }
}

#[test]
#[ignore = "run on the emulated driver by codes_that_nobody_knows_are_errors_in_words"]
fn unknown_code() {
    let e = Cuda::new(0, "f32").and_then(|device| right(&device, 1)).unwrap_err();
    let code = std::env::var("SSMOESR_TEST_TEXT").unwrap();
    assert_eq!(e.kind(), ErrorKind::Device);
    let text = e.to_string();
    assert!(text.starts_with("cuda: ") && text.ends_with(&format!("the driver's error {code}")), "{text}");
    assert!(!text.contains('\n'), "{text}");
    right(&Cuda::new(0, "f32").unwrap(), 2).unwrap();
}

#[test]
fn a_lost_gpu_stays_lost_and_says_so() {
    for code in ["700", "719", "999"] {
        let fail = format!("cuLaunchKernel:3:{code}");
        on_driver(&[&own("lost")], &[("SSMOESR_EMULATED_FAIL", &fail)]);
    }
}

#[test]
#[ignore = "run on the emulated driver by a_lost_gpu_stays_lost_and_says_so"]
fn lost() {
    let device = Cuda::new(0, "f32").unwrap();
    for _ in 0..2 {
        let e = right(&device, 1).unwrap_err();
        assert_eq!(e.kind(), ErrorKind::Device);
        assert!(e.to_string().starts_with("cuda: the GPU was lost for this process"), "{e}");
    }
    assert!(Cuda::new(0, "f32").is_err() && device.free().is_none());
    assert_eq!(crate::exec::executor("auto", 1, None, "auto").unwrap().name(), "cpu");
}

#[test]
fn what_cannot_be_used_is_told_and_left_for_the_cpu() {
    let Some(folder) = driver() else { return };
    let none = tempfile::tempdir().unwrap();
    let unused = |mode: &str, folder: &Path, text: &str| {
        again(&[&own("unusable")], &[("SSMOESR_EMULATED", mode), ("SSMOESR_TEST_TEXT", text)], folder);
    };
    unused("nodevice", folder, "the driver finds no GPU");
    unused("stub", folder, "the libcuda.so that was found is the stub of a CUDA toolkit");
    unused("old", folder, "the NVIDIA driver is too old (CUDA 11.4); 525 or later is needed");
    unused("unknown", folder, "this build has no kernels for emulated GPU (compute capability 2.0)");
    if Path::new("/dev/nvidiactl").exists() {
        eprintln!("this machine has an NVIDIA driver: that there is none is not tested");
    } else {
        unused("", none.path(), "there is no NVIDIA driver (libcuda.so.1 was not found)");
    }
}

#[test]
#[ignore = "run on the emulated driver by what_cannot_be_used_is_told_and_left_for_the_cpu"]
fn unusable() {
    let wanted = format!("cuda: {}", std::env::var("SSMOESR_TEST_TEXT").unwrap());
    let e = crate::exec::executor("cuda", 1, None, "auto").err().unwrap();
    assert_eq!(e.kind(), ErrorKind::Device);
    assert!(e.to_string().starts_with(&wanted), "{e}");
    assert_eq!(crate::exec::executor("auto", 1, None, "auto").unwrap().name(), "cpu");
    let all = crate::exec::list();
    assert!(all.iter().any(|(n, text)| n.starts_with("cuda") && text.contains(&wanted)), "{all:?}");
}

#[test]
fn an_old_gpu_lacks_sixteen_bits() {
    on_driver(&[&own("old_gpu")], &[("SSMOESR_EMULATED", "turing")]);
}

#[test]
#[ignore = "run on the emulated driver by an_old_gpu_lacks_sixteen_bits"]
fn old_gpu() {
    right(&Cuda::new(0, "f32").unwrap(), 1).unwrap();
    for name in ["bf16", "f16"] {
        let e = Cuda::new(0, name).err().unwrap();
        assert_eq!(e.kind(), ErrorKind::Option);
        assert!(e.to_string().contains("(compute capability 7.5) computes in f32 only"), "{e}");
    }
}

#[test]
fn names_find_their_gpu() {
    assert_eq!(["cuda", "cuda:0", "cuda:7"].map(ordinal), [Some(0), Some(0), Some(7)]);
    assert_eq!(["cpu", "cuda:", "cuda7", "cuda:x", "auto"].map(ordinal), [None; 5]);
    on_driver(&[&own("one_gpu")], &[]);
}

#[test]
#[ignore = "run on the emulated driver by names_find_their_gpu"]
fn one_gpu() {
    for name in ["auto", "cuda", "cuda:0"] {
        assert_eq!(crate::exec::executor(name, 1, None, "auto").unwrap().name(), "cuda");
    }
    let e = crate::exec::executor("cuda:1", 1, None, "auto").err().unwrap();
    assert!(e.to_string().contains("there is no GPU 1; the driver finds 1"), "{e}");
    assert_eq!(list(), [("cuda".to_owned(), "emulated GPU".to_owned())]);
}

#[test]
fn threads_share_a_gpu() {
    on_driver(&[&own("four_threads")], &[]);
}

#[test]
#[ignore = "run on the emulated driver by threads_share_a_gpu"]
fn four_threads() {
    let device = Cuda::new(0, "f32").unwrap();
    let free = device.free().unwrap();
    std::thread::scope(|s| {
        for seed in 0..4 {
            let device = &device;
            // One executor for two, one each for the others.
            s.spawn(move || {
                let own = Cuda::new(0, "f32").unwrap();
                for _ in 0..5 {
                    right(if seed < 2 { device } else { &own }, seed).unwrap();
                }
            });
        }
    });
    drop(device);
    // A real driver keeps pools of its own.
    if emulated() {
        assert_eq!(Cuda::new(0, "f32").unwrap().free().unwrap(), free, "memory was lost");
    }
}

/// What reaches the driver is what the program says, in its order: once started, once recorded.
#[test]
fn the_driver_sees_the_plan() {
    let room = tempfile::tempdir().unwrap();
    let trace = room.path().join("trace");
    on_driver(&[&own("traced")], &[("SSMOESR_EMULATED_TRACE", trace.to_str().unwrap())]);
}

#[test]
#[ignore = "run on the emulated driver by the_driver_sees_the_plan"]
fn traced() {
    right(&Cuda::new(0, "f32").unwrap(), 1).unwrap();
    let trace = std::fs::read_to_string(std::env::var("SSMOESR_EMULATED_TRACE").unwrap()).unwrap();
    let program = Program::new(&small().graph, Precision::F32).unwrap();
    let mut planned = String::new();
    for captured in ["", ", captured"] {
        for l in &program.launches {
            let name = launch::NAMES[l.kernel as usize].to_str().unwrap();
            let [x, y] = l.grid;
            planned +=
                &format!("cuLaunchKernel {name} {x},{y} x {}, {} bytes{captured}\n", l.threads, 4 * l.shared);
        }
    }
    planned += "cuGraphLaunch \ncuGraphLaunch \n";
    let of_plan = |l: &&str| l.starts_with("cuLaunchKernel") || l.starts_with("cuGraphLaunch");
    let seen: String = trace.lines().filter(of_plan).map(|l| format!("{l}\n")).collect();
    assert_eq!(seen, planned);
    // Nothing is taken or brought on the way but what `small` needs.
    assert_eq!(trace.lines().filter(|l| l.starts_with("cuMemAlloc")).count(), 3);
}

#[test]
fn times_are_taken_where_they_are_asked_for() {
    on_driver(&[&own("timed"), "engine::tests::gpu::a_bench_names_operations"], &[]);
}

#[test]
#[ignore = "run on the emulated driver by times_are_taken_where_they_are_asked_for"]
fn timed() {
    let device = Cuda::new(0, "f32").unwrap();
    let case = small();
    let random = &mut Random(4);
    let (weights, inputs) = (weights(&case.graph, random), inputs(&case, random));
    let graph = Arc::new(case.graph.clone());
    let loaded = device.load(&graph, &weights).unwrap();
    let mut plan = device.prepare(Arc::clone(&graph)).unwrap();
    let run = |plan: &mut Box<dyn Prepared>| {
        let mut out = vec![f32::NAN; inputs[0].len()];
        plan.run(&loaded, &[&inputs[0]], &mut [&mut out], &AtomicBool::new(false), None).unwrap();
        out
    };
    let plain = run(&mut plan);
    assert!(plan.measured().is_empty());
    plan.measure(true);
    for _ in 0..3 {
        assert!(run(&mut plan) == plain);
        let names: Vec<_> =
            plan.measured().iter().map(|(v, _)| graph.nodes[v.index()].name.as_str()).collect();
        assert_eq!(names, ["n", "c", "f", "a"]);
        let sum: std::time::Duration = plan.measured().iter().map(|(_, time)| *time).sum();
        assert!(sum.as_nanos() > 0);
    }
    plan.measure(false);
    assert!(run(&mut plan) == plain && plan.measured().is_empty());
}

#[test]
fn every_node_of_every_case_is_launched() {
    for case in cases() {
        let program = Program::new(&case.graph, Precision::F32).unwrap();
        let mut from = 0;
        for &(v, to) in &program.steps {
            let input = case.graph.nodes[v.index()].op == crate::graph::Op::Input;
            assert_eq!(input, from == to, "{}", case.name);
            from = to;
        }
        assert_eq!(from, program.launches.len(), "{}", case.name);
        let outs = program.launches.iter().map(|l| l.out);
        assert!(outs.max().is_none_or(|at| at < program.len), "{}", case.name);
    }
}

#[test]
fn machine_code_comes_before_what_has_to_be_translated() {
    let image = |capability, ptx| images::Image { capability, ptx, bytes: b"" };
    let all = [image(75, false), image(80, false), image(86, false), image(90, false), image(75, true)];
    let chosen = |capability| images::choose(&all, capability).map(|i| (i.capability, i.ptx));
    assert_eq!(chosen(75), Some((75, false)));
    assert_eq!(chosen(87), Some((86, false)));
    assert_eq!(chosen(89), Some((86, false)));
    assert_eq!(chosen(90), Some((90, false)));
    // A newer generation reads no older one's machine code.
    assert_eq!(chosen(120), Some((75, true)));
    assert_eq!(chosen(70), None);
}
