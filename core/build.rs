//! Compiles the CUDA kernels where the feature `cuda` asks for them and a compiler is there.

#[cfg(feature = "cuda")]
#[path = "build/nvrtc.rs"]
mod nvrtc;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    #[cfg(feature = "cuda")]
    images::write()?;
    Ok(())
}

#[cfg(feature = "cuda")]
mod images {
    use crate::nvrtc::Compiler;
    use std::error::Error;
    use std::fmt::Write;
    use std::path::Path;

    /// What is compiled: the compiler's word for it, compute capability times ten, whether it is PTX, which later GPUs
    /// translate for themselves.
    const TARGETS: [(&str, u32, bool); 8] = [
        ("sm_75", 75, false),
        ("sm_80", 80, false),
        ("sm_86", 86, false),
        ("sm_89", 89, false),
        ("sm_90", 90, false),
        ("sm_100", 100, false),
        ("sm_120", 120, false),
        ("compute_80", 80, true),
    ];

    const FOLDER: &str = "src/exec/cuda/kernels";

    /// Path of the compiler, libnvrtc.so.12.
    const VARIABLE: &str = "SSMOESR_NVRTC";

    /// Writes `images.rs`, the list of images, and the images beside it.
    pub fn write() -> Result<(), Box<dyn Error>> {
        println!("cargo:rerun-if-env-changed={VARIABLE}");
        println!("cargo:rerun-if-changed={FOLDER}");
        println!("cargo:rerun-if-changed=build");
        let out = std::env::var("OUT_DIR")?;
        let mut list = String::new();
        if let Some(path) = std::env::var_os(VARIABLE).filter(|p| !p.is_empty()) {
            let read = |name: &str| std::fs::read_to_string(Path::new(FOLDER).join(name));
            let mut headers = Vec::new();
            for entry in std::fs::read_dir(FOLDER)? {
                let name = entry?.file_name().to_string_lossy().into_owned();
                if name.ends_with(".cuh") {
                    headers.push((read(&name)?, name));
                }
            }
            headers.sort();
            let compiler = Compiler::open(Path::new(&path), read("kernels.cu")?, headers)?;
            for (target, capability, ptx) in TARGETS {
                let file = Path::new(&out).join(format!("{target}.bin"));
                std::fs::write(&file, compiler.compile(target, ptx)?)?;
                writeln!(
                    list,
                    "    Image {{ capability: {capability}, ptx: {ptx}, bytes: include_bytes!({file:?}) }},"
                )?;
            }
        } else {
            println!(
                "cargo:warning={VARIABLE} does not name a libnvrtc.so.12: the device `cuda` will have no kernels"
            );
        }
        std::fs::write(Path::new(&out).join("images.rs"), format!("&[\n{list}]\n"))?;
        Ok(())
    }
}
