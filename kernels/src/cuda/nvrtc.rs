//! NVRTC, loaded at run time from wherever it is.
//!
//! The functions are those of `nvrtc.h` (CUDA 12 and 13); the library is not linked, because most machines have none.

use std::{
    ffi::{CStr, CString, c_char, c_int, c_void},
    path::{Path, PathBuf},
};

use libloading::Library;

use super::CudaError;

#[cfg(not(windows))]
const NAMES: [&str; 3] = ["libnvrtc.so.13", "libnvrtc.so.12", "libnvrtc.so"];
#[cfg(windows)]
const NAMES: [&str; 2] = ["nvrtc64_130_0.dll", "nvrtc64_120_0.dll"];

/// The loaded compiler.
pub(super) struct Nvrtc {
    library: Library,
    /// Where it was found: a path, or a name that the loader knew.
    pub place: String,
}

/// An opaque program of NVRTC.
type Program = *mut c_void;

impl Nvrtc {
    /// Looks in `GAV_NVRTC`, the loader's path, toolkit folders, and the packages of Python installations.
    pub fn find() -> Result<Self, CudaError> {
        let mut searched = Vec::new();
        if let Some(given) = std::env::var_os("GAV_NVRTC") {
            let given = PathBuf::from(given);
            let files = if given.is_dir() { files_in(&given) } else { vec![given.clone()] };
            for file in files {
                if let Some(found) = Self::open(&file) {
                    return Ok(found);
                }
            }
            // a wrong setting must not be papered over
            return Err(CudaError::NoNvrtc { searched: format!("GAV_NVRTC={}", given.display()) });
        }
        for name in NAMES {
            if let Some(found) = Self::open(Path::new(name)) {
                return Ok(found);
            }
        }
        searched.push("the loader's path".to_owned());
        for folder in super::report::library_folders(&["cuda_nvrtc"]) {
            for file in files_in(&folder) {
                if let Some(found) = Self::open(&file) {
                    return Ok(found);
                }
            }
            searched.push(folder.display().to_string());
        }
        searched.push("and GAV_NVRTC is not set".to_owned());
        Err(CudaError::NoNvrtc { searched: searched.join(", ") })
    }

    fn open(file: &Path) -> Option<Self> {
        if let Some(folder) = file.parent().filter(|p| !p.as_os_str().is_empty()) {
            // NVRTC asks the loader for this one by name; packages of Python keep it beside NVRTC, where the loader does
            // not look
            for builtins in super::report::files_named(folder, "libnvrtc-builtins") {
                // SAFETY: NVIDIA's table of built-in functions: its initialisers do nothing to this process
                if let Ok(library) = unsafe { Library::new(&builtins) } {
                    std::mem::forget(library);
                }
            }
        }
        // SAFETY: NVRTC's initialisers do nothing to this process
        let library = unsafe { Library::new(file) }.ok()?;
        let found = Self { library, place: file.display().to_string() };
        found.version().map(|_| found)
    }

    /// Major and minor version.
    pub fn version(&self) -> Option<(i32, i32)> {
        let (mut major, mut minor) = (0, 0);
        // SAFETY: signature of nvrtcVersion
        let code = unsafe {
            let f = self.library.get::<unsafe extern "C" fn(*mut c_int, *mut c_int) -> c_int>(b"nvrtcVersion").ok()?;
            f(&mut major, &mut minor)
        };
        (code == 0).then_some((major, minor))
    }

    /// Machine code of `source`, with what the compiler had to say.
    pub fn compile(&self, name: &str, source: &str, options: &[String]) -> Result<(Vec<u8>, String), CudaError> {
        let failed = |log: String| CudaError::Compile { kernel: name.to_owned(), log };
        let text = |s: &str| CString::new(s).map_err(|_| failed("a zero byte in the source".to_owned()));
        let (source, file) = (text(source)?, text(name)?);
        let options = options.iter().map(|o| text(o)).collect::<Result<Vec<_>, _>>()?;
        let pointers: Vec<*const c_char> = options.iter().map(|o| o.as_ptr()).collect();
        // SAFETY: signatures and order of calls as in nvrtc.h; the strings outlive the calls, the buffers have the sizes that
        // NVRTC asked for, and the program is destroyed on every path
        unsafe {
            let call = |name: &[u8]| {
                self.library
                    .get::<unsafe extern "C" fn(Program, *mut usize) -> c_int>(name)
                    .map_err(|e| failed(e.to_string()))
            };
            let read = |name: &[u8]| {
                self.library
                    .get::<unsafe extern "C" fn(Program, *mut c_char) -> c_int>(name)
                    .map_err(|e| failed(e.to_string()))
            };
            let create = self
                .library
                .get::<unsafe extern "C" fn(
                    *mut Program,
                    *const c_char,
                    *const c_char,
                    c_int,
                    *const *const c_char,
                    *const *const c_char,
                ) -> c_int>(b"nvrtcCreateProgram")
                .map_err(|e| failed(e.to_string()))?;
            let compile = self
                .library
                .get::<unsafe extern "C" fn(Program, c_int, *const *const c_char) -> c_int>(b"nvrtcCompileProgram")
                .map_err(|e| failed(e.to_string()))?;
            let destroy = self
                .library
                .get::<unsafe extern "C" fn(*mut Program) -> c_int>(b"nvrtcDestroyProgram")
                .map_err(|e| failed(e.to_string()))?;
            let (log_size, get_log) = (call(b"nvrtcGetProgramLogSize")?, read(b"nvrtcGetProgramLog")?);
            let (code_size, get_code) = (call(b"nvrtcGetCUBINSize")?, read(b"nvrtcGetCUBIN")?);

            let mut program: Program = std::ptr::null_mut();
            let none = std::ptr::null();
            let code = create(&mut program, source.as_ptr(), file.as_ptr(), 0, none, none);
            if code != 0 {
                return Err(failed(self.message(code)));
            }
            let code = compile(program, pointers.len() as c_int, pointers.as_ptr());
            let mut size = 0;
            let mut log = String::new();
            if log_size(program, &mut size) == 0 && size > 1 {
                let mut bytes = vec![0u8; size];
                if get_log(program, bytes.as_mut_ptr().cast()) == 0 {
                    bytes.pop();
                    log = String::from_utf8_lossy(&bytes).into_owned();
                }
            }
            let mut binary = Vec::new();
            let mut got = code;
            if got == 0 {
                got = code_size(program, &mut size);
            }
            if got == 0 {
                binary = vec![0u8; size];
                got = get_code(program, binary.as_mut_ptr().cast());
            }
            destroy(&mut program);
            if got != 0 { Err(failed(format!("{}\n{log}", self.message(got)))) } else { Ok((binary, log)) }
        }
    }

    fn message(&self, code: c_int) -> String {
        // SAFETY: signature of nvrtcGetErrorString, which returns a static string for every number
        unsafe {
            match self.library.get::<unsafe extern "C" fn(c_int) -> *const c_char>(b"nvrtcGetErrorString") {
                Ok(f) => CStr::from_ptr(f(code)).to_string_lossy().into_owned(),
                Err(_) => format!("error {code}"),
            }
        }
    }
}

/// NVRTC libraries in a folder, newest name first; `.alt` variants, which are slower at compiling, left out.
fn files_in(folder: &Path) -> Vec<PathBuf> {
    NAMES.iter().map(|name| folder.join(name)).filter(|file| file.exists()).collect()
}
