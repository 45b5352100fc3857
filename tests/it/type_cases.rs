//! Types of PostgreSQL, values of them, and the JSON that each must become: written by hand, byte for byte.

/// A type with values of it.
pub struct Case {
    pub type_name: &'static str,
    /// SQL of a value, and its JSON.
    pub values: &'static [(&'static str, &'static str)],
    /// The extension that it needs.
    pub extension: Option<&'static str>,
}

const fn of(type_name: &'static str, values: &'static [(&'static str, &'static str)]) -> Case {
    Case { type_name, values, extension: None }
}

const fn with(
    extension: &'static str,
    type_name: &'static str,
    values: &'static [(&'static str, &'static str)],
) -> Case {
    Case { type_name, values, extension: Some(extension) }
}

/// What the types below need besides extensions.
pub const TYPES: &str = r#"
    create type mood as enum ('sad', 'so "la la"', 'NULL');
    create domain positive as numeric(12, 3) check (value > 0);
    create domain small_list as int[];
    create type pair as (a int, "b C" text);
    create type deep as (p pair, spans tstzmultirange, list pair[], at timestamptz, raw bytea, price money, note text);
    create type text_range as range (subtype = text, collation = "C");
    create function odd_in(cstring) returns odd language internal immutable strict as 'textin';
    create function odd_out(odd) returns cstring language internal immutable strict as 'textout';
    create type odd (input = odd_in, output = odd_out, like = text);"#;

