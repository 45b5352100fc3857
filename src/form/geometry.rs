//! PostgreSQL's own geometric types as GeoJSON.

use crate::cell::write_float8;
use crate::form::Geometric;

/// Writes a geometric value; null, and false, where a coordinate is none that JSON can hold.
pub(super) fn write(kind: Geometric, text: &[u8], out: &mut Vec<u8>) -> Option<bool> {
    let text = std::str::from_utf8(text).ok()?;
    let numbers: Option<Vec<f64>> = text
        .split(['(', ')', '[', ']', ','])
        .filter(|part| !part.is_empty())
        .map(|part| part.parse().ok())
        .collect();
    let numbers = numbers?;
    if !numbers.iter().all(|number| number.is_finite()) {
        out.extend_from_slice(b"null");
        return Some(false);
    }
    let mut points: Vec<[f64; 2]> = numbers.chunks_exact(2).map(|pair| [pair[0], pair[1]]).collect();
    let (name, depth) = match kind {
        Geometric::Point => ("Point", 0),
        Geometric::Segment => ("LineString", 1),
        Geometric::Path if text.starts_with('[') => ("LineString", 1),
        Geometric::Path | Geometric::Box | Geometric::Polygon => ("Polygon", 2),
    };
    if kind == Geometric::Box {
        // Two corners, the upper right one first; the ring runs counterclockwise.
        let [[right, top], [left, bottom]] = *points.as_slice() else { return None };
        points = vec![[left, bottom], [right, bottom], [right, top], [left, top]];
    }
    // A ring ends where it began.
    if depth == 2 && (points.first() != points.last() || points.len() == 1) {
        points.extend(points.first().copied());
    }
    out.extend_from_slice(format!("{{\"type\":\"{name}\",\"coordinates\":").as_bytes());
    out.extend(std::iter::repeat_n(b'[', depth));
    for (position, [x, y]) in points.iter().enumerate() {
        if position > 0 {
            out.push(b',');
        }
        out.push(b'[');
        write_float8(out, *x);
        out.push(b',');
        write_float8(out, *y);
        out.push(b']');
    }
    out.extend(std::iter::repeat_n(b']', depth));
    out.push(b'}');
    Some(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn geometric_types_are_geojson() {
        let json = |kind, text: &str| {
            let mut out = Vec::new();
            write(kind, text.as_bytes(), &mut out).unwrap();
            String::from_utf8(out).unwrap()
        };
        assert_eq!(json(Geometric::Point, "(1.5,-2)"), r#"{"type":"Point","coordinates":[1.5,-2.0]}"#);
        assert_eq!(json(Geometric::Point, "(1,NaN)"), "null");
        assert_eq!(
            json(Geometric::Path, "[(0,0),(1,1e+20)]"),
            r#"{"type":"LineString","coordinates":[[0.0,0.0],[1.0,1e+20]]}"#
        );
        assert_eq!(
            json(Geometric::Polygon, "((0,0),(1,0),(1,1))"),
            r#"{"type":"Polygon","coordinates":[[[0.0,0.0],[1.0,0.0],[1.0,1.0],[0.0,0.0]]]}"#
        );
        assert_eq!(
            json(Geometric::Box, "(2,3),(0,1)"),
            r#"{"type":"Polygon","coordinates":[[[0.0,1.0],[2.0,1.0],[2.0,3.0],[0.0,3.0],[0.0,1.0]]]}"#
        );
    }
}
