//! GIMP 3.x: a subclass of GimpPlugIn made at run time, values by name.
#![allow(unsafe_code, reason = "called by GIMP")]

use std::cell::OnceCell;
use std::ffi::{CStr, CString, OsStr, c_char, c_int};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::panic::catch_unwind;
use std::path::{Path, PathBuf};
use std::ptr::null_mut;

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

/// `GTypeQuery`: GObject's own answer to how large a type is, so that no size is written down here.
#[repr(C)]
#[derive(Default)]
pub(super) struct TypeQuery {
    kind: usize,
    name: usize,
    class_size: u32,
    instance_size: u32,
}

/// What GimpPlugInClass adds to GObjectClass, in this order.
#[repr(C)]
struct PlugInSlots {
    query_procedures: unsafe extern "C" fn(Ptr) -> Ptr,
    init_procedures: Option<unsafe extern "C" fn(Ptr) -> Ptr>,
    create_procedure: unsafe extern "C" fn(Ptr, Str) -> Ptr,
    quit: Option<unsafe extern "C" fn(Ptr)>,
    set_i18n: unsafe extern "C" fn(Ptr, Str, Ptr, Ptr) -> c_int,
}

/// `G_TYPE_OBJECT`.
const OBJECT: usize = 20 << 2;
/// `G_PARAM_READWRITE`.
const READ_WRITE: c_int = 3;
/// One layer, several or none: the text of a refusal says more than a gray entry in the menu.
const ANY_LAYERS: c_int = 1 | 4 | 8;

type RunImage = unsafe extern "C" fn(Ptr, c_int, Ptr, *mut Ptr, Ptr, Ptr) -> Ptr;
type Init = Option<unsafe extern "C" fn(Ptr, Ptr)>;
type Set = unsafe extern "C" fn(Ptr, Str);

functions! {
    /// What only 3.x has.
    struct New {
        gimp_main: unsafe extern "C" fn(usize, c_int, *const *mut c_char) -> c_int,
        gimp_plug_in_get_type: unsafe extern "C" fn() -> usize,
        gimp_image_procedure_new: unsafe extern "C" fn(Ptr, Str, c_int, RunImage, Ptr, Ptr) -> Ptr,
        gimp_procedure_set_image_types: Set,
        gimp_procedure_set_sensitivity_mask: unsafe extern "C" fn(Ptr, c_int),
        gimp_procedure_set_menu_label: Set,
        gimp_procedure_add_menu_path: Set,
        gimp_procedure_set_documentation: unsafe extern "C" fn(Ptr, Str, Str, Str),
        gimp_procedure_set_attribution: unsafe extern "C" fn(Ptr, Str, Str, Str),
        gimp_procedure_add_int_argument: unsafe extern "C" fn(Ptr, Str, Str, Str, c_int, c_int, c_int, c_int),
        gimp_procedure_add_double_argument: unsafe extern "C" fn(Ptr, Str, Str, Str, f64, f64, f64, c_int),
        gimp_procedure_add_string_argument: unsafe extern "C" fn(Ptr, Str, Str, Str, Str, c_int),
        gimp_procedure_add_choice_argument: unsafe extern "C" fn(Ptr, Str, Str, Str, Ptr, Str, c_int),
        gimp_procedure_add_image_return_value: unsafe extern "C" fn(Ptr, Str, Str, Str, c_int, c_int),
        gimp_choice_new: unsafe extern "C" fn() -> Ptr,
        gimp_choice_add: unsafe extern "C" fn(Ptr, Str, c_int, Str, Str),
        gimp_procedure_config_get_choice_id: unsafe extern "C" fn(Ptr, Str) -> c_int,
        gimp_procedure_new_return_values: unsafe extern "C" fn(Ptr, c_int, Ptr) -> Ptr,
        gimp_value_array_index: unsafe extern "C" fn(Ptr, c_int) -> Ptr,
        gimp_plug_in_set_help_domain: unsafe extern "C" fn(Ptr, Str, Ptr),
        gimp_image_get_id: unsafe extern "C" fn(Ptr) -> c_int,
        gimp_image_get_by_id: unsafe extern "C" fn(c_int) -> Ptr,
        gimp_item_get_id: unsafe extern "C" fn(Ptr) -> c_int,
        gimp_item_get_by_id: unsafe extern "C" fn(c_int) -> Ptr,
        gimp_item_id_is_valid: unsafe extern "C" fn(c_int) -> c_int,
        gimp_image_get_file: unsafe extern "C" fn(Ptr) -> Ptr,
        gimp_image_get_imported_file: unsafe extern "C" fn(Ptr) -> Ptr,
        gimp_image_set_file: unsafe extern "C" fn(Ptr, Ptr) -> c_int,
        g_file_get_path: unsafe extern "C" fn(Ptr) -> Ptr,
        g_file_new_for_path: unsafe extern "C" fn(Str) -> Ptr,
        g_free: unsafe extern "C" fn(Ptr),
        g_object_unref: unsafe extern "C" fn(Ptr),
        g_object_set: unsafe extern "C" fn(Ptr, Str, ...),
        g_object_get: unsafe extern "C" fn(Ptr, Str, ...),
        g_list_append: unsafe extern "C" fn(Ptr, Ptr) -> Ptr,
        g_type_query: unsafe extern "C" fn(usize, *mut TypeQuery),
        g_type_register_static_simple: unsafe extern "C" fn(usize, Str, u32, Init, u32, Init, c_int) -> usize,
        g_value_set_object: unsafe extern "C" fn(Ptr, Ptr),
        g_error_new_literal: unsafe extern "C" fn(u32, c_int, Str) -> Ptr,
        g_quark_from_string: unsafe extern "C" fn(Str) -> u32,
    }
}

