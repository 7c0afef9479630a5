//! GIMP 2.10: a table of functions for gimp_main, values by position.
#![allow(unsafe_code, reason = "called by GIMP")]

use std::cell::{Cell, OnceCell};
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::ptr::{null, null_mut};

use crate::face::{Gimp, Image, Item};
use crate::host::about::{AUTHOR, BLURB, HELP, HELP_DOMAIN, LABEL, MENU, NAME, YEAR};
use crate::host::api::value;
use crate::host::libgimp::{Host, Names};
use crate::host::library::{Argument, Generation, Library, Ptr, Str, functions, text};
use crate::host::{help_pages, panicked, settings};
use crate::job;
use crate::record;
use crate::request::{Holds, Param, Request, params};
use crate::trouble::Trouble;

/// `GimpPlugInInfo`.
#[repr(C)]
pub(super) struct PlugInInfo {
    init: Option<unsafe extern "C" fn()>,
    quit: Option<unsafe extern "C" fn()>,
    query: Option<unsafe extern "C" fn()>,
    run: Option<Run>,
}

pub(super) type Run = unsafe extern "C" fn(Str, c_int, *const Value, *mut c_int, *mut *const Value);

/// `GimpParamDef`.
#[repr(C)]
pub(super) struct ParamDef {
    kind: c_int,
    name: Str,
    text: Str,
}

/// `GimpParam`: a tag, then a union of 32 bytes, whose largest member is a colour.
#[repr(C)]
#[derive(Clone, Copy)]
pub(super) struct Value {
    kind: c_int,
    data: [u64; 4],
}

const _: () =
    assert!(size_of::<Value>() == 40 && size_of::<ParamDef>() == 24 && size_of::<PlugInInfo>() == 32);

const INT32: c_int = 0;
const FLOAT: c_int = 3;
const STRING: c_int = 4;
const IMAGE: c_int = 13;
const DRAWABLE: c_int = 16;
const STATUS: c_int = 21;

impl Value {
    fn integer(kind: c_int, number: i32) -> Self {
        Self { kind, data: [u64::from(number as u32), 0, 0, 0] }
    }

    fn as_integer(&self) -> i32 {
        self.data[0] as u32 as i32
    }

    /// The value as text.
    ///
    /// # Safety
    /// A string is null or a C string.
    unsafe fn as_text(&self) -> String {
        match self.kind {
            FLOAT => f64::from_bits(self.data[0]).to_string(),
            STRING => {
                let string = self.data[0] as usize as Str;
                if string.is_null() {
                    return String::new();
                }
                // SAFETY: as the caller promises.
                unsafe { CStr::from_ptr(string).to_string_lossy().into_owned() }
            }
            _ => self.as_integer().to_string(),
        }
    }
}

functions! {
    /// What only 2.10 has.
    struct Old {
        gimp_main: unsafe extern "C" fn(*const PlugInInfo, c_int, *const *mut c_char) -> c_int,
        gimp_install_procedure: unsafe extern "C" fn(
            Str, Str, Str, Str, Str, Str, Str, Str, c_int, c_int, c_int, *const ParamDef, *const ParamDef
        ),
        gimp_plugin_menu_register: unsafe extern "C" fn(Str, Str) -> c_int,
        gimp_plugin_help_register: unsafe extern "C" fn(Str, Str) -> c_int,
        g_filename_to_uri: unsafe extern "C" fn(Str, Str, Ptr) -> Ptr,
        gimp_plugin_enable_precision: unsafe extern "C" fn() -> c_int,
        gimp_item_is_valid: unsafe extern "C" fn(i32) -> c_int,
        gimp_image_get_filename: unsafe extern "C" fn(i32) -> Ptr,
        gimp_image_set_filename: unsafe extern "C" fn(i32, Str) -> c_int,
        g_free: unsafe extern "C" fn(Ptr),
    }
}

impl Names for Old {
    type Handle = i32;
    const NONE: i32 = -1;

