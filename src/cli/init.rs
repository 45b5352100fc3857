//! `init`: drafts a definition and its mapping from the database; writes two new files and nothing else.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};

use crate::alias;
use crate::cli::output;
use crate::definition;
use crate::draft::{DraftRequest, draft, index_name};
use crate::error::{Error, Result};
use crate::postgres::survey;
use crate::settings::SourceSettings;

/// What the command line says.
pub(super) struct InitOptions<'a> {
    pub(super) root: &'a str,
    pub(super) key: &'a [String],
    pub(super) depth: usize,
    pub(super) output: Option<&'a Path>,
    pub(super) index: Option<&'a str>,
}

pub(super) fn init(options: &InitOptions<'_>) -> Result<u8> {
    let root = definition::table_name(options.root).map_err(|problem| {
        Error::wrong(format!("--root {:?} is no name of a table", options.root)).hint(problem)
    })?;
    let index = options.index.map_or_else(|| index_name(&root.name), str::to_owned);
    if let Some(problem) = alias::problem_with(&index) {
        return Err(Error::wrong(format!("--index {index:?} cannot be the name of an index")).hint(problem));
    }
    let files = Files::named(options.output.unwrap_or(Path::new(&index)))?;
    files.must_be_free()?;
    let survey = survey(&SourceSettings::load()?)?;
    let request = DraftRequest {
        root,
        key: options.key.to_vec(),
        depth: options.depth,
        index: index.clone(),
        mapping_file: files.mapping_name()?,
    };
    let draft = draft(&survey, &request)?;
    files.write(&draft.definition, &draft.mapping)?;
    output::line(&format!(
        "{}: {}, {} relations, index {index}",
        files.definition.display(),
        request.root,
        draft.relation_count
    ))?;
    output::line(&format!("{}: the mapping", files.mapping.display()))?;
    if !draft.notes.is_empty() {
        output::line("unsure of, or left out:")?;
        for note in &draft.notes {
            output::line(&format!("- {note}"))?;
        }
    }
    output::line(&format!(
        "next: read them, set DEFINITION={}, then `pgsluice check` and `pgsluice preview`",
        files.definition.display()
    ))?;
    Ok(0)
}

/// The two files.
struct Files {
    definition: PathBuf,
    mapping: PathBuf,
}

impl Files {
    /// `name.toml` and `name.json`; a name that ends with `.toml` is meant without.
    fn named(output: &Path) -> Result<Self> {
        let Some(name) = output.file_name().and_then(|name| name.to_str()) else {
            return Err(Error::wrong(format!("--output {} names no file", output.display()))
                .hint("write --output folder/name, for folder/name.toml and folder/name.json"));
        };
        let name = name.strip_suffix(".toml").unwrap_or(name);
        Ok(Self {
            definition: output.with_file_name(format!("{name}.toml")),
            mapping: output.with_file_name(format!("{name}.json")),
        })
    }

    fn mapping_name(&self) -> Result<String> {
        let name = self.mapping.file_name().and_then(|name| name.to_str());
        name.map(str::to_owned).ok_or_else(|| Error::wrong("the name of the mapping file is not UTF-8"))
    }

    fn must_be_free(&self) -> Result<()> {
        for file in [&self.definition, &self.mapping] {
            if file.symlink_metadata().is_ok() {
                return Err(exists(file));
            }
        }
        Ok(())
    }

    /// Writes both or neither.
    fn write(&self, definition: &str, mapping: &str) -> Result<()> {
        write_new(&self.mapping, mapping)?;
        write_new(&self.definition, definition).inspect_err(|_| {
            // It was made a moment ago, by us.
            let _ = std::fs::remove_file(&self.mapping);
        })
    }
}

fn exists(file: &Path) -> Error {
    Error::wrong(format!("{} exists, and init overwrites nothing", file.display()))
        .hint("name another with --output folder/name, or move it away")
}

fn write_new(file: &Path, content: &str) -> Result<()> {
    let written = OpenOptions::new()
        .write(true)
        .create_new(true)
        .open(file)
        .and_then(|mut opened| opened.write_all(content.as_bytes()));
    written.map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => exists(file),
        ErrorKind::NotFound => Error::wrong(format!("cannot write {}", file.display()))
            .because(error)
            .hint("make the folder first, or name another with --output folder/name"),
        _ => Error::wrong(format!("cannot write {}", file.display())).because(error),
    })
}