type Is = unsafe extern "C" fn(Ptr) -> c_int;

/// Images and items of 3.x.
pub(super) struct Objects {
    new: New,
    /// 3.2 asks more: whether a layer is a link, or a vector.
    painted: [Option<Is>; 2],
}

impl Names for Objects {
    type Handle = Ptr;
    const NONE: Ptr = null_mut();

    fn image(&self, image: Image) -> Ptr {
        // SAFETY: any number may be asked for; libgimp owns what it gives.
        unsafe { (self.new.gimp_image_get_by_id)(image.0) }
    }
    fn item(&self, item: Item) -> Ptr {
        // SAFETY: as above.
        unsafe { (self.new.gimp_item_get_by_id)(item.0) }
    }
    fn image_number(&self, image: Ptr) -> Image {
        // SAFETY: libgimp gives -1 for null.
        Image(if image.is_null() { -1 } else { unsafe { (self.new.gimp_image_get_id)(image) } })
    }
    fn item_number(&self, item: Ptr) -> Item {
        // SAFETY: as above.
        Item(if item.is_null() { -1 } else { unsafe { (self.new.gimp_item_get_id)(item) } })
    }
    fn exists(&self, item: Item) -> bool {
        // SAFETY: any number may be asked for.
        unsafe { (self.new.gimp_item_id_is_valid)(item.0) != 0 }
    }
    fn is_painted(&self, item: Ptr) -> bool {
        // SAFETY: the item is a layer.
        self.painted.iter().flatten().any(|is| unsafe { is(item) } != 0)
    }
    fn file(&self, image: Ptr) -> Option<PathBuf> {
        // SAFETY: file and string are ours until they are given back.
        unsafe {
            // The first is there once the image was saved in GIMP's own format.
            let mut file = (self.new.gimp_image_get_file)(image);
            if file.is_null() {
                file = (self.new.gimp_image_get_imported_file)(image);
            }
            if file.is_null() {
                return None;
            }
            let name = (self.new.g_file_get_path)(file);
            (self.new.g_object_unref)(file);
            if name.is_null() {
                return None;
            }
            let path = PathBuf::from(OsStr::from_bytes(CStr::from_ptr(name.cast()).to_bytes()));
            (self.new.g_free)(name);
            Some(path)
        }
    }
    fn set_file(&self, image: Ptr, file: &Path) {
        // 3.x takes names of its own format only, and saves there without asking: the name must be free.
        let named = |more: String| {
            let mut name = file.as_os_str().to_owned();
            name.push(more);
            PathBuf::from(name)
        };
        let mut names = std::iter::once(String::new()).chain((2..1000).map(|n| format!(" {n}")));
        let free = names.find_map(|n| Some(named(n + ".xcf")).filter(|name| !name.exists()));
        let Some(file) = free else { return };
        let Ok(name) = CString::new(file.as_os_str().as_bytes()) else { return };
        // SAFETY: the name lives during the calls; the file is ours until the unref.
        unsafe {
            let file = (self.new.g_file_new_for_path)(name.as_ptr());
            (self.new.gimp_image_set_file)(image, file);
            (self.new.g_object_unref)(file);
        }
    }
}

