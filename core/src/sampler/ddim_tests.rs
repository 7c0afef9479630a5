//! The schedule against known answers, and against recorded vectors where `SSMOESR_VECTORS` names their folder.

use std::path::PathBuf;

use serde_json::Value;

use super::*;

fn published() -> DdimSchedule {
    DdimSchedule::new(1000, 0.0015, 0.0155, 4).unwrap()
}

fn close(found: f64, want: f64, limit: f64) -> bool {
    (found - want).abs() <= limit * want.abs()
}

/// Values printed with the published schedule.
#[test]
fn products_equal_the_known_answers() {
    let b = betas(1000, 0.0015, 0.0155);
    assert!(close(b[1], 0.001_506_657_672, 1e-9));
    let p = products(&b);
    for (t, want) in [
        (0, 0.9985),
        (249, 0.537_423_229_6),
        (250, 0.535_476_001_2),
        (499, 0.151_077_423_3),
        (999, 0.000_668_665_173_7),
    ] {
        assert!(close(p[t], want, 1e-9), "{t}: {}", p[t]);
    }
}

#[test]
fn timesteps_equal_the_known_answers() {
    let s = published();
    for (count, length, head, last) in [
        (200, 200, [1, 6], 996),
        (50, 50, [1, 21], 981),
        (20, 20, [1, 51], 951),
        (4, 4, [1, 251], 751),
        (7, 8, [1, 143], 995),
        (12, 13, [1, 84], 997),
        (150, 167, [1, 7], 997),
    ] {
        let v = s.visited(count).unwrap();
        assert_eq!((v.len(), [v[0], v[1]], v[v.len() - 1]), (length, head, last), "{count}");
    }
    assert_eq!(s.visited(1).unwrap(), [1]);
    assert_eq!(s.visited(4).unwrap(), [1, 251, 501, 751]);
}

/// The counts that the published code cannot do, as found by running it.
#[test]
fn counts_that_fail_are_refused_with_the_reason() {
    let s = published();
    let fails = |n: u32| {
        [3, 9, 27, 36, 37].contains(&n) || (101..=111).contains(&n) || (251..=333).contains(&n) || n > 500
    };
    for n in 1..=1000 {
        assert_eq!(s.visited(n).is_err(), fails(n), "{n}");
    }
    let text = s.visited(300).unwrap_err().to_string();
    assert!(
        text.contains("steps is 300") && text.contains("250 and 334") && text.contains("end at 1000"),
        "{text}"
    );
    for n in [0, 1001, u32::MAX] {
        assert!(s.visited(n).unwrap_err().to_string().contains("1000 timesteps"));
    }
    assert!(s.steps(4, f64::NAN).is_err());
}

#[test]
fn experts_change_at_their_boundaries() {
    let steps = published().steps(4, 1.0).unwrap();
    let seen: Vec<_> = steps.iter().map(|s| (s.timestep, s.expert)).collect();
    assert_eq!(seen, [(751, 3), (501, 2), (251, 1), (1, 0)]);
    let twelve = published().steps(12, 1.0).unwrap();
    let expert = |t: u32| twelve.iter().find(|s| s.timestep == t).map(|s| s.expert);
    assert_eq!((expert(250), expert(499)), (Some(1), Some(1)));
}

/// The last step keeps its noise: 0.0274 at eta 1 and 200 steps.
#[test]
fn the_last_step_keeps_its_noise() {
    let last = published().steps(200, 1.0).unwrap().pop().unwrap();
    assert!((last.coefs.noise - 0.0274).abs() < 5e-5, "{}", last.coefs.noise);
    assert_eq!(published().steps(200, 0.0).unwrap()[7].coefs.noise, 0.0);
}

#[test]
fn schedules_that_cannot_be_are_refused() {
    for (t, a, b, n) in
        [(1, 0.1, 0.2, 1), (10, 0.0, 0.2, 1), (10, 0.3, 0.2, 1), (10, 0.1, 1.0, 1), (10, 0.1, 0.2, 11)]
    {
        assert!(DdimSchedule::new(t, a, b, n).is_err());
    }
    assert!(DdimSchedule::new(10, f64::NAN, 0.2, 1).is_err());
}

/// Recorded tensors of one family, and its cases.
struct Vectors {
    bytes: Vec<u8>,
    cases: Vec<Value>,
    config: Value,
}

fn vectors(family: &str) -> Option<Vectors> {
    let Some(folder) = std::env::var_os("SSMOESR_VECTORS").map(PathBuf::from) else {
        eprintln!("skipped: SSMOESR_VECTORS is not set");
        return None;
    };
    // Tests run in the package's folder, users name the folder from the workspace's.
    let folder = if folder.is_relative() { PathBuf::from("..").join(folder) } else { folder };
    let json =
        |name: &str| -> Value { serde_json::from_slice(&std::fs::read(folder.join(name)).unwrap()).unwrap() };
    let cases = json("cases.json").get(family)?.as_array().unwrap().clone();
    let bytes = std::fs::read(folder.join(format!("{family}.safetensors"))).unwrap();
    Some(Vectors { bytes, cases, config: json("config.json") })
}

impl Vectors {
    fn schedule(&self) -> DdimSchedule {
        let s = &self.config["sampling"];
        let int = |key: &str| s[key].as_u64().unwrap() as u32;
        let float = |key: &str| s[key].as_f64().unwrap();
        DdimSchedule::new(int("train_steps"), float("linear_start"), float("linear_end"), int("stages"))
            .unwrap()
    }

