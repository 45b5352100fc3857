//! Finds the name that was probably meant when an unknown one was written.

/// Returns the known name nearest to `written`, if it is near enough to be a slip of the hand.
///
/// Near enough is one wrong character in up to five, two in up to ten, else three; swapped neighbours count once and
/// case does not count.
pub(crate) fn nearest<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let written = written.to_lowercase();
    let allowed = match written.chars().count() {
        0..=5 => 1,
        6..=10 => 2,
        _ => 3,
    };
    known
        .into_iter()
        .map(|name| (strsim::damerau_levenshtein(&name.to_lowercase(), &written), name))
        .filter(|(distance, _)| *distance <= allowed)
        .min()
        .map(|(_, name)| name)
}

/// The suggestion as the end of a message: `, did you mean genre?`, or nothing.
pub(crate) fn did_you_mean<'a>(written: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(written, known).map_or_else(String::new, |name| format!(", did you mean {name}?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_slips_of_the_hand_are_suggested() {
        let known = ["genre", "person", "cursor"];
        assert_eq!(nearest("gerne", known), Some("genre"));
        assert_eq!(nearest("Cursor", known), Some("cursor"));
        assert_eq!(nearest("persn", known), Some("person"));
        assert_eq!(nearest("film", known), None);
        assert_eq!(did_you_mean("gener", known), ", did you mean genre?");
        assert_eq!(did_you_mean("x", known), "");
    }
}