    fn image(&self, image: Image) -> i32 {
        image.0
    }
    fn item(&self, item: Item) -> i32 {
        item.0
    }
    fn image_number(&self, image: i32) -> Image {
        Image(image)
    }
    fn item_number(&self, item: i32) -> Item {
        Item(item)
    }
    fn exists(&self, item: Item) -> bool {
        // SAFETY: any number may be asked for.
        unsafe { (self.gimp_item_is_valid)(item.0) != 0 }
    }
    fn is_painted(&self, _: i32) -> bool {
        false
    }
    fn file(&self, image: i32) -> Option<PathBuf> {
        // SAFETY: the string is ours until it is freed.
        unsafe {
            let name = (self.gimp_image_get_filename)(image);
            if name.is_null() {
                return None;
            }
            let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name.cast()).to_bytes()));
            (self.g_free)(name);
            Some(path)
        }
    }
    fn set_file(&self, image: i32, file: &Path) {
        let Ok(name) = CString::new(file.as_os_str().as_bytes()) else { return };
        // SAFETY: the name lives during the call.
        unsafe {
            (self.gimp_image_set_filename)(image, name.as_ptr());
        }
    }
}

thread_local! {
    static HOST: OnceCell<Host<Old>> = const { OnceCell::new() };
    /// What `run` answered: libgimp reads it after the return.
    static ANSWER: Cell<[Value; 2]> = const { Cell::new([Value { kind: STATUS, data: [0; 4] }; 2]) };
}

/// Runs `work` with libgimp, where it is loaded.
fn with_host<T>(work: impl FnOnce(&Host<Old>) -> T) -> Result<T, Trouble> {
    HOST.with(|host| host.get().map(work)).ok_or_else(|| Trouble::said("libgimp is not loaded."))
}

pub(super) fn serve(arguments: &[Argument]) -> Result<i32, Trouble> {
    let library = Library::open("libgimp-2.0.so.0")?;
    let old = Old::load(&library, Generation::Two)?;
    let host = Host::load(&library, Generation::Two, old)?;
    let gimp_main = host.names.gimp_main;
    HOST.with(|cell| cell.get_or_init(|| host).names.gimp_main);
    let info = PlugInInfo { init: None, quit: None, query: Some(query), run: Some(run) };
    let mut words: Vec<*mut c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
    words.push(null_mut());
    // SAFETY: the table and the words outlive the call; the words end with null.
    Ok(unsafe { gimp_main(&info, arguments.len() as c_int, words.as_ptr()) })
}

/// A parameter as 2.10 knows it: type, and a text that names the values of choices.
fn described(param: &Param) -> (c_int, String) {
    match param.holds {
        Holds::Integer { .. } => (INT32, param.help.clone()),
        Holds::Number { .. } => (FLOAT, param.help.clone()),
        Holds::Text { .. } => (STRING, param.help.clone()),
        Holds::Choice { words } => {
            let list: Vec<String> =
                words.iter().enumerate().map(|(i, w)| format!("{} ({i})", w.name.to_uppercase())).collect();
            (INT32, format!("{} {{ {} }}", param.help, list.join(", ")))
        }
    }
}

unsafe extern "C" fn query() {
    // A panic may not reach GIMP; without a procedure the entry is missing, and `--check` tells more.
    let _ = catch_unwind(install);
}

fn install() {
    let mut list = vec![
        (
            INT32,
            text("run-mode"),
            text("The run mode { RUN-INTERACTIVE (0), RUN-NONINTERACTIVE (1), RUN-WITH-LAST-VALS (2) }"),
        ),
        (IMAGE, text("image"), text("The image")),
        (DRAWABLE, text("drawable"), text("The layer")),
    ];
    for param in params() {
        let (kind, help) = described(&param);
        list.push((kind, text(param.name), text(&help)));
    }
    let defs: Vec<ParamDef> = list
        .iter()
        .map(|(kind, name, help)| ParamDef { kind: *kind, name: name.as_ptr(), text: help.as_ptr() })
        .collect();
    let result =
        [ParamDef { kind: IMAGE, name: c"result".as_ptr(), text: c"The image with the result".as_ptr() }];
    let words = [NAME, BLURB, HELP, AUTHOR, AUTHOR, YEAR, LABEL, "*", MENU].map(text);
    let [name, blurb, help, author, copyright, year, label, types, menu] =
        words.each_ref().map(|w| w.as_ptr());
    let pages = help_pages().and_then(|p| CString::new(p.into_os_string().into_vec()).ok());
    let domain = text(HELP_DOMAIN);
    let _ = with_host(|host| {
        if let Some(pages) = &pages {
            // SAFETY: strings live during the calls; null stands for no host and for no interest in errors.
            unsafe {
                let address = (host.names.g_filename_to_uri)(pages.as_ptr(), null(), null_mut());
                if !address.is_null() {
                    (host.names.gimp_plugin_help_register)(domain.as_ptr(), address.cast());
                    (host.names.g_free)(address);
                }
            }
        }
        // SAFETY: strings and lists live during the calls, which copy them.
        unsafe {
            (host.names.gimp_install_procedure)(
                name,
                blurb,
                help,
                author,
                copyright,
                year,
                label,
                types,
                value::PLUGIN,
                defs.len() as c_int,
                result.len() as c_int,
                defs.as_ptr(),
                result.as_ptr(),
            );
            (host.names.gimp_plugin_menu_register)(name, menu);
        }
    });
}

