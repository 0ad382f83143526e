//! Copies one file of a template.
//!
//! Owns: the order of calls for one file: content, metadata, name, hard links. Never: which files.

use std::fs::File;
use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;

use super::copy::{Attempt, TreeCopy};
use super::pair::{Maker, Pair, Visibility, descend};
use super::plan;
use super::venv;
use crate::os::fs::copy_file::{self, Copier};
use crate::os::fs::{FileKind, Name, Stat};
use crate::sync::lock;

/// A file of the template.
struct SourceFile<'a> {
    file: &'a File,
    /// The metadata of its copy.
    stat: &'a Stat,
    /// The content of its copy, if that differs.
    script: Option<&'a [u8]>,
}

impl TreeCopy {
    /// Counts an existing entry of the target: as copied if it is a copy of an earlier attempt, else as skipped.
    pub fn present(&self, pair: &Pair, name: &Name, source: &Stat, path: &Path) -> io::Result<()> {
        if self.attempt == Attempt::Again && plan::is_copy(source, &pair.to.stat(name)?, self.since) {
            self.progress.file();
        } else {
            self.progress.skip(path);
        }
        Ok(())
    }

    /// Copies the file `name`, unless the target has an entry of that name.
    pub fn file<'a>(&'a self, pair: &Pair, name: &Name, path: &Path, copier: &mut Copier<'a>) -> io::Result<()> {
        let from = match pair.from.open_file(name) {
            Err(error) if self.has_vanished(pair, name, path, FileKind::File, &error) => return Ok(()),
            other => other?,
        };
        let mut stat = copy_file::stat(&from)?;
        if stat.kind != FileKind::File {
            self.progress.skip(path);
            return Ok(());
        }
        let script = if pair.has_scripts { venv::relocated(&self.plan, &from, &stat)? } else { None };
        if let Some(script) = &script {
            stat.size = script.len() as u64;
        }
        let source = SourceFile { file: &from, stat: &stat, script: script.as_deref() };
        // Checked here to avoid a useless copy, and again by the rename.
        if pair.maker != Maker::Us && pair.to.stat(name).is_ok() {
            return self.present(pair, name, &stat, path);
        }
        // A script that was changed must not share its content with other names.
        if stat.links < 2 || script.is_some() {
            return self.content(pair, name, path, &source, copier);
        }
        let first = Arc::clone(lock(&pair.tree.first_names).entry(stat.identity).or_default());
        let mut first = lock(&first);
        if let Some(first) = &*first {
            // If the link fails for any reason, it is copied.
            if self.hard_link(pair, name, first).is_ok() {
                self.progress.file();
                return Ok(());
            }
        }
        self.content(pair, name, path, &source, copier)?;
        first.get_or_insert_with(|| path.to_owned());
        Ok(())
    }

    fn hard_link(&self, pair: &Pair, name: &Name, first: &Path) -> io::Result<()> {
        let inside = first.strip_prefix(&pair.tree.path).unwrap_or(first);
        let directory = descend(&pair.tree.to, inside.parent().unwrap_or(Path::new("")))?;
        let from = inside.file_name().and_then(Name::new).ok_or(io::ErrorKind::InvalidFilename)?;
        pair.to.link(name, &directory, &from)
    }

    fn content<'a>(
        &'a self,
        pair: &Pair,
        name: &Name,
        path: &Path,
        source: &SourceFile<'_>,
        copier: &mut Copier<'a>,
    ) -> io::Result<()> {
        let stat = source.stat;
        let temporary = match pair.tree.visibility {
            Visibility::Shared => Some(self.temporary()?),
            Visibility::Private => None,
        };
        let written = temporary.as_ref().unwrap_or(name);
        let to = pair.to.create_file(written)?;
        let written_out = match source.script {
            Some(text) => (&to).write_all(text),
            None => copier.copy(source.file, stat, &to, &|| self.progress.check_stop()),
        };
        let copied = written_out
            .and_then(|()| copy_file::apply_file_metadata(&to, self.owner(stat), stat.mode, stat.modified))
            .and_then(|()| temporary.as_ref().map_or(Ok(()), |temporary| pair.to.rename_new(temporary, name)));
        match copied {
            Ok(()) => {
                self.progress.file();
                Ok(())
            }
            Err(error) => {
                // The first error is the one to report.
                let _ = pair.to.unlink(written);
                let is_taken = error.kind() == io::ErrorKind::AlreadyExists && temporary.is_some();
                if is_taken { self.present(pair, name, stat, path) } else { Err(error) }
            }
        }
    }
}