/// All of them.
pub const CASES: &[Case] = &[
    of("bool", &[("true", "true"), ("false", "false")]),
    of("int2", &[("-32768", "-32768"), ("32767", "32767")]),
    of("int4", &[("-2147483648", "-2147483648"), ("0", "0")]),
    of(
        "int8",
        &[("9223372036854775807", "9223372036854775807"), ("-9223372036854775808", "-9223372036854775808")],
    ),
    of(
        "numeric",
        &[
            ("'1234567890123456789012345678901234567890.10'", "1234567890123456789012345678901234567890.10"),
            ("'-0.000000000000000000000000000000000000001'", "-0.000000000000000000000000000000000000001"),
            ("'NaN'", "null"),
            ("'-Infinity'", "null"),
            ("1.5000", "1.5000"),
        ],
    ),
    of("numeric(10,2)", &[("12345678.90", "12345678.90"), ("0", "0.00")]),
    of("float4", &[("8.6", "8.6"), ("'NaN'", "null"), ("3.4028235e38", "3.4028235e+38"), ("1e-45", "1e-45")]),
    of(
        "float8",
        &[
            ("0.1", "0.1"),
            ("'Infinity'", "null"),
            ("'-Infinity'", "null"),
            ("1.7976931348623157e308", "1.7976931348623157e+308"),
            ("0.30000000000000004", "0.30000000000000004"),
            ("'-0'", "-0.0"),
        ],
    ),
    of("money", &[("'1234.56'", "1234.56"), ("'-92233720368547758.08'", "-92233720368547758.08")]),
    of(
        "text",
        &[
            ("''", r#""""#),
            (r#"e'a"b\\c\n\t\u0001,{}()'"#, r#""a\"b\\c\n\t\u0001,{}()""#),
            ("'NULL'", r#""NULL""#),
            ("'ÄÖ €😀'", r#""ÄÖ €😀""#),
        ],
    ),
    of("varchar(5)", &[("'abc  '", r#""abc  ""#)]),
    of("char(5)", &[("'abc'", r#""abc  ""#)]),
    of("name", &[("'a name'", r#""a name""#)]),
    of("\"char\"", &[("'x'", r#""x""#)]),
    of("uuid", &[("'E7E6D147-CC10-406C-A7A2-5E0BE2231327'", r#""e7e6d147-cc10-406c-a7a2-5e0be2231327""#)]),
    of(
        "date",
        &[
            ("'2024-02-29'", r#""2024-02-29""#),
            ("'infinity'", "null"),
            ("'0044-03-15 BC'", r#""-0043-03-15""#),
            ("'10000-01-01'", r#""+10000-01-01""#),
            ("'0001-12-31 BC'", r#""0000-12-31""#),
        ],
    ),
    of(
        "time",
        &[
            ("'03:04:05.600001'", r#""03:04:05.600001""#),
            ("'24:00'", r#""24:00:00""#),
            ("'00:00'", r#""00:00:00""#),
        ],
    ),
    of("timetz", &[("'03:04:05.6+02'", r#""03:04:05.6+02:00""#), ("'03:04-05:30'", r#""03:04:00-05:30""#)]),
    of(
        "timestamp",
        &[
            ("'2024-01-02 03:04:05.123456'", r#""2024-01-02T03:04:05.123456""#),
            ("'-infinity'", "null"),
            ("'0044-03-15 01:02:03 BC'", r#""-0043-03-15T01:02:03""#),
        ],
    ),
    of(
        "timestamptz",
        &[
            ("'2024-01-02 03:04:05.000001+03'", r#""2024-01-02T00:04:05.000001+00:00""#),
            ("'infinity'", "null"),
            ("'4713-11-24 00:00+00 BC'", r#""-4712-11-24T00:00:00+00:00""#),
            ("'294276-12-31 23:59:59.999999+00'", r#""+294276-12-31T23:59:59.999999+00:00""#),
        ],
    ),
    of(
        "interval",
        &[
            ("'1 year 2 mons 3 days 04:05:06.7'", r#""P1Y2M3DT4H5M6.7S""#),
            ("'-1 day +2 hours'", r#""P-1DT2H""#),
            ("'0'", r#""PT0S""#),
        ],
    ),
    of(
        "json",
        &[
            (
                r#"e'{"b": 1,\n "a":1e2, "c": 12345678901234567890.10}'"#,
                r#"{"b": 1,  "a":1e2, "c": 12345678901234567890.10}"#,
            ),
            ("'null'", "null"),
        ],
    ),
    of(
        "jsonb",
        &[
            (
                r#"'{"a": 123456789012345678901234567890, "s": "q\"\\"}'"#,
                r#"{"a": 123456789012345678901234567890, "s": "q\"\\"}"#,
            ),
            ("'[1, null, \"x\"]'", r#"[1, null, "x"]"#),
        ],
    ),
    of("bytea", &[(r"'\x00ff0a22'", r#""AP8KIg==""#), ("''", r#""""#)]),
    of(
        "inet",
        &[("'10.0.0.1'", r#""10.0.0.1""#), ("'10.0.0.1/8'", r#""10.0.0.1/8""#), ("'::1'", r#""::1""#)],
    ),
    of("cidr", &[("'10.0.0.0/8'", r#""10.0.0.0/8""#), ("'10.1.2.3'", r#""10.1.2.3/32""#)]),
    of("macaddr", &[("'08:00:2b:01:02:03'", r#""08:00:2b:01:02:03""#)]),
    of("bit(3)", &[("b'101'", r#""101""#)]),
    of("varbit", &[("b''", r#""""#), ("b'10'", r#""10""#)]),
    of("xml", &[("'<a b=\"1\">é</a>'", r#""<a b=\"1\">é</a>""#)]),
    of("tsvector", &[("'a:1 b:2'", r#""'a':1 'b':2""#)]),
    of("tsquery", &[("'a & b'", r#""'a' & 'b'""#)]),
    of("regclass", &[("'pg_class'", r#""pg_class""#)]),
    of("oid", &[("4294967295", "4294967295")]),
    of("pg_lsn", &[("'16/B374D848'", r#""16/B374D848""#)]),
    of("int2vector", &[("'1 2 3'", "[1,2,3]"), ("''", "[]")]),
    of("jsonpath", &[("'$.a'", r#""$.\"a\"""#)]),
    of("point", &[("'(1.5,-2)'", r#"{"type":"Point","coordinates":[1.5,-2.0]}"#), ("'(NaN,1)'", "null")]),
    of("lseg", &[("'(0,1),(2,3)'", r#"{"type":"LineString","coordinates":[[0.0,1.0],[2.0,3.0]]}"#)]),
    of(
        "box",
        &[(
            "'(2,3),(0,1)'",
            r#"{"type":"Polygon","coordinates":[[[0.0,1.0],[2.0,1.0],[2.0,3.0],[0.0,3.0],[0.0,1.0]]]}"#,
        )],
    ),
    of(
        "path",
        &[
            ("'[(0,0),(1,1)]'", r#"{"type":"LineString","coordinates":[[0.0,0.0],[1.0,1.0]]}"#),
            (
                "'((0,0),(1,1),(1,0))'",
                r#"{"type":"Polygon","coordinates":[[[0.0,0.0],[1.0,1.0],[1.0,0.0],[0.0,0.0]]]}"#,
            ),
        ],
    ),
    of("circle", &[("'<(1,2),3>'", r#""<(1,2),3>""#)]),
    of("line", &[("'{1,2,3}'", r#""{1,2,3}""#)]),
    of(
        "int4range",
        &[
            ("'[1,5]'", r#"{"gte":1,"lt":6}"#),
            ("'empty'", "null"),
            ("'(,)'", "{}"),
            ("'(,5)'", r#"{"lt":5}"#),
        ],
    ),
    of("numrange", &[("'(1.50,2]'", r#"{"gt":1.50,"lte":2}"#), ("'[1,Infinity]'", r#"{"gte":1}"#)]),
    of(
        "tstzrange",
        &[
            (
                "'[2024-01-01 00:00+01,2024-02-01 00:00+00)'",
                r#"{"gte":"2023-12-31T23:00:00+00:00","lt":"2024-02-01T00:00:00+00:00"}"#,
            ),
            ("'[-infinity,2024-02-01 00:00+00]'", r#"{"lte":"2024-02-01T00:00:00+00:00"}"#),
        ],
    ),
    of("daterange", &[("'[2024-01-01,2024-01-05]'", r#"{"gte":"2024-01-01","lt":"2024-01-06"}"#)]),
    of("text_range", &[(r#"'["a,b",c]'"#, r#"{"gte":"a,b","lte":"c"}"#)]),
    of(
        "int8multirange",
        &[
            ("'{[1,3),[5,9223372036854775807)}'", r#"[{"gte":1,"lt":3},{"gte":5,"lt":9223372036854775807}]"#),
            ("'{}'", "[]"),
        ],
    ),
    of("mood", &[("'sad'", r#""sad""#), ("'so \"la la\"'", r#""so \"la la\"""#), ("'NULL'", r#""NULL""#)]),
    of("positive", &[("1.5", "1.500")]),
    of(
        "pair",
        &[
            ("row(1, 'x \"y\"')", r#"{"a":1,"b C":"x \"y\""}"#),
            ("row(null, null)", r#"{"a":null,"b C":null}"#),
            ("row(null, '')", r#"{"a":null,"b C":""}"#),
        ],
    ),
    of(
        "deep",
        &[(
            r#"row(row(1, 'a,(b)'), '{[2024-01-01 00:00+00,infinity)}', array[row(2, '\"')::pair, null],
                   '2024-01-02 00:00+00', '\x01', '2.50', 'end')"#,
            r#"{"p":{"a":1,"b C":"a,(b)"},"spans":[{"gte":"2024-01-01T00:00:00+00:00"}],"list":[{"a":2,"b C":"\\\""},null],"at":"2024-01-02T00:00:00+00:00","raw":"AQ==","price":2.50,"note":"end"}"#,
        )],
    ),
    of("odd", &[("'any thing'", r#""any thing""#)]),
    with("citext", "citext", &[("'AbC'", r#""AbC""#)]),
    with("hstore", "hstore", &[(r#"'a=>1, "b \"q\""=>NULL'"#, r#"{"a":"1","b \"q\"":null}"#), ("''", "{}")]),
    with("ltree", "ltree", &[("'top.science'", r#""top.science""#)]),
    with(
        "postgis",
        "geometry",
        &[
            ("'SRID=4326;POINT(1.5 2)'", r#"{"type":"Point","coordinates":[1.5,2]}"#),
            (
                "'POLYGON((0 0,1 0,1 1,0 0))'",
                r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,0]]]}"#,
            ),
            ("'SRID=3857;POINT(0 0)'", r#"{"type":"Point","coordinates":[0,0]}"#),
            ("'POINT EMPTY'", "null"),
            ("'POINT(NaN 1)'", "null"),
            ("'POLYHEDRALSURFACE(((0 0 0,0 0 1,0 1 1,0 1 0,0 0 0)))'", "null"),
            ("'SRID=99999;POINT(1 1)'", "null"),
        ],
    ),
    with("postgis", "geography", &[("'POINT(1.5 2)'", r#"{"type":"Point","coordinates":[1.5,2]}"#)]),
    with("vector", "vector(3)", &[("'[1,2.5,-3]'", "[1,2.5,-3]")]),
];
