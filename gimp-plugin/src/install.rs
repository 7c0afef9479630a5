//! `--install` and `--uninstall`: the plug-in into the profile of every GIMP that is found.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::record;
use crate::trouble::Trouble;

/// Folder and file have one name: GIMP 3 wants it so.
pub(crate) const FOLDER: &str = "ssmoesr-gimp";

/// Folder with the pages for GIMP's help, beside the program.
pub(crate) const HELP: &str = "help";

/// The pages, in GIMP's layout: a list of what there is for each language.
const PAGES: [(&str, &str); 2] = [
    ("en/gimp-help.xml", include_str!("../help/gimp-help.xml")),
    ("en/ssmoesr.html", include_str!("../help/ssmoesr.html")),
];

/// Oldest and newest generation that is served: a profile of any other is left alone.
const GENERATIONS: [&str; 3] = ["2.10", "3.0", "3.2"];

/// A GIMP: its generation and the profile of this user.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Profile {
    pub(crate) generation: &'static str,
    pub(crate) folder: PathBuf,
    /// A program of this generation was found.
    pub(crate) program: Option<PathBuf>,
}

impl Profile {
    pub(crate) fn plug_in(&self) -> PathBuf {
        self.own().join(FOLDER)
    }

    fn own(&self) -> PathBuf {
        self.folder.join("plug-ins").join(FOLDER)
    }

    fn help(&self) -> PathBuf {
        self.own().join(HELP)
    }

    /// Where the program looks first: so the plug-in needs nothing outside of its folder, as in a Flatpak.
    fn models(&self) -> PathBuf {
        self.own().join("share/ssmoesr/models")
    }
}

/// Where to look.
pub(crate) struct Places {
    /// `~/.config`.
    pub(crate) config: PathBuf,
    /// Folders with programs.
    pub(crate) programs: Vec<PathBuf>,
    /// What reports call `~`.
    pub(crate) home: Option<PathBuf>,
}

