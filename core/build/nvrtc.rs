//! The compiler of CUDA kernels, a shared library that is opened for the build alone.

#![allow(unsafe_code, reason = "calls a C library")]

use libloading::Library;
use std::error::Error;
use std::ffi::{CString, c_char, c_int, c_void};
use std::path::Path;
use std::ptr;

type Program = *mut c_void;
type Create = unsafe extern "C" fn(
    *mut Program,
    *const c_char,
    *const c_char,
    c_int,
    *const *const c_char,
    *const *const c_char,
) -> c_int;
type Compile = unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int;
type Size = unsafe extern "C" fn(Program, *mut usize) -> c_int;
type Get = unsafe extern "C" fn(Program, *mut c_char) -> c_int;
type Destroy = unsafe extern "C" fn(*mut Program) -> c_int;

/// An open compiler with the source it compiles.
pub struct Compiler {
    library: Library,
    source: CString,
    headers: Vec<CString>,
    names: Vec<CString>,
}

impl Compiler {
    /// Opens the library at `path` for `source` and `headers` (text and name).
    pub fn open(path: &Path, source: String, headers: Vec<(String, String)>) -> Result<Self, Box<dyn Error>> {
        // SAFETY: NVRTC's initialisers do nothing but set up the library.
        let library = unsafe { Library::new(path) }.map_err(|e| format!("{}: {e}", path.display()))?;
        let (mut texts, mut names) = (Vec::new(), Vec::new());
        for (text, name) in headers {
            texts.push(CString::new(text)?);
            names.push(CString::new(name)?);
        }
        Ok(Self { library, source: CString::new(source)?, headers: texts, names })
    }

    /// The image for `target`: PTX, or machine code.
    pub fn compile(&self, target: &str, ptx: bool) -> Result<Vec<u8>, Box<dyn Error>> {
        let pointers = |all: &[CString]| all.iter().map(|t| t.as_ptr()).collect::<Vec<_>>();
        let (headers, names) = (pointers(&self.headers), pointers(&self.names));
        let mut program: Program = ptr::null_mut();
        // SAFETY: the symbol has this signature in NVRTC 12; all texts outlive the call, which copies them.
        let code = unsafe {
            self.library.get::<Create>(b"nvrtcCreateProgram\0")?(
                &mut program,
                self.source.as_ptr(),
                c"kernels.cu".as_ptr(),
                headers.len() as c_int,
                headers.as_ptr(),
                names.as_ptr(),
            )
        };
        if code != 0 {
            return Err(format!("nvrtcCreateProgram: code {code}").into());
        }
        // No -use_fast_math: results are held to those of the CPU.
        let options = [CString::new(format!("--gpu-architecture={target}"))?, c"-std=c++17".to_owned()];
        let options = pointers(&options);
        // SAFETY: the program was made above; the options outlive the call.
        let code = unsafe {
            self.library.get::<Compile>(b"nvrtcCompileProgram\0")?(
                program,
                options.len() as c_int,
                options.as_ptr(),
            )
        };
        let result = if code != 0 {
            let log = self.read(program, "nvrtcGetProgramLogSize\0", "nvrtcGetProgramLog\0")?;
            Err(format!("kernels.cu for {target}: code {code}\n{}", String::from_utf8_lossy(&log)).into())
        } else if ptx {
            self.read(program, "nvrtcGetPTXSize\0", "nvrtcGetPTX\0")
        } else {
            self.read(program, "nvrtcGetCUBINSize\0", "nvrtcGetCUBIN\0")
        };
        // SAFETY: the program was made above and is not used any more.
        unsafe { self.library.get::<Destroy>(b"nvrtcDestroyProgram\0")?(&mut program) };
        result
    }

    fn read(&self, program: Program, size: &str, get: &str) -> Result<Vec<u8>, Box<dyn Error>> {
        let mut len = 0;
        // SAFETY: the program is alive; `len` is written before `get` fills as many bytes.
        let code = unsafe { self.library.get::<Size>(size.as_bytes())?(program, &mut len) };
        let mut bytes = vec![0u8; len];
        // SAFETY: as above.
        let second = unsafe { self.library.get::<Get>(get.as_bytes())?(program, bytes.as_mut_ptr().cast()) };
        if code != 0 || second != 0 { Err(format!("{get}: code {code}, {second}").into()) } else { Ok(bytes) }
    }
}