/// # Safety
/// Called by libgimp with `count` values at `values` and two places for the answer.
unsafe extern "C" fn run(
    _name: Str,
    count: c_int,
    values: *const Value,
    answer_count: *mut c_int,
    answer: *mut *const Value,
) {
    let count = usize::try_from(count).unwrap_or(0);
    // SAFETY: as libgimp promises; it never gives null for more than zero values.
    let values = if count == 0 { &[] } else { unsafe { std::slice::from_raw_parts(values, count) } };
    let done = catch_unwind(|| with_host(|host| work(host, values)).and_then(|done| done));
    let (length, made) = match done.unwrap_or_else(|_| Err(panicked())) {
        Ok(image) => (2, [Value::integer(STATUS, value::SUCCESS), Value::integer(IMAGE, image.0)]),
        Err(Trouble::Cancelled) => (1, [Value::integer(STATUS, value::CANCEL); 2]),
        Err(Trouble::Said(said)) => {
            let said = text(&said);
            let copy = with_host(|host| {
                // SAFETY: a C string; libgimp frees nothing of the answer, and this process ends soon.
                unsafe { (host.glib.g_strdup)(said.as_ptr()) }
            });
            let message = Value { kind: STRING, data: [copy.map_or(0, |p| p as usize as u64), 0, 0, 0] };
            (2, [Value::integer(STATUS, value::EXECUTION_ERROR), message])
        }
    };
    ANSWER.set(made);
    // SAFETY: libgimp's two places; the answer lives as long as this thread, which is libgimp's.
    unsafe {
        *answer_count = length;
        *answer = ANSWER.with(Cell::as_ptr).cast();
    }
}

fn work(host: &Host<Old>, values: &[Value]) -> Result<Image, Trouble> {
    let [mode, image, drawable, own @ ..] = values else {
        return Err(Trouble::said("GIMP gave no image."));
    };
    // SAFETY: no arguments. Without it every picture comes in 8 bits.
    unsafe {
        (host.names.gimp_plugin_enable_precision)();
    }
    host.begin();
    let (image, drawables) = (Image(image.as_integer()), [Item(drawable.as_integer())]);
    let profile = host.profile();
    let store = profile.as_ref().map(|folder| folder.join(settings::FILE));
    let interactive = mode.as_integer() == value::RUN_INTERACTIVE;
    let mut request = Request::default();
    match mode.as_integer() {
        value::RUN_INTERACTIVE => {
            let mut last = settings::read(store.as_deref()).unwrap_or_default();
            crate::dialog::two::ask(host, image, &drawables, &mut last)?;
            // Before the work: who cancels it finds the values again.
            settings::write(store.as_deref(), &last);
            request = last;
        }
        value::RUN_WITH_LAST_VALUES => request = settings::read(store.as_deref()).unwrap_or_default(),
        _ => {
            for (param, value) in params().iter().zip(own) {
                // SAFETY: strings of libgimp are null or C strings.
                request.set(param.name, &unsafe { value.as_text() })?;
            }
        }
    }
    let shown = interactive || mode.as_integer() == value::RUN_WITH_LAST_VALUES;
    record::keep(profile.as_deref(), host.version(), &request, || {
        job::run(host, image, &drawables, &request, shown)
    })
    .map(|done| done.image)
}