impl Places {
    /// The places of this user.
    ///
    /// # Errors
    /// Where there is no home.
    pub(crate) fn of_user() -> Result<Self, Trouble> {
        let folder = |name: &str| std::env::var_os(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let home = folder("HOME");
        let config = folder("XDG_CONFIG_HOME")
            .or_else(|| home.as_ref().map(|home| home.join(".config")))
            .ok_or_else(|| Trouble::said("HOME is not set: there is no profile of GIMP to install into."))?;
        let programs = std::env::var_os("PATH").map(|p| std::env::split_paths(&p).collect());
        Ok(Self { config, programs: programs.unwrap_or_default(), home })
    }

    /// Every GIMP of which there is a program or a profile.
    pub(crate) fn profiles(&self) -> Vec<Profile> {
        let found = GENERATIONS.into_iter().map(|generation| {
            let folder = self.config.join("GIMP").join(generation);
            Profile { generation, folder, program: self.program(generation) }
        });
        found.filter(|p| p.program.is_some() || p.folder.is_dir()).collect()
    }

    fn program(&self, generation: &str) -> Option<PathBuf> {
        let names = ["gimp", "gimp-console"].map(|name| format!("{name}-{generation}"));
        let all = self.programs.iter().flat_map(|folder| names.iter().map(|name| folder.join(name)));
        all.into_iter().find(|program| program.is_file())
    }
}

/// Copies `program` and the model in the folder `model` into every profile, drops GIMP's cache of what it asked
/// plug-ins before, and returns what to say.
///
/// # Errors
/// Where no GIMP is found or a folder cannot be written.
pub(crate) fn install(places: &Places, program: &Path, model: &Path) -> Result<Vec<String>, Trouble> {
    let profiles = places.profiles();
    if profiles.is_empty() {
        return Err(Trouble::Said(format!(
            "No GIMP was found: no gimp-{} in PATH, no profile below {}.",
            GENERATIONS.join(", no gimp-"),
            places.config.join("GIMP").display()
        )));
    }
    let mut said = Vec::new();
    for profile in profiles {
        let target = profile.plug_in();
        let models = profile.models();
        copy_model(model, &models)
            .map_err(|e| Trouble::Said(format!("{} cannot be written: {e}.", models.display())))?;
        write_pages(&profile.help())
            .map_err(|e| Trouble::Said(format!("{} cannot be written: {e}.", profile.help().display())))?;
        copy(program, &target)
            .map_err(|e| Trouble::Said(format!("{} cannot be written: {e}.", target.display())))?;
        forget(&profile);
        said.push(format!("GIMP {}: {}", profile.generation, target.display()));
    }
    said.push("Restart GIMP; the entry is Filters > Enhance > Super-Resolution.".to_owned());
    Ok(said)
}

/// Takes the plug-in out of every profile and returns what to say.
///
/// # Errors
/// Where a file cannot be removed.
pub(crate) fn uninstall(places: &Places) -> Result<Vec<String>, Trouble> {
    let mut said = Vec::new();
    for profile in places.profiles() {
        let target = profile.plug_in();
        let [settings, last] = [crate::host::SETTINGS, record::FILE].map(|name| profile.folder.join(name));
        for file in [&target, &settings, &last] {
            match fs::remove_file(file) {
                Ok(()) => said.push(format!("removed {}", file.display())),
                Err(e) if e.kind() == io::ErrorKind::NotFound => {}
                Err(e) => {
                    return Err(Trouble::Said(format!("{} cannot be removed: {e}.", file.display())));
                }
            }
        }
        let models = profile.models();
        for folder in [&models, &profile.help()] {
            if folder.is_dir() {
                fs::remove_dir_all(folder)
                    .map_err(|e| Trouble::Said(format!("{} cannot be removed: {e}.", folder.display())))?;
            }
        }
        // What others put there stays.
        for folder in models.ancestors().skip(1).take(3) {
            let _ = fs::remove_dir(folder);
        }
        forget(&profile);
    }
    if said.is_empty() {
        said.push("nothing was installed".to_owned());
    }
    Ok(said)
}

/// A new file and a rename: a GIMP that runs the old one keeps it. The time is now, not that of the build: GIMP tells
/// plug-ins apart by it.
fn copy(program: &Path, target: &Path) -> io::Result<()> {
    let folder = target.parent().ok_or(io::ErrorKind::InvalidInput)?;
    fs::create_dir_all(folder)?;
    let new = folder.join(".new");
    fs::write(&new, fs::read(program)?)?;
    fs::set_permissions(&new, fs::Permissions::from_mode(0o755))?;
    fs::rename(&new, target)
}

fn write_pages(folder: &Path) -> io::Result<()> {
    for (name, page) in PAGES {
        let file = folder.join(name);
        fs::create_dir_all(file.parent().ok_or(io::ErrorKind::InvalidInput)?)?;
        fs::write(file, page)?;
    }
    Ok(())
}

/// Copies the files of a model below `models`, under the model's own name.
fn copy_model(model: &Path, models: &Path) -> io::Result<()> {
    let name = model.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    let target = models.join(name);
    if fs::canonicalize(&target).ok() == Some(fs::canonicalize(model)?) {
        // This program lies in the profile itself.
        return Ok(());
    }
    fs::create_dir_all(&target)?;
    for entry in fs::read_dir(model)? {
        let entry = entry?;
        if entry.file_type()?.is_file() {
            fs::copy(entry.path(), target.join(entry.file_name()))?;
        }
    }
    Ok(())
}

/// Drops GIMP's cache of plug-ins, which goes by seconds; GIMP asks them again at its next start.
fn forget(profile: &Profile) {
    // Where it is not there, there is nothing to forget.
    let _ = fs::remove_file(profile.folder.join("pluginrc"));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(room: &Path) -> Places {
        Places { config: room.join("config"), programs: vec![room.join("bin")], home: None }
    }

    #[test]
    fn every_gimp_gets_the_plug_in_and_loses_it_again() {
        let room = tempfile::tempdir().unwrap();
        let room = room.path();
        fs::create_dir_all(room.join("bin")).unwrap();
        fs::write(room.join("bin/gimp-2.10"), "").unwrap();
        fs::create_dir_all(room.join("config/GIMP/3.2")).unwrap();
        fs::create_dir_all(room.join("config/GIMP/2.8")).unwrap();
        fs::write(room.join("config/GIMP/3.2/pluginrc"), "old").unwrap();
        fs::write(room.join("program"), "code").unwrap();
        fs::create_dir_all(room.join("photo")).unwrap();
        fs::write(room.join("photo/model.json"), "{}").unwrap();
        let places = places(room);
        let said = install(&places, &room.join("program"), &room.join("photo")).unwrap();
        assert!(said.len() == 3 && said[0].contains("GIMP 2.10") && said[1].contains("GIMP 3.2"), "{said:?}");
        for generation in ["2.10", "3.2"] {
            let file = room.join("config/GIMP").join(generation).join("plug-ins/ssmoesr-gimp/ssmoesr-gimp");
            assert_eq!(fs::read(&file).unwrap(), b"code");
            assert_eq!(fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o755);
            let mut beside: Vec<_> =
                fs::read_dir(file.parent().unwrap()).unwrap().map(|e| e.unwrap().file_name()).collect();
            beside.sort();
            assert_eq!(beside, ["help", "share", "ssmoesr-gimp"]);
            let list = fs::read_to_string(file.with_file_name("help").join("en/gimp-help.xml")).unwrap();
            let page = list.split("ref=\"").nth(1).and_then(|t| t.split('"').next()).unwrap();
            assert!(file.with_file_name("help/en").join(page).is_file(), "{page}");
            assert!(list.contains(&format!("id=\"{}\"", crate::host::NAME)), "{list}");
            let model = file.with_file_name("share").join("ssmoesr/models/photo/model.json");
            assert_eq!(fs::read(model).unwrap(), b"{}");
        }
        assert!(!room.join("config/GIMP/3.2/pluginrc").exists());
        assert!(!room.join("config/GIMP/2.8/plug-ins").exists());

        assert_eq!(uninstall(&places).unwrap().len(), 2);
        assert!(!room.join("config/GIMP/3.2/plug-ins/ssmoesr-gimp").exists());
        assert_eq!(uninstall(&places).unwrap(), ["nothing was installed"]);
    }

    #[test]
    fn without_gimp_it_says_so() {
        let room = tempfile::tempdir().unwrap();
        let text =
            install(&places(room.path()), Path::new("/bin/true"), Path::new("/")).unwrap_err().to_string();
        assert!(text.contains("No GIMP") && text.contains("gimp-3.2"), "{text}");
    }
}