thread_local! {
    static HOST: OnceCell<Host<Objects>> = const { OnceCell::new() };
}

fn with_host<T>(work: impl FnOnce(&Host<Objects>) -> T) -> Result<T, Trouble> {
    HOST.with(|host| host.get().map(work)).ok_or_else(|| Trouble::said("libgimp is not loaded."))
}

pub(super) fn serve(arguments: &[Argument]) -> Result<i32, Trouble> {
    let library = Library::open("libgimp-3.0.so.0")?;
    let new = New::load(&library, Generation::Three)?;
    let painted = ["gimp_item_is_link_layer", "gimp_item_is_vector_layer"].map(|name| {
        let address = library.optional(name);
        // SAFETY: both take an item and answer a gboolean, as 3.2.6 has them.
        (!address.is_null()).then(|| unsafe { std::mem::transmute::<Ptr, Is>(address) })
    });
    let host = Host::load(&library, Generation::Three, Objects { new, painted })?;
    HOST.with(|cell| {
        let new = &cell.get_or_init(|| host).names.new;
        let mut words: Vec<*mut c_char> = arguments.iter().map(|a| a.as_ptr().cast_mut()).collect();
        words.push(null_mut());
        // SAFETY: sizes come from the type system itself; `class_init` is called once, with the class it describes;
        // the words outlive gimp_main and end with null.
        unsafe {
            let parent = (new.gimp_plug_in_get_type)();
            let mut size = TypeQuery::default();
            (new.g_type_query)(parent, &mut size);
            let kind = (new.g_type_register_static_simple)(
                parent,
                c"SsmoesrPlugIn".as_ptr(),
                size.class_size,
                Some(class_init),
                size.instance_size,
                None,
                0,
            );
            Ok((new.gimp_main)(kind, arguments.len() as c_int, words.as_ptr()))
        }
    })
}

/// # Safety
/// Called by GObject with the class to fill.
unsafe extern "C" fn class_init(class: Ptr, _data: Ptr) {
    let _ = with_host(|host| {
        let mut object = TypeQuery::default();
        // SAFETY: GimpPlugInClass begins with GObjectClass, whose size GObject tells; the slots follow.
        unsafe {
            (host.names.new.g_type_query)(OBJECT, &mut object);
            let slots = class.cast::<u8>().add(object.class_size as usize).cast::<PlugInSlots>();
            (*slots).query_procedures = query;
            (*slots).create_procedure = create;
            (*slots).set_i18n = no_catalogs;
        }
    });
}

/// Texts are English: no catalog is looked for.
unsafe extern "C" fn no_catalogs(_: Ptr, _: Str, _: Ptr, _: Ptr) -> c_int {
    0
}

/// # Safety
/// Called by libgimp with the plug-in.
unsafe extern "C" fn query(plug_in: Ptr) -> Ptr {
    let name = text(NAME);
    let list = with_host(|host| {
        let new = &host.names.new;
        if let Some(pages) = help_pages().and_then(|p| CString::new(p.into_os_string().into_vec()).ok()) {
            let domain = text(HELP_DOMAIN);
            // SAFETY: strings live during the calls; the file is ours until the unref.
            unsafe {
                let pages = (new.g_file_new_for_path)(pages.as_ptr());
                (new.gimp_plug_in_set_help_domain)(plug_in, domain.as_ptr(), pages);
                (new.g_object_unref)(pages);
            }
        }
        // SAFETY: list and string become libgimp's.
        unsafe { (new.g_list_append)(null_mut(), (host.glib.g_strdup)(name.as_ptr())) }
    });
    list.unwrap_or(null_mut())
}

