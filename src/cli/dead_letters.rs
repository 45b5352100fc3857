//! `dead-letters`: what the index refused, and what is to become of it.

use serde_json::json;

use crate::cli::arguments::DeadLettersCommand;
use crate::cli::output;
use crate::cli::target::{definitions, instant};
use crate::error::{Error, Result};
use crate::pipeline::now_micros;
use crate::settings::Settings;
use crate::store::{KeptDeadLetter, Store};

/// How many are read from the state at a time.
const PAGE: usize = 500;

/// How much of a reason stands in a list.
const SHOWN_REASON: usize = 160;

pub(super) fn dead_letters(
    settings: &Settings,
    only: Option<&str>,
    command: &DeadLettersCommand,
) -> Result<u8> {
    match command {
        DeadLettersCommand::List { json, limit } => list(settings, only, *json, *limit)?,
        DeadLettersCommand::Show { id } => show(settings, *id)?,
        DeadLettersCommand::Retry { ids, all } => retry(settings, only, ids, *all)?,
        DeadLettersCommand::Drop { ids, all } => drop_letters(settings, only, ids, *all)?,
    }
    Ok(0)
}

fn list(settings: &Settings, only: Option<&str>, as_json: bool, limit: usize) -> Result<()> {
    if only.is_some() {
        // A slip of the hand must not look as if nothing was refused.
        definitions(settings, only)?;
    }
    let Some(store) = Store::open_read_only(&settings.storage_dir)? else {
        return if as_json { Ok(()) } else { output::line("no dead letters: there is no state yet") };
    };
    // Of all that the state knows, unless an index is named: also of those that DEFINITION names no more.
    let total = match only {
        Some(index) => match store.current_generation(index)? {
            Some(generation) => store.status(&generation.name)?.dead_letter_count,
            None => 0,
        },
        None => store.dead_letter_count()?,
    };
    if total == 0 && !as_json {
        return output::line("no dead letters");
    }
    let mut left = limit;
    let mut after = None;
    while left > 0 {
        let page = store.dead_letters(only, after, u32::try_from(left.min(PAGE)).unwrap_or(u32::MAX))?;
        let Some(last) = page.last() else { break };
        after = Some(last.position());
        left -= page.len().min(left);
        for letter in &page {
            output::line(&if as_json { as_object(letter).to_string() } else { as_line(letter) })?;
        }
    }
    let shown = limit - left;
    if !as_json && u64::try_from(shown).is_ok_and(|shown| shown < total) {
        output::line(&format!("{shown} of {total} dead letters; --limit shows more"))?;
    }
    Ok(())
}

fn as_line(letter: &KeptDeadLetter) -> String {
    let reason: String = letter.reason.chars().take(SHOWN_REASON).collect();
    let cut = if reason.len() < letter.reason.len() { "…" } else { "" };
    let times = if letter.attempt_count == 1 { "once" } else { &format!("{} times", letter.attempt_count) };
    format!(
        "{}  {}  {}  {times}, last {}  {}: {reason}{cut}",
        letter.id,
        letter.generation,
        letter.key,
        instant(letter.last_at),
        letter.error_type
    )
}

fn as_object(letter: &KeptDeadLetter) -> serde_json::Value {
    json!({
        "id": letter.id,
        "index": letter.generation,
        "key": letter.key.as_str(),
        "error_type": letter.error_type,
        "reason": letter.reason,
        "attempts": letter.attempt_count,
        "first_at": instant(letter.first_at),
        "last_at": instant(letter.last_at),
        "document_bytes": letter.document_bytes,
    })
}

fn show(settings: &Settings, id: i64) -> Result<()> {
    let store = Store::open_read_only(&settings.storage_dir)?;
    let found = match &store {
        Some(store) => store.dead_letter(id)?,
        None => None,
    };
    let Some((letter, document)) = found else { return Err(unknown(id)) };
    output::json(&as_object(&letter))?;
    match document {
        Some(document) => output::line(&document),
        None => output::line(
            "its document is not kept: it was refused before it was sent, or dropped for newer ones",
        ),
    }
}

fn retry(settings: &Settings, only: Option<&str>, ids: &[i64], all: bool) -> Result<()> {
    let store = Store::open(&settings.storage_dir)?;
    let count = if all {
        let mut count = 0;
        for generation in generations(&store, settings, only)? {
            count += store.retry_dead_letters(&generation, now_micros())?;
        }
        count
    } else {
        for id in ids {
            if !store.retry_dead_letter(*id, now_micros())? {
                return Err(unknown(*id));
            }
        }
        ids.len() as u64
    };
    output::line(&format!(
        "{count} keys marked stale: `pgsluice run` builds their documents anew at once, `pgsluice once` when it runs next"
    ))
}

fn drop_letters(settings: &Settings, only: Option<&str>, ids: &[i64], all: bool) -> Result<()> {
    let store = Store::open(&settings.storage_dir)?;
    let count = if all {
        let mut count = 0;
        for generation in generations(&store, settings, only)? {
            count += store.drop_dead_letters(&generation)?;
        }
        count
    } else {
        for id in ids {
            if !store.drop_dead_letter(*id)? {
                return Err(unknown(*id));
            }
        }
        ids.len() as u64
    };
    output::line(&format!("{count} dead letters dropped"))
}

/// What the definitions write to, as far as something was loaded.
fn generations(store: &Store, settings: &Settings, only: Option<&str>) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for definition in definitions(settings, only)? {
        names.extend(store.current_generation(&definition.index)?.map(|generation| generation.name));
    }
    Ok(names)
}

fn unknown(id: i64) -> Error {
    Error::wrong(format!("there is no dead letter {id}"))
        .hint("`pgsluice dead-letters list` lists their numbers")
}
