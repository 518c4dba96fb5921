//! A disk, as it may be after a power cut.
//!
//! What was synced is there. Of what was written to a file since its last sync, each sector of 512 bytes is kept or not;
//! a new length likewise. Names are kept in the order in which they were made, as by a file system with a journal:
//! a sync brings all before it to the disk, and of the rest some number of the first is kept.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use crate::trace::Operation;

const SECTOR: u64 = 512;

/// The disk, and what is still on its way to it.
#[derive(Default)]
pub struct Disk {
    files: Vec<FileState>,
    /// As a program sees them.
    names: BTreeMap<PathBuf, usize>,
    /// As they are on the disk.
    kept_names: BTreeMap<PathBuf, usize>,
    renamings: Vec<Naming>,
    open: HashMap<u64, usize>,
}

#[derive(Default)]
struct FileState {
    kept: Vec<u8>,
    changes: Vec<Change>,
}

enum Change {
    Write(u64, Vec<u8>),
    Length(u64),
}

#[derive(Clone)]
enum Naming {
    Made(PathBuf, usize),
    Removed(PathBuf),
    Moved(PathBuf, PathBuf),
}

impl Disk {
    pub fn apply(&mut self, operation: &Operation) {
        match operation {
            Operation::Open {
                file,
                path,
                empties,
            } => {
                let place = if let Some(place) = self.names.get(path) {
                    *place
                } else {
                    self.files.push(FileState::default());
                    let place = self.files.len() - 1;
                    self.name(Naming::Made(path.clone(), place));
                    place
                };
                self.open.insert(*file, place);
                if *empties {
                    self.files[place].changes.push(Change::Length(0));
                }
            }
            Operation::Write { file, at, bytes } => {
                let change = Change::Write(*at, bytes.clone());
                self.files[self.open[file]].changes.push(change);
            }
            Operation::Truncate { file, length } => {
                let change = Change::Length(*length);
                self.files[self.open[file]].changes.push(change);
            }
            Operation::Sync { file } => {
                self.files[self.open[file]].settle(|| true);
                self.kept_names.clone_from(&self.names);
                self.renamings.clear();
            }
            Operation::Unlink { path } => self.name(Naming::Removed(path.clone())),
            Operation::Rename { from, to } => {
                self.name(Naming::Moved(from.clone(), to.clone()));
            }
        }
    }

    fn name(&mut self, naming: Naming) {
        naming.apply(&mut self.names);
        self.renamings.push(naming);
    }

    /// Cuts the power: of what is on its way, each part is kept with this chance. Puts what is left into a folder,
    /// for a store that stood in another one.
    pub fn cut(mut self, chance: f64, random: &mut fastrand::Rng, from: &Path, to: &Path) {
        let all = self.renamings.len();
        let kept = if chance <= 0.0 {
            0
        } else if chance >= 1.0 {
            all
        } else {
            random.usize(0..=all)
        };
        for naming in &self.renamings[..kept] {
            naming.apply(&mut self.kept_names);
        }
        for (name, place) in &self.kept_names {
            let file = &mut self.files[*place];
            file.settle(|| random.f64() < chance);
            let path = to.join(name.strip_prefix(from).unwrap());
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, &file.kept).unwrap();
        }
    }
}

impl FileState {
    /// Brings changes to the disk, part by part, as `keeps` says.
    fn settle(&mut self, mut keeps: impl FnMut() -> bool) {
        for change in self.changes.drain(..) {
            match change {
                Change::Length(length) => {
                    if keeps() {
                        self.kept.resize(usize::try_from(length).unwrap(), 0);
                    }
                }
                Change::Write(at, bytes) => {
                    let mut rest = &bytes[..];
                    let mut at = at;
                    while !rest.is_empty() {
                        let room = SECTOR - at % SECTOR;
                        let length = rest.len().min(usize::try_from(room).unwrap());
                        if keeps() {
                            let begin = usize::try_from(at).unwrap();
                            let end = begin + length;
                            if self.kept.len() < end {
                                self.kept.resize(end, 0);
                            }
                            self.kept[begin..end].copy_from_slice(&rest[..length]);
                        }
                        rest = &rest[length..];
                        at += length as u64;
                    }
                }
            }
        }
    }
}

impl Naming {
    fn apply(&self, names: &mut BTreeMap<PathBuf, usize>) {
        match self {
            Self::Made(path, place) => {
                names.insert(path.clone(), *place);
            }
            Self::Removed(path) => {
                names.remove(path);
            }
            Self::Moved(from, to) => {
                if let Some(place) = names.remove(from) {
                    names.insert(to.clone(), place);
                }
            }
        }
    }
}