/// # Safety
/// Called by libgimp with the plug-in and a C string.
unsafe extern "C" fn create(plug_in: Ptr, name: Str) -> Ptr {
    // SAFETY: as libgimp promises.
    if unsafe { CStr::from_ptr(name) }.to_bytes() != NAME.as_bytes() {
        return null_mut();
    }
    catch_unwind(|| with_host(|host| describe(&host.names.new, plug_in)))
        .map_or(null_mut(), |p| p.unwrap_or(null_mut()))
}

fn describe(new: &New, plug_in: Ptr) -> Ptr {
    let words = [NAME, BLURB, HELP, AUTHOR, YEAR, LABEL, "*", MENU].map(text);
    let [name, blurb, help, author, year, label, types, menu] = words.each_ref().map(|w| w.as_ptr());
    // SAFETY: strings live during the calls, which copy them; the plug-in is libgimp's.
    unsafe {
        let p = (new.gimp_image_procedure_new)(plug_in, name, value::PLUGIN, run, null_mut(), null_mut());
        (new.gimp_procedure_set_image_types)(p, types);
        (new.gimp_procedure_set_sensitivity_mask)(p, ANY_LAYERS);
        (new.gimp_procedure_set_menu_label)(p, label);
        (new.gimp_procedure_add_menu_path)(p, menu);
        (new.gimp_procedure_set_documentation)(p, blurb, help, name);
        (new.gimp_procedure_set_attribution)(p, author, author, year);
        for param in params() {
            add_argument(new, p, &param);
        }
        let (nick, blurb) = (c"Result", c"The image with the result");
        let result = c"result".as_ptr();
        (new.gimp_procedure_add_image_return_value)(p, result, nick.as_ptr(), blurb.as_ptr(), 1, READ_WRITE);
        p
    }
}

/// # Safety
/// `p` is a procedure of libgimp.
unsafe fn add_argument(new: &New, p: Ptr, param: &Param) {
    let words = [param.name, param.nick, &param.help].map(text);
    let [name, nick, help] = words.each_ref().map(|w| w.as_ptr());
    // SAFETY: as the caller promises; strings live during the calls, which copy them; a choice becomes libgimp's.
    unsafe {
        match param.holds {
            Holds::Integer { min, max, default } => {
                (new.gimp_procedure_add_int_argument)(p, name, nick, help, min, max, default, READ_WRITE);
            }
            Holds::Number { min, max, default } => {
                (new.gimp_procedure_add_double_argument)(p, name, nick, help, min, max, default, READ_WRITE);
            }
            Holds::Text { default } => {
                let default = text(default);
                (new.gimp_procedure_add_string_argument)(p, name, nick, help, default.as_ptr(), READ_WRITE);
            }
            Holds::Choice { words } => {
                let choice = (new.gimp_choice_new)();
                for (i, word) in words.iter().enumerate() {
                    let (id, label) = (text(word.name), text(word.label));
                    (new.gimp_choice_add)(choice, id.as_ptr(), i as c_int, label.as_ptr(), c"".as_ptr());
                }
                let default = text(words.first().map_or("", |w| w.name));
                (new.gimp_procedure_add_choice_argument)(
                    p,
                    name,
                    nick,
                    help,
                    choice,
                    default.as_ptr(),
                    READ_WRITE,
                );
            }
        }
    }
}

/// # Safety
/// Called by libgimp; the layers end with null.
unsafe extern "C" fn run(
    procedure: Ptr,
    mode: c_int,
    image: Ptr,
    drawables: *mut Ptr,
    config: Ptr,
    _data: Ptr,
) -> Ptr {
    let done = catch_unwind(|| {
        with_host(|host| {
            let layers = (0..).map_while(|i| {
                // SAFETY: as libgimp promises; nothing is read behind the null.
                let layer = if drawables.is_null() { null_mut() } else { unsafe { *drawables.add(i) } };
                (!layer.is_null()).then(|| host.names.item_number(layer))
            });
            work(host, procedure, mode, image, &layers.collect::<Vec<_>>(), config)
        })
        .and_then(|done| done)
    });
    let done = done.unwrap_or_else(|_| Err(panicked()));
    let answer = with_host(|host| {
        let new = &host.names.new;
        // SAFETY: the values become libgimp's, and so does the error; the image is libgimp's.
        unsafe {
            match done {
                Ok(image) => {
                    let values =
                        (new.gimp_procedure_new_return_values)(procedure, value::SUCCESS, null_mut());
                    (new.g_value_set_object)(
                        (new.gimp_value_array_index)(values, 1),
                        host.names.image(image),
                    );
                    values
                }
                Err(Trouble::Cancelled) => {
                    (new.gimp_procedure_new_return_values)(procedure, value::CANCEL, null_mut())
                }
                Err(Trouble::Said(said)) => {
                    let said = text(&said);
                    let domain = (new.g_quark_from_string)(c"ssmoesr".as_ptr());
                    let error = (new.g_error_new_literal)(domain, 0, said.as_ptr());
                    (new.gimp_procedure_new_return_values)(procedure, value::EXECUTION_ERROR, error)
                }
            }
        }
    });
    answer.unwrap_or(null_mut())
}

