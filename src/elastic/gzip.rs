//! Bodies compressed on their way to the server.

use std::io::Write;

use flate2::Compression;
use flate2::write::GzEncoder;

/// Shorter bodies are sent as they are: they fit into a few packets anyhow.
const LEAST_BYTES: usize = 4 << 10;

/// Returns `body` compressed, or nothing where that gains nothing.
///
/// At the fastest level: documents become a quarter by it, and another level takes several times the time for a tenth more.
pub(crate) fn compressed(body: &[u8]) -> Option<Vec<u8>> {
    if body.len() < LEAST_BYTES {
        return None;
    }
    let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 4), Compression::fast());
    // Writing into memory does not fail; if it did, the body as it is would do.
    encoder.write_all(body).ok()?;
    let compressed = encoder.finish().ok()?;
    (compressed.len() < body.len()).then_some(compressed)
}

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::time::Instant;

    use flate2::read::GzDecoder;

    use super::*;

    /// Film-like lines of JSON.
    fn lines(byte_count: usize) -> Vec<u8> {
        let mut random = fastrand::Rng::with_seed(7);
        let mut body = Vec::with_capacity(byte_count + 1_000);
        let words = ["Star", "Night", "of", "the", "lost", "Garden", "War", "love", "and", "River", "Stone"];
        while body.len() < byte_count {
            let mut text = String::new();
            for _ in 0..20 {
                text.push_str(words[random.usize(..words.len())]);
                text.push(' ');
            }
            let id = format!("{:032x}", random.u128(..));
            let line = format!(
                "{{\"index\":{{\"_id\":\"{id}\",\"version\":1700000000000000,\"version_type\":\"external_gte\"}}}}\n\
                 {{\"id\":\"{id}\",\"title\":\"{text}\",\"imdb_rating\":{:.1},\"actors\":[{{\"id\":\"{:032x}\",\"name\":\"{text}\"}}]}}\n",
                random.f64() * 10.0,
                random.u128(..)
            );
            body.extend_from_slice(line.as_bytes());
        }
        body
    }

    #[test]
    fn what_is_compressed_is_the_same_afterwards() {
        let body = lines(100_000);
        let compressed = compressed(&body).unwrap();
        assert!(compressed.len() < body.len() / 2, "{} of {}", compressed.len(), body.len());
        let mut back = Vec::new();
        GzDecoder::new(&compressed[..]).read_to_end(&mut back).unwrap();
        assert_eq!(back, body);
    }

    #[test]
    fn what_gains_nothing_is_sent_as_it_is() {
        assert!(compressed(&lines(2_000)[..2_000]).is_none());
        let noise: Vec<u8> = std::iter::repeat_with(|| fastrand::u8(..)).take(10_000).collect();
        assert!(compressed(&noise).is_none());
    }

    /// `cargo test --release --lib gzip -- --ignored --nocapture`
    #[test]
    #[ignore = "it measures"]
    fn what_a_gigabyte_costs() {
        let body = lines(5 << 20);
        let began = Instant::now();
        let mut compressed_bytes = 0;
        for _ in 0..40 {
            compressed_bytes += compressed(&body).unwrap().len();
        }
        let gigabytes = (body.len() * 40) as f64 / 1e9;
        eprintln!(
            "{:.1} s for a gigabyte, to {:.0} %",
            began.elapsed().as_secs_f64() / gigabytes,
            compressed_bytes as f64 / (body.len() * 40) as f64 * 100.0
        );
    }
}
