//! Shared libraries by name, functions by name.
#![allow(unsafe_code, reason = "loading libraries")]

use std::ffi::{CStr, CString, c_char, c_void};
use std::os::unix::ffi::OsStringExt;

use crate::trouble::Trouble;

/// Any C pointer.
pub(crate) type Ptr = *mut c_void;
/// A C string.
pub(crate) type Str = *const c_char;
/// A word of the command line.
pub(crate) type Argument = CString;

/// Which GIMP has started this program.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Generation {
    Two,
    Three,
}

/// A shared library. It is never closed: types that it registered with GLib must stay.
pub(crate) struct Library(Ptr);

impl Library {
    pub(crate) fn open(name: &str) -> Result<Self, Trouble> {
        let c_name = text(name);
        // SAFETY: the name is a C string; GIMP's libraries may be initialised from any state of the process. Global,
        // so that what they load themselves finds the same GObject.
        let handle = unsafe { libc::dlopen(c_name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL) };
        if handle.is_null() {
            return Err(Trouble::Said(format!(
                "{name} cannot be loaded: {}. It is part of GIMP: is that installed completely?",
                last_error()
            )));
        }
        Ok(Self(handle))
    }

    /// The address of a function in this library or in those it depends on: through libgimp also GEGL, babl and GLib.
    pub(crate) fn symbol(&self, name: &str) -> Result<Ptr, Trouble> {
        let address = self.optional(name);
        if address.is_null() {
            return Err(Trouble::Said(format!(
                "This version of GIMP has no {name}: 2.10 and 3.x are supported, not their development versions."
            )));
        }
        Ok(address)
    }

    /// As [`symbol`](Self::symbol), null where there is none.
    pub(crate) fn optional(&self, name: &str) -> Ptr {
        let c_name = text(name);
        // SAFETY: the handle is open as long as the process lives, the name is a C string.
        unsafe { libc::dlsym(self.0, c_name.as_ptr()) }
    }
}

fn last_error() -> String {
    // SAFETY: dlerror gives a C string or null; read before another call to the loader.
    unsafe {
        let error = libc::dlerror();
        if error.is_null() { String::new() } else { CStr::from_ptr(error).to_string_lossy().into_owned() }
    }
}

/// A C string; what follows a NUL is cut off.
pub(crate) fn text(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// The words of the command line.
pub(crate) fn arguments() -> Vec<Argument> {
    std::env::args_os().map(|word| CString::new(word.into_vec()).unwrap_or_default()).collect()
}

/// Declares a struct of C functions with its loader: `functions! { struct Name { function: type, ... } }`. Each is
/// looked up under its own name, or under what `old_name` says for GIMP 2.10.
macro_rules! functions {
    ($(#[$doc:meta])* struct $name:ident$(<$h:ident>)? { $($field:ident: $kind:ty,)* }) => {
        $(#[$doc])*
        pub(super) struct $name$(<$h>)? { $(pub(super) $field: $kind,)* }

        impl$(<$h: Copy>)? $name$(<$h>)? {
            pub(super) fn load(
                library: &$crate::host::Library,
                generation: $crate::host::Generation,
            ) -> Result<Self, $crate::trouble::Trouble> {
                Ok(Self {
                    $($field: {
                        let name = $crate::host::name_in(generation, stringify!($field));
                        let address = library.symbol(name)?;
                        // SAFETY: the address is not null and of a function of this name, whose type is as the
                        // headers of 2.10.34, 3.0.4 and 3.2.6 have it.
                        unsafe { std::mem::transmute_copy::<$crate::host::Ptr, $kind>(&address) }
                    },)*
                })
            }
        }
    };
}
pub(crate) use functions;

/// Functions that were renamed for 3.0; their types are the same.
pub(crate) fn name_in(generation: Generation, name: &'static str) -> &'static str {
    if generation == Generation::Three {
        return name;
    }
    match name {
        "gimp_image_get_width" => "gimp_image_width",
        "gimp_image_get_height" => "gimp_image_height",
        "gimp_image_get_base_type" => "gimp_image_base_type",
        "gimp_drawable_get_width" => "gimp_drawable_width",
        "gimp_drawable_get_height" => "gimp_drawable_height",
        "gimp_drawable_get_offsets" => "gimp_drawable_offsets",
        name => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named() {
        let Err(trouble) = Library::open("libno-such-thing.so.9") else { panic!("it was opened") };
        assert!(trouble.to_string().contains("libno-such-thing.so.9"), "{trouble}");
        let libc = Library::open("libc.so.6").unwrap();
        assert!(!libc.symbol("strlen").unwrap().is_null());
        assert!(libc.optional("no_such_function").is_null());
        assert!(libc.symbol("no_such_function").unwrap_err().to_string().contains("no_such_function"));
    }

    #[test]
    fn strings_end_at_a_nul() {
        assert_eq!(text("a\0b").as_bytes(), b"a");
    }
}