fn work(
    host: &Host<Objects>,
    procedure: Ptr,
    mode: c_int,
    image: Ptr,
    layers: &[Item],
    config: Ptr,
) -> Result<Image, Trouble> {
    host.begin();
    let (new, profile) = (&host.names.new, host.profile());
    let image = host.names.image_number(image);
    let store = profile.as_ref().map(|folder| folder.join(settings::FILE));
    let interactive = mode == value::RUN_INTERACTIVE;
    if interactive {
        // GIMP has kept the values of the last run that ended well. Who cancelled one since finds those again.
        if let Some(last) = settings::read(store.as_deref()) {
            write_config(new, config, &last);
        }
        let read = || read_config(new, config);
        crate::dialog::three::ask((host, image, layers), procedure, config, &read)?;
    }
    let request = read_config(new, config)?;
    if interactive {
        settings::write(store.as_deref(), &request);
    }
    let shown = interactive || mode == value::RUN_WITH_LAST_VALUES;
    let done = record::keep(profile.as_deref(), host.version(), &request, || {
        job::run(host, image, layers, &request, shown)
    })?;
    if interactive {
        settings::forget(store.as_deref());
    }
    Ok(done.image)
}

/// Puts values into the dialog that is about to be shown.
fn write_config(new: &New, config: Ptr, request: &Request) {
    let end = null_mut::<c_char>();
    for param in params() {
        let (name, value) = (text(param.name), request.get(param.name));
        // SAFETY: as in `read_config`; strings are copied.
        unsafe {
            match param.holds {
                Holds::Integer { default, .. } => {
                    let number: c_int = value.parse().unwrap_or(default);
                    (new.g_object_set)(config, name.as_ptr(), number, end);
                }
                Holds::Number { default, .. } => {
                    let number: f64 = value.parse().unwrap_or(default);
                    (new.g_object_set)(config, name.as_ptr(), number, end);
                }
                Holds::Choice { .. } | Holds::Text { .. } => {
                    (new.g_object_set)(config, name.as_ptr(), text(&value).as_ptr(), end);
                }
            }
        }
    }
}

/// What the procedure was called with.
fn read_config(new: &New, config: Ptr) -> Result<Request, Trouble> {
    let mut request = Request::default();
    let end = null_mut::<c_char>();
    for param in params() {
        let name = text(param.name);
        // SAFETY: the config has a property of this name and type, as `add_argument` made it; strings are ours.
        let value = unsafe {
            match param.holds {
                Holds::Integer { mut default, .. } => {
                    (new.g_object_get)(config, name.as_ptr(), &raw mut default, end);
                    default.to_string()
                }
                Holds::Number { mut default, .. } => {
                    (new.g_object_get)(config, name.as_ptr(), &raw mut default, end);
                    default.to_string()
                }
                Holds::Choice { .. } => {
                    (new.gimp_procedure_config_get_choice_id)(config, name.as_ptr()).to_string()
                }
                Holds::Text { .. } => {
                    let mut string: Ptr = null_mut();
                    (new.g_object_get)(config, name.as_ptr(), &raw mut string, end);
                    if string.is_null() {
                        String::new()
                    } else {
                        let value = CStr::from_ptr(string.cast()).to_string_lossy().into_owned();
                        (new.g_free)(string);
                        value
                    }
                }
            }
        };
        request.set(param.name, &value)?;
    }
    Ok(request)
}