    fn read(&self, name: &str) -> Vec<f64> {
        let file = safetensors::SafeTensors::deserialize(&self.bytes).unwrap();
        let t = file.tensor(name).unwrap();
        let size = t.dtype().bitsize() / 8;
        let one = |b: &[u8]| match t.dtype() {
            safetensors::Dtype::F32 => f64::from(f32::from_le_bytes(b.try_into().unwrap())),
            safetensors::Dtype::F64 => f64::from_le_bytes(b.try_into().unwrap()),
            safetensors::Dtype::I64 => i64::from_le_bytes(b.try_into().unwrap()) as f64,
            safetensors::Dtype::I32 => f64::from(i32::from_le_bytes(b.try_into().unwrap())),
            other => panic!("{name} holds {other:?}"),
        };
        t.data().chunks_exact(size).map(one).collect()
    }
}

/// Largest difference over the largest value.
fn worst(found: impl IntoIterator<Item = f64>, want: &[f64]) -> f64 {
    let found: Vec<f64> = found.into_iter().collect();
    assert_eq!(found.len(), want.len());
    let top = want.iter().fold(0.0f64, |m, v| m.max(v.abs())).max(f64::MIN_POSITIVE);
    found.iter().zip(want).fold(0.0f64, |m, (a, b)| m.max((a - b).abs())) / top
}

#[test]
fn vector_schedule() {
    let Some(v) = vectors("schedule") else { return };
    let s = v.schedule();
    let sampling = &v.config["sampling"];
    let b = betas(
        s.timesteps(),
        sampling["linear_start"].as_f64().unwrap(),
        sampling["linear_end"].as_f64().unwrap(),
    );
    let mut far = 0.0f64;
    for case in &v.cases {
        let case = case["case"].as_str().unwrap();
        let read = |part: &str| v.read(&format!("{case}.{part}"));
        if case == "base" {
            assert!(worst(b.iter().copied(), &read("betas")) < 1e-12);
            assert!(worst(products(&b), &read("alphas_cumprod")) < 1e-12);
            let stages = (0..s.timesteps()).map(|t| expert_of(t, s.timesteps(), s.experts) as f64);
            assert!(stages.eq(read("stage_of")));
            continue;
        }
        let count: u32 = case[1..].parse().unwrap();
        let visited = s.visited(count).unwrap();
        assert!(visited.iter().map(|&t| f64::from(t)).eq(read("t")), "{case}");
        for (eta, part) in [(0.0, "sigma_eta0"), (0.5, "sigma_eta05"), (1.0, "sigma_eta1")] {
            let previous = std::iter::once(0).chain(visited.iter().copied());
            let numbers: Vec<_> = visited.iter().zip(previous).map(|(&t, p)| s.numbers(t, p, eta)).collect();
            type Part<'a> = (&'a str, fn(&Numbers) -> f32);
            let parts: [Part<'_>; 4] = [
                ("alpha", |n| n.alpha),
                ("alpha_prev", |n| n.alpha_prev),
                ("sqrt_one_minus_alpha", |n| n.sqrt_one_minus_alpha),
                (part, |n| n.sigma),
            ];
            for (part, get) in parts {
                let e = worst(numbers.iter().map(|n| f64::from(get(n))), &read(part));
                assert!(e < 1e-6, "{case} {part}: {e:e}");
                far = far.max(e);
            }
        }
    }
    assert!(v.cases.len() > 1);
    println!("schedule: {} cases, worst error {far:.1e}", v.cases.len());
}

#[test]
fn vector_ddim_analytic() {
    let Some(v) = vectors("ddim_analytic") else { return };
    let s = v.schedule();
    let mut far = 0.0f64;
    for case in &v.cases {
        let name = case["case"].as_str().unwrap();
        let read = |part: &str| v.read(&format!("{name}.{part}"));
        let kept: Vec<usize> =
            case["kept_steps"].as_array().unwrap().iter().map(|k| k.as_u64().unwrap() as usize).collect();
        let steps = s.steps(case["steps"].as_u64().unwrap() as u32, case["eta"].as_f64().unwrap()).unwrap();
        let (noise, want_x, want_x0) = (read("noise"), read("x"), read("x0"));
        let mut x: Vec<f32> = read("x_T").iter().map(|&v| v as f32).collect();
        let n = x.len();
        assert_eq!(noise.len(), steps.len() * n);
        let mut seen = 0;
        for (i, step) in steps.iter().enumerate() {
            let c = &step.coefs;
            let mut x0 = vec![0.0f32; n];
            for (k, (x, x0)) in x.iter_mut().zip(&mut x0).enumerate() {
                let eps = 0.7 * x.tanh() + 0.01 * step.timestep as f32 / 1000.0;
                *x0 = c.estimate(*x, eps);
                *x = c.next(*x, *x0, eps, noise[i * n + k] as f32);
            }
            if let Some(j) = kept.iter().position(|&k| k == i) {
                let part = j * n..(j + 1) * n;
                far = far.max(worst(x.iter().map(|&v| v.into()), &want_x[part.clone()]));
                far = far.max(worst(x0.iter().map(|&v| v.into()), &want_x0[part]));
                seen += 1;
            }
        }
        assert_eq!(seen, kept.len());
        assert!(far < 1e-5, "{name}: {far:e}");
    }
    assert!(!v.cases.is_empty());
    println!("ddim_analytic: {} cases, worst error {far:.1e}", v.cases.len());
}
