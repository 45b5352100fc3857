//! The exit code of a command that worked for several indices.

/// From the best to the worst: what is wrong for good goes before a server that is away.
const GRAVITY: [u8; 5] = [0, 1, 3, 2, 4];

/// The worst of the codes; 0 if there is none.
pub(super) fn worst(codes: impl IntoIterator<Item = u8>) -> u8 {
    let gravity = |code: &u8| GRAVITY.iter().position(|known| known == code).unwrap_or(GRAVITY.len());
    codes.into_iter().max_by_key(gravity).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_for_good_is_worse_than_a_server_that_is_away() {
        assert_eq!(worst([]), 0);
        assert_eq!(worst([0, 1, 0]), 1);
        assert_eq!(worst([0, 3, 1]), 3);
        assert_eq!(worst([3, 2, 1]), 2);
    }
}
