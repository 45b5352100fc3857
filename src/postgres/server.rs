//! Which versions of PostgreSQL the statements are written for.

use crate::error::{Error, Result};
use crate::postgres::client::Client;
use crate::postgres::connect::classify;

/// The oldest server whose catalogue has all that is read, as `server_version_num`: before 12, collations do not say
/// whether they are deterministic, and so not whether equal keys are equal bytes.
const OLDEST_VERSION: i32 = 120_000;

/// Refuses a server that is too old, before anything else is asked of it.
pub(super) fn must_be_supported(client: &mut Client) -> Result<()> {
    let row = client
        .query_typed_one(
            "select current_setting('server_version'), current_setting('server_version_num')::int",
            &[],
        )
        .map_err(|error| classify(&error, "cannot read the server's version".to_owned()))?;
    judge(row.get(0), row.get(1))
}

fn judge(version: &str, number: i32) -> Result<()> {
    if number >= OLDEST_VERSION {
        return Ok(());
    }
    Err(Error::wrong(format!("PostgreSQL {version} is too old"))
        .hint(format!("upgrade the server to {} or later", OLDEST_VERSION / 10_000)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_before_12_is_refused_by_its_version() {
        assert!(judge("12beta1", 120_000).is_ok() && judge("18.4", 180_004).is_ok());
        let error = judge("11.22 (Debian 11.22-1)", 110_022).unwrap_err();
        assert_eq!(error.exit_code(), 2);
        assert_eq!(
            error.story(),
            "PostgreSQL 11.22 (Debian 11.22-1) is too old (upgrade the server to 12 or later)"
        );
    }
}
